"""What an adaptation came to."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from followspot.io.files import write_atomic
from followspot.jobs.label_free import Paired, Verdict


@dataclass(frozen=True, kw_only=True)
class Truth:
    """J&F on labelled clips, by sequence and as ``"mean"`` over objects, 0..1. Reported; it decides nothing."""

    before: Mapping[str, float]
    after: Mapping[str, float]
    """Of the adapted encoder, whether it was kept or not."""


@dataclass(frozen=True, kw_only=True)
class AdaptReport:
    """Which encoder was kept, and why."""

    folder: Path
    kept: Literal["adapted", "original"]
    verdict: Verdict
    encoder: str
    """Name of the network."""
    steps: int
    clips: int
    """Pieces that the videos were cut into."""
    seconds: float
    """Of this call."""
    truth: Truth | None

    @property
    def weights(self) -> Path:
        """The encoder that was kept."""
        return self.folder / "encoder.safetensors"

    def table(self) -> str:
        """For people: plain text that ends with a newline."""
        rows = [("regions moved by a known amount", self.verdict.moved), ("regions that return in real frames", self.verdict.returned)]
        lines = [f"{'mean overlap of':<35}  before   after  change    (standard error)"]
        lines += [f"{name:<35}  {_row(pair)}" for name, pair in rows]
        lines.append(f"{'both':<35}  {'':6}  {'':6}  {self.verdict.gain:+6.3f}  +-{self.verdict.error:.3f}")
        if self.truth is not None:
            for name, before in self.truth.before.items():
                after = self.truth.after[name]
                lines.append(f"{'true J&F ' + name:<35}  {before:6.3f}  {after:6.3f}  {after - before:+6.3f}")
        lines.append(f"kept the {self.kept} encoder after {self.steps} steps: {self.verdict.reason}")
        return "\n".join(lines) + "\n"

    def to_json(self) -> str:
        """Everything in full precision."""
        both = _plain({"difference": self.verdict.gain, "error": self.verdict.error})
        content = {
            "kept": self.kept,
            "reason": self.verdict.reason,
            "encoder": self.encoder,
            "steps": self.steps,
            "clips": self.clips,
            "seconds": round(self.seconds, 1),
            "check": {"moved": _plain(asdict(self.verdict.moved)), "returned": _plain(asdict(self.verdict.returned)), "both": both},
            "truth": None if self.truth is None else asdict(self.truth),
        }
        return json.dumps(content, indent=2) + "\n"

    def save(self) -> None:
        """Write ``report.json`` into the folder."""
        write_atomic(self.folder / "report.json", self.to_json())


def _plain(values: Mapping[str, float]) -> dict[str, float | None]:
    """JSON has no infinity."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def _row(pair: Paired) -> str:
    return f"{pair.before:6.3f}  {pair.after:6.3f}  {pair.difference:+6.3f}  +-{pair.error:.3f} ({pair.count} regions)"
