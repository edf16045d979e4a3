"""Short scenes in which regions of one picture move by known amounts: exact labels for any video, without annotating any."""

from dataclasses import dataclass, field
from typing import cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from followspot.datasets.augment import CropSettings, StillMotion, draw_still_path
from followspot.datasets.jitter import JitterSettings, jitter_colors
from followspot.datasets.warp import warp_frames
from followspot.errors import SettingError
from followspot.jobs.pseudo_objects import draw_objects

Image = NDArray[np.uint8]

SMALLEST = 48
"""Pixels: a region must cover three quarters of a cell of stride 8, or there is nothing to follow."""
_COLOR = JitterSettings(brightness=0.1, contrast=0.1, saturation=0.1, hue=0.01, per_frame=True)
"""Milder than in training: it is the light of a video that changes, not a test of invariance."""


_ROOM = 4
"""Side of the imaginary picture that regions move over, in sides of the scene: so large that its border is not met."""


def _camera_motion() -> StillMotion:
    return StillMotion(zoom=(0.8, 0.95), shift=0.2, rotation_degrees=8.0, scale=1.1)


def _region_motion() -> StillMotion:
    return StillMotion(zoom=(1 / _ROOM, 1 / _ROOM), shift=0.2, rotation_degrees=15.0, scale=1.2)


@dataclass(frozen=True, kw_only=True)
class SceneSettings:
    """What a scene is like.

    Raises:
        SettingError: a value is outside its range.
    """

    objects: int = 8
    """Regions, 1..100."""
    frames: int = 5
    """Length, at least 2."""
    pixels: int = 240
    """Side of the frames, at least 32. Tracking sees 480, which takes four times as long."""
    camera: StillMotion = field(default_factory=_camera_motion)
    """How the background moves."""
    motion: StillMotion = field(default_factory=_region_motion)
    """How each region moves: from frame to frame by 16 pixels (median), two cells of stride 8; who stays put overlaps by 0.2."""

    def __post_init__(self) -> None:
        for name, least in (("objects", 1), ("frames", 2), ("pixels", 32)):
            if getattr(self, name) < least:
                raise SettingError(f"{name} = {getattr(self, name)} is too small for a scene; use {least} or more")
        if self.objects > 100:
            raise SettingError(f"objects = {self.objects} are too many for one frame; use 100 or fewer")


def moving_scene(
    still: Image, settings: SceneSettings, *, rng: np.random.Generator, color_seed: int | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A scene in which regions of one frame move apart from each other.

    Args:
        still: RGB ``(H, W, 3)`` uint8.
        settings: how many regions, frames and pixels, and how they move.
        rng: what is random comes from it, but for
        color_seed: which the changes of colour come from, >= 0; None leaves colours as they are.

    Returns:
        Frames ``(T, S, S, 3)`` uint8, and the exact id maps ``(T, S, S)`` uint8.
    """
    side, still = settings.pixels, _square(still, rng=rng)
    ids = draw_objects(still, settings.objects, rng=rng)
    camera = _camera(still, settings, rng=rng)
    # What a region leaves behind must not show it a second time.
    empty = _without(still, ids > 0)
    frames = np.empty((settings.frames, side, side, 3), np.uint8)
    truth = np.zeros((settings.frames, side, side), np.uint8)
    warp_frames([empty] * settings.frames, camera, size=side, out=frames)
    layer = np.empty_like(frames)
    for region in range(1, int(ids.max()) + 1):
        # In the first frame the region lies where the camera sees it; from there it goes its own way.
        maps = np.stack([_joined(camera[0], step) for step in _way(settings, rng=rng)])
        warp_frames([still] * settings.frames, maps, size=side, out=layer)
        shape = (ids == region).astype(np.uint8)
        for t, matrix in enumerate(maps):
            covers = cv2.warpAffine(shape, matrix, (side, side), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP) > 0
            frames[t][covers], truth[t][covers] = layer[t][covers], region
    small = [region for region in range(1, int(ids.max()) + 1) if np.count_nonzero(truth[0] == region) < SMALLEST]
    truth[np.isin(truth, small)] = 0
    return frames if color_seed is None else _recolored(frames, seed=color_seed), truth


def _without(still: Image, covered: NDArray[np.bool_]) -> Image:
    hole = cv2.dilate(covered.astype(np.uint8), np.ones((3, 3), np.uint8))
    return cast(Image, cv2.inpaint(still, hole, 3, cv2.INPAINT_TELEA))


def _square(still: Image, *, rng: np.random.Generator) -> Image:
    """A square part of a picture, all of its short side: what is drawn there will mostly be in view."""
    height, width = still.shape[:2]
    side = min(height, width)
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    return np.ascontiguousarray(still[top : top + side, left : left + side])


def _camera(still: Image, settings: SceneSettings, *, rng: np.random.Generator) -> NDArray[np.float64]:
    """``(T, 2, 3)``: pixels of the scene to those of the picture, all inside it."""
    size = (still.shape[0], still.shape[1])
    return draw_still_path(CropSettings(size=settings.pixels), settings.camera, size=size, frames=settings.frames, rng=rng)


def _way(settings: SceneSettings, *, rng: np.random.Generator) -> NDArray[np.float64]:
    """``(T, 2, 3)``: pixels of the scene to where they were in the first frame; nothing stands in the way."""
    size = settings.pixels * _ROOM
    path = draw_still_path(CropSettings(size=settings.pixels), settings.motion, size=(size, size), frames=settings.frames, rng=rng)
    first = _inverse(path[0])
    return np.stack([_joined(first, step) for step in path])


def _joined(outer: NDArray[np.float64], inner: NDArray[np.float64]) -> NDArray[np.float64]:
    """``(2, 3)``: first `inner`, then `outer`."""
    return np.asarray(np.hstack([outer[:, :2] @ inner[:, :2], outer[:, :2] @ inner[:, 2:] + outer[:, 2:]]))


def _inverse(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    back = np.linalg.inv(matrix[:, :2])
    return np.asarray(np.hstack([back, -back @ matrix[:, 2:]]))


def _recolored(frames: NDArray[np.uint8], *, seed: int) -> NDArray[np.uint8]:
    clip = torch.from_numpy(frames).permute(0, 3, 1, 2)[None].float() / 255
    changed = jitter_colors(clip, _COLOR, seed=seed, step=0)[0]
    return np.asarray((changed * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy())
