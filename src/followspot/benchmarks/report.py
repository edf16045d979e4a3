"""What a benchmark says: one typed result for all of them, which prints, saves and reads back."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from followspot.errors import DatasetError
from followspot.io.files import write_atomic


@dataclass(frozen=True, kw_only=True)
class Row:
    """One object of one sequence; or a whole sequence, where the benchmark does not tell objects apart."""

    sequence: str
    object: str = ""
    """The object's name or id; empty for a whole sequence."""
    frames: int
    """How many frames were scored."""
    values: Mapping[str, float]
    """The row's numbers by name, in the order in which they are printed; NaN where a number does not exist."""
    curve: tuple[float | None, ...] = ()
    """The benchmark's ``curve`` measure in every frame of the sequence, None in frames that are not scored; empty if there is none."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """Scores of results on a benchmark.

    >>> row = Row(sequence="bear", object="1", frames=80, values={"J": 0.75})
    >>> report = Report(benchmark="DAVIS 2016", split="val", protocol="official", note="Toy numbers.", scores={"J-Mean": 0.75}, rows=(row,))
    >>> print(report.table())
    DAVIS 2016 val, official protocol, 1 sequence, 1 row
    Toy numbers.
    <BLANKLINE>
    J-Mean
     0.750
    <BLANKLINE>
    sequence  object  frames      J
    bear           1      80  0.750
    <BLANKLINE>
    """

    benchmark: str
    """For people: ``"DAVIS 2017"``."""
    split: str
    protocol: str
    """Named wherever the numbers go, since numbers of different protocols cannot be compared."""
    note: str
    """One sentence that says how the numbers were made."""
    scores: Mapping[str, float]
    """The global numbers by their names in the field; the first one ranks trackers. Fractions, unless the name says otherwise."""
    rows: tuple[Row, ...]
    """In the order of the split; at least one."""
    curve: str = ""
    """What the rows' curves are of: ``"J"``."""
    lower_is_better: frozenset[str] = frozenset()
    """Names in ``scores`` that are better when smaller."""
    files: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Further files to save, name to text: the official evaluator's own."""

    def __post_init__(self) -> None:
        if not self.rows or not self.scores:
            raise DatasetError(f"{self.benchmark} {self.split}: nothing was scored; score at least one sequence with an object")

    @property
    def sequences(self) -> dict[str, dict[str, float]]:
        """Means over the rows of each sequence, in the order of the split."""
        groups: dict[str, list[Row]] = {}
        for row in self.rows:
            groups.setdefault(row.sequence, []).append(row)
        return {
            name: {key: _mean([row.values[key] for row in rows if key in row.values]) for key in rows[0].values}
            for name, rows in groups.items()
        }

    def table(self) -> str:
        """For people: the global numbers, then a line for each row; plain text that ends with a newline."""
        names = {row.sequence for row in self.rows}
        counts = f"{_count(len(names), 'sequence')}, {_count(len(self.rows), 'row')}"
        widths = {name: max(5, len(name)) for name in self.scores}
        lines = [f"{self.benchmark} {self.split}, {self.protocol} protocol, {counts}", self.note, ""]
        lines += ["  ".join(f"{name:>{width}}" for name, width in widths.items())]
        lines += ["  ".join(f"{self.scores[name]:{width}.3f}" for name, width in widths.items()), ""]
        return "\n".join(lines + self._rows_as_text()) + "\n"

    def _rows_as_text(self) -> list[str]:
        first = max(len("sequence"), *(len(row.sequence) for row in self.rows))
        second = max(len("object"), *(len(row.object) for row in self.rows))
        widths = {key: max(5, len(key)) for key in self._columns}
        names = (f"{key:>{width}}" for key, width in widths.items())
        lines = ["  ".join([f"{'sequence':<{first}}", f"{'object':>{second}}", "frames", *names])]
        for row in self.rows:
            values = (f"{row.values.get(key, float('nan')):{width}.3f}" for key, width in widths.items())
            lines.append("  ".join([f"{row.sequence:<{first}}", f"{row.object:>{second}}", f"{row.frames:6d}", *values]))
        return lines

    @property
    def _columns(self) -> list[str]:
        return list(dict.fromkeys(key for row in self.rows for key in row.values))

    def to_json(self) -> str:
        """Everything but the extra files, in full precision; NaN is written as null."""
        content = {
            "benchmark": self.benchmark,
            "split": self.split,
            "protocol": self.protocol,
            "note": self.note,
            "scores": dict(self.scores),
            "lower_is_better": sorted(self.lower_is_better),
            "curve": self.curve,
            "rows": [asdict(row) | {"values": dict(row.values)} for row in self.rows],
        }
        return json.dumps(_plain(content), indent=1, allow_nan=False) + "\n"

    def save(self, folder: Path) -> None:
        """Writes ``report.json``, ``report.txt``, ``rows.csv`` and the extra files, each whole or not at all.

        Args:
            folder: made if it does not exist.

        Raises:
            OutputError: a file cannot be written.
        """
        for name, text in self.files.items():
            write_atomic(folder / name, text)
        write_atomic(folder / "rows.csv", self._csv())
        write_atomic(folder / "report.txt", self.table())
        write_atomic(folder / "report.json", self.to_json())

    def _csv(self) -> str:
        lines = [",".join(["sequence", "object", "frames", *self._columns])]
        for row in self.rows:
            values = (f"{row.values.get(key, float('nan')):.6f}" for key in self._columns)
            lines.append(",".join([row.sequence, row.object, str(row.frames), *values]))
        return "\n".join(lines) + "\n"

    @classmethod
    def read(cls, path: Path) -> "Report":
        """Reads a ``report.json`` back, without the extra files.

        Raises:
            DatasetError: the file is missing or is not such a report.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            rows = tuple(Row(**row | {"values": _numbers(row["values"]), "curve": tuple(row["curve"])}) for row in content["rows"])
            known = {"rows": rows, "scores": _numbers(content["scores"]), "lower_is_better": frozenset(content["lower_is_better"])}
            return cls(**content | known)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DatasetError(f"{path} is not a report of this version ({error}); make it anew with followspot score") from error


def _plain(value: object) -> object:
    """The same without NaN, which JSON does not know."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and value != value else value


def _numbers(values: Mapping[str, float | None]) -> dict[str, float]:
    """What `_plain` made of numbers, undone."""
    return {key: float("nan") if value is None else value for key, value in values.items()}


def _mean(values: list[float]) -> float:
    """The mean of what exists; NaN of nothing."""
    known = [value for value in values if value == value]
    return sum(known) / len(known) if known else float("nan")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
