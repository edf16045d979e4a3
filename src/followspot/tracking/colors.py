"""Colours as something to follow: a grey video takes its colours from coloured frames, as masks are taken from annotated ones.

Colours are the a and b of Lab, carried as soft label maps beside one that counts the weights; the lightness is the frame's own. The
tracker is shown grey frames only, the coloured ones included, so that both look alike to it. "Colour propagation" in Vondrick et al.,
"Tracking Emerges by Colorizing Videos" (ECCV 2018), which trains for exactly this.
"""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from followspot.errors import AnnotationError
from followspot.ops.color import lab_to_rgb, to_image, to_lab
from followspot.types import Frame, LabelMaps

NAMES = ("color a", "color b", "color known")
"""Of the label maps, in their order."""
# ab of sRGB lies within +-110, see `followspot.ops.color`; a margin for rounding.
_REACH = 112.0


def gray_frame(frame: Frame) -> Frame:
    """The frame without its colours: the grey of the same L."""
    lightness = to_lab(frame.image)[:1]
    gray = to_image(lab_to_rgb(torch.cat([lightness, torch.zeros_like(lightness.expand(2, -1, -1))])))
    # The matrix of sRGB has six digits, so that grey may come out a step off in one channel.
    return replace(frame, image=np.repeat(gray[..., 1:2], 3, axis=2))


def color_maps(image: NDArray[np.uint8]) -> LabelMaps:
    """The colours of a picture as label maps, for a tracker to carry.

    Args:
        image: RGB ``(H, W, 3)``.

    Returns:
        Three maps ``(3, H, W)`` in [0, 1]: a, b, and one that is 1 everywhere.
    """
    scaled = (to_lab(image)[1:] / (2 * _REACH) + 0.5).clamp(0, 1)
    return LabelMaps(weights=torch.cat([scaled, torch.ones_like(scaled[:1])]).numpy(), names=NAMES)


def carried_ab(maps: NDArray[np.float32] | None) -> Tensor:
    """The colours that a tracker has carried to a frame.

    Args:
        maps: ``(3, H, W)`` from a tracker that was given `color_maps`.

    Returns:
        ``(2, H, W)`` ab; grey where no weight arrived.

    Raises:
        AnnotationError: these are no such maps.
    """
    if maps is None or maps.shape[0] != len(NAMES):
        got = "none" if maps is None else str(maps.shape)
        raise AnnotationError(f"colours need the three maps that color_maps gives, got {got}; start the tracker with those alone")
    carried = torch.from_numpy(np.ascontiguousarray(maps, np.float32))
    known = carried[2:]
    shares = carried[:2] / known.clamp(min=torch.finfo(torch.float32).tiny)
    return torch.where(known > 0, (shares - 0.5) * (2 * _REACH), 0.0)
