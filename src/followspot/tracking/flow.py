"""Optical flow, chained from frame to frame: the baseline that papers on learning from video compare with."""

import importlib
from typing import cast

from followspot.errors import SettingError
from followspot.ops.flow import FLOWS, Flow, FlowFunction, check_flow
from followspot.tracking.baseline import BaselineTracker
from followspot.tracking.carried import Carried
from followspot.types import Frame


class FlowTracker(BaselineTracker):
    """Carries everything along the flow between consecutive frames.

    Masks and soft maps are taken from where the flow says they were, along the whole chain back to the annotation, and interpolated once.
    Points move by the interpolated flow, boxes by the median shift and growth of the flow inside. "Optical flow (coarse-to-fine)" of
    Vondrick et al., "Tracking Emerges by Colorizing Videos" (ECCV 2018), table 1, is this with their flow.

    Args:
        method: ``"dis"``, ``"farneback"`` or ``"coarse-to-fine"`` (`followspot.ops.flow`), or ``"module:function"`` for a flow of your own,
            learnt or not: a function that takes two RGB uint8 pictures ``(H, W, 3)`` and returns the flow from the first to the second,
            ``(2, H, W)`` dx and dy in pixels.

    Raises:
        SettingError: there is no such method.
    """

    def __init__(self, method: str = "dis") -> None:
        self.method = method
        """As given; results are named after it."""
        self._function = find_flow(method)
        super().__init__()

    def _move(self, carried: Carried, before: Frame, *, now: Frame) -> None:
        if carried.has_layers:
            carried.warp(self._flow(now, before))
        if carried.has_marks:
            carried.push(self._flow(before, now))

    def _flow(self, first: Frame, second: Frame) -> Flow:
        height, width = first.image.shape[:2]
        return check_flow(self._function(first.image, second.image), (height, width), self.method)


def find_flow(method: str) -> FlowFunction:
    """A flow by name.

    Args:
        method: as in `FlowTracker`.

    Returns:
        The function.

    Raises:
        SettingError: the name is unknown, or the module or its function cannot be had.
    """
    if method in FLOWS:
        return FLOWS[method]
    module, colon, name = method.partition(":")
    if not colon or not module or not name:
        raise SettingError(f"flow {method!r} is unknown; choose one of {', '.join(FLOWS)}, or module:function for your own")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise SettingError(f"flow {method!r} cannot be imported ({error}); {module} must be on the Python path and have {name}") from error
    if not callable(function):
        raise SettingError(f"flow {method!r} is a {type(function).__name__}, expected a function of two pictures that returns (2, H, W)")
    return cast(FlowFunction, function)
