"""TAP-Vid's measures against a slow version of their formulas, and by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from followspot.errors import AnnotationError, SettingError
from followspot.metrics.points import choose_queries, near_in_frames, score_points, scored_frames, to_raster

MODES = ("query-first", "strided")


def slow_scores(predicted, hidden, truth, occluded, queries, mode):
    """AJ, delta, OA by counting; every array is (Q, T)."""
    agree = total = 0
    right, shown_wrong, near_visible = [0] * 5, [0] * 5, [0] * 5
    visible = 0
    for q, (_, at) in enumerate(queries):
        for t in range(occluded.shape[1]):
            if (t <= at) if mode == "query-first" else (t == at):
                continue
            total += 1
            agree += bool(hidden[q, t]) == bool(occluded[q, t])
            visible += not occluded[q, t]
            apart = math.dist(predicted[q, t], truth[q, t])
            for i, threshold in enumerate((1, 2, 4, 8, 16)):
                near = apart < threshold
                near_visible[i] += near and not occluded[q, t]
                if not hidden[q, t]:
                    right[i] += near and not occluded[q, t]
                    shown_wrong[i] += occluded[q, t] or not near
    jaccards = [r / (visible + w) if visible + w else math.nan for r, w in zip(right, shown_wrong, strict=True)]
    return sum(jaccards) / 5, (sum(near_visible) / 5 / visible if visible else math.nan), (agree / total if total else math.nan)


@pytest.mark.parametrize("mode", MODES)
@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6))
def test_agrees_with_the_slow_version(mode, seed):
    rng = np.random.default_rng(seed)
    points, frames = int(rng.integers(1, 6)), int(rng.integers(1, 13))
    occluded = rng.random((points, frames)) < 0.4
    queries = choose_queries(occluded, mode)
    truth = rng.uniform(0, 256, (points, frames, 2))[queries[:, 0]]
    predicted = truth + rng.normal(0, 6, truth.shape)
    hidden = rng.random(truth.shape[:2]) < 0.3
    predicted[hidden & (rng.random(hidden.shape) < 0.5)] = np.nan
    own = occluded[queries[:, 0]]
    found = score_points(predicted, hidden, truth, own, counted=scored_frames(queries, frames, mode))
    expected = slow_scores(predicted, hidden, truth, own, queries, mode)
    np.testing.assert_allclose((found.average_jaccard, found.delta_avg, found.occlusion_accuracy), expected, atol=1e-12)


def test_queries_by_hand():
    occluded = np.ones((3, 12), bool)
    occluded[0, [2, 3, 5]] = False
    occluded[1, [0, 5, 10, 11]] = False
    assert choose_queries(occluded, "query-first").tolist() == [[0, 2], [1, 0]]
    assert choose_queries(occluded, "strided").tolist() == [[1, 0], [0, 5], [1, 5], [1, 10]]
    assert scored_frames(np.array([[0, 1]]), 4, "query-first").tolist() == [[False, False, True, True]]
    assert scored_frames(np.array([[0, 1]]), 4, "strided").tolist() == [[True, False, True, True]]
    with pytest.raises(SettingError, match="query-first, strided"):
        choose_queries(occluded, "last")


def test_by_hand():
    """One point, asked for in frame 0: 3 pixels off; right and hidden; truly hidden but answered; rightly hidden."""
    truth = np.zeros((1, 5, 2))
    predicted = np.array([[[9.0, 9], [3, 0], [0, 0], [0, 0], [np.nan, np.nan]]])
    hidden = np.array([[True, False, True, False, True]])
    occluded = np.array([[False, False, False, True, True]])
    found = score_points(predicted, hidden, truth, occluded, counted=scored_frames(np.array([[0, 0]]), 5, "query-first"))
    # Visible: frames 1 and 2. Near in frame 1 from 4 pixels on, in frame 2 always.
    assert found.delta == (0.5, 0.5, 1, 1, 1)
    assert found.delta_avg == pytest.approx(0.8)
    assert found.occlusion_accuracy == pytest.approx(2 / 4)
    # Shown: frames 1 and 3; frame 3 is always wrong, frame 1 below 4 pixels. 0 / (2 + 2) and 1 / (2 + 1).
    assert found.jaccard == pytest.approx((0, 0, 1 / 3, 1 / 3, 1 / 3))
    assert found.average_jaccard == pytest.approx(0.2)


def test_a_threshold_is_not_reached_by_equality():
    truth = np.zeros((1, 2, 2))
    seen = np.zeros((1, 2), bool)
    found = score_points(truth + np.array([4, 0]), seen, truth, seen, counted=np.array([[False, True]]))
    assert found.delta == (0, 0, 0, 1, 1)


def test_perfect_and_hopeless_answers():
    rng = np.random.default_rng(0)
    truth, occluded, counted = rng.uniform(0, 256, (4, 6, 2)), rng.random((4, 6)) < 0.3, np.ones((4, 6), bool)
    best = score_points(truth, occluded, truth, occluded, counted=counted)
    assert (best.average_jaccard, best.delta_avg, best.occlusion_accuracy) == (1, 1, 1)
    worst = score_points(truth + 100, ~occluded, truth, occluded, counted=counted)
    assert (worst.average_jaccard, worst.delta_avg, worst.occlusion_accuracy) == (0, 0, 0)


def test_the_raster_goes_from_edge_to_edge():
    np.testing.assert_allclose(to_raster(np.array([[-0.5, -0.5], [63.5, 31.5], [31.5, 15.5]]), (32, 64)), [[0, 0], [256, 256], [128, 128]])


def test_shares_in_frames():
    truth = np.zeros((2, 2, 2))
    predicted = truth + np.array([[[0, 0], [0, 0]], [[3, 0], [0, 0]]])
    assert near_in_frames(predicted, truth, np.array([[True, False], [True, False]])) == (pytest.approx((1 + 0.6) / 2), None)


def test_what_cannot_be_compared_is_refused():
    flags = np.zeros((2, 3), bool)
    with pytest.raises(AnnotationError, match="cannot be compared"):
        score_points(np.zeros((2, 3, 2)), flags, np.zeros((2, 3, 2)), flags.T, counted=flags)
