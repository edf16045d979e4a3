"""COCO instances: photographs with polygons and run lengths.

::

    ROOT/
      annotations/instances_train2017.json
      train2017/000000000009.jpg           or images/train2017/...
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from followspot.datasets.sources.base import LabelledFrame, LabelledObject, LabelledSource, LabelledVideo, LeftOut, mask_box, read_picture
from followspot.datasets.target_index import TargetCard
from followspot.errors import AnnotationError, DatasetError
from followspot.io.coco import decode_region
from followspot.io.fields import as_list, as_mappings, as_numbers, as_size, as_text, load_json

_CORNERS = 3
"""Fewer make no polygon."""


@dataclass(frozen=True, kw_only=True)
class _Photograph:
    file: str
    size: tuple[int, int] | None
    entries: list[tuple[str, Mapping[str, object]]]
    """Where in the file, and what."""

    @property
    def name(self) -> str:
        """Of its video."""
        return PurePosixPath(self.file).with_suffix("").as_posix()


def read_coco_instances(given: Sequence[Path]) -> LabelledSource:
    """The instances of a COCO file; crowds (``iscrowd``) are left out, objects are numbered as they stand in the file.

    Args:
        given: the JSON file, with the folder of its images where that is not beside it as in COCO; or a folder as above.

    Raises:
        DatasetError: the file or its images are missing, or it is no such file.
    """
    listing, images = _listing([Path(path).expanduser() for path in given])
    with _told():
        photographs = _photographs(listing)
    if not any(photograph.entries for photograph in photographs):
        raise DatasetError(f"{listing} annotates none of its {len(photographs)} images; give a file instances_*.json")
    folder = images or _image_folder(listing, photographs[0].file)
    annotated = [photograph for photograph in photographs if photograph.entries]
    videos = [LabelledVideo(name=photograph.name, read=partial(_read, photograph, folder / photograph.file)) for photograph in annotated]
    card = TargetCard(dataset="coco", labelled_by="people", still=True, frame_range=1, source=f"COCO {listing.name}")
    return LabelledSource(card=card, videos=videos)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except AnnotationError as error:
        raise DatasetError(str(error)) from error


def _listing(given: Sequence[Path]) -> tuple[Path, Path | None]:
    if not 1 <= len(given) <= 2 or (len(given) == 2 and not given[1].is_dir()):
        raise DatasetError(
            f"{', '.join(map(str, given))}: expected one instances_*.json, and the folder of its images if that is elsewhere"
        )
    first, images = given[0], given[1] if len(given) == 2 else None
    if not first.is_dir():
        return first, images
    found = sorted((first / "annotations").glob("instances_*.json"))
    if len(found) != 1:
        names = f"holds {', '.join(path.name for path in found)}; give one of these files" if found else "holds no instances_*.json"
        raise DatasetError(f"{first / 'annotations'} {names}")
    return found[0], images


def _image_folder(listing: Path, file: str) -> Path:
    """Where images lie that nobody told about: in a folder called as the file is, beside the annotations or in ``images``."""
    part, root = listing.stem.removeprefix("instances_"), listing.absolute().parent.parent
    places = [root / part, root / "images" / part, root / "images", root, listing.absolute().parent]
    found = next((place for place in places if (place / file).is_file()), None)
    if found is None:
        raise DatasetError(
            f"{file}, the first image of {listing}, is neither in {places[0]} nor in {places[1]}; give its folder after the file"
        )
    return found


def _photographs(listing: Path) -> list[_Photograph]:
    document = load_json(listing)
    found: dict[int | str, _Photograph] = {}
    for place, entry in enumerate(as_mappings(document.get("images"), f"{listing}: images")):
        where = f"{listing}: images[{place}]"
        sized = entry.get("height") is not None and entry.get("width") is not None
        size = as_size(entry["height"], entry["width"], where) if sized else None
        found[_key(entry.get("id"), f"{where}.id")] = _Photograph(file=_file(entry, where), size=size, entries=[])
    for place, entry in enumerate(as_mappings(document.get("annotations"), f"{listing}: annotations")):
        where = f"{listing}: annotations[{place}]"
        key = _key(entry.get("image_id"), f"{where}.image_id")
        if key not in found:
            raise AnnotationError(f"{where}: image {key!r} is not among the file's images; use a file of one release")
        found[key].entries.append((where, entry))
    names = Counter(photograph.name for photograph in found.values())
    twice = next((name for name, count in names.items() if count > 1), None)
    if twice is not None:
        raise AnnotationError(f"{listing}: several images are called {twice}; list each image once")
    return list(found.values())


def _key(value: object, where: str) -> int | str:
    if not isinstance(value, int | str):
        raise AnnotationError(f"{where}: expected an id (a whole number), got {str(value)[:40]!r}; correct the file")
    return value


def _file(entry: Mapping[str, object], where: str) -> str:
    file = as_text(entry.get("file_name"), f"{where}.file_name").replace("\\", "/")
    if file.startswith("/") or ".." in file.split("/"):
        raise AnnotationError(f"{where}.file_name {file!r} leads out of the folder of images; write it relative to that folder")
    return file


def _read(photograph: _Photograph, picture: Path) -> Iterator[LabelledFrame | LeftOut]:
    singles = [(where, entry) for where, entry in photograph.entries if not entry.get("iscrowd")]
    yield from [LeftOut("crowds")] * (len(photograph.entries) - len(singles))
    if not singles:
        return
    image = read_picture(picture, size=photograph.size)
    with _told():
        objects = [
            _object(track, entry, size=(image.shape[0], image.shape[1]), where=where) for track, (where, entry) in enumerate(singles)
        ]
    yield from [LeftOut("empty polygons") for thing in objects if thing is None]
    yield LabelledFrame(number=0, image=image, objects=[thing for thing in objects if thing is not None])


def _object(track: int, entry: Mapping[str, object], *, size: tuple[int, int], where: str) -> LabelledObject | None:
    mask = _mask(entry.get("segmentation"), size=size, where=f"{where}.segmentation")
    if mask is not None and not mask.any():
        return None
    if entry.get("bbox"):
        x, y, width, height = as_numbers(entry["bbox"], f"{where}.bbox", count=4)
        return LabelledObject(track=track, box=(x, y, x + width, y + height), mask=mask)
    return None if mask is None else LabelledObject(track=track, box=mask_box(mask), mask=mask)


def _mask(value: object, *, size: tuple[int, int], where: str) -> NDArray[np.bool_] | None:
    """None where there is no segmentation at all, and nothing set where it has no polygon that is one."""
    if not value:
        return None
    if isinstance(value, Mapping):
        return decode_region(value, size, where)
    parts = [part for part in as_list(value, where) if not isinstance(part, list) or len(part) >= 2 * _CORNERS]
    return decode_region(parts, size, where)
