"""Moving photographs as a benchmark that needs no data: exact masks, boxes and joints, with crossings, an occluder and changing light.

Clips are drawn from numbers (`followspot.datasets.synthetic`), so nothing is read from disk. Results are a folder a clip:
``<results>/<clip>/tracks.json``, and for the protocol of masks ``<results>/<clip>/masks/<frame>.png``.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import cast, get_args

import numpy as np
from numpy.typing import NDArray

from followspot.benchmarks import synthetic_scores
from followspot.benchmarks.base import OnFrame, Progress
from followspot.benchmarks.report import Report, Row
from followspot.benchmarks.synthetic_scores import Kind, true_answer
from followspot.datasets.davis import read_ids
from followspot.datasets.synthetic import Difficulty, SyntheticVideo
from followspot.errors import DatasetError, SettingError
from followspot.io.export import read_tracks, write_tracks_json
from followspot.io.files import nearest
from followspot.io.masks import write_mask
from followspot.tracking.base import Tracker
from followspot.types import Annotation, Boxes, Keypoints, Masks, TrackedFrame
from followspot.viz.overlay import draw


@dataclass(frozen=True, kw_only=True)
class Clips:
    """A split: clips that differ in one number only."""

    seeds: range
    """One a clip. Training clips of ours come from seeds below 1000, so that none is tested on what it was trained on."""
    objects: int
    difficulty: Difficulty
    num_frames: int = 40
    """At the 25 frames a second of these clips, long enough for objects to cross and part."""
    height: int = 120
    """A quarter of DAVIS's 480p, so that a tracker takes seconds a clip on a CPU."""
    width: int = 160


def _every(amount: float) -> Difficulty:
    return Difficulty(deformation=amount, occlusion=amount, lighting=amount, camera=amount, noise=amount)


SPLITS: Mapping[str, Clips] = MappingProxyType(
    {
        "val": Clips(seeds=range(1000, 1006), objects=2, difficulty=_every(0.5)),
        "easy": Clips(seeds=range(2000, 2006), objects=2, difficulty=replace(_every(0.2), occlusion=0.0)),
        "hard": Clips(seeds=range(3000, 3006), objects=3, difficulty=_every(1.0)),
    }
)
"""The lists of clips, the usual one first."""


