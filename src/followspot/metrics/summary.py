"""From id maps to values per frame, and from values per frame to the DAVIS statistics mean, recall and decay."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from followspot.errors import AnnotationError
from followspot.metrics.bits import PackedPair
from followspot.metrics.boundary import contour_of_pair, tolerance_radius
from followspot.metrics.region import region_of_pair

IdMap = NDArray[np.integer[Any]]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One measure of one object over the frames of a video (Perazzi et al., CVPR 2016, section 5)."""

    mean: float
    """Mean over frames, in [0, 1]."""
    recall: float
    """Fraction of frames with a value strictly above 0.5, in [0, 1]."""
    decay: float
    """Mean over the first quarter minus mean over the last quarter, in [-1, 1]; the lower, the less is lost over time."""


def summarize(values: NDArray[np.float64]) -> Summary:
    """Mean, recall and decay of one measure over frames.

    The quarters are those of davis2017-evaluation: edges ``round(linspace(1, T, 5) + 1e-10) - 1``, both ends belong to their
    quarter. Edges are whole integers here, so videos longer than 256 frames are right too.

    Args:
        values: one value per scored frame, ``(T,)``, in [0, 1].

    Returns:
        The three statistics; frames weigh the same.

    Raises:
        AnnotationError: there is no frame, or a value is not finite.

    >>> summarize(np.array([0.9, 0.7, 0.5, 0.3]))
    Summary(mean=0.6, recall=0.5, decay=0.4)
    """
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise AnnotationError(f"cannot summarise values of shape {values.shape}; expected (T,) finite values of at least one frame")
    edges = (np.round(np.linspace(1, len(values), 5) + 1e-10) - 1).astype(np.int64)
    first = values[: edges[1] + 1]
    last = values[edges[3] :]
    return Summary(
        mean=float(values.mean()),
        recall=float((values > 0.5).mean()),
        decay=float(first.mean() - last.mean()),
    )


def score_frame(truth: IdMap, predicted: IdMap, object_ids: Sequence[int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """J and F of every object in one frame.

    Args:
        truth: id map ``(H, W)``; ids that are not asked for count as background.
        predicted: id map of the same shape.
        object_ids: the N ids to score, each against the same id.

    Returns:
        J and F in [0, 1], each ``(N,)`` in the order of ``object_ids``.

    Raises:
        AnnotationError: the maps differ in shape.
    """
    if truth.shape != predicted.shape:
        raise AnnotationError(f"predicted ids are {predicted.shape} but the truth is {truth.shape}; both must have the same shape")
    radius = tolerance_radius(*truth.shape)
    pairs = [PackedPair(predicted == object_id, truth == object_id, margin=radius) for object_id in object_ids]
    regions = np.array([region_of_pair(pair) for pair in pairs], dtype=np.float64)
    contours = np.array([contour_of_pair(pair, radius=radius).f for pair in pairs], dtype=np.float64)
    return regions, contours


def score_sequence(truth: IdMap, predicted: IdMap, object_ids: Sequence[int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """J and F of every object in every frame; which frames count is the caller's business.

    Args:
        truth: id maps ``(T, H, W)``; ids that are not asked for count as background.
        predicted: id maps of the same shape.
        object_ids: the N ids to score, each against the same id.

    Returns:
        J and F in [0, 1], each ``(N, T)``, objects in the order of ``object_ids``.

    Raises:
        AnnotationError: the maps differ in shape or are not ``(T, H, W)``.

    >>> ids = np.zeros((3, 6, 6), np.uint8); ids[:, 1:3, 1:3] = 1; ids[:, 4:, 4:] = 2
    >>> j, f = score_sequence(ids, ids, [1, 2])
    >>> j.shape, float(j.min()), float(f.min())
    ((2, 3), 1.0, 1.0)
    """
    if truth.ndim != 3 or truth.shape != predicted.shape:
        raise AnnotationError(f"truth {truth.shape} and predicted ids {predicted.shape} must both be (T, H, W) of the same shape")
    frames = [score_frame(*frame, object_ids) for frame in zip(truth, predicted, strict=True)]
    shape = (len(frames), len(object_ids))
    regions = np.array([regions for regions, _ in frames], dtype=np.float64).reshape(shape)
    contours = np.array([contours for _, contours in frames], dtype=np.float64).reshape(shape)
    return regions.T, contours.T
