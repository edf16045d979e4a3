"""Colour prediction: how well a tracker copies the colours of the first frame to the others, which needs no labels.

Vondrick et al., "Tracking Emerges by Colorizing Videos" (ECCV 2018) train for it and ask how it goes with tracking: the same tracker, the
same memory, colours instead of labels. Results are a folder a video with a small RGB PNG for each frame:
``<results>/<video>/<frame>.png``, the frame's own lightness with the colours that were carried to it.
"""

from collections.abc import Sequence
from copy import copy
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from followspot.benchmarks.base import OnFrame, Progress
from followspot.benchmarks.parallel import score_each
from followspot.benchmarks.report import Report, Row
from followspot.datasets.frame_folders import ALL, FrameFolder, FrameFolders
from followspot.errors import DatasetError, SettingError, VideoError
from followspot.io.images import read_image, write_image
from followspot.io.video import open_video
from followspot.metrics.color import color_accuracy, color_psnr
from followspot.ops.clusters import kmeans
from followspot.ops.color import join_lightness, to_image, to_lab
from followspot.ops.masks import area_resize
from followspot.tracking.base import Tracker
from followspot.tracking.colors import carried_ab, color_maps, gray_frame

PROTOCOL = "first-frame"
NOTE = "Colours of the first frame carried to all others; 16 clusters of its colours, ab of Lab; pictures of 120 pixels."
CLUSTERS = 16
"""Of colours, as in the paper."""
SIDE = 120
"""Pixels of the shorter side of what is compared: carried labels hold nothing finer than cells of 4 to 8 of 480 pixels."""
_MOST_DECIBEL = 100.0
"""Instead of infinity, which JSON has not; the rounding of 8 bits alone leaves about 60."""


class ColorsBenchmark:
    """Any videos as a benchmark of colour prediction.

    Args:
        data: a folder with a folder of images a video, or the root of DAVIS.
        split: ``"all"`` (default), or a list of DAVIS.
        protocol: ``"first-frame"``.

    Raises:
        DatasetError: there are no videos, or no such list.
        SettingError: no protocol has that name.
    """

    name = "Colour prediction"

    def __init__(self, data: Path, *, split: str | None = None, protocol: str | None = None) -> None:
        if protocol not in (None, PROTOCOL):
            raise SettingError(f'colors has no protocol "{protocol}"; the only one is {PROTOCOL}')
        self.dataset = FrameFolders(Path(data), split=split or ALL)
        self.protocol = PROTOCOL

    @property
    def split(self) -> str:
        """``"all"`` or the list's name."""
        return self.dataset.split

    @property
    def sequence_names(self) -> tuple[str, ...]:
        """In the order of the list, or of the names."""
        return tuple(video.name for video in self.dataset.sequences)

    def only(self, sequences: Sequence[str]) -> "ColorsBenchmark":
        """The same with some of its videos."""
        part = copy(self)
        part.dataset = copy(self.dataset)
        part.dataset.sequences = tuple(self.dataset[name] for name in sequences)
        return part

    def length(self, sequence: str) -> int:
        """Frames of a video."""
        return len(self.dataset[sequence])

    def is_complete(self, sequence: str, folder: Path) -> bool:
        """Whether there is a picture for every frame."""
        return all((folder / f"{name}.png").is_file() for name in self.dataset[sequence].frame_names)

    def run(self, sequence: str, tracker: Tracker, folder: Path, *, on_frame: OnFrame | None = None) -> None:
        """Carries the colours of the first frame through a grey video; see `Benchmark.run`.

        Raises:
            AnnotationError: the tracker does not follow soft maps.
        """
        with open_video(self.dataset[sequence].folder) as video:
            for frame in video:
                gray = gray_frame(frame)
                answer = tracker.step(gray) if frame.index else tracker.start(gray, [color_maps(frame.image)])
                lightness = _small(to_lab(frame.image))[:1]
                picture = join_lightness(lightness, _small(carried_ab(answer.maps)))
                write_image(folder / f"{frame.name}.png", to_image(picture))
                if on_frame is not None:
                    on_frame(sequence, frame.index + 1, self.length(sequence))

    def score(self, results: Path, *, workers: int | None = None, progress: Progress | None = None) -> Report:
        """Compares carried colours with the true ones, in all frames but the first.

        Args:
            results: folder with ``<video>/<frame>.png``.
            workers: how many processes; None for one a core. The numbers do not depend on it.
            progress: told about every finished video.

        Returns:
            The report: the share of pixels whose cluster of colours is right, and the signal-to-noise ratio of ab in decibels.

        Raises:
            DatasetError: a picture is missing, unreadable or of another size.
            SettingError: ``workers`` is below 1, or they could not start.
        """
        tasks = [(video, Path(results) / video.name) for video in self.dataset.sequences]
        rows = score_each(_score, tasks, workers=workers, sizes=[len(video) for video, _ in tasks], progress=progress)
        means = {name: float(np.nanmean([row.values[name] for row in rows])) for name in ("accuracy", "PSNR")}
        return Report(
            benchmark=self.name,
            split=self.split,
            protocol=self.protocol,
            note=NOTE,
            scores={"Accuracy": means["accuracy"], "PSNR (dB)": means["PSNR"]},
            rows=tuple(rows),
            curve="accuracy",
        )

    def picture(self, sequence: str, frame: int, results: Path | None) -> NDArray[np.uint8]:
        """The carried colours of a frame or, without results, the frame; see `Benchmark.picture`.

        Raises:
            DatasetError: the frame or its result is not there.
        """
        video = self.dataset[sequence]
        if not 0 <= frame < len(video):
            raise DatasetError(f"{sequence!r} has no frame {frame}; its frames are 0 to {len(video) - 1}")
        if results is not None:
            return _read_result(Path(results) / sequence / f"{video.frame_names[frame]}.png")
        with open_video(video.folder) as frames:
            return frames.frame(frame).image


