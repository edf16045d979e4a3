"""Small tables: for the terminal, for Markdown, for spreadsheets."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from followspot.io.files import write_atomic

Cell = str | int | float | bool | None


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under columns.

    >>> table = Table(title="Two runs.", columns=("run", "J"), rows=(("a", 0.51234), ("b", None)))
    >>> print(table.text())
    Two runs.
    <BLANKLINE>
    run       J
      a  0.5123
      b
    <BLANKLINE>
    """

    title: str
    """One line above."""
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    """None and NaN are left empty."""
    notes: tuple[str, ...] = ()
    """Lines below."""

    def text(self, *, most: int | None = None) -> str:
        """Plain text that ends with a newline.

        Args:
            most: rows shown; None: all.
        """
        shown = [self.columns, *(tuple(map(_shown, row)) for row in self.rows[:most])]
        widths = [max(len(row[column]) for row in shown) for column in range(len(self.columns))]
        lines = ["  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in shown]
        left = 0 if most is None else len(self.rows) - most
        more = [f"... and {left} more"] if left > 0 else []
        return "\n".join([self.title, "", *lines, *more, *([""] if self.notes else []), *self.notes]) + "\n"

    def markdown(self) -> str:
        """A table of Markdown, with the notes as a list."""
        rows = [self.columns, ("---",) * len(self.columns), *(tuple(map(_shown, row)) for row in self.rows)]
        lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
        notes = ["", *(f"- {note}" for note in self.notes)] if self.notes else []
        return "\n".join([self.title, "", *lines, *notes]) + "\n"

    def csv(self) -> str:
        """Comma-separated, fractions with six decimals, without title and notes."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([_exact(cell) for cell in row] for row in self.rows)
        return text.getvalue()

    def save(self, folder: Path, name: str) -> None:
        """Writes ``<name>.md`` and ``<name>.csv``.

        Raises:
            OutputError: a file cannot be written.
        """
        write_atomic(folder / f"{name}.csv", self.csv())
        write_atomic(folder / f"{name}.md", self.markdown())


def best_first(rows: Sequence[tuple[Cell, ...]], column: int, *, lower_is_better: bool = False) -> tuple[tuple[Cell, ...], ...]:
    """Rows by a column of numbers; those without a number last, equals in their order.

    >>> best_first([("a", None), ("b", 0.1), ("c", 0.3)], 1)
    (('c', 0.3), ('b', 0.1), ('a', None))
    """

    def key(row: tuple[Cell, ...]) -> tuple[bool, float]:
        value = row[column]
        known = isinstance(value, int | float) and value == value
        return not known, (float(value) if lower_is_better else -float(value)) if known and value is not None else 0.0

    return tuple(sorted(rows, key=key))


def _empty(cell: Cell) -> bool:
    return cell is None or (isinstance(cell, float) and cell != cell)


def _shown(cell: Cell) -> str:
    if _empty(cell):
        return ""
    return f"{cell:.4f}" if isinstance(cell, float) else str(cell)


def _exact(cell: Cell) -> str:
    if _empty(cell):
        return ""
    return f"{cell:.6f}" if isinstance(cell, float) else str(cell)
