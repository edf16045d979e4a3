"""What there is to prepare: videos and frame folders at any depth, and lists of them."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from followspot.errors import DatasetError
from followspot.io.clip_lists import LIST_SUFFIXES, Listed, read_list
from followspot.io.files import missing_file
from followspot.io.images import IMAGE_SUFFIXES, image_folder, natural_key
from followspot.io.source import VideoSource
from followspot.io.structure import beginning
from followspot.io.video import open_video

_VIDEO_SUFFIXES = frozenset(
    {
        ".mp4",
        ".m4v",
        ".mov",
        ".mkv",
        ".webm",
        ".avi",
        ".gif",
        ".mpg",
        ".mpeg",
        ".ts",
        ".m2ts",
        ".mts",
        ".wmv",
        ".flv",
        ".3gp",
        ".ogv",
        ".y4m",
    }
)
"""Endings that are taken for videos without a look inside."""

WORK = ".prepare"
"""The folder by which a store of clips is known."""

OXUVA_SEQUENCES = 337
"""Sequences of OxUvA, dev and test together (Valmadre et al., ECCV 2018)."""


@dataclass(frozen=True, kw_only=True)
class ClipSource:
    """One thing to make clips of, or to say why not."""

    path: Path
    kind: Literal["video", "frames", "problem"]
    origin: str
    """Its path relative to what was given, with forward slashes."""
    source: str
    """Where it comes from, for people."""
    licence: str = ""
    weight: float = 1.0
    frames: int | None = None
    """How many frames there are: images found, or what a list says of a video."""
    listed: int | None = None
    """What a list says; differs from ``frames`` where the list is stale."""
    problem: str = ""
    """Why nothing can be made of it."""

    def fingerprint(self) -> str:
        """Changes when the content does: size and time of a file; time and number of pictures of a folder."""
        try:
            facts = self.path.stat()
        except OSError:
            return "missing"
        size = self.frames if self.kind == "frames" else facts.st_size
        return f"{size}-{facts.st_mtime_ns}"

    def open(self) -> VideoSource:
        """The frames.

        Raises:
            VideoError: it cannot be read.
        """
        return image_folder(self.path) if self.kind == "frames" else open_video(self.path)


def find_sources(given: Sequence[Path], *, only: str | None = None, without: str | None = None) -> list[ClipSource]:
    """Everything that clips can be made of, and everything that was met but cannot be used.

    Args:
        given: folders, video files and lists, in any mixture. In a folder every video is a clip, and so is every folder that holds
            images; hidden files are passed over, all others are named with the reason why they are not used.
        only: a pattern such as ``main/*`` that the path relative to what was given must fit.
        without: a pattern such as ``*davis*`` that it must not fit.

    Returns:
        In natural order of their origin, each file or folder once.

    Raises:
        DatasetError: something given does not exist, a list cannot be read, or nothing fits.
    """
    found: dict[Path, ClipSource] = {}
    for path in given:
        for source in _sources_of(Path(path).expanduser()):
            found.setdefault(source.path.absolute(), source)
    wanted, unwanted = (None if pattern is None else re.compile(_translate(pattern)) for pattern in (only, without))
    kept = [source for source in found.values() if wanted is None or wanted.fullmatch(source.origin)]
    kept = [source for source in kept if unwanted is None or not unwanted.fullmatch(source.origin)]
    if not kept:
        limits = [f"only {only!r}"] * (only is not None) + [f"without {without!r}"] * (without is not None)
        what = f"nothing is left ({', '.join(limits)}) of" if found else "there is nothing in"
        raise DatasetError(f"{what} {', '.join(map(str, given))}; give folders of videos or frames, video files, or a list of them")
    return sorted(kept, key=lambda source: natural_key(source.origin))


def count_oxuva(sources: Sequence[ClipSource]) -> int | None:
    """How many sequences of OxUvA (``vid0000/000000.jpeg``) there are; None where the frame folders are called otherwise.

    The whole data set has 337 (dev and test).
    """
    folders = [source for source in sources if source.kind == "frames"]
    if not folders or not all(re.fullmatch(r"vid\d{4}", source.path.name) for source in folders):
        return None
    return len(folders)


def _translate(pattern: str) -> str:
    # Unlike fnmatch, which depends on the system about capitals.
    return "".join({"*": ".*", "?": "."}.get(letter, re.escape(letter)) for letter in pattern)


def _sources_of(path: Path) -> Iterator[ClipSource]:
    if path.is_dir():
        yield from _walk(path)
        return
    problem = missing_file(path)
    if problem is not None:
        raise DatasetError(problem)
    if path.suffix.lower() in LIST_SUFFIXES:
        for listed in read_list(path):
            yield _from_list(listed)
    else:
        yield _file(path, origin=path.name)


def _walk(root: Path) -> Iterator[ClipSource]:
    """Videos and frame folders below a folder, through links, each once; stores of clips are not sources."""
    unreadable: list[OSError] = []
    seen: set[Path] = set()
    for folder, inside, names in os.walk(root, onerror=unreadable.append, followlinks=True):
        here, real = Path(folder), Path(folder).resolve()
        if WORK in inside or real in seen:
            inside.clear()
            continue
        seen.add(real)
        inside[:] = sorted(name for name in inside if not name.startswith("."))
        origin = here.relative_to(root).as_posix() if here != root else root.resolve().name
        visible = sorted(name for name in names if not name.startswith("."))
        images = [name for name in visible if Path(name).suffix.lower() in IMAGE_SUFFIXES]
        if images:
            yield ClipSource(path=here, kind="frames", origin=origin, source=origin, frames=len(images))
        for name in visible:
            if Path(name).suffix.lower() not in IMAGE_SUFFIXES:
                yield _file(here / name, origin=(here / name).relative_to(root).as_posix())
        if not visible and not inside:
            yield ClipSource(path=here, kind="problem", origin=origin, source=origin, problem="the folder is empty")
    for error in unreadable:
        here = Path(str(error.filename))
        origin = here.relative_to(root).as_posix()
        yield ClipSource(path=here, kind="problem", origin=origin, source=origin, problem=f"the folder cannot be read ({error.strerror})")


def _file(path: Path, *, origin: str) -> ClipSource:
    """A file that may be a video; text is told from it here, since FFmpeg takes some texts for playlists and opens what they name."""
    if path.suffix.lower() not in _VIDEO_SUFFIXES:
        try:
            text = beginning(path)
        except OSError as error:
            return ClipSource(path=path, kind="problem", origin=origin, source=origin, problem=f"cannot be read ({error.strerror})")
        if text is not None:
            return ClipSource(path=path, kind="problem", origin=origin, source=origin, problem=f"is no video but text: {text!r}")
    return ClipSource(path=path, kind="video", origin=origin, source=origin)


def _from_list(listed: Listed) -> ClipSource:
    """A line of a list, looked up on disk."""
    common = ClipSource(
        path=listed.path,
        kind="problem",
        origin=listed.name,
        source=listed.source or listed.name,
        licence=listed.licence,
        weight=listed.weight,
        listed=listed.frames,
    )
    if listed.path.is_dir():
        images = sum(1 for path in listed.path.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."))
        return replace(common, kind="frames", frames=images) if images else replace(common, problem="the folder holds no images")
    if not listed.path.exists():
        return replace(common, problem=f"is in the list but not on the disk ({listed.path})")
    return replace(common, kind="video")
