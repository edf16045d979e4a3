"""F152: success and precision of boxes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from followspot.errors import AnnotationError
from followspot.metrics.success import DISTANCES, NORMALISED, OVERLAPS, box_curves, box_overlaps

BOXES = hnp.arrays(np.float64, st.tuples(st.just(2), st.integers(1, 8), st.just(4)), elements=st.integers(0, 30)).map(
    lambda corner: np.concatenate([corner[..., :2], corner[..., :2] + 1 + corner[..., 2:]], axis=-1)
)


def slow_overlap(one, other):
    """Whole-number boxes by counting pixels."""
    pixels = [{(x, y) for x in range(int(a), int(c)) for y in range(int(b), int(d))} for a, b, c, d in (one, other)]
    return len(pixels[0] & pixels[1]) / len(pixels[0] | pixels[1])


def slow_curves(predicted, truth, *, strict):
    success, precision, normalised = [], [], []
    for threshold in OVERLAPS:
        passed = [o > threshold if strict else o >= threshold and o > 0 for o in map(slow_overlap, predicted, truth)]
        success.append(sum(passed) / len(passed))
    for thresholds, result, scaled in ((DISTANCES, precision, False), (NORMALISED, normalised, True)):
        for threshold in thresholds:
            near = 0
            for one, other in zip(predicted, truth, strict=True):
                dx, dy = ((one[i] + one[i + 2]) / 2 - (other[i] + other[i + 2]) / 2 for i in (0, 1))
                if scaled:
                    dx, dy = dx / (other[2] - other[0]), dy / (other[3] - other[1])
                near += (dx**2 + dy**2) ** 0.5 <= threshold
            result.append(near / len(truth))
    return success, precision, normalised


@settings(deadline=None, max_examples=40)
@given(BOXES, st.booleans())
def test_agrees_with_counting_pixels_and_frames(pair, strict):
    np.testing.assert_allclose(box_overlaps(*pair), [slow_overlap(*boxes) for boxes in zip(*pair, strict=True)], atol=1e-12)
    curves = box_curves(*pair, strict=strict)
    expected = slow_curves(*pair, strict=strict)
    # Centre distances exactly at a threshold may round either way; these boxes have half-pixel centres, so only normalised ones do.
    np.testing.assert_allclose(curves.success, expected[0], atol=1e-12)
    np.testing.assert_allclose(curves.precision, expected[1], atol=1e-12)
    np.testing.assert_allclose(curves.normalised, expected[2], atol=1 / len(pair[0]) + 1e-12)


@settings(deadline=None, max_examples=40)
@given(BOXES, st.booleans())
def test_f152_curves_are_monotone(pair, strict):
    curves = box_curves(*pair, strict=strict)
    assert (np.diff(curves.success) <= 0).all()
    assert (np.diff(curves.precision) >= 0).all()
    assert (np.diff(curves.normalised) >= 0).all()
    for curve in (curves.success, curves.precision, curves.normalised):
        assert curve.min() >= 0
        assert curve.max() <= 1


def test_f152_a_perfect_track_has_auc_one_and_20_of_21_in_the_toolkit():
    truth = np.array([[3.0, 4, 10, 20], [3.5, 4, 10, 20.25]])
    perfect = box_curves(truth, truth, strict=False)
    assert (perfect.auc, perfect.near, perfect.normalised_auc) == (1, 1, 1)
    assert box_curves(truth, truth, strict=True).auc == pytest.approx(20 / 21, abs=1e-12)


def test_a_hand_case():
    truth = np.array([[0.0, 0, 10, 10]] * 4)
    predicted = np.array([[0.0, 0, 10, 10], [5, 0, 15, 10], [0, 30, 10, 40], [np.nan] * 4])
    curves = box_curves(predicted, truth, strict=False)
    # Overlaps 1, 1/3, 0, none: half pass up to 0.3, a quarter up to 1; boxes that do not touch pass nowhere.
    assert curves.success.tolist() == [0.5] * 7 + [0.25] * 14
    # Distances 0, 5, 30 and infinite.
    assert curves.precision[[0, 4, 5, 29, 30, 50]].tolist() == [0.25, 0.25, 0.5, 0.5, 0.75, 0.75]
    assert curves.near == 0.5
    # Normalised: 0, 0.5, 3.
    assert curves.normalised[[0, 49, 50]].tolist() == [0.25, 0.25, 0.5]


def test_frames_without_truth_are_left_out():
    truth = np.array([[0.0, 0, 4, 4], [np.nan] * 4])
    overlaps = box_overlaps(np.array([[0.0, 0, 4, 4], [9, 9, 10, 10]]), truth)
    assert overlaps[0] == 1
    assert np.isnan(overlaps[1])
    assert box_curves(np.tile([0.0, 0, 4, 4], (2, 1)), truth, strict=False).auc == 1
    assert np.isnan(box_curves(truth[1:], truth[1:], strict=False).auc)


def test_refuses_other_shapes():
    with pytest.raises(AnnotationError, match=r"must both be \(T, 4\)"):
        box_overlaps(np.zeros((2, 4)), np.zeros((3, 4)))
