"""F028: numbers of the confusion matrix against loops over pixels and classes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from followspot.errors import AnnotationError
from followspot.metrics.classes import class_scores, confusion

N = 4


def slow(truth, predicted):
    """Overall, mean accuracy, mIoU, weighted IoU, class by class from sets of pixels; 255 is void."""
    scored = [(t, p) for t, p in zip(truth.ravel().tolist(), predicted.ravel().tolist(), strict=True) if t < N]
    right = sum(t == p for t, p in scored)
    accuracies, ious, weighted = [], [], 0.0
    for c in range(N):
        true, called, both = (
            sum(t == c for t, _ in scored),
            sum(p == c for _, p in scored),
            sum(t == p == c for t, p in scored),
        )
        if true:
            accuracies.append(both / true)
        if true + called - both:
            ious.append(both / (true + called - both))
            weighted += true * ious[-1]
    return right / len(scored), np.mean(accuracies), np.mean(ious), weighted / len(scored)


@settings(deadline=None, max_examples=60)
@given(
    hnp.arrays(np.uint8, (5, 6), elements=st.sampled_from([0, 1, 2, 3, 255])),
    hnp.arrays(np.uint8, (5, 6), elements=st.integers(0, N - 1)),
)
def test_f028_agrees_with_loops(truth, predicted):
    if (truth == 255).all():
        truth[0, 0] = 1
    scores = class_scores(confusion(truth, predicted, classes=N))
    got = scores.overall_accuracy, scores.mean_accuracy, scores.mean_iou, scores.weighted_iou
    assert got == pytest.approx(slow(truth, predicted), abs=1e-12)


def test_f028_truth_against_itself_is_one():
    truth = np.random.default_rng(0).integers(0, N, (20, 30))
    scores = class_scores(confusion(truth, truth, classes=N))
    assert (scores.overall_accuracy, scores.mean_accuracy, scores.mean_iou, scores.weighted_iou) == (1, 1, 1, 1)
    assert scores.iou == (1,) * N


def test_matrices_of_pictures_add_up():
    random = np.random.default_rng(1)
    truth, predicted = random.integers(0, N, (2, 2, 7, 8))
    parts = [confusion(t, p, classes=N) for t, p in zip(truth, predicted, strict=True)]
    np.testing.assert_array_equal(sum(parts), confusion(truth, predicted, classes=N))


def test_a_class_that_is_only_predicted_counts_as_zero():
    scores = class_scores(confusion(np.array([0, 0]), np.array([0, 2]), classes=3))
    assert scores.mean_iou == pytest.approx((0.5 + 0) / 2)
    assert scores.mean_accuracy == 0.5
    assert np.isnan(scores.iou[1])


def test_nothing_to_score_is_nan():
    scores = class_scores(confusion(np.full(3, 255), np.zeros(3, int), classes=2))
    assert np.isnan([scores.overall_accuracy, scores.mean_accuracy, scores.mean_iou, scores.weighted_iou]).all()


def test_refuses_what_cannot_be_compared():
    with pytest.raises(AnnotationError, match="both must have the same shape"):
        confusion(np.zeros(3, int), np.zeros(4, int), classes=2)
    with pytest.raises(AnnotationError, match="predicted classes go from 0 to 5, expected 0 to 1"):
        confusion(np.zeros(2, int), np.array([0, 5]), classes=2)
