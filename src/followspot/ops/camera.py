"""What moves by itself: optical flow with the camera's own motion taken off.

Whatever a camera does, a far or flat background moves by one homography (Hartley and Zisserman, "Multiple View Geometry", 2nd edition,
section 13.1). The one that most of a picture agrees on is taken for the camera's; what is left belongs to things, and to what is near.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from followspot.ops.flow import Flow, FlowFunction, Image, dis

_STEP = 8
"""Pixels between the places that vote: 1500 of them at 240x427, more than enough for the 8 numbers of a homography."""
_INSIDE = 1.0
"""Pixels that a place may miss by and still agree; DIS is right to about half a pixel on a background."""
_TRIALS = 300
"""Draws of four places each: with half of the picture moving on its own, all four are background in one of 16."""


def camera_motion(flow: Flow) -> Flow:
    """The flow that the camera alone would cause.

    Args:
        flow: ``(2, H, W)``, pixels, of the whole picture.

    Returns:
        ``(2, H, W)``: the homography that most places agree on (RANSAC, Fischler and Bolles 1981); the median flow where there is none.

    >>> right = np.zeros((2, 48, 64), np.float32); right[0] = 3
    >>> camera_motion(right)[0].round(3).max()
    np.float32(3.0)
    """
    height, width = flow.shape[1:]
    rows, columns = (grid.ravel() for grid in np.mgrid[_STEP // 2 : height : _STEP, _STEP // 2 : width : _STEP])
    here = np.stack([columns, rows], 1).astype(np.float32)
    there = here + flow[:, rows, columns].T
    plane = cv2.findHomography(here, there, cv2.RANSAC, _INSIDE, maxIters=_TRIALS)[0] if len(here) >= 4 else None
    if plane is None:
        return np.broadcast_to(np.median(flow, (1, 2), keepdims=True), flow.shape).astype(np.float32)
    return _homography_flow(np.asarray(plane, np.float64), (height, width))


def own_motion(before: Image, image: Image, after: Image, *, method: FlowFunction = dis) -> Flow:
    """How each pixel of a picture moves by itself, seen from both sides.

    What comes into view between two pictures has no flow between them, whatever an algorithm says; it has one in the other direction of
    time. So of the two, the smaller counts.

    Args:
        before: RGB ``(H, W, 3)``, a little earlier.
        image: the picture.
        after: as much later.
        method: a flow of `followspot.ops.flow`.

    Returns:
        ``(2, H, W)`` in pixels, forward in time, without the camera's motion.

    Raises:
        SettingError: the pictures differ in size.
    """
    ahead, back = (flow - camera_motion(flow) for flow in (method(image, after), method(image, before)))
    return np.where(np.hypot(*ahead) <= np.hypot(*back), ahead, -back).astype(np.float32)


def _homography_flow(plane: NDArray[np.float64], size: tuple[int, int]) -> Flow:
    rows, columns = np.mgrid[: size[0], : size[1]].astype(np.float32)
    moved = np.tensordot(plane.astype(np.float32), np.stack([columns, rows, np.ones_like(rows)]), 1)
    depth = np.where(np.abs(moved[2]) < 1e-6, 1e-6, moved[2])
    return np.asarray(moved[:2] / depth - np.stack([columns, rows]), np.float32)
