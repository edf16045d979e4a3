"""Any videos in, a store of clips out: parallel, resumable, with a reason for everything that was left out."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from followspot.datasets.store import ClipEntry, write_index
from followspot.errors import DatasetError, SettingError
from followspot.io.clip_format import TranscodeSettings
from followspot.io.clip_sources import ClipSource, count_oxuva, find_sources
from followspot.jobs.prepare_ledger import Ledger, Record
from followspot.jobs.prepare_report import PrepareReport, SourceReport
from followspot.jobs.prepare_worker import Job, Outcome, run_jobs

Progress = Callable[[str, int, int | None], None]

STATIC_BELOW = 0.1
"""Grey levels a frame: of 519 real clips 32 move less, a speck on the sky or a room in which nobody stirs; the median is 2.8."""

_INDEX_EVERY = 5.0
"""Seconds between two rewritings of the index, so that training may begin before the end."""


@dataclass(frozen=True, kw_only=True)
class PrepareSettings:
    """What to make of videos, and what to leave out.

    Raises:
        SettingError: a value is outside its range.
    """

    clips: TranscodeSettings = field(default_factory=TranscodeSettings)
    """Size, rate, length of the clips; one store has one of these."""
    drop_duplicates: bool = False
    """Keep only the first of clips with the same pictures."""
    static_below: float | None = None
    """Drop clips that move less, in grey levels a frame; None keeps all."""
    licence: str = ""
    """For sources whose list names none."""
    retry_skipped: bool = False
    """Try again what could not be used the last time, though it has not changed."""

    def __post_init__(self) -> None:
        if self.static_below is not None and not 0 < self.static_below < 255:
            raise SettingError(f"static below {self.static_below} is no difference; give grey levels between 0 and 255, such as 0.1")


def prepare(
    given: Sequence[Path],
    out: Path,
    *,
    settings: PrepareSettings,
    workers: int | None = None,
    only: str | None = None,
    without: str | None = None,
    progress: Progress | None = None,
) -> PrepareReport:
    """Make a store of clips, or add to one.

    Args:
        given: folders, video files and lists; see :func:`followspot.io.clip_sources.find_sources`.
        out: the store.
        settings: what to make and what to leave out.
        workers: processes; None: one for each core.
        only: a pattern that the relative path of a source must fit.
        without: a pattern that it must not fit.
        progress: told ``("preparing", done, total)``.

    Returns:
        What became of every source; also in ``report.json`` and ``report.csv`` of the store.

    Raises:
        DatasetError: nothing was found, or none of it could be used.
        SettingError: the store was made with other settings.
        OutputError: the store cannot be written. What was finished stays; the same command goes on from there.
    """
    if workers is not None and workers < 1:
        raise SettingError(f"{workers} workers cannot work; give 1 or more")
    begun = time.monotonic()
    sources = find_sources(given, only=only, without=without)
    with Ledger(out, settings.clips) as ledger:
        run = _Run(ledger, settings, progress)
        run.work(sources, workers or os.cpu_count() or 1)
        kept = run.publish()
        report = run.report(sources, kept, seconds=time.monotonic() - begun)
        report.save(out)
    if not report.usable:
        raise DatasetError(f"none of {len(sources)} sources could be used; {report.first_problem}; see {out / 'report.csv'}")
    return report


class _Run:
    """One run over one store."""

    def __init__(self, ledger: Ledger, settings: PrepareSettings, progress: Progress | None) -> None:
        self._ledger, self._settings, self._progress = ledger, settings, progress
        self._records: dict[Path, Record] = {}
        self._new: set[Path] = set()
        self._prints: dict[Path, str] = {}
        self._index_due = 0.0
        self._total = 0

    def work(self, sources: Sequence[ClipSource], workers: int) -> None:
        """Deal with every source that was not dealt with."""
        self._prints = {source.path: source.fingerprint() for source in sources}
        todo = [source for source in sources if not self._known(source)]
        self._total = len(sources)
        videos = [source for source in todo if source.kind != "problem"]
        for source in todo:
            if source.kind == "problem":
                self._finish(source, Outcome(reason=source.problem))
        for job, outcome in run_jobs(self._jobs(videos), workers=min(workers, max(1, len(videos)))):
            self._finish(job.source, outcome)

    def _known(self, source: ClipSource) -> bool:
        record = self._ledger.find(source, self._prints[source.path])
        if record is None or (record.reason and self._settings.retry_skipped):
            return False
        limit = self._settings.static_below
        if any(limit is None or motion >= limit for motion in record.static):
            return False
        self._records[source.path] = self._ledger.relabel(record, source)
        return True

    def _jobs(self, todo: Sequence[ClipSource]) -> Iterator[Job]:
        for number, source in enumerate(todo):
            yield Job(
                source=source,
                folder=self._ledger.partial,
                name=str(number),
                settings=self._settings.clips,
                static_below=self._settings.static_below,
            )

    def _finish(self, source: ClipSource, outcome: Outcome) -> None:
        self._records[source.path] = self._ledger.commit(
            source, outcome, fingerprint=self._prints[source.path], licence=self._settings.licence, note=_note(source, outcome)
        )
        self._new.add(source.path)
        if self._progress is not None:
            self._progress("preparing", len(self._records), self._total)
        if time.monotonic() >= self._index_due:
            begun = time.monotonic()
            self.publish()
            # A large index takes long to write; at most a tenth of the time goes into it.
            self._index_due = time.monotonic() + max(_INDEX_EVERY, 10 * (time.monotonic() - begun))

    def publish(self) -> list[ClipEntry]:
        """Write the index; returns what is in it."""
        entries = self._ledger.entries()
        if self._settings.drop_duplicates:
            first: dict[str, ClipEntry] = {}
            for entry in entries:
                first.setdefault(entry.sha256, entry)
            entries = list(first.values())
        if entries or (self._ledger.root / "index.parquet").exists():
            write_index(self._ledger.root, entries)
        return entries

    def report(self, sources: Sequence[ClipSource], kept: Sequence[ClipEntry], *, seconds: float) -> PrepareReport:
        """What became of every source."""
        inside = {(entry.origin, entry.start_seconds, entry.sha256) for entry in kept}
        rows = tuple(self._row(source, inside) for source in sources)
        files = {self._ledger.root / entry.path for entry in kept}
        size = sum(file.stat().st_size for file in files if file.exists())
        return PrepareReport(rows=rows, clips=len(kept), size=size, seconds=seconds, oxuva=count_oxuva(sources))

    def _row(self, source: ClipSource, inside: set[tuple[str, float, str]]) -> SourceReport:
        record = self._records[source.path]
        clips = sum((entry.origin, entry.start_seconds, entry.sha256) in inside for entry in record.entries)
        duplicates = len(record.entries) - clips
        status = "done" if clips else "duplicate" if duplicates else "static" if record.static else "skipped"
        return SourceReport(
            origin=source.origin,
            status=status,
            new=source.path in self._new,
            clips=clips,
            duplicates=duplicates,
            static=len(record.static),
            reason=record.reason,
            note=record.note,
        )


def _note(source: ClipSource, outcome: Outcome) -> str:
    """Whether the list is stale: it promised another number of frames."""
    held = source.frames
    if held is None and len(outcome.clips) == 1 and outcome.clips[0].copied:
        held = outcome.clips[0].frames
    if source.listed is None or held is None or held == source.listed:
        return ""
    return f"the list is stale: it says {source.listed} frames, there are {held}"
