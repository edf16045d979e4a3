"""Id maps <-> soft maps: exact shares, bilinear decoding, round trips, errors."""

from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from followspot.errors import AnnotationError, SettingError
from followspot.ops.masks import area_resize, decode_ids, encode_ids, mask_box, mask_boxes, overlap_matrix, upsample

SIZES = st.integers(1, 13)


def slow_share(mask, grid):
    """Share of every cell that the mask covers, in exact fractions."""
    (height, width), (h, w) = mask.shape, grid
    result = np.zeros(grid)
    for i in range(h):
        for j in range(w):
            area = Fraction(0)
            for r, c in np.argwhere(mask):
                down = min(Fraction((i + 1) * height, h), Fraction(int(r) + 1)) - max(Fraction(i * height, h), Fraction(int(r)))
                across = min(Fraction((j + 1) * width, w), Fraction(int(c) + 1)) - max(Fraction(j * width, w), Fraction(int(c)))
                area += max(down, Fraction(0)) * max(across, Fraction(0))
            result[i, j] = area / (Fraction(height, h) * Fraction(width, w))
    return result


def blob(size, *, seed=0, objects=1):
    """Smooth non-convex shapes, the kind of object that masks hold."""
    rng = np.random.default_rng(seed)
    height, width = size
    y, x = np.mgrid[:height, :width]
    ids = np.zeros(size, np.uint8)
    for k in range(objects):
        cx, cy = width * (k + 0.5 + rng.uniform(-0.1, 0.1)) / objects, height * rng.uniform(0.4, 0.6)
        angle = np.arctan2(y - cy, x - cx)
        radius = min(height, width / objects) * (0.33 + 0.06 * np.cos(3 * angle + rng.uniform(0, 6)))
        ids[np.hypot(x - cx, y - cy) < radius] = k + 1
    return ids


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


@settings(deadline=None, max_examples=25)
@given(height=SIZES, width=SIZES, h=SIZES, w=SIZES, seed=st.integers(0, 99))
def test_encode_is_the_exact_share_of_each_cell(height, width, h, w, seed):
    ids = np.random.default_rng(seed).integers(0, 4, (height, width)).astype(np.uint8)
    maps = encode_ids(ids, [3, 1], (h, w))
    assert maps.shape == (2, h, w)
    assert maps.dtype == torch.float32
    for channel, object_id in enumerate([3, 1]):
        np.testing.assert_allclose(maps[channel].numpy(), slow_share(ids == object_id, (h, w)), atol=1e-5)


@settings(deadline=None, max_examples=30)
@given(height=SIZES, width=SIZES, h=SIZES, w=SIZES)
def test_area_resize_preserves_means_and_partitions(height, width, h, w):
    maps = torch.rand(3, height, width, generator=torch.Generator().manual_seed(h * w), dtype=torch.float64)
    maps /= maps.sum(0)
    small = area_resize(maps, (h, w))
    torch.testing.assert_close(small.mean((1, 2)), maps.mean((1, 2)))
    torch.testing.assert_close(small.sum(0), torch.ones(h, w, dtype=torch.float64))


def test_area_resize_is_the_mean_of_blocks_and_repeats_on_the_way_up():
    maps = torch.rand(2, 12, 20)
    torch.testing.assert_close(area_resize(maps, (3, 5)), torch.nn.functional.avg_pool2d(maps, 4))
    torch.testing.assert_close(area_resize(maps, (24, 60)), maps.repeat_interleave(2, 1).repeat_interleave(3, 2))


def test_overlap_matrix_rows_sum_to_one():
    torch.testing.assert_close(overlap_matrix(214, 854, dtype=torch.float64).sum(1), torch.ones(214, dtype=torch.float64))


def test_upsample_agrees_with_opencv_half_pixel_centres():
    maps = torch.rand(2, 7, 11)
    big = upsample(maps, (31, 53))
    for ours, source in zip(big, maps, strict=True):
        np.testing.assert_allclose(ours.numpy(), cv2.resize(source.numpy(), (53, 31), interpolation=cv2.INTER_LINEAR), atol=1e-5)


