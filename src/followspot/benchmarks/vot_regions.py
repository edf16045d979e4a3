"""Between regions of the VOT challenge and what trackers take and say."""

import cv2
import numpy as np

from followspot.io.regions import Region
from followspot.types import Boxes, TrackedFrame

NAME = "object"
"""What the one object of a sequence is called."""


def start_box(region: Region) -> Boxes:
    """The upright box that a tracker is given for a region.

    A rectangle is taken as it is. A polygon becomes the box around its mean corner that has the shape of its upright bounds and, but for
    a pixel more in width and height, its area: what pysot and SiamMask give to their trackers, whose pixels are counted at their centres.

    Args:
        region: four numbers or the corners of a polygon of at least three.

    >>> start_box(np.array([10.0, 20, 5, 8])).xyxy.tolist()
    [[10.0, 20.0, 15.0, 28.0]]
    >>> start_box(np.array([0.0, 0, 9, 0, 9, 19, 0, 19])).xyxy.tolist()
    [[0.0, 0.0, 10.0, 20.0]]
    """
    if len(region) == 4:
        x, y, width, height = region
        return Boxes(xyxy=np.array([[x, y, x + width, y + height]]), names=(NAME,))
    corners = region.reshape(-1, 2)
    bounds = np.ptp(corners, axis=0)
    after = np.roll(corners, -1, axis=0)
    sides = np.hypot(*(after - corners).T)
    shoelace = abs(float((corners[:, 0] * after[:, 1] - corners[:, 1] * after[:, 0]).sum())) / 2
    area = float(sides[0] * sides[1]) if len(corners) == 4 else shoelace
    side = bounds * np.sqrt(area / max(float(bounds.prod()), 1e-9)) + 1
    middle = corners.mean(axis=0) + 0.5
    return Boxes(xyxy=np.concatenate([middle - side / 2, middle + side / 2])[None], names=(NAME,))


def answer_region(answer: TrackedFrame) -> Region | None:
    """What a tracker says, as a region: its rotated box, or the smallest rectangle, turned as it may be, around its mask, or its box.

    Args:
        answer: for a frame; its first object counts.

    Returns:
        ``x, y, width, height`` or four corners; None where nothing is left of the object.
    """
    found = next(iter(answer.objects), None)
    if found is None or found.box is None:
        return None
    if found.polygon is not None:
        return np.array(found.polygon, np.float64).ravel()
    # Of an object that is a box, pixels are told besides; few of them say less than the box does.
    if found.kind == "mask" and answer.masks is not None:
        rows, columns = np.nonzero(answer.masks == found.mask_id)
        if rows.size:
            # The outline of pixels, not of their centres: a mask of one pixel has an area.
            outline = np.concatenate([np.stack([columns + x, rows + y], 1) for x in (0, 1) for y in (0, 1)]).astype(np.float32)
            return np.asarray(cv2.boxPoints(cv2.minAreaRect(cv2.convexHull(outline))), np.float64).ravel()
    x1, y1, x2, y2 = found.box
    return np.array([x1, y1, x2 - x1, y2 - y1])
