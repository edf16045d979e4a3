"""Annotations drawn with LabelMe."""

import base64
import binascii
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from followspot.errors import AnnotationError
from followspot.io.fields import as_list, as_mappings, as_numbers, as_size, as_text, check_size, load_json
from followspot.io.objects import Names, masks_of_regions
from followspot.io.raster import fill_circle, fill_polygon
from followspot.types import Annotation, Boxes, Keypoints, Points

# LabelMe shows the image with its top-left corner at (0, 0); ours is the centre of the top-left pixel.
_CORNER_TO_CENTRE = 0.5


@dataclass
class _Shape:
    label: str
    group: object
    kind: str
    points: NDArray[np.float64]
    fields: Mapping[str, object]
    where: str


@dataclass
class _Found:
    """What was collected while reading, in file order."""

    names: Names = field(default_factory=Names)
    regions: dict[object, tuple[str, NDArray[np.bool_]]] = field(default_factory=dict)
    boxes: list[tuple[str, NDArray[np.float64]]] = field(default_factory=list)
    points: list[tuple[str, NDArray[np.float64]]] = field(default_factory=list)
    groups: dict[object, list[_Shape]] = field(default_factory=dict)


def read_labelme(path: Path | str, *, size: tuple[int, int] | None = None) -> tuple[Annotation, ...]:
    """Read one LabelMe file.

    Polygons, circles and masks become objects of one id map (later shapes cover earlier ones); shapes with the same label and the
    same group id are one object, other shapes are objects of their own: ``cat``, ``cat 2``. Rectangles become boxes. Points become
    points, except that points which share a group id are the joints of one object. Points are shifted by half a pixel, since
    LabelMe counts from the corner of the top-left pixel; boxes count from there too and stay.

    Args:
        path: the JSON file.
        size: ``(H, W)`` of the video's frames, if known.

    Returns:
        Up to one Masks, one Boxes, one Points, and one Keypoints a group.

    Raises:
        AnnotationError: not such a file, drawn on an image of another size, or a shape that no object can be made of.
    """
    path = Path(path)
    document = load_json(path)
    image_size = as_size(document.get("imageHeight"), document.get("imageWidth"), f"{path}: image")
    check_size(image_size, size, str(path))
    found = _Found()
    for place, entry in enumerate(as_mappings(document.get("shapes"), f"{path}: shapes")):
        shape = _read_shape(entry, f"{path}: shapes[{place}]")
        if shape.kind == "rectangle":
            corners = np.concatenate([shape.points.min(axis=0), shape.points.max(axis=0)])
            found.boxes.append((found.names.next(shape.label), corners))
        elif shape.kind == "point" and shape.group is None:
            found.points.append((found.names.next(shape.label), shape.points[0] - _CORNER_TO_CENTRE))
        elif shape.kind == "point":
            found.groups.setdefault(shape.group, []).append(shape)
        else:
            _add_region(shape, found, image_size)
    annotations = _assemble(found, path)
    if not annotations:
        raise AnnotationError(f"{path} has no shapes; draw at least one object")
    return annotations


def _read_shape(entry: Mapping[str, object], where: str) -> _Shape:
    kind = as_text(entry.get("shape_type", "polygon"), f"{where}.shape_type")
    points = [as_numbers(point, f"{where}.points", count=2) for point in as_list(entry.get("points"), f"{where}.points")]
    at_least = {"polygon": 3, "rectangle": 2, "circle": 2, "mask": 2, "point": 1}
    if kind not in at_least:
        raise AnnotationError(f"{where}: a {kind!r} encloses nothing to follow; draw a polygon, rectangle, circle, point or mask")
    if len(points) < at_least[kind]:
        raise AnnotationError(f"{where}: a {kind} needs at least {at_least[kind]} points, got {len(points)}; draw it anew")
    group = entry.get("group_id")
    if not isinstance(group, int | str | None):
        raise AnnotationError(f"{where}.group_id: expected a whole number or null, got {str(group)[:40]!r}; correct the file")
    label = as_text(entry.get("label"), f"{where}.label")
    return _Shape(label=label, group=group, kind=kind, points=np.array(points, np.float64), fields=entry, where=where)


def _add_region(shape: _Shape, found: _Found, size: tuple[int, int]) -> None:
    draw: Mapping[str, Callable[[_Shape, int, int], NDArray[np.bool_]]] = {"polygon": _polygon, "circle": _circle, "mask": _mask}
    region = draw[shape.kind](shape, *size)
    # Shapes without a group id are keyed by themselves, so each stays alone.
    key: object = (shape.label, shape.group) if shape.group is not None else shape.where
    if key in found.regions:
        name, earlier = found.regions[key]
        found.regions[key] = (name, earlier | region)
    else:
        found.regions[key] = (found.names.next(shape.label), region)


def _polygon(shape: _Shape, height: int, width: int) -> NDArray[np.bool_]:
    return fill_polygon(shape.points, height=height, width=width)


def _circle(shape: _Shape, height: int, width: int) -> NDArray[np.bool_]:
    (x, y), (edge_x, edge_y) = shape.points[:2]
    return fill_circle((x, y), float(np.hypot(edge_x - x, edge_y - y)), height=height, width=width)


def _mask(shape: _Shape, height: int, width: int) -> NDArray[np.bool_]:
    """A mask shape: a PNG whose top-left pixel lies at the first point."""
    from PIL import Image

    try:
        coded = base64.b64decode(as_text(shape.fields.get("mask"), f"{shape.where}.mask"), validate=True)
        with Image.open(io.BytesIO(coded)) as picture:
            patch = np.array(picture.convert("L")) > 0
    except (binascii.Error, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise AnnotationError(f"{shape.where}.mask: not a base64 PNG; save the file again with LabelMe") from error
    left, top = np.rint(shape.points.min(axis=0)).astype(int).tolist()
    if left < 0 or top < 0 or left + patch.shape[1] > width or top + patch.shape[0] > height:
        patch_size = f"{patch.shape[1]}x{patch.shape[0]}"
        raise AnnotationError(f"{shape.where}: a mask of {patch_size} at {left},{top} leaves the {width}x{height} image; draw it anew")
    region = np.zeros((height, width), np.bool_)
    region[top : top + patch.shape[0], left : left + patch.shape[1]] = patch
    return region


def _assemble(found: _Found, path: Path) -> tuple[Annotation, ...]:
    annotations: list[Annotation] = []
    if found.regions:
        annotations.append(masks_of_regions(list(found.regions.values()), str(path), small_on_top=False))
    if found.boxes:
        annotations.append(Boxes(xyxy=np.stack([box for _, box in found.boxes]), names=tuple(name for name, _ in found.boxes)))
    if found.points:
        annotations.append(Points(xy=np.stack([xy for _, xy in found.points]), names=tuple(name for name, _ in found.points)))
    for group, shapes in found.groups.items():
        joints = Names()
        annotations.append(
            Keypoints(
                xy=np.stack([shape.points[0] for shape in shapes]) - _CORNER_TO_CENTRE,
                joints=tuple(joints.next(shape.label) for shape in shapes),
                name=found.names.next(f"group {group}"),
            )
        )
    return tuple(annotations)
