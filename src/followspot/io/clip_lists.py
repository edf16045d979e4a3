"""Lists of videos and frame folders: CSV with a header, CorrFlow's CSV, VLOG's list; read and written."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os.path import relpath
from pathlib import Path

from followspot.errors import DatasetError
from followspot.io.files import write_atomic

LIST_SUFFIXES = frozenset({".csv", ".txt", ".lst", ".list"})
"""Endings that are read as lists."""

_PAIR = re.compile(r"\s*(.+?)\s*(?:(,)\s*|\s)([0-9]+)\s*")
"""A folder and its number of frames, with a comma or a blank before the number; the folder may hold both."""


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One line of a list."""

    path: Path
    name: str
    """As the list writes it, with forward slashes and without a slash at the end."""
    frames: int | None = None
    source: str = ""
    licence: str = ""
    weight: float = 1.0


def read_list(path: Path) -> list[Listed]:
    """The lines of a list; paths in it are relative to its own folder.

    Three kinds are told apart by what is in them: a CSV whose first line has a ``path`` column (``source`` or ``source_repo``,
    ``licence`` or ``license``, ``weight`` and ``frames`` or ``num_frames`` are taken along, other columns left); CorrFlow's CSV
    without a header, ``folder,frames``; and VLOG's list, ``folder frames``.

    Raises:
        DatasetError: the list is empty or a line is not of its kind.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"the list {path} cannot be read ({error}); give a text file") from error
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise DatasetError(f"the list {path} is empty; give one video or frame folder a line")
    header = [name.strip().lower() for name in next(csv.reader([lines[0][1]]))]
    if "path" in header:
        return list(_table(path, text))
    return [_pair(path, number, line) for number, line in lines]


def write_list(path: Path, folders: Sequence[tuple[Path, int]]) -> None:
    """Write frame folders and their numbers of frames: CorrFlow's CSV for ``.csv``, VLOG's list for any other ending.

    Args:
        path: the list; folders are written relative to where it lies, with a slash at the end in VLOG's list, whose own reader
            needs it.
        folders: frame folders and how many frames each holds.

    Raises:
        OutputError: the list cannot be written.
    """
    base = path.absolute().parent
    rows = [(Path(relpath(folder.absolute(), base)).as_posix(), count) for folder, count in folders]
    if path.suffix.lower() == ".csv":
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        write_atomic(path, text.getvalue())
    else:
        write_atomic(path, "".join(f"{name}/ {count}\n" for name, count in rows))


def _table(path: Path, text: str) -> Iterator[Listed]:
    """A CSV with a header."""
    reader = csv.DictReader(io.StringIO(text), skipinitialspace=True)
    for row in reader:
        given = {(name or "").strip().lower(): (value or "").strip() for name, value in row.items() if isinstance(value, str)}
        where = f"{path}, line {reader.line_num}"
        if not given.get("path"):
            raise DatasetError(f"{where}: the column path is empty; name a video or a frame folder")
        yield Listed(
            path=path.parent / given["path"],
            name=_name(given["path"]),
            frames=_count(given.get("frames") or given.get("num_frames") or "", where),
            source=given.get("source") or given.get("source_repo") or "",
            licence=given.get("licence") or given.get("license") or "",
            weight=_weight(given.get("weight") or "1", where),
        )


def _pair(path: Path, number: int, line: str) -> Listed:
    """``folder,frames`` or ``folder frames``."""
    where = f"{path}, line {number}"
    found = _PAIR.fullmatch(line)
    if found is None:
        what = "folder,frames or folder frames, or a header with the column path in the first line"
        raise DatasetError(f"{where}: {line.strip()[:60]!r} is not {what}; mend the line")
    name, comma, count = found.groups()
    folder = next(csv.reader([name]))[0] if comma and name.startswith('"') else name
    return Listed(path=path.parent / folder, name=_name(folder), frames=int(count))


def _name(text: str) -> str:
    return text.replace("\\", "/").rstrip("/")


def _count(text: str, where: str) -> int | None:
    if not text:
        return None
    if not text.isdecimal():
        raise DatasetError(f"{where}: {text!r} is not a number of frames; write a whole number or leave it empty")
    return int(text)


def _weight(text: str, where: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = -1.0
    if not 0 <= weight < float("inf"):
        raise DatasetError(f"{where}: {text!r} is not a weight; write a number from 0 on")
    return weight
