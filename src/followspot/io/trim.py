"""A stretch of a video as a file of its own, exact to the frame."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from followspot.errors import VideoError
from followspot.io.source import VideoSource
from followspot.io.video import open_video
from followspot.io.writer import VideoWriter
from followspot.types import Frame

# Seconds: WebM's clock counts milliseconds (Matroska's default TimestampScale), so a time may be that much too early.
_ROUNDING: Final = 1e-3


def trim(source: Path, target: Path, *, segment: tuple[float, float] | None) -> int:
    """Write the frames shown from ``start`` to before ``end``; without sound, times counted from the first of them.

    The target appears whole or not at all.

    Args:
        source: any video file.
        target: an ``.mp4``; its folder is made.
        segment: start and end in seconds of the source's clock; a source that ends earlier gives what it has. None: all of it.

    Returns:
        How many frames were written.

    Raises:
        VideoError: the source is damaged or the segment lies beyond its end.
        OutputError: the disk is full or the folder cannot be written to.
    """
    count, begun = 0, 0.0
    with open_video(source) as video:
        frames = video.frames() if segment is None else _between(video, *segment)
        first = next(frames, None)
        if first is None:
            start, end = segment or (0.0, 0.0)
            raise VideoError(f"{source.name} ends before {start:g} s, where the segment {start:g} to {end:g} s begins; check the list")
        with VideoWriter(target, height=video.height, width=video.width, fps=video.fps) as writer:
            begun = first.time_seconds
            writer.write(first.image, time_seconds=0.0)
            count = 1
            for frame in frames:
                writer.write(frame.image, time_seconds=frame.time_seconds - begun)
                count += 1
    return count


def _between(video: VideoSource, start: float, end: float) -> Iterator[Frame]:
    """Frames with ``start <= time < end``."""
    start, end = start - _ROUNDING, end - _ROUNDING
    for frame in _from(video, start):
        if frame.time_seconds >= end:
            return
        if frame.time_seconds >= start:
            yield frame


def _from(video: VideoSource, start: float) -> Iterator[Frame]:
    """Frames from one at or before ``start`` on, without decoding all before it where the frame rate is even."""
    guess = max(0, math.floor(start * video.fps))
    known = video.num_frames
    if known is not None:
        guess = min(guess, max(0, known - 1))
    frames = video.frames(guess)
    first = next(frames, None)
    if first is None or (guess > 0 and first.time_seconds > start):
        # The rate varies, or fewer frames can be decoded than the header says: only counting from the front is exact.
        yield from video.frames()
        return
    yield first
    yield from frames
