"""VOT2016, VOT2018 and VOT2019: one object a sequence, and a fresh start five frames after each failure (Kristan et al., VOT2015-2019).

Results are ``<results>/<sequence>/<sequence>_001.txt``, a line a frame, as pysot and the official tools write and read them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray

from followspot.benchmarks.base import OnFrame, Progress, require_protocol
from followspot.benchmarks.parallel import score_each
from followspot.benchmarks.report import Report, Row
from followspot.benchmarks.vot_regions import answer_region, start_box
from followspot.datasets.vot import VotDataset, VotSequence, Year
from followspot.errors import AnnotationError, DatasetError
from followspot.io.regions import Code, Region, Step, read_trajectory, write_trajectory
from followspot.metrics.overlap import Measure, corners, overlap
from followspot.metrics.vot import (
    INTERVALS,
    SKIP,
    Convention,
    Run,
    accuracy,
    counted,
    expected_average_overlap,
    expected_overlap,
    robustness,
)
from followspot.tracking.base import Tracker
from followspot.viz.overlay import colour_of


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What the protocols do differently."""

    measure: Measure
    convention: Convention
    intervals: Mapping[str, tuple[int, int]]
    note: str


PROTOCOLS: Mapping[str, Rules] = MappingProxyType(
    {
        "toolkit": Rules(
            measure="toolkit",
            convention="toolkit",
            intervals=INTERVALS,
            note="As vot-toolkit 0.7.4: pixels counted with borders, A and R of sequences weighted by length, R = failures a sequence.",
        ),
        "exact": Rules(
            measure="exact",
            convention="toolkit",
            intervals=INTERVALS,
            note="As vot-toolkit, with exact areas: A and R of sequences weighted by length, R = failures a sequence.",
        ),
        "pysot": Rules(
            measure="pysot",
            convention="pysot",
            intervals=INTERVALS,
            note="As pysot, which papers report: pixels counted with borders, A over all frames, R = failures in 100 frames.",
        ),
        "siammask": Rules(
            measure="pysot",
            convention="pysot",
            intervals={**INTERVALS, "2016": INTERVALS["2018"]},
            note="As SiamMask's evaluation: pysot's, with the interval of 2018 for 2016 too; R = failures in 100 frames.",
        ),
    }
)
"""All protocols, the default first."""


