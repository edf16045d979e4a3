"""How a target is shown to a siamese network: a square of its crop, moved, stretched, blurred and recoloured.

Augmentation as SiamMask's public settings have it (Wang et al., CVPR 2019), drawn from numpy generators.
"""

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from followspot.datasets.targets import CROP
from followspot.errors import SettingError

Image = NDArray[np.uint8]
Box = tuple[float, float, float, float]

_LARGEST_BLUR: Final = 45
"""Pixels that the longest blur smears over (SiamMask's public settings)."""
# Principal axes of the colours of ImageNet times their spread (Krizhevsky et al., NeurIPS 2012, section 4.1: 0.1 of it), in grey levels.
_COLOUR_AXES: Final = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
_COLOUR_SPREAD: Final = 0.1 * 255 * np.array([0.2175, 0.0188, 0.0045])
# Weights of ITU-R BT.601, as OpenCV converts.
_GRAY: Final = np.array([[0.299, 0.587, 0.114]] * 3)


@dataclass(frozen=True, kw_only=True)
class ViewSettings:
    """How far one of the two views may depart from the target's crop."""

    shift: float
    """Largest move of the centre along each axis, pixels at the scale of the crop, >= 0."""
    scale: float
    """Largest stretch of each axis, as a share, in [0, 0.9]."""
    blur: float = 0.0
    """Share of views that are blurred as by motion, 0..1."""

    def __post_init__(self) -> None:
        if not (self.shift >= 0 and 0 <= self.scale <= 0.9 and 0 <= self.blur <= 1):
            got = f"shift {self.shift:g}, scale {self.scale:g}, blur {self.blur:g}"
            raise SettingError(f"a view needs shift >= 0, scale in 0..0.9 and blur in 0..1, got {got}; change that")


@dataclass(frozen=True)
class Region:
    """A rectangle of a crop that becomes a view."""

    left: float
    top: float
    width: float
    height: float

    def box(self, box: Box, *, size: int) -> Box:
        """A box of the crop in pixels of the view, xyxy."""
        across, down = size / self.width, size / self.height
        return (
            (box[0] - self.left) * across,
            (box[1] - self.top) * down,
            (box[2] - self.left) * across,
            (box[3] - self.top) * down,
        )

    def matrix(self, *, size: int) -> NDArray[np.float64]:
        """``(2, 3)``, from pixel centres of the view to those of the crop."""
        across, down = self.width / size, self.height / size
        return np.array([[across, 0, self.left + across / 2 - 0.5], [0, down, self.top + down / 2 - 0.5]])


def draw_region(settings: ViewSettings, *, size: int, rng: np.random.Generator) -> Region:
    """Draw which part of a 511 crop a view shows; it never leaves the crop.

    Args:
        settings: how far it may go.
        size: of the view in pixels, without stretch.
        rng: what is random comes from it.

    >>> draw_region(ViewSettings(shift=0, scale=0), size=127, rng=np.random.default_rng(0))
    Region(left=192.0, top=192.0, width=127.0, height=127.0)
    """
    width, height = (float(value) for value in size * (1 + settings.scale * rng.uniform(-1, 1, 2)))
    right, down = (float(value) for value in settings.shift * rng.uniform(-1, 1, 2))
    return Region(_inside((CROP - width) / 2 + right, width), _inside((CROP - height) / 2 + down, height), width, height)


def view_image(crop: Image, region: Region, *, size: int) -> Image:
    """``(size, size, 3)``: a part of a crop, bilinear."""
    return np.asarray(_warp(crop, region, size=size), np.uint8)


def view_mask(mask: Image, region: Region, *, size: int) -> Image:
    """``(size, size)`` in {0, 1}: a part of a mask in {0, 1}; a pixel of which half is covered belongs to it."""
    return np.asarray(_warp(mask.astype(np.float32), region, size=size) >= 0.5, np.uint8)


def draw_blur(rng: np.random.Generator) -> NDArray[np.float32]:
    """A kernel that smears along both axes, by shares that are drawn: odd sides up to 45 pixels, sum 1."""
    side = 2 * int(rng.integers(1, _LARGEST_BLUR // 2 + 1)) + 1
    along = float(rng.random())
    kernel = np.zeros((side, side), np.float32)
    kernel[side // 2] += along
    kernel[:, side // 2] += 1 - along
    return np.asarray(kernel / kernel.sum(), np.float32)


def recolour(image: Image, offset: NDArray[np.float64], *, gray: bool) -> Image:
    """Add an offset to every pixel, after taking the colours away where that is asked for.

    Args:
        image: ``(H, W, 3)``.
        offset: ``(3,)`` grey levels.
        gray: show brightness only.
    """
    values = cv2.transform(image, _GRAY) if gray else image
    return np.asarray(np.clip(values + np.round(offset), 0, 255), np.uint8)


def draw_colour(strength: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """An offset along the principal axes of natural colours, ``(3,)`` grey levels; its size is `strength` times the published one."""
    return np.asarray(strength * _COLOUR_AXES @ (_COLOUR_SPREAD * rng.standard_normal(3)))


def _inside(start: float, length: float) -> float:
    return min(max(start, 0.0), CROP - length)


def _warp(values: NDArray[Any], region: Region, *, size: int) -> NDArray[Any]:
    flags, border = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, cv2.BORDER_REPLICATE
    return cv2.warpAffine(values, region.matrix(size=size), (size, size), flags=flags, borderMode=border)
