import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from followspot.errors import AnnotationError
from followspot.metrics.boundary import contour_accuracy
from followspot.metrics.region import region_similarity
from followspot.metrics.summary import score_frame, score_sequence, summarize

# Edges for 1..10, 67 frames and more, worked out by hand from round(1 + k (n - 1) / 4) with halves rounded up, minus one.
EDGES = {
    1: (0, 0, 0, 0, 0),
    2: (0, 0, 1, 1, 1),
    3: (0, 1, 1, 2, 2),
    4: (0, 1, 2, 2, 3),
    5: (0, 1, 2, 3, 4),
    6: (0, 1, 3, 4, 5),
    7: (0, 2, 3, 5, 6),
    8: (0, 2, 4, 5, 7),
    9: (0, 2, 4, 6, 8),
    10: (0, 2, 5, 7, 9),
    67: (0, 17, 33, 50, 66),
    99: (0, 25, 49, 74, 98),
    300: (0, 75, 150, 224, 299),
    1200: (0, 300, 600, 899, 1199),
}


@pytest.mark.parametrize("frames", EDGES)
def test_f140_decay_uses_the_official_quarters_inclusive_at_both_ends(frames):
    values = np.random.default_rng(frames).random(frames)
    edges = EDGES[frames]
    first = [values[i] for i in range(edges[0], edges[1] + 1)]
    last = [values[i] for i in range(edges[3], edges[4] + 1)]
    expected = sum(first) / len(first) - sum(last) / len(last)
    assert summarize(values).decay == pytest.approx(expected, abs=1e-12)


def test_f142_decay_is_right_beyond_256_frames():
    # Edges kept in one byte, as in davis2017-evaluation, would wrap around in both lengths.
    for frames in (300, 1200):
        values = np.where(np.arange(frames) < frames // 2, 1.0, 0.25)
        assert summarize(values).decay == pytest.approx(0.75)


def test_f140_recall_is_strict():
    assert summarize(np.array([0.5, 0.5, 0.500001, 0.0])).recall == 0.25


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=80))
def test_mean_and_symmetry(values):
    forward, backward = summarize(np.array(values)), summarize(np.array(values[::-1]))
    assert forward.mean == pytest.approx(sum(values) / len(values))
    assert forward.recall == backward.recall
    if len(values) % 4 == 1:
        # Only then are the quarters the same from both ends.
        assert forward.decay == pytest.approx(-backward.decay, abs=1e-12)


@pytest.mark.parametrize("values", [np.zeros(0), np.zeros((2, 3)), np.array([0.5, np.nan])])
def test_refuses_what_has_no_summary(values):
    with pytest.raises(AnnotationError, match=r"expected \(T,\) finite values"):
        summarize(values)


def test_every_object_is_scored_against_its_own_id():
    random = np.random.default_rng(0)
    truth = np.kron(random.integers(0, 4, (5, 6, 8)), np.ones((1, 7, 7))).astype(np.uint8)
    predicted = np.roll(truth, 2, axis=2)
    j, f = score_sequence(truth, predicted, [3, 1])
    assert j.shape == f.shape == (2, 5)
    for row, object_id in enumerate([3, 1]):
        pair = predicted == object_id, truth == object_id
        np.testing.assert_allclose(j[row], region_similarity(*pair), atol=1e-12)
        np.testing.assert_allclose(f[row], contour_accuracy(*pair), atol=1e-12)
    assert not np.allclose(j[0], j[1])


def test_an_object_that_left_and_is_not_predicted_scores_1():
    truth = np.zeros((2, 20, 20), np.uint8)
    truth[0, 5:10, 5:10] = 1
    j, f = score_sequence(truth, truth, [1])
    assert j.tolist() == f.tolist() == [[1.0, 1.0]]
    j, f = score_sequence(truth, truth[[0, 0]], [1])
    assert j.tolist() == f.tolist() == [[1.0, 0.0]]


def test_no_frames_and_no_objects_keep_their_shape():
    ids = np.zeros((0, 4, 4), np.uint8)
    assert score_sequence(ids, ids, [1, 2])[0].shape == (2, 0)
    assert score_frame(np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8), [])[1].shape == (0,)


def test_refuses_maps_of_different_shape():
    with pytest.raises(AnnotationError, match=r"truth is \(4, 5\)"):
        score_frame(np.zeros((4, 5), np.uint8), np.zeros((4, 4), np.uint8), [1])
    with pytest.raises(AnnotationError, match=r"must both be \(T, H, W\)"):
        score_sequence(np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8), [1])
