"""ImageNet-VID and ImageNet-DET: boxes in XML.

::

    ILSVRC/
      Data/VID/train/ILSVRC2015_VID_train_0000/<video>/000000.JPEG
      Annotations/VID/train/ILSVRC2015_VID_train_0000/<video>/000000.xml   boxes with track ids
      Data/DET/train/.../<image>.JPEG
      Annotations/DET/train/.../<image>.xml                                boxes

Boxes are taken as they are written, ``xmin, ymin, xmax, ymax``, as SiamMask's index has them.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal
from xml.etree.ElementTree import Element

from followspot.datasets.sources.base import (
    LabelledFrame,
    LabelledObject,
    LabelledSource,
    LabelledVideo,
    LeftOut,
    frame_numbers,
    one_folder,
    read_picture,
)
from followspot.datasets.target_index import Box, TargetCard
from followspot.errors import AnnotationError, DatasetError
from followspot.io.images import natural_key
from followspot.io.xml_tree import load_xml

VID_RANGE = 100
"""Frames that a pair may lie apart (SiamMask's settings for ImageNet-VID)."""
_SUFFIXES = (".JPEG", ".jpg", ".jpeg", ".png", ".JPG", ".PNG")
_LARGEST = 1e6
"""Pixels; no coordinate lies further out."""


@dataclass(frozen=True, kw_only=True)
class XmlObject:
    """What a file says of an object; None where it does not."""

    track: int | None
    box: Box | None


@dataclass(frozen=True, kw_only=True)
class XmlAnnotation:
    """What a file says of an image."""

    size: tuple[int, int] | None
    """``(H, W)``."""
    objects: tuple[XmlObject, ...]


def read_vid(given: Sequence[Path]) -> LabelledSource:
    """ImageNet-VID: every frame of every track, also after the object was out of sight.

    (SiamMask's own index keeps only the last segment of a track that is interrupted.)

    Args:
        given: the folder that holds ``Data`` and ``Annotations``.

    Raises:
        DatasetError: it lacks them, or nothing is annotated.
    """
    data, annotations = _folders(given, "VID")
    videos = [
        LabelledVideo(name=name, read=partial(_read_video, data / name, annotations / name, files)) for name, files in _files(annotations)
    ]
    card = TargetCard(dataset="vid", labelled_by="people", still=False, frame_range=VID_RANGE, source="ImageNet-VID train")
    return LabelledSource(card=card, videos=videos)


def read_det(given: Sequence[Path]) -> LabelledSource:
    """ImageNet-DET: photographs; objects are numbered as they stand in their file.

    Args:
        given: the folder that holds ``Data`` and ``Annotations``.

    Raises:
        DatasetError: it lacks them, or nothing is annotated.
    """
    data, annotations = _folders(given, "DET")
    names = [f"{folder}/{file}" if folder != "." else file for folder, files in _files(annotations) for file in files]
    videos = [LabelledVideo(name=name, read=partial(_read_photograph, data / name, annotations / f"{name}.xml")) for name in names]
    card = TargetCard(dataset="det", labelled_by="people", still=True, frame_range=1, source="ImageNet-DET train")
    return LabelledSource(card=card, videos=videos)


def read_annotation(path: Path) -> XmlAnnotation:
    """One XML file.

    Raises:
        DatasetError: it is missing, no such XML, or holds what is no number.
    """
    try:
        return parse_annotation(load_xml(path), str(path))
    except AnnotationError as error:
        raise DatasetError(str(error)) from error


def parse_annotation(root: Element, where: str) -> XmlAnnotation:
    """What an annotation says.

    Args:
        root: ``<annotation>``.
        where: what errors name.

    Raises:
        AnnotationError: it is another document, or holds what is no number.
    """
    if root.tag != "annotation":
        raise AnnotationError(f"{where} holds <{root.tag[:40]}>, expected <annotation>; unpack the annotations again")
    width, height = (_number(root, f"size/{name}", where) for name in ("width", "height"))
    objects = tuple(_object(element, f"{where}: object {place}") for place, element in enumerate(root.iterfind("object"), 1))
    return XmlAnnotation(size=(int(height), int(width)) if width and height else None, objects=objects)


def _object(element: Element, where: str) -> XmlObject:
    track = _number(element, "trackid", where)
    if track is not None and (track < 0 or track != int(track)):
        raise AnnotationError(f"{where}: trackid {track:g} is no whole number from 0; correct the file")
    edges = [_number(element, f"bndbox/{name}", where) for name in ("xmin", "ymin", "xmax", "ymax")]
    known = [edge for edge in edges if edge is not None]
    return XmlObject(track=None if track is None else int(track), box=(known[0], known[1], known[2], known[3]) if len(known) == 4 else None)


def _number(element: Element, name: str, where: str) -> float | None:
    text = (element.findtext(name) or "").strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) <= _LARGEST:  # written so that NaN fails too
        raise AnnotationError(f"{where}: {name} is {text[:40]!r}, expected a number of pixels; correct the file")
    return value


def _folders(given: Sequence[Path], part: Literal["VID", "DET"]) -> tuple[Path, Path]:
    root = one_folder(given, expected=f"Data/{part}/train and Annotations/{part}/train")
    data, annotations = (root / name / part / "train" for name in ("Data", "Annotations"))
    for folder in (data, annotations):
        if not folder.is_dir():
            raise DatasetError(f"{folder} is missing; give the folder that holds Data and Annotations of ImageNet-{part}")
    if next(iter(annotations.rglob("*.xml")), None) is None:
        raise DatasetError(f"{annotations} holds no .xml; unpack the annotations of ImageNet-{part} again")
    return data, annotations


def _files(annotations: Path) -> list[tuple[str, list[str]]]:
    """Folders that hold annotations, relative, and the names in them without suffix, both in natural order."""
    found = []
    for folder, _, files in os.walk(annotations):
        names = sorted((file[:-4] for file in files if file.endswith(".xml") and not file.startswith(".")), key=natural_key)
        if names:
            found.append((Path(folder).relative_to(annotations).as_posix(), names))
    return sorted(found, key=lambda entry: natural_key(entry[0]))


def _read_video(data: Path, annotations: Path, names: Sequence[str]) -> Iterator[LabelledFrame | LeftOut]:
    for number, name in zip(frame_numbers(names), names, strict=True):
        found = read_annotation(annotations / f"{name}.xml")
        usable = [(thing.track, thing.box) for thing in found.objects]
        yield from [LeftOut("objects without a track or a box") for track, box in usable if track is None or box is None]
        objects = [LabelledObject(track=track, box=box) for track, box in usable if track is not None and box is not None]
        if objects:
            yield LabelledFrame(number=number, image=read_picture(_picture(data / name), size=found.size), objects=objects)


def _read_photograph(picture: Path, annotation: Path) -> Iterator[LabelledFrame | LeftOut]:
    found = read_annotation(annotation)
    yield from [LeftOut("objects without a box") for thing in found.objects if thing.box is None]
    objects = [LabelledObject(track=place, box=thing.box) for place, thing in enumerate(found.objects) if thing.box is not None]
    if objects:
        yield LabelledFrame(number=0, image=read_picture(_picture(picture), size=found.size), objects=objects)


def _picture(stem: Path) -> Path:
    """The picture of a name without suffix; the usual name where there is none."""
    candidates = [stem.with_name(f"{stem.name}{suffix}") for suffix in _SUFFIXES]
    return next((path for path in candidates if path.is_file()), candidates[0])
