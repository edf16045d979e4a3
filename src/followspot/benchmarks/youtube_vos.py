"""YouTube-VOS: objects that begin late, all frames followed, masks for the server; J and F here where there is truth.

Results are a folder a video with an indexed PNG for each required frame: ``<results>/<video>/<frame>.png``. The truth of the splits
valid and test is on the server only; `pack` writes what it takes. Nobody published a scorer to run at home. The one here uses J and F
of DAVIS, scores each object in every required frame after the one in which it begins, and takes means over objects, apart for seen and
unseen categories, as the server does.
"""

from collections.abc import Iterator, Sequence
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
from followspot.datasets.youtube_vos import YoutubeVosDataset, YoutubeVosVideo
from followspot.errors import DatasetError
from followspot.io.images import ImageVideo
from followspot.io.masks import write_mask
from followspot.io.submission import write_submission
from followspot.metrics.summary import score_frame
from followspot.tracking.base import Tracker
from followspot.types import Masks

PROTOCOLS: Final = ("all-frames", "every-fifth")
"""Which frames the tracker sees. Following all frames scores 7 to 10 points more (AFB-URR, issue 5 of its repository)."""


class YoutubeVosBenchmark:
    """YouTube-VOS as a benchmark.

    Args:
        data: the folder that holds ``valid``, ``train`` ...
        split: a folder with a ``meta.json``, or a list ``<split>.txt`` of videos of train; default valid.
        protocol: ``"all-frames"`` or ``"every-fifth"``; None takes all frames if ``<split>_all_frames`` is there.

    Raises:
        DatasetError: the folder, its ``meta.json``, a video or a frame is missing or wrong.
        SettingError: no protocol has that name.
    """

    def __init__(self, data: Path, *, split: str | None = None, protocol: str | None = None) -> None:
        require_protocol("YouTube-VOS", protocol, PROTOCOLS)
        wanted = None if protocol is None else protocol == PROTOCOLS[0]
        self.dataset = YoutubeVosDataset(data, split=split or "valid", all_frames=wanted)

    @property
    def name(self) -> str:
        """``"YouTube-VOS"``; the folder does not say of which year it is."""
        return "YouTube-VOS"

    @property
    def split(self) -> str:
        """The folder's or the list's name."""
        return self.dataset.split

    @property
    def protocol(self) -> str:
        """``"all-frames"`` or ``"every-fifth"``."""
        return PROTOCOLS[0] if self.dataset.all_frames else PROTOCOLS[1]

    @property
    def sequence_names(self) -> tuple[str, ...]:
        """In the order of ``meta.json`` or of the list."""
        return tuple(self.dataset.videos)

    @property
    def hidden(self) -> bool:
        """Whether the truth of this split is on the server only."""
        return any(video.hidden for video in self.dataset.videos.values())

    def length(self, sequence: str) -> int:
        """How many frames are followed."""
        return len(self._video(sequence))

    def is_complete(self, sequence: str, folder: Path) -> bool:
        """Whether there is a mask for every required frame."""
        return not missing_results(folder, self._video(sequence).required)

    def run(self, sequence: str, tracker: Tracker, folder: Path, *, on_frame: OnFrame | None = None) -> None:
        """Follows the objects, each from the frame in which it begins, and writes the required masks; see `Benchmark.run`.

        Raises:
            DatasetError: an annotation is unusable, or an object has none.
            SettingError: the tracker gives no masks.
        """
        video = self._video(sequence)
        required = set(video.required)
        with ImageVideo(video.image_files, name=sequence) as frames:
            for index, name, ids in follow_masks(tracker, frames, video.given()):
                required.discard(name)
                if name in video.required:
                    write_mask(folder / f"{name}.png", ids)
                if on_frame is not None:
                    on_frame(sequence, index + 1, len(video))
        # Frames that are required although no object has begun yet.
        for name in required:
            write_mask(folder / f"{name}.png", np.zeros(image_size(video.image_files[video.positions[name]]), np.uint8))

    def score(self, results: Path, *, workers: int | None = None, progress: Progress | None = None) -> Report:
        """Scores masks where the truth is there.

        Args:
            results: folder with ``<video>/<frame>.png`` for every required frame.
            workers: how many processes; None for one a core. The numbers do not depend on it.
            progress: told about every finished video.

        Returns:
            Overall, Js, Ju, Fs, Fu if it is known which categories are seen, else J&F-Mean, J-Mean, F-Mean; fractions. The curve is J.

        Raises:
            DatasetError: masks are missing or unusable, or the truth is on the server only.
            SettingError: ``workers`` is below 1, or they could not start.
        """
        videos = tuple(self.dataset.videos.values())
        hidden = [video for video in videos if video.hidden]
        if hidden:
            frame = next(frame for frame in hidden[0].required if frame not in hidden[0].annotated)
            raise DatasetError(
                f"{hidden[0].mask_folder / frame}.png is missing ({len(hidden)} of {len(videos)} videos lack truth), so {self.split} "
                "cannot be scored here; send the archive of masks to the benchmark's server, or score a list of videos of train"
            )
        require_results(Path(results), {video.name: video.required for video in videos})
        seen = self.dataset.seen()
        work = partial(_score_task, seen=None if seen is None else seen.categories)
        tasks = [(video, Path(results) / video.name) for video in videos]
        found = score_each(work, tasks, workers=workers, sizes=[len(video.annotated) for video in videos], progress=progress)
        rows = tuple(row for objects in found for row in objects)
        return Report(
            benchmark=self.name,
            split=self.split,
            protocol=self.protocol,
            note=_note(rows, source=None if seen is None else seen.source),
            scores=_global_scores(rows, groups=seen is not None),
            rows=rows,
            curve="J",
        )

    def pack(self, results: Path, archive: Path) -> None:
        """Writes ``Annotations/<video>/<frame>.png`` of the required frames into a ZIP file for the server; see `Submission.pack`.

        Raises:
            DatasetError: masks are missing or unusable.
            OutputError: the archive cannot be written.
        """
        results = Path(results)
        require_results(results, {video.name: video.required for video in self.dataset.videos.values()})
        write_submission(archive, self._masks(results))

    def _masks(self, results: Path) -> Iterator[tuple[str, NDArray[np.uint8]]]:
        for video in self.dataset.videos.values():
            for frame in video.required:
                yield f"Annotations/{video.name}/{frame}.png", _result(video, frame, results / video.name)

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
        ids = video.read_mask(name) if results is None else _result(video, name, Path(results) / sequence)
        with ImageVideo(video.image_files, name=sequence) as frames:
            return draw_annotations(frames.frame(frame), [Masks(ids=ids)])

    def _video(self, sequence: str) -> YoutubeVosVideo:
        if sequence not in self.dataset.videos:
            raise DatasetError(f"YouTube-VOS {self.split} has no video {sequence!r}; correct the name")
        return self.dataset.videos[sequence]


