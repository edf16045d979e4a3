"""Which frames a video file holds and when: one pass over its packets, without decoding."""

import bisect
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from followspot.errors import VideoError
from followspot.io.structure import codec_code, unreadable

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

_REORDERING = {"h264", "hevc", "mpeg4", "msmpeg4v3", "mpeg2video", "vc1", "wmv3"}
"""Codecs with B-frames: AVI has no presentation times, so the demuxer's guesses for these are wrong (seen with libx264 in AVI)."""

_HIDDEN_FRAMES = {"vp8", "mpeg4"}
"""Codecs with packets that show nothing (the alternate reference frame, RFC 6386 §9.7; uncoded VOPs, ISO/IEC 14496-2 §6.3.5)."""


@dataclass(frozen=True, kw_only=True)
class FrameIndex:
    """What one pass over a file found."""

    count: int
    """Frames whose data is there, whole or in part."""
    promised: int
    """Frames that the file's own header promises: more than ``count`` only in a cut file."""
    pts: tuple[int, ...]
    """Presentation times, ascending, in the stream's time base; empty where the file has no usable clock."""
    keys: tuple[int, ...]
    """Indices of key frames, ascending; empty without a clock."""

    def position(self, pts: int | None) -> int | None:
        """The index of the frame with this time; None if there is none."""
        if pts is None:
            return None
        index = bisect.bisect_left(self.pts, pts)
        return index if index < len(self.pts) and self.pts[index] == pts else None

    def anchors(self, start: int) -> list[int]:
        """Where decoding towards ``start`` may begin: the key frame at or before it, the one before that, the beginning."""
        before = self.keys[: bisect.bisect_right(self.keys, start)]
        return list(dict.fromkeys([*before[:-3:-1], 0]))


def video_stream(container: "InputContainer", path: Path) -> "VideoStream":
    """The first stream of moving pictures; cover art is not one.

    Raises:
        VideoError: there is none, the file is text, or its decoder is missing.
    """
    if container.format.name == "tty":
        raise VideoError(unreadable(path, "text"))
    from av.stream import Disposition

    streams = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not streams:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        raise VideoError(f"{path} has no video stream, only {kinds}; give a file with moving pictures")
    stream = streams[0]
    if stream.codec_context is None:
        code = codec_code(path)
        codec = f"{code!r}" if code else "its video codec"
        lacks = f"{path} needs a decoder for {codec} that this build of PyAV lacks"
        raise VideoError(f"{lacks}; convert it: ffmpeg -i {path.name} -c:v libx264 out.mp4")
    return stream


def scan(container: "InputContainer", stream: "VideoStream", *, first_pts: int | None, cut: bool) -> FrameIndex:
    """Read every packet once.

    Args:
        container: freshly opened; it is at its end afterwards.
        stream: the video stream in it.
        first_pts: time of the first frame that can be decoded; what an open group of pictures shows before it needs frames that
            were cut away, so players skip it too.
        cut: whether the file is known to end early, so that its header is to be believed rather than its packets.
    """
    import av

    times: list[int | None] = []
    keys: list[int | None] = []
    dropped = 0
    try:
        for packet in container.demux(stream):
            hidden = packet.is_discard or (packet.pts is not None and first_pts is not None and packet.pts < first_pts)
            if hidden:
                dropped += 1
            elif packet.size:
                times.append(packet.pts)
                keys += [packet.pts] if packet.is_keyframe else []
    except av.FFmpegError:
        # Reading the frames will come to the same place and say so.
        cut = True
    promised = max(len(times), _promised(container, stream) - dropped if cut else 0)
    if not _has_clock(container, stream, times):
        return FrameIndex(count=len(times), promised=promised, pts=(), keys=())
    return with_clock([time for time in times if time is not None], keys, promised=promised)


def with_clock(times: list[int], keys: Iterable[int | None], *, promised: int) -> FrameIndex:
    """An index from presentation times in any order and those of the key frames."""
    pts = tuple(sorted(times))
    where = {time: index for index, time in enumerate(pts)}
    return FrameIndex(count=len(pts), promised=promised, pts=pts, keys=tuple(sorted(where[key] for key in keys if key in where)))


def _has_clock(container: "InputContainer", stream: "VideoStream", times: list[int | None]) -> bool:
    """Whether packet times are there, differ, and are one for each frame shown."""
    codec = stream.codec_context.name
    if codec.startswith("lib"):
        codec = codec.removeprefix("lib")
    guessed = container.format.name == "avi" and codec in _REORDERING
    return not guessed and codec not in _HIDDEN_FRAMES and None not in times and len(set(times)) == len(times)


def _promised(container: "InputContainer", stream: "VideoStream") -> int:
    """How many frames the header speaks of: counted, or its duration times its rate."""
    if stream.frames:
        return stream.frames
    rate = stream.average_rate or stream.guessed_rate
    return round(container.duration / 1_000_000 * float(rate)) if container.duration and rate else 0
