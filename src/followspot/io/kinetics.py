"""Kinetics' lists of clips: which stretch of which video on the web, as JSON."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from followspot.errors import AnnotationError, DatasetError
from followspot.io.fields import as_mapping, as_numbers, as_text, load_json

# Keys become file names; those of Kinetics are the ids of YouTube, eleven of these letters.
_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}")


@dataclass(frozen=True, kw_only=True)
class KineticsClip:
    """One line of the list."""

    key: str
    """What the clip is called, also on disk: ``KEY.mp4``."""
    url: str
    """Of the page that shows the video, or of the video file itself."""
    segment: tuple[float, float] | None
    """The clip's beginning and end in the video, in seconds; None: all of it."""
    label: str = ""
    """The action, where the list says it; not used for learning."""

    @property
    def file_name(self) -> str:
        """``KEY.mp4``."""
        return f"{self.key}.mp4"


@dataclass(frozen=True, kw_only=True)
class PresentClips:
    """Which clips of a list are in a folder."""

    files: tuple[tuple[KineticsClip, Path], ...]
    """Those that are there, in the list's order."""
    skipped: tuple[str, ...]
    """Keys of those that are not (yet)."""


def read_kinetics(path: Path) -> tuple[KineticsClip, ...]:
    """Read a list ``{key: {"url", "duration", "annotations": {"segment": [start, end], "label"}}}``.

    Args:
        path: the JSON file. ``annotations`` may be missing (test lists): then the whole video is meant.

    Returns:
        The clips, in the file's order.

    Raises:
        DatasetError: the file is missing, empty, or an entry is not as above; the message names the entry.
    """
    try:
        entries = load_json(path)
        clips = tuple(_clip(key, entry, f"{path}: {key!r}") for key, entry in entries.items())
    except AnnotationError as error:
        raise DatasetError(str(error)) from error
    if not clips:
        raise DatasetError(f"the list {path} is empty; give a JSON of Kinetics with at least one clip")
    return clips


def present_clips(clips: Sequence[KineticsClip], folder: Path) -> PresentClips:
    """Which clips have been fetched into a folder; files appear there whole, so this may be asked while a download runs.

    Args:
        clips: from :func:`read_kinetics`.
        folder: where ``followspot download kinetics`` writes.
    """
    names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    files = tuple((clip, folder / clip.file_name) for clip in clips if clip.file_name in names)
    return PresentClips(files=files, skipped=tuple(clip.key for clip in clips if clip.file_name not in names))


def _clip(key: str, entry: object, where: str) -> KineticsClip:
    if not _KEY.fullmatch(key):
        raise DatasetError(f"{where}: a key names a file and may hold letters, digits, '-', '_' and '.'; correct the list")
    fields = as_mapping(entry, where)
    annotations = as_mapping(fields.get("annotations") or {}, f"{where}.annotations")
    label = annotations.get("label")
    return KineticsClip(
        key=key,
        url=as_text(fields.get("url"), f"{where}.url"),
        segment=_segment(annotations, where),
        label=label if isinstance(label, str) else "",
    )


def _segment(annotations: Mapping[str, object], where: str) -> tuple[float, float] | None:
    if annotations.get("segment") is None:
        return None
    start, end = as_numbers(annotations["segment"], f"{where}.annotations.segment", count=2)
    if not 0 <= start < end:
        raise DatasetError(f"{where}: the segment {start:g} to {end:g} s is empty; write [start, end] with 0 <= start < end")
    return start, end
