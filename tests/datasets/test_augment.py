"""Crops against geometry done by hand, warping against a slow loop, and the two ways of warping against each other."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from followspot.datasets.augment import CropSettings, StillMotion, draw_crop, draw_still_path
from followspot.datasets.warp import gather_frames, samples_per_pixel, warp_frames
from followspot.errors import SettingError


def corners(matrix, size):
    """Where the corners of the output's area lie in the source, counted from pixel centres."""
    edges = np.array([[-0.5, -0.5, 1], [size - 0.5, -0.5, 1], [-0.5, size - 0.5, 1], [size - 0.5, size - 0.5, 1]])
    return edges @ matrix.T


def smooth(height, width, *, seed=0):
    """A picture of slow waves, so that interpolation hardly matters."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [127 + 100 * np.sin(2 * np.pi * (x * rng.uniform(-1, 1) + y * rng.uniform(-1, 1)) / 60 + rng.uniform(0, 6)) for _ in range(3)]
    return np.stack(waves, -1).round().astype(np.uint8)


def slow_warp(image, matrix, size, fine):
    """Bilinear samples in a fine grid, averaged; one pixel at a time."""
    height, width = image.shape[:2]
    out = np.zeros((size, size, 3))
    for v in range(size):
        for u in range(size):
            for j in range(fine):
                for i in range(fine):
                    x, y = matrix @ (u + (i + 0.5) / fine - 0.5, v + (j + 0.5) / fine - 0.5, 1)
                    left, top = math.floor(x), math.floor(y)
                    for dy in (0, 1):
                        for dx in (0, 1):
                            weight = abs(1 - dx - (x - left)) * abs(1 - dy - (y - top))
                            pixel = image[min(max(top + dy, 0), height - 1), min(max(left + dx, 0), width - 1)]
                            out[v, u] += weight * pixel / fine**2
    return out


crops = st.builds(
    lambda size, resize, low, high, place, aspect, turn, flip: CropSettings(
        size=size,
        resize=resize,
        zoom=(min(low, high), max(low, high)),
        place=place,
        aspect=aspect,
        rotation_degrees=turn,
        flip_probability=flip,
    ),
    st.integers(1, 300),
    st.sampled_from(["crop", "squash", "native"]),
    st.floats(0.05, 1),
    st.floats(0.05, 1),
    st.sampled_from(["random", "centre"]),
    st.floats(1, 3),
    st.floats(0, 180),
    st.floats(0, 1),
)


@settings(deadline=None, max_examples=300)
@given(crops, st.tuples(st.integers(2, 400), st.integers(2, 400)), st.integers(0, 999))
def test_f015_crops_stay_inside_the_image(crop, size, seed):
    where = corners(draw_crop(crop, size, rng=np.random.default_rng(seed)), crop.size)
    assert where.min() >= -0.5 - 1e-6
    assert (where.max(0) <= np.array([size[1], size[0]]) - 0.5 + 1e-6).all()


@settings(deadline=None, max_examples=100)
@given(crops, st.tuples(st.integers(2, 400), st.integers(2, 400)), st.integers(0, 999), st.integers(1, 6))
def test_still_paths_stay_inside_the_image(crop, size, seed, frames):
    path = draw_still_path(crop, StillMotion(), size=size, frames=frames, rng=np.random.default_rng(seed))
    assert path.shape == (frames, 2, 3)
    for matrix in path:
        where = corners(matrix, crop.size)
        assert where.min() >= -0.5 - 1e-6
        assert (where.max(0) <= np.array([size[1], size[0]]) - 0.5 + 1e-6).all()


def test_f015_squash_shows_everything():
    matrix = draw_crop(CropSettings(size=64, resize="squash"), (100, 180), rng=np.random.default_rng(0))
    assert np.allclose(corners(matrix, 64), [[-0.5, -0.5], [179.5, -0.5], [-0.5, 99.5], [179.5, 99.5]])


@pytest.mark.parametrize(("resize", "side"), [("crop", 50), ("native", 64)])
def test_f015_others_keep_the_aspect(resize, side):
    crop = CropSettings(size=64, resize=resize, zoom=(0.5, 0.5), rotation_degrees=20, flip_probability=0.5)
    matrix = draw_crop(crop, (100, 180), rng=np.random.default_rng(1))
    lengths = np.linalg.norm(matrix[:, :2], axis=0) * 64
    assert np.allclose(lengths, side)
    assert abs(matrix[:, 0] @ matrix[:, 1]) < 1e-9


def test_f015_native_takes_pixels_as_they_are():
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    matrix = draw_crop(CropSettings(size=40, resize="native"), (40, 60), rng=np.random.default_rng(3))
    matrix[0, 2] = round(matrix[0, 2])
    out = np.empty((1, 40, 40, 3), np.uint8)
    warp_frames([image], matrix[None], size=40, out=out)
    left = int(matrix[0, 2])
    assert (out[0] == image[:, left : left + 40]).all()


def test_native_of_a_small_video_takes_its_short_side():
    matrix = draw_crop(CropSettings(size=64, resize="native"), (32, 48), rng=np.random.default_rng(0))
    assert np.allclose(matrix[:, :2], np.eye(2) / 2)


def test_f016_flip_mirrors_left_to_right():
    plain, flipped = (
        draw_crop(CropSettings(size=8, place="centre", flip_probability=share), (8, 12), rng=np.random.default_rng(5))
        for share in (0.0, 1.0)
    )
    image = smooth(8, 12)
    out = np.empty((2, 8, 8, 3), np.uint8)
    warp_frames([image, image], np.stack([plain, flipped]), size=8, out=out)
    assert (out[0] == image[:, 2:10]).all()
    assert (out[1] == out[0][:, ::-1]).all()


def test_flips_happen_as_often_as_asked():
    rng = np.random.default_rng(0)
    crop = CropSettings(size=8, flip_probability=0.3)
    assert abs(np.mean([draw_crop(crop, (9, 9), rng=rng)[0, 0] < 0 for _ in range(4000)]) - 0.3) < 0.03


def test_zoom_aspect_and_turn_cover_their_ranges():
    rng = np.random.default_rng(0)
    crop = CropSettings(size=10, zoom=(0.2, 0.4), aspect=1.5, rotation_degrees=30)
    drawn = np.stack([draw_crop(crop, (100, 300), rng=rng) for _ in range(3000)])
    width, height = np.linalg.norm(drawn[:, :, 0], axis=1) * 10, np.linalg.norm(drawn[:, :, 1], axis=1) * 10
    area, ratio = np.sqrt(width * height), width / height
    turn = np.degrees(np.arctan2(drawn[:, 1, 0], drawn[:, 0, 0]))
    for values, low, high in ((area, 20, 40), (ratio, 1 / 1.5, 1.5), (turn, -30, 30)):
        assert low - 1e-6 <= values.min() < low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) < values.max() <= high + 1e-6


def test_still_motion_moves_smoothly_and_within_bounds():
    motion = StillMotion(zoom=(0.4, 0.4), shift=0.2, rotation_degrees=10, scale=1.2)
    crop = CropSettings(size=100)
    moved = 0.0
    for seed in range(50):
        path = draw_still_path(crop, motion, size=(400, 400), frames=9, rng=np.random.default_rng(seed))
        centres = path @ np.array([49.5, 49.5, 1])
        scale = np.linalg.norm(path[:, :, 0], axis=1) * 100 / 160
        turn = np.degrees(np.arctan2(path[:, 1, 0], path[:, 0, 0]))
        assert np.abs(turn).max() <= 10 + 1e-6
        assert 1 / 1.2 - 1e-6 <= scale.min() <= scale.max() <= 1.2 + 1e-6
        steps = np.diff(centres, axis=0)
        assert np.abs(centres - centres[0]).max() <= 2 * 0.2 * 160 + 1e-6
        assert np.abs(steps).max() <= 0.2 * 160 * 4 / 8 + 1e-6  # a quadratic Bezier curve within [-1, 1] has slope 4 at most
        moved = max(moved, np.abs(centres[-1] - centres[0]).max())
    assert moved > 20


@pytest.mark.parametrize("shrink", [0.6, 1.0, 1.2, 1.9, 3.1])
def test_warping_equals_a_slow_loop(shrink):
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    matrix = shrink * np.array([[math.cos(0.3), -math.sin(0.3), 8.2], [math.sin(0.3), math.cos(0.3), 1.7]])
    fine = int(samples_per_pixel(matrix))
    assert fine == math.ceil(max(shrink, 1) / 1.3)
    expected = slow_warp(image, matrix, 9, fine)
    pixels = torch.from_numpy(image).view(-1, 3)
    gathered = gather_frames(pixels, np.array([0]), sizes=np.array([[40, 50]]), matrices=matrix[None], size=9)
    assert np.abs(gathered[0].permute(1, 2, 0).numpy() - expected).max() <= 0.502
    out = np.empty((1, 9, 9, 3), np.uint8)
    warp_frames([image], matrix[None], size=9, out=out)
    assert np.abs(out[0] - expected).max() <= 0.5 + 255 * 2 / 32  # OpenCV places samples on a grid of 1/32 pixel


def test_gathering_equals_opencv_on_smooth_pictures_of_many_sizes():
    sizes = [(60, 90), (90, 60), (64, 64)]
    images = [smooth(*size, seed=seed) for seed, size in enumerate(sizes)]
    starts = np.cumsum([0] + [image.shape[0] * image.shape[1] for image in images])[:-1]
    pixels = torch.from_numpy(np.concatenate([image.reshape(-1, 3) for image in images]))
    rng = np.random.default_rng(0)
    which = rng.integers(0, 3, 40)
    crop = CropSettings(size=16, zoom=(0.3, 1), aspect=1.3, rotation_degrees=180, flip_probability=0.5)
    matrices = np.stack([draw_crop(crop, sizes[image], rng=rng) for image in which])
    assert len(np.unique(samples_per_pixel(matrices))) >= 3
    gathered = gather_frames(pixels, starts[which], sizes=np.array(sizes)[which], matrices=matrices, size=16)
    out = np.empty((40, 16, 16, 3), np.uint8)
    warp_frames([images[image] for image in which], matrices, size=16, out=out)
    assert np.abs(gathered.permute(0, 2, 3, 1).int().numpy() - out.astype(int)).max() <= 2


def test_shrinking_does_not_alias():
    stripes = np.zeros((240, 240, 3), np.uint8)
    stripes[:, ::2] = 255
    matrix = draw_crop(CropSettings(size=60, resize="squash"), (240, 240), rng=np.random.default_rng(0))
    out = np.empty((1, 60, 60, 3), np.uint8)
    warp_frames([stripes], matrix[None], size=60, out=out)
    assert np.abs(out.astype(int) - 127.5).max() <= 2


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ({"size": 0}, "size 0"),
        ({"resize": "pad"}, "resize 'pad'"),
        ({"place": "left"}, "place 'left'"),
        ({"zoom": (0.8, 0.5)}, r"zoom \[0.8, 0.5\]"),
        ({"zoom": (0.0, 0.5)}, r"zoom \[0.0, 0.5\]"),
        ({"zoom": (0.5, 1.5)}, r"zoom \[0.5, 1.5\]"),
        ({"aspect": 0.5}, "aspect 0.5"),
        ({"rotation_degrees": -1.0}, "rotation_degrees -1"),
        ({"flip_probability": 2.0}, "flip_probability 2"),
    ],
)
def test_bad_crops(bad, told):
    with pytest.raises(SettingError, match=told):
        CropSettings(**bad)


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ({"zoom": (0.0, 1.0)}, "zoom"),
        ({"shift": 1.5}, "shift 1.5"),
        ({"rotation_degrees": 181.0}, "rotation_degrees 181"),
        ({"scale": 0.9}, "scale 0.9"),
    ],
)
def test_bad_still_motion(bad, told):
    with pytest.raises(SettingError, match=told):
        StillMotion(**bad)
