"""Square crops around a target, as fully convolutional siamese trackers see them, and the exact way back.

A target of ``w x h`` pixels is shown with context: its square has the side ``sqrt((w + c) (h + c))`` with ``c = (w + h) / 2``, and is
scaled to the exemplar of the network; the search crop shows more of the surroundings at the same scale. Outside the image is its mean
colour. (Bertinetto et al., "Fully-Convolutional Siamese Networks for Object Tracking", ECCVW 2016, section 3.4.)

Windows are edges counted from the corner of the top-left pixel, as boxes are. SiamMask's published code mixes ``side / 2`` and
``(side + 1) / 2``, so its answers lie half a pixel beside its crops; here both ways are one map.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from followspot.errors import SettingError

Floats = NDArray[np.float64]
Image = NDArray[np.uint8]
Values = NDArray[np.float32]

_LARGEST = 4096
"""Pixels a side of what is padded in memory, 48 MiB; a larger window is read where it lies, to 1/32 of a pixel."""
CONTEXT = 0.5
"""Share of ``w + h`` that is added to both sides (SiamFC, section 3.4; SiamMask's ``context_amount``)."""


def context_side(width: float, height: float, *, context: float = CONTEXT) -> float:
    """Side of the square that shows a target and its context.

    Args:
        width: of the target in pixels, above 0.
        height: of the target in pixels, above 0.
        context: share of ``width + height`` added to each side.

    >>> context_side(30, 30)
    60.0
    """
    margin = context * (width + height)
    return math.sqrt((width + margin) * (height + margin))


@dataclass(frozen=True, kw_only=True)
class Window:
    """A square of an image, in pixels of it; parts may lie outside."""

    left: float
    top: float
    side: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.left + self.top + self.side) and self.side > 0):
            raise SettingError(f"a window at {self.left:g},{self.top:g} with side {self.side:g} is none; its side must be above 0")

    @property
    def box(self) -> Floats:
        """``(4,)`` xyxy."""
        return np.array([self.left, self.top, self.left + self.side, self.top + self.side])

    @classmethod
    def around(cls, x: float, y: float, side: float) -> "Window":
        """The window of whole pixels nearest to a centre and a side; scaled by 1 it shows the very pixels.

        Args:
            x: of the centre, edges.
            y: of the centre, edges.
            side: in pixels; at least 1 pixel is taken.
        """
        whole = max(1, math.floor(side + 0.5))
        return cls(left=math.floor(x - whole / 2 + 0.5), top=math.floor(y - whole / 2 + 0.5), side=whole)

    def to_image(self, boxes: Floats, *, pixels: int) -> Floats:
        """Boxes of the crop in pixels of the image.

        Args:
            boxes: ``(..., 4)`` xyxy, or ``(..., 2)`` corners, in pixels of the crop.
            pixels: side of the crop.
        """
        return boxes * (self.side / pixels) + self._corner(boxes)

    def to_crop(self, boxes: Floats, *, pixels: int) -> Floats:
        """What `to_image` undoes.

        Args:
            boxes: ``(..., 4)`` xyxy, or ``(..., 2)`` corners, in pixels of the image.
            pixels: side of the crop.
        """
        return (boxes - self._corner(boxes)) * (pixels / self.side)

    def _corner(self, boxes: Floats) -> Floats:
        return np.resize(np.array([self.left, self.top], np.float64), boxes.shape[-1])


@dataclass(frozen=True, kw_only=True)
class Patch:
    """Values of a part of an image; elsewhere they are 0."""

    top: int
    left: int
    values: Values
    """``(h, w)``; empty where nothing lies in the image."""

    @property
    def area(self) -> tuple[slice, slice]:
        """Rows and columns of the image."""
        height, width = self.values.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


def cut(image: Image, window: Window, *, pixels: int, fill: Floats) -> Image:
    """A window of an image, scaled bilinearly to a crop.

    Args:
        image: ``(H, W, 3)``.
        window: what to show; its edges are rounded to whole pixels.
        pixels: side of the crop.
        fill: ``(3,)``, the colour of what lies outside: the mean of the image.

    Returns:
        ``(pixels, pixels, 3)``.
    """
    colour = [float(value) for value in fill]
    left, top, side = (round(value) for value in (window.left, window.top, window.side))
    if side > _LARGEST:
        scale = side / pixels
        back = np.array([[scale, 0, left + scale / 2 - 0.5], [0, scale, top + scale / 2 - 0.5]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        warped = cv2.warpAffine(image, back, (pixels, pixels), flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=colour)
        return np.asarray(warped, np.uint8)
    (first, last), (start, end) = _overlap(top, side, image.shape[0]), _overlap(left, side, image.shape[1])
    margins = (first - top, top + side - last, start - left, left + side - end)
    if first == last or start == end:
        return np.full((pixels, pixels, 3), np.round(fill), np.uint8)
    shown = image[first:last, start:end]
    if any(margins):
        shown = np.asarray(cv2.copyMakeBorder(shown, *margins, cv2.BORDER_CONSTANT, value=colour), np.uint8)
    return np.asarray(cv2.resize(shown, (pixels, pixels), interpolation=cv2.INTER_LINEAR), np.uint8)


def put_back(values: Values, box: Floats, size: tuple[int, int]) -> Patch:
    """Values of a part of an image at its pixels, bilinearly.

    Args:
        values: ``(m, n)``.
        box: ``(4,)`` xyxy in the image: what the values are of.
        size: ``(H, W)`` of the image.

    Returns:
        The pixels of the image that the box touches; half a value beyond its border they have faded to 0.
    """
    (left, right), (top, bottom) = (
        _overlap(math.floor(box[axis]), math.ceil(box[axis + 2] - box[axis]) + 1, size[1 - axis]) for axis in (0, 1)
    )
    if top == bottom or left == right:
        return Patch(top=top, left=left, values=np.zeros((0, 0), np.float32))
    scale = np.array(values.shape[::-1]) / (box[2:] - box[:2])
    # From centres of pixels of the patch to centres of values.
    shift = (np.array([left, top]) + 0.5 - box[:2]) * scale - 0.5
    back = np.array([[scale[0], 0, shift[0]], [0, scale[1], shift[1]]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    patch = cv2.warpAffine(values, back, (right - left, bottom - top), flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    return Patch(top=top, left=left, values=np.asarray(patch, np.float32))


def _overlap(start: int, length: int, whole: int) -> tuple[int, int]:
    """First and last, exclusive, of a stretch inside an axis; equal where nothing is."""
    first, last = (min(max(edge, 0), whole) for edge in (start, start + length))
    return first, last
