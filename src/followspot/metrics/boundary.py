"""Contour accuracy F: how much of a mask's outline is right, within a small tolerance (Perazzi et al., CVPR 2016, section 5)."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from followspot.errors import AnnotationError
from followspot.metrics.bits import PackedPair, count, spread
from followspot.metrics.region import check_pair

TOLERANCE = 0.008
"""Tolerance as a fraction of the image diagonal: the DAVIS benchmark's bound, 8 pixels at 480x854."""


@dataclass(frozen=True, kw_only=True)
class ContourScore:
    """How well two outlines agree."""

    precision: float
    """Fraction of the predicted outline that lies within the tolerance of the true one, in [0, 1]."""
    recall: float
    """Fraction of the true outline that lies within the tolerance of the predicted one, in [0, 1]."""

    @property
    def f(self) -> float:
        """Harmonic mean of precision and recall, in [0, 1]; 0 where both are 0."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total > 0 else 0.0


def tolerance_radius(height: int, width: int, *, tolerance: float = TOLERANCE) -> int:
    """Tolerance in pixels, ``ceil(tolerance * diagonal)``.

    Args:
        height: of the image, in pixels.
        width: of the image, in pixels.
        tolerance: as a fraction of the diagonal.

    Returns:
        Radius in pixels, rounded up.

    >>> tolerance_radius(480, 854)
    8
    """
    return math.ceil(tolerance * math.sqrt(height * height + width * width))


def boundary_map(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """One pixel wide outline of a mask: where a pixel differs from its right, lower or lower right neighbour.

    The outline sits half a pixel towards the origin. Beyond the image the border repeats, so the border itself is no outline.

    Args:
        mask: boolean ``(H, W)``.

    Returns:
        Boolean ``(H, W)``.

    >>> boundary_map(np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]], bool)).astype(int)
    array([[1, 1, 0],
           [1, 1, 0],
           [0, 0, 0]])
    """
    outline = np.zeros_like(mask)
    outline[:, :-1] |= mask[:, :-1] ^ mask[:, 1:]
    outline[:-1, :] |= mask[:-1, :] ^ mask[1:, :]
    # In the last row and column the diagonal neighbour repeats one of the two above.
    outline[:-1, :-1] |= mask[:-1, :-1] ^ mask[1:, 1:]
    return outline


def contour_score(predicted: NDArray[np.bool_], truth: NDArray[np.bool_], *, radius: int | None = None) -> ContourScore:
    """Compare the outlines of one pair of masks.

    An empty outline against a non-empty one scores F = 0, two empty ones score 1. A mask that fills the image has no outline.

    Args:
        predicted: boolean ``(H, W)`` in image pixels, rows from the top, columns from the left.
        truth: boolean of the same shape.
        radius: tolerance in pixels; None for :func:`tolerance_radius` of the image.

    Returns:
        Precision, recall and F, each in [0, 1].

    Raises:
        AnnotationError: the masks are not boolean ``(H, W)`` or differ in shape.
    """
    check_pair(predicted, truth)
    if predicted.ndim != 2:
        raise AnnotationError(f"one pair of masks has shape (H, W), got {predicted.shape}; use contour_accuracy for stacks")
    if radius is None:
        radius = tolerance_radius(*predicted.shape)
    return contour_of_pair(PackedPair(predicted, truth, margin=radius), radius=radius)


def contour_of_pair(pair: PackedPair, *, radius: int) -> ContourScore:
    """Compare the outlines of a packed pair: the predicted mask first, then the true one.

    Args:
        pair: packed with a margin of at least ``radius``.
        radius: tolerance in pixels.

    Returns:
        As :func:`contour_score`.
    """
    outlines = pair.outlines()
    predicted_count, true_count = count(outlines[0]), count(outlines[1])
    if predicted_count == 0 or true_count == 0:
        return ContourScore(precision=float(predicted_count == 0), recall=float(true_count == 0))
    near = spread(outlines, radius)
    return ContourScore(
        precision=count(outlines[0] & near[1]) / predicted_count,
        recall=count(outlines[1] & near[0]) / true_count,
    )


def contour_accuracy(predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """F of every pair of masks in two stacks, with the tolerance of the image's size.

    Nothing is averaged: every leading axis (frames, objects) is kept.

    Args:
        predicted: boolean masks ``(..., H, W)`` in image pixels, rows from the top, columns from the left.
        truth: boolean masks of the same shape.

    Returns:
        F in [0, 1], shape ``(...)``.

    Raises:
        AnnotationError: the masks are not boolean, have fewer than two axes, or differ in shape.

    >>> square = np.zeros((2, 9, 9), bool); square[:, 2:5, 2:5] = True
    >>> contour_accuracy(np.roll(square, 1, axis=2), square)
    array([1., 1.])
    """
    check_pair(predicted, truth)
    leading = predicted.shape[:-2]
    scores = [contour_score(predicted[index], truth[index]).f for index in np.ndindex(leading)]
    return np.array(scores, dtype=np.float64).reshape(leading)
