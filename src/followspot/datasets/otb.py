"""OTB as it unpacks, and folders of boxes like it: one object a video, a box a frame.

::

    OTB100/
      Basketball/img/0001.jpg                     frames (also in color/, or beside the truth)
      Basketball/groundtruth_rect.txt             x,y,width,height a line; pixels counted from 1; commas, tabs or blanks
      Jogging/groundtruth_rect.1.txt, .2.txt      several objects: sequences Jogging-1 and Jogging-2
      pedestrian1/groundtruth.txt                 the same with pixels counted from 0, as TLD and VOT do; eight numbers are the corners of a
                                                  polygon, of which the upright box is taken
      tb50.txt                                    optional: a split of your own, one sequence a line

A line of NaN, or a box without width or height, says that the object is absent.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from followspot.datasets.frame_files import frame_files, read_names
from followspot.errors import DatasetError

ALL: Final = "all"
"""The split of all sequences."""

STARTS: Final = {"David": 300, "Diving": 1, "Football1": 1, "Freeman3": 1, "Freeman4": 1}
"""Sequences of OTB with more frames than boxes, and the number of the frame that the first box belongs to (the toolkit's list)."""

_IMAGE_FOLDERS: Final = ("img", "color", "")


@dataclass(frozen=True, kw_only=True)
class BoxSequence:
    """One video: its frames, and where its object is in each. No picture is read before it is asked for."""

    name: str
    image_files: tuple[Path, ...]
    truth: NDArray[np.float64] = field(repr=False)
    """``(T, 4)`` boxes ``xyxy`` in our coordinates; NaN where the object is absent."""
    origin: int
    """What the files call the first pixel: 1 in OTB, else 0. Results are written in the coordinates of the truth."""

    def __len__(self) -> int:
        return len(self.image_files)

    @property
    def first(self) -> int:
        """Index of the first frame that has a box; it is given to the tracker."""
        return int(np.flatnonzero(np.isfinite(self.truth).all(1))[0])


class OtbDataset:
    """Sequences in a folder.

    Args:
        root: the folder that holds the sequences.
        split: ``all``, or a list ``<split>.txt`` in the folder.

    Attributes:
        sequences: by name, in the order of the list, or of the names.

    Raises:
        DatasetError: the folder, a frame or a truth is missing or wrong.
    """

    def __init__(self, root: Path | str, *, split: str = ALL) -> None:
        self.root, self.split = Path(root), split
        if not self.root.is_dir():
            raise DatasetError(f"{self.root} is not a folder; expected the folder that holds the sequences")
        truths = dict(_truths(self.root))
        if not truths:
            raise DatasetError(f"{self.root} holds no sequence; expected <sequence>/groundtruth_rect.txt or <sequence>/groundtruth.txt")
        listing = self.root / f"{split}.txt"
        if split != ALL and not listing.is_file():
            raise DatasetError(f"{listing} is missing; write one sequence a line, or choose the split {ALL}")
        names = tuple(truths) if split == ALL else read_names(listing, truths)
        self.sequences = {name: _open(name, truths[name]) for name in names}


def parse_boxes(path: Path, *, origin: int) -> NDArray[np.float64]:
    """Reads boxes from a text file.

    Args:
        path: a line a frame: ``x y width height``, or the corners ``x1 y1 x2 y2 x3 y3 x4 y4`` of a polygon; separated by commas, tabs
            or blanks.
        origin: what the file calls the first pixel, 0 or 1.

    Returns:
        ``(T, 4)`` boxes ``xyxy`` in our coordinates; NaN where a line has NaN, or a box has no width or height.

    Raises:
        DatasetError: the file cannot be read or is empty, or a line is something else; says which.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read as text ({error}); expected a box a line") from error
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise DatasetError(f"{path} is empty; expected a box a line")
    rows = [_parse_line(line, where=f"{path} line {number}") for number, line in enumerate(lines, 1)]
    boxes = np.array([_upright(row) if len(row) == 8 else [*row[:2], row[0] + row[2], row[1] + row[3]] for row in rows])
    with np.errstate(invalid="ignore"):
        absent = ~(np.isfinite(boxes).all(1) & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]))
    boxes[absent] = np.nan
    return boxes - origin


def format_boxes(boxes: NDArray[np.float64], *, origin: int) -> str:
    r"""The text of a file that :func:`parse_boxes` reads: ``x,y,width,height`` with four decimals, a line a frame.

    Args:
        boxes: ``(T, 4)`` ``xyxy`` in our coordinates; NaN where there is none.
        origin: what the file calls the first pixel, 0 or 1.

    >>> format_boxes(np.array([[0.0, 0.0, 4.0, 2.5]]), origin=1)
    '1.0000,1.0000,4.0000,2.5000\n'
    """
    rows = np.concatenate([boxes[:, :2] + origin, boxes[:, 2:] - boxes[:, :2]], axis=1)
    return "".join(",".join("NaN" if np.isnan(value) else f"{value:.4f}" for value in row) + "\n" for row in rows)


def _parse_line(line: str, *, where: str) -> list[float]:
    try:
        numbers = [float(part) for part in re.split(r"[,\s]+", line.strip().strip(",")) if part]
    except ValueError:
        numbers = []
    if len(numbers) not in (4, 8):
        raise DatasetError(f"{where}: {line.strip()[:60]!r} is neither x,y,width,height nor four corners; correct the line")
    return numbers


def _upright(corners: list[float]) -> list[float]:
    x, y = corners[::2], corners[1::2]
    return [min(x), min(y), max(x), max(y)]


def _truths(root: Path) -> Iterator[tuple[str, Path]]:
    """Name and file of every sequence."""
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")):
        several = sorted(folder.glob("groundtruth_rect.[0-9]*.txt"))
        for path in (folder / "groundtruth_rect.txt", folder / "groundtruth.txt"):
            if path.is_file() and not several:
                yield folder.name, path
                break
        for path in several:
            yield f"{folder.name}-{path.name.split('.')[1]}", path


def _open(name: str, path: Path) -> BoxSequence:
    origin = int(path.name.startswith("groundtruth_rect"))
    boxes = parse_boxes(path, origin=origin)
    folder = next(path.parent / inner for inner in _IMAGE_FOLDERS if (path.parent / inner).is_dir())
    files = frame_files(folder)
    if len(files) > len(boxes) and path.parent.name in STARTS:
        begin = next((index for index, file in enumerate(files) if file.stem.isdecimal() and int(file.stem) == STARTS[path.parent.name]), 0)
        files = files[begin : begin + len(boxes)]
    if len(files) != len(boxes):
        raise DatasetError(
            f"{path} has {len(boxes)} lines but {folder} has {len(files)} frames; there must be a line a frame, unpack both again"
        )
    if not np.isfinite(boxes).all(1).any():
        raise DatasetError(f"{path} has no box at all, so there is nothing to follow; restore the file")
    return BoxSequence(name=name, image_files=files, truth=boxes, origin=origin)
