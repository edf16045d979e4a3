"""Boxes read from the coordinates inside them: exact, and robust against what propagation does to maps."""

import cv2
import numpy as np
import pytest
import torch

from followspot.errors import AnnotationError, SettingError
from followspot.ops.box_frame import PARTS, decode_box_frame, encode_box_frames, redraw_box_frame
from followspot.ops.boxes import decode_box, encode_boxes

SIZE, GRID = (240, 320), (30, 40)


def boxes(sides, *, count=40, seed=0, out=False):
    """Random boxes in cells of 8 x 8 pixels; `out` lets a part of them reach over the left or right border."""
    rng = np.random.default_rng(seed)
    w, h = rng.uniform(*sides, (2, count))
    x = rng.uniform(-w / 3, 40 - 2 * w / 3) if out else rng.uniform(0, 40 - w)
    y = rng.uniform(0, 30 - h)
    return 8 * np.stack([x, y, x + w, y + h], 1)


def iou(a, b):
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(wide, 0) * max(high, 0)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def overlaps(given, change):
    """IoU of every box, cut off at the image, with its reading after a change to its maps."""
    truth = np.clip(given, 0, [320, 240, 320, 240])
    return [iou(t, decode_box_frame(change(m), SIZE)) for t, m in zip(truth, encode_box_frames(given, SIZE, GRID), strict=True)]


def moved(maps, matrix):
    """All maps through an affine map of cell coordinates, as an ideal propagation would."""
    warped = [cv2.warpAffine(m.numpy(), np.float32(matrix), GRID[::-1], flags=cv2.INTER_LINEAR) for m in maps]
    return torch.from_numpy(np.stack(warped))


def test_the_maps_are_the_formula():
    left, top, right, bottom = edges = (-12.0, 20.0, 50.0, 61.0)
    maps = encode_box_frames(np.array([edges]), SIZE, GRID)[0].double()
    torch.testing.assert_close(maps[0], encode_boxes(np.array([edges]), SIZE, GRID)[0].double())
    assert maps[1].max() == pytest.approx(1)
    rows, columns = np.nonzero(maps[1].numpy() > 0.01)
    for i, j in zip(rows, columns, strict=True):
        u, v, width, height = (maps[2:, i, j] / maps[1, i, j]).tolist()
        assert u == pytest.approx((8 * j + 4 - left) / (right - left), abs=1e-5)
        assert v == pytest.approx((8 * i + 4 - top) / (bottom - top), abs=1e-5)
        assert (width, height) == pytest.approx(((right - left) / 320, (bottom - top) / 240), abs=1e-5)
    assert not maps[:, maps[0] == 0].any()


@pytest.mark.parametrize(("sides", "out"), [((0.3, 2), False), ((2, 9), False), ((2, 9), True), ((9, 25), False), ((9, 25), True)])
def test_exact_inverse_of_undistorted_maps(sides, out):
    given = boxes(sides, out=out)
    truth = np.clip(given, 0, [320, 240, 320, 240])
    found = np.array([decode_box_frame(m, SIZE) for m in encode_box_frames(given, SIZE, GRID)])
    assert np.abs(found - truth).max() / 8 <= 0.05


