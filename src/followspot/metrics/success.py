"""Boxes in one pass: overlap, success and precision (Wu, Lim and Yang, "Online Object Tracking: A Benchmark", CVPR 2013, section 4)."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from followspot.errors import AnnotationError

Floats = NDArray[np.float64]

OVERLAPS: Final = np.linspace(0, 1, 21)
"""Thresholds of the success plot: 0, 0.05 ... 1 (the benchmark's toolkit)."""
DISTANCES: Final = np.arange(51.0)
"""Thresholds of the precision plot in pixels: 0 to 50 (the same)."""
NORMALISED: Final = np.linspace(0, 0.5, 51)
"""Thresholds of the normalised precision plot (Müller et al., "TrackingNet", ECCV 2018, section 4.2)."""
NEAR: Final = 20
"""Pixels at which precision is read (Wu et al.)."""


@dataclass(frozen=True, kw_only=True)
class BoxCurves:
    """Share of frames that pass each threshold, in [0, 1]; NaN if no frame has a true box."""

    success: Floats
    """``(21,)`` at `OVERLAPS`; never rises."""
    precision: Floats
    """``(51,)`` at `DISTANCES`; never falls."""
    normalised: Floats
    """``(51,)`` at `NORMALISED`; never falls."""

    @property
    def auc(self) -> float:
        """Area under the success plot: the mean over its thresholds."""
        return float(self.success.mean())

    @property
    def near(self) -> float:
        """Precision at 20 pixels."""
        return float(self.precision[NEAR])

    @property
    def normalised_auc(self) -> float:
        """Area under the normalised precision plot: the mean over its thresholds."""
        return float(self.normalised.mean())


def box_overlaps(predicted: Floats, truth: Floats) -> Floats:
    """Intersection over union, frame by frame.

    Args:
        predicted: ``(T, 4)`` boxes ``xyxy``; NaN where there is none.
        truth: the same; NaN where the object is absent.

    Returns:
        ``(T,)`` in [0, 1]; 0 where nothing was predicted, NaN where nothing is true.

    Raises:
        AnnotationError: the boxes are not ``(T, 4)`` or differ in number.

    >>> box_overlaps(np.array([[0.0, 0, 2, 2]]), np.array([[1.0, 0, 3, 2]])).round(3)
    array([0.333])
    """
    _check(predicted, truth)
    inner = np.clip(np.minimum(predicted[:, 2:], truth[:, 2:]) - np.maximum(predicted[:, :2], truth[:, :2]), 0, None).prod(1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (predicted, truth)]
    with np.errstate(invalid="ignore"):
        overlap = inner / (areas[0] + areas[1] - inner)
    return np.where(np.isnan(truth).any(1), np.nan, np.where(np.isfinite(overlap), overlap, 0.0))


def box_curves(predicted: Floats, truth: Floats, *, strict: bool) -> BoxCurves:
    """Success and precision of one video. Frames without a true box are left out.

    Args:
        predicted: ``(T, 4)`` boxes ``xyxy``; NaN where there is none: overlap 0, infinitely far.
        truth: the same; NaN where the object is absent.
        strict: an overlap passes a threshold if it is above it, as in the benchmark's toolkit, so that a perfect track scores 20/21. If
            not, it passes from the threshold on, so that a perfect track scores 1. At threshold 0 it must be above 0 either way: boxes
            that do not touch never pass.

    Raises:
        AnnotationError: the boxes are not ``(T, 4)`` or differ in number.

    >>> box = np.array([[0.0, 0, 10, 20]])
    >>> box_curves(box, box, strict=False).auc, round(box_curves(box, box, strict=True).auc, 4)
    (1.0, 0.9524)
    """
    overlaps = box_overlaps(predicted, truth)
    scored = ~np.isnan(overlaps)
    if not scored.any():
        nothing = (np.full(len(thresholds), np.nan) for thresholds in (OVERLAPS, DISTANCES, NORMALISED))
        return BoxCurves(**dict(zip(("success", "precision", "normalised"), nothing, strict=True)))
    found, real = predicted[scored], truth[scored]
    offset = (found[:, :2] + found[:, 2:] - real[:, :2] - real[:, 2:]) / 2
    overlap = overlaps[scored][:, None]
    passed = (overlap > OVERLAPS) if strict else (overlap >= OVERLAPS) & (overlap > 0)
    return BoxCurves(
        success=passed.mean(0),
        precision=_within(offset, DISTANCES),
        normalised=_within(offset / (real[:, 2:] - real[:, :2]), NORMALISED),
    )


def _within(offset: Floats, thresholds: Floats) -> Floats:
    """Share of offsets ``(T, 2)`` that are at most as long as each threshold; NaN is never."""
    share: Floats = np.mean(np.hypot(offset[:, 0], offset[:, 1])[:, None] <= thresholds, axis=0)
    return share


def _check(predicted: Floats, truth: Floats) -> None:
    if predicted.shape != truth.shape or predicted.ndim != 2 or predicted.shape[1] != 4:
        raise AnnotationError(f"predicted boxes {predicted.shape} and true boxes {truth.shape} must both be (T, 4), one a frame")
