"""Taking pixels where the crops say: with OpenCV frame by frame, or for many frames at once on a device.

Both do the same: bilinear samples, and where the picture shrinks, the mean of a small grid of samples in each output pixel, so that nothing
finer than the output's pixels flickers. They agree to the precision of OpenCV's fixed-point weights.
"""

import math
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]

PLAIN_SHRINK = 1.3
"""Source pixels between two bilinear samples up to which one is enough: the tent of a sample is two pixels wide, so at 1.3 every source
pixel still has at least two thirds of the weight it should have."""
_PIXELS_AT_ONCE = 1 << 23
"""Samples that are gathered at once: about a gigabyte of temporary memory on the device."""


def samples_per_pixel(matrices: Floats) -> NDArray[np.int64]:
    """Side of the grid of samples that an output pixel needs, for each of ``(..., 2, 3)`` maps.

    >>> int(samples_per_pixel(np.array([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]])))
    2
    """
    shrink = np.hypot(matrices[..., 0, :2], matrices[..., 1, :2]).max(-1)
    return np.asarray(np.maximum(1, np.ceil(shrink / PLAIN_SHRINK)), np.int64)


def warp_frames(frames: Iterable[NDArray[np.uint8]], matrices: Floats, *, size: int, out: NDArray[np.uint8]) -> None:
    """Warp frames one by one on the CPU.

    Args:
        frames: T pictures ``(H, W, 3)`` uint8.
        matrices: ``(T, 2, 3)``, output pixel to source pixel, both counted from pixel centres.
        size: side S of the output in pixels.
        out: ``(T, S, S, 3)`` uint8, written to. Samples outside a picture take its border.
    """
    import cv2

    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for target, frame, matrix, level in zip(out, frames, matrices, samples_per_pixel(matrices), strict=True):
        fine = int(level)
        side = size * fine
        sampled = cv2.warpAffine(frame, _finer(matrix, fine), (side, side), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        target[:] = sampled if fine == 1 else cv2.resize(sampled, (size, size), interpolation=cv2.INTER_AREA)


def gather_frames(pixels: Tensor, starts: NDArray[np.int64], *, sizes: NDArray[np.int64], matrices: Floats, size: int) -> Tensor:
    """Warp any number of frames of any sizes at once, wherever their pixels are.

    Args:
        pixels: ``(P, 3)`` uint8: the pixels of all frames, row after row, frame after frame.
        starts: ``(N,)``: which pixel each wanted frame starts at.
        sizes: ``(N, 2)``: height and width of each.
        matrices: ``(N, 2, 3)``, output pixel to source pixel, both counted from pixel centres.
        size: side S of the output in pixels.

    Returns:
        ``(N, 3, S, S)`` uint8 on the device of ``pixels``. Samples outside a frame take its border.
    """
    fine = samples_per_pixel(matrices)
    out = torch.empty(len(starts), 3, size, size, dtype=torch.uint8, device=pixels.device)
    for level in np.unique(fine):
        chosen = np.flatnonzero(fine == level)
        for part in np.array_split(chosen, math.ceil(len(chosen) * (size * level) ** 2 / _PIXELS_AT_ONCE)):
            where = torch.from_numpy(part).to(pixels.device)
            out[where] = _gathered(
                pixels, starts[part], sizes=sizes[part], maps=_finer(matrices[part], int(level)), size=size, fine=int(level)
            )
    return out


def _gathered(pixels: Tensor, starts: NDArray[np.int64], *, sizes: NDArray[np.int64], maps: Floats, size: int, fine: int) -> Tensor:
    """Frames that all need the same grid of samples: ``(n, 3, S, S)`` uint8."""
    device = pixels.device
    maps_ = torch.from_numpy(maps.astype(np.float32)).to(device)[:, :, :, None, None]
    starts_ = torch.from_numpy(starts).to(device)[:, None, None]
    limits = torch.from_numpy(sizes).to(device)[:, :, None, None]
    steps = torch.arange(size * fine, device=device, dtype=torch.float32)
    x = maps_[:, 0, 0] * steps + maps_[:, 0, 1] * steps[:, None] + maps_[:, 0, 2]
    y = maps_[:, 1, 0] * steps + maps_[:, 1, 1] * steps[:, None] + maps_[:, 1, 2]
    left, top = x.floor(), y.floor()
    across, down = (x - left)[..., None], (y - top)[..., None]
    columns, rows = limits[:, 1] - 1, limits[:, 0] - 1
    zero = torch.zeros_like(columns)
    x0, x1 = (torch.clamp(left.long() + step, zero, columns) for step in (0, 1))
    y0, y1 = (torch.clamp(top.long() + step, zero, rows) * limits[:, 1] + starts_ for step in (0, 1))
    upper = torch.lerp(pixels[y0 + x0].float(), pixels[y0 + x1].float(), across)
    lower = torch.lerp(pixels[y1 + x0].float(), pixels[y1 + x1].float(), across)
    values = torch.lerp(upper, lower, down)
    if fine > 1:
        values = values.view(len(starts), size, fine, size, fine, 3).mean((2, 4))
    return values.round_().to(torch.uint8).permute(0, 3, 1, 2)


def _finer(matrices: Floats, fine: int) -> Floats:
    """``(..., 2, 3)`` maps of a grid with ``fine`` times as many pixels along each side, over the same area."""
    linear, shift = matrices[..., :2], matrices[..., 2:]
    return np.concatenate([linear / fine, shift + linear.sum(-1, keepdims=True) * (0.5 / fine - 0.5)], -1)
