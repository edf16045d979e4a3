"""How sure a tracker was in every frame of a benchmark, beside what was measured there.

<results>/<sequence>/confidence.csv   sequence, object, frame, confidence, lost: written with the sequence's results
<results>/confidence.csv              all sequences, and the overlap that was measured (j); written with the report
"""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from followspot.benchmarks.report import Report
from followspot.errors import DatasetError, SettingError
from followspot.io.files import write_atomic
from followspot.tracking.base import Tracker
from followspot.types import Annotation, Frame, TrackedFrame, TrackedObject

CONFIDENCE = "confidence.csv"

OVERLAPS = ("J", "IoU", "overlap")
"""Curves of reports that are overlaps with the truth, which is what a confidence of masks and boxes predicts."""


@dataclass(frozen=True)
class Sureness:
    """One object in one frame."""

    sequence: str
    object: str
    """The id of a mask, the name of anything else."""
    frame: int
    confidence: float
    lost: int
    """1 if it was reported as lost, else 0."""


class RecordingTracker:
    """A tracker that also remembers how sure it was in every frame.

    Args:
        tracker: does the work.
    """

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._known: dict[tuple[str, int], TrackedObject] = {}

    @property
    def confidence(self) -> bool:
        """Whether it says how sure it is; some protocols switch it on, and an online tracker always does."""
        return bool(getattr(self._tracker, "confidence", True))

    @confidence.setter
    def confidence(self, value: bool) -> None:
        if hasattr(self._tracker, "confidence"):
            self._tracker.confidence = value

    @property
    def device(self) -> object:
        """Where it computes; None where it does not say so."""
        return getattr(self._tracker, "device", None)

    def start(self, frame: Frame, annotations: Sequence[Annotation]) -> TrackedFrame:
        """See `Tracker`."""
        return self._note(self._tracker.start(frame, annotations))

    def step(self, frame: Frame, annotations: Sequence[Annotation] = ()) -> TrackedFrame:
        """See `Tracker`."""
        return self._note(self._tracker.step(frame, annotations))

    def add(self, annotations: Sequence[Annotation]) -> TrackedFrame:
        """See `Tracker`."""
        return self._note(self._tracker.add(annotations))

    def remove(self, name: str) -> None:
        """See `Tracker`."""
        self._tracker.remove(name)

    def reset(self) -> None:
        """See `Tracker`; what was remembered stays, since protocols reset within a sequence."""
        self._tracker.reset()

    def stream(self, frames: Iterable[Frame], annotations: Mapping[int, Sequence[Annotation]]) -> Iterator[TrackedFrame]:
        """See `Tracker`."""
        return map(self._note, self._tracker.stream(frames, annotations))

    def forget(self) -> None:
        """Begins a new sequence."""
        self._known.clear()

    def rows(self, sequence: str) -> list[Sureness]:
        """What was remembered since `forget`, by object and frame; of a frame that was answered twice the later answer.

        Args:
            sequence: what to call it.
        """
        return [
            Sureness(sequence, name, frame, item.confidence, int(item.lost))
            for (name, frame), item in sorted(self._known.items())
            if item.confidence is not None
        ]

    def _note(self, answer: TrackedFrame) -> TrackedFrame:
        for item in answer.objects:
            self._known[item.name if item.mask_id is None else str(item.mask_id), answer.index] = item
        return answer


def begin_recording(tracker: Tracker) -> None:
    """Tells a tracker that records that a sequence begins; does nothing to others."""
    if isinstance(tracker, RecordingTracker):
        tracker.forget()


def save_recording(tracker: Tracker, sequence: str, folder: Path) -> None:
    """Writes what a tracker recorded into the folder of a sequence; nothing if it does not record.

    Raises:
        SettingError: it was never asked how sure it is, or never said.
        OutputError: the file cannot be written.
    """
    if not isinstance(tracker, RecordingTracker):
        return
    rows = tracker.rows(sequence)
    if not rows:
        raise SettingError(f"nothing said how sure it is about {sequence!r}; leave --confidence out")
    write_atomic(folder / CONFIDENCE, _as_csv([asdict(row) for row in rows]))


def save_beside_overlap(report: Report, results: Path, folder: Path) -> bool:
    """Collects the confidences of all sequences, with the overlap of each frame beside them.

    Frames that the protocol does not score have no overlap. Nothing is written where a sequence has no confidences, or where what the
    benchmark measures in a frame is no overlap.

    Args:
        report: of the results.
        results: with a folder for each sequence.
        folder: where to write.

    Returns:
        Whether there is such a file now.

    Raises:
        DatasetError: a file of confidences is broken.
        OutputError: the file cannot be written.
    """
    sequences = list(dict.fromkeys(row.sequence for row in report.rows))
    if report.curve not in OVERLAPS or not all((results / name / CONFIDENCE).is_file() for name in sequences):
        return False
    curves = {(row.sequence, row.object): row.curve for row in report.rows}
    lines: list[dict[str, object]] = []
    for name in sequences:
        for row in _read(results / name / CONFIDENCE):
            curve = curves.get((name, row.object), curves.get((name, ""), ()))
            value = curve[row.frame] if row.frame < len(curve) else None
            lines.append({**asdict(row), "j": "" if value is None else f"{value:.6f}"})
    write_atomic(folder / CONFIDENCE, _as_csv(lines))
    return True


def _read(path: Path) -> list[Sureness]:
    try:
        lines = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))
        return [Sureness(one["sequence"], one["object"], int(one["frame"]), float(one["confidence"]), int(one["lost"])) for one in lines]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path} is no table of confidences ({error}); delete its folder and run the same command again") from error


def _as_csv(lines: Sequence[Mapping[str, object]]) -> str:
    text = io.StringIO(newline="")
    columns = [one.name for one in fields(Sureness)] + (["j"] if lines and "j" in lines[0] else [])
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: f"{value:.6f}" if isinstance(value, float) else value for key, value in line.items()} for line in lines)
    return text.getvalue()