def _small(maps: Tensor) -> Tensor:
    """``(C, H, W)`` with `SIDE` rows or columns, whichever are fewer; never larger than it was."""
    height, width = maps.shape[1:]
    scale = min(1.0, SIDE / min(height, width))
    return area_resize(maps, (max(1, round(height * scale)), max(1, round(width * scale))))


def _read_result(path: Path) -> NDArray[np.uint8]:
    if not path.is_file():
        raise DatasetError(f"{path} is missing; run followspot evaluate colors again, it goes on where it stopped")
    try:
        return read_image(path)
    except VideoError as error:
        raise DatasetError(f"{error}; or remove it and run followspot evaluate colors again") from error


def _score(task: tuple[FrameFolder, Path]) -> Row:
    video, folder = task
    curve: list[float | None] = []
    ratios: list[float] = []
    with open_video(video.folder) as frames:
        for frame in frames:
            truth = _small(to_lab(frame.image))[1:]
            if not frame.index:
                centres = kmeans(truth.flatten(1).T.contiguous(), min(CLUSTERS, truth[0].numel()), restarts=1, iterations=50)
                curve.append(None)
                continue
            path = folder / f"{frame.name}.png"
            predicted = to_lab(_read_result(path))[1:]
            if predicted.shape != truth.shape:
                got, wanted = (f"{maps.shape[2]}x{maps.shape[1]}" for maps in (predicted, truth))
                raise DatasetError(f"{path} is {got}, expected {wanted}; remove it and run followspot evaluate colors again")
            curve.append(color_accuracy(predicted, truth, centres))
            ratios.append(min(color_psnr(predicted, truth), _MOST_DECIBEL))
    shares = [share for share in curve if share is not None]
    values = {"accuracy": float(np.mean(shares)), "PSNR": float(np.mean(ratios))} if shares else dict.fromkeys(("accuracy", "PSNR"), np.nan)
    return Row(sequence=video.name, frames=len(shares), values=values, curve=tuple(curve))
