"""What became of every source: on the terminal, as JSON and as CSV."""

import csv
import io
import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from followspot.io.clip_sources import OXUVA_SEQUENCES
from followspot.io.files import write_atomic

Status = Literal["done", "skipped", "duplicate", "static"]

_SHOWN = 10
"""Reasons printed on the terminal; all are in the files."""


@dataclass(frozen=True, kw_only=True)
class SourceReport:
    """What became of one source."""

    origin: str
    status: str
    """``done``: it gave a clip; ``duplicate`` or ``static``: all its clips were dropped as that; ``skipped``: it could not be used."""
    new: bool
    """Whether it was worked on now, rather than in an earlier run."""
    clips: int
    """Its clips in the index."""
    duplicates: int
    """Its clips left out because the same pictures are in another."""
    static: int
    """Its clips left out because nothing moves."""
    reason: str
    """Why it was skipped."""
    note: str
    """What else should be known."""


@dataclass(frozen=True, kw_only=True)
class PrepareReport:
    """What became of all sources."""

    rows: tuple[SourceReport, ...]
    clips: int
    """Clips in the store now."""
    size: int
    """Bytes of all clips in the store."""
    seconds: float
    """How long this run took."""
    oxuva: int | None
    """Sequences of OxUvA, if that is what was prepared."""

    @property
    def usable(self) -> bool:
        """Whether any source gave a clip, now or earlier."""
        return any(row.status in ("done", "duplicate") for row in self.rows)

    @property
    def worked(self) -> int:
        """How many sources were worked on in this run."""
        return sum(row.new for row in self.rows)

    @property
    def first_problem(self) -> str:
        """The first source that could not be used, with its reason."""
        row = next(row for row in self.rows if row.status in ("skipped", "static"))
        return f"{row.origin}: {row.reason or 'nothing moves in it'}"

    def counts(self) -> dict[str, int]:
        """Sources by what became of them."""
        found = Counter(row.status if row.new or row.status != "done" else "already there" for row in self.rows)
        return {name: found[name] for name in ("done", "already there", "duplicate", "static", "skipped")}

    def table(self) -> str:
        """For the terminal: counts, then what was left out and why."""
        lines = [f"{name:>14} {count}" for name, count in self.counts().items() if count or name == "done"]
        skipped = [row for row in self.rows if row.status == "skipped"]
        lines += [f"  {row.origin}: {row.reason}" for row in skipped[:_SHOWN]]
        if len(skipped) > _SHOWN:
            lines.append(f"  ... and {len(skipped) - _SHOWN} more, see report.csv")
        lines += [f"  {row.origin}: {row.note}" for row in [row for row in self.rows if row.note][:_SHOWN]]
        if self.oxuva is not None:
            lines.append(f"OxUvA: {self.oxuva} of {OXUVA_SEQUENCES} sequences")
        return "\n".join(lines)

    def save(self, root: Path) -> None:
        """Write ``report.json`` and ``report.csv``.

        Raises:
            OutputError: they cannot be written.
        """
        text = io.StringIO()
        table = csv.DictWriter(text, fieldnames=list(SourceReport.__dataclass_fields__), lineterminator="\n")
        table.writeheader()
        table.writerows(asdict(row) for row in self.rows)
        write_atomic(root / "report.csv", text.getvalue())
        summary = {"sources": len(self.rows), **self.counts(), "worked": self.worked, "clips": self.clips, "bytes": self.size}
        skipped = {row.origin: row.reason for row in self.rows if row.status == "skipped"}
        content = {**summary, "seconds": round(self.seconds, 2), "oxuva_sequences": self.oxuva, "reasons": skipped}
        write_atomic(root / "report.json", json.dumps(content, indent=1) + "\n")
