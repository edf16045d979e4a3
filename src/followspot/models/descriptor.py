"""A dense descriptor that learns nothing: the colours and the edges around each cell, as unit vectors.

Two things are described, each so that an inner product is a kernel between what is seen:

* Colour, in Lab, as cosines and sines of each channel at a few frequencies. The inner product of two such vectors is the sum of
  cos(w (x - y)): a peaked function of the colour difference (Rahimi and Recht 2007). Averaging it over an area describes the distribution
  of colours there, not only their mean.
* Edges, as half-rectified gradients in eight directions, pooled over areas and arranged on a 3x3 layout at two scales (Lowe 2004; Tola
  et al. 2010). Each scale is normalised to sum 1 together with a bin for "no edge" and square-rooted (Arandjelovic and Zisserman 2012), so
  flat areas resemble flat areas instead of each other's noise.

It is the baseline that every trained encoder must beat, and it needs no weights.
"""

import math
from typing import Final, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from followspot.errors import SettingError
from followspot.models.encoder import check_frames
from followspot.ops.color import rgb_to_lab


class _Edges(NamedTuple):
    """One scale of gradients; lengths in pixels of the frame."""

    smooth: float
    """Gaussian before the gradient."""
    pool: float
    """Gaussian over the orientation maps, beyond the averaging over a cell."""
    step: int
    """Distance between neighbours of the 3x3 layout; a multiple of 8."""


class _Colors(NamedTuple):
    """One area of colours; lengths in pixels of the frame."""

    pool: float
    """Gaussian over the embedded colours, beyond the averaging over a cell."""
    layout: tuple[tuple[int, int], ...]
    """(down, right) of the sub-areas; multiples of 8."""
    weight: float


_GRID: Final = tuple((down, right) for down in (-1, 0, 1) for right in (-1, 0, 1))
_CENTRE: Final = ((0, 0),)
_CROSS: Final = ((0, 0), (-8, 0), (8, 0), (0, -8), (0, 8))

_EDGES: Final = (_Edges(0.0, 16.0, 8), _Edges(2.0, 32.0, 16))
_COLORS: Final = (_Colors(0.0, _CROSS, 1.0), _Colors(48.0, _CENTRE, 0.5))
# Radians per unit of L, a and b: octaves, from a period that spans the range of a channel down to one of about 20 to 30 units.
_FREQUENCIES: Final = ((0.05, 0.1, 0.2), (0.08, 0.16, 0.32), (0.08, 0.16, 0.32))
_DIRECTIONS: Final = 8
# The "no edge" bin, in luma (0..1) per pixel pair: a noise gradient of 2 % weighs as much as none.
_NO_EDGE: Final = 0.02
# ITU-R BT.601 luma of gamma-coded RGB.
_LUMA: Final = (0.299, 0.587, 0.114)


