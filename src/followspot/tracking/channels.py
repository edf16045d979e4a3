"""Which label channel belongs to which object: annotations in, label maps; label maps in, tracked objects out.

A tracker moves a stack of label maps ``(L, h, w)`` and knows nothing else. This module keeps the books; what a channel
holds is said in `followspot.tracking.encoding`.

Objects that are added later form a new *cohort* with a validity channel of its own: 0 in the frames remembered from before
(nobody said where the object was, so they must not vote "not here"), 1 in all frames after.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from followspot.errors import AnnotationError
from followspot.ops.box_frame import decode_box_frame, encode_box_frames, redraw_box_frame
from followspot.ops.boxes import decode_box
from followspot.ops.masks import decode_ids, encode_ids, mask_boxes, upsample
from followspot.ops.points import decode_points, encode_points
from followspot.tracking.encoding import Channel, Role, encode
from followspot.types import Annotation, Keypoints, Kind, TrackedObject, TrackedPoint


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """Label maps of one frame, read out at the source's size."""

    masks: NDArray[np.uint8] | None
    maps: NDArray[np.float32] | None
    objects: tuple[TrackedObject, ...]


@dataclass
class Channels:
    """The books of one tracker.

    Args:
        image_size: ``(H, W)`` of the source.
        grid: ``(h, w)`` of the feature map.
    """

    image_size: tuple[int, int]
    grid: tuple[int, int]
    items: list[Channel] = field(default_factory=list)
    skeletons: dict[str, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    cohorts: int = 0

    def __len__(self) -> int:
        return len(self.items)

    def names(self) -> list[str]:
        """Names of the objects, in the order they were added."""
        return list(dict.fromkeys(c.name for c in self.items if c.name))

    def indices(self, *roles: Role) -> list[int]:
        """Positions of the channels with one of these roles."""
        return [i for i, c in enumerate(self.items) if c.role in roles]

    def of(self, name: str) -> list[int]:
        """Positions of the channels of one object."""
        return [i for i, c in enumerate(self.items) if c.name == name]

    def frame(self, name: str) -> list[int]:
        """Positions of the channels of one box: its coverage and its frame, in the order of `followspot.ops.box_frame.PARTS`."""
        return [i for i in self.indices("box", "frame") if self.items[i].name == name]

    def admit(self, annotations: Iterable[Annotation]) -> dict[int, Tensor]:
        """Encodes annotations of one frame and adds channels for objects not seen before.

        Args:
            annotations: masks, boxes, points, keypoints and label maps of one frame, in pixels of the source.

        Returns:
            Label maps ``(h, w)`` by channel position. Joints that are NaN are left out unless they are new (then all zero).

        Raises:
            AnnotationError: an object is annotated twice, a mask has another size, or ids run out.
        """
        before = len(self.items)
        maps: dict[int, Tensor] = {}
        for annotation in annotations:
            if isinstance(annotation, Keypoints):
                self.skeletons[annotation.name] = annotation.skeleton
            for channel, encoded, known in encode(annotation, self.image_size, self.grid):
                index = self._index(channel)
                if index in maps:
                    raise AnnotationError(f"{channel.role} {channel.name!r} is annotated twice in one frame; give each object its own name")
                if known or index >= before:
                    maps[index] = encoded
        if len(self.items) > before:
            if self.cohorts:
                self.items.append(Channel(role="validity", cohort=self.cohorts))
            self.cohorts += 1
        return maps

    def _index(self, channel: Channel) -> int:
        for i, item in enumerate(self.items):
            if item.key == channel.key:
                return i
            if item.name == channel.name and item.kind != channel.kind:
                raise AnnotationError(f"{channel.name!r} is annotated as {item.kind} and as {channel.kind}; give each object its own name")
        if channel.role == "mask":
            channel = self._with_free_id(channel)
            if not self.indices("background"):
                self.items.append(Channel(role="background", cohort=self.cohorts))
        self.items.append(replace(channel, cohort=self.cohorts))
        return len(self.items) - 1

    def _with_free_id(self, channel: Channel) -> Channel:
        taken = {c.mask_id for c in self.items}
        if channel.mask_id not in taken:
            return channel
        free = next((i for i in range(1, 256) if i not in taken), None)
        if free is None:
            raise AnnotationError(f"mask {channel.name!r} would be object 256; one run follows at most 255 masks, so make it two runs")
        return replace(channel, mask_id=free)

    def merge(self, predicted: Tensor | None, given: Mapping[int, Tensor]) -> Tensor:
        """Label maps of an annotated frame: what is given, and for all else what was predicted.

        Args:
            predicted: ``(L', h, w)`` with L' <= L (channels that are new are missing at the end), or None on the first frame.
            given: maps by channel, from `admit`.

        Returns:
            ``(L, h, w)``: masks exclude each other, background is what they leave, validity is 1.
        """
        device = predicted.device if predicted is not None else torch.device("cpu")
        labels = torch.zeros(len(self.items), *self.grid, device=device)
        if predicted is not None:
            labels[: len(predicted)] = predicted
        masks = self.indices("mask")
        fixed = [i for i in masks if i in given]
        for index, values in given.items():
            labels[index] = values.to(device)
        if fixed:
            room = (1 - labels[fixed].sum(0)).clamp(min=0)
            free = [i for i in masks if i not in given]
            if free:
                labels[free] *= (room / labels[free].sum(0).clamp(min=1e-6)).clamp(max=1)
        if masks:
            labels[self.indices("background")] = (1 - labels[masks].sum(0)).clamp(min=0)
        labels[self.indices("validity")] = 1
        return labels

    def settle(self, propagated: Tensor) -> Tensor:
        """Undoes the missing votes of frames from before an object was added; sets validity to 1 again.

        Args:
            propagated: ``(L, h, w)`` straight from propagation.

        Returns:
            ``(L, h, w)``; unchanged when all objects came with the first annotation.
        """
        if self.cohorts <= 1:
            return propagated
        labels = propagated.clone()
        for v in self.indices("validity"):
            late = [i for i, c in enumerate(self.items) if c.cohort == self.items[v].cohort and i != v]
            labels[late] /= labels[v].clamp(min=1e-6)
            labels[v] = 1
        masks = self.indices("mask")
        if masks:
            labels[masks] /= labels[masks].sum(0).clamp(min=1)
            labels[self.indices("background")] = (1 - labels[masks].sum(0)).clamp(min=0)
        return labels

    def redraw(self, labels: Tensor) -> Tensor:
        """What is to be remembered of propagated maps: the cells of a box agree on where it is, all else stays.

        Args:
            labels: ``(L, h, w)``.

        Returns:
            ``(L, h, w)``; unchanged where there are no boxes.
        """
        boxes = self.indices("box")
        if not boxes:
            return labels
        labels = labels.clone()
        for box in boxes:
            rows = self.frame(self.items[box].name)
            labels[rows] = redraw_box_frame(labels[rows])
        return labels

    def harden(self, labels: Tensor) -> Tensor:
        """The decoded answer encoded again: each mask pixel votes for one id, boxes and points are drawn anew.

        Args:
            labels: ``(L, h, w)``.

        Returns:
            ``(L, h, w)``; soft maps stay as they are.
        """
        decoded, hard = self.decode(labels), labels.clone()
        masks = self.indices("mask")
        if decoded.masks is not None:
            ids = [self.items[i].mask_id or 0 for i in masks]
            hard[masks] = encode_ids(decoded.masks, ids, self.grid).to(labels.device)
            hard[self.indices("background")] = (1 - hard[masks].sum(0)).clamp(min=0)
        for item in decoded.objects:
            if item.kind == "box" and item.box is not None:
                frame = encode_box_frames(np.array([item.box]), self.image_size, self.grid)[0]
                hard[self.frame(item.name)] = frame.to(labels.device)
            if item.points:
                rows = [i for i in self.of(item.name) if self.items[i].role == item.kind]
                xy = np.array([[p.x, p.y] for p in item.points])
                hard[rows] = encode_points(xy, self.image_size, self.grid).to(labels.device)
        return hard

    def forget(self, name: str) -> list[int]:
        """Removes an object; returns the positions its channels had (positions after them move up)."""
        gone = self.of(name)
        left = [c for i, c in enumerate(self.items) if i not in gone]
        if not any(c.role == "mask" for c in left):
            gone += self.indices("background")
        self.items = [c for i, c in enumerate(self.items) if i not in gone]
        self.skeletons.pop(name, None)
        return sorted(gone)

    def decode(self, labels: Tensor) -> Decoded:
        """Reads label maps out at the source's size.

        Args:
            labels: ``(L, h, w)``.

        Returns:
            Id map, soft maps and objects (without confidence; lost only where nothing is left).
        """
        size = self.image_size
        mask_channels, map_channels = self.indices("mask"), self.indices("map")
        ids = None
        boxes: dict[int, tuple[float, float, float, float]] = {}
        if mask_channels:
            object_ids = [self.items[i].mask_id or 0 for i in mask_channels]
            ids = decode_ids(labels[mask_channels], object_ids, size, background=labels[self.indices("background")[0]])
            boxes = mask_boxes(ids)
        maps = upsample(labels[map_channels], size).cpu().numpy() if map_channels else None
        xy, peaks = decode_points(labels[self.indices("point", "keypoints")], size)
        spots = dict(zip(self.indices("point", "keypoints"), zip(xy, peaks, strict=True), strict=True))
        objects: list[TrackedObject] = []
        joints: dict[str, list[TrackedPoint]] = {}
        for i, channel in enumerate(self.items):
            match channel.role:
                case "mask":
                    objects.append(_region(channel, "mask", boxes.get(channel.mask_id or 0)))
                case "box":
                    objects.append(_region(channel, "box", decode_box_frame(labels[self.frame(channel.name)], size)))
                case "map":
                    objects.append(_region(channel, "map", decode_box(labels[i], size)))
                case "point" | "keypoints":
                    (x, y), _ = spots[i]
                    spot = TrackedPoint(name=channel.joint, x=float(x), y=float(y), confidence=None, lost=bool(np.isnan(x)))
                    if channel.role == "point":
                        objects.append(_spots(channel.name, "point", [spot]))
                    elif channel.name in joints:
                        joints[channel.name].append(spot)
                    else:
                        joints[channel.name] = [spot]
                        objects.append(_spots(channel.name, "keypoints", joints[channel.name]))
        objects = [_spots(o.name, o.kind, joints[o.name]) if o.kind == "keypoints" else o for o in objects]
        return Decoded(masks=ids, maps=maps, objects=tuple(objects))

    def state(self) -> dict[str, Any]:
        """Plain data that `from_state` turns into the same books again."""
        items = [{"role": c.role, "name": c.name, "joint": c.joint, "mask_id": c.mask_id, "cohort": c.cohort} for c in self.items]
        skeletons = {name: [list(limb) for limb in limbs] for name, limbs in self.skeletons.items()}
        return {
            "image_size": list(self.image_size),
            "grid": list(self.grid),
            "items": items,
            "skeletons": skeletons,
            "cohorts": self.cohorts,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Channels":
        """The books that `state` described."""
        return cls(
            image_size=(state["image_size"][0], state["image_size"][1]),
            grid=(state["grid"][0], state["grid"][1]),
            items=[Channel(**item) for item in state["items"]],
            skeletons={name: tuple((a, b) for a, b in limbs) for name, limbs in state["skeletons"].items()},
            cohorts=state["cohorts"],
        )


def _region(channel: Channel, kind: Kind, box: tuple[float, float, float, float] | None) -> TrackedObject:
    return TrackedObject(name=channel.name, kind=kind, mask_id=channel.mask_id, box=box, points=(), confidence=None, lost=box is None)


def _spots(name: str, kind: Kind, spots: list[TrackedPoint]) -> TrackedObject:
    return TrackedObject(
        name=name, kind=kind, mask_id=None, box=None, points=tuple(spots), confidence=None, lost=all(p.lost for p in spots)
    )
