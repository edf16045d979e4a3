import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from followspot.errors import AnnotationError
from followspot.metrics.region import region_similarity


def slow_j(predicted, truth):
    both = either = 0
    for p, g in zip(predicted.ravel(), truth.ravel(), strict=True):
        both += bool(p and g)
        either += bool(p or g)
    return both / either if either else 1.0


MASKS = hnp.arrays(np.bool_, (2, 2, 3, 5))


@settings(deadline=None, max_examples=60)
@given(MASKS)
def test_f140_agrees_with_counting_pixels(pair):
    expected = [slow_j(p, g) for p, g in zip(*pair, strict=True)]
    np.testing.assert_allclose(region_similarity(*pair), expected, atol=1e-12)


def test_empty_cases():
    empty = np.zeros((4, 4), bool)
    full = ~empty
    assert region_similarity(empty, empty) == 1
    assert region_similarity(empty, full) == 0
    assert region_similarity(full, empty) == 0


@pytest.mark.parametrize(("shift", "expected"), [(0, 1.0), (1, 9 / 11), (5, 1 / 3), (10, 0.0)])
def test_shifted_square(shift, expected):
    truth = np.zeros((30, 40), bool)
    truth[10:20, 10:20] = True
    assert region_similarity(np.roll(truth, shift, axis=1), truth) == pytest.approx(expected)


def test_keeps_leading_axes():
    masks = np.zeros((2, 3, 4, 5), bool)
    assert region_similarity(masks, masks).shape == (2, 3)
    assert region_similarity(masks[0, 0], masks[0, 0]).shape == ()


@settings(deadline=None, max_examples=30)
@given(MASKS, st.integers(0, 4))
def test_symmetric_and_shift_invariant(pair, shift):
    a, b = pair
    np.testing.assert_array_equal(region_similarity(a, b), region_similarity(b, a))
    np.testing.assert_array_equal(region_similarity(a, b), region_similarity(np.roll(a, shift, axis=-1), np.roll(b, shift, axis=-1)))


@pytest.mark.parametrize(
    ("predicted", "truth", "message"),
    [
        (np.zeros((4, 4), np.uint8), np.zeros((4, 4), bool), "predicted masks are uint8, expected bool"),
        (np.zeros((4, 4), bool), np.zeros((4, 4), float), "truth masks are float64, expected bool"),
        (np.zeros(4, bool), np.zeros(4, bool), r"shape \(4,\), expected \(..., H, W\)"),
        (np.zeros((4, 4), bool), np.zeros((4, 5), bool), r"\(4, 4\) but the truth is \(4, 5\)"),
    ],
)
def test_refuses_what_cannot_be_compared(predicted, truth, message):
    with pytest.raises(AnnotationError, match=message):
        region_similarity(predicted, truth)
