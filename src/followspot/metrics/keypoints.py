"""PCK: how many joints are near enough to the truth, in the variants whose numbers differ.

All variants divide distances by the size of what is followed and count those at most ``alpha``. On JHMDB the size is 0.6 times the diagonal
of the box around the person's true joints in that frame (evaluation of TimeCycle, 1903.07593, taken over by later work); on BADJA it
is the square root of the animal's area (Biggs et al., "Creatures Great and SMAL", 1811.05804, section 5).
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from followspot.errors import AnnotationError, SettingError

Floats = NDArray[np.float64]

PckProtocol = Literal["videowalk", "legacy", "strict"]
"""``videowalk`` (evaluation of the contrastive random walk, 2006.14613): a joint counts, in the box too, where the prediction's x is at
least 0; the first frame does not count. ``legacy`` (evaluation of VFS, 2103.17263): where x is above 0; the first frame counts. ``strict``:
every annotated joint counts, and lost ones are wrong; the box is that of all true joints; the first frame does not count."""

PERSON = 0.6
"""Share of the diagonal of the joints' box that stands for the size of a person (same source as the protocol)."""
ALPHAS = (0.1, 0.2, 0.3, 0.4, 0.5)
"""Thresholds of the published tables."""
ANIMAL_ALPHA = 0.2
"""Threshold of BADJA's published tables."""


def normalized_distances(predicted: Floats, truth: Floats, *, protocol: PckProtocol) -> Floats:
    """Distances of the joints of one clip in units of the person's size.

    Args:
        predicted: ``(T, K, 2)`` in pixels; NaN (or, as others write it, -1) where a joint is lost.
        truth: ``(T, K, 2)`` in pixels; NaN where a joint is not annotated.
        protocol: which joints and frames count.

    Returns:
        ``(T, K)``: NaN where a joint does not count, infinity where it counts and is wrong at any threshold.

    Raises:
        AnnotationError: the arrays differ in shape or are not ``(T, K, 2)``.
        SettingError: there is no such protocol.

    >>> truth = np.array([[[0.0, 0.0], [30.0, 40.0]]] * 2)
    >>> normalized_distances(truth + [6, 0], truth, protocol="strict").round(3).tolist()
    [[nan, nan], [0.2, 0.2]]
    """
    _check(predicted, truth)
    known = _known(truth)
    match protocol:
        case "videowalk":
            counted = known & (predicted[..., 0] >= 0)
        case "legacy":
            counted = known & (predicted[..., 0] > 0)
        case "strict":
            counted = known
        case _:
            raise SettingError(f'unknown protocol "{protocol}"; choose from: videowalk, legacy, strict')
    distances = _apart(predicted, truth, counted)
    if protocol != "legacy":
        distances[:1] = np.nan
    return _divide(distances, PERSON * _diagonal(truth, counted)[:, None])


def area_distances(predicted: Floats, truth: Floats, areas: Floats) -> Floats:
    """Distances of an animal's joints in units of the square root of its area; lost joints are wrong.

    Args:
        predicted: ``(T, K, 2)`` in pixels; NaN where a joint is lost.
        truth: ``(T, K, 2)`` in pixels; NaN where a joint is not annotated or not to be counted.
        areas: ``(T,)`` of the animal's mask in square pixels.

    Returns:
        ``(T, K)`` as :func:`normalized_distances`.

    Raises:
        AnnotationError: the shapes do not fit.
    """
    if areas.shape != truth.shape[:1]:
        raise AnnotationError(f"areas are {areas.shape} for joints {truth.shape}; give one a frame")
    return _divide(pixel_distances(predicted, truth), np.sqrt(areas)[:, None])


def pixel_distances(predicted: Floats, truth: Floats) -> Floats:
    """Distances in pixels; lost joints are wrong.

    Args:
        predicted: ``(T, K, 2)`` in pixels; NaN where a joint is lost.
        truth: ``(T, K, 2)`` in pixels; NaN where a joint is not annotated or not to be counted.

    Returns:
        ``(T, K)``: NaN where a joint does not count, infinity where it is lost.

    Raises:
        AnnotationError: the shapes do not fit.
    """
    _check(predicted, truth)
    return _apart(predicted, truth, _known(truth))


def pck_per_joint(distances: Sequence[Floats], alpha: float) -> Floats:
    """The share of each joint's counted distances that are at most `alpha`, over all frames of all clips.

    Args:
        distances: ``(T, K)`` for each clip, from the functions above; K is the same in all.
        alpha: the threshold, in the unit of the distances.

    Returns:
        ``(K,)`` in [0, 1]; NaN for a joint that never counts.
    """
    every = np.concatenate(distances)
    counted = ~np.isnan(every)
    near = np.count_nonzero(counted & (every <= alpha), axis=0)
    number = np.count_nonzero(counted, axis=0)
    return np.where(number > 0, near / np.maximum(number, 1), np.nan)


def mean_of_known(values: NDArray[Any]) -> float:
    """The mean of what is not NaN; NaN where all is.

    Args:
        values: any shape.
    """
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def near_per_frame(distances: Floats, alpha: float) -> tuple[float | None, ...]:
    """The share of joints within the threshold in every frame; None where none counts.

    Args:
        distances: ``(T, K)``.
        alpha: the threshold.
    """
    near = np.where(np.isnan(distances), np.nan, distances <= alpha)
    shares = (mean_of_known(row) for row in near)
    return tuple(None if share != share else share for share in shares)


def _check(predicted: Floats, truth: Floats) -> None:
    if predicted.shape != truth.shape or truth.ndim != 3 or truth.shape[2] != 2:
        raise AnnotationError(f"predicted joints are {predicted.shape} and true ones {truth.shape}; both must be the same (T, K, 2)")


def _known(truth: Floats) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(truth).all(axis=-1))


def _apart(predicted: Floats, truth: Floats, counted: NDArray[np.bool_]) -> Floats:
    distances = np.hypot(*np.moveaxis(predicted - truth, -1, 0))
    result: Floats = np.where(counted, np.where(np.isnan(distances), np.inf, distances), np.nan)
    return result


def _diagonal(truth: Floats, counted: NDArray[np.bool_]) -> Floats:
    """(T,): of the box around the joints that count; 0 where there are none."""
    inside = counted[..., None]
    some = np.asarray(counted.any(axis=1))[:, None]
    high = np.where(some, np.where(inside, truth, -np.inf).max(axis=1), 0)
    low = np.where(some, np.where(inside, truth, np.inf).min(axis=1), 0)
    result: Floats = np.hypot(*(high - low).T)
    return result


def _divide(distances: Floats, size: Floats) -> Floats:
    """Nothing is near in units of a size of 0, unless it is exactly there."""
    with np.errstate(divide="ignore", invalid="ignore"):
        quotient = distances / size
    return np.where(np.isnan(quotient) & (distances == 0), 0.0, quotient)
