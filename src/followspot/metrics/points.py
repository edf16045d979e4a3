"""The measures of TAP-Vid: is the point visible, and is it where it should be (Doersch et al., 2211.03726, section 3.2).

Positions are compared in a raster of 256 x 256, whatever the video's size: x from 0 at its left edge to 256 at its right edge.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from followspot.errors import AnnotationError, SettingError

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Integers = NDArray[np.integer[Any]]

QueryMode = Literal["query-first", "strided"]
"""``query-first``: each point is asked for at the first frame where it is visible, and scored after it. ``strided``: at every fifth frame
where it is visible, and scored before and after it."""

RASTER = 256
"""Pixels along each side of the raster of comparison."""
THRESHOLDS = (1, 2, 4, 8, 16)
"""Pixels of the raster; a position is right if it is nearer than that."""
STRIDE = 5
"""Frames between queries in the strided mode."""


@dataclass(frozen=True, kw_only=True)
class PointScores:
    """One video; each in [0, 1], NaN where nothing could be counted."""

    average_jaccard: float
    """AJ: mean over thresholds of right and visible / (truly visible + answered visible but hidden or wrong)."""
    delta_avg: float
    """Mean over thresholds of the share of truly visible points that are right, whatever was said of their visibility."""
    occlusion_accuracy: float
    """OA: the share of answers that say rightly whether the point is visible."""
    jaccard: tuple[float, ...]
    """For each threshold."""
    delta: tuple[float, ...]
    """For each threshold."""


def to_raster(xy: Floats, size: tuple[int, int]) -> Floats:
    """From pixels of a video (origin at the centre of the top-left pixel) to the raster.

    Args:
        xy: ``(..., 2)``.
        size: ``(H, W)`` of the video.

    >>> to_raster(np.array([-0.5, 239.5]), (240, 320)).tolist()
    [0.0, 256.0]
    """
    return (xy + 0.5) * (RASTER / size[1], RASTER / size[0])


def choose_queries(occluded: Flags, mode: QueryMode) -> NDArray[np.int64]:
    """At which frames which points are asked for.

    Args:
        occluded: ``(N, T)``, the truth.
        mode: see :data:`QueryMode`.

    Returns:
        ``(Q, 2)``: point and frame. ``query-first``: by point; points that are never visible are left out. ``strided``: by frame.

    Raises:
        SettingError: there is no such mode.

    >>> choose_queries(np.array([[True, False, False], [True, True, True]]), "query-first").tolist()
    [[0, 1]]
    """
    match mode:
        case "query-first":
            visible = np.flatnonzero((~occluded).any(1))
            return np.stack([visible, (~occluded[visible]).argmax(1)], 1).astype(np.int64)
        case "strided":
            frames, points = np.nonzero(~occluded[:, ::STRIDE].T)
            return np.stack([points, frames * STRIDE], 1).astype(np.int64)
        case _:
            raise SettingError(f'unknown query mode "{mode}"; choose from: query-first, strided')


def scored_frames(queries: Integers, frames: int, mode: QueryMode) -> Flags:
    """Which frames count for which query.

    Args:
        queries: ``(Q, 2)``: point and frame.
        frames: T.
        mode: see :data:`QueryMode`.

    Returns:
        ``(Q, T)``.
    """
    at, frame = np.arange(frames), queries[:, 1, None]
    return np.asarray(at > frame if mode == "query-first" else at != frame)


def score_points(predicted: Floats, predicted_occluded: Flags, truth: Floats, occluded: Flags, *, counted: Flags) -> PointScores:
    """AJ, delta and OA of one video.

    Args:
        predicted: ``(Q, T, 2)`` in the raster; NaN, where there is no answer, is never near.
        predicted_occluded: ``(Q, T)``.
        truth: ``(Q, T, 2)`` in the raster; means nothing where the point is occluded.
        occluded: ``(Q, T)``, the truth.
        counted: ``(Q, T)``, from :func:`scored_frames`.

    Returns:
        The measures; all points and frames weigh the same.

    Raises:
        AnnotationError: the shapes do not fit.
    """
    shapes = {truth.shape, predicted.shape, *((*flags.shape, 2) for flags in (predicted_occluded, occluded, counted))}
    if len(shapes) > 1 or truth.ndim != 3:
        raise AnnotationError(f"points of shapes {sorted(shapes)} cannot be compared; give (Q, T, 2) positions and (Q, T) flags")
    visible, shown = ~occluded & counted, ~predicted_occluded & counted
    distances = np.hypot(*np.moveaxis(predicted - truth, -1, 0))
    deltas, jaccards = [], []
    for threshold in THRESHOLDS:
        near = distances < threshold
        right = near & visible & shown
        wrong = shown & ~(near & visible)
        deltas.append(_share(near & visible, visible))
        jaccards.append(_ratio(int(right.sum()), int(visible.sum()) + int(wrong.sum())))
    return PointScores(
        average_jaccard=float(np.mean(jaccards)),
        delta_avg=float(np.mean(deltas)),
        occlusion_accuracy=_share((occluded == predicted_occluded) & counted, counted),
        jaccard=tuple(jaccards),
        delta=tuple(deltas),
    )


def near_in_frames(predicted: Floats, truth: Floats, visible: Flags) -> tuple[float | None, ...]:
    """The share of points that are right in every frame, mean over thresholds; None where no point counts.

    Args:
        predicted: ``(Q, T, 2)`` in the raster.
        truth: ``(Q, T, 2)`` in the raster.
        visible: ``(Q, T)``: truly visible and counted.
    """
    distances = np.hypot(*np.moveaxis(predicted - truth, -1, 0))
    near = np.mean([distances < threshold for threshold in THRESHOLDS], axis=0)
    numbers = visible.sum(0)
    shares = (near * visible).sum(0) / np.maximum(numbers, 1)
    return tuple(float(share) if number else None for share, number in zip(shares, numbers, strict=True))


def _share(part: Flags, whole: Flags) -> float:
    return _ratio(int(part.sum()), int(whole.sum()))


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
