"""Annotations as what a siamese tracker is shown: a box for each object, and which id its pixels get."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from followspot.errors import AnnotationError
from followspot.ops.masks import MAX_OBJECTS, mask_box
from followspot.types import Annotation, Boxes, Masks

SiameseKind = Literal["box", "mask"]
Taken = Mapping[str, tuple[SiameseKind, int | None]]
"""Kind and id of the objects that are followed, by name."""


@dataclass(frozen=True, kw_only=True)
class Given:
    """One annotated object."""

    name: str
    kind: SiameseKind
    box: NDArray[np.float64]
    """``(4,)`` xyxy: as given, or the extent of the mask."""
    mask: NDArray[np.bool_] | None
    """``(H, W)``; None for boxes."""
    mask_id: int | None
    """Which pixels of the id map are its own; None if it has none."""


def admit(annotations: Sequence[Annotation], taken: Taken, *, size: tuple[int, int], pixels: bool) -> list[Given]:
    """Checks annotations of one frame and gives ids to those that are new.

    Args:
        annotations: boxes and masks.
        taken: what is followed already; an object of the same name and kind is corrected and keeps its id.
        size: ``(H, W)`` of the frame.
        pixels: whether boxes get pixels, too.

    Raises:
        AnnotationError: of another type or size, annotated twice, of another kind than before, outside the frame, or ids run out.
    """
    listed = [entry for annotation in annotations for entry in _entries(annotation, size)]
    ids = {name: mask_id for name, (_, mask_id) in taken.items() if mask_id is not None}
    given: dict[str, Given] = {}
    # Masks come with ids of their own, so they choose first.
    for entry in sorted(listed, key=lambda entry: entry.kind == "box"):
        if entry.name in given:
            raise AnnotationError(f"{entry.kind} {entry.name!r} is annotated twice in one frame; give each object its own name")
        if entry.name in taken and taken[entry.name][0] != entry.kind:
            before = taken[entry.name][0]
            raise AnnotationError(f"{entry.name!r} is annotated as {before} and as {entry.kind}; give each object its own name")
        if entry.kind == "mask" or pixels:
            ids[entry.name] = ids.get(entry.name) or _free_id(entry, ids)
        given[entry.name] = replace(entry, mask_id=ids.get(entry.name))
    return [given[entry.name] for entry in listed]


def _entries(annotation: Annotation, size: tuple[int, int]) -> Iterator[Given]:
    match annotation:
        case Boxes():
            for name, box in zip(annotation.names, annotation.xyxy.astype(np.float64), strict=True):
                if box[0] >= size[1] or box[1] >= size[0] or box[2] <= 0 or box[3] <= 0:
                    told = ",".join(f"{edge:g}" for edge in box)
                    raise AnnotationError(f"box {name!r} = {told} lies outside the frame of {size[1]}x{size[0]}; nothing of it can be seen")
                yield Given(name=name, kind="box", box=box, mask=None, mask_id=None)
        case Masks():
            if annotation.ids.shape != size:
                height, width = annotation.ids.shape
                raise AnnotationError(f"the mask is {width}x{height} but the frame is {size[1]}x{size[0]}; give a mask of the frame's size")
            if not annotation.ids.any():
                raise AnnotationError("the mask is empty: it has no pixel with an id above 0, so there is nothing to follow")
            for mask_id in np.flatnonzero(np.bincount(annotation.ids.ravel(), minlength=256)[1:]) + 1:
                mask = annotation.ids == mask_id
                name = annotation.name_of(int(mask_id))
                yield Given(name=name, kind="mask", box=np.array(mask_box(mask), np.float64), mask=mask, mask_id=int(mask_id))
        case _:
            kind = type(annotation).__name__.lower()
            raise AnnotationError(f"a siamese tracker follows boxes and masks, got {kind}; use a propagation tracker for these")


def _free_id(entry: Given, ids: Mapping[str, int]) -> int:
    taken = set(ids.values())
    wanted = (entry.mask_id,) if entry.mask_id is not None else ()
    free: int | None = next((i for i in (*wanted, *range(1, MAX_OBJECTS + 1)) if i not in taken), None)
    if free is None:
        raise AnnotationError(
            f"{entry.name!r} would be object {MAX_OBJECTS + 1}; one run follows at most {MAX_OBJECTS}, so make it two runs"
        )
    return free
