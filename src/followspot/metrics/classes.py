"""How well every pixel's class is known: accuracies and intersections over unions from a confusion matrix.

Long, Shelhamer and Darrell, "Fully Convolutional Networks for Semantic Segmentation" (CVPR 2015), section 5: with n[i, j] pixels of
class i that were called j, and t[i] pixels of class i in all.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from followspot.errors import AnnotationError

Classes = NDArray[np.integer[Any]]


@dataclass(frozen=True, kw_only=True)
class ClassScores:
    """The four numbers of the paper, all in [0, 1]; NaN if there was no pixel."""

    overall_accuracy: float
    """Share of pixels whose class is right: sum of n[i, i] / sum of t[i]."""
    mean_accuracy: float
    """Mean over the classes of the truth of n[i, i] / t[i]."""
    mean_iou: float
    """Mean over the classes that are in the truth or in the prediction of `iou`."""
    weighted_iou: float
    """Mean of `iou` with the weights t[i] ("frequency weighted")."""
    iou: tuple[float, ...]
    """By class: n[i, i] / (t[i] + sum over j of n[j, i] - n[i, i]); NaN for a class that is nowhere."""


def confusion(truth: Classes, predicted: Classes, *, classes: int) -> NDArray[np.int64]:
    """Counts pixels by true and by predicted class.

    Args:
        truth: classes from 0, any shape; pixels outside ``0..classes - 1`` are void and not counted.
        predicted: classes ``0..classes - 1`` of the same shape.
        classes: how many there are.

    Returns:
        ``(classes, classes)``, the true class first. Matrices of several pictures may be added.

    Raises:
        AnnotationError: the shapes differ, or a predicted class does not exist.

    >>> confusion(np.array([0, 1, 1, 255]), np.array([0, 0, 1, 0]), classes=2).tolist()
    [[1, 0], [1, 1]]
    """
    if truth.shape != predicted.shape:
        raise AnnotationError(f"predicted classes are {predicted.shape} but the truth is {truth.shape}; both must have the same shape")
    counted = (truth >= 0) & (truth < classes)
    pairs = truth[counted].astype(np.int64), predicted[counted].astype(np.int64)
    if len(pairs[1]) and not 0 <= pairs[1].min() <= pairs[1].max() < classes:
        raise AnnotationError(f"predicted classes go from {pairs[1].min()} to {pairs[1].max()}, expected 0 to {classes - 1}")
    return np.bincount(classes * pairs[0] + pairs[1], minlength=classes * classes).reshape(classes, classes)


def class_scores(matrix: NDArray[np.int64]) -> ClassScores:
    """The numbers of a confusion matrix.

    Args:
        matrix: of :func:`confusion`.

    >>> scores = class_scores(np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]]))
    >>> scores.overall_accuracy, scores.mean_accuracy, round(scores.mean_iou, 3), round(scores.weighted_iou, 3)
    (0.875, 0.875, 0.775, 0.775)
    """
    right, true, called = np.diag(matrix).astype(np.float64), matrix.sum(1), matrix.sum(0)
    either = true + called - right
    with np.errstate(invalid="ignore"):
        accuracy, iou = right / true, right / either
    if not true.sum():
        return ClassScores(overall_accuracy=np.nan, mean_accuracy=np.nan, mean_iou=np.nan, weighted_iou=np.nan, iou=tuple(iou.tolist()))
    there = true > 0
    return ClassScores(
        overall_accuracy=float(right.sum() / true.sum()),
        mean_accuracy=float(accuracy[there].mean()),
        mean_iou=float(iou[either > 0].mean()),
        weighted_iou=float((true[there] * iou[there]).sum() / true.sum()),
        iou=tuple(iou.tolist()),
    )
