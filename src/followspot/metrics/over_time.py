"""How a measure changes over a video: curves on one time axis, and how sure their mean is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from followspot.errors import AnnotationError, SettingError

Floats = NDArray[np.float64]

_RESAMPLES = 1000
"""Enough for percentile intervals (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 14.3)."""


@dataclass(frozen=True, kw_only=True)
class Band:
    """A mean over objects and how far it may be off, at each time."""

    mean: Floats
    """``(B,)``; NaN where no object has a value."""
    low: Floats
    """``(B,)`` lower end of the interval; NaN where fewer than two objects have a value."""
    high: Floats
    """``(B,)`` upper end."""
    count: NDArray[np.int64]
    """``(B,)`` objects with a value."""


def in_bins(curve: Sequence[float | None], *, bins: int = 20) -> Floats:
    """A curve on normalised time, from the object's first scored frame to its last.

    A frame is worth the stretch of time that it lasts, so that no bin is empty however short the video is: of n frames, frame i
    covers [i / n, (i + 1) / n], and a bin is the mean of what covers it.

    Args:
        curve: one value a frame; None, or NaN, in frames that are not scored.
        bins: how many, at least 1.

    Returns:
        ``(bins,)``; NaN where no frame in the bin was scored.

    Raises:
        SettingError: fewer than one bin.
        AnnotationError: no frame was scored.

    >>> in_bins([None, 1.0, 0.5, None], bins=4)
    array([1. , 1. , 0.5, 0.5])
    """
    if bins < 1:
        raise SettingError(f"bins is {bins}, expected at least 1; 20 is usual")
    values = np.array([np.nan if value is None else value for value in curve], np.float64)
    scored = np.flatnonzero(~np.isnan(values))
    if not len(scored):
        raise AnnotationError("a curve without a scored frame has no course; leave the object out")
    values = values[scored[0] : scored[-1] + 1]
    return _mean(np.repeat(values, bins).reshape(bins, len(values)).T)


def on_frames(curves: Sequence[Sequence[float | None]]) -> Floats:
    """Curves of videos of different lengths on the number of the frame.

    Args:
        curves: one an object, as for :func:`in_bins`.

    Returns:
        ``(N, T)`` with T the length of the longest; NaN beyond a curve's end and where it is not scored.

    >>> on_frames([[None, 0.5], [None, 1.0, 0.0]])
    array([[nan, 0.5, nan],
           [nan, 1. , 0. ]])
    """
    length = max((len(curve) for curve in curves), default=0)
    table = np.full((len(curves), length), np.nan)
    for row, curve in zip(table, curves, strict=True):
        row[: len(curve)] = [np.nan if value is None else value for value in curve]
    return table


def bootstrap_band(curves: Floats, *, seed: int = 0, level: float = 0.95, resamples: int = _RESAMPLES) -> Band:
    """The mean over objects, and its percentile bootstrap interval.

    Objects are drawn again with replacement, whole curves at a time, since the frames of one object depend on each other.

    Args:
        curves: ``(N, B)``, one row an object; NaN where it has no value.
        seed: of the draws; the same seed gives the same interval.
        level: share of the draws inside the interval, in (0, 1).
        resamples: how often the objects are drawn.

    Returns:
        Mean and interval at each time.

    Raises:
        SettingError: no object, or a level outside (0, 1).
    """
    if curves.ndim != 2 or not len(curves) or not 0 < level < 1:
        raise SettingError(f"a band needs curves (N, B) of at least 1 object and a level in (0, 1), got {curves.shape} and {level}")
    number = len(curves)
    known = ~np.isnan(curves)
    count = known.sum(0)
    draws = np.random.default_rng(seed).multinomial(number, np.full(number, 1 / number), size=resamples).astype(np.float64)
    weight = draws @ known
    means = np.divide(draws @ np.nan_to_num(curves), weight, out=np.full(weight.shape, np.nan), where=weight > 0)
    sure = count > 1
    low, high = np.full((2, curves.shape[1]), np.nan)
    if sure.any():
        tail = 50 * (1 - level)
        low[sure], high[sure] = np.nanpercentile(means[:, sure], [tail, 100 - tail], axis=0)
    return Band(mean=_mean(curves), low=low, high=high, count=count)


def _mean(table: Floats) -> Floats:
    """The mean of each column over what is known."""
    known = ~np.isnan(table)
    count = known.sum(0)
    mean: Floats = np.divide(np.nan_to_num(table).sum(0), count, out=np.full(table.shape[1], np.nan), where=count > 0)
    return mean
