"""How scores depend on what makes a sequence hard: a table by attribute, as in the DAVIS paper."""

from collections.abc import Mapping
from dataclasses import dataclass

from followspot.benchmarks.report import Report
from followspot.datasets.davis_attributes import ATTRIBUTES
from followspot.errors import SettingError


@dataclass(frozen=True, kw_only=True)
class AttributeRow:
    """One attribute over the sequences of a report."""

    attribute: str
    """Its short name: ``"OCC"``."""
    meaning: str
    """Its long name: ``"occlusion"``."""
    sequences: int
    """How many sequences have it; at least 1."""
    present: float
    """Mean over the sequences that have it."""
    absent: float
    """Mean over those that are labelled and lack it; NaN if all have it."""

    @property
    def gain(self) -> float:
        """How much better the sequences without it are, ``absent - present``; the DAVIS paper prints it beside the mean."""
        return self.absent - self.present


@dataclass(frozen=True, kw_only=True)
class AttributeTable:
    """Scores by attribute."""

    measure: str
    """The report's value that was averaged."""
    rows: tuple[AttributeRow, ...]
    """The attributes that at least one sequence has, in alphabetical order."""
    labelled: int
    """How many sequences of the report have attributes; the others are left out (those that are new in DAVIS 2017 have none)."""
    total: int
    """How many sequences the report has."""

    def text(self) -> str:
        """For people, ends with a newline."""
        lines = [f"{self.measure} by attribute: {self.labelled} of {self.total} sequences have attributes", ""]
        if self.rows:
            lines.append(f"{'attribute':<26}  {'n':>3}   with  without   gain")
        for row in self.rows:
            name = f"{row.attribute} {row.meaning}"
            lines.append(f"{name:<26}  {row.sequences:3d}  {row.present:5.3f}    {row.absent:5.3f}  {row.gain:+.3f}")
        return "\n".join(lines) + "\n"

    def csv(self) -> str:
        """Six decimals, a row an attribute."""
        lines = [f"{row.attribute},{row.sequences},{row.present:.6f},{row.absent:.6f},{row.gain:.6f}" for row in self.rows]
        return "\n".join(["attribute,sequences,present,absent,gain", *lines]) + "\n"


def by_attribute(report: Report, attributes: Mapping[str, frozenset[str]], *, measure: str = "J-Mean") -> AttributeTable:
    """Averages a measure over the sequences with each attribute. A sequence counts once, as the mean of its objects.

    Args:
        report: of any benchmark whose sequences have attributes.
        attributes: by sequence, as `followspot.datasets.davis_attributes.read_attributes` reads them.
        measure: one of the values of the report's rows.

    Returns:
        The table; attributes without a sequence are left out.

    Raises:
        SettingError: the report has no such measure.
    """
    scores = {name: values[measure] for name, values in report.sequences.items() if measure in values}
    if not scores:
        known = ", ".join(dict.fromkeys(name for row in report.rows for name in row.values))
        raise SettingError(f'the report of {report.benchmark} has no "{measure}"; it has {known}')
    labelled = {name: attributes[name] for name in scores if attributes.get(name)}
    rows = []
    for attribute in sorted({attribute for found in labelled.values() for attribute in found}):
        present = [scores[name] for name, found in labelled.items() if attribute in found]
        absent = [scores[name] for name, found in labelled.items() if attribute not in found]
        meaning = ATTRIBUTES.get(attribute, "")
        rows.append(
            AttributeRow(attribute=attribute, meaning=meaning, sequences=len(present), present=_mean(present), absent=_mean(absent))
        )
    return AttributeTable(measure=measure, rows=tuple(rows), labelled=len(labelled), total=len(scores))


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else float("nan")
