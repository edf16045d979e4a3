import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from followspot.errors import AnnotationError
from followspot.metrics.boundary import boundary_map, contour_accuracy, contour_score, tolerance_radius


def slow_boundary(mask):
    """From the benchmark's description: XOR with the east, south and south-east neighbour, last row and column apart, corner 0."""
    height, width = mask.shape
    outline = np.zeros((height, width), bool)
    for y in range(height):
        for x in range(width):
            east = mask[y, x] != mask[y, x + 1] if x + 1 < width else False
            south = mask[y, x] != mask[y + 1, x] if y + 1 < height else False
            inside = x + 1 < width and y + 1 < height
            outline[y, x] = east or south or (inside and mask[y, x] != mask[y + 1, x + 1])
    return outline


def slow_f(predicted, truth):
    """All pairs of outline pixels and their Euclidean distance."""
    p, g = (np.argwhere(slow_boundary(mask)) for mask in (predicted, truth))
    if not len(p) or not len(g):
        return float(len(p) == len(g))
    radius = math.ceil(0.008 * math.hypot(*truth.shape))
    close = ((p[:, None] - g[None]) ** 2).sum(-1) <= radius**2
    precision, recall = close.any(1).mean(), close.any(0).mean()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@settings(deadline=None, max_examples=60)
@given(hnp.arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_boundary_map_agrees_with_neighbours(mask):
    np.testing.assert_array_equal(boundary_map(mask), slow_boundary(mask))


@settings(deadline=None, max_examples=60)
@given(hnp.arrays(np.bool_, st.tuples(st.just(2), st.integers(1, 12), st.integers(1, 12))))
def test_agrees_with_all_pairs_of_outline_pixels_on_noise(pair):
    assert contour_score(*pair).f == pytest.approx(slow_f(*pair), abs=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_f140_agrees_with_all_pairs_of_outline_pixels_on_blobs(seed):
    random = np.random.default_rng(seed)
    height, width = random.integers(60, 200, 2)
    field = ndimage.gaussian_filter(random.standard_normal((2, height, width)), (0, 9, 9))
    truth = field[0] > 0.01
    predicted = field[0] + 0.6 * field[1] > 0.01
    expected = slow_f(predicted, truth)
    assert 0.2 < expected < 1
    assert contour_score(predicted, truth).f == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("corner", [(0, 0), (0, 60), (40, 0), (40, 60), (20, 30)])
def test_cropping_to_the_objects_changes_nothing_at_any_border(corner):
    truth = np.zeros((60, 90), bool)
    truth[corner[0] : corner[0] + 20, corner[1] : corner[1] + 30] = True
    predicted = np.roll(truth, (-2, 3), axis=(0, 1))
    assert contour_score(predicted, truth).f == pytest.approx(slow_f(predicted, truth), abs=1e-12)


def test_agrees_with_a_distance_transform_on_a_whole_frame():
    truth = np.zeros((240, 427), bool)
    truth[50:150, 100:250] = True
    predicted = np.roll(truth, (3, 5), axis=(0, 1))
    truth_outline, predicted_outline = slow_boundary(truth), slow_boundary(predicted)
    score = contour_score(predicted, truth)
    assert score.precision == pytest.approx((ndimage.distance_transform_edt(~truth_outline) <= 4)[predicted_outline].mean(), abs=1e-12)
    assert score.recall == pytest.approx((ndimage.distance_transform_edt(~predicted_outline) <= 4)[truth_outline].mean(), abs=1e-12)
    assert score.precision < 1


@pytest.mark.parametrize(
    ("size", "radius"), [((480, 854), 8), ((480, 910), 9), ((1080, 1920), 18), ((240, 432), 4), ((300, 400), 4), ((3, 4), 1)]
)
def test_tolerance_is_rounded_up(size, radius):
    assert tolerance_radius(*size) == radius


def square(offset=0):
    mask = np.zeros((100, 100), bool)
    mask[30:60, 30 + offset : 60 + offset] = True
    return mask


@pytest.mark.parametrize(
    ("predicted", "truth", "precision", "recall", "f"),
    [
        (square() & False, square() & False, 1, 1, 1),
        (square() & False, square(), 1, 0, 0),
        (square(), square() & False, 0, 1, 0),
        (square(), square(), 1, 1, 1),
        (square(2), square(), 1, 1, 1),
        (np.roll(square(), 35, axis=0), square(), 0, 0, 0),
    ],
    ids=["both empty", "nothing predicted", "nothing there", "equal", "within the tolerance", "far away"],
)
def test_hand_cases(predicted, truth, precision, recall, f):
    score = contour_score(predicted, truth)
    assert (score.precision, score.recall, score.f) == (precision, recall, f)


def test_one_pixel_beyond_the_tolerance_counts():
    # The diagonal is 141 pixels, so the tolerance is 2: a shift by 3 leaves only the horizontal sides close.
    assert tolerance_radius(100, 100) == 2
    assert contour_score(square(3), square()).f < 0.7
    assert contour_score(square(3), square(), radius=3).f == 1


def test_stacks_keep_leading_axes():
    masks = np.stack([square(), square(2), square(3)])
    truth = np.broadcast_to(square(), masks.shape)
    scores = contour_accuracy(np.stack([masks, masks]), np.stack([truth, truth]))
    assert scores.shape == (2, 3)
    assert scores[1, :2].tolist() == [1, 1]
    assert scores[1, 2] < 0.7


def test_refuses_what_cannot_be_compared():
    with pytest.raises(AnnotationError, match="expected bool"):
        contour_accuracy(np.zeros((2, 4, 4), np.uint8), np.zeros((2, 4, 4), np.uint8))
    with pytest.raises(AnnotationError, match="same shape"):
        contour_score(np.zeros((4, 4), bool), np.zeros((4, 5), bool))
    with pytest.raises(AnnotationError, match="use contour_accuracy for stacks"):
        contour_score(np.zeros((2, 4, 4), bool), np.zeros((2, 4, 4), bool))
