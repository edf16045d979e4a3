"""F113: flows that find a known motion, and things carried along flows."""

import cv2
import numpy as np
import pytest

from followspot.errors import SettingError
from followspot.ops.flow import FLOWS, chain, check_flow, move_box, move_points, warp


def texture(height, width, seed=0):
    noise = cv2.GaussianBlur(np.random.default_rng(seed).random((height, width, 3)), (0, 0), 2.5)
    return ((noise - noise.min()) / np.ptp(noise) * 255).astype(np.uint8)


def shifted_pair(dx, dy, size=(90, 120)):
    """Two views of one texture: what is at (x, y) in the first is at (x + dx, y + dy) in the second."""
    big = texture(size[0] + 40, size[1] + 40)
    return big[20 : size[0] + 20, 20 : size[1] + 20], big[20 - dy : size[0] + 20 - dy, 20 - dx : size[1] + 20 - dx]


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize("shift", [(3, -2), (-5, 4)])
def test_f113_a_known_translation_is_recovered(name, shift):
    flow = FLOWS[name](*shifted_pair(*shift))
    assert flow.shape == (2, 90, 120)
    assert flow.dtype == np.float32
    error = np.hypot(flow[0] - shift[0], flow[1] - shift[1])[10:-10, 10:-10]
    assert np.median(error) < 0.2
    assert np.percentile(error, 90) < 0.5


def test_coarse_to_fine_reaches_further_than_one_level():
    flow = FLOWS["coarse-to-fine"](*shifted_pair(12, 7, (200, 300)))
    assert np.median(np.hypot(flow[0] - 12, flow[1] - 7)) < 0.1


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize("size", [(1, 1), (5, 9), (16, 300)])
def test_flows_of_any_size_are_finite_and_nothing_moves_in_a_still(name, size):
    picture = texture(*size) if min(size) > 1 else np.full((*size, 3), 7, np.uint8)
    flow = FLOWS[name](picture, picture)
    assert flow.shape == (2, *size)
    assert np.median(np.abs(flow)) < 1e-3
    assert np.abs(flow).max() < 0.5  # Farneback's, at the ends of a narrow strip


@pytest.mark.parametrize("name", FLOWS)
def test_pictures_that_do_not_fit_are_refused(name):
    with pytest.raises(SettingError, match="two RGB pictures of one size"):
        FLOWS[name](np.zeros((8, 8, 3), np.uint8), np.zeros((8, 9, 3), np.uint8))


def slow_bilinear(layer, x, y):
    height, width = layer.shape
    x, y = min(max(x, 0), width - 1), min(max(y, 0), height - 1)
    total = 0.0
    for row in (int(np.floor(y)), int(np.floor(y)) + 1):
        for column in (int(np.floor(x)), int(np.floor(x)) + 1):
            weight = max(0, 1 - abs(x - column)) * max(0, 1 - abs(y - row))
            if weight:
                total += weight * layer[row, column]
    return total


def test_warp_agrees_with_the_formula():
    rng = np.random.default_rng(1)
    layer = rng.random((7, 9)).astype(np.float32)
    flow = (rng.integers(-160, 160, (2, 7, 9)) / 32).astype(np.float32)  # OpenCV interpolates in steps of 1/32
    expected = [[slow_bilinear(layer, x + flow[0, y, x], y + flow[1, y, x]) for x in range(9)] for y in range(7)]
    np.testing.assert_allclose(warp(layer, flow), expected, atol=1e-5)


def test_points_agree_with_the_formula():
    rng = np.random.default_rng(2)
    flow = rng.normal(size=(2, 6, 8)).astype(np.float32)
    xy = np.vstack([rng.uniform(-3, 10, (20, 2)), [[7, 5], [0, 0], [6.5, 5]]])
    expected = [(x + slow_bilinear(flow[0], x, y), y + slow_bilinear(flow[1], x, y)) for x, y in xy]
    np.testing.assert_allclose(move_points(xy, flow), expected, atol=1e-6)
    assert np.isnan(move_points(np.array([[np.nan, np.nan]]), flow)).all()


def test_a_chain_of_shifts_is_their_sum_and_of_a_zoom_exact():
    one, two = np.full((2, 6, 8), 1.5, np.float32), np.full((2, 6, 8), -0.25, np.float32)
    np.testing.assert_allclose(chain(one, two), 1.25)
    rows, columns = np.mgrid[:20, :20].astype(np.float32)
    zoom = np.stack([0.1 * (columns - 9), 0.1 * (rows - 9)])  # inside, twice 1.1 is 1.21
    np.testing.assert_allclose(chain(zoom, zoom)[:, 5:14, 5:14], 0.21 / 0.1 * zoom[:, 5:14, 5:14], atol=0.02)


def test_two_hundred_half_pixels_stay_sharp():
    """Warping the label again and again would have spread its edges over tens of pixels."""
    layer = np.zeros((20, 220), np.float32)
    layer[:, 150:170] = 1
    flow = np.zeros((2, 20, 220), np.float32)
    total = flow
    flow = flow.copy()
    flow[0] = 0.5
    for _ in range(200):
        total = chain(flow, total)
    moved = warp(layer, total)
    np.testing.assert_array_equal(moved[:, 50:70], 1)
    assert moved.sum() == layer.sum()


def test_a_box_shifts_and_grows_as_most_of_its_flow_says():
    rows, columns = np.mgrid[:60, :80].astype(np.float32)
    flow = np.stack([3 + 0.25 * (columns - 30), -2 + 0.25 * (rows - 20)])
    box = np.array([20.5, 10.5, 40.5, 30.5])  # its centre is the centre of pixel (30, 20)
    np.testing.assert_allclose(move_box(box, flow), [33.5 - 12.5, 18.5 - 12.5, 33.5 + 12.5, 18.5 + 12.5], atol=1e-4)
    broken = flow.copy()
    broken[:, 10:15, 20:41] = 40  # a quarter of the box is nonsense
    moved = move_box(box, broken)
    assert np.abs((moved[:2] + moved[2:]) / 2 - (33.5, 18.5)).max() < 1.5
    np.testing.assert_allclose(moved[2:] - moved[:2], 25, atol=4)


def test_a_box_outside_the_picture_stays():
    box = np.array([-30.0, 5, -10, 20])
    np.testing.assert_array_equal(move_box(box, np.ones((2, 30, 30), np.float32)), box)


@pytest.mark.parametrize("wrong", [np.zeros((2, 3, 4)), np.full((2, 4, 3), np.nan), np.zeros((4, 3, 2)), "flow", None])
def test_what_is_no_flow_is_refused(wrong):
    with pytest.raises(SettingError, match=r"flow 'mine' gave .* expected finite numbers \(2, 4, 3\)"):
        check_flow(wrong, (4, 3), "mine")
