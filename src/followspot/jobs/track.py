"""Follow objects through one video and leave everything on disk, so that a stopped run goes on where it was."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from followspot.datasets.davis import read_ids
from followspot.errors import FollowspotError, TruncatedVideoError
from followspot.io.export import read_tracks, write_tracks_csv, write_tracks_json
from followspot.io.files import atomic_path
from followspot.io.masks import write_mask
from followspot.io.video import VideoSource, VideoWriter
from followspot.jobs.folder import RunFolder
from followspot.jobs.overlap import Ahead, Behind
from followspot.jobs.timing import Pace, Stopwatch, device_of
from followspot.jobs.track_about import about, run_id
from followspot.tracking.base import Resumable, Tracker
from followspot.tracking.both_ways import follow
from followspot.tracking.encoded import EncodedFrame
from followspot.tracking.propagation import PropagationTracker
from followspot.tracking.siamese import SiameseTracker
from followspot.tracking.suggestion import suggest
from followspot.types import Annotation, Frame, Keypoints, Suggestion, TrackedFrame
from followspot.viz.overlay import Picture, draw

CHECKPOINT_EVERY = 16
"""Frames between checkpoints: at most this many, and those that were not written yet, are computed again after a kill."""
SAVED_BEHIND = 4
"""Answers that wait to be written: disks pause now and then for longer than a frame takes."""


class Progress(Protocol):
    """Something that shows how far a stage is."""

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """`done` of `total` frames of this stage are through; total None: nobody knows."""
        ...


@dataclass(frozen=True, kw_only=True)
class TrackResult:
    """What a run left behind."""

    out: Path
    frames: int
    computed: int
    """Frames that this call computed itself; the others were there already."""
    seconds: float
    """Time spent on the computed frames."""
    pace: Pace | None = None
    """Of the computed frames: what was the model, what reading, what writing masks, tracks and a live overlay; None without any."""
    suggestion: Suggestion | None
    truncated: TruncatedVideoError | None
    """Set if the video ended early; all frames before that are in the results."""


def track_video(
    video: VideoSource,
    annotations: Mapping[int, Sequence[Annotation]],
    tracker: Tracker,
    out: Path,
    *,
    both_ways: bool | None = None,
    overlay: bool = True,
    overwrite: bool = False,
    progress: Progress = lambda stage, done, total: None,
) -> TrackResult:
    """Follows the annotated objects through a video and writes masks, tracks and an overlay.

    Args:
        video: the source.
        annotations: by frame index.
        tracker: any; its state is overwritten. A stopped run of one that cannot keep its state (`Resumable`) starts again.
        out: output folder (see `followspot.jobs.folder`). An unfinished run of the same settings goes on; a finished one is kept.
        both_ways: also carry annotations to earlier frames; None: if the tracker can, which only propagation does.
        overlay: also write ``overlay.mp4``.
        overwrite: replace results of other runs.
        progress: called after every frame.

    Returns:
        A summary. A truncated video does not raise: its error is in the summary, after everything before it was saved.

    Raises:
        AnnotationError: an annotation does not fit the video.
        OutputError: the folder belongs to another run, the disk is full.
        VideoError: the video cannot be read or the overlay cannot be encoded.
        SettingError: the tracker or the video cannot go backward.
    """
    both_ways = isinstance(tracker, PropagationTracker) if both_ways is None else both_ways
    fingerprint = run_id(video, annotations, tracker, both_ways=both_ways)
    folder = RunFolder(out, fingerprint=fingerprint, overwrite=overwrite)
    run = _Run(video, annotations, tracker, folder, both_ways=both_ways, overlay=overlay, progress=progress)
    try:
        return run.look_again() if folder.complete else run.complete()
    except FollowspotError:
        folder.leave()
        raise


class _Run:
    """The stages of one run."""

    def __init__(
        self,
        video: VideoSource,
        annotations: Mapping[int, Sequence[Annotation]],
        tracker: Tracker,
        folder: RunFolder,
        *,
        both_ways: bool,
        overlay: bool,
        progress: Progress,
    ) -> None:
        self.video, self.annotations, self.tracker, self.folder = video, annotations, tracker, folder
        self.both_ways, self.overlay, self.progress = both_ways, overlay, progress
        self.out, self.watch = folder.path, Stopwatch()
        self.begins = min((index for index, given in annotations.items() if given), default=0)
        keypoints = [a for given in annotations.values() for a in given if isinstance(a, Keypoints)]
        self.skeletons = {k.name: k.skeleton for k in keypoints}

    def complete(self) -> TrackResult:
        """All stages that are not done yet."""
        folder, out = self.folder, self.out
        done, state = folder.load_checkpoint()
        if state is not None and isinstance(self.tracker, Resumable):
            self.tracker.restore(state, self.video.frame)
        began = time.perf_counter()
        total, truncated = self.compute(done)
        seconds = time.perf_counter() - began
        if self.overlay and self.video.rewindable:
            self.draw(folder.frames(), total)
        suggestion = suggest(folder.frames(), annotated=sorted(self.annotations)) if isinstance(self.tracker, PropagationTracker) else None
        write_tracks_csv(out / "tracks.csv", folder.frames(), polygons=isinstance(self.tracker, SiameseTracker))
        write_tracks_json(out / "tracks.json", self.header(suggestion, truncated), folder.frames())
        folder.finish()
        return TrackResult(
            out=out,
            frames=total,
            computed=total - done,
            seconds=seconds,
            pace=self.watch.pace(device_of(self.tracker)),
            suggestion=suggestion,
            truncated=truncated,
        )

    def look_again(self) -> TrackResult:
        """The results of a finished run; only an overlay that was not asked for then is still drawn."""
        result = _already_there(self.out)
        if self.overlay and self.video.rewindable and not (self.out / "overlay.mp4").exists():
            self.draw(read_tracks(self.out / "tracks.json"), result.frames)
        return result

    def compute(self, done: int) -> tuple[int, TruncatedVideoError | None]:
        """Tracks from frame `done` on; returns how many frames there are now, and the error if the video ended early."""
        saving = Behind(depth=SAVED_BEHIND)
        told = begin = done
        try:
            with self._live_writer() as writer:
                with ExitStack() as threads, saving:
                    answers = follow(
                        self.tracker,
                        self.video,
                        self.annotations,
                        both_ways=self.both_ways,
                        scratch=self.folder.work,
                        begin=begin,
                        on_backward=lambda i, n: self.progress("backward", i, n),
                        look=partial(self._look, threads),
                    )
                    for frame, answer in self.watch.computed(answers):
                        saving.put(self._job(frame, answer, writer))
                        told = self._tell(told, begin + saving.done)
                self._tell(told, begin + saving.done)
        except TruncatedVideoError as error:
            if not begin + saving.done:
                raise
            return begin + saving.done, error
        except KeyboardInterrupt:
            if self.video.rewindable or not begin + saving.done:
                raise  # a file can be gone on with; a camera is stopped this way
        return begin + saving.done, None

    def _tell(self, told: int, done: int) -> int:
        for count in range(told + 1, done + 1):
            self.progress("tracking", count, self.video.num_frames)
        return done

    def _look(self, threads: ExitStack, frames: Iterator[Frame], /, *, first: int) -> Iterator[Frame]:
        """Frames decoded in one thread and encoded in another, ahead of the tracker; those of a camera as they come."""
        if not self.video.rewindable:
            return self.watch.frames(frames)  # reading ahead would hold back what is there, and might never end
        ahead: Iterator[Frame] = threads.enter_context(Ahead(self.watch.read_ahead(frames)))
        if isinstance(self.tracker, PropagationTracker):
            ahead = threads.enter_context(Ahead(self._encoded(ahead, self.tracker, first), depth=1))
        return self.watch.waited(ahead)

    def _encoded(self, frames: Iterator[Frame], tracker: PropagationTracker, first: int) -> Iterator[Frame]:
        for frame in frames:
            if frame.index < first:
                yield frame
                continue
            with self.watch.looking():
                features = tracker.encode(frame)
            yield EncodedFrame(**vars(frame), features=features)

    @contextmanager
    def _live_writer(self) -> Iterator[VideoWriter | None]:
        """For a camera, whose frames are seen only once, the overlay is written along with the tracks."""
        if not self.overlay or self.video.rewindable:
            yield None
            return
        with self._writer() as writer:
            try:
                yield writer
            except (TruncatedVideoError, KeyboardInterrupt) as stop:
                late: BaseException = stop  # the pictures so far are worth keeping
            else:
                return
        raise late

    def _writer(self) -> VideoWriter:
        return VideoWriter(self.out / "overlay.mp4", height=self.video.height, width=self.video.width, fps=self.video.fps)

    def _job(self, frame: Frame, answer: TrackedFrame, writer: VideoWriter | None) -> Callable[[], None]:
        """Writes one answer, later; the tracker goes on meanwhile, so how it stands is taken along."""
        done = answer.index + 1
        due = done % CHECKPOINT_EVERY == 0 and self.video.rewindable and isinstance(self.tracker, Resumable)
        state = self.tracker.state() if due and isinstance(self.tracker, Resumable) and done > self.begins else None
        shown = (writer, frame) if writer is not None else None

        def write() -> None:
            with self.watch.writing():
                self._save(answer)
                if due:
                    self.folder.save_checkpoint(done=done, state=state)
                if shown is not None:
                    overlay, seen = shown
                    overlay.write(draw(seen.image, answer, skeletons=self.skeletons), time_seconds=seen.time_seconds)

        return write

    def _save(self, answer: TrackedFrame) -> None:
        if answer.masks is not None:
            write_mask(self.out / "masks" / f"{answer.name}.png", answer.masks)
        if answer.maps is not None:
            with atomic_path(self.out / "maps" / f"{answer.name}.npy") as path:
                np.save(path, answer.maps.astype(np.float16))
        self.folder.append(answer)

    def draw(self, answers: Iterable[TrackedFrame], total: int) -> None:
        """Second look at the video: the overlay, from what is on disk; decoded, drawn and encoded at the same time."""
        with self._writer() as writer, Ahead(self.video.frames(0, total)) as frames, Ahead(self._drawn(frames, answers)) as pictures:
            for frame, picture in pictures:
                writer.write(picture, time_seconds=frame.time_seconds)
                self.progress("overlay", frame.index + 1, total)

    def _drawn(self, frames: Iterable[Frame], answers: Iterable[TrackedFrame]) -> Iterator[tuple[Frame, Picture]]:
        for frame, answer in zip(frames, answers, strict=True):
            masks, maps = self.out / "masks" / f"{answer.name}.png", self.out / "maps" / f"{answer.name}.npy"
            answer = replace(
                answer,
                masks=read_ids(masks) if masks.exists() else None,
                maps=np.load(maps).astype(np.float32) if maps.exists() else None,
            )
            yield frame, draw(frame.image, answer, skeletons=self.skeletons)

    def header(self, suggestion: Suggestion | None, truncated: TruncatedVideoError | None) -> dict[str, object]:
        """What `tracks.json` says before the frames."""
        return {
            "format": "followspot tracks 1",
            "fingerprint": self.folder.fingerprint,
            "source": self.video.name,
            "height": self.video.height,
            "width": self.video.width,
            "fps": self.video.fps,
            **about(self.tracker),
            "annotated_frames": sorted(self.annotations),
            "annotate_next": None if suggestion is None else asdict(suggestion),
            "truncated": None if truncated is None else str(truncated),
        }


def _already_there(out: Path) -> TrackResult:
    content = json.loads((out / "tracks.json").read_text())
    told = content["annotate_next"]
    suggestion = None if told is None else Suggestion(**(told | {"objects": tuple(told["objects"])}))
    count = len(content["frames"])
    early = content["truncated"]
    truncated = None if early is None else TruncatedVideoError(early, decoded=count, expected=count)
    return TrackResult(out=out, frames=count, computed=0, seconds=0.0, suggestion=suggestion, truncated=truncated)