def test_a_small_box_is_read_from_what_is_left_of_it():
    given = boxes((4, 9))

    def half(maps):
        left = maps.clone()
        columns = torch.nonzero(maps[0].sum(0))[:, 0]
        left[:, :, columns[len(columns) // 2] :] = 0
        return left

    assert min(overlaps(given, half)) > 0.9
    truth_is_lost = [decode_box(half(m)[0], SIZE) for m in encode_box_frames(given, SIZE, GRID)]
    assert np.mean([iou(t, b) for t, b in zip(given, truth_is_lost, strict=True)]) < 0.6


def test_faded_and_blurred_maps():
    def spoil(maps):
        return 0.2 * torch.from_numpy(np.stack([cv2.GaussianBlur(m.numpy(), (0, 0), 1.0) for m in maps]))

    assert min(overlaps(boxes((5, 20)), spoil)) > 0.9


def test_noise_of_a_cell_averages_out():
    rng = np.random.default_rng(1)

    def spoil(maps):
        noisy = maps.clone()
        weight = maps[1]
        for row, size in ((2, maps[4].max() / maps[1].max() * 40), (3, maps[5].max() / maps[1].max() * 30)):
            noisy[row] += weight * torch.from_numpy(rng.standard_normal(GRID)).float() / size
        return noisy

    found = overlaps(boxes((5, 20)), spoil)
    assert min(found) > 0.75
    assert np.median(found) > 0.85


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_outliers_do_not_pull(share):
    rng = np.random.default_rng(2)

    def spoil(maps):
        wrong = torch.from_numpy(rng.random(GRID) < share)
        votes = maps.clone()
        for row in (2, 3):
            votes[row, wrong] = maps[1, wrong] * torch.from_numpy(rng.uniform(-2, 3, int(wrong.sum()))).float()
        return votes

    assert min(overlaps(boxes((5, 20)), spoil)) > 0.85


def test_what_stays_behind_is_outvoted_and_loses_its_weight():
    """A third of the box's cells do not move with the rest: they were background."""
    maps = encode_box_frames(np.array([[80.0, 80.0, 144.0, 144.0]]), SIZE, GRID)[0]
    shifted = torch.roll(maps, 10, 2)
    mixed = shifted.clone()
    mixed[:, 10:13] = maps[:, 10:13]
    assert iou(decode_box_frame(mixed, SIZE), (160, 80, 224, 144)) > 0.95
    again = redraw_box_frame(mixed)
    assert again[1, 10:12, 10:14].max() < 0.3 * again[1].max()
    assert again[1, 13:15, 23:25].min() > 0.8


@pytest.mark.parametrize("scale", [0.97, 1.03])
def test_growth_is_followed_from_the_inside(scale):
    """Coverage is kept as it was at first, so this is the work of u and v alone."""
    box = np.array([[72.0, 40.0, 232.0, 200.0]])
    maps = first = encode_box_frames(box, SIZE, GRID)[0]
    x, y = 18.5, 14.5
    for _ in range(8):
        maps = redraw_box_frame(moved(maps, [[scale, 0, x * (1 - scale)], [0, scale, y * (1 - scale)]]))
        maps[0] = 0  # no coverage, no help from it
    half = 80 * scale**8
    truth = (152 - half, 120 - half, 152 + half, 120 + half)
    assert iou(decode_box_frame(maps, SIZE), truth) > 0.85
    assert iou(decode_box_frame(first, SIZE), truth) < 0.7


def test_a_large_box_follows_its_coverage():
    """Where the inside looks alike everywhere, u and v say nothing about size."""
    maps = encode_box_frames(np.array([[20.0, 20.0, 220.0, 220.0]]), SIZE, GRID)[0]
    maps[0] = encode_boxes(np.array([[40.0, 40.0, 200.0, 200.0]]), SIZE, GRID)[0]
    for _ in range(8):
        maps = redraw_box_frame(maps)
    np.testing.assert_allclose(decode_box_frame(maps, SIZE), (40, 40, 200, 200), atol=8)


def test_a_large_box_keeps_the_size_that_it_has_outside_the_image():
    """The coverage ends at the border, the box does not."""
    maps = encode_box_frames(np.array([[-80.0, -40.0, 200.0, 200.0]]), SIZE, GRID)[0]
    for _ in range(5):
        maps = redraw_box_frame(maps)
    i, j = np.unravel_index(int(maps[1].argmax()), GRID)
    assert (maps[4:, i, j] / maps[1, i, j]).tolist() == pytest.approx([280 / 320, 240 / 240], abs=0.01)


def test_redrawing_an_exact_box_keeps_it_and_its_coverage():
    for given, maps in zip(boxes((2, 20), count=10)[:, None], encode_box_frames(boxes((2, 20), count=10), SIZE, GRID), strict=True):
        again = maps
        for _ in range(20):
            again = redraw_box_frame(again)
        np.testing.assert_allclose(decode_box_frame(again, SIZE), given[0], atol=0.4)
        torch.testing.assert_close(again[0], maps[0])
        assert again[1].max() == pytest.approx(1)


def test_faded_weights_recover():
    maps = encode_box_frames(np.array([[80.0, 80.0, 144.0, 144.0]]), SIZE, GRID)[0]
    assert redraw_box_frame(0.1 * maps)[1].max() == pytest.approx(1)


def test_linear_blending_of_two_places_is_between_them():
    near, far = encode_box_frames(np.array([[80.0, 80.0, 144.0, 160.0], [88.0, 88.0, 152.0, 168.0]]), SIZE, GRID)
    assert iou(decode_box_frame(0.5 * near + 0.5 * far, SIZE), (84, 84, 148, 164)) > 0.93


def test_mirror_and_transpose():
    rng = np.random.default_rng(3)
    maps = encode_box_frames(np.array([[53.0, 33.0, 103.0, 120.0]]), SIZE, GRID)[0]
    maps = maps * torch.from_numpy(rng.uniform(0.3, 1, GRID)).float()
    x1, y1, x2, y2 = decode_box_frame(maps, SIZE)
    mirrored = maps.flip(2)
    mirrored[2] = mirrored[1] - mirrored[2]
    np.testing.assert_allclose(decode_box_frame(mirrored, SIZE), (320 - x2, y1, 320 - x1, y2), atol=0.4)
    turned = maps[[0, 1, 3, 2, 5, 4]].transpose(1, 2)
    np.testing.assert_allclose(decode_box_frame(turned, (320, 240)), (y1, x1, y2, x2), atol=0.4)


def test_nothing_left_is_no_box():
    maps = encode_box_frames(np.array([[16.0, 16.0, 80.0, 80.0]]), SIZE, GRID)[0]
    assert decode_box_frame(0.01 * maps, SIZE) is None
    assert decode_box_frame(0 * maps, SIZE) is None
    assert redraw_box_frame(0 * maps) is not None
    torch.testing.assert_close(redraw_box_frame(0.01 * maps), 0.01 * maps)
    gone = maps.clone()
    gone[0] = 0
    gone[2] += 30 * gone[1]
    assert decode_box_frame(gone, SIZE) is None


def test_no_boxes():
    assert encode_box_frames(np.zeros((0, 4)), SIZE, GRID).shape == (0, len(PARTS), *GRID)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: encode_box_frames(np.array([[5.0, 5, 5, 9]]), SIZE, GRID), AnnotationError, "5,5,5,9 is empty"),
        (lambda: decode_box_frame(torch.zeros(3, 3), SIZE), AnnotationError, r"must be \(6, h, w\), got \(3, 3\)"),
        (lambda: redraw_box_frame(torch.zeros(1, 3, 3)), AnnotationError, "coverage, weight, u, v, width, height"),
        (lambda: decode_box_frame(torch.zeros(6, 3, 3), (0, 3)), SettingError, "image size"),
    ],
)
def test_errors_say_what_to_do(call, error, says):
    with pytest.raises(error, match=says):
        call()
