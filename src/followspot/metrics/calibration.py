"""Whether a confidence means what it says: predicted against measured, and how well it warns."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from followspot.errors import AnnotationError, SettingError

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """Predicted confidence against measured overlap, in bins of equal width."""

    predicted: Floats
    """``(bins,)`` mean confidence of a bin; NaN of an empty one."""
    measured: Floats
    """``(bins,)`` mean overlap of a bin; NaN of an empty one."""
    count: NDArray[np.int64]
    """``(bins,)`` answers in a bin."""
    error: float
    """Expected calibration error: the mean distance of the two, bins weighted by their answers (Naeini et al., AAAI 2015)."""


@dataclass(frozen=True, kw_only=True)
class Alarms:
    """What a threshold on the confidence finds."""

    recall: float
    """Share of the bad answers that are flagged; NaN without a bad one."""
    false_alarms: float
    """Share of the good answers that are flagged; NaN without a good one."""
    bad: int
    good: int


def reliability(confidence: Floats, overlap: Floats, *, bins: int = 10) -> Reliability:
    """Compare confidence with overlap.

    Args:
        confidence: ``(N,)`` in [0, 1], what was predicted.
        overlap: ``(N,)`` in [0, 1], what was measured.
        bins: how many, at least 1; the last one includes 1.

    Returns:
        Means and counts of the bins.

    Raises:
        AnnotationError: the two differ in length, are empty, or leave [0, 1].
        SettingError: fewer than one bin.

    >>> reliability(np.array([0.2, 0.9]), np.array([0.4, 0.9]), bins=2).error
    0.1
    """
    _check(confidence, overlap)
    if bins < 1:
        raise SettingError(f"bins is {bins}, expected at least 1; 10 is usual")
    place = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    count = np.bincount(place, minlength=bins)
    predicted, measured = (
        np.divide(np.bincount(place, weights=values, minlength=bins), count, out=np.full(bins, np.nan), where=count > 0)
        for values in (confidence, overlap)
    )
    error = float(np.nansum(np.abs(predicted - measured) * count) / len(confidence))
    return Reliability(predicted=predicted, measured=measured, count=count, error=error)


def alarms(confidence: Floats, overlap: Floats, *, threshold: float, bad_below: float = 0.5) -> Alarms:
    """How well low confidence warns of bad answers.

    Args:
        confidence: ``(N,)`` in [0, 1].
        overlap: ``(N,)`` in [0, 1].
        threshold: confidence below it raises an alarm.
        bad_below: overlap below it is bad; 0.5 is the threshold of DAVIS's recall.

    Returns:
        The two rates and how many answers they are of.

    Raises:
        AnnotationError: as in :func:`reliability`.
    """
    _check(confidence, overlap)
    bad, flagged = overlap < bad_below, confidence < threshold
    rates = [float(flagged[group].mean()) if group.any() else float("nan") for group in (bad, ~bad)]
    return Alarms(recall=rates[0], false_alarms=rates[1], bad=int(bad.sum()), good=int((~bad).sum()))


def alarms_at(confidence: Floats, overlap: Floats, *, false_alarms: float, bad_below: float = 0.5) -> Alarms:
    """What the best threshold finds that flags no more than a share of the good answers.

    Args:
        confidence: ``(N,)`` in [0, 1].
        overlap: ``(N,)`` in [0, 1].
        false_alarms: the share, in [0, 1].
        bad_below: as in :func:`alarms`.

    Returns:
        The rates at that threshold; equal confidences are flagged together, so the share may be smaller than asked for.

    Raises:
        AnnotationError: as in :func:`reliability`.

    >>> alarms_at(np.array([0.1, 0.4, 0.6, 0.9]), np.array([0.2, 0.8, 0.3, 0.9]), false_alarms=0.0).recall
    0.5
    """
    _check(confidence, overlap)
    good = np.sort(confidence[overlap >= bad_below])
    allowed = int(false_alarms * len(good) + 1e-9)  # floating point: 0.2 of 5 is 1
    threshold = float(good[allowed]) if allowed < len(good) else float("inf")
    return alarms(confidence, overlap, threshold=threshold, bad_below=bad_below)


def roc_area(confidence: Floats, overlap: Floats, *, bad_below: float = 0.5) -> float:
    """Area under the curve of recall over false alarms, over all thresholds (Hanley and McNeil, Radiology 1982).

    It is the chance that a bad answer has less confidence than a good one; equal ones count half.

    Args:
        confidence: ``(N,)`` in [0, 1].
        overlap: ``(N,)`` in [0, 1].
        bad_below: as in :func:`alarms`.

    Returns:
        In [0, 1]; 0.5 is no better than chance. NaN where all answers are bad, or all good.

    Raises:
        AnnotationError: as in :func:`reliability`.

    >>> roc_area(np.array([0.1, 0.4, 0.6, 0.9]), np.array([0.2, 0.8, 0.3, 0.9]))
    0.75
    """
    _check(confidence, overlap)
    bad = np.sort(confidence[overlap < bad_below])
    good = confidence[overlap >= bad_below]
    if not len(bad) or not len(good):
        return float("nan")
    below, upto = (np.searchsorted(bad, good, side=side) for side in ("left", "right"))
    return float((below + upto).mean() / 2 / len(bad))


def _check(confidence: Floats, overlap: Floats) -> None:
    inside = all(len(values) and values.min() >= 0 and values.max() <= 1 for values in (confidence, overlap))
    if confidence.ndim != 1 or confidence.shape != overlap.shape or not inside:
        shapes = f"{confidence.shape} and {overlap.shape}"
        raise AnnotationError(f"confidence and overlap must be (N,) each, in [0, 1] and finite, got {shapes}; check how they were made")