class Descriptor(nn.Module):
    """Edges and colours around each cell, without learning.

    Args:
        stride: 8 or 4 pixels a cell; what is described is of the same size in pixels at both.

    Raises:
        SettingError: another stride.

    >>> descriptor = Descriptor()
    >>> features = descriptor(torch.rand(1, 3, 48, 64))
    >>> features.shape == (1, descriptor.dim, 6, 8)
    True
    >>> bool(((features.norm(dim=1) - 1).abs() < 1e-5).all())
    True
    """

    directions: Tensor
    luma: Tensor

    def __init__(self, *, stride: int = 8) -> None:
        super().__init__()
        if stride not in (4, 8):
            raise SettingError(f"stride {stride} is not possible for 'descriptor'; use 4 or 8")
        self.name = "descriptor"
        self.stride = stride
        self.receives: Literal["rgb", "lab", "L"] = "lab"
        angles = torch.arange(_DIRECTIONS) * (2 * math.pi / _DIRECTIONS)
        self.register_buffer("directions", torch.stack([angles.cos(), angles.sin()], dim=1), persistent=False)
        self.register_buffer("luma", torch.tensor(_LUMA).view(1, 3, 1, 1), persistent=False)
        pairs = 2 * sum(len(frequencies) for frequencies in _FREQUENCIES)
        self.dim = len(_EDGES) * (_DIRECTIONS * len(_GRID) + 1) + pairs * sum(len(colors.layout) for colors in _COLORS)

    def forward(self, frames: Tensor) -> Tensor:
        """Describe ``(B, 3, H, W)`` RGB in 0..1 by unit vectors ``(B, dim, H/stride, W/stride)``.

        Raises:
            SettingError: see :func:`followspot.models.encoder.check_frames`.
        """
        check_frames(frames, stride=self.stride, name=self.name)
        # Half the resolution holds everything that a cell of 8 pixels can keep, at a quarter of the work.
        half = functional.avg_pool2d(frames, 2)
        luma = (half * self.luma).sum(1, keepdim=True)
        parts = [self._edges(luma, edges) for edges in _EDGES]
        embedded = functional.avg_pool2d(_embed(rgb_to_lab(functional.avg_pool2d(half, 2))), self.stride // 4)
        parts += [self._colors(embedded, colors) for colors in _COLORS]
        return functional.normalize(torch.cat(parts, dim=1), dim=1)

    def _edges(self, luma: Tensor, edges: _Edges) -> Tensor:
        smooth = _blur(luma, edges.smooth / 2)
        padded = functional.pad(smooth, (1, 1, 1, 1), mode="replicate")
        right = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
        down = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
        # A 1x1 convolution projects the gradient onto every direction at once.
        along = functional.conv2d(torch.cat([right, down], dim=1), self.directions[..., None, None]).clamp_min(0)
        pooled = _blur(functional.avg_pool2d(along, self.stride // 2), edges.pool / self.stride)
        bins = _arrange(pooled, tuple((y * edges.step, x * edges.step) for y, x in _GRID), self.stride)
        bins = torch.cat([bins, torch.full_like(bins[:, :1], _NO_EDGE * len(_GRID))], dim=1)
        return (bins / bins.sum(1, keepdim=True)).sqrt()

    def _colors(self, embedded: Tensor, colors: _Colors) -> Tensor:
        areas = _arrange(_blur(embedded, colors.pool / self.stride), colors.layout, self.stride)
        return areas * (colors.weight / math.sqrt(len(colors.layout)))


def _embed(lab: Tensor) -> Tensor:
    """Unit vectors whose inner product falls with the colour difference."""
    angles = torch.stack([lab[:, channel] * w for channel, frequencies in enumerate(_FREQUENCIES) for w in frequencies], dim=1)
    return torch.cat([angles.cos(), angles.sin()], dim=1) / math.sqrt(angles.shape[1])


def _arrange(maps: Tensor, layout: tuple[tuple[int, int], ...], stride: int) -> Tensor:
    """Every cell beside its neighbours at (down, right) pixels; beyond the frame its border repeats."""
    reach = max(max(abs(down), abs(right)) for down, right in layout) // stride
    if reach == 0:
        return maps
    height, width = maps.shape[-2:]
    padded = functional.pad(maps, (reach,) * 4, mode="replicate")
    corners = [(reach + down // stride, reach + right // stride) for down, right in layout]
    return torch.cat([padded[..., top : top + height, left : left + width] for top, left in corners], dim=1)


def _blur(maps: Tensor, sigma: float) -> Tensor:
    """Gaussian with the border repeated; sigma in cells of ``maps``, 0 leaves them."""
    if sigma == 0:
        return maps
    reach = math.ceil(2.5 * sigma)
    at = torch.arange(-reach, reach + 1, dtype=maps.dtype, device=maps.device)
    kernel = (-0.5 * (at / sigma) ** 2).exp()
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1).expand(maps.shape[1], 1, 1, -1)
    groups = maps.shape[1]
    maps = functional.conv2d(functional.pad(maps, (reach, reach, 0, 0), mode="replicate"), kernel, groups=groups)
    return functional.conv2d(functional.pad(maps, (0, 0, reach, reach), mode="replicate"), kernel.mT, groups=groups)
