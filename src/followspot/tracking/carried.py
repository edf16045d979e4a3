"""What is followed, in pixels of the source: for trackers that move things as they are, without label maps on a grid.

Masks and soft maps are kept as they were annotated, beside one flow that says where each pixel of the latest frame was then; so they
are interpolated once, however long the video. Boxes and points are numbers.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from followspot.errors import AnnotationError
from followspot.ops.flow import Flow, chain, move_box, move_points, warp
from followspot.ops.masks import mask_box, mask_boxes
from followspot.tracking.answers import paste_masks
from followspot.tracking.channels import Channels
from followspot.types import Annotation, Boxes, Frame, Keypoints, Kind, LabelMaps, Masks, Points, TrackedFrame, TrackedObject, TrackedPoint

Floats = NDArray[np.float64]
Box = tuple[float, float, float, float]


class Carried:
    """The objects of one tracker and where they are in the latest frame.

    Args:
        size: ``(H, W)`` of the source.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size
        # Only the books are used, names and ids; a grid of one cell makes the maps that come with them free.
        self._books = Channels(image_size=size, grid=(1, 1))
        self._ids: NDArray[np.uint8] | None = None
        self._maps: dict[str, NDArray[np.float32]] = {}
        self._origin: Flow | None = None
        self.boxes: dict[str, Floats] = {}
        """``(4,)`` xyxy in pixels by name."""
        self.spots: dict[str, Floats] = {}
        """``(K, 2)`` in pixels by the name of the object; NaN where a joint is not known."""

    @property
    def names(self) -> list[str]:
        """Of the objects, in the order they were added."""
        return self._books.names()

    @property
    def has_layers(self) -> bool:
        """Whether masks or soft maps are followed, which need a flow back to the frame before."""
        return self._ids is not None or bool(self._maps)

    @property
    def has_marks(self) -> bool:
        """Whether boxes or points are followed, which need a flow from the frame before."""
        return bool(self.boxes or self.spots)

    def put(self, annotations: Sequence[Annotation]) -> None:
        """Takes over what is annotated on the latest frame; what is not listed stays as it is, less what new masks cover.

        Args:
            annotations: of the latest frame.

        Raises:
            AnnotationError: one does not fit the frame or the others; nothing is changed then.
        """
        books = Channels.from_state(self._books.state())
        books.admit(annotations)
        self._books = books
        self._settle()
        for annotation in annotations:
            match annotation:
                case Masks():
                    before = np.zeros(self.size, np.uint8) if self._ids is None else self._ids
                    self._ids = paste_masks(before, books, [annotation])
                case LabelMaps():
                    self._maps |= dict(zip(annotation.names, annotation.weights, strict=True))
                case Boxes():
                    self.boxes |= dict(zip(annotation.names, annotation.xyxy.astype(np.float64), strict=True))
                case Points():
                    self.spots |= {name: xy[None].astype(np.float64) for name, xy in zip(annotation.names, annotation.xy, strict=True)}
                case Keypoints():
                    self._put_joints(annotation)

    def _put_joints(self, annotation: Keypoints) -> None:
        """Joints that are not listed, or unknown, stay where they were."""
        joints = self._joints(annotation.name)
        xy = np.full((len(joints), 2), np.nan)
        before = self.spots.get(annotation.name, xy[:0])
        xy[: len(before)] = before
        for joint, (x, y) in zip(annotation.joints, annotation.xy, strict=True):
            if np.isfinite(x + y):
                xy[joints.index(joint)] = x, y
        self.spots[annotation.name] = xy

    def _joints(self, name: str) -> list[str]:
        return [self._books.items[i].joint for i in self._books.of(name)]

    def drop(self, name: str) -> None:
        """Forgets an object.

        Raises:
            AnnotationError: nothing of that name is followed.
        """
        if name not in self.names:
            raise AnnotationError(f"cannot remove {name!r}: followed are {', '.join(self.names)}")
        mask_id = self._books.items[self._books.of(name)[0]].mask_id
        if self._ids is not None and mask_id is not None:
            self._ids = np.where(self._ids == mask_id, 0, self._ids).astype(np.uint8)
        for held in (self._maps, self.boxes, self.spots):
            held.pop(name, None)
        self._books.forget(name)
        if not self._books.indices("mask"):
            self._ids = None

    def warp(self, backward: Flow) -> None:
        """Moves masks and soft maps into the next frame.

        Args:
            backward: ``(2, H, W)`` from the next frame to the latest one.
        """
        self._origin = backward if self._origin is None else chain(backward, self._origin)

    def push(self, forward: Flow) -> None:
        """Moves boxes and points into the next frame.

        Args:
            forward: ``(2, H, W)`` from the latest frame to the next one.
        """
        self.boxes = {name: move_box(box, forward) for name, box in self.boxes.items()}
        self.spots = {name: move_points(xy, forward) for name, xy in self.spots.items()}

    def answer(self, frame: Frame) -> TrackedFrame:
        """What is where in the latest frame.

        Args:
            frame: the latest frame, for its name and time.

        Returns:
            The answer, without confidence. A box or a point outside the picture is lost; a point says all the same where it is.
        """
        ids, maps = self._moved_ids(), self._moved_maps()
        extents = {} if ids is None else mask_boxes(ids)
        objects: list[TrackedObject] = []
        for name in self.names:
            first = self._books.items[self._books.of(name)[0]]
            match first.role:
                case "mask":
                    objects.append(_region(name, "mask", extents.get(first.mask_id or 0), mask_id=first.mask_id))
                case "map":
                    objects.append(_region(name, "map", _extent(maps[name])))
                case "box":
                    objects.append(_region(name, "box", self._inside(self.boxes[name])))
                case _:
                    objects.append(self._joint_object(name, "point" if first.role == "point" else "keypoints"))
        return TrackedFrame(
            index=frame.index,
            name=frame.name,
            time_seconds=frame.time_seconds,
            masks=ids,
            maps=np.stack([maps[name] for name in self.names if name in maps]) if maps else None,
            objects=tuple(objects),
        )

    def _inside(self, box: Floats) -> Box | None:
        left, top, right, bottom = (float(edge) for edge in box)
        seen = left < self.size[1] and top < self.size[0] and right > 0 and bottom > 0
        return (left, top, right, bottom) if seen else None

    def _joint_object(self, name: str, kind: Kind) -> TrackedObject:
        height, width = self.size
        points = tuple(
            TrackedPoint(name=joint, x=x, y=y, confidence=None, lost=not (-0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5))
            for joint, (x, y) in zip(self._joints(name), self.spots[name].tolist(), strict=True)
        )
        gone = all(point.lost for point in points)
        return TrackedObject(name=name, kind=kind, mask_id=None, box=None, points=points, confidence=None, lost=gone)

    def _settle(self) -> None:
        """Reads masks and maps out and begins anew with these, so that annotations of several frames need only one flow."""
        self._ids, self._maps, self._origin = self._moved_ids(), self._moved_maps(), None

    def _moved_ids(self) -> NDArray[np.uint8] | None:
        """Each object is warped softly; a pixel goes to the largest weight, the background's being what the objects leave over."""
        if self._ids is None or self._origin is None:
            return self._ids
        best, total = np.zeros(self.size, np.float32), np.zeros(self.size, np.float32)
        ids = np.zeros(self.size, np.uint8)
        for mask_id in np.flatnonzero(np.bincount(self._ids.ravel(), minlength=256)[1:]) + 1:
            weight = warp((self._ids == mask_id).astype(np.float32), self._origin)
            ids[weight > best] = mask_id
            np.maximum(best, weight, out=best)
            total += weight
        ids[best <= 1 - total] = 0
        return ids

    def _moved_maps(self) -> dict[str, NDArray[np.float32]]:
        if self._origin is None:
            return self._maps
        return {name: warp(weights, self._origin) for name, weights in self._maps.items()}


def _extent(weights: NDArray[np.float32]) -> Box | None:
    """Of what weighs at least half as much as the peak."""
    return mask_box(weights >= weights.max() / 2) if weights.max() > 0 else None


def _region(name: str, kind: Kind, box: Box | None, *, mask_id: int | None = None) -> TrackedObject:
    return TrackedObject(name=name, kind=kind, mask_id=mask_id, box=box, points=(), confidence=None, lost=box is None)
