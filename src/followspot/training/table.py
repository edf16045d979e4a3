"""A CSV file by step that survives kills and resumes."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from followspot.errors import OutputError
from followspot.io.files import output_error, write_atomic


class StepTable:
    """A CSV file with one row a step, the step first. Rows are never lost nor there twice, however often training is killed and resumed.

    Args:
        path: the file; its folder is made.
        columns: first columns, in order; others are added as they come up.
    """

    def __init__(self, path: Path, columns: tuple[str, ...]) -> None:
        self.path = path
        self._columns: list[str] = ["step", *columns]

    def resume(self, steps_done: int) -> dict[str, str] | None:
        """Keep the rows up to a step, and drop later ones and what a kill left half-written.

        Args:
            steps_done: what training goes on from; 0 starts the file anew.

        Returns:
            The last row kept.

        Raises:
            OutputError: the file holds something else, or cannot be written.
        """
        kept: list[dict[str, str]] = []
        if steps_done and self.path.is_file():
            lines = list(csv.reader(io.StringIO(_whole_lines(self.path.read_text(encoding="utf-8")), newline="")))
            header = lines[0] if lines else self._columns
            if header[0] != "step":
                raise OutputError(f"{self.path} is no table of a training, its first column is {header[0]!r}; move it away")
            self._columns += [name for name in header if name not in self._columns]
            rows = [dict(zip(header, line, strict=True)) for line in lines[1:] if len(line) == len(header) and line[0].isdecimal()]
            kept = [row for row in rows if int(row["step"]) <= steps_done]
        self._rewrite(kept)
        return kept[-1] if kept else None

    def append(self, step: int, values: Mapping[str, float]) -> None:
        """Add a row; it is on its way to the disk when this returns.

        Args:
            step: steps done.
            values: by column.

        Raises:
            OutputError: the file cannot be written.
        """
        new = [name for name in values if name not in self._columns]
        if new:
            rows = list(csv.DictReader(io.StringIO(self.path.read_text(encoding="utf-8"), newline="")))
            self._columns += new
            self._rewrite(rows)
        row = {"step": str(step), **{name: format(value, ".9g") for name, value in values.items()}}
        try:
            with self.path.open("a", encoding="utf-8", newline="") as file:
                self._writer(file).writerow(row)
        except OSError as error:
            raise output_error(error, self.path) or error from error

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        text = io.StringIO(newline="")
        writer = self._writer(text)
        writer.writeheader()
        writer.writerows(rows)
        write_atomic(self.path, text.getvalue())

    def _writer(self, file: io.TextIOBase | io.StringIO) -> "csv.DictWriter[str]":
        return csv.DictWriter(file, self._columns, restval="", lineterminator="\n")


def _whole_lines(text: str) -> str:
    return text[: text.rfind("\n") + 1]
