"""VIP: parts of people, given as classes in the first annotated frame and followed into the others.

Results are a folder a video with an indexed or grey PNG for each annotated frame: ``<results>/<video>/<frame>.png``, the index is the
class. All frames are followed; those that are annotated (every 25th) are scored. All pixels of all scored frames go into one confusion
matrix of 20 classes, background among them.
"""

from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from followspot.benchmarks.base import OnFrame, Progress, require_protocol
from followspot.benchmarks.mask_results import follow_masks, missing_results, read_result, require_results
from followspot.benchmarks.parallel import score_each
from followspot.benchmarks.report import Report, Row
from followspot.datasets.frame_files import image_size
from followspot.datasets.vip import CLASSES, VOID, VipDataset, VipVideo
from followspot.errors import DatasetError
from followspot.io.images import ImageVideo
from followspot.io.masks import write_mask
from followspot.metrics.classes import ClassScores, class_scores, confusion
from followspot.tracking.base import Tracker
from followspot.types import Masks

NOTES: Final = {
    "later-frames": "Annotated frames after the first one; one confusion matrix of 20 classes.",
    "annotated-frames": "All annotated frames, the given first one included; one confusion matrix of 20 classes.",
}
"""Protocols. Scoring the given frame too makes numbers look better; say which when comparing with published ones, which seldom do."""

NAMES: Final = {
    "mIoU": "mean_iou",
    "Overall accuracy": "overall_accuracy",
    "Mean accuracy": "mean_accuracy",
    "Frequency-weighted IoU": "weighted_iou",
}
"""Names of the scores, and of the fields of `ClassScores`."""


