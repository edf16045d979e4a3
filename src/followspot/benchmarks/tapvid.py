"""TAP-Vid: points asked for at any frame and followed through the video: AJ, delta and OA at 256 x 256.

Results are a folder a video: ``<results>/<video>/tracks.npz``, a column for each query in the order of `metrics.points.choose_queries`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from followspot.benchmarks.base import OnFrame, Progress, require_protocol
from followspot.benchmarks.follow_points import check_frame, draw_points, follow
from followspot.benchmarks.report import Report, Row
from followspot.datasets.tapvid import TapvidDataset, TapvidSequence
from followspot.errors import DatasetError
from followspot.io.point_tracks import PointTracks, has_point_tracks, read_point_tracks, write_point_tracks
from followspot.io.source import VideoSource
from followspot.metrics.keypoints import mean_of_known
from followspot.metrics.points import (
    STRIDE,
    THRESHOLDS,
    PointScores,
    QueryMode,
    choose_queries,
    near_in_frames,
    score_points,
    scored_frames,
    to_raster,
)
from followspot.tracking.base import Tracker
from followspot.types import Frame, Points

Floats = NDArray[np.float64]
Queries = NDArray[np.int64]

NOTES: Mapping[QueryMode, str] = MappingProxyType(
    {
        "query-first": "each point asked for where it is first visible, scored after that; raster 256; mean over videos",
        "strided": f"each point asked for at every {STRIDE}th frame if visible, scored before and after it; raster 256; mean over videos",
    }
)


@runtime_checkable
class Confident(Protocol):
    """A tracker that says how sure it is only if it is asked to, since that takes time."""

    confidence: bool


class TapvidBenchmark:
    """TAP-Vid as a benchmark. Which size frames are seen at is the tracker's business: published numbers are at 256 x 256.

    Args:
        data: a ``.pkl`` as published, a folder of them, or an unpacked folder.
        split: ``"all"`` (the usual one), or names of videos with commas between them.
        protocol: ``"query-first"`` or ``"strided"``; they differ in results.

    Raises:
        DatasetError: there is nothing of that kind; with a split of names also as `TapvidDataset.names`.
        SettingError: no protocol has that name.
    """

    name = "TAP-Vid"

    def __init__(self, data: Path, *, split: str | None = None, protocol: str | None = None) -> None:
        require_protocol("TAP-Vid", protocol, NOTES)
        self.protocol: QueryMode = cast(QueryMode, protocol or "query-first")
        self.split = split or "all"
        self.dataset = TapvidDataset(data)

    @property
    def sequence_names(self) -> tuple[str, ...]:
        """The videos; with a published pickle this reads all of it.

        Raises:
            DatasetError: a file is unusable.
        """
        return self.dataset.names if self.split == "all" else tuple(name.strip() for name in self.split.split(","))

    def length(self, sequence: str) -> int:
        """Frames of a video."""
        return len(self.dataset[sequence])

    def is_complete(self, sequence: str, folder: Path) -> bool:
        """Whether the file of results is there; it is written last."""
        return has_point_tracks(folder)

    def run(self, sequence: str, tracker: Tracker, folder: Path, *, on_frame: OnFrame | None = None) -> None:
        """Follows all queries; see `Benchmark.run`. A tracker that can say how sure it is, is asked to, as that is how it says "hidden".

        The queries of one frame are followed together, in a pass of their own from that frame on (and, strided, in another one
        back to the first frame). So the answer to a query does not depend on what else is asked in other frames.

        Raises:
            DatasetError: a frame is missing, or no point is ever visible.
            SettingError: the tracker gives no points.
        """
        video = self.dataset[sequence]
        queries = choose_queries(video.occluded, self.protocol)
        if not len(queries):
            raise DatasetError(f"{sequence!r} has no point that is ever visible, so there is nothing to ask for; leave it out by --split")
        tracks = PointTracks.empty(len(video), _names(queries))
        with video.open() as frames, _doubting(tracker):
            xy = video.pixels((frames.height, frames.width))
            passes = list(_passes(queries, len(video), backwards=self.protocol == "strided"))
            total, done = sum(len(order) for _, order in passes), iter(range(1, 10**9))

            def on_answer() -> None:
                if on_frame is not None:
                    on_frame(sequence, next(done) * len(video) // total, len(video))

            for chosen, order in passes:
                points, at = queries[chosen].T
                given = Points(xy=xy[points, at], names=tuple(tracks.names[q] for q in chosen))
                follow(tracker, _in_order(frames, order), given, into=tracks, on_answer=on_answer)
        write_point_tracks(folder, tracks)

    def score(self, results: Path, *, workers: int | None = None, progress: Progress | None = None) -> Report:
        """Scores positions and visibility, here and in turn. A point is answered as hidden where the tracker says that it is lost.

        Args:
            results: with ``<video>/tracks.npz``.
            workers: not used; the numbers would not depend on it.
            progress: told about every finished video.

        Raises:
            DatasetError: results are missing or unusable.
        """
        rows = []
        names = self.sequence_names
        for done, name in enumerate(names, start=1):
            rows.append(self._row(self.dataset[name], Path(results) / name))
            if progress is not None:
                progress(done, len(names))
        measures = tuple(rows[0].values)[:-1] if rows else ()
        return Report(
            benchmark=self.name,
            split=self.split,
            protocol=self.protocol,
            note=NOTES[self.protocol],
            scores={measure: mean_of_known(np.array([row.values[measure] for row in rows])) for measure in measures},
            rows=tuple(rows),
            curve="delta_avg",
        )

    def picture(self, sequence: str, frame: int, results: Path | None) -> NDArray[np.uint8]:
        """A frame with its visible points; see `Benchmark.picture`.

        Raises:
            DatasetError: the frame or its result is not there.
        """
        video = self.dataset[sequence]
        check_frame(frame, length=len(video), sequence=sequence)
        with video.open() as frames:
            image = frames.frame(frame).image
        if results is None:
            return draw_points(image, video.pixels((image.shape[0], image.shape[1]))[:, frame], ~video.occluded[:, frame])
        tracks = self._read(video, Path(results) / sequence)
        return draw_points(image, tracks.xy[frame], ~tracks.lost[frame])

    def _read(self, video: TapvidSequence, folder: Path) -> PointTracks:
        return read_point_tracks(folder, frames=len(video), names=_names(choose_queries(video.occluded, self.protocol)))

    def _row(self, video: TapvidSequence, folder: Path) -> Row:
        queries = choose_queries(video.occluded, self.protocol)
        tracks = self._read(video, folder)
        with video.open() as frames:
            size = frames.height, frames.width
        truth = to_raster(video.pixels(size), size)[queries[:, 0]]
        predicted = to_raster(tracks.xy, size).transpose(1, 0, 2)
        occluded = video.occluded[queries[:, 0]]
        counted = scored_frames(queries, len(video), self.protocol)
        scores = score_points(predicted, tracks.lost.T, truth, occluded, counted=counted)
        return Row(
            sequence=video.name,
            frames=int(counted.any(axis=0).sum()),
            values=_values(scores) | {"queries": float(len(queries))},
            curve=near_in_frames(predicted, truth, ~occluded & counted),
        )


@contextmanager
def _doubting(tracker: Tracker) -> Iterator[None]:
    """With its confidence switched on, where it has any; as it was afterwards."""
    if not isinstance(tracker, Confident):
        yield
        return
    before, tracker.confidence = tracker.confidence, True
    try:
        yield
    finally:
        tracker.confidence = before


def _values(scores: PointScores) -> dict[str, float]:
    values = {"AJ": scores.average_jaccard, "delta_avg": scores.delta_avg, "OA": scores.occlusion_accuracy}
    values |= {f"delta_{threshold}": share for threshold, share in zip(THRESHOLDS, scores.delta, strict=True)}
    return values | {f"jaccard_{threshold}": share for threshold, share in zip(THRESHOLDS, scores.jaccard, strict=True)}


def _names(queries: Queries) -> tuple[str, ...]:
    return tuple(f"{point}@{frame}" for point, frame in queries.tolist())


def _passes(queries: Queries, frames: int, *, backwards: bool) -> Iterator[tuple[list[int], Sequence[int]]]:
    """Which queries are followed through which frames, in that order."""
    for at in np.unique(queries[:, 1]).tolist():
        chosen = np.flatnonzero(queries[:, 1] == at).tolist()
        yield chosen, range(at, frames)
        if backwards and at > 0:
            yield chosen, range(at, -1, -1)


def _in_order(video: VideoSource, order: Sequence[int]) -> Iterator[Frame]:
    """Frames in any order; each is read when its turn comes."""
    return (video.frame(index) for index in order)
