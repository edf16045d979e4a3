"""OTB and folders like it: one pass from the first box to the end, success and precision.

Results are a text a sequence, ``<results>/<sequence>/<sequence>.txt`` (``<results>/<sequence>.txt`` is read too): ``x,y,width,height`` a
line, in the coordinates of the truth (OTB counts pixels from 1), NaN where the tracker has no box.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from followspot.benchmarks.base import OnFrame, Progress, require_protocol
from followspot.benchmarks.parallel import score_each
from followspot.benchmarks.report import Report, Row
from followspot.datasets.otb import ALL, BoxSequence, OtbDataset, format_boxes, parse_boxes
from followspot.errors import DatasetError, SettingError
from followspot.io.files import write_atomic
from followspot.io.images import ImageVideo
from followspot.metrics.success import DISTANCES, NORMALISED, OVERLAPS, BoxCurves, box_curves, box_overlaps
from followspot.tracking.base import Tracker
from followspot.types import Boxes

NOTES: Final = {
    "ope": "One pass; an overlap passes a threshold from it on, and must be above 0: a perfect track has AUC 1; mean over sequences.",
    "toolkit": "One pass; an overlap must be above a threshold, as in OTB's toolkit: a perfect track has AUC 20/21; mean over sequences.",
}
"""Protocols; published numbers are the toolkit's. They differ where an overlap is exactly at a threshold, as in the given frame."""

MEASURES: Final = ("Success AUC", "Precision at 20 px", "Normalised precision AUC", "Success at 0.5")
"""Names of the scores."""


class OtbBenchmark:
    """OTB as a benchmark.

    Args:
        data: the folder that holds the sequences.
        split: ``all``, or a list ``<split>.txt`` in the folder; default all.
        protocol: ``"ope"`` (default) or ``"toolkit"``; they differ in scoring, not in results.

    Raises:
        DatasetError: the folder, a frame or a truth is missing or wrong.
        SettingError: no protocol has that name.
    """

    def __init__(self, data: Path, *, split: str | None = None, protocol: str | None = None) -> None:
        require_protocol("OTB", protocol, NOTES)
        self.rules = protocol or "ope"
        self.dataset = OtbDataset(data, split=split or ALL)

    @property
    def name(self) -> str:
        """``"OTB"``."""
        return "OTB"

    @property
    def split(self) -> str:
        """The list's name."""
        return self.dataset.split

    @property
    def protocol(self) -> str:
        """``"ope"`` or ``"toolkit"``."""
        return self.rules

    @property
    def sequence_names(self) -> tuple[str, ...]:
        """In the order of the list, or of the names."""
        return tuple(self.dataset.sequences)

    def length(self, sequence: str) -> int:
        """Frames of a sequence."""
        return len(self._sequence(sequence))

    def is_complete(self, sequence: str, folder: Path) -> bool:
        """Whether there is a box, or that there is none, for every frame."""
        path = folder / f"{sequence}.txt"
        return path.is_file() and len(path.read_text(encoding="utf-8").splitlines()) == self.length(sequence)

    def run(self, sequence: str, tracker: Tracker, folder: Path, *, on_frame: OnFrame | None = None) -> None:
        """Follows the first box and writes one a frame; see `Benchmark.run`.

        Raises:
            SettingError: the tracker follows no box.
        """
        video = self._sequence(sequence)
        found = np.full((len(video), 4), np.nan)
        first = video.first
        given = Boxes(xyxy=video.truth[first : first + 1], names=("object",))
        with ImageVideo(video.image_files, name=sequence) as frames:
            for answer in tracker.stream(frames, {first: [given]}):
                if not answer.objects:
                    raise SettingError(f"the tracker gave no box for frame {answer.name} of {sequence!r}; choose one that follows boxes")
                box = answer.objects[0].box
                if box is not None:
                    found[answer.index] = box
                if on_frame is not None:
                    on_frame(sequence, answer.index + 1, len(video))
        write_atomic(folder / f"{sequence}.txt", format_boxes(found, origin=video.origin))

    def score(self, results: Path, *, workers: int | None = None, progress: Progress | None = None) -> Report:
        """Scores boxes.

        Args:
            results: folder with the text of every sequence.
            workers: how many processes; None for one a core. The numbers do not depend on it.
            progress: told about every finished sequence.

        Returns:
            The scores `MEASURES`, means over sequences; a row a sequence, its curve the overlap. The plots are in ``success.csv``,
            ``precision.csv`` and ``normalised_precision.csv``.

        Raises:
            DatasetError: results are missing or unusable.
            SettingError: ``workers`` is below 1, or they could not start.
        """
        results = Path(results)
        if not results.is_dir():
            raise DatasetError(f"{results} is not a folder; expected the results as <sequence>/<sequence>.txt")
        sequences = tuple(self.dataset.sequences.values())
        work = partial(_score_task, strict=self.rules == "toolkit")
        tasks = [(sequence, _result_file(sequence, results)) for sequence in sequences]
        found = score_each(work, tasks, workers=workers, sizes=[len(sequence) for sequence in sequences], progress=progress)
        rows = tuple(row for row, _ in found)
        return Report(
            benchmark=self.name,
            split=self.split,
            protocol=self.protocol,
            note=NOTES[self.rules],
            scores={name: float(np.mean([row.values[name] for row in rows])) for name in MEASURES},
            rows=rows,
            curve="IoU",
            files=_plots([curves for _, curves in found]),
        )

    def picture(self, sequence: str, frame: int, results: Path | None) -> NDArray[np.uint8]:
        """A frame with its result or, without results, its true box; see `Benchmark.picture`.

        Raises:
            DatasetError: the frame or its result is not there.
        """
        from followspot.viz.annotated import draw_annotations  # which imports torch

        video = self._sequence(sequence)
        if not 0 <= frame < len(video):
            raise DatasetError(f"{sequence!r} has no frame {frame}; its frames are 0 to {len(video) - 1}")
        boxes = video.truth if results is None else _read_result(video, _result_file(video, Path(results)))
        shown = boxes[frame : frame + 1] if np.isfinite(boxes[frame]).all() else boxes[:0]
        with ImageVideo(video.image_files, name=sequence) as frames:
            return draw_annotations(frames.frame(frame), [Boxes(xyxy=shown, names=("object",) * len(shown))])

    def _sequence(self, name: str) -> BoxSequence:
        if name not in self.dataset.sequences:
            raise DatasetError(f"OTB {self.split} has no sequence {name!r}; correct the name")
        return self.dataset.sequences[name]