class VotBenchmark:
    """A year of VOT under one protocol.

    Args:
        data: the folder of that year.
        split: None or ``"all"`` for ``list.txt``, another name for the list of that name.
        protocol: one of `PROTOCOLS`; None for ``"toolkit"``.
        year: ``"2016"``, ``"2018"`` or ``"2019"``.

    Raises:
        SettingError: there is no such protocol.
        DatasetError: a list, sequence, frame or line is missing or wrong.
    """

    def __init__(self, data: Path, *, split: str | None = None, protocol: str | None = None, year: Year = "2018") -> None:
        require_protocol("VOT", protocol, PROTOCOLS)
        self.protocol = protocol or "toolkit"
        self.split = split or "all"
        self._dataset = VotDataset(data, year=year, split=self.split)

    @property
    def name(self) -> str:
        """``"VOT2018"``."""
        return f"VOT{self._dataset.year}"

    @property
    def sequence_names(self) -> tuple[str, ...]:
        """In the order of the list."""
        return tuple(sequence.name for sequence in self._dataset.sequences)

    @property
    def rules(self) -> Rules:
        """What this protocol does."""
        return PROTOCOLS[self.protocol]

    def length(self, sequence: str) -> int:
        """How many frames a sequence has."""
        return len(self._dataset[sequence])

    def is_complete(self, sequence: str, folder: Path) -> bool:
        """Whether the folder holds a whole run over the sequence."""
        try:
            return bool(read_trajectory(folder / f"{sequence}_001.txt", frames=self.length(sequence)))
        except DatasetError:
            return False

    def run(self, sequence: str, tracker: Tracker, folder: Path, *, on_frame: OnFrame | None = None) -> None:
        """Follows the object of a sequence once; whenever nothing of it is covered, the tracker is started anew five frames later.

        In frames without truth the tracker cannot fail, and is not started.

        Args:
            sequence: its name.
            tracker: is shown the box of the truth in each frame in which it is started (`start_box`).
            folder: gets ``<sequence>_001.txt``.
            on_frame: told about every frame.

        Raises:
            DatasetError: the first frame is no image.
            VideoError: a frame is damaged.
        """
        video = self._dataset[sequence]
        size = video.image_size()
        steps: list[Step] = []
        following, resume = False, 0
        for index, truth in enumerate(video.truth):
            if following:
                answer = answer_region(tracker.step(video.read_frame(index)))
                steps.append(self._judge(answer, truth, size=size))
                if steps[-1] is Code.FAILED:
                    following, resume = False, index + SKIP
            elif truth is not None and index >= resume:
                tracker.start(video.read_frame(index), [start_box(truth)])
                steps.append(Code.STARTED)
                following = True
            else:
                steps.append(Code.SKIPPED)
            if on_frame is not None:
                on_frame(sequence, index + 1, len(video))
        write_trajectory(folder / f"{sequence}_001.txt", steps)

    def _judge(self, answer: Region | None, truth: Region | None, *, size: tuple[int, int]) -> Step:
        if truth is None:
            return Code.SKIPPED if answer is None else answer
        if answer is None or overlap(answer, truth, size=size, measure=self.rules.measure) <= 0:
            return Code.FAILED
        return answer

    def score(self, results: Path, *, workers: int | None = None, progress: Progress | None = None) -> Report:
        """Scores runs over all sequences, whoever made them.

        Args:
            results: with ``<sequence>/<sequence>_001.txt``; further runs ``_002.txt`` ... are averaged. A folder ``baseline`` in it, as
                pysot and the official tools make, is entered.
            workers: how many processes; None for one a core.
            progress: told about every finished sequence.

        Returns:
            Scores ``EAO``, ``A``, ``R`` and ``lost`` (all failures); a row a sequence with ``accuracy`` and ``lost``.

        Raises:
            DatasetError: a run is missing, has another number of lines than frames, or a line is unusable.
        """
        inner = results / "baseline"
        folder = inner if inner.is_dir() and not (results / self.sequence_names[0]).is_dir() else results
        videos = self._dataset.sequences
        tasks = [(video, folder / video.name, self.rules.measure) for video in videos]
        runs = score_each(_read_runs, tasks, workers=workers, sizes=[len(video) for video in videos], progress=progress)
        rules = self.rules
        curve = expected_overlap(runs, convention=rules.convention)
        eao = expected_average_overlap(curve, rules.intervals[self._dataset.year], convention=rules.convention)
        return Report(
            benchmark=self.name,
            split=self.split,
            protocol=self.protocol,
            note=rules.note,
            scores={
                "EAO": eao,
                "A": accuracy(runs, convention=rules.convention),
                "R": robustness(runs, convention=rules.convention),
                "lost": sum(_lost(repeated) for repeated in runs),
            },
            rows=tuple(_row(video.name, repeated) for video, repeated in zip(videos, runs, strict=True)),
            curve="overlap",
            lower_is_better=frozenset({"R", "lost"}),
            files={"expected_overlap.csv": "length,overlap\n" + "".join(f"{at},{value:.6f}\n" for at, value in enumerate(curve))},
        )

    def picture(self, sequence: str, frame: int, results: Path | None) -> NDArray[np.uint8]:
        """A frame with the region of the first run drawn on it, or with the truth; plain where there is none.

        Raises:
            DatasetError: there is no such frame, or the run is missing or unusable.
        """
        video = self._dataset[sequence]
        if not 0 <= frame < len(video):
            raise DatasetError(f"{sequence} has no frame {frame}; frames are 0 to {len(video) - 1}")
        steps: tuple[Step | None, ...] = video.truth
        if results is not None:
            steps = tuple(read_trajectory(results / sequence / f"{sequence}_001.txt", frames=len(video)))
        image, region = video.read_frame(frame).image.copy(), steps[frame]
        if isinstance(region, np.ndarray):
            cv2.polylines(image, [np.round(corners(region)).astype(np.int32)], isClosed=True, color=colour_of(0), thickness=2)
        return image


def _read_runs(task: tuple[VotSequence, Path, Measure]) -> tuple[Run, ...]:
    """All runs over a sequence, with their overlaps."""
    video, folder, measure = task
    files = sorted(folder.glob(f"{video.name}_[0-9][0-9][0-9].txt"))
    if not files:
        raise DatasetError(
            f"{folder / video.name}_001.txt is missing; run the tracker on this sequence, or give the folder that holds {video.name}"
        )
    size = video.image_size()
    return tuple(_run_of(file, video, size, measure=measure) for file in files)


def _run_of(file: Path, video: VotSequence, size: tuple[int, int], *, measure: Measure) -> Run:
    steps = read_trajectory(file, frames=len(video))
    if steps[0] is not Code.STARTED:
        raise DatasetError(f"{file}:1: a run begins with 1 (started); is it of a benchmark without resets? give runs of the reset protocol")
    overlaps = np.full(len(steps), np.nan)
    for index, (step, truth) in enumerate(zip(steps, video.truth, strict=True)):
        if not isinstance(step, Code) and truth is not None:
            overlaps[index] = overlap(step, truth, size=size, measure=measure)
    starts, failures = (tuple(at for at, step in enumerate(steps) if step is code) for code in (Code.STARTED, Code.FAILED))
    try:
        return Run(overlaps=overlaps, starts=starts, failures=failures)
    except AnnotationError as error:
        raise DatasetError(f"{file}: {error}; run the tracker on this sequence again") from error


def _row(name: str, repeated: tuple[Run, ...]) -> Row:
    values = np.concatenate([counted(run) for run in repeated])
    known = values[~np.isnan(values)]
    mean = float(known.mean()) if known.size else float("nan")
    curve = tuple(None if np.isnan(value) else float(value) for value in repeated[0].overlaps)
    return Row(sequence=name, frames=known.size, values={"accuracy": mean, "lost": _lost(repeated)}, curve=curve)


def _lost(repeated: tuple[Run, ...]) -> float:
    return float(np.mean([len(run.failures) for run in repeated]))
