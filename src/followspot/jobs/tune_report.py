"""What a search came to: one table, the best first."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from followspot.benchmarks.base import Benchmark
from followspot.io.files import write_atomic
from followspot.jobs.search_space import Value
from followspot.jobs.trials import Outcome


@dataclass(frozen=True, kw_only=True)
class TuneReport:
    """Settings that were tried, the best first; then what failed, then what is not finished."""

    benchmark: str
    """With its split and protocol."""
    sequences: int
    tracker: str
    names: tuple[str, ...]
    """Of the settings that were searched."""
    outcomes: tuple[Outcome, ...]

    @classmethod
    def of(cls, benchmark: Benchmark, tracker: str, names: Sequence[str], outcomes: Sequence[Outcome]) -> "TuneReport":
        """The table of outcomes in any order; equals keep theirs."""
        return cls(
            benchmark=f"{benchmark.name} {benchmark.split}, {benchmark.protocol} protocol",
            sequences=len(benchmark.sequence_names),
            tracker=tracker,
            names=tuple(names),
            outcomes=tuple(sorted(outcomes, key=_rank)),
        )

    @property
    def best(self) -> Outcome | None:
        """The settings with the highest value; None where none was scored."""
        return self.outcomes[0] if self.outcomes and self.outcomes[0].state == "done" else None

    def headline(self) -> str:
        """One line: what was searched, and the best first score."""
        done = sum(outcome.state == "done" for outcome in self.outcomes)
        start = f"followspot tune, {self.tracker} on {self.benchmark}, {_count(self.sequences, 'sequence')}, {_count(done, 'trial')}"
        if self.best is None:
            return start
        name, score = next(iter(self.best.scores.items()))
        return f"{start}: best {name} {score:.4f}"

    def to_markdown(self) -> str:
        """A table for people, with the reasons of failures below it."""
        columns = self._columns()
        rows = [columns, ["---"] * len(columns), *(self._cells(rank, outcome) for rank, outcome in enumerate(self.outcomes, start=1))]
        failed = [f"- {_settings(outcome.settings)}: {outcome.reason}" for outcome in self.outcomes if outcome.state == "failed"]
        lines = [self.headline(), "", *(f"| {' | '.join(row)} |" for row in rows)]
        return "\n".join([*lines, *(["", "Failed:", "", *failed] if failed else [])]) + "\n"

    def to_csv(self) -> str:
        """The same with six decimals; what is not known is empty."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["rank", *self.names, *self._scores(), "seconds", "state", "reason"])
        for rank, outcome in enumerate(self.outcomes, start=1):
            scores = [_digits(outcome.scores.get(name), 6) for name in self._scores()]
            row = [str(rank), *(str(outcome.settings[name]) for name in self.names), *scores, _digits(outcome.seconds, 1)]
            writer.writerow([*row, outcome.state, outcome.reason])
        return text.getvalue()

    def table(self, *, most: int = 10) -> str:
        """The first rows as plain text that ends with a newline."""
        cells = [self._columns(), *(self._cells(rank, outcome) for rank, outcome in enumerate(self.outcomes[:most], start=1))]
        widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
        lines = ["  ".join(f"{text:>{width}}" for text, width in zip(row, widths, strict=True)) for row in cells]
        more = [f"... and {len(self.outcomes) - most} more"] if len(self.outcomes) > most else []
        return "\n".join([self.headline(), "", *lines, *more]) + "\n"

    def save(self, folder: Path) -> None:
        """Writes ``trials.csv`` and ``trials.md``.

        Raises:
            OutputError: a file cannot be written.
        """
        write_atomic(folder / "trials.csv", self.to_csv())
        write_atomic(folder / "trials.md", self.to_markdown())

    def _scores(self) -> list[str]:
        return list(dict.fromkeys(name for outcome in self.outcomes for name in outcome.scores))

    def _columns(self) -> list[str]:
        return ["rank", *self.names, *self._scores(), "seconds", "state"]

    def _cells(self, rank: int, outcome: Outcome) -> list[str]:
        scores = [_digits(outcome.scores.get(name), 4) for name in self._scores()]
        values = [_short(outcome.settings[name]) for name in self.names]
        return [str(rank), *values, *scores, _digits(outcome.seconds, 1), outcome.state]


def _rank(outcome: Outcome) -> tuple[int, float]:
    order = {"done": 0, "failed": 1, "running": 2, "waiting": 3}
    return order[outcome.state], -(outcome.value or 0.0)


def _short(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _settings(settings: Mapping[str, Value]) -> str:
    return ", ".join(f"{name} {_short(value)}" for name, value in settings.items())


def _digits(value: float | None, places: int) -> str:
    return "" if value is None or value != value else f"{value:.{places}f}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
