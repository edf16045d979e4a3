"""What a benchmark of masks says: a typed result that prints, and saves in the official DAVIS files."""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from followspot.errors import DatasetError
from followspot.io.files import write_atomic
from followspot.metrics.summary import Summary

Protocol = Literal["official", "preliminary"]

MEASURES = ("J&F-Mean", "J-Mean", "J-Recall", "J-Decay", "F-Mean", "F-Recall", "F-Decay")
"""Names and order of the global numbers (davis2017-evaluation)."""


@dataclass(frozen=True, kw_only=True)
class ObjectScore:
    """Scores of one object over the scored frames of its sequence, as fractions."""

    sequence: str
    object_id: int
    frames: int
    """How many frames were scored."""
    j: Summary
    """Region similarity."""
    f: Summary
    """Contour accuracy."""


@dataclass(frozen=True, kw_only=True)
class SequenceScore:
    """Means over the objects of one sequence, as fractions."""

    sequence: str
    objects: int
    jf: float
    j: float
    f: float


@dataclass(frozen=True, kw_only=True)
class Report:
    """Scores of a folder of masks on a benchmark.

    >>> half = Summary(mean=0.5, recall=0.25, decay=0.0)
    >>> row = ObjectScore(sequence="bear", object_id=1, frames=80, j=half, f=half)
    >>> report = Report(benchmark="DAVIS 2016", split="val", protocol="official", note="", rows=(row,))
    >>> report.scores["J&F-Mean"], report.scores["J-Recall"]
    (0.5, 0.25)
    """

    benchmark: str
    """For example ``"DAVIS 2017"``."""
    split: str
    protocol: Protocol
    """``"official"`` numbers may be published; ``"preliminary"`` ones may not."""
    note: str
    """One sentence that says how the numbers were made."""
    rows: tuple[ObjectScore, ...]
    """One entry an object, in the order of the split; at least one."""

    def __post_init__(self) -> None:
        if not self.rows:
            raise DatasetError(f"{self.benchmark} {self.split}: no object was scored; score at least one sequence with an object")

    @property
    def scores(self) -> dict[str, float]:
        """The global numbers by their official names, as fractions.

        Official: means over objects, each object weighing the same. Preliminary: means over frames of all objects.
        """

        def mean(value: Callable[[ObjectScore], float]) -> float:
            weights = [row.frames if self.protocol == "preliminary" else 1 for row in self.rows]
            return sum(weight * value(row) for weight, row in zip(weights, self.rows, strict=True)) / sum(weights)

        j_mean, f_mean = mean(lambda row: row.j.mean), mean(lambda row: row.f.mean)
        values = (
            (j_mean + f_mean) / 2,
            j_mean,
            mean(lambda row: row.j.recall),
            mean(lambda row: row.j.decay),
            f_mean,
            mean(lambda row: row.f.recall),
            mean(lambda row: row.f.decay),
        )
        return dict(zip(MEASURES, values, strict=True))

    @property
    def sequences(self) -> tuple[SequenceScore, ...]:
        """Means per sequence, in the order of the split."""
        groups: dict[str, list[ObjectScore]] = {}
        for row in self.rows:
            groups.setdefault(row.sequence, []).append(row)
        result = []
        for name, rows in groups.items():
            j = sum(row.j.mean for row in rows) / len(rows)
            f = sum(row.f.mean for row in rows) / len(rows)
            result.append(SequenceScore(sequence=name, objects=len(rows), jf=(j + f) / 2, j=j, f=f))
        return tuple(result)

    def table(self) -> str:
        """For people: global numbers, then one line a sequence; fractions, plain text that ends with a newline."""
        title = f"{self.benchmark} {self.split}, {len(self.sequences)} sequences, {len(self.rows)} objects"
        if self.protocol != "official":
            title += " (PRELIMINARY, not the official numbers)"
        lines = [title, self.note, ""]
        lines += ["  ".join(f"{name:>8}" for name in MEASURES), "  ".join(f"{self.scores[name]:8.3f}" for name in MEASURES), ""]
        width = max(len("sequence"), *(len(score.sequence) for score in self.sequences))
        lines.append(f"{'sequence':<{width}}  objects   J&F     J     F")
        lines += [f"{s.sequence:<{width}}  {s.objects:7d} {s.jf:5.3f} {s.j:5.3f} {s.f:5.3f}" for s in self.sequences]
        return "\n".join(lines) + "\n"

    def to_json(self) -> str:
        """Everything in full precision; fractions, not percent."""
        content = {
            "benchmark": self.benchmark,
            "split": self.split,
            "protocol": self.protocol,
            "note": self.note,
            "scores": self.scores,
            "sequences": [dataclasses.asdict(score) for score in self.sequences],
            "objects": [dataclasses.asdict(row) for row in self.rows],
        }
        return json.dumps(content, indent=2) + "\n"

    def save(self, folder: Path) -> None:
        """Write the two CSV files of davis2017-evaluation and ``report.json``, each whole or not at all.

        ``global_results-<split>.csv`` and ``per-sequence_results-<split>.csv`` have the official names, columns and three decimals.
        Preliminary numbers are saved as ``preliminary_...`` so that nobody takes them for official ones.

        Args:
            folder: made if it does not exist.

        Raises:
            OutputError: a file cannot be written.
        """
        prefix = "" if self.protocol == "official" else f"{self.protocol}_"
        write_atomic(folder / f"{prefix}global_results-{self.split}.csv", self._global_csv())
        write_atomic(folder / f"{prefix}per-sequence_results-{self.split}.csv", self._sequence_csv())
        write_atomic(folder / f"{prefix}report.json", self.to_json())

    def _global_csv(self) -> str:
        return ",".join(MEASURES) + "\n" + ",".join(f"{self.scores[name]:.3f}" for name in MEASURES) + "\n"

    def _sequence_csv(self) -> str:
        lines = [f"{row.sequence}_{row.object_id},{row.j.mean:.3f},{row.f.mean:.3f}" for row in self.rows]
        return "\n".join(["Sequence,J-Mean,F-Mean", *lines]) + "\n"
