"""What became of each clip of a download: a table that survives being killed, and an archive of what is done."""

import csv
import io
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, get_args

from followspot.io.files import output_error, write_atomic

Status = Literal["success", "no_info", "no_format", "download_failed", "trim_failed", "missing"]
"""``no_info``: the page or file cannot be had. ``no_format``: nothing that is one file with pictures. ``download_failed``: it broke off for
good. ``trim_failed``: what came is no video or too short. ``missing``: it was fetched once, and the file is gone since."""

STATUSES: Final[tuple[Status, ...]] = get_args(Status)
_COLUMNS: Final = ("key", "status", "tries", "bytes", "reason")


@dataclass(frozen=True, kw_only=True)
class ClipStatus:
    """One row of the table."""

    key: str
    status: Status
    tries: int = 0
    """How often the fetch was tried."""
    bytes: int = 0
    """Size of the finished clip."""
    reason: str = ""
    """Why it failed, in one line."""


@dataclass(frozen=True, kw_only=True)
class KineticsReport:
    """What became of all clips."""

    rows: tuple[ClipStatus, ...]
    """In the list's order."""
    attempted: int
    """How many of them were tried in this run."""
    table: Path
    """Where the rows stand as CSV."""

    def counts(self) -> Mapping[Status, int]:
        """How many clips have each status."""
        found = Counter(row.status for row in self.rows)
        return {status: found[status] for status in STATUSES}


@dataclass
class StatusTable:
    """``status.csv`` and ``archive.txt`` of a download folder.

    Rows are appended as clips are settled, the last of a key counts, and :meth:`finish` writes the table anew in the list's order.
    """

    folder: Path
    rows: dict[str, ClipStatus] = field(default_factory=dict)
    archived: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def path(self) -> Path:
        """The table."""
        return self.folder / "status.csv"

    @property
    def archive(self) -> Path:
        """Keys that were fetched, one a line; they are not fetched again even if the file has been moved away."""
        return self.folder / "archive.txt"

    def load(self) -> None:
        """Read what an earlier run left; a last line that was cut by a kill is cut away."""
        for path in (self.path, self.archive):
            _drop_torn_line(path)
        if self.path.exists():
            for row in csv.DictReader(io.StringIO(self.path.read_text(encoding="utf-8"))):
                read = _row(row)
                if read is not None:
                    self.rows[read.key] = read
        if self.archive.exists():
            self.archived = set(self.archive.read_text(encoding="utf-8").split())

    def settle(self, row: ClipStatus) -> None:
        """Note what became of a clip; safe to call from several threads.

        Raises:
            OutputError: the disk is full or not ours to write to.
        """
        with self._lock:
            self.rows[row.key] = row
            if row.status == "success" and row.key not in self.archived:
                self.archived.add(row.key)
                _append(self.archive, f"{row.key}\n")
            heading = "" if self.path.exists() and self.path.stat().st_size else _line(_COLUMNS)
            _append(self.path, heading + _line(_values(row)))

    def finish(self, order: Sequence[str]) -> None:
        """Write the table once more: a row a key, those of the list first and in its order."""
        keys = dict.fromkeys([*(key for key in order if key in self.rows), *self.rows])
        write_atomic(self.path, _line(_COLUMNS) + "".join(_line(_values(self.rows[key])) for key in keys))


def _values(row: ClipStatus) -> tuple[str | int, ...]:
    return (row.key, row.status, row.tries, row.bytes, " ".join(row.reason.split()))


def _line(values: Sequence[str | int]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()


def _row(fields: Mapping[str, str | None]) -> ClipStatus | None:
    """A row as it was written; None for one that somebody has edited beyond recognition."""
    key, status = fields.get("key"), fields.get("status")
    tries, size = fields.get("tries") or "", fields.get("bytes") or ""
    if not key or status not in STATUSES or not tries.isdecimal() or not size.isdecimal():
        return None
    return ClipStatus(key=key, status=status, tries=int(tries), bytes=int(size), reason=fields.get("reason") or "")


def _drop_torn_line(path: Path) -> None:
    """So that what is appended begins a line of its own."""
    if path.exists():
        data = path.read_bytes()
        if not data.endswith(b"\n"):
            write_atomic(path, data[: data.rfind(b"\n") + 1])


def _append(path: Path, text: str) -> None:
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        told = output_error(error, path)
        raise told if told is not None else error from error
