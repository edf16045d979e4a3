"""What every labelled dataset is to whoever cuts targets out of it: named videos, frames in order, objects by track.

A photograph is a video of one frame. A reader is a function from what the user gave to a `LabelledSource`; it looks for files and reads
lists at once, and pictures only when the frames of a video are asked for.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from followspot.datasets.target_index import Box, TargetCard
from followspot.errors import DatasetError, SettingError, VideoError
from followspot.io.files import nearest
from followspot.io.images import IMAGE_SUFFIXES, natural_key, read_image

Image = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class LabelledObject:
    """An object in a frame."""

    track: int
    """The same in all frames of its video."""
    box: Box
    """xyxy edges in pixels of the frame."""
    mask: NDArray[np.bool_] | None = None
    """``(H, W)``; None where only the box is known."""


@dataclass(frozen=True, kw_only=True)
class LabelledFrame:
    """A frame in which objects are labelled."""

    number: int
    image: Image
    """``(H, W, 3)`` RGB."""
    objects: Sequence[LabelledObject]


@dataclass(frozen=True)
class LeftOut:
    """One object that cannot be used."""

    reason: str
    """As in "3 objects left out: crowds"."""


@dataclass(frozen=True, kw_only=True)
class LabelledVideo:
    """One video, or one photograph."""

    name: str
    """Unique in its source; parts may be joined by ``/``."""
    read: Callable[[], Iterator[LabelledFrame | LeftOut]]
    """Begins to read; raises `DatasetError` where a file is missing or damaged."""


@dataclass(frozen=True, kw_only=True)
class Least:
    """How large an object must be in its source.

    Raises:
        SettingError: below 0.
    """

    side: float = 8
    """Pixels of the shorter side of its box. A crop shows a square object of 8 pixels at 64, where one pixel has become eight."""
    area: float = 400
    """Pixels of its mask, or of its box where there is no mask: 20x20, which a crop enlarges to three times that and no further."""

    def __post_init__(self) -> None:
        if not (self.side >= 0 and self.area >= 0):
            raise SettingError(f"side {self.side:g} and area {self.area:g} are no sizes; give pixels from 0")


@dataclass(frozen=True, kw_only=True)
class LabelledSource:
    """A dataset as it lies on disk."""

    card: TargetCard
    videos: Sequence[LabelledVideo]
    """In the order in which they should be worked on."""
    least: Least = Least()
    """Smaller objects are left out."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """What was met and belongs to no video, by reason."""


def one_folder(given: Sequence[Path], *, expected: str) -> Path:
    """The only path given, which must be a folder.

    Args:
        given: what the user typed.
        expected: what should be in it, for the error.

    Raises:
        DatasetError: several, or no folder.
    """
    if len(given) != 1:
        raise DatasetError(f"{len(given)} sources were given, expected one folder with {expected}; convert one after the other")
    folder = Path(given[0]).expanduser()
    if not folder.is_dir():
        beside = [path.name for path in folder.parent.iterdir()] if folder.parent.is_dir() else []
        near = nearest(folder.name, beside)
        raise DatasetError(
            f"{folder} is no folder, expected one with {expected}; {f'did you mean {folder.parent / near}?' if near else 'check the path'}"
        )
    return folder


def pictures_below(folder: Path) -> dict[str, Path]:
    """Pictures of a folder and its folders by their relative path without suffix, in natural order; hidden ones are left out.

    Raises:
        DatasetError: two have the same name but for the suffix.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*"), key=lambda path: natural_key(path.as_posix())):
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file():
            name = path.relative_to(folder).with_suffix("").as_posix()
            if name in found:
                raise DatasetError(f"{path} and {found[name].name} have one name; keep one of them")
            found[name] = path
    return found


def frame_numbers(names: Sequence[str]) -> list[int]:
    """What the frames of a video are called in the index: their own numbers, or their places where names are no different numbers.

    >>> frame_numbers(["00000", "00005"]), frame_numbers(["a", "b"])
    ([0, 5], [0, 1])
    """
    numbers = [int(name) for name in names if name.isascii() and name.isdecimal()]
    return numbers if len(set(numbers)) == len(names) else list(range(len(names)))


def mask_box(mask: NDArray[np.bool_]) -> Box:
    """The extent ``xyxy`` of a mask ``(H, W)`` in which something is set.

    >>> mask_box(np.array([[0, 0, 0], [0, 1, 1]], bool))
    (1.0, 1.0, 3.0, 2.0)
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return float(columns[0]), float(rows[0]), float(columns[-1]) + 1, float(rows[-1]) + 1


def read_picture(path: Path, *, size: tuple[int, int] | None = None) -> Image:
    """A picture as RGB ``(H, W, 3)``.

    Args:
        path: the file.
        size: ``(H, W)`` that its annotation states, None if it states none.

    Raises:
        DatasetError: it is missing, damaged, or of another size.
    """
    if not path.is_file():
        raise DatasetError(f"{path} is missing, though it is annotated; unpack the images again")
    try:
        image = read_image(path)
    except VideoError as error:
        raise DatasetError(str(error)) from error
    if size is not None and image.shape[:2] != size:
        # Cameras note that a picture is to be turned; some datasets are annotated before that is done.
        unturned = _as_stored(path)
        if unturned.shape[:2] == size:
            return unturned
        got, expected = (f"{shape[1]}x{shape[0]}" for shape in (image.shape, size))
        raise DatasetError(f"{path} is {got}, but annotated as {expected}; use images and annotations of one release")
    return image


def choose_videos(
    videos: Sequence[LabelledVideo], *, only: str | None = None, without: str | None = None, names: Collection[str] | None = None
) -> tuple[LabelledVideo, ...]:
    """Some videos of a source, in its order.

    Args:
        videos: all there are.
        only: a pattern such as ``train/*`` that a name must fit.
        without: a pattern that it must not fit.
        names: to which it must belong; None: all.

    Raises:
        DatasetError: nothing is left.
    """
    wanted, unwanted = (None if pattern is None else re.compile(_translate(pattern)) for pattern in (only, without))
    kept = [video for video in videos if wanted is None or wanted.fullmatch(video.name)]
    kept = [video for video in kept if unwanted is None or not unwanted.fullmatch(video.name)]
    chosen = tuple(video for video in kept if names is None or video.name in names)
    if not chosen:
        example = f"; they are called {videos[0].name!r} and the like" if videos else ""
        raise DatasetError(f"nothing is left of {len(videos)} videos or photographs{example}; change --only, --without or --list")
    return chosen


def _translate(pattern: str) -> str:
    # Unlike fnmatch, which depends on the system about capitals.
    return "".join({"*": ".*", "?": "."}.get(letter, re.escape(letter)) for letter in pattern)


def _as_stored(path: Path) -> Image:
    from PIL import Image as Pictures

    with Pictures.open(path) as opened:
        return np.array(opened.convert("RGB"))
