"""From masks in search crops to what is in the image: votes, rotated boxes, one id map for several objects."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from followspot.ops.siamese_crops import Floats, Patch, Values, put_back

Ids = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Outline:
    """The largest region of a mask."""

    polygon: Floats
    """``(4, 2)`` corners, edges in pixels of the image: the smallest rectangle around it, turned as it may be."""
    box: Floats
    """``(4,)`` xyxy around it."""


def find_outline(patch: Patch, *, above: float, min_area: float) -> Outline | None:
    """The largest region whose values are above a threshold.

    Args:
        patch: values in [0, 1].
        above: threshold.
        min_area: in pixels; what its contour encloses must be larger.

    Returns:
        None where there is none.
    """
    if not patch.values.size:
        return None
    # The contours are last but one of three in OpenCV 3 and first of two since.
    contours = cv2.findContours((patch.values > above).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[-2]
    largest = max(contours, key=cv2.contourArea, default=None)
    if largest is None or cv2.contourArea(largest) <= min_area:
        return None
    # Contours run through centres of pixels, regions reach to the middles of their edges; their corners would make what is turned larger.
    centres = np.asarray(largest, np.float32)[:, 0] + np.array([patch.left + 0.5, patch.top + 0.5], np.float32)
    middles = np.array([[0.5, 0], [-0.5, 0], [0, 0.5], [0, -0.5]], np.float32)
    corners = np.concatenate([centres + middle for middle in middles])
    polygon = cv2.boxPoints(cv2.minAreaRect(cv2.convexHull(corners)))
    box = np.concatenate([corners.min(0), corners.max(0)])
    return Outline(polygon=np.asarray(polygon, np.float64), box=box.astype(np.float64))


def count_votes(masks: Sequence[tuple[Values, Floats]], *, above: float, size: tuple[int, int]) -> Patch:
    """Which share of some masks is for each pixel.

    Args:
        masks: probabilities ``(m, n)`` and the box ``(4,)`` xyxy of the image that each of them is of.
        above: a mask is for a pixel where its probability is above.
        size: ``(H, W)`` of the image.

    Returns:
        Shares in [0, 1] over the pixels that any mask touches.
    """
    patches = [put_back(values, box, size) for values, box in masks]
    seen = [patch for patch in patches if patch.values.size]
    if not seen:
        return Patch(top=0, left=0, values=np.zeros((0, 0), np.float32))
    top, left = min(patch.top for patch in seen), min(patch.left for patch in seen)
    bottom, right = max(patch.area[0].stop for patch in seen), max(patch.area[1].stop for patch in seen)
    votes = np.zeros((bottom - top, right - left), np.float32)
    for patch in seen:
        height, width = patch.values.shape
        votes[patch.top - top :, patch.left - left :][:height, :width] += patch.values > above
    return Patch(top=top, left=left, values=(votes / len(masks)).astype(np.float32))


def filled_box(box: Floats, size: tuple[int, int]) -> Patch:
    """A box as a mask: the pixels whose centres it covers.

    Args:
        box: ``(4,)`` xyxy.
        size: ``(H, W)`` of the image.
    """
    limit = np.array([size[1], size[0]] * 2)
    left, top, right, bottom = np.ceil(box - 0.5).clip(0, limit).astype(int)
    return Patch(top=int(top), left=int(left), values=np.ones((bottom - top, right - left), np.float32))


def fuse(patches: Iterable[tuple[int, Patch]], *, above: float, size: tuple[int, int]) -> Ids:
    """One id map: each pixel goes to the object with the largest value, if that is above a threshold; ties to the earlier one.

    Args:
        patches: ids and values in [0, 1].
        above: threshold.
        size: ``(H, W)`` of the image.
    """
    ids, best = np.zeros(size, np.uint8), np.full(size, above, np.float32)
    for object_id, patch in patches:
        part = best[patch.area]
        wins = patch.values > part
        part[wins] = patch.values[wins]
        ids[patch.area][wins] = object_id
    return ids
