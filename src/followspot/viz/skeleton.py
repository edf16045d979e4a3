"""Skeletons: limbs between keypoints."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from followspot.errors import AnnotationError
from followspot.types import TrackedPoint

Colour = tuple[int, int, int]
Limbs = tuple[tuple[int, int], ...]

_SHIFT = 4
_DARK = (20, 20, 20)


def to_fixed(x: float, y: float) -> tuple[int, int]:
    """A position in pixels as OpenCV's fixed-point numbers with 4 fractional bits, kept in the range that OpenCV can draw."""
    limit = 32_000 << _SHIFT
    return int(np.clip(round(x * (1 << _SHIFT)), -limit, limit)), int(np.clip(round(y * (1 << _SHIFT)), -limit, limit))


def draw_dot(image: NDArray[np.uint8], x: float, y: float, *, colour: Colour, radius: float) -> None:
    """Draw a dot with a dark rim, in place.

    Args:
        image: ``(H, W, 3)`` RGB.
        x: column in pixels, origin at the centre of the top-left pixel.
        y: row in pixels.
        colour: RGB.
        radius: in pixels.
    """
    centre, fixed = to_fixed(x, y), round(radius * (1 << _SHIFT))
    cv2.circle(image, centre, fixed + (1 << _SHIFT), _DARK, -1, cv2.LINE_AA, _SHIFT)
    cv2.circle(image, centre, fixed, colour, -1, cv2.LINE_AA, _SHIFT)


def draw_skeleton(image: NDArray[np.uint8], points: Sequence[TrackedPoint], limbs: Limbs, *, colour: Colour, thickness: int) -> None:
    """Draw limbs and joints in place; lost joints, and the limbs that end there, are left out.

    Args:
        image: ``(H, W, 3)`` RGB.
        points: the joints, in the order that the limbs count them in.
        limbs: pairs of joint indices; empty for joints only.
        colour: RGB.
        thickness: of the limbs in pixels, at least 1.

    Raises:
        AnnotationError: if a limb names a joint that there is not.
    """
    for limb in limbs:
        if any(not 0 <= end < len(points) for end in limb):
            raise AnnotationError(
                f"limb {limb} names a joint outside 0..{len(points) - 1}; pass the skeleton that belongs to these keypoints"
            )
    present = [not point.lost and bool(np.isfinite((point.x, point.y)).all()) for point in points]
    drawn = [limb for limb in limbs if present[limb[0]] and present[limb[1]]]
    # All rims first, so that no rim crosses a limb drawn earlier.
    for width, ink in ((thickness + 2, _DARK), (thickness, colour)):
        for start, end in drawn:
            first, last = points[start], points[end]
            cv2.line(image, to_fixed(first.x, first.y), to_fixed(last.x, last.y), ink, width, cv2.LINE_AA, _SHIFT)
    light: Colour = tuple(round(0.5 * channel + 127) for channel in colour)  # type: ignore[assignment]
    for point, shown in zip(points, present, strict=True):
        if shown:
            draw_dot(image, point.x, point.y, colour=light if drawn else colour, radius=thickness * (1.0 if drawn else 1.6))
