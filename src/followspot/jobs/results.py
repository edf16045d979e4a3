"""The folder of what one tracker did on one benchmark.

out/
  settings.json         what made the results: benchmark, data, split, protocol, tracker; results of others are refused
  <sequence>/...        one folder a sequence, in the benchmark's own format; there only when complete
  timing.csv            how long each sequence took, and medians over its frames: the model, reading, writing
  report.json ...       the scores, once everything is there
  .partial/             sequences under way
"""

import csv
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from followspot.errors import DatasetError, OutputError
from followspot.io.files import output_error, write_atomic
from followspot.jobs.timing import Pace

_COLUMNS = ("sequence", "frames", "seconds", "frames_per_second", "model_ms", "reading_ms", "writing_ms", "device")


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How long one sequence took, from opening the first frame to writing the last result."""

    sequence: str
    frames: int
    seconds: float
    pace: Pace | None = None
    """What of it was the model; None where nothing tells."""

    @property
    def frames_per_second(self) -> float:
        """Infinite for what took no time at all."""
        return self.frames / self.seconds if self.seconds > 0 else float("inf")


class ResultsFolder:
    """Results of one tracker.

    Args:
        path: the folder; made if it is missing.
        settings: what makes results the same, as JSON has it. Values under a key ``"name"`` are for people and may differ.

    Raises:
        OutputError: the folder holds results of other or unknown settings, or cannot be written.
    """

    def __init__(self, path: Path, settings: Mapping[str, object]) -> None:
        self.path = path
        self.settings = settings
        self._aside = path / ".partial"
        self._require_same()

    def __getitem__(self, sequence: str) -> Path:
        """The folder of a sequence, whether it exists or not."""
        return self.path / sequence

    def begin(self, sequence: str) -> Path:
        """An empty folder for a sequence that is about to run."""
        folder = self._partial(sequence)
        with _writing(folder):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        return folder

    def keep(self, timing: Timing) -> None:
        """Moves a sequence that is complete into place and notes how long it took."""
        folder = self[timing.sequence]
        times = self.timings() | {timing.sequence: timing}
        write_atomic(self.path / "timing.csv", _as_csv(list(times.values())))
        with _writing(folder):
            shutil.rmtree(folder, ignore_errors=True)
            folder.parent.mkdir(parents=True, exist_ok=True)
            os.replace(self._partial(timing.sequence), folder)

    @contextmanager
    def tidied(self) -> Iterator[None]:
        """While sequences run: before and after that, what stopped half done is removed."""
        shutil.rmtree(self._aside, ignore_errors=True)
        try:
            yield
        finally:
            shutil.rmtree(self._aside, ignore_errors=True)

    def timings(self) -> dict[str, Timing]:
        """By sequence; empty where nothing was timed.

        Raises:
            DatasetError: the file is not a table of times.
        """
        path = self.path / "timing.csv"
        if not path.is_file():
            return {}
        try:
            rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))
            found = [
                Timing(sequence=row["sequence"], frames=int(row["frames"]), seconds=float(row["seconds"]), pace=_pace(row)) for row in rows
            ]
        except (ValueError, KeyError, TypeError) as error:
            raise DatasetError(f"{path} is not a table of times ({error}); delete it") from error
        return {timing.sequence: timing for timing in found}

    def _partial(self, sequence: str) -> Path:
        # A folder of this process: what a killed run's last process still writes goes elsewhere.
        return self._aside / str(os.getpid()) / sequence

    def _require_same(self) -> None:
        path = self.path / "settings.json"
        if not path.is_file():
            if self.path.is_dir() and any(self.path.iterdir()):
                raise OutputError(
                    f"{self.path} holds files but no {path.name}, so what made them is unknown; choose an empty results folder"
                )
        else:
            different = _difference(_read(path), self.settings)
            if different is None:
                return
            if any(entry.name not in (path.name, self._aside.name) for entry in self.path.iterdir()):
                raise OutputError(
                    f"{path} names other settings than this run ({different}); "
                    "choose another results folder, or delete this one to start again"
                )
        write_atomic(path, json.dumps(self.settings, indent=1, default=str) + "\n")


def protocol_of(path: Path) -> str | None:
    """The protocol that a folder of results was made with; None where nothing says so, as in results of others."""
    try:
        known = json.loads((path / "settings.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    value = known.get("protocol") if isinstance(known, dict) else None
    return value if isinstance(value, str) else None


def total_rate(timings: Sequence[Timing]) -> float | None:
    """Frames a second over several sequences; None without any."""
    if not timings:
        return None
    whole = Timing(sequence="", frames=sum(timing.frames for timing in timings), seconds=sum(timing.seconds for timing in timings))
    return whole.frames_per_second


def _read(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OutputError(f"{path} cannot be read ({error}), so what made the results is unknown; choose another results folder") from error


def _difference(known: object, wanted: object, key: str = "settings") -> str | None:
    """The first value that differs, for people; None where all are the same but for names."""
    wanted = json.loads(json.dumps(wanted, default=str))
    if not (isinstance(known, dict) and isinstance(wanted, dict)):
        return None if known == wanted else f"{key}: {json.dumps(known)} there, {json.dumps(wanted)} now"
    for inner in sorted({*known, *wanted} - {"name"}):
        found = _difference(known.get(inner), wanted.get(inner), inner)
        if found is not None:
            return found
    return None


def _as_csv(timings: list[Timing]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for timing in timings:
        apart = ["", "", "", ""]
        if timing.pace is not None:
            of_a_frame = (timing.pace.model, timing.pace.reading, timing.pace.writing)
            apart = [*("" if seconds is None else f"{1000 * seconds:.4f}" for seconds in of_a_frame), timing.pace.device]
        writer.writerow([timing.sequence, timing.frames, f"{timing.seconds:.3f}", f"{timing.frames_per_second:.2f}", *apart])
    return text.getvalue()


def _pace(row: Mapping[str, str | None]) -> Pace | None:
    """What a row says about single frames; those of earlier versions say nothing."""
    model, reading, writing = (row.get(name) for name in ("model_ms", "reading_ms", "writing_ms"))
    if not model or not reading:
        return None
    return Pace(
        model=float(model) / 1000,
        reading=float(reading) / 1000,
        writing=float(writing) / 1000 if writing else None,
        device=row.get("device") or "",
    )


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Tell what a user can mend where a folder cannot be written."""
    try:
        yield
    except OSError as error:
        told = output_error(error, path)
        if told is None:
            raise
        raise told from error
