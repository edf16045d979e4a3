"""Several trackers on one benchmark, and one table of them.

out/
  <tracker>/            results of each, as `followspot.jobs.results` has them
  compare.csv .json .md the table, the best first
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from followspot.benchmarks.base import Benchmark
from followspot.benchmarks.report import Report
from followspot.errors import DatasetError, FollowspotError, SettingError
from followspot.io.files import write_atomic
from followspot.jobs.evaluate import Failure, Show, evaluate
from followspot.jobs.tracker_choice import TrackerChoice


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One tracker of a comparison."""

    name: str
    folder: str
    """Beside the table."""
    report: Report
    frames_per_second: float | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Trackers on one benchmark, the best first."""

    entries: tuple[Entry, ...]
    """At least one; all of one benchmark, split and protocol."""

    @property
    def scores(self) -> tuple[str, ...]:
        """Names of the global numbers; the first one ranks."""
        return tuple(self.entries[0].report.scores)

    def table(self) -> str:
        """For people; plain text that ends with a newline."""
        report = self.entries[0].report
        cells = [["tracker", *self.scores, "frames/s"], *(self._cells(entry) for entry in self.entries)]
        widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
        lines = [f"{report.benchmark} {report.split}, {report.protocol} protocol, {_count(self.entries)}", report.note, ""]
        for name, *numbers in cells:
            columns = [f"{name:<{widths[0]}}", *(f"{text:>{width}}" for text, width in zip(numbers, widths[1:], strict=True))]
            lines.append("  ".join(columns))
        return "\n".join(lines) + "\n"

    def to_markdown(self) -> str:
        """The same as a table of Markdown."""
        report = self.entries[0].report
        rows = [["tracker", *self.scores, "frames/s"], ["---"] * (len(self.scores) + 2), *(self._cells(entry) for entry in self.entries)]
        title = f"{report.benchmark} {report.split}, {report.protocol} protocol. {report.note}"
        return "\n".join([title, "", *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"

    def to_csv(self) -> str:
        """The same with six decimals; what is not known is empty."""
        lines = [",".join(["tracker", *self.scores, "frames_per_second"])]
        for entry in self.entries:
            numbers = [*(entry.report.scores[name] for name in self.scores), entry.frames_per_second]
            name = f'"{entry.name.replace(chr(34), chr(34) * 2)}"' if set(entry.name) & set(',"') else entry.name
            lines.append(",".join([name, *("" if _unknown(number) else f"{number:.6f}" for number in numbers)]))
        return "\n".join(lines) + "\n"

    def to_json(self) -> str:
        """The same in full precision, with the folders; what is not known is null."""
        report = self.entries[0].report
        trackers = [
            {
                "name": entry.name,
                "folder": entry.folder,
                "scores": {name: None if _unknown(value) else value for name, value in entry.report.scores.items()},
                "frames_per_second": entry.frames_per_second,
            }
            for entry in self.entries
        ]
        about = {"benchmark": report.benchmark, "split": report.split, "protocol": report.protocol, "note": report.note}
        return json.dumps(about | {"lower_is_better": sorted(report.lower_is_better), "trackers": trackers}, indent=1) + "\n"

    def save(self, folder: Path) -> None:
        """Writes ``compare.csv``, ``compare.json`` and ``compare.md``.

        Raises:
            OutputError: a file cannot be written.
        """
        write_atomic(folder / "compare.csv", self.to_csv())
        write_atomic(folder / "compare.md", self.to_markdown())
        write_atomic(folder / "compare.json", self.to_json())

    def _cells(self, entry: Entry) -> list[str]:
        rate = "" if entry.frames_per_second is None else f"{entry.frames_per_second:.1f}"
        return [entry.name, *(f"{entry.report.scores[name]:.3f}" for name in self.scores), rate]


def compare(
    benchmark: Benchmark,
    specs: Sequence[TrackerChoice],
    out: Path,
    *,
    data: Path | None,
    processes: int = 1,
    workers: int | None = None,
    show_for: Callable[[str], Show] = lambda name: lambda stage, done, total: None,
    on_table: Callable[[Comparison], None] = lambda table: None,
) -> Comparison:
    """Evaluates trackers one after the other and puts them in order.

    A tracker that fails does not stop the others: the table of those that did not is saved before the error is raised.

    Args:
        benchmark: what is run.
        specs: the trackers; their folders must differ.
        out: folder of the comparison. What is complete in it is not run again.
        data: where the benchmark's files are; None for one without files.
        processes: how many sequences run at once.
        workers: processes that score; None for one a core.
        show_for: gives what is told about the progress of a tracker.
        on_table: given the table once it is saved, also if an error follows.

    Returns:
        The table.

    Raises:
        SettingError: two trackers have one folder, or there is none.
        DatasetError: a tracker could not be run or scored.
        OutputError: a folder holds results of other settings, or cannot be written.
    """
    _require_distinct(specs)
    entries, failures = [], []
    for spec in specs:
        try:
            show = show_for(spec.name)
            done = evaluate(benchmark, spec, out / spec.slug, data=data, processes=processes, workers=workers, show=show)
            report, rate = done.require_report(), done.frames_per_second
            entries.append(Entry(name=spec.name, folder=spec.slug, report=report, frames_per_second=rate))
        except Exception as error:
            failures.append(Failure(spec.name, error))
    if entries:
        comparison = Comparison(entries=rank(entries))
        comparison.save(out)
        on_table(comparison)
    _raise_failures(failures, len(specs), out)
    return comparison


def rank(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """The best first by the first score; what has no number comes last, and equals keep their order."""
    report = entries[0].report
    first = next(iter(report.scores))
    sign = 1.0 if first in report.lower_is_better else -1.0

    def key(entry: Entry) -> float:
        value = entry.report.scores[first]
        return float("inf") if _unknown(value) else sign * value

    return tuple(sorted(entries, key=key))


def _count(entries: Sequence[Entry]) -> str:
    return "1 tracker" if len(entries) == 1 else f"{len(entries)} trackers"


def _unknown(number: float | None) -> bool:
    return number is None or number != number


def _require_distinct(specs: Sequence[TrackerChoice]) -> None:
    if not specs:
        raise SettingError("there is no tracker to compare; name at least one")
    slugs = [spec.slug for spec in specs]
    for spec in specs:
        if slugs.count(spec.slug) > 1:
            raise SettingError(f'two trackers would be called "{spec.slug}"; name one of them, as in other={spec.name}')


def _raise_failures(failures: Sequence[Failure], total: int, out: Path) -> None:
    if not failures:
        return
    for failure in failures:
        if not isinstance(failure.error, FollowspotError):
            failure.error.add_note(f"tracker {failure.sequence!r}; the others are in {out}")
            raise failure.error
    told = "; ".join(f"{failure.sequence}: {failure.error}" for failure in failures)
    raise DatasetError(f"{len(failures)} of {total} trackers could not be compared ({told}); the others are in {out}") from failures[
        0
    ].error
