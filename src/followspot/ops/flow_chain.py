"""Optical flow over several frames, and where it can be believed."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from followspot.ops.flow import Flow, FlowFunction, Image, chain

# Sundaram, Brox, Keutzer, "Dense Point Trajectories by GPU-accelerated Large Displacement Optical Flow" (ECCV 2010), equation 5: a round
# trip may miss by this share of the squared lengths of both ways, plus this many squared pixels.
_MISS_SHARE, _MISS_PIXELS = 0.01, 0.5


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
        onward = chain(onward, flow(earlier, later))
    back = flow(neighbours[-1][1], neighbours[-1][0])
    for earlier, later in reversed(neighbours[:-1]):
        back = chain(back, flow(later, earlier))
    miss = chain(back, onward)
    lengths = (back**2).sum(0) + ((miss - back) ** 2).sum(0)
    height, width = lengths.shape
    x, y = np.arange(width) + back[0], np.arange(height)[:, None] + back[1]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return back, ((miss**2).sum(0) < _MISS_SHARE * lengths + _MISS_PIXELS) & inside
