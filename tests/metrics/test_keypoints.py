"""PCK against a slow version of its formula, and by hand (F143)."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from followspot.errors import AnnotationError, SettingError
from followspot.metrics.keypoints import (
    ALPHAS,
    area_distances,
    mean_of_known,
    near_per_frame,
    normalized_distances,
    pck_per_joint,
    pixel_distances,
)

PROTOCOLS = ("videowalk", "legacy", "strict")


def slow_pck(clips, alpha, protocol):
    """Mean over joints of the share of near ones; clips are (predicted, truth) with NaN for lost and for not annotated."""
    right, counted = {}, {}
    for predicted, truth in clips:
        for t in range(0 if protocol == "legacy" else 1, len(truth)):
            seen = []
            for k in range(len(truth[t])):
                x = predicted[t][k][0]
                answered = {"videowalk": x >= 0, "legacy": x > 0, "strict": True}[protocol]
                if answered and not any(math.isnan(v) for v in truth[t][k]):
                    seen.append(k)
            if not seen:
                continue
            xs, ys = [truth[t][k][0] for k in seen], [truth[t][k][1] for k in seen]
            size = 0.6 * math.sqrt((max(xs) - min(xs)) ** 2 + (max(ys) - min(ys)) ** 2)
            for k in seen:
                apart = math.sqrt(sum((predicted[t][k][i] - truth[t][k][i]) ** 2 for i in (0, 1)))
                counted[k] = counted.get(k, 0) + 1
                right[k] = right.get(k, 0) + (apart <= alpha * size)
    return sum(right[k] / counted[k] for k in counted) / len(counted) if counted else float("nan")


def pck(clips, alpha, protocol):
    return mean_of_known(pck_per_joint([normalized_distances(*clip, protocol=protocol) for clip in clips], alpha))


def clips_of(seed, count=3, joints=5):
    rng = np.random.default_rng(seed)
    clips = []
    for _ in range(count):
        truth = rng.uniform(5, 100, (rng.integers(1, 6), joints, 2))
        predicted = truth + rng.normal(0, 12, truth.shape)
        predicted[rng.random(truth.shape[:2]) < 0.2] = np.nan
        truth[rng.random(truth.shape[:2]) < 0.1] = np.nan
        clips.append((predicted, truth))
    return clips


@pytest.mark.parametrize("protocol", PROTOCOLS)
@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6))
def test_f143_agrees_with_the_slow_version(protocol, seed):
    clips = clips_of(seed)
    for alpha in ALPHAS:
        np.testing.assert_allclose(pck(clips, alpha, protocol), slow_pck(clips, alpha, protocol), atol=1e-12)


def by_hand():
    """Two frames, three joints 0, 30 and (30, 40) apart: size 0.6 * 50 = 30, so .1 is 3 pixels."""
    truth = np.tile(np.array([[0.0, 0], [30, 0], [30, 40]]), (2, 1, 1)) + 10
    predicted = truth.copy()
    predicted[1] += [[3, 0], [3.1, 0], [0, 6]]
    return predicted, truth


def test_f143_by_hand():
    clip = by_hand()
    assert pck([clip], 0.1, "strict") == pytest.approx(1 / 3)
    assert pck([clip], 0.2, "strict") == 1
    assert pck([clip], 0.1, "videowalk") == pytest.approx(1 / 3)
    # The first frame, given and so right, counts here: each joint 1/2, the first one 2/2.
    assert pck([clip], 0.1, "legacy") == pytest.approx((1 + 0.5 + 0.5) / 3)


def test_f143_a_lost_joint_lowers_strict_only():
    clip = by_hand()
    before = {protocol: pck([clip], 0.2, protocol) for protocol in PROTOCOLS}
    assert set(before.values()) == {1.0}
    # The middle joint is lost: the box of the others is the same.
    clip[0][1, 1] = np.nan
    assert pck([clip], 0.2, "videowalk") == 1
    assert pck([clip], 0.2, "legacy") == 1
    assert pck([clip], 0.2, "strict") == pytest.approx(2 / 3)
    # Dropping a joint that is wrong even raises them.
    clip[0][1, 1] = clip[1][1, 1] + 100
    assert pck([clip], 0.2, "videowalk") == pytest.approx(2 / 3)
    clip[0][1, 1] = -1
    assert pck([clip], 0.2, "videowalk") == 1
    assert pck([clip], 0.2, "strict") == pytest.approx(2 / 3)


def test_the_box_is_that_of_the_joints_that_count():
    predicted, truth = by_hand()
    predicted[1, 2] = np.nan  # left are two joints 30 apart: size 18
    found = normalized_distances(predicted, truth, protocol="videowalk")
    np.testing.assert_allclose(found[1, :2], [3 / 18, 3.1 / 18])
    np.testing.assert_allclose(normalized_distances(predicted, truth, protocol="strict")[1], [3 / 30, 3.1 / 30, np.inf])


def test_x_of_zero_counts_in_videowalk_only():
    predicted, truth = by_hand()
    truth = truth - 10
    predicted[1] = truth[1]
    assert not np.isnan(normalized_distances(predicted, truth, protocol="videowalk")[1, 0])
    assert np.isnan(normalized_distances(predicted, truth, protocol="legacy")[1, 0])


def test_single_joints_and_nothing_at_all():
    truth = np.full((2, 1, 2), 5.0)
    assert normalized_distances(truth, truth, protocol="strict")[1, 0] == 0
    assert normalized_distances(truth + 1, truth, protocol="strict")[1, 0] == np.inf
    nothing = np.full((2, 1, 2), np.nan)
    assert np.isnan(normalized_distances(nothing, truth, protocol="videowalk")).all()
    assert np.isnan(normalized_distances(truth, nothing, protocol="strict")).all()
    assert math.isnan(pck([(truth, nothing)], 0.1, "strict"))


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), scale=st.floats(0.5, 4), shift=st.floats(0, 50))
def test_moving_and_scaling_both_changes_nothing(seed, scale, shift):
    predicted, truth = clips_of(seed, count=1)[0]
    predicted = np.where(predicted[..., :1] > 0, predicted, np.nan)
    before = normalized_distances(predicted, truth, protocol="strict")
    after = normalized_distances(predicted * scale + shift, truth * scale + shift, protocol="strict")
    np.testing.assert_allclose(after, before, rtol=1e-6)


def test_more_is_near_at_larger_thresholds():
    distances = [normalized_distances(*clip, protocol="strict") for clip in clips_of(4)]
    shares = [mean_of_known(pck_per_joint(distances, alpha)) for alpha in ALPHAS]
    assert shares == sorted(shares)
    assert shares[0] < shares[-1]


def test_animals_by_hand():
    truth = np.array([[[0.0, 0], [10, 10], [np.nan, np.nan], [4, 4]]])
    predicted = truth + np.array([[[0, 20.0], [20.1, 0], [0, 0], [np.nan, 0]]])
    found = area_distances(predicted, truth, np.array([10_000.0]))
    np.testing.assert_allclose(found, [[0.2, 0.201, np.nan, np.inf]])
    np.testing.assert_allclose(pixel_distances(predicted, truth), [[20, 20.1, np.nan, np.inf]])
    assert near_per_frame(found, 0.2) == (pytest.approx(1 / 3),)
    assert near_per_frame(np.full((1, 2), np.nan), 0.2) == (None,)


def test_what_cannot_be_compared_is_refused():
    joints = np.zeros((2, 3, 2))
    with pytest.raises(AnnotationError, match=r"\(2, 3, 2\) and true ones \(3, 2\)"):
        pixel_distances(joints, joints[0])
    with pytest.raises(AnnotationError, match="give one a frame"):
        area_distances(joints, joints, np.ones(3))
    with pytest.raises(SettingError, match="strict"):
        normalized_distances(joints, joints, protocol="pck")
