"""Colour spaces on tensors: sRGB to CIE Lab and back, differentiable everywhere (also at black and at white).

Formulas: sRGB from IEC 61966-2-1, XYZ for the D65 white (2 degree observer), Lab from CIE 15:2004.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from followspot.errors import SettingError

# IEC 61966-2-1: linear sRGB -> XYZ for D65.
_RGB_TO_XYZ = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
# The D65 white point (2 degree observer) with Y = 1.
_WHITE = (0.95047, 1.0, 1.08883)
# CIE 15:2004: below this angle-free constant the cube root is replaced by its tangent.
_DELTA = 6 / 29
# No colour of sRGB has a larger |a| or |b| (blue has b = -107.9).
_REACH = 110.0


def rgb_to_lab(rgb: Tensor) -> Tensor:
    """Convert sRGB to CIE Lab (D65).

    Args:
        rgb: ``(..., 3, H, W)`` floats in [0, 1], gamma-coded as images are.

    Returns:
        ``(..., 3, H, W)``: L in [0, 100], a and b in about [-110, 110]; grey has a = b = 0 to 0.01.

    Raises:
        SettingError: the tensor is not floating point or has no colour axis of 3 before height and width.

    >>> red = torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1)
    >>> [round(value, 1) for value in rgb_to_lab(red).flatten().tolist()]
    [53.2, 80.1, 67.2]
    """
    _check(rgb, "rgb")
    # The clamps only keep the unused branch of each `where` finite, so that its zero gradient is not 0 x inf.
    linear = torch.where(rgb > 0.04045, ((rgb + 0.055) / 1.055).clamp_min(1e-3).pow(2.4), rgb / 12.92)
    xyz = _mix(linear, rgb.new_tensor(_RGB_TO_XYZ)) / _white(rgb)
    cube = _DELTA**3
    f = torch.where(xyz > cube, xyz.clamp_min(cube).pow(1 / 3), xyz / (3 * _DELTA**2) + 4 / 29)
    fx, fy, fz = f.unbind(-3)
    return torch.stack([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)], dim=-3)


def lab_to_rgb(lab: Tensor) -> Tensor:
    """Convert CIE Lab (D65) to sRGB, the inverse of :func:`rgb_to_lab`.

    Args:
        lab: ``(..., 3, H, W)`` floats.

    Returns:
        ``(..., 3, H, W)``. Colours that sRGB cannot show fall outside [0, 1]; they are not clamped, so gradients survive.

    Raises:
        SettingError: the tensor is not floating point or has no colour axis of 3 before height and width.

    >>> rgb = torch.rand(3, 4, 4, dtype=torch.float64)
    >>> bool((lab_to_rgb(rgb_to_lab(rgb)) - rgb).abs().max() < 1e-6)
    True
    """
    _check(lab, "lab")
    light, a, b = lab.unbind(-3)
    fy = (light + 16) / 116
    f = torch.stack([fy + a / 500, fy, fy - b / 200], dim=-3)
    xyz = torch.where(f > _DELTA, f.pow(3), 3 * _DELTA**2 * (f - 4 / 29)) * _white(lab)
    linear = _mix(xyz, torch.linalg.inv(lab.new_tensor(_RGB_TO_XYZ, dtype=torch.float64)).to(lab))
    return torch.where(linear > 0.0031308, 1.055 * linear.clamp_min(1e-4).pow(1 / 2.4) - 0.055, linear * 12.92)


def join_lightness(lightness: Tensor, ab: Tensor) -> Tensor:
    """A picture of known lightness and guessed colours: colours that sRGB lacks at that lightness are greyed as far as they must be.

    Clamping RGB instead would change the lightness.

    Args:
        lightness: ``(..., 1, H, W)`` L in [0, 100].
        ab: ``(..., 2, H, W)``.

    Returns:
        ``(..., 3, H, W)`` RGB in [0, 1] whose L is the one given.
    """
    # The hull of sRGB around the grey axis is so nearly convex that halving finds the edge; 8 steps leave 1/256 of the colour.
    kept, step = torch.ones_like(lightness), 0.5
    inside = _in_gamut(lightness, ab)
    kept = torch.where(inside, kept, 0.0)
    for _ in range(8):
        if bool(inside.all()):
            break
        trial = torch.where(inside, kept, kept + step)
        kept = torch.where(_in_gamut(lightness, ab * trial), trial, kept)
        step /= 2
    return lab_to_rgb(torch.cat([lightness, ab * kept], -3)).clamp(0, 1)


def to_lab(image: NDArray[np.uint8]) -> Tensor:
    """An RGB picture ``(H, W, 3)`` uint8 as Lab ``(3, H, W)`` float32."""
    return rgb_to_lab(torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255)


def to_image(rgb: Tensor) -> NDArray[np.uint8]:
    """RGB ``(3, H, W)``, clamped to [0, 1], as a picture ``(H, W, 3)`` uint8."""
    image: NDArray[np.uint8] = (rgb.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()
    return image


def recolor(image: NDArray[np.uint8], ab: Tensor) -> NDArray[np.uint8]:
    """A picture's own lightness with other colours.

    Args:
        image: RGB ``(H, W, 3)``; its colours do not matter.
        ab: ``(2, H, W)``.

    Returns:
        RGB ``(H, W, 3)`` with the L of the image, up to rounding.
    """
    return to_image(join_lightness(to_lab(image)[:1], ab))


def _in_gamut(lightness: Tensor, ab: Tensor) -> Tensor:
    """Whether sRGB shows it, up to a third of a step of 8 bits."""
    rgb = lab_to_rgb(torch.cat([lightness, ab], -3))
    return ((rgb > -1e-3) & (rgb < 1 + 1e-3)).all(-3, keepdim=True)


def gamut_bins(spacing: float = 10.0) -> Tensor:
    """The colours of a regular grid in ab that sRGB can show at some lightness.

    The classes of Zhang et al., "Colorful Image Colorization" (ECCV 2016), section 2.1, who take a spacing of 10 and count 313, more
    generously: here a point of the grid counts if sRGB has it at some whole L.

    Args:
        spacing: of the grid, above 0 and up to 50; the grid holds grey (a = b = 0).

    Returns:
        ``(Q, 2)`` float32 ab, by a, then b: 225 for a spacing of 10.

    Raises:
        SettingError: the spacing is out of range.

    >>> len(gamut_bins(10)), len(gamut_bins(25))
    (225, 37)
    """
    if not 0 < spacing <= 50:
        raise SettingError(f"spacing = {spacing:g} of colours must be above 0 and up to 50, in units of ab; 10 is published")
    steps = int(_REACH // spacing)
    axis = torch.arange(-steps, steps + 1, dtype=torch.float64) * spacing
    points = torch.cartesian_prod(axis, axis)
    lightness = torch.arange(101, dtype=torch.float64)
    lab = torch.cat([lightness[:, None, None].expand(-1, len(points), 1), points.expand(101, -1, 2)], 2)
    rgb = lab_to_rgb(lab.transpose(1, 2)[..., None])
    shown = ((rgb >= 0) & (rgb <= 1)).all(1).any(0).flatten()
    return points[shown].float()


def _mix(image: Tensor, matrix: Tensor) -> Tensor:
    return torch.einsum("ij,...jhw->...ihw", matrix, image)


def _white(like: Tensor) -> Tensor:
    return like.new_tensor(_WHITE).view(3, 1, 1)


def _check(image: Tensor, name: str) -> None:
    if image.ndim < 3 or image.shape[-3] != 3 or not image.is_floating_point():
        raise SettingError(f"{name} must be float (..., 3, H, W), got {image.dtype} {tuple(image.shape)}; divide uint8 images by 255")
