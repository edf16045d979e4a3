"""A small DAVIS in a temporary folder."""

import numpy as np
import pytest
from PIL import Image

from followspot.io.masks import write_mask


def moving_squares(frames, *, speed=1, size=(60, 80)):
    """Id maps (T, H, W) of two squares: 1 moves right, 2 moves down behind it."""
    ids = np.zeros((frames, *size), np.uint8)
    for index in range(frames):
        step = speed * index
        ids[index, 5 + step : 20 + step, 40:60] = 2
        ids[index, 10:30, 5 + step : 30 + step] = 1
    return ids


def write_masks(folder, ids):
    for index, frame in enumerate(ids):
        write_mask(folder / f"{index:05d}.png", frame)


@pytest.fixture
def davis_folder(tmp_path):
    """A DAVIS folder with sequences fast (7 frames) and slow (11 frames), in lists 2017/val and 2016/train."""
    root = tmp_path / "davis"
    for name, frames, speed in (("fast", 7, 3), ("slow", 11, 1)):
        ids = moving_squares(frames, speed=speed)
        write_masks(root / "Annotations/480p" / name, ids)
        images = root / "JPEGImages/480p" / name
        images.mkdir(parents=True)
        for index in range(frames):
            Image.new("RGB", ids.shape[:0:-1]).save(images / f"{index:05d}.jpg")
    for listing in ("2017/val", "2016/train"):
        path = root / "ImageSets" / f"{listing}.txt"
        path.parent.mkdir(parents=True)
        path.write_text("slow\nfast\n")
    return root


@pytest.fixture
def results(davis_folder, tmp_path):
    """Masks for the small DAVIS that lag by one pixel, both ids, every frame."""
    folder = tmp_path / "results"
    for name, frames, speed in (("fast", 7, 3), ("slow", 11, 1)):
        write_masks(folder / name, np.roll(moving_squares(frames, speed=speed), 1, axis=2))
    return folder