class SyntheticBenchmark:
    """The benchmark; see the module.

    Args:
        data: ignored, there are no files; here because every benchmark is opened with a folder.
        split: ``"val"`` (the usual one), ``"easy"`` (no occlusion, little of anything else) or ``"hard"`` (three objects, much of
            everything).
        protocol: what is followed: ``"masks"`` (the usual one), ``"boxes"`` or ``"keypoints"``.
        clips: names of the clips; None for all of the split.

    Raises:
        SettingError: no such split, protocol or clip.
    """

    name = "synthetic"

    def __init__(self, data: Path, *, split: str | None = None, protocol: str | None = None, clips: Sequence[str] | None = None) -> None:
        self.data, self.split, self.protocol = Path(data), split or "val", cast(Kind, protocol or "masks")
        for what, given, known in (("split", self.split, SPLITS), ("protocol", self.protocol, get_args(Kind))):
            if given not in known:
                raise SettingError(f'the synthetic benchmark has no {what} "{given}"; choose from: {", ".join(known)}')
        names = tuple(f"clip-{seed}" for seed in SPLITS[self.split].seeds)
        unknown = next((name for name in clips or () if name not in names), None)
        if unknown is not None:
            raise SettingError(f'split {self.split} has no clip "{unknown}"; did you mean "{nearest(unknown, names) or names[0]}"?')
        self.sequence_names = tuple(clips or names)

    def only(self, sequences: Sequence[str]) -> "SyntheticBenchmark":
        """The same with some of the clips.

        Raises:
            SettingError: no such clip.
        """
        return SyntheticBenchmark(self.data, split=self.split, protocol=self.protocol, clips=sequences)

    def length(self, sequence: str) -> int:
        """How many frames a clip has: the same for all of a split."""
        return SPLITS[self.split].num_frames

    def video(self, sequence: str) -> SyntheticVideo:
        """The clip with its truth."""
        clips = SPLITS[self.split]
        return SyntheticVideo(
            int(sequence.removeprefix("clip-")),
            num_frames=clips.num_frames,
            height=clips.height,
            width=clips.width,
            objects=clips.objects,
            difficulty=clips.difficulty,
        )

    def is_complete(self, sequence: str, folder: Path) -> bool:
        """Whether the answers are there; masks are written before them."""
        return (folder / "tracks.json").is_file() and (self.protocol != "masks" or all(path.is_file() for path in self._masks(folder)))

    def run(self, sequence: str, tracker: Tracker, folder: Path, *, on_frame: OnFrame | None = None) -> None:
        """Follows what the protocol says from the first frame on, and writes ``tracks.json`` and the masks."""
        video = self.video(sequence)
        first = self._annotations(video)

        def answers() -> Iterator[TrackedFrame]:
            for answer in tracker.stream(video, {0: first}):
                if answer.masks is not None:
                    write_mask(folder / "masks" / f"{answer.name}.png", answer.masks)
                if on_frame is not None:
                    on_frame(sequence, answer.index + 1, len(video))
                yield answer

        (folder / "masks").mkdir(parents=True, exist_ok=True)
        write_tracks_json(folder / "tracks.json", {"clip": sequence, "protocol": self.protocol}, answers())

    def score(self, results: Path, *, workers: int | None = None, progress: Progress | None = None) -> Report:
        """Scores all clips, here and in turn: drawing the truth again is the most of it, and a clip takes a second.

        Args:
            results: with a folder for each clip.
            workers: not used; the numbers would not depend on it.
            progress: told about every finished clip.

        Raises:
            DatasetError: results are missing or unusable.
        """
        rows: list[Row] = []
        for done, sequence in enumerate(self.sequence_names, start=1):
            video = self.video(sequence)
            answers = self._read(results / sequence, length=len(video))
            rows += synthetic_scores.score_clip(sequence, video, answers, kind=self.protocol)
            if progress is not None:
                progress(done, len(self.sequence_names))
        return Report(
            benchmark=self.name,
            split=self.split,
            protocol=self.protocol,
            note=synthetic_scores.NOTES[self.protocol],
            scores=synthetic_scores.totals(rows, kind=self.protocol),
            rows=tuple(rows),
            curve=synthetic_scores.CURVES[self.protocol],
        )

    def picture(self, sequence: str, frame: int, results: Path | None) -> NDArray[np.uint8]:
        """A frame with the result, or the truth, drawn on it."""
        video = self.video(sequence)
        if not 0 <= frame < len(video):
            raise DatasetError(f"{sequence} has no frame {frame}; it has frames 0..{len(video) - 1}")
        if results is None:
            return draw(video.frame(frame), true_answer(video, frame, kind=self.protocol))
        answers = self._read(results / sequence, length=len(video))
        return draw(video.frame(frame), answers(frame))

    def _annotations(self, video: SyntheticVideo) -> list[Annotation]:
        if self.protocol == "masks":
            return [Masks(ids=video.masks(0), names=dict(enumerate(video.names, start=1)))]
        things = true_answer(video, 0, kind=self.protocol).objects
        if self.protocol == "boxes":
            return [Boxes(xyxy=np.array([thing.box for thing in things]), names=tuple(thing.name for thing in things))]
        return [
            Keypoints(
                xy=np.array([(np.nan, np.nan) if point.lost else (point.x, point.y) for point in thing.points]),
                joints=tuple(point.name for point in thing.points),
                name=thing.name,
            )
            for thing in things
        ]

    def _masks(self, folder: Path) -> list[Path]:
        return [folder / "masks" / f"{index:05d}.png" for index in range(SPLITS[self.split].num_frames)]

    def _read(self, folder: Path, *, length: int) -> Callable[[int], TrackedFrame]:
        """Answers of a clip by frame, masks read when asked for."""
        path = folder / "tracks.json"
        if not path.is_file():
            raise DatasetError(f"{path} is missing; run {folder.name} before scoring")
        frames = read_tracks(path)
        if [frame.index for frame in frames] != list(range(length)):
            raise DatasetError(f"{path} has {len(frames)} answers, expected one for each of {length} frames; run {folder.name} again")
        if self.protocol != "masks":
            return lambda index: frames[index]
        paths = self._masks(folder)
        return lambda index: replace(frames[index], masks=self._ids(paths[index]))

    def _ids(self, path: Path) -> NDArray[np.uint8]:
        ids, clips = read_ids(path), SPLITS[self.split]
        if ids.shape != (clips.height, clips.width):
            raise DatasetError(f"{path} is {ids.shape[1]}x{ids.shape[0]}, expected {clips.width}x{clips.height}; write it at that size")
        return ids
