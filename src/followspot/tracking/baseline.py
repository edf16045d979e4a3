"""What the simple trackers have in common: the whole protocol but for how things move from one frame to the next."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence

from followspot.errors import AnnotationError, SettingError
from followspot.tracking.carried import Carried
from followspot.tracking.rules import require_annotations, require_size, stream
from followspot.types import Annotation, Frame, TrackedFrame


class BaselineTracker(ABC):
    """A tracker that carries annotations as they are, in pixels. It remembers the latest frame and makes no claim of confidence."""

    def __init__(self) -> None:
        self.reset()

    @abstractmethod
    def _move(self, carried: Carried, before: Frame, *, now: Frame) -> None:
        """Moves all that is carried from one frame to the next."""

    def _notice(self, frame: Frame, annotations: Sequence[Annotation]) -> None:
        """Called before annotations are taken over; may refuse them."""
        return

    def reset(self) -> None:
        """Forgets everything."""
        self._carried: Carried | None = None
        self._frame: Frame | None = None

    def start(self, frame: Frame, annotations: Sequence[Annotation]) -> TrackedFrame:
        """Forgets everything and begins at this frame.

        Args:
            frame: the annotated frame.
            annotations: what to follow.

        Returns:
            The annotations as given, for this frame.

        Raises:
            AnnotationError: nothing is annotated, or it does not fit the frame.
        """
        require_annotations(annotations)
        self.reset()
        self._frame = frame
        return self.add(annotations)

    def step(self, frame: Frame, annotations: Sequence[Annotation] = ()) -> TrackedFrame:
        """Carries all objects into the next frame.

        Args:
            frame: the next frame, of the same size as the first.
            annotations: corrections of objects and new objects, for this frame.

        Returns:
            The answer for this frame.

        Raises:
            SettingError: `start` was not called.
            VideoError: the frame has another size.
            AnnotationError: an annotation does not fit.
        """
        if self._carried is None or self._frame is None:
            raise SettingError("step() before start(): call start(frame, annotations) on the annotated frame first")
        require_size(frame, self._carried.size)
        self._move(self._carried, self._frame, now=frame)
        self._frame = frame
        return self.add(annotations) if annotations else self._carried.answer(frame)

    def add(self, annotations: Sequence[Annotation]) -> TrackedFrame:
        """Corrects or adds objects on the latest frame.

        Args:
            annotations: for the frame of the last `start` or `step`.

        Returns:
            The answer for that frame, anew.

        Raises:
            AnnotationError: an annotation does not fit.
            SettingError: there was no frame yet.
        """
        if self._frame is None:
            raise SettingError("add() before start(): call start(frame, annotations) on the annotated frame first")
        height, width = self._frame.image.shape[:2]
        carried = self._carried or Carried((height, width))
        self._notice(self._frame, annotations)
        carried.put(annotations)
        self._carried = carried
        return carried.answer(self._frame)

    def remove(self, name: str) -> None:
        """Stops following an object; without the last one the tracker is as new.

        Args:
            name: of the object.

        Raises:
            AnnotationError: nothing of that name is followed.
        """
        if self._carried is None:
            raise AnnotationError(f"cannot remove {name!r}: followed are nothing yet")
        self._carried.drop(name)
        if not self._carried.names:
            self.reset()

    def stream(self, frames: Iterable[Frame], annotations: Mapping[int, Sequence[Annotation]]) -> Iterator[TrackedFrame]:
        """Answers frame by frame, forward only, at constant memory.

        Args:
            frames: from anywhere; frames before the first annotated one are passed over.
            annotations: by frame index.

        Yields:
            One answer a frame, from the first annotated frame on.

        Raises:
            AnnotationError: nothing is annotated, or the video ends before the annotated frame.
        """
        yield from stream(self, frames, annotations, following=lambda: self._carried is not None)
