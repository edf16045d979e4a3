"""What a search came to: one table, the best first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from followspot.benchmarks.base import Benchmark
from followspot.jobs.search_space import Value
from followspot.jobs.tables import Cell, Table
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

    def table(self) -> Table:
        """All of it, with the reasons of failures below."""
        scores = list(dict.fromkeys(name for outcome in self.outcomes for name in outcome.scores))
        rows = tuple(self._row(rank, outcome, scores) for rank, outcome in enumerate(self.outcomes, start=1))
        failed = [outcome for outcome in self.outcomes if outcome.state == "failed"]
        return Table(
            title=self.headline(),
            columns=("rank", *self.names, *scores, "seconds", "state"),
            rows=rows,
            notes=tuple(f"failed: {_settings(outcome.settings)}: {outcome.reason}" for outcome in failed),
        )

    def _row(self, rank: int, outcome: Outcome, scores: Sequence[str]) -> tuple[Cell, ...]:
        values = [_short(outcome.settings[name]) for name in self.names]
        seconds = None if outcome.seconds is None else f"{outcome.seconds:.1f}"
        return (rank, *values, *(outcome.scores.get(name) for name in scores), seconds, outcome.state)

    def save(self, folder: Path) -> None:
        """Writes ``trials.csv`` and ``trials.md``.

        Raises:
            OutputError: a file cannot be written.
        """
        self.table().save(folder, "trials")


def _rank(outcome: Outcome) -> tuple[int, float]:
    order = {"done": 0, "failed": 1, "running": 2, "waiting": 3}
    return order[outcome.state], -(outcome.value or 0.0)


def _short(value: Value) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _settings(settings: Mapping[str, Value]) -> str:
    return ", ".join(f"{name} {_short(value)}" for name, value in settings.items())


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
