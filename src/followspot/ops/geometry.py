"""Affine maps of the plane, crops along them, and their exact inverses.

A map ``theta`` is the ``(2, 3)`` matrix that takes places of the *result* to places of the *source*: warping an image by ``theta`` looks
up, for every pixel of the result, where it comes from. Places are ``(x, y)`` in -1..1, where -1 and +1 are the **centres** of the first and
last pixel (torch's ``align_corners=True``, everywhere), so the identity returns the very pixels.
"""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from followspot.errors import SettingError

LATTICE_SIDE = 20
"""Points a side on which two maps are compared: 20 x 20 over -1..1 (TransformedGridLoss of TimeCycle's released code)."""

Padding = Literal["zeros", "border"]


def similarity_theta(pose: Tensor, *, scale: float) -> Tensor:
    """The map of a turned and shifted crop of fixed size.

    Args:
        pose: ``(..., 3)``: shift x and y in -1..1 of the source, angle in radians (what TimeCycle's localiser says).
        scale: side of the crop as a share of the source's, above 0.

    Returns:
        ``(..., 2, 3)``: ``[[s cos, -s sin, tx], [s sin, s cos, ty]]``.

    Raises:
        SettingError: the scale is not positive, or a pose does not have three numbers.

    >>> similarity_theta(torch.tensor([0.5, 0.0, math.pi / 2]), scale=0.5).round(decimals=3).abs()
    tensor([[0.0000, 0.5000, 0.5000],
            [0.5000, 0.0000, 0.0000]])
    """
    if not (math.isfinite(scale) and scale > 0):
        raise SettingError(f"scale {scale:g} must be above 0; it is the crop's side as a share of the image's, such as 0.333")
    if pose.ndim < 1 or pose.shape[-1] != 3:
        raise SettingError(f"a pose must end in (shift x, shift y, angle), got shape {tuple(pose.shape)}; pass three numbers a crop")
    x, y, angle = pose.unbind(-1)
    cos, sin = scale * angle.cos(), scale * angle.sin()
    return torch.stack([torch.stack([cos, -sin, x], -1), torch.stack([sin, cos, y], -1)], -2)


def transform_points(theta: Tensor, points: Tensor) -> Tensor:
    """Where points go.

    Args:
        theta: ``(..., 2, 3)``.
        points: ``(..., N, 2)`` as x, y; leading axes broadcast with those of ``theta``.

    Returns:
        ``(..., N, 2)``.
    """
    _check_theta(theta)
    x, y = points[..., 0], points[..., 1]
    # Written out, since a matrix product would run in half precision under autocast: an error of pixels.
    rows = [theta[..., None, row, 0] * x + theta[..., None, row, 1] * y + theta[..., None, row, 2] for row in (0, 1)]
    return torch.stack(rows, -1)


def lattice(side: tuple[int, int], like: Tensor) -> Tensor:
    """The places of all pixels of a grid.

    Args:
        side: ``(h, w)``, at least 1 each; a side of 1 has its only pixel at 0.
        like: what device and dtype to use.

    Returns:
        ``(h * w, 2)`` as x, y in -1..1, row by row.

    >>> lattice((2, 2), torch.zeros(1)).tolist()
    [[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]]
    """
    if min(side) < 1:
        raise SettingError(f"a grid of {side[0]}x{side[1]} has no pixels; use sides of at least 1")
    down, across = (_axis(count, like) for count in side)
    return torch.stack([across.repeat(side[0]), down.repeat_interleave(side[1])], -1)


def warp(images: Tensor, theta: Tensor, size: tuple[int, int], *, padding: Padding = "zeros") -> Tensor:
    """Crop, turn or put back images along a map, bilinearly.

    Args:
        images: ``(B, C, H, W)`` floats.
        theta: ``(B, 2, 3)`` from the result to the images.
        size: ``(h, w)`` of the result.
        padding: what lies outside the images: zeros, or the nearest pixel of the border.

    Returns:
        ``(B, C, h, w)``. With the identity and the same size the images themselves; with ``invert(theta)`` a crop goes back to where it was
        cut, and all else is padding.

    Raises:
        SettingError: the shapes do not fit.
    """
    _check_theta(theta)
    if images.ndim != 4 or not images.is_floating_point() or theta.shape[:-2] != images.shape[:1]:
        got = f"{images.dtype} {tuple(images.shape)} and {tuple(theta.shape)}"
        raise SettingError(f"warping takes float images (B, C, H, W) and maps (B, 2, 3), got {got}; convert and batch them alike")
    grid = transform_points(theta, lattice(size, theta)).view(-1, *size, 2)
    # Coordinates keep their precision when images are bfloat16, whose 8 bits cannot name a pixel.
    exact = torch.promote_types(images.dtype, grid.dtype)
    sampled = functional.grid_sample(images.to(exact), grid.to(exact), mode="bilinear", padding_mode=padding, align_corners=True)
    return sampled.to(images.dtype)


