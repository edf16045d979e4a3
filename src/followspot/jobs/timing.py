"""How fast a tracker's model is, how fast frames are read and how fast results are written, told apart: medians over frames.

One frame may wait for a disk or for memory; of such frames a median knows nothing. The annotated frame counts like any other.
"""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any, Final, TypeVar

import torch

from followspot.tracking.base import Tracker
from followspot.types import Annotation, Frame, TrackedFrame

Item = TypeVar("Item")

_REMEMBERED: Final = 10_000
"""Frames: a camera may run for weeks, and the memory that a run needs must not grow."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Median seconds a frame."""

    model: float
    """From a frame to its answer."""
    reading: float
    """Until a frame was there."""
    writing: float | None
    """Until its results were written; None: that is in `reading`, the protocol does both between two answers."""
    device: str
    """Where the model ran: ``"cpu (2 threads)"``, ``"cuda:0 (NVIDIA H200)"``."""

    def __str__(self) -> str:
        io = [f"reading {_rate(self.reading)}", f"writing {_rate(self.writing)}"]
        if self.writing is None:
            io = [f"reading and writing {_rate(self.reading)}"]
        return ", ".join([f"model {_rate(self.model)} (median)", *io, f"on {self.device}"])


class Stopwatch:
    """Frames and answers go through it and are timed on the way; where the steps of a run overlap, in several threads."""

    def __init__(self) -> None:
        self._model, self._reading, self._writing, self._between, self._ahead = (deque[float](maxlen=_REMEMBERED) for _ in range(5))
        self._read = 0.0
        self._left: float | None = None

    def frames(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """The same frames; what passes until one is there is reading."""
        return self.waited(self.read_ahead(frames))

    def read_ahead(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """The same frames; what passes until one is there is reading, which nothing waits for: it is of no matter to `computed`."""
        source = iter(frames)
        while True:
            began = time.perf_counter()
            frame = next(source, None)
            if frame is None:
                return
            self._reading.append(time.perf_counter() - began)
            yield frame

    def waited(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """The same frames, which come from steps that are timed themselves; what passes until one is there is nobody's work."""
        source = iter(frames)
        while True:
            began = time.perf_counter()
            frame = next(source, None)
            self._read += time.perf_counter() - began
            if frame is None:
                return
            yield frame

    def computed(self, answers: Iterable[Item]) -> Iterator[Item]:
        """The same answers; what passes until one is there, less waiting for the frame, is the model."""
        source = iter(answers)
        while True:
            began, read = time.perf_counter(), self._read
            try:
                answer = next(source)
            except StopIteration:
                return
            self._model.append(time.perf_counter() - began - (self._read - read))
            yield answer

    def answers(self, answers: Iterable[Item]) -> Iterator[Item]:
        """The same as `computed`; what passes until the next is asked for is writing."""
        for answer in self.computed(answers):
            done = time.perf_counter()
            yield answer
            self._writing.append(time.perf_counter() - done)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """What passes in the block is writing."""
        began = time.perf_counter()
        yield
        self._writing.append(time.perf_counter() - began)

    @contextmanager
    def looking(self) -> Iterator[None]:
        """What passes in the block is the model's work on a frame that it has not come to yet."""
        began = time.perf_counter()
        yield
        self._ahead.append(time.perf_counter() - began)

    def begin(self) -> float:
        """One answer is asked for by a call: now; what passed since the last one was reading and writing."""
        now = time.perf_counter()
        if self._left is not None:
            self._between.append(now - self._left)
        return now

    def end(self, began: float) -> None:
        """It is there."""
        self._left = time.perf_counter()
        self._model.append(self._left - began)

    def pace(self, device: str) -> Pace | None:
        """What was seen so far; None without a frame.

        Args:
            device: where the model ran.
        """
        if not self._model or not (self._reading or self._between):
            return None
        if not self._reading:
            return Pace(model=median(self._model), reading=median(self._between), writing=None, device=device)
        writing = median(self._writing) if self._writing else None
        ahead = median(self._ahead) if self._ahead else 0.0
        return Pace(model=median(self._model) + ahead, reading=median(self._reading), writing=writing, device=device)


class TimedTracker:
    """A tracker whose answers are timed, whether it is driven frame by frame or through a stream.

    What it has beyond `Tracker` is found here as well.

    Args:
        tracker: does the work.
    """

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._watch = Stopwatch()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 whatever the tracker has
        return getattr(self._tracker, name)

    @property
    def confidence(self) -> bool:
        """Whether it says how sure it is, where it has a choice; some protocols switch it on."""
        return bool(getattr(self._tracker, "confidence", False))

    @confidence.setter
    def confidence(self, value: bool) -> None:
        if hasattr(self._tracker, "confidence"):
            self._tracker.confidence = value

    def start(self, frame: Frame, annotations: Sequence[Annotation]) -> TrackedFrame:
        """See `Tracker`."""
        began = self._watch.begin()
        answer = self._tracker.start(frame, annotations)
        self._watch.end(began)
        return answer

    def step(self, frame: Frame, annotations: Sequence[Annotation] = ()) -> TrackedFrame:
        """See `Tracker`."""
        began = self._watch.begin()
        answer = self._tracker.step(frame, annotations)
        self._watch.end(began)
        return answer

    def add(self, annotations: Sequence[Annotation]) -> TrackedFrame:
        """See `Tracker`; a correction is no frame, and not timed."""
        return self._tracker.add(annotations)

    def remove(self, name: str) -> None:
        """See `Tracker`."""
        self._tracker.remove(name)

    def reset(self) -> None:
        """See `Tracker`."""
        self._tracker.reset()

    def stream(self, frames: Iterable[Frame], annotations: Mapping[int, Sequence[Annotation]]) -> Iterator[TrackedFrame]:
        """See `Tracker`."""
        return self._watch.answers(self._tracker.stream(self._watch.frames(frames), annotations))

    def pace(self) -> Pace | None:
        """What was seen so far; None without a frame."""
        return self._watch.pace(device_of(self._tracker))


def device_of(tracker: object) -> str:
    """Where a tracker computes, for people; one that does not say so computes on the CPU.

    Args:
        tracker: any; those with networks have a ``device``.
    """
    device = getattr(tracker, "device", None)
    if isinstance(device, torch.device) and device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    threads = torch.get_num_threads()
    return f"cpu ({threads} thread{'' if threads == 1 else 's'})"


def total_pace(paces: Sequence[tuple[int, Pace]]) -> Pace | None:
    """The median of the medians of several sequences, each counted as often as it has frames; None without any.

    Args:
        paces: frames and medians of each sequence.
    """
    if not paces:
        return None
    apart = all(pace.writing is not None for _, pace in paces)
    return Pace(
        model=_middle([(frames, pace.model) for frames, pace in paces]),
        reading=_middle([(frames, pace.reading) for frames, pace in paces]),
        writing=_middle([(frames, pace.writing or 0.0) for frames, pace in paces]) if apart else None,
        device=" and ".join(dict.fromkeys(pace.device for _, pace in paces)),
    )


def _middle(values: Sequence[tuple[int, float]]) -> float:
    """The smallest value that at least half of the weight does not exceed."""
    total, half = 0, sum(weight for weight, _ in values) / 2
    for weight, value in sorted(values, key=lambda pair: pair[1]):
        total += weight
        if total >= half:
            return value
    return 0.0


def _rate(seconds: float | None) -> str:
    """Frames a second with three digits.

    >>> _rate(0.09), _rate(0.004761)
    ('11.1 frames/s', '210 frames/s')
    """
    rate = 1 / max(seconds or 0.0, 1e-6)  # no clock tells less than a microsecond
    return f"{rate:.{max(0, 2 - len(str(int(rate))) + 1)}f} frames/s"
