"""What every tracker can do; the command line, the benchmarks and a robot drive this and nothing else."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from followspot.types import Annotation, Frame, TrackedFrame


@runtime_checkable
class Tracker(Protocol):
    """A state machine with bounded memory: frames go in one by one, answers come out."""

    def start(self, frame: Frame, annotations: Sequence[Annotation]) -> TrackedFrame:
        """Forgets everything and begins at this frame with what is annotated on it."""
        ...

    def step(self, frame: Frame, annotations: Sequence[Annotation] = ()) -> TrackedFrame:
        """Carries all objects into the next frame; annotations on it correct them or add new ones."""
        ...

    def add(self, annotations: Sequence[Annotation]) -> TrackedFrame:
        """Corrects or adds objects on the frame of the last `start` or `step`, and answers for it anew."""
        ...

    def remove(self, name: str) -> None:
        """Stops following an object."""
        ...

    def reset(self) -> None:
        """Forgets everything."""
        ...

    def stream(self, frames: Iterable[Frame], annotations: Mapping[int, Sequence[Annotation]]) -> Iterator[TrackedFrame]:
        """Answers frame by frame at constant memory, for videos without an end; annotations by frame index."""
        ...


@runtime_checkable
class Resumable(Protocol):
    """What a tracker can that goes on after a kill where it was, with the same answers; others start again."""

    def state(self) -> Mapping[str, Any]:
        """Everything needed to go on with `Tracker.step`: plain data and arrays, without what can be computed anew from frames."""
        ...

    def restore(self, state: Mapping[str, Any], frame_at: Callable[[int], Frame]) -> None:
        """Goes on where `state` was taken; `frame_at` gives the frame of an index."""
        ...
