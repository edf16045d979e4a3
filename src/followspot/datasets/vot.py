"""VOT2016, VOT2018 and VOT2019 as they unpack, or as the JSON of pysot and SiamMask lists them.

::

    VOT2018/
      list.txt                          one sequence a line
      <sequence>/groundtruth.txt        a line a frame: x1,y1,x2,y2,x3,y3,x4,y4 or x,y,width,height; nan where the object is absent
      <sequence>/color/00000001.jpg     or <sequence>/00000001.jpg
      <sequence>/occlusion.tag          optional, a line a frame, 1 where the tag holds
      <sequence>/sequence               optional: fps=30, channels.color=color/%08d.jpg
    VOT2018.json                        instead of list.txt, in the folder or beside it
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from followspot.datasets.frame_files import image_size
from followspot.errors import AnnotationError, DatasetError
from followspot.io.fields import as_list, as_mapping, as_numbers, as_text, load_json
from followspot.io.files import nearest
from followspot.io.images import read_image
from followspot.io.regions import Region, parse_region, read_regions
from followspot.types import Frame

Year = Literal["2016", "2018", "2019"]

TAGS = ("camera_motion", "illum_change", "motion_change", "occlusion", "size_change")
"""What frames are tagged with (Kristan et al., VOT2016)."""

DEFAULT_FPS = 30.0
"""Where no ``sequence`` file says another rate; the toolkit assumes the same."""


@dataclass(frozen=True, kw_only=True)
class VotSequence:
    """One video: files, and the region of its object in every frame. No picture is read before it is asked for."""

    name: str
    image_files: tuple[Path, ...]
    truth: tuple[Region | None, ...] = field(repr=False)
    """A region a frame, in pixels of the file; None where the object is absent."""
    tags: Mapping[str, NDArray[np.bool_]] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    """``(T,)`` by tag; a tag that has no file is not there."""
    fps: float = DEFAULT_FPS

    def __len__(self) -> int:
        return len(self.image_files)

    def read_frame(self, index: int) -> Frame:
        """A frame, called like its file.

        Raises:
            VideoError: the file is damaged.
            DatasetError: it has another size than the first frame.
        """
        path, (height, width) = self.image_files[index], self.image_size()
        image = read_image(path)
        if image.shape[:2] != (height, width):
            got = f"{image.shape[1]}x{image.shape[0]}"
            raise DatasetError(f"{path} is {got} but the first frame of {self.name} is {width}x{height}; unpack the sequence again")
        return Frame(image=image, index=index, time_seconds=index / self.fps, name=path.stem)

    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels, from the header of the first frame.

        Raises:
            DatasetError: it is no image.
        """
        return image_size(self.image_files[0])


class VotDataset:
    """The sequences of a year.

    Args:
        root: the folder with the sequences and ``list.txt``, the one that holds it as ``VOT<year>``, or a workspace of the toolkit.
        year: which challenge; its JSON is called ``VOT<year>.json``.
        split: ``"all"`` for ``list.txt`` (or the JSON), another name for the list of that name.

    Attributes:
        sequences: in the order of the list.

    Raises:
        DatasetError: a list, sequence, frame or line is missing or wrong; names file, line and remedy.
    """

    def __init__(self, root: Path | str, *, year: Year, split: str = "all") -> None:
        self.year, self.split = year, split
        self.root = _find_root(Path(root), year)
        listing = self.root / ("list.txt" if split == "all" else f"{split}.txt")
        metadata = next((file for file in (self.root / f"VOT{year}.json", self.root.parent / f"VOT{year}.json") if file.is_file()), None)
        if listing.is_file():
            self.sequences = tuple(_open_folder(self.root / name) for name in _read_list(listing))
        elif metadata is not None and split == "all":
            self.sequences = _open_json(metadata, self.root)
        else:
            raise DatasetError(f"{listing} is missing (and there is no VOT{year}.json); give the folder of VOT{year} with list.txt in it")

    def __len__(self) -> int:
        return len(self.sequences)

    def __getitem__(self, name: str) -> VotSequence:
        """A sequence by its name.

        Raises:
            DatasetError: there is none of that name.
        """
        found = next((sequence for sequence in self.sequences if sequence.name == name), None)
        if found is None:
            near = nearest(name, [sequence.name for sequence in self.sequences])
            raise DatasetError(f"VOT{self.year} has no sequence {name!r}; " + (f"did you mean {near!r}?" if near else "correct the name"))
        return found


def _find_root(root: Path, year: Year) -> Path:
    if not root.is_dir():
        raise DatasetError(f"{root} is not a folder; give the folder of VOT{year} with list.txt in it")
    inner = [root / f"VOT{year}", root / f"vot{year}", root / "sequences"]
    return next((folder for folder in inner if folder.is_dir() and not (root / "list.txt").is_file()), root)


def _read_list(path: Path) -> list[str]:
    names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    for number, name in enumerate(names, 1):
        if "/" in name or "\\" in name or name in (".", ".."):
            raise DatasetError(f'{path}:{number}: "{name}" is not the name of a sequence; write one folder name a line')
        if name in names[: number - 1]:
            raise DatasetError(f'{path}:{number}: "{name}" is listed twice; take one of the lines out')
    if not names:
        raise DatasetError(f"{path} lists no sequence; expected one name a line")
    return names


