"""What all trackers have in common: what they demand of what they are given, and how they go through a stream."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from followspot.errors import AnnotationError, VideoError
from followspot.tracking.base import Tracker
from followspot.types import Annotation, Frame, TrackedFrame


def require_annotations(annotations: object) -> None:
    """Refuses to begin with nothing.

    Args:
        annotations: anything that is false when nothing is annotated.

    Raises:
        AnnotationError: nothing is annotated.
    """
    if not annotations:
        raise AnnotationError("nothing to follow: give at least one mask, box, point, keypoints or label map")


def require_size(frame: Frame, size: tuple[int, int]) -> None:
    """Refuses a frame of another size.

    Args:
        frame: the frame.
        size: ``(H, W)`` of the frames before it.

    Raises:
        VideoError: the sizes differ.
    """
    height, width = frame.image.shape[:2]
    if (height, width) != size:
        began = f"{size[1]}x{size[0]}"
        raise VideoError(f"frame {frame.name} is {width}x{height} but the video began with {began}; all frames must have one size")


def stream(
    tracker: Tracker, frames: Iterable[Frame], annotations: Mapping[int, Sequence[Annotation]], *, following: Callable[[], bool]
) -> Iterator[TrackedFrame]:
    """Drives a tracker forward through frames, from the first annotated one on.

    Args:
        tracker: is reset.
        frames: from anywhere; frames before the first annotated one are passed over.
        annotations: by frame index.
        following: whether the tracker has anything to follow.

    Yields:
        One answer a frame.

    Raises:
        AnnotationError: nothing is annotated, or the frames end before an annotated one.
    """
    require_annotations(any(annotations.values()))
    tracker.reset()
    waiting = {index for index, given in annotations.items() if given}
    for frame in frames:
        given = annotations.get(frame.index, ())
        waiting.discard(frame.index)
        if following():
            yield tracker.step(frame, given)
        elif given:
            yield tracker.start(frame, given)
    if waiting:
        raise AnnotationError(f"frame {min(waiting)} is annotated but the video has no such frame; frames are counted from 0")