def _result(video: YoutubeVosVideo, frame: str, folder: Path) -> NDArray[np.uint8]:
    size = image_size(video.image_files[video.positions[frame]])
    return read_result(folder / f"{frame}.png", size=size, known=video.categories)


def _score_task(task: tuple[YoutubeVosVideo, Path], *, seen: frozenset[str] | None) -> tuple[Row, ...]:
    """Rows of one video, as processes call it."""
    video, folder = task
    objects = list(video.categories)
    begins = [video.positions[video.begins[object_id]] for object_id in objects]
    regions = np.full((len(objects), len(video)), np.nan)
    contours = regions.copy()
    for frame in video.required:
        index = video.positions[frame]
        scored = [place for place, begin in enumerate(begins) if index > begin]
        predicted = _result(video, frame, folder)
        ids = [objects[place] for place in scored]
        regions[scored, index], contours[scored, index] = score_frame(video.read_mask(frame), predicted, ids)
    return tuple(
        _row(video, object_id, (j, f), seen=seen)
        for object_id, j, f in zip(objects, regions, contours, strict=True)
        if np.isfinite(j).any()
    )


def _row(
    video: YoutubeVosVideo, object_id: int, values: tuple[NDArray[np.float64], NDArray[np.float64]], *, seen: frozenset[str] | None
) -> Row:
    j, f = (float(np.nanmean(value)) for value in values)
    category = video.categories[object_id]
    known = seen is not None and category != ""
    return Row(
        sequence=video.name,
        object=str(object_id),
        frames=int(np.isfinite(values[0]).sum()),
        values={"J&F-Mean": (j + f) / 2, "J-Mean": j, "F-Mean": f, "seen": float(category in (seen or ())) if known else float("nan")},
        curve=tuple(None if np.isnan(value) else float(value) for value in values[0]),
    )


def _note(rows: Sequence[Row], *, source: str | None) -> str:
    note = "Every required frame after an object's first one, mean over objects; not the server's own scorer."
    if source is None:
        return f"{note} Which categories are seen is not known here."
    lacking = [name for name, value in (("seen", 1.0), ("unseen", 0.0)) if all(row.values["seen"] != value for row in rows)]
    return f"{note} Seen categories: {source}." + "".join(f" No object is {name}, Overall is the mean of the rest." for name in lacking)


def _global_scores(rows: Sequence[Row], *, groups: bool) -> dict[str, float]:
    """Means over objects. A group without objects is NaN, and Overall is the mean of what there is."""

    def mean(name: str, seen: float | None = None) -> float:
        values = [row.values[name] for row in rows if seen is None or row.values["seen"] == seen]
        return float(np.mean(values)) if values else float("nan")

    if not groups:
        return {name: mean(name) for name in ("J&F-Mean", "J-Mean", "F-Mean")}
    parts = {"Js": mean("J-Mean", 1.0), "Ju": mean("J-Mean", 0.0), "Fs": mean("F-Mean", 1.0), "Fu": mean("F-Mean", 0.0)}
    there = [value for value in parts.values() if not np.isnan(value)]
    return {"Overall": float(np.mean(there)) if there else float("nan")} | parts
