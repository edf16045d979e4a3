"""Optical flow over several frames, and where it can be believed."""

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from followspot.ops.flow import Flow, FlowFunction, Image

# Sundaram, Brox, Keutzer, "Dense Point Trajectories by GPU-accelerated Large Displacement Optical Flow" (ECCV 2010), equation 5: a round
# trip may miss by this share of the squared lengths of both ways, plus this many squared pixels.
_MISS_SHARE, _MISS_PIXELS = 0.01, 0.5


def join_flows(first: Flow, second: Flow) -> Flow:
    """From a to c: ``first`` leads from a to b, ``second`` from b to c; beyond the frame its border repeats.

    >>> right = np.zeros((2, 4, 6), np.float32); right[0] = 1
    >>> float(join_flows(right, right)[0, 2, 2])
    2.0
    """
    height, width = first.shape[1:]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    moved = [
        cv2.remap(channel, x + first[0], y + first[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for channel in second.astype(np.float32)
    ]
    joined: Flow = first + np.stack(moved)
    return joined


def chained_flow(frames: Sequence[Image], flow: FlowFunction) -> tuple[Flow, NDArray[np.bool_]]:
    """Where each pixel of the last frame was in the first one.

    Flow between neighbours is joined, backward and forward, and believed where there and back again ends where it began.

    Args:
        frames: two or more, RGB ``(H, W, 3)`` uint8, in order.
        flow: between two frames.

    Returns:
        The flow ``(2, H, W)`` from the last frame to the first in pixels, and ``(H, W)`` whether to believe it: it ends within the
        frame and the round trip closes.
    """
    neighbours = list(pairwise(frames))
    onward = flow(*neighbours[0])
    for earlier, later in neighbours[1:]:
        onward = join_flows(onward, flow(earlier, later))
    back = flow(neighbours[-1][1], neighbours[-1][0])
    for earlier, later in reversed(neighbours[:-1]):
        back = join_flows(back, flow(later, earlier))
    miss = join_flows(back, onward)
    lengths = (back**2).sum(0) + ((miss - back) ** 2).sum(0)
    height, width = lengths.shape
    x, y = np.arange(width) + back[0], np.arange(height)[:, None] + back[1]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return back, ((miss**2).sum(0) < _MISS_SHARE * lengths + _MISS_PIXELS) & inside
