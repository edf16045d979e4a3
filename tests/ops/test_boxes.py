"""Boxes <-> soft maps: exact shares, exact inverse, robust after blur, fading, clipping and noise."""

import cv2
import numpy as np
import pytest
import torch

from followspot.errors import AnnotationError, SettingError
from followspot.ops.boxes import decode_box, encode_boxes
from followspot.ops.masks import encode_ids

SIZE, GRID = (240, 320), (30, 40)


def boxes(widths, heights, *, count=60, seed=0, inside=True):
    """Random boxes in cells of 8 x 8 pixels."""
    rng = np.random.default_rng(seed)
    w, h = rng.uniform(*widths, count), rng.uniform(*heights, count)
    out = 0 if inside else w / 2
    x, y = rng.uniform(-out, 40 - w + out), rng.uniform(0, 30 - h)
    return 8 * np.stack([x, y, x + w, y + h], 1)


def iou(a, b):
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(wide, 0) * max(high, 0)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def after(given, change):
    """Truth (clipped to the image) and reading of every box after a change to its map."""
    maps = encode_boxes(given, SIZE, GRID).numpy()
    truth = np.clip(given, 0, [320, 240, 320, 240])
    return truth, np.array([decode_box(torch.from_numpy(change(m)), SIZE) for m in maps])


def blur(sigma):
    return lambda m: cv2.GaussianBlur(m, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)


def test_encoding_is_the_share_of_the_cell():
    maps = encode_boxes(np.array([[3.0, 2.0, 27.0, 11.0], [-9.0, 5.0, 4.0, 99.0]]), (24, 35), (5, 9))
    for (x1, y1, x2, y2), found in zip([(3, 2, 27, 11), (0, 5, 4, 24)], maps, strict=True):
        ids = np.zeros((24, 35), np.uint8)
        ids[y1:y2, x1:x2] = 1
        torch.testing.assert_close(found, encode_ids(ids, [1], (5, 9))[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("inside", [True, False])
def test_exact_inverse_of_an_undistorted_box(inside):
    truth, found = after(boxes((2.0 if inside else 4.0, 20), (2, 20), inside=inside), lambda m: m)
    assert np.abs(found - truth).max() / 8 <= 0.05


def test_exact_inverse_where_the_stride_does_not_divide_the_size():
    given = np.array([[17.3, 20.1, 80.9, 60.6]])
    found = decode_box(encode_boxes(given, (97, 131), (25, 33))[0], (97, 131))
    np.testing.assert_allclose(found, given[0], atol=0.05 * 4)


def test_boxes_narrower_than_two_cells_use_the_height_of_the_peak():
    truth, found = after(boxes((1.2, 1.9), (4, 9)), lambda m: m)
    assert np.median([iou(a, b) for a, b in zip(truth, found, strict=True)]) > 0.95


@pytest.mark.parametrize("fade", [1.0, 0.3])
def test_blur_of_one_cell_and_fading(fade):
    truth, found = after(boxes((4, 15), (4, 15)), lambda m: fade * blur(1)(m))
    assert min(iou(a, b) for a, b in zip(truth, found, strict=True)) > 0.9


def test_blurred_at_the_border():
    truth, found = after(boxes((5, 12), (5, 12), inside=False), blur(1))
    assert min(iou(a, b) for a, b in zip(truth, found, strict=True)) > 0.85


def test_small_boxes_after_blur():
    truth, found = after(boxes((2, 2.001), (6, 6.001)), blur(1))
    assert min(iou(a, b) for a, b in zip(truth, found, strict=True)) >= 0.6


def test_noise_and_clutter_do_not_pull_the_edges():
    rng = np.random.default_rng(3)

    def spoil(m):
        noisy = blur(1)(m) * (1 + 0.2 * rng.standard_normal(m.shape).astype(np.float32)).clip(0)
        noisy[0, 0] = noisy[-1, -1] = 0.9
        return noisy

    given = boxes((5, 12), (5, 12))
    given += np.clip(24 - given[:, [0, 1, 0, 1]], 0, None)
    given -= np.clip(given[:, [2, 3, 2, 3]] - [296, 216, 296, 216], 0, None)
    truth, found = after(given, spoil)
    overlaps = [iou(a, b) for a, b in zip(truth, found, strict=True)]
    assert np.median(overlaps) > 0.9
    assert np.percentile(overlaps, 5) > 0.8


def test_the_heavier_of_two_parts_wins():
    maps = encode_boxes(np.array([[16.0, 16.0, 80.0, 80.0], [200.0, 100.0, 232.0, 132.0]]), SIZE, GRID)
    np.testing.assert_allclose(decode_box(0.8 * maps[0] + maps[1], SIZE), (16, 16, 80, 80), atol=0.5)


def test_a_part_three_cells_away_does_not_pull_the_edge():
    maps = encode_boxes(np.array([[16.0, 16.0, 80.0, 80.0], [104.0, 16.0, 144.0, 80.0]]), SIZE, GRID)
    np.testing.assert_allclose(decode_box(maps.sum(0), SIZE), (16, 16, 80, 80), atol=0.1)


def test_mirror_and_transpose():
    given = np.array([[21.0, 33.0, 83.0, 70.0]])
    m = torch.from_numpy(blur(1)(encode_boxes(given, SIZE, GRID)[0].numpy()))
    x1, y1, x2, y2 = decode_box(m, SIZE)
    np.testing.assert_allclose(decode_box(m.flip(1), SIZE), (320 - x2, y1, 320 - x1, y2), atol=1e-2)
    np.testing.assert_allclose(decode_box(m.T, (320, 240)), (y1, x1, y2, x2), atol=1e-2)


def test_a_faded_map_holds_no_box():
    m = encode_boxes(np.array([[16.0, 16.0, 80.0, 80.0]]), SIZE, GRID)[0]
    assert decode_box(0.01 * m, SIZE) is None
    assert decode_box(0.01 * m, SIZE, floor=0.001) is not None
    assert decode_box(0 * m, SIZE, floor=0) is None


def test_a_full_map_is_the_whole_image():
    np.testing.assert_allclose(decode_box(torch.ones(30, 40), SIZE), (0, 0, 320, 240), atol=1)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: encode_boxes(np.zeros(4), SIZE, GRID), AnnotationError, "four columns"),
        (lambda: encode_boxes(np.array([[5.0, 5, 5, 9]]), SIZE, GRID), AnnotationError, "5,5,5,9 is empty"),
        (lambda: encode_boxes(np.array([[5.0, 5, np.nan, 9]]), SIZE, GRID), AnnotationError, "nan"),
        (lambda: encode_boxes(np.zeros((0, 4)), (0, 1), GRID), SettingError, "image size"),
        (lambda: decode_box(torch.zeros(1, 3, 3), SIZE), AnnotationError, "one box at a time"),
        (lambda: decode_box(torch.zeros(3, 3), SIZE, floor=2), SettingError, "floor 2"),
    ],
)
def test_errors_say_what_to_do(call, error, says):
    with pytest.raises(error, match=says):
        call()
