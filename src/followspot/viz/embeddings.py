"""Feature maps as pictures."""

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from followspot.errors import SettingError

_SPREAD = 2.5
"""Standard deviations each way that span a colour's range: 99 % of a normal distribution."""


def pca_colors(features: Tensor) -> Tensor:
    """The three main directions of a clip's features as red, green and blue.

    They are fitted to all frames together, so that a colour means the same in each; alike colours are alike features. The largest entry of
    a direction is positive, so that the same features give the same colours on every machine.

    Args:
        features: ``(T, C, h, w)``, any scale.

    Returns:
        ``(T, 3, h, w)`` float32 in [0, 1]; 0.5 is the mean, and all there is where features do not vary or
            have fewer channels than colours.

    Raises:
        SettingError: features of another shape, or not finite.

    >>> ramp = torch.linspace(0, 1, 5).view(1, 1, 1, 5)
    >>> pca_colors(ramp)[0, :, 0].mul(100).round().int().tolist()
    [[22, 36, 50, 64, 78], [50, 50, 50, 50, 50], [50, 50, 50, 50, 50]]
    """
    if features.ndim != 4:
        raise SettingError(f"features must be (T, C, h, w), got {tuple(features.shape)}")
    if not torch.isfinite(features).all():
        raise SettingError("features hold values that are not finite, which have no colours; train with a lower learning rate")
    frames, channels, height, width = features.shape
    # In float64, so that a large mean common to all cells does not drown what differs.
    rows = features.detach().double().permute(0, 2, 3, 1).reshape(-1, channels)
    rows = rows - rows.mean(0)
    strengths, directions = torch.linalg.eigh(rows.T @ rows / len(rows))
    kept = min(3, channels)
    directions = directions.flip(1)[:, :kept]
    deviations = strengths.flip(0)[:kept].clamp_min(0).sqrt()
    largest = directions.gather(0, directions.abs().argmax(0, keepdim=True))
    # What is below the rounding of the strongest is noise, and would fill the picture with it.
    visible = deviations > 1e-6 * deviations[0].clamp_min(torch.finfo(torch.float32).tiny)
    scale = torch.where(visible, 1 / deviations.clamp_min(torch.finfo(torch.float64).tiny), 0.0)
    colors = features.new_full((frames * height * width, 3), 0.5, dtype=torch.float32)
    colors[:, :kept] = (0.5 + rows @ (directions * largest.sign() * scale) / (2 * _SPREAD)).clamp(0, 1).float()
    return colors.view(frames, height, width, 3).permute(0, 3, 1, 2).contiguous()


def as_pictures(colors: Tensor, size: tuple[int, int]) -> list[NDArray[np.uint8]]:
    """Colours of cells as pictures of the frames' size.

    Args:
        colors: ``(T, 3, h, w)`` in [0, 1], as of :func:`pca_colors`.
        size: height and width in pixels.

    Returns:
        T RGB pictures ``(H, W, 3)``, smooth between the centres of cells.
    """
    cells = (255 * colors).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return [np.asarray(cv2.resize(frame, size[::-1], interpolation=cv2.INTER_LINEAR), np.uint8) for frame in cells]
