"""BADJA: the joints of an animal followed from the first annotated frame, scored where frames are annotated.

Results are a folder a sequence: ``<results>/<sequence>/tracks.npz``, a row for every frame of the video, NaN before the first annotation.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from followspot.benchmarks.base import OnFrame, Progress, require_protocol
from followspot.benchmarks.follow_points import check_frame, draw_joints, follow, known_joints
from followspot.benchmarks.report import Report, Row
from followspot.datasets.badja import JOINTS, LIMBS, BadjaDataset, BadjaSequence
from followspot.errors import DatasetError
from followspot.io.point_tracks import PointTracks, has_point_tracks, read_point_tracks, write_point_tracks
from followspot.metrics.keypoints import ANIMAL_ALPHA, area_distances, mean_of_known, near_per_frame, pixel_distances
from followspot.tracking.base import Tracker

Floats = NDArray[np.float64]
Rules = Literal["official", "pixels"]

NEAR = 24.0
"""Pixels: a twentieth of the height of DAVIS's 480p."""
NOTES: Mapping[Rules, str] = MappingProxyType(
    {
        "official": f"within {ANIMAL_ALPHA} of the square root of the animal's area; mean over sequences; lost joints are wrong",
        "pixels": f"within {NEAR:g} pixels; all joints of all sequences weigh the same; lost joints are wrong",
    }
)


class BadjaBenchmark:
    """BADJA as a benchmark.

    Args:
        data: the folder with ``joint_annotations`` (official) or ``keypoints`` (ours).
        split: ``"public"`` (the usual one: frames are published), ``"all"``, or names with commas between them.
        protocol: ``"official"``, or ``"pixels"``, which needs no masks; they differ in scoring, not in results.

    Raises:
        DatasetError: the folder, a sequence or a frame is missing.
        SettingError: no protocol has that name.
    """

    name = "BADJA"

    def __init__(self, data: Path, *, split: str | None = None, protocol: str | None = None) -> None:
        require_protocol("BADJA", protocol, NOTES)
        self.protocol: Rules = cast(Rules, protocol or "official")
        self.split = split or "public"
        self.dataset = BadjaDataset(data, split=self.split)

    @property
    def sequence_names(self) -> tuple[str, ...]:
        """The videos by name."""
        return tuple(sequence.name for sequence in self.dataset.sequences)

    def length(self, sequence: str) -> int:
        """Frames up to the last annotated one; what comes after it is not followed."""
        return self.dataset[sequence].annotated[-1] + 1

    def is_complete(self, sequence: str, folder: Path) -> bool:
        """Whether the file of results is there; it is written last."""
        return has_point_tracks(folder)

    def run(self, sequence: str, tracker: Tracker, folder: Path, *, on_frame: OnFrame | None = None) -> None:
        """Follows the joints that are visible in the first annotated frame up to the last annotated frame; see `Benchmark.run`.

        Raises:
            DatasetError: no joint is visible in the first annotated frame.
            SettingError: the tracker gives no joints.
        """
        video = self.dataset[sequence]
        tracks = PointTracks.empty(len(video), video.joints)
        first, last = video.annotated[0], video.annotated[-1]
        done = iter(range(first + 1, last + 2))

        def on_answer() -> None:
            if on_frame is not None:
                on_frame(sequence, next(done), self.length(sequence))

        given = known_joints(video.xy[first], video.joints, skeleton=_limbs(video), name=sequence)
        with video.open() as frames:
            follow(tracker, frames.frames(first, last + 1), given, into=tracks, on_answer=on_answer)
        write_point_tracks(folder, tracks)

    def score(self, results: Path, *, workers: int | None = None, progress: Progress | None = None) -> Report:
        """Scores positions in annotated frames after the first, of joints that were visible in the first, here and in turn.

        Args:
            results: with ``<sequence>/tracks.npz``.
            workers: not used; the numbers would not depend on it.
            progress: told about every finished sequence.

        Raises:
            DatasetError: results, or the masks that the official protocol needs, are missing or unusable.
        """
        rows, distances = [], []
        for done, video in enumerate(self.dataset.sequences, start=1):
            folder = Path(results) / video.name
            predicted = read_point_tracks(folder, frames=len(video), names=video.joints).xy
            distances.append(self._distances(video, predicted))
            if np.isnan(distances[-1]).all():
                raise DatasetError(f"{video.name!r} has no joint that is visible twice, so it cannot be scored; leave it out by --split")
            rows.append(self._row(video.name, distances[-1]))
            if progress is not None:
                progress(done, len(self.dataset))
        return Report(
            benchmark=self.name,
            split=self.split,
            protocol=self.protocol,
            note=NOTES[self.protocol],
            scores=self._scores(rows, distances),
            rows=tuple(rows),
            curve=self._measure,
        )

    def picture(self, sequence: str, frame: int, results: Path | None) -> NDArray[np.uint8]:
        """A frame with its joints; see `Benchmark.picture`. Frames without annotation have none as truth.

        Raises:
            DatasetError: the frame or its result is not there.
        """
        video = self.dataset[sequence]
        check_frame(frame, length=len(video), sequence=sequence)
        xy = video.xy if results is None else read_point_tracks(Path(results) / sequence, frames=len(video), names=video.joints).shown
        with video.open() as frames:
            return draw_joints(frames.frame(frame).image, xy[frame], skeleton=_limbs(video))

    @property
    def _measure(self) -> str:
        return f"PCK@{ANIMAL_ALPHA}" if self.protocol == "official" else f"near {NEAR:g} px"

    @property
    def _alpha(self) -> float:
        return ANIMAL_ALPHA if self.protocol == "official" else NEAR

    def _distances(self, video: BadjaSequence, predicted: Floats) -> Floats:
        """``(T, K)``; NaN where a joint does not count."""
        truth = video.xy.copy()
        first = video.annotated[0]
        truth[:, np.isnan(truth[first]).any(axis=1)] = np.nan
        truth[first] = np.nan
        return area_distances(predicted, truth, video.areas()) if self.protocol == "official" else pixel_distances(predicted, truth)

    def _row(self, name: str, distances: Floats) -> Row:
        counted = ~np.isnan(distances)
        values = {self._measure: float((distances[counted] <= self._alpha).mean())}
        if self.protocol == "pixels":
            values["median px"] = float(np.median(distances[counted]))
        return Row(
            sequence=name,
            frames=int(counted.any(axis=1).sum()),
            values=values | {"joints": float(counted.sum()), "lost": float(np.isinf(distances[counted]).mean())},
            curve=near_per_frame(distances, self._alpha),
        )

    def _scores(self, rows: list[Row], distances: list[Floats]) -> dict[str, float]:
        if self.protocol == "official":
            return {self._measure: mean_of_known(np.array([row.values[self._measure] for row in rows]))}
        every = np.concatenate([some[~np.isnan(some)] for some in distances])
        return {self._measure: float((every <= NEAR).mean()), "median px": float(np.median(every))}


def _limbs(video: BadjaSequence) -> tuple[tuple[int, int], ...]:
    """Those of the official joints; other joints are drawn as dots."""
    return LIMBS if video.joints == tuple(JOINTS) else ()
