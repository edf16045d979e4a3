"""Cameras and network streams: frames that come once, as they come."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from followspot.errors import TruncatedVideoError, VideoError
from followspot.io.container import upright
from followspot.io.source import DEFAULT_FPS, OneWayVideo, Picture, checked_fps

if TYPE_CHECKING:
    from av.container import InputContainer

STREAM_PREFIXES = ("rtsp://", "rtsps://", "rtmp://", "http://", "https://", "udp://", "tcp://", "srt://", "/dev/video")
"""How the address of a camera or stream begins."""

_TIMEOUT_SECONDS = (10.0, 30.0)
"""How long opening and reading may take before a dead address is given up."""

_CAMERAS = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}")}
"""FFmpeg's input device and its name for camera number n, by ``sys.platform``."""


def camera(index: int, *, fps: float | None = None) -> OneWayVideo:
    """A camera by number.

    Raises:
        VideoError: there is none, or it cannot be opened by number on this system.
    """
    if index < 0 or sys.platform not in _CAMERAS:
        reason = "is not a camera number; cameras count from 0" if index < 0 else f"cannot be opened by number on {sys.platform}"
        raise VideoError(f"camera {index} {reason}; give a file, a folder or a stream address")
    kind, address = _CAMERAS[sys.platform]
    return stream_video(address.format(index), kind=kind, fps=fps)


def stream_video(address: str, *, kind: str | None = None, fps: float | None = None) -> OneWayVideo:
    """Frames of a camera device or network stream; bad packets are left to the decoder, because the next ones are better.

    Args:
        address: a URL or device.
        kind: FFmpeg's input format where the address does not tell.
        fps: overrules the stream's clock: times become index / fps.

    Raises:
        VideoError: it cannot be opened or shows nothing.
    """
    import av

    given_fps = checked_fps(fps)
    if kind is None and address.startswith("/dev/video"):
        kind = "v4l2"
    options = {"rtsp_transport": "tcp"} if address.startswith("rtsp") else {}
    try:
        container = av.open(address, format=kind, options=options, timeout=_TIMEOUT_SECONDS)
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise VideoError(f"{address} cannot be opened ({reason}); check the address, the cable and who else uses it") from error
    try:
        if not container.streams.video or container.streams.video[0].codec_context is None:
            raise VideoError(f"{address} has no video stream that can be decoded; check the address")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        rate = stream.average_rate or stream.guessed_rate
        pictures = _pictures(container, address, keep_clock=given_fps is None)
        return OneWayVideo(
            address, pictures, fps=given_fps or (float(rate) if rate else DEFAULT_FPS), on_close=lambda: _end(pictures, container)
        )
    except BaseException:
        container.close()
        raise


def _end(pictures: Iterator[tuple[Picture, float | None]], container: "InputContainer") -> None:
    """Stop the reader first: it must not touch a closed container."""
    close = getattr(pictures, "close", None)
    if close is not None:
        close()
    container.close()


def _pictures(container: "InputContainer", address: str, *, keep_clock: bool) -> Iterator[tuple[Picture, float | None]]:
    """RGB pictures and their seconds since the first one."""
    import av

    first, count = None, 0
    try:
        for frame in container.decode(video=0):
            first = frame.time if first is None else first
            yield upright(frame), frame.time - first if keep_clock and first is not None and frame.time is not None else None
            count += 1
    except av.FFmpegError as error:
        reason = f"{address} broke off after {count} frames ({error.strerror})"
        message = f"{reason}; what came before is fine: check the connection and start again"
        raise (TruncatedVideoError(message, decoded=count, expected=None) if count else VideoError(message)) from error
