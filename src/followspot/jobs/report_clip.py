"""Frames of a benchmark's video, as the benchmark itself shows them to a tracker."""

import contextlib
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from followspot.benchmarks.base import Benchmark
from followspot.errors import DatasetError
from followspot.tracking.identity import IdentityTracker
from followspot.types import Annotation, Frame, TrackedFrame


@dataclass(frozen=True, kw_only=True)
class Clip:
    """Some frames of a sequence."""

    sequence: str
    frames: tuple[Frame, ...]
    """In order; the first one is annotated."""


def watch(benchmark: Benchmark, sequence: str, wanted: Collection[int]) -> Clip:
    """Frames of a sequence, whatever its files look like.

    Args:
        benchmark: whose sequence it is.
        sequence: its name.
        wanted: indices of frames.

    Raises:
        DatasetError: a frame is missing, or none of them is shown to a tracker.
    """
    onlooker = _Onlooker(wanted)
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(_SeenEnough):
        benchmark.run(sequence, onlooker, Path(folder))
    if not onlooker.seen:
        raise DatasetError(f"{sequence!r} shows none of the frames {sorted(wanted)} to a tracker; check its files")
    return Clip(sequence=sequence, frames=tuple(onlooker.seen[index] for index in sorted(onlooker.seen)))


def spread(length: int, count: int, *, first: int = 0) -> tuple[int, ...]:
    """Indices from the first to the last frame, as even as whole numbers allow.

    >>> spread(10, 4), spread(2, 4)
    ((0, 3, 6, 9), (0, 1))
    """
    steps = min(count, length - first) - 1
    return (first,) if steps < 1 else tuple(round(first + index * (length - 1 - first) / steps) for index in range(steps + 1))


class _SeenEnough(Exception):
    """Ends the run of a benchmark from inside."""


class _Onlooker(IdentityTracker):
    """Follows nothing, and keeps the frames that are wanted."""

    def __init__(self, wanted: Collection[int]) -> None:
        super().__init__()
        self._wanted = frozenset(wanted)
        self.seen: dict[int, Frame] = {}

    def start(self, frame: Frame, annotations: Sequence[Annotation]) -> TrackedFrame:
        self._look(frame)
        return super().start(frame, annotations)

    def step(self, frame: Frame, annotations: Sequence[Annotation] = ()) -> TrackedFrame:
        self._look(frame)
        return super().step(frame, annotations)

    def _look(self, frame: Frame) -> None:
        if frame.index in self._wanted:
            self.seen[frame.index] = frame
        if self._wanted <= self.seen.keys():
            raise _SeenEnough
