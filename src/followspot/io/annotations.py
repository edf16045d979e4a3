"""What to follow, from wherever it comes: one entry for all annotation files, and the short texts of the command line.

Two ways of counting pixels meet here. Points and joints have their origin at the centre of the top-left pixel: a whole number is
the middle of a pixel. Boxes are edges counted from the corner of the top-left pixel: the box of mask columns ``a`` to ``b`` is
``a``..``b + 1``, as in COCO.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from followspot.errors import AnnotationError
from followspot.io.coco import read_coco
from followspot.io.fields import load_json
from followspot.io.files import missing_file
from followspot.io.keypoints import read_keypoints
from followspot.io.labelme import read_labelme
from followspot.io.masks import Colour, davis_palette, read_label_maps, read_mask, write_mask
from followspot.types import Annotation, Boxes, Keypoints, LabelMaps, Masks, Points

__all__ = [
    "check_inside",
    "davis_palette",
    "parse_box",
    "parse_colour",
    "parse_point",
    "read_annotation",
    "read_coco",
    "read_keypoints",
    "read_label_maps",
    "read_labelme",
    "read_mask",
    "write_mask",
]

Annotations = dict[int | str | None, tuple[Annotation, ...]]

# How .npy files begin (numpy.lib.format).
_NPY_START = b"\x93NUMPY"


def read_annotation(
    path: Path | str,
    *,
    size: tuple[int, int] | None = None,
    colours: Mapping[str, Colour] | None = None,
    frame_names: Sequence[str] | None = None,
) -> Annotations:
    """Read any annotation file: a mask picture, a ``.npy`` label map, or JSON (joints, LabelMe, COCO), told apart by content.

    Args:
        path: the file.
        size: ``(H, W)`` of the video's frames, if known; an annotation of another size is refused.
        colours: name -> red, green, blue of the objects in a coloured mask.
        frame_names: names of the video's frames, if known. A mask, label map or LabelMe file whose own stem is one of them
            belongs to that frame; of a COCO file only images with such a stem are read; frame numbers beyond them are refused.

    Returns:
        Frame -> annotations. The frame is an index from 0; a name where a COCO file names images and ``frame_names`` is not given;
        or None where the file does not say.

    Raises:
        AnnotationError: the file is missing, of no known kind, or does not fit the video.
    """
    path = Path(path)
    problem = missing_file(path)
    if problem:
        raise AnnotationError(problem)
    found = _read_any(path, size=size, colours=colours, frame_names=frame_names)
    if size is not None:
        found = {
            frame: tuple(check_inside(entry, height=size[0], width=size[1], source=str(path)) for entry in entries)
            for frame, entries in found.items()
        }
    return found


def _read_any(
    path: Path, *, size: tuple[int, int] | None, colours: Mapping[str, Colour] | None, frame_names: Sequence[str] | None
) -> Annotations:
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        raise AnnotationError(f"{path} cannot be read ({error.strerror}); check its permissions") from error
    own = frame_names.index(path.stem) if frame_names is not None and path.stem in frame_names else None
    if start.startswith(_NPY_START) or path.suffix.lower() in (".npy", ".npz"):
        return {own: (read_label_maps(path),)}
    if start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{" or path.suffix.lower() == ".json":
        return _read_json(path, own=own, size=size, frame_names=frame_names)
    return {own: (read_mask(path, colours=colours, size=size),)}


def _read_json(path: Path, *, own: int | None, size: tuple[int, int] | None, frame_names: Sequence[str] | None) -> Annotations:
    document = load_json(path)
    if "shapes" in document:
        return {own: read_labelme(path, size=size)}
    if "images" in document and "annotations" in document:
        by_stem = read_coco(path, size=size, stems=frame_names)
        return {frame_names.index(stem) if frame_names is not None else stem: entries for stem, entries in by_stem.items()}
    if "objects" not in document and "joint_names" not in document:
        fields = ", ".join(sorted(document)[:5]) or "none"
        raise AnnotationError(
            f"{path} is JSON of no known kind (its fields: {fields}); give LabelMe, COCO or keypoints, see the documentation"
        )
    by_frame = read_keypoints(path, size=size)
    beyond = [frame for frame in by_frame if frame is not None and frame_names is not None and frame >= len(frame_names)]
    if beyond:
        raise AnnotationError(f"{path} annotates frame {beyond[0]}, but the video has {len(frame_names or ())} frames, counted from 0")
    return {own if frame is None else frame: entries for frame, entries in by_frame.items()}


def parse_box(text: str, *, default_name: str = "box 1") -> Boxes:
    """One box from ``name=left,top,right,bottom``.

    Args:
        text: the name and its ``=`` may be left out.
        default_name: what the box is called then.

    Raises:
        AnnotationError: any other text, or an empty box.

    >>> parse_box("cat=120, 80, 340, 260.5").xyxy.tolist()
    [[120.0, 80.0, 340.0, 260.5]]
    """
    form = "write name=left,top,right,bottom in pixels, for example cat=120,80,340,260"
    name, numbers = _parse_numbers(text, count=4, default_name=default_name, what="box", form=form)
    if numbers[2] <= numbers[0] or numbers[3] <= numbers[1]:
        raise AnnotationError(f"box {text.strip()!r} is empty, right must exceed left and bottom top; {form}")
    return Boxes(xyxy=np.array([numbers]), names=(name,))


def parse_point(text: str, *, default_name: str = "point 1") -> Points:
    """One point from ``name=x,y``.

    Args:
        text: the name and its ``=`` may be left out.
        default_name: what the point is called then.

    Raises:
        AnnotationError: any other text.

    >>> parse_point("123,45", default_name="point 2").names
    ('point 2',)
    """
    form = "write name=x,y in pixels, for example nose=123,45"
    name, numbers = _parse_numbers(text, count=2, default_name=default_name, what="point", form=form)
    return Points(xy=np.array([numbers]), names=(name,))


def parse_colour(text: str) -> tuple[str, Colour]:
    """A named colour from ``name=#rrggbb`` (or ``#rgb``; the ``#`` may be left out, as shells take it for a comment).

    Raises:
        AnnotationError: any other text.

    >>> parse_colour("cat=#ff0000")
    ('cat', (255, 0, 0))
    """
    name, found, code = (part.strip() for part in text.rpartition("="))
    digits = code.removeprefix("#")
    if not name or not found or not re.fullmatch("[0-9a-fA-F]{3}|[0-9a-fA-F]{6}", digits):
        raise AnnotationError(f"colour {text!r} is not understood; write name=#rrggbb, for example cat=#ff0000")
    wide = digits if len(digits) == 6 else "".join(digit * 2 for digit in digits)
    return name, (int(wide[:2], 16), int(wide[2:4], 16), int(wide[4:], 16))


def check_inside(annotation: Annotation, *, height: int, width: int, source: str) -> Annotation:
    """Make sure an annotation lies on the image.

    Args:
        annotation: any.
        height: of the image.
        width: of the image.
        source: where the annotation came from: a file, or an option.

    Returns:
        The same annotation; boxes that reach over an edge are cut there.

    Raises:
        AnnotationError: a box wholly outside, a point or joint outside, no joint at all, or a mask or map of another size.

    >>> check_inside(parse_box("cat=-5,0,9,9"), height=10, width=10, source="--box").xyxy.tolist()
    [[0.0, 0.0, 9.0, 9.0]]
    """
    image = f"the {width}x{height} image"
    if isinstance(annotation, Masks | LabelMaps):
        array = annotation.ids if isinstance(annotation, Masks) else annotation.weights
        if array.shape[-2:] != (height, width):
            drawn = f"{array.shape[-1]}x{array.shape[-2]}"
            raise AnnotationError(f"{source} is {drawn}, but the video's frames are {width}x{height}; draw it on a frame of this video")
        return annotation
    if isinstance(annotation, Boxes):
        clipped = np.clip(annotation.xyxy, 0, [width, height, width, height])
        for name, given, (x1, y1, x2, y2) in zip(annotation.names, annotation.xyxy, clipped, strict=True):
            if x2 <= x1 or y2 <= y1:
                text = ",".join(f"{edge:g}" for edge in given)
                raise AnnotationError(f"{source}: box {name!r} = {text} lies outside {image}; give pixels of the video's own size")
        return replace(annotation, xyxy=clipped)
    names = annotation.joints if isinstance(annotation, Keypoints) else annotation.names
    if np.isnan(annotation.xy).all():
        raise AnnotationError(f"{source}: no joint is annotated; give at least one")
    for name, (x, y) in zip(names, annotation.xy, strict=True):
        # Pixel centres are whole numbers, so the image ends half a pixel beyond the first and last.
        if x < -0.5 or y < -0.5 or x > width - 0.5 or y > height - 0.5:
            raise AnnotationError(f"{source}: point {name!r} = {x:g},{y:g} lies outside {image}; give pixels of the video's own size")
    return annotation


def _parse_numbers(text: str, *, count: int, default_name: str, what: str, form: str) -> tuple[str, list[float]]:
    name, found, listed = text.rpartition("=")
    try:
        numbers = [float(part) for part in listed.split(",")]
    except ValueError:
        numbers = []
    # 1e15 is far beyond any image and keeps all later arithmetic finite.
    if len(numbers) != count or not all(math.isfinite(number) and abs(number) < 1e15 for number in numbers) or (found and not name.strip()):
        raise AnnotationError(f"{what} {text!r} is not understood; {form}")
    return name.strip() or default_name, numbers
