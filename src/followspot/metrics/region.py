"""Region similarity J: how much of a mask is right (Perazzi et al., CVPR 2016, section 5)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from followspot.errors import AnnotationError
from followspot.metrics.bits import PackedPair, count


def region_similarity(predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Intersection over union of masks, ``J = |P and G| / |P or G|``; 1 where both are empty.

    Nothing is averaged: every leading axis (frames, objects) is kept.

    Args:
        predicted: boolean masks ``(..., H, W)`` in image pixels, rows from the top, columns from the left.
        truth: boolean masks of the same shape.

    Returns:
        J in [0, 1], shape ``(...)``; a 0-d array for a single pair.

    Raises:
        AnnotationError: the masks are not boolean, have fewer than two axes, or differ in shape.

    >>> square = np.zeros((1, 4, 4), bool); square[:, 1:3, 1:3] = True
    >>> region_similarity(np.roll(square, 1, axis=2), square).round(3)
    array([0.333])
    """
    check_pair(predicted, truth)
    leading = predicted.shape[:-2]
    pairs = ([np.packbits(masks[index]) for masks in (predicted, truth)] for index in np.ndindex(leading))
    return np.array([_overlap(*pair) for pair in pairs], dtype=np.float64).reshape(leading)


def region_of_pair(pair: PackedPair) -> float:
    """J of a packed pair, as :func:`region_similarity`."""
    return _overlap(*pair.words)


def _overlap(first: NDArray[np.unsignedinteger[Any]], second: NDArray[np.unsignedinteger[Any]]) -> float:
    """Intersection over union of packed masks."""
    union = count(first | second)
    return count(first & second) / union if union else 1.0


def check_pair(predicted: NDArray[Any], truth: NDArray[Any]) -> None:
    """Refuse two stacks of masks that cannot be compared.

    Args:
        predicted: what should be boolean ``(..., H, W)``.
        truth: what should be boolean of the same shape.

    Raises:
        AnnotationError: they are not boolean, have fewer than two axes, or differ in shape.
    """
    for name, mask in (("predicted", predicted), ("truth", truth)):
        if mask.dtype != np.bool_:
            raise AnnotationError(f"{name} masks are {mask.dtype}, expected bool; compare the id map with one id first (ids == 3)")
        if mask.ndim < 2:
            raise AnnotationError(f"{name} masks have shape {mask.shape}, expected (..., H, W); pass at least one whole mask")
    if predicted.shape != truth.shape:
        raise AnnotationError(f"predicted masks are {predicted.shape} but the truth is {truth.shape}; both must have the same shape")
