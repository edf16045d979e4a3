"""Photographs with polygons in the text format of YOLO segmentation.

::

    ROOT/
      images/train2017/000000000009.jpg
      labels/train2017/000000000009.txt   one object a line: class x1 y1 x2 y2 ..., as fractions of width and height

A line of five numbers is ``class x y width height``, the centre and size of a box (YOLO detection).
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from followspot.datasets.sources.base import (
    LabelledFrame,
    LabelledObject,
    LabelledSource,
    LabelledVideo,
    LeftOut,
    one_folder,
    pictures_below,
    read_picture,
)
from followspot.datasets.target_index import TargetCard
from followspot.errors import DatasetError
from followspot.io.raster import fill_polygon

Floats = NDArray[np.float64]
_SLACK = 0.01
"""Fractions this far outside of 0..1 are taken for rounding; pixels, written by mistake, lie further off."""


def read_yolo(given: Sequence[Path]) -> LabelledSource:
    """A folder with ``images`` and ``labels``. An image without labels has no target; labels without an image are counted.

    Args:
        given: that folder.

    Raises:
        DatasetError: a folder is missing, or no image has labels.
    """
    root = one_folder(given, expected="images and labels")
    for name in ("images", "labels"):
        if not (root / name).is_dir():
            raise DatasetError(f"{root} has no folder {name}; expected images/NAME.jpg and labels/NAME.txt")
    pictures = pictures_below(root / "images")
    labels = {path.relative_to(root / "labels").with_suffix("").as_posix(): path for path in (root / "labels").rglob("*.txt")}
    videos = [LabelledVideo(name=name, read=partial(_read, path, labels[name])) for name, path in pictures.items() if name in labels]
    if not videos:
        counts = f"{len(pictures)} images and {len(labels)} label files"
        raise DatasetError(f"{root} holds {counts}, but no two of one name; expected labels/NAME.txt for images/NAME.jpg")
    card = TargetCard(dataset="yolo", labelled_by="people", still=True, frame_range=1, source="YOLO segmentation labels")
    lost = len(set(labels) - set(pictures))
    return LabelledSource(card=card, videos=videos, left_out={"label files without an image": lost} if lost else {})


def parse_labels(text: str, where: str) -> list[Floats]:
    """The objects of a label file.

    Args:
        text: its content.
        where: what errors name.

    Returns:
        A line each: ``(K, 2)`` corners x, y in 0..1 with K >= 3; ``(2, 2)`` opposite corners of a box; or ``(0, 2)``, where a line has
        fewer.

    Raises:
        DatasetError: what is not a number stands there, an odd number of coordinates, or pixels instead of fractions.
    """
    lines = [(number, line.split()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    return [_corners(words, f"{where} line {number}") for number, words in lines]


def _corners(words: list[str], where: str) -> Floats:
    try:
        numbers = np.array([float(word) for word in words[1:]])
        float(words[0])
    except ValueError as error:
        raise DatasetError(f"{where}: {error}; expected class x1 y1 x2 y2 ..., numbers between blanks") from error
    if len(numbers) % 2:
        raise DatasetError(f"{where} has {len(numbers)} coordinates after the class, which is odd; expected x1 y1 x2 y2 ...")
    if not ((numbers >= -_SLACK) & (numbers <= 1 + _SLACK)).all():  # written so that NaN fails too
        raise DatasetError(f"{where} holds coordinates outside of 0..1; divide x by the width and y by the height of the image")
    pairs = numbers.reshape(-1, 2)
    if len(pairs) == 2:
        pairs = np.stack([pairs[0] - pairs[1] / 2, pairs[0] + pairs[1] / 2])
    return pairs.clip(0, 1) if len(pairs) > 1 else np.zeros((0, 2))


def _read(picture: Path, labels: Path) -> Iterator[LabelledFrame | LeftOut]:
    try:
        text = labels.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{labels} cannot be read as text ({error}); unpack the labels again") from error
    shapes = dict(enumerate(parse_labels(text, str(labels))))
    yield from [LeftOut("lines without a polygon") for corners in shapes.values() if not len(corners)]
    if any(len(corners) for corners in shapes.values()):
        image = read_picture(picture)
        objects = [_object(track, corners, image.shape[:2]) for track, corners in shapes.items() if len(corners)]
        yield LabelledFrame(number=0, image=image, objects=objects)


def _object(track: int, corners: Floats, size: tuple[int, ...]) -> LabelledObject:
    height, width = size
    pixels = corners * (width, height)
    (left, top), (right, bottom) = pixels.min(0).tolist(), pixels.max(0).tolist()
    mask = fill_polygon(pixels, height=height, width=width) if len(corners) > 2 else None
    return LabelledObject(track=track, box=(left, top, right, bottom), mask=mask)
