"""Points to soft label maps and back, finer than a cell."""

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from followspot.errors import AnnotationError, SettingError
from followspot.ops.masks import check_size

SIGMA = 1.0
"""Cells. Measured: propagated over 25 to 80 frames, bumps of 1 cell keep 2 to 4 % more points on their spot than bumps of 0.5, which
soon miss the cells that are looked up."""
SOURCE_SIGMA = 0.5
"""Cells: the JHMDB protocol of TimeCycle, UVC and CRW, in their released code."""
SOURCE_TOP_K = 5
"""Cells: the JHMDB protocol of TimeCycle and UVC; CRW uses 3 (their released code)."""
PEAK_SIGMA = 2.0
"""Cells: a map that has broken into several humps peaks where most of it lies. Measured: 1.5 to 3 do alike."""
_WINDOW = 5
_FLOOR = 1e-12

Readout = Literal["fit", "top_k"]
Floats = NDArray[np.float64]


def encode_points(xy: Floats, image_size: tuple[int, int], grid: tuple[int, int], *, sigma: float = SIGMA) -> Tensor:
    """Turn points into Gaussian bumps on a grid.

    The bump is centred on the point itself, not on its cell, so the position inside the cell survives. It is scaled so that the nearest
    cell holds 1; a point outside the image keeps only the tail that reaches into it.

    Args:
        xy: ``(K, 2)`` in pixels, origin at the centre of the top-left pixel; NaN where unknown.
        image_size: ``(H, W)`` in pixels.
        grid: ``(h, w)`` cells that cover the image exactly.
        sigma: width of the bump in cells, above 0.

    Returns:
        ``(K, h, w)`` float32 in [0, 1]; all zero where the point is NaN.

    Raises:
        AnnotationError: if ``xy`` is not ``(K, 2)``.
        SettingError: if sigma is not positive, or a size is not two positive numbers.

    >>> encode_points(np.array([[2.5, 0.5]]), (2, 6), (1, 3)).round(decimals=2)
    tensor([[[0.6100, 1.0000, 0.6100]]])
    """
    check_size(image_size, "image size")
    check_size(grid, "grid")
    if not (np.isfinite(sigma) and sigma > 0):
        raise SettingError(f"sigma {sigma:g} must be above 0 cells; the default is {SIGMA:g}, the source uses {SOURCE_SIGMA:g}")
    xy = np.asarray(xy, np.float64)
    if xy.ndim != 2 or xy.shape[1] != 2:
        raise AnnotationError(f"points must be (K, 2) in pixels, got {xy.shape}; pass x and y in two columns")
    across = _bump(xy[:, 0], image_size[1], grid[1], sigma)
    down = _bump(xy[:, 1], image_size[0], grid[0], sigma)
    known: Floats = 1.0 - np.isnan(xy).max(axis=1, initial=False)
    maps = known[:, None, None] * (down[:, :, None] * across[:, None, :])
    return torch.from_numpy(maps.astype(np.float32))


def _bump(at: Floats, pixels: int, cells: int, sigma: float) -> Floats:
    """(K,) positions in pixels to (K, cells) profiles."""
    position = (np.nan_to_num(at) + 0.5) * cells / pixels
    centres = np.arange(cells) + 0.5
    inside = np.clip(position, 0, cells)
    nearest = np.clip(np.floor(inside), 0, cells - 1) + 0.5
    exponent = (nearest - inside)[:, None] ** 2 - (centres - position[:, None]) ** 2
    result: Floats = np.exp(exponent / (2 * sigma**2))
    return result


