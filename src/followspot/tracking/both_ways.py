"""A whole video with annotations anywhere in it: forward, backward, and a blend between annotated frames.

    annotated      .  .  A  .  .  .  .  B  .  .
    backward       b  b  |  b  b  b  b  |            first pass, from the last annotated frame to frame 0; label maps to disk
    forward              |  f  f  f  f  |  f  f      second pass, answers come out as it goes
    answer         b  b  A  ~  ~  ~  ~  B  f  f      ~ = both, weighted by how near A and B are

The backward pass exists only if a frame after the first is annotated. It decodes the video in chunks and keeps its label maps
in a file, so memory stays the same for any length.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from followspot.errors import AnnotationError, SettingError
from followspot.io.files import atomic_path
from followspot.io.video import VideoSource
from followspot.tracking.answers import Key, answer
from followspot.tracking.base import Tracker
from followspot.tracking.channels import Channels
from followspot.tracking.confidence import Anchor
from followspot.tracking.encoded import Look, as_they_come
from followspot.tracking.propagation import PropagationTracker
from followspot.types import Annotation, Frame, Masks, TrackedFrame

CHUNK = 32
"""Frames decoded at once when going backward: 40 MB at 480p."""

Annotations = Mapping[int, Sequence[Annotation]]


class Notify(Protocol):
    """Something to call after each frame of the backward pass."""

    def __call__(self, done: int, total: int, /) -> None:
        """`done` of `total` frames are through."""
        ...


def follow(
    tracker: Tracker,
    video: VideoSource,
    annotations: Annotations,
    *,
    both_ways: bool | None = None,
    scratch: Path | None = None,
    begin: int = 0,
    on_backward: Notify | None = None,
    look: Look = as_they_come,
) -> Iterator[tuple[Frame, TrackedFrame]]:
    """Follows the annotated objects through all frames of a video.

    Args:
        tracker: does the work; its state is overwritten unless `begin` is above 0.
        video: the source; must be rewindable if a frame after the first is annotated and `both_ways` is set.
        annotations: by frame index.
        both_ways: also carry annotations to the frames before them, which a propagation tracker can; None: if it can. If not, objects begin
            where they are first annotated.
        scratch: folder for the label maps of the backward pass, which are used again if they are complete; default: temporary.
        begin: first frame to answer for. Above 0 the tracker must have been restored to the frame before it, unless that
            lies before the first annotated frame.
        on_backward: called after each frame of the backward pass.
        look: frames of every pass go through it on their way to the tracker.

    Yields:
        Each frame with its answer, from `begin` on. Before the first annotated frame without `both_ways`: no objects, empty masks.

    Raises:
        AnnotationError: nothing is annotated, or a frame that does not exist.
        SettingError: the backward pass needs a video that can be rewound, and a propagation tracker.
    """
    both_ways = isinstance(tracker, PropagationTracker) if both_ways is None else both_ways
    marks = sorted(index for index, given in annotations.items() if given)
    if not marks:
        raise AnnotationError("nothing to follow: give at least one mask, box, point, keypoints or label map")
    if marks[0] < 0 or (video.num_frames is not None and marks[-1] >= video.num_frames):
        wrong = marks[0] if marks[0] < 0 else marks[-1]
        raise AnnotationError(f"frame {wrong} is annotated but {video.name} has frames 0 to {(video.num_frames or 0) - 1}")
    if not both_ways or marks[-1] == 0:
        yield from _forward_only(tracker, video, annotations, begin=begin, first=marks[0], look=look)
        return
    if not isinstance(tracker, PropagationTracker):
        raise SettingError(f"frame {marks[-1]} is annotated and this tracker goes forward only; leave --both-ways out")
    if not video.rewindable:
        raise SettingError(
            f"{video.name} cannot be rewound to go backward from frame {marks[-1]}; save it to a file first, or go forward only"
        )
    with tempfile.TemporaryDirectory() as temporary:
        between = _Between(tracker, video, annotations, scratch=scratch or Path(temporary), look=look)
        between.backward(on_backward)
        yield from between.forward(begin)


def _forward_only(
    tracker: Tracker, video: VideoSource, annotations: Annotations, *, begin: int, first: int, look: Look
) -> Iterator[tuple[Frame, TrackedFrame]]:
    waiting = {index for index, given in annotations.items() if given and index >= begin}
    for frame in look(video.frames(begin), first=first):
        given = annotations.get(frame.index, ())
        waiting.discard(frame.index)
        if frame.index < first:
            yield frame, _nothing(frame, annotations)
        elif frame.index == first:
            yield frame, tracker.start(frame, given)
        else:
            yield frame, tracker.step(frame, given)
    if waiting:
        raise AnnotationError(f"frame {min(waiting)} is annotated but {video.name} ended before it; frames are counted from 0")


def _nothing(frame: Frame, annotations: Annotations) -> TrackedFrame:
    any_masks = any(isinstance(a, Masks) for given in annotations.values() for a in given)
    masks = np.zeros(frame.image.shape[:2], np.uint8) if any_masks else None
    return TrackedFrame(index=frame.index, name=frame.name, time_seconds=frame.time_seconds, masks=masks, maps=None, objects=())


class _Between:
    """The two passes over one video, and the books that both share."""

    def __init__(self, tracker: PropagationTracker, video: VideoSource, annotations: Annotations, *, scratch: Path, look: Look) -> None:
        self.tracker, self.video, self.scratch, self.look = tracker, video, scratch, look
        self.annotations = {index: given for index, given in annotations.items() if given}
        self.marks = sorted(self.annotations)
        size = (video.height, video.width)
        grid = tracker.preset.resolution.grid(*size, stride=tracker.encoder.stride)
        self.books = Channels(image_size=size, grid=grid)
        self.marks_of: dict[str, list[int]] = {}
        self.given: dict[int, frozenset[Key]] = {}
        for index in self.marks:
            given = [self.books.items[channel] for channel in self.books.admit(self.annotations[index])]
            self.given[index] = frozenset(channel.key for channel in given)
            for name in dict.fromkeys(channel.name for channel in given):
                self.marks_of.setdefault(name, []).append(index)
        self.place = {channel.key: i for i, channel in enumerate(self.books.items) if channel.role != "validity"}
        self.anchors: dict[int, Anchor] = {}

    def backward(self, notify: Notify | None) -> None:
        """First pass; its label maps end up in a file of `scratch`, float16, frame after frame."""
        finished = self.scratch / "backward.npy"
        if not finished.exists():
            with atomic_path(finished) as partial:
                self._carry_back(partial, notify)
        self.maps: NDArray[np.float16] = np.load(finished, mmap_mode="r")
        if self.tracker.confidence:
            for index in self.marks:
                features = self.tracker.encode(self.video.frame(index))
                self.anchors[index] = Anchor(index=index, features=features, labels=self._stored(index).to(features.device))

    def _carry_back(self, path: Path, notify: Notify | None) -> None:
        last = self.marks[-1]
        shape = (last + 1, len(self.books), *self.books.grid)
        # Written, not mapped: on a full disk a write is an error that can be told, a mapped page kills the process.
        with path.open("w+b") as file:
            np.lib.format.write_array_header_2_0(file, {"descr": "<f2", "fortran_order": False, "shape": shape})
            start = file.tell()
            for frame in self.look(_reversed(self.video, last), first=0):
                if frame.index == last:
                    self.tracker.start(frame, self.annotations[last])
                else:
                    self.tracker.advance(frame, self.annotations.get(frame.index, ()))
                labels = self._in_order(self.tracker)
                file.seek(start + frame.index * labels.nbytes)
                file.write(labels.astype("<f2", copy=False).tobytes())
                if notify is not None:
                    notify(last - frame.index + 1, last + 1)

    def _in_order(self, tracker: PropagationTracker) -> NDArray[np.float16]:
        assert tracker.channels is not None
        assert tracker.labels is not None
        ordered = np.zeros((len(self.books), *self.books.grid), np.float16)
        labels = tracker.labels.cpu().numpy()
        for channel, values in zip(tracker.channels.items, labels, strict=True):
            if channel.role != "validity":
                ordered[self.place[channel.key]] = values
        return ordered

    def _stored(self, index: int) -> Tensor:
        return torch.from_numpy(self.maps[index].astype(np.float32))

    @torch.inference_mode()
    def forward(self, begin: int) -> Iterator[tuple[Frame, TrackedFrame]]:
        """Second pass: answers from frame `begin` on."""
        first, last = self.marks[0], self.marks[-1]
        for frame in self.look(self.video.frames(begin), first=0 if self.tracker.confidence else first):
            given = self.annotations.get(frame.index, ())
            if frame.index > first and frame.index >= last:
                yield frame, self.tracker.step(frame, given)
                continue
            if frame.index == first:
                self.tracker.start(frame, given)
            elif frame.index > first:
                self.tracker.advance(frame, given)
            yield frame, self._blend(frame)

    def _blend(self, frame: Frame) -> TrackedFrame:
        t, books = frame.index, self.books
        backward = self._stored(t).to(self.tracker.device)
        labels = backward.clone()
        if t >= self.marks[0] and self.tracker.labels is not None:
            forward = torch.zeros_like(labels)
            forward[: len(self.tracker.labels)] = self.tracker.labels
            for name, marks in self.marks_of.items():
                share = _share_of_backward(t, marks)
                rows = books.of(name)
                labels[rows] = (1 - share) * forward[rows] + share * backward[rows]
        masks = books.indices("mask")
        if masks:
            labels[masks] /= labels[masks].sum(0).clamp(min=1)
            labels[books.indices("background")] = (1 - labels[masks].sum(0)).clamp(min=0)
        given = self.annotations.get(t, ())
        nearest = {name: min(marks, key=lambda m: (abs(m - t), m)) for name, marks in self.marks_of.items()}
        features = None
        if self.tracker.confidence:
            features = self.tracker.features if t >= self.marks[0] else self.tracker.encode(frame)
        return answer(
            frame,
            books,
            labels,
            features=features,
            anchors={name: self.anchors[index] for name, index in nearest.items()} if features is not None else {},
            fixed=self.given.get(t, frozenset()),
            annotations=given,
        )


def _share_of_backward(t: int, marks: Sequence[int]) -> float:
    """How much the backward pass counts: 0 at the annotated frame before t, 1 at the one after it."""
    before = max((m for m in marks if m <= t), default=None)
    after = min((m for m in marks if m >= t), default=None)
    if after is None or before == t:
        return 0.0
    return 1.0 if before is None else (t - before) / (after - before)


def _reversed(video: VideoSource, last: int) -> Iterator[Frame]:
    """Frames `last` down to 0, decoded in chunks."""
    for stop in range(last + 1, 0, -CHUNK):
        yield from reversed(list(video.frames(max(0, stop - CHUNK), stop)))
