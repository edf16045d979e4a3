"""Annotations drawn over their frame, as if a tracker had answered with them: truth beside results."""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from followspot.ops.masks import mask_boxes
from followspot.types import Annotation, Boxes, Frame, Keypoints, Masks, Points, TrackedFrame, TrackedObject, TrackedPoint
from followspot.viz.overlay import draw


def draw_annotations(frame: Frame, annotations: Sequence[Annotation]) -> NDArray[np.uint8]:
    """Draws masks, boxes, points and keypoints over a frame; soft label maps are left out.

    Args:
        frame: the picture.
        annotations: of that frame; at most one of them `Masks`. Joints and points that are NaN are left out.

    Returns:
        A new RGB picture ``(H, W, 3)`` of the frame's size.

    Raises:
        AnnotationError: masks have another size than the frame.
    """
    masks = next((given.ids for given in annotations if isinstance(given, Masks)), None)
    tracked = TrackedFrame(
        index=frame.index,
        name=frame.name,
        time_seconds=frame.time_seconds,
        masks=masks,
        maps=None,
        objects=tuple(item for given in annotations for item in _objects(given)),
    )
    skeletons = {given.name: given.skeleton for given in annotations if isinstance(given, Keypoints)}
    return draw(frame.image, tracked, skeletons=skeletons)


def _objects(given: Annotation) -> Iterator[TrackedObject]:
    match given:
        case Masks():
            for mask_id, box in mask_boxes(given.ids).items():
                yield _object(given.name_of(mask_id), "mask", mask_id=mask_id, box=box)
        case Boxes():
            for name, (x1, y1, x2, y2) in zip(given.names, given.xyxy.tolist(), strict=True):
                yield _object(name, "box", box=(x1, y1, x2, y2))
        case Points():
            for name, (x, y) in zip(given.names, given.xy.tolist(), strict=True):
                yield _object(name, "point", points=(_point(name, x, y),))
        case Keypoints():
            points = tuple(_point(name, x, y) for name, (x, y) in zip(given.joints, given.xy.tolist(), strict=True))
            yield _object(given.name, "keypoints", points=points)


def _object(
    name: str,
    kind: Literal["mask", "box", "point", "keypoints"],
    *,
    mask_id: int | None = None,
    box: tuple[float, float, float, float] | None = None,
    points: tuple[TrackedPoint, ...] = (),
) -> TrackedObject:
    return TrackedObject(name=name, kind=kind, mask_id=mask_id, box=box, points=points, confidence=None, lost=False)


def _point(name: str, x: float, y: float) -> TrackedPoint:
    return TrackedPoint(name=name, x=x, y=y, confidence=None, lost=x != x or y != y)