def _result_file(sequence: BoxSequence, results: Path) -> Path:
    name = f"{sequence.name}.txt"
    for path in (results / sequence.name / name, results / name):
        if path.is_file():
            return path
    raise DatasetError(f"{results / sequence.name / name} is missing, and so is {results / name}; run the sequence again")


def _read_result(sequence: BoxSequence, path: Path) -> NDArray[np.float64]:
    boxes = parse_boxes(path, origin=sequence.origin)
    if len(boxes) != len(sequence):
        raise DatasetError(f"{path} has {len(boxes)} lines but {sequence.name!r} has {len(sequence)} frames; write a line a frame")
    return boxes


def _score_task(task: tuple[BoxSequence, Path], *, strict: bool) -> tuple[Row, BoxCurves]:
    """Row and plots of one sequence, as processes call it."""
    sequence, path = task
    boxes = _read_result(sequence, path)
    curves = box_curves(boxes, sequence.truth, strict=strict)
    overlaps = box_overlaps(boxes, sequence.truth)
    half = float(curves.success[len(OVERLAPS) // 2])
    row = Row(
        sequence=sequence.name,
        frames=int(np.isfinite(overlaps).sum()),
        values=dict(zip(MEASURES, (curves.auc, curves.near, curves.normalised_auc, half), strict=True)),
        curve=tuple(None if np.isnan(value) else float(value) for value in overlaps),
    )
    return row, curves


def _plots(curves: Sequence[BoxCurves]) -> dict[str, str]:
    """Means over sequences, as CSV."""
    plots = {
        "success.csv": ("overlap", OVERLAPS, [one.success for one in curves]),
        "precision.csv": ("pixels", DISTANCES, [one.precision for one in curves]),
        "normalised_precision.csv": ("distance", NORMALISED, [one.normalised for one in curves]),
    }
    return {
        name: f"{axis},share\n" + "".join(f"{x:g},{y:.6f}\n" for x, y in zip(thresholds, np.mean(values, axis=0), strict=True))
        for name, (axis, thresholds, values) in plots.items()
    }