def decode_points(
    maps: Tensor, image_size: tuple[int, int], *, readout: Readout = "fit", top_k: int = SOURCE_TOP_K
) -> tuple[Floats, Floats]:
    """Read positions from soft maps.

    ``"fit"`` fits a Gaussian to the row and column sums of the 5 x 5 cells around the peak of the smoothed map: a parabola through the
    logarithms, each weighted by its value squared, which makes it the least-squares fit of the values themselves to first order (Guo, "A
    simple algorithm for fitting a Gaussian function", IEEE Signal Processing Magazine 2011). It inverts `encode_points` exactly, at the
    borders too, and needs no sigma. Where the sums are not a bump, their weighted mean stands in. ``"top_k"`` is the published form: the
    mean of the ``top_k`` largest cells weighted by value; it is biased towards cell centres and, near a border, inwards.

    Args:
        maps: ``(K, h, w)`` float weights, at least 0.
        image_size: ``(H, W)`` in pixels.
        readout: ``"fit"`` or ``"top_k"``.
        top_k: number of cells for ``"top_k"``, at least 1.

    Returns:
        ``xy`` ``(K, 2)`` in pixels, origin at the centre of the top-left pixel, NaN where a map is all zero; and the peaks ``(K,)``.

    Raises:
        AnnotationError: if ``maps`` is not ``(K, h, w)``.
        SettingError: if the readout is unknown, ``top_k`` is below 1, or the size is not two positive numbers.

    >>> xy, peak = decode_points(encode_points(np.array([[3.3, 1.7]]), (8, 8), (4, 4)), (8, 8))
    >>> xy.round(3).tolist()
    [[3.3, 1.7]]
    """
    check_size(image_size, "image size")
    if maps.ndim != 3:
        raise AnnotationError(f"point maps must be (K, h, w), got {tuple(maps.shape)}; add the channel axis")
    if readout not in ("fit", "top_k"):
        raise SettingError(f"readout {readout!r} must be 'fit' or 'top_k'; 'fit' is exact, 'top_k' is the published form")
    if top_k < 1:
        raise SettingError(f"top_k {top_k} must be at least 1; the source uses {SOURCE_TOP_K}")
    values: Floats = maps.detach().cpu().double().numpy()
    count, h, w = values.shape
    if not count:
        return np.zeros((0, 2)), np.zeros(0)
    peak = values.reshape(count, -1).max(1)
    found = peak > 0
    cells = np.full((count, 2), np.nan)
    if found.any():
        cells[found] = _fit(values[found]) if readout == "fit" else _top_k_mean(values[found], top_k)
    xy: Floats = cells * (image_size[1] / w, image_size[0] / h) - 0.5
    return xy, peak


def _top_k_mean(values: Floats, top_k: int) -> Floats:
    """(K, h, w) to (K, 2) in cells from the corner."""
    count, h, w = values.shape
    flat = values.reshape(count, -1)
    best = np.argsort(-flat, axis=1, kind="stable")[:, : min(top_k, h * w)]
    weight = np.clip(np.take_along_axis(flat, best, 1), 0, None)
    weight /= weight.sum(1, keepdims=True)
    x = ((best % w + 0.5) * weight).sum(1)
    y = ((best // w + 0.5) * weight).sum(1)
    return np.stack([x, y], 1)


def _fit(values: Floats) -> Floats:
    """(K, h, w) with a positive peak each, to (K, 2) in cells from the corner."""
    count, h, w = values.shape
    rows, columns = min(_WINDOW, h), min(_WINDOW, w)
    top = (_blur_matrix(h) @ values @ _blur_matrix(w)).reshape(count, -1).argmax(1)
    first_row = np.clip(top // w - _WINDOW // 2, 0, h - rows)
    first_column = np.clip(top % w - _WINDOW // 2, 0, w - columns)
    window = values[
        np.arange(count)[:, None, None],
        first_row[:, None, None] + np.arange(rows)[:, None],
        first_column[:, None, None] + np.arange(columns),
    ]
    # Never all zero: weight further away than sqrt(2) * PEAK_SIGMA < 3 cells bends a smoothed map upwards, so it cannot peak there.
    window = np.clip(window, 0, None)
    # A Gaussian is separable, so the sums along either axis keep its shape along the other.
    x = _vertex(window.sum(1), (first_column - top % w)[:, None] + np.arange(columns))
    y = _vertex(window.sum(2), (first_row - top // w)[:, None] + np.arange(rows))
    centre = np.stack([top % w + 0.5 + x, top // w + 0.5 + y], 1)
    inside: Floats = np.clip(centre, 0, (w, h))
    return inside


def _blur_matrix(length: int) -> Floats:
    """(length, length): a Gaussian of `PEAK_SIGMA` around each cell; nothing lies beyond the border."""
    at = np.arange(length)
    result: Floats = np.exp(-((at[:, None] - at) ** 2) / (2 * PEAK_SIGMA**2))
    return result


def _vertex(profile: Floats, at: Floats) -> Floats:
    """(K, M) sums and their offsets from the peak cell, to the (K,) top of the fitted parabola, or the mean where that is no bump."""
    profile = profile / profile.max(1, keepdims=True)
    mean: Floats = (profile * at).sum(1) / profile.sum(1)
    if profile.shape[1] < 3:
        return mean
    weight = np.maximum(profile, _FLOOR)
    terms = np.stack([np.ones_like(at), at, at**2], 2) * weight[:, :, None]
    solution = np.linalg.pinv(terms, rcond=1e-10) @ (weight * np.log(weight))[:, :, None]
    slope, curvature = solution[:, 1, 0], solution[:, 2, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        vertex = -slope / (2 * curvature)
    chosen: Floats = np.where((curvature < 0) & (np.abs(vertex) <= _WINDOW // 2), vertex, mean)
    return chosen
