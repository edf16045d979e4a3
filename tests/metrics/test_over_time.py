"""F148: J against time, on normalised time and on frame numbers, with a bootstrap band."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from followspot.errors import AnnotationError, SettingError
from followspot.metrics.over_time import bootstrap_band, in_bins, on_frames

values = st.lists(st.floats(0, 1), min_size=1, max_size=60)


def slow_bins(curve, bins):
    """By the overlap of every frame's stretch of time with every bin."""
    scored = [index for index, value in enumerate(curve) if value is not None]
    curve = curve[scored[0] : scored[-1] + 1]
    means = []
    for bin in range(bins):
        weight = total = 0.0
        for index, value in enumerate(curve):
            shared = min((index + 1) / len(curve), (bin + 1) / bins) - max(index / len(curve), bin / bins)
            if value is not None and shared > 1e-12:
                weight, total = weight + shared, total + shared * value
        means.append(total / weight if weight else math.nan)
    return means


@given(values, st.integers(1, 25))
def test_f148_normalised_time_weighs_frames_by_the_time_they_last(curve, bins):
    assert np.allclose(in_bins(curve, bins=bins), slow_bins(curve, bins), atol=1e-9)


@given(values, st.integers(1, 25))
def test_frames_that_are_not_scored_do_not_count(curve, bins):
    padded = [None, None, *curve, None]
    assert np.array_equal(in_bins(padded, bins=bins), in_bins(curve, bins=bins))


def test_gaps_inside_are_left_out_of_their_bins():
    curve = [1.0, None, None, None, 0.0, 0.0]
    assert np.allclose(in_bins(curve, bins=3), slow_bins(curve, 3), equal_nan=True)
    assert in_bins(curve, bins=3).tolist()[0] == 1.0
    assert math.isnan(in_bins(curve, bins=3)[1])


@given(values)
def test_the_mean_over_bins_is_the_mean_over_frames(curve):
    assert in_bins(curve, bins=20).mean() == pytest.approx(np.mean(curve), abs=1e-9)


def test_frame_numbers_keep_their_place():
    table = on_frames([(None, 0.5, 0.25), (None, 1.0), (0.0,)])
    assert np.array_equal(table, [[np.nan, 0.5, 0.25], [np.nan, 1, np.nan], [0, np.nan, np.nan]], equal_nan=True)


def slow_band(curves, seed, resamples, level):
    """One draw after the other, each object as often as it was drawn."""
    rng = np.random.default_rng(seed)
    number = len(curves)
    means = []
    for often in rng.multinomial(number, [1 / number] * number, size=resamples):
        drawn = np.repeat(curves, often, axis=0)
        means.append([np.mean(column[~np.isnan(column)]) if (~np.isnan(column)).any() else np.nan for column in drawn.T])
    tail = 50 * (1 - level)
    return np.nanpercentile(means, [tail, 100 - tail], axis=0)


def test_f148_band_is_the_percentile_bootstrap_over_objects():
    curves = np.random.default_rng(4).random((5, 3))
    curves[1, 2] = curves[3, 0] = np.nan
    band = bootstrap_band(curves, seed=7, level=0.9, resamples=200)
    low, high = slow_band(curves, 7, 200, 0.9)
    assert np.allclose(band.mean, np.nanmean(curves, axis=0))
    assert np.allclose(band.low, low)
    assert np.allclose(band.high, high)
    assert band.count.tolist() == [4, 5, 4]


def test_the_same_seed_gives_the_same_band_and_another_does_not():
    curves = np.random.default_rng(0).random((6, 4))
    assert np.array_equal(bootstrap_band(curves, seed=3).low, bootstrap_band(curves, seed=3).low)
    assert not np.array_equal(bootstrap_band(curves, seed=3).low, bootstrap_band(curves, seed=4).low)


def test_the_band_covers_the_true_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    inside = 0
    for trial in range(200):
        band = bootstrap_band(rng.normal(0.5, 0.2, (40, 1)), seed=trial, resamples=300)
        inside += band.low[0] <= 0.5 <= band.high[0]
    assert 180 <= inside <= 199


def test_one_object_has_no_band():
    band = bootstrap_band(np.array([[0.5, np.nan]]))
    assert band.mean[0] == 0.5
    assert np.isnan([band.mean[1], band.low[0], band.high[0]]).all()


def test_errors_say_what_is_wrong():
    with pytest.raises(AnnotationError, match="without a scored frame"):
        in_bins([None, None])
    with pytest.raises(SettingError, match="bins is 0"):
        in_bins([1.0], bins=0)
    with pytest.raises(SettingError, match="at least 1 object"):
        bootstrap_band(np.zeros((0, 4)))
    with pytest.raises(SettingError, match="level"):
        bootstrap_band(np.zeros((2, 4)), level=1.0)
