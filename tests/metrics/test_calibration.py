import math

import numpy as np
import pytest

from followspot.errors import AnnotationError, SettingError
from followspot.metrics.calibration import alarms, alarms_at, reliability, roc_area


def test_bins_hold_the_means_of_their_answers():
    rng = np.random.default_rng(2)
    confidence, overlap = np.append(rng.random(300), [0.0, 1.0]), np.append(rng.random(300), [0.0, 1.0])
    found = reliability(confidence, overlap, bins=7)
    error = 0.0
    for bin in range(7):
        inside = [k for k, value in enumerate(confidence) if min(int(value * 7), 6) == bin]
        assert found.count[bin] == len(inside)
        assert found.predicted[bin] == pytest.approx(np.mean(confidence[inside]))
        assert found.measured[bin] == pytest.approx(np.mean(overlap[inside]))
        error += len(inside) / 302 * abs(np.mean(confidence[inside]) - np.mean(overlap[inside]))
    assert found.error == pytest.approx(error)


def test_a_confidence_that_says_the_overlap_has_no_error():
    overlap = np.linspace(0, 1, 50)
    assert reliability(overlap, overlap).error == pytest.approx(0, abs=1e-12)


def test_empty_bins_are_nan_and_do_not_count():
    found = reliability(np.array([0.95]), np.array([0.75]))
    assert found.count.tolist() == [0] * 9 + [1]
    assert np.isnan(found.predicted[:9]).all()
    assert found.error == pytest.approx(0.2)


def test_alarms_by_hand():
    confidence = np.array([0.1, 0.6, 0.2, 0.9, 0.5])
    overlap = np.array([0.2, 0.4, 0.8, 0.9, 0.5])
    found = alarms(confidence, overlap, threshold=0.5)
    assert (found.bad, found.good) == (2, 3)
    assert found.recall == 0.5
    assert found.false_alarms == pytest.approx(1 / 3)


def test_rates_of_nothing_are_nan():
    found = alarms(np.array([0.9]), np.array([0.9]), threshold=0.5)
    assert math.isnan(found.recall)
    assert found.false_alarms == 0


def answers(rng, count=60, steps=12):
    """Few different confidences, so that many are equal."""
    return rng.integers(0, steps, count) / steps, rng.random(count)


@pytest.mark.parametrize("seed", range(5))
def test_the_area_is_the_share_of_pairs_in_order(seed):
    confidence, overlap = answers(np.random.default_rng(seed))
    pairs = [
        1.0 if a < b else 0.5 if a == b else 0.0
        for a, x in zip(confidence, overlap, strict=True)
        if x < 0.5
        for b, y in zip(confidence, overlap, strict=True)
        if y >= 0.5
    ]
    assert roc_area(confidence, overlap) == pytest.approx(np.mean(pairs))
    assert roc_area(1 - confidence, overlap) == pytest.approx(1 - np.mean(pairs))


def test_the_area_by_hand():
    assert roc_area(np.array([0.1, 0.2, 0.8]), np.array([0.1, 0.3, 0.9])) == 1.0
    assert roc_area(np.full(4, 0.3), np.array([0.1, 0.3, 0.9, 0.9])) == 0.5
    assert math.isnan(roc_area(np.array([0.1, 0.2]), np.array([0.9, 0.9])))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 1.0])
def test_the_best_threshold_is_the_best_of_all(seed, share):
    confidence, overlap = answers(np.random.default_rng(seed))
    tried = [alarms(confidence, overlap, threshold=threshold) for threshold in (*np.unique(confidence), 2.0)]
    best = max(one.recall for one in tried if one.false_alarms <= share)
    found = alarms_at(confidence, overlap, false_alarms=share)
    assert found.false_alarms <= share
    assert found.recall == best


def test_a_fifth_of_five_is_one():
    confidence, overlap = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.15]), np.array([0.9] * 5 + [0.1])
    assert alarms_at(confidence, overlap, false_alarms=0.2).recall == 1.0


def test_errors_say_what_is_wrong():
    for confidence, overlap in (([0.5], [1.5]), ([0.5], [np.nan]), ([0.5, 0.5], [0.5]), ([], [])):
        with pytest.raises(AnnotationError, match="in \\[0, 1\\]"):
            reliability(np.array(confidence), np.array(overlap))
    with pytest.raises(SettingError, match="bins is 0"):
        reliability(np.array([0.5]), np.array([0.5]), bins=0)