@pytest.mark.parametrize("size", [(480, 854), (241, 323), (97, 130)])
def test_static_masks_survive_stride_4(size):
    grid = (-(-size[0] // 4), -(-size[1] // 4))
    ids = blob(size, objects=2)
    back = decode_ids(encode_ids(ids, [1, 2], grid), [1, 2], size)
    assert back.dtype == np.uint8
    assert all(iou(back == k, ids == k) >= 0.95 for k in (1, 2))


def test_real_masks_survive_stride_4(shared_data):
    for name in ("bear", "dog-agility", "horsejump-low"):
        path = sorted((shared_data / "davis" / "Annotations").rglob(f"{name}/00000.png"))[0]
        ids = (cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 0).astype(np.uint8)
        back = decode_ids(encode_ids(ids, [1], (120, 214)), [1], ids.shape)
        assert iou(back == 1, ids == 1) >= 0.95


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_marker_stays_in_its_place(stride):
    size = (61, 83)
    grid = (-(-size[0] // stride), -(-size[1] // stride))
    peaks, means = [], []
    for y, x in np.random.default_rng(0).integers([0, 0], [61, 83], (30, 2)):
        ids = np.zeros(size, np.uint8)
        ids[y, x] = 1
        small = encode_ids(ids, [1], grid)
        peaks.append(np.subtract(np.unravel_index(int(upsample(small, size).argmax()), size), (y, x)))
        rows, columns = small[0].sum(1).numpy(), small[0].sum(0).numpy()
        mean = [p @ (np.arange(len(p)) + 0.5) / p.sum() * side / len(p) - 0.5 for p, side in zip((rows, columns), size, strict=True)]
        means.append(np.subtract(mean, (y, x)))
    assert np.abs(means).max() <= stride / 2
    assert np.abs(np.mean(means, axis=0)).max() <= 0.2 * stride
    assert stride > 2 or np.abs(peaks).max() <= 1


def slow_decode(maps, object_ids, size, background):
    scores = torch.cat([upsample(background[None], size), upsample(maps, size)])
    return np.array([0, *object_ids], np.uint8)[scores.numpy().argmax(0)]


@settings(deadline=None, max_examples=25)
@given(count=st.integers(1, 6), h=SIZES, w=SIZES, seed=st.integers(0, 99), known=st.booleans())
def test_decode_agrees_with_plain_argmax(count, h, w, seed, known):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.rand(count, h, w, generator=generator) * 0.7
    background = torch.rand(h, w, generator=generator) if known else (1 - maps.sum(0)).clamp(min=0)
    object_ids = list(range(10, 10 + count))
    found = decode_ids(maps, object_ids, (29, 31), background=background if known else None)
    np.testing.assert_array_equal(found, slow_decode(maps, object_ids, (29, 31), background))


def test_decode_holds_255_objects():
    ids = np.arange(1, 256, dtype=np.uint8).reshape(15, 17).repeat(2, 0).repeat(2, 1)
    everyone = list(range(1, 256))
    np.testing.assert_array_equal(decode_ids(encode_ids(ids, everyone, ids.shape), everyone, ids.shape), ids)


def test_decode_gives_ties_to_the_background_and_earlier_channels():
    half = torch.full((1, 2, 2), 0.5)
    assert not decode_ids(half, [1], (4, 4)).any()
    assert (decode_ids(torch.cat([half, half]), [9, 4], (4, 4)) == 9).all()


def test_decode_of_nothing_is_background():
    assert not decode_ids(torch.zeros(0, 3, 3), [], (6, 6)).any()
    assert not decode_ids(torch.zeros(2, 3, 3), [1, 2], (6, 6)).any()


@settings(deadline=None, max_examples=30)
@given(height=SIZES, width=SIZES, data=st.data())
def test_mask_box_is_the_outer_edge(height, width, data):
    r1, c1 = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    r2, c2 = data.draw(st.integers(r1, height - 1)), data.draw(st.integers(c1, width - 1))
    mask = np.zeros((height, width), bool)
    mask[r1, c1] = mask[r2, c2] = mask[r2, c1] = mask[r1, c2] = True
    assert mask_box(mask) == (c1, r1, c2 + 1, r2 + 1)


def test_mask_boxes_are_those_of_each_id():
    ids = blob((60, 90), objects=3)
    ids[ids == 2] = 200
    boxes = mask_boxes(ids)
    assert list(boxes) == [1, 3, 200]
    assert all(box == mask_box(ids == object_id) for object_id, box in boxes.items())
    assert mask_boxes(np.zeros((4, 4), np.uint8)) == {}


def test_mask_box_of_an_empty_mask():
    assert mask_box(np.zeros((3, 4), bool)) is None


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: encode_ids(np.zeros((4, 4), np.int64), [1], (2, 2)), AnnotationError, "int64"),
        (lambda: encode_ids(np.zeros((0, 4), np.uint8), [1], (2, 2)), AnnotationError, "non-empty"),
        (lambda: encode_ids(np.zeros((4, 4), np.uint8), [0], (2, 2)), AnnotationError, "object id 0"),
        (lambda: encode_ids(np.zeros((4, 4), np.uint8), [2, 2], (2, 2)), AnnotationError, "repeat"),
        (lambda: encode_ids(np.zeros((4, 4), np.uint8), [1], (0, 2)), SettingError, r"grid \(0, 2\)"),
        (lambda: area_resize(torch.zeros(4, 4), (2, 2)), AnnotationError, "channel axis"),
        (lambda: area_resize(torch.zeros(1, 4, 4, dtype=torch.uint8), (2, 2)), AnnotationError, "uint8"),
        (lambda: upsample(torch.zeros(4, 4), (2, 2)), AnnotationError, "channel axis"),
        (lambda: decode_ids(torch.zeros(2, 4, 4), [1], (8, 8)), AnnotationError, "one id each"),
        (lambda: decode_ids(torch.zeros(1, 4, 4), [256], (8, 8)), AnnotationError, "256"),
        (lambda: decode_ids(torch.zeros(1, 4, 4), [1], (8, -8)), SettingError, "size"),
        (lambda: mask_box(np.zeros((1, 3, 4), bool)), AnnotationError, "one object's mask"),
    ],
)
def test_errors_say_what_to_do(call, error, says):
    with pytest.raises(error, match=says):
        call()
