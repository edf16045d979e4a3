"""How well colours were predicted: the share of right classes, and the signal-to-noise ratio."""

import math

from torch import Tensor

from followspot.errors import SettingError
from followspot.ops.clusters import quantise

_PEAK = 255.0
"""a and b span 255 steps in the usual 8-bit Lab, so that this is the peak of a signal-to-noise ratio."""


def color_accuracy(predicted: Tensor, truth: Tensor, centres: Tensor) -> float:
    """The share of pixels whose nearest cluster of colours is the right one.

    "Colour prediction accuracy" over 16 clusters in Vondrick et al., "Tracking Emerges by Colorizing Videos" (ECCV 2018).

    Args:
        predicted: ``(2, H, W)`` ab.
        truth: ``(2, H, W)`` ab.
        centres: ``(K, 2)`` ab.

    Returns:
        In [0, 1].

    Raises:
        SettingError: the shapes differ.

    >>> import torch
    >>> centres = torch.tensor([[0.0, 0.0], [50.0, 0.0]])
    >>> color_accuracy(torch.zeros(2, 1, 2), torch.tensor([[[0.0, 50.0]], [[0.0, 0.0]]]), centres)
    0.5
    """
    _check(predicted, truth)
    return float((quantise(predicted, centres) == quantise(truth, centres)).double().mean())


def color_psnr(predicted: Tensor, truth: Tensor) -> float:
    """Peak signal-to-noise ratio of a and b: ``10 log10(255² / mean squared error)``.

    Args:
        predicted: ``(2, H, W)`` ab.
        truth: ``(2, H, W)`` ab.

    Returns:
        In decibels; infinite where all is right.

    Raises:
        SettingError: the shapes differ.

    >>> import torch
    >>> round(color_psnr(torch.zeros(2, 1, 1), torch.full((2, 1, 1), 25.5)), 6)
    20.0
    """
    _check(predicted, truth)
    error = float((predicted.double() - truth.double()).square().mean())
    return math.inf if error == 0 else 10 * math.log10(_PEAK**2 / error)


def _check(predicted: Tensor, truth: Tensor) -> None:
    if predicted.shape != truth.shape or predicted.ndim != 3 or len(predicted) != 2:
        raise SettingError(f"colours must be (2, H, W) ab of one size, got {tuple(predicted.shape)} and {tuple(truth.shape)}")