def compose(outer: Tensor, inner: Tensor) -> Tensor:
    """The map that does ``inner`` first, then ``outer``: a crop by ``inner`` of a crop by ``outer``.

    Args:
        outer: ``(..., 2, 3)``.
        inner: ``(..., 2, 3)``; leading axes broadcast.

    Returns:
        ``(..., 2, 3)``.
    """
    _check_theta(outer)
    _check_theta(inner)
    linear = (outer[..., :, :2, None] * inner[..., None, :, :2]).sum(-2)
    shift = (outer[..., :, :2] * inner[..., None, :, 2]).sum(-1) + outer[..., 2]
    return torch.cat([linear, shift[..., None]], -1)


def invert(theta: Tensor) -> Tensor:
    """Get the map back, which undoes a map from either side.

    Args:
        theta: ``(..., 2, 3)``.

    Raises:
        SettingError: a map squeezes the plane to a line, so there is no way back.

    >>> invert(torch.tensor([[2.0, 0.0, 1.0], [0.0, 4.0, 0.0]])).tolist()
    [[0.5, 0.0, -0.5], [0.0, 0.25, 0.0]]
    """
    _check_theta(theta)
    (a, b, x), (c, d, y) = (row.unbind(-1) for row in theta.unbind(-2))
    area = a * d - b * c
    if (area == 0).any():
        raise SettingError("a map with a determinant of 0 has no inverse; use a scale above 0")
    top = torch.stack([d, -b, b * y - d * x], -1)
    bottom = torch.stack([-c, a, c * x - a * y], -1)
    # Adding 0 turns the -0 of an unturned map into 0.
    return torch.stack([top, bottom], -2) / area[..., None, None] + 0.0


def on_cells(theta: Tensor, *, source: int, crop: int, stride: int) -> Tensor:
    """A map between images as the map between their feature grids.

    Cells average ``stride`` pixels, so the centres of the outer cells lie half a cell inside the image and +-1 of the grid is not +-1 of
    the image. This is the exact factor; the constant in TimeCycle's released code (227/210) scaled only the shift.

    Args:
        theta: ``(..., 2, 3)`` from crop pixels to source pixels.
        source: side of the square source in pixels, a multiple of the stride and above it.
        crop: side of the square crop in pixels, likewise.
        stride: pixels a cell.

    Returns:
        ``(..., 2, 3)`` from crop cells to source cells.

    Raises:
        SettingError: a side is not a multiple of the stride, or only one cell.
    """
    _check_theta(theta)
    for side in (source, crop):
        if stride < 1 or side % stride or side // stride < 2:
            raise SettingError(f"a side of {side} pixels must be at least two cells of {stride}, without rest; use a multiple of {stride}")
    inside_source, inside_crop = ((side - stride) / (side - 1) for side in (source, crop))
    factors = theta.new_tensor([inside_crop, inside_crop, 1.0]) / inside_source
    return theta * factors


def lattice_distance(first: Tensor, second: Tensor, *, side: int = LATTICE_SIDE) -> Tensor:
    """How far two maps disagree: mean squared distance of where they put a lattice of points, as TimeCycle's loss has it.

    Args:
        first: ``(..., 2, 3)``.
        second: ``(..., 2, 3)``.
        side: points a side of the lattice over -1..1.

    Returns:
        ``(...)``, in squared half sides of the source; 0 where the maps are equal.
    """
    points = lattice((side, side), first)
    apart = transform_points(first, points) - transform_points(second, points)
    return apart.square().sum(-1).mean(-1)


def outline(theta: Tensor, size: tuple[int, int], *, width: float = 2.0) -> Tensor:
    """Where the border of a crop lies in its source.

    Args:
        theta: ``(B, 2, 3)`` from the crop to the source, as for :func:`warp`.
        size: ``(H, W)`` of the source in pixels.
        width: of the line in pixels.

    Returns:
        ``(B, H, W)`` bools.
    """
    inside = transform_points(invert(theta), lattice(size, theta)).abs().amax(-1)
    area = theta[..., 0, 0] * theta[..., 1, 1] - theta[..., 0, 1] * theta[..., 1, 0]
    pixels_a_unit = area.abs().sqrt() * (max(size) - 1) / 2
    line = (inside - 1).abs() * pixels_a_unit[:, None] <= width / 2
    return line.view(-1, *size)


def _axis(count: int, like: Tensor) -> Tensor:
    if count == 1:
        return like.new_zeros(1)
    return torch.linspace(-1, 1, count, device=like.device, dtype=like.dtype)


def _check_theta(theta: Tensor) -> None:
    if theta.ndim < 2 or theta.shape[-2:] != (2, 3) or not theta.is_floating_point():
        raise SettingError(
            f"an affine map must be floats (..., 2, 3), got {theta.dtype} {tuple(theta.shape)}; drop a row of a (3, 3) matrix"
        )