class VipBenchmark:
    """VIP as a benchmark.

    Args:
        data: ``VIP_Fine``, or the folder that holds it.
        split: a list in ``lists``; default val.
        protocol: ``"later-frames"`` (default) or ``"annotated-frames"``; they differ in scoring, not in results.

    Raises:
        DatasetError: the folder, the list, a video or an annotation is missing.
        SettingError: no protocol has that name.
    """

    def __init__(self, data: Path, *, split: str | None = None, protocol: str | None = None) -> None:
        require_protocol("VIP", protocol, NOTES)
        self.rules = protocol or "later-frames"
        self.dataset = VipDataset(data, split=split or "val")

    @property
    def name(self) -> str:
        """``"VIP"``."""
        return "VIP"

    @property
    def split(self) -> str:
        """The list's name."""
        return self.dataset.split

    @property
    def protocol(self) -> str:
        """Which frames are scored."""
        return self.rules

    @property
    def sequence_names(self) -> tuple[str, ...]:
        """In the order of the list."""
        return tuple(self.dataset.videos)

    def length(self, sequence: str) -> int:
        """How many frames are followed."""
        return len(self._video(sequence))

    def is_complete(self, sequence: str, folder: Path) -> bool:
        """Whether there are classes for every annotated frame."""
        return not missing_results(folder, self._video(sequence).annotated)

    def run(self, sequence: str, tracker: Tracker, folder: Path, *, on_frame: OnFrame | None = None) -> None:
        """Follows the classes of the first annotated frame and writes those of the others; see `Benchmark.run`.

        Raises:
            DatasetError: the first annotation is unusable or empty.
            SettingError: the tracker gives no masks.
        """
        video = self._video(sequence)
        first = video.read_classes(video.annotated[0])
        given = np.where(first == VOID, 0, first).astype(np.uint8)
        if not given.any():
            raise DatasetError(f"{video.mask_folder / video.annotated[0]}.png has no part of a person, so there is nothing to follow")
        with ImageVideo(video.image_files, name=sequence) as frames:
            for index, name, classes in follow_masks(tracker, frames, {video.positions[video.annotated[0]]: given}):
                if name in video.annotated:
                    write_mask(folder / f"{name}.png", classes)
                if on_frame is not None:
                    on_frame(sequence, index + 1, len(video))

    def score(self, results: Path, *, workers: int | None = None, progress: Progress | None = None) -> Report:
        """Scores classes.

        Args:
            results: folder with ``<video>/<frame>.png`` for every annotated frame.
            workers: how many processes; None for one a core. The numbers do not depend on it.
            progress: told about every finished video.

        Returns:
            The scores `NAMES` over all pixels; a row a video, its curve the mean IoU; ``classes.csv`` with the IoU of each class.

        Raises:
            DatasetError: results or annotations are missing or unusable.
            SettingError: ``workers`` is below 1, or they could not start.
        """
        videos = tuple(self.dataset.videos.values())
        require_results(Path(results), {video.name: video.annotated for video in videos})
        work = partial(_score_task, first=self.rules == "annotated-frames")
        tasks = [(video, Path(results) / video.name) for video in videos]
        found = score_each(work, tasks, workers=workers, sizes=[len(video.annotated) for video in videos], progress=progress)
        together = class_scores(np.sum([matrix for _, matrix in found], axis=0))
        return Report(
            benchmark=self.name,
            split=self.split,
            protocol=self.protocol,
            note=NOTES[self.rules],
            scores=_named(together),
            rows=tuple(row for row, _ in found),
            curve="mIoU",
            files={"classes.csv": _classes_csv(together)},
        )

    def picture(self, sequence: str, frame: int, results: Path | None) -> NDArray[np.uint8]:
        """A frame with its result or, without results, its annotation; see `Benchmark.picture`.

        Raises:
            DatasetError: the frame, its result or its annotation is not there.
        """
        from followspot.viz.annotated import draw_annotations  # which imports torch

        video = self._video(sequence)
        if not 0 <= frame < len(video):
            raise DatasetError(f"{sequence!r} has no frame {frame}; its frames are 0 to {len(video) - 1}")
        name = video.image_files[frame].stem
        classes = video.read_classes(name) if results is None else _result(video, name, Path(results) / sequence)
        with ImageVideo(video.image_files, name=sequence) as frames:
            ids = np.where(classes == VOID, 0, classes).astype(np.uint8)
            return draw_annotations(frames.frame(frame), [Masks(ids=ids, names=dict(enumerate(CLASSES)))])

    def _video(self, sequence: str) -> VipVideo:
        if sequence not in self.dataset.videos:
            raise DatasetError(f"VIP {self.split} has no video {sequence!r}; correct the name")
        return self.dataset.videos[sequence]


def _result(video: VipVideo, frame: str, folder: Path) -> NDArray[np.uint8]:
    size = image_size(video.image_files[video.positions[frame]])
    return read_result(folder / f"{frame}.png", size=size, known=range(1, len(CLASSES)))


def _score_task(task: tuple[VipVideo, Path], *, first: bool) -> tuple[Row, NDArray[np.int64]]:
    """Row and confusion matrix of one video, as processes call it."""
    video, folder = task
    scored = video.annotated if first else video.annotated[1:]
    matrix = np.zeros((len(CLASSES), len(CLASSES)), np.int64)
    curve: list[float | None] = [None] * len(video)
    for frame in scored:
        one = confusion(video.read_classes(frame), _result(video, frame, folder), classes=len(CLASSES))
        matrix += one
        mean = class_scores(one).mean_iou
        curve[video.positions[frame]] = None if np.isnan(mean) else mean
    return Row(sequence=video.name, frames=len(scored), values=_named(class_scores(matrix)), curve=tuple(curve)), matrix


def _named(scores: ClassScores) -> dict[str, float]:
    return {name: float(getattr(scores, field)) for name, field in NAMES.items()}


def _classes_csv(scores: ClassScores) -> str:
    lines = [f"{number},{name},{iou:.6f}" for number, (name, iou) in enumerate(zip(CLASSES, scores.iou, strict=True))]
    return "\n".join(["number,class,IoU", *lines]) + "\n"
