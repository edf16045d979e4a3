"""What a store remembers of how it was made, so that a second run does no work and a killed one goes on.

STORE/.prepare/
  settings.json   what the clips were made to be
  journal.jsonl   one line a source that was dealt with; the last line about a source counts
  partial/        clips that are being made
  lock            held by the one process that writes
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from followspot.datasets.store import ClipEntry, clip_path
from followspot.errors import OutputError, SettingError
from followspot.io.clip_format import MadeClip, TranscodeSettings
from followspot.io.clip_sources import WORK, ClipSource
from followspot.io.files import atomic_path, output_error, write_atomic
from followspot.io.images import natural_key
from followspot.jobs.prepare_worker import Outcome


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is known of one source."""

    path: str
    """Absolute."""
    origin: str
    fingerprint: str
    entries: tuple[ClipEntry, ...] = ()
    static: tuple[float, ...] = ()
    """Motion of each clip dropped as static."""
    reason: str = ""
    """Why there is no clip."""
    note: str = ""
    """What else should be known."""


class Ledger:
    """A store's memory; a context that keeps other writers out.

    Args:
        root: the store's folder; made if missing.
        settings: what clips should be.

    Raises:
        SettingError: the store was made with other settings.
        OutputError: another process writes to it, or it cannot be written.
    """

    def __init__(self, root: Path, settings: TranscodeSettings) -> None:
        self.root = root
        self.work = root / WORK
        self.partial = self.work / "partial"
        self._journal = self.work / "journal.jsonl"
        self._records: dict[str, Record] = {}
        self._moved: dict[tuple[str, str], Record] = {}
        with _writing(self.work):
            self.work.mkdir(parents=True, exist_ok=True)
            self._lock = (self.work / "lock").open("w")
        try:
            _hold(self._lock.fileno(), root)
            self._check(settings)
            with _writing(self.partial):
                shutil.rmtree(self.partial, ignore_errors=True)
                self.partial.mkdir()
            for record in self._read():
                self._keep(record)
            with _writing(self._journal):
                self._lines = self._journal.open("a", encoding="utf-8")
        except BaseException:
            self._lock.close()
            raise

    def _check(self, settings: TranscodeSettings) -> None:
        path, wanted = self.work / "settings.json", asdict(settings)
        if not path.exists():
            write_atomic(path, json.dumps(wanted, indent=1) + "\n")
            return
        made = json.loads(path.read_text())
        for name, value in wanted.items():
            if made.get(name) != value:
                was = f"the store {self.root} was made with {name.replace('_', '-')} {made.get(name)}, not {value}"
                raise SettingError(f"{was}; give the same settings, or another --out")

    def _read(self) -> Iterator[Record]:
        """The journal's lines; one that a kill left half written is cut off."""
        if not self._journal.exists():
            return
        data = self._journal.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            with _writing(self._journal):
                os.truncate(self._journal, whole)
        for number, line in enumerate(data[:whole].splitlines(), 1):
            try:
                yield _record_from(json.loads(line))
            except (ValueError, TypeError, KeyError) as error:
                raise OutputError(f"{self._journal}, line {number} is damaged ({error}); delete that line and run again") from error

    def _keep(self, record: Record) -> None:
        before = self._records.get(record.path)
        if before is not None:
            self._moved.pop((before.origin, before.fingerprint), None)
        self._records[record.path] = record
        self._moved[record.origin, record.fingerprint] = record

    def find(self, source: ClipSource, fingerprint: str) -> Record | None:
        """What was done with this source as it is now; None if nothing was, it has changed, or a clip of it was deleted.

        Sources that were moved as a whole, or are seen from another machine, are known by their relative path, size and time.
        """
        record = self._records.get(str(source.path.absolute()))
        if record is None or record.fingerprint != fingerprint:
            record = self._moved.get((source.origin, fingerprint))
        whole = record is not None and all((self.root / entry.path).exists() for entry in record.entries)
        return record if whole else None

    def commit(self, source: ClipSource, outcome: Outcome, *, fingerprint: str, licence: str, note: str) -> Record:
        """Take clips into the store and write down what became of a source.

        Raises:
            OutputError: the disk is full or the store cannot be written to.
        """
        entries = tuple(self._take(clip, source, licence) for clip in outcome.clips)
        record = Record(
            path=str(source.path.absolute()),
            origin=source.origin,
            fingerprint=fingerprint,
            entries=entries,
            static=outcome.static,
            reason=outcome.reason,
            note=note,
        )
        self.write(record)
        return record

    def _take(self, clip: MadeClip, source: ClipSource, licence: str) -> ClipEntry:
        relative = clip_path(clip.sha256)
        target = self.root / relative
        if target.exists():
            clip.file.unlink()  # the same pictures are there already, under the same name
        else:
            with atomic_path(target) as partial:
                os.replace(clip.file, partial)
        return ClipEntry(
            path=relative,
            frames=clip.frames,
            fps=clip.fps,
            height=clip.height,
            width=clip.width,
            sha256=clip.sha256,
            source=source.source,
            licence=source.licence or licence,
            motion=clip.motion,
            weight=source.weight,
            origin=source.origin,
            start_seconds=clip.start_seconds,
        )

    def relabel(self, record: Record, source: ClipSource) -> Record:
        """Carry over what a list says now of a source that is there already; no clip is touched."""
        said = {"source": source.source, "licence": source.licence, "weight": source.weight}
        entries = tuple(replace(entry, **said) for entry in record.entries)  # type: ignore[arg-type]
        if not source.licence or entries == record.entries:
            return record
        changed = replace(record, entries=entries)
        self.write(changed)
        return changed

    def write(self, record: Record) -> None:
        """Append a line to the journal.

        Raises:
            OutputError: the disk is full.
        """
        with _writing(self._journal):
            self._lines.write(json.dumps(asdict(record)) + "\n")
            self._lines.flush()
        self._keep(record)

    def entries(self) -> list[ClipEntry]:
        """All clips in the natural order of their origin, which does not depend on what was finished first."""
        records = {id(record): record for record in self._records.values()}.values()
        entries = [entry for record in records for entry in record.entries]
        return sorted(entries, key=lambda entry: (natural_key(entry.origin), entry.start_seconds, entry.sha256))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._lines.close()
            shutil.rmtree(self.partial, ignore_errors=True)
        finally:
            self._lock.close()


def _record_from(content: dict[str, Any]) -> Record:
    entries = tuple(ClipEntry(**entry) for entry in content.pop("entries"))
    return Record(**{**content, "entries": entries, "static": tuple(content["static"])})


def _hold(lock: int, root: Path) -> None:
    """Keep other writers out until the lock file is closed, which the system does even after kill -9."""
    try:
        import fcntl
    except ImportError:  # Windows: the file is opened exclusively by nobody, so two writers are the user's care there
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OutputError(f"another process prepares {root} right now; wait for it, or choose another --out") from error


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        told = output_error(error, path)
        if told is None:
            raise
        raise told from error
