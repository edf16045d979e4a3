"""What label channels mean, and annotations turned into them.

mask        one channel an object, beside one for the background; they exclude each other (their weights sum to 1 in a cell)
box         one channel: how much of a cell the box covers; and five of role frame: where in the box a cell lies, and its size
point       one channel: a small Gaussian; keypoints are several of them under one object's name
map         one channel, any weights in [0, 1]
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from followspot.errors import AnnotationError
from followspot.ops.box_frame import PARTS, encode_box_frames
from followspot.ops.masks import area_resize, encode_ids
from followspot.ops.points import encode_points
from followspot.types import Annotation, Boxes, Keypoints, LabelMaps, Masks, Points

Role = Literal["background", "mask", "box", "frame", "point", "keypoints", "map", "validity"]


@dataclass(frozen=True, kw_only=True)
class Channel:
    """What one label channel means."""

    role: Role
    name: str = ""
    joint: str = ""
    """Name of the joint or point; of a frame: which of `followspot.ops.box_frame.PARTS`."""
    mask_id: int | None = None
    cohort: int = 0

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes two channels the same: role, object and joint."""
        return (self.role, self.name, self.joint)

    @property
    def kind(self) -> Role:
        """The role, where a box's frame counts as the box."""
        return "box" if self.role == "frame" else self.role


Encoded = tuple[Channel, Tensor, bool]
"""A channel, its map ``(h, w)``, and whether its place is known (False: a joint that is NaN)."""


def encode(annotation: Annotation, image_size: tuple[int, int], grid: tuple[int, int]) -> list[Encoded]:
    """Turns an annotation into label channels.

    Args:
        annotation: in pixels of the source.
        image_size: ``(H, W)`` of the source.
        grid: ``(h, w)`` of the feature map.

    Returns:
        One entry a channel, in the order in which they are to be kept.

    Raises:
        AnnotationError: a mask is empty or it, or a label map, has another size than the video.
    """
    match annotation:
        case Masks():
            _check_size("mask", annotation.ids.shape, image_size)
            ids = [int(i) for i in np.unique(annotation.ids) if i]
            if not ids:
                raise AnnotationError("the mask is empty: it has no pixel with an id above 0, so there is nothing to follow")
            maps = encode_ids(annotation.ids, ids, grid)
            return [(Channel(role="mask", name=annotation.name_of(i), mask_id=i), m, True) for i, m in zip(ids, maps, strict=True)]
        case Boxes():
            frames = encode_box_frames(annotation.xyxy, image_size, grid)
            return [
                (Channel(role="frame", name=name, joint=part) if i else Channel(role="box", name=name), m, True)
                for name, frame in zip(annotation.names, frames, strict=True)
                for i, (part, m) in enumerate(zip(PARTS, frame, strict=True))
            ]
        case Points():
            maps = encode_points(annotation.xy, image_size, grid)
            return [(Channel(role="point", name=n, joint=n), m, True) for n, m in zip(annotation.names, maps, strict=True)]
        case Keypoints():
            maps = encode_points(annotation.xy, image_size, grid)
            known = np.isfinite(annotation.xy[:, 0] + annotation.xy[:, 1]).tolist()
            rows = zip(annotation.joints, maps, known, strict=True)
            return [(Channel(role="keypoints", name=annotation.name, joint=j), m, k) for j, m, k in rows]
        case LabelMaps():
            _check_size("label map", annotation.weights.shape[1:], image_size)
            maps = area_resize(torch.from_numpy(annotation.weights), grid)
            return [(Channel(role="map", name=n), m, True) for n, m in zip(annotation.names, maps, strict=True)]


def _check_size(what: str, shape: tuple[int, ...], image_size: tuple[int, int]) -> None:
    if shape != image_size:
        (h, w), (H, W) = shape, image_size
        raise AnnotationError(f"the {what} is {w}x{h} but the video is {W}x{H}; draw it on a frame of this video, at its full size")