def _open_folder(folder: Path) -> VotSequence:
    if not folder.is_dir():
        raise DatasetError(f"{folder} is missing but listed; unpack the sequence, or take it out of the list")
    truth = read_regions(folder / "groundtruth.txt")
    facts = _read_facts(folder / "sequence")
    pattern = facts.get("channels.color") or _usual_pattern(folder)
    images = _image_files(folder, pattern, count=len(truth))
    tags = {file.stem: _read_tag(file, frames=len(truth)) for file in sorted(folder.glob("*.tag"))}
    fps = _rate(facts.get("fps", str(DEFAULT_FPS)), folder / "sequence")
    return _checked(VotSequence(name=folder.name, image_files=images, truth=tuple(truth), tags=tags, fps=fps), folder / "groundtruth.txt")


def _usual_pattern(folder: Path) -> str:
    return "color/%08d.jpg" if (folder / "color").is_dir() else "%08d.jpg"


def _image_files(folder: Path, pattern: str, *, count: int) -> tuple[Path, ...]:
    """The files of frames 1 to ``count``."""
    if not re.fullmatch(r"[^%]*%0?\d*d[^%]*", pattern):
        raise DatasetError(f'{folder / "sequence"}: "{pattern}" is no pattern of frames; expected one such as color/%08d.jpg')
    files = tuple(folder / (pattern % number) for number in range(1, count + 1))
    there = {file.name for file in files[0].parent.iterdir()} if files[0].parent.is_dir() else set()
    missing = [file for file in files if file.name not in there]
    if missing:
        raise DatasetError(f"{missing[0]} is missing ({len(missing)} of {count} frames are); unpack the sequence again")
    further = folder / (pattern % (count + 1))
    if further.name in there:
        raise DatasetError(f"{folder / 'groundtruth.txt'} has {count} lines but there is a frame {further.name}; unpack the sequence again")
    return files


def _read_facts(path: Path) -> dict[str, str]:
    """``key=value`` lines of a ``sequence`` file; none if there is no such file."""
    if not path.is_file():
        return {}
    pairs = (line.partition("=") for line in path.read_text(encoding="utf-8-sig").splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def _rate(text: str, path: Path) -> float:
    try:
        fps = float(text)
    except ValueError:
        fps = 0.0
    if not 0 < fps < 1e6:
        raise DatasetError(f'{path}: fps "{text}" is no frame rate; write a number above 0, such as fps=30')
    return fps


def _read_tag(path: Path, *, frames: int) -> NDArray[np.bool_]:
    """A tag file; the official ones may stop early, which means 0."""
    lines = path.read_text(encoding="utf-8-sig").split()
    for number, line in enumerate(lines, 1):
        if line not in ("0", "1"):
            raise DatasetError(f'{path}:{number}: "{line}" is neither 0 nor 1; unpack the file again')
    if len(lines) > frames:
        raise DatasetError(f"{path} has {len(lines)} lines but the sequence has {frames} frames; unpack the file again")
    return np.array([line == "1" for line in lines] + [False] * (frames - len(lines)))


def _open_json(path: Path, root: Path) -> tuple[VotSequence, ...]:
    """Sequences of the metadata that pysot and SiamMask read."""
    try:
        document = load_json(path)
        return tuple(_open_entry(as_mapping(entry, f"{path}: {name}"), name, path=path, root=root) for name, entry in document.items())
    except AnnotationError as error:
        raise DatasetError(str(error)) from error


def _open_entry(entry: Mapping[str, object], name: str, *, path: Path, root: Path) -> VotSequence:
    where = f"{path}: {name}"
    names = as_list(entry.get("img_names"), f"{where}.img_names")
    images = [root / as_text(file, f"{where}.img_names[{place}]") for place, file in enumerate(names)]
    rows = as_list(entry.get("gt_rect"), f"{where}.gt_rect")
    if len(rows) != len(images) or not rows:
        raise DatasetError(f"{where}: {len(images)} img_names but {len(rows)} gt_rect; fetch the file again")
    truth = tuple(_region_of(row, f"{where}.gt_rect[{place}]") for place, row in enumerate(rows))
    missing = [file for file in images if not file.is_file()]
    if missing:
        raise DatasetError(f"{missing[0]} is missing but {path.name} lists it ({len(missing)} of {len(images)} are); unpack {name} again")
    tags = {tag: _tag_of(entry[tag], f"{where}.{tag}", frames=len(rows)) for tag in TAGS if entry.get(tag)}
    return _checked(VotSequence(name=name, image_files=tuple(images), truth=truth, tags=tags), path)


def _region_of(row: object, where: str) -> Region | None:
    """A row of numbers, through the rules for lines."""
    return parse_region(",".join(str(number) for number in as_list(row, where)), where)


def _tag_of(values: object, where: str, *, frames: int) -> NDArray[np.bool_]:
    numbers = as_numbers(values, where)
    if len(numbers) > frames or not set(numbers) <= {0.0, 1.0}:
        raise DatasetError(f"{where}: expected at most {frames} times 0 or 1; fetch the file again")
    return np.array([number == 1 for number in numbers] + [False] * (frames - len(numbers)))


def _checked(sequence: VotSequence, path: Path) -> VotSequence:
    if sequence.truth[0] is None:
        raise DatasetError(f"{path}: {sequence.name} has no region in its first frame, where trackers start; correct it")
    return sequence
