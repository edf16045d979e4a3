"""Video files through PyAV: exact by index, rotated as the header says, honest about damage."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from itertools import chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from followspot.errors import TruncatedVideoError, VideoError
from followspot.io.frame_index import FrameIndex, scan, video_stream, with_clock
from followspot.io.source import DEFAULT_FPS, Picture, VideoSource, checked_fps, same_size
from followspot.io.structure import ends_early, unreadable
from followspot.types import Frame

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream


class _DamageError(Exception):
    """Decoding came to data that is not right. Never leaves this module."""


class ContainerVideo(VideoSource):
    """A video file (mp4, mov, mkv, webm, avi, GIF and whatever else PyAV reads).

    Frames come in presentation order, turned as the header's display matrix says, 10 bits and more rounded to 8, gray as
    RGB, without alpha. Files that end early or hold damaged data deliver every frame before the damage and then raise
    :class:`~followspot.errors.TruncatedVideoError`. Flipped bits
    are found where FFmpeg's decoder stumbles over them: nearly always in H.264 and MPEG-4, now and then in HEVC and VP9, never
    in a GIF.

    Args:
        path: the file.
        fps: overrules the file's clock: times become index / fps. By default times come from the file, frame 0 at 0 s.

    Raises:
        VideoError: the file is no video, its decoder is missing, or not even its first frame can be decoded.
    """

    def __init__(self, path: Path, *, fps: float | None = None) -> None:
        self._path = path
        self._running: list[InputContainer] = []
        self._cut = path.stat().st_size > 0 and ends_early(path)
        given_fps = checked_fps(fps)
        with self._opened(careful=True) as (container, stream):
            rate = stream.average_rate or stream.guessed_rate
            try:
                first = next(_decoded(container, stream, drain=True), None)
            except _DamageError as error:
                raise VideoError(f"{path}: not even its first frame can be decoded ({error}); copy or download the file again") from error
            if first is None:
                raise VideoError(f"{path} has a video stream but no frame in it; copy or record the file again")
            # AVI has no presentation times.
            self._by_rate = given_fps is not None or container.format.name == "avi"
            self._is_gif = container.format.name == "gif"
        self._first_pts = first.pts
        height, width = upright(first).shape[:2]
        super().__init__(
            name=path.stem, height=height, width=width, fps=given_fps or (float(rate) if rate else DEFAULT_FPS), rewindable=True
        )

    @cached_property
    def _index(self) -> FrameIndex:
        """Made on first use: a short clip is often read once from the front, which needs none."""
        with self._opened(careful=False) as (container, stream):
            index = scan(container, stream, first_pts=self._first_pts, cut=self._cut)
        return index if index.pts else self._indexed_by_decoding(index)

    def _indexed_by_decoding(self, scanned: FrameIndex) -> FrameIndex:
        """Count the frames themselves where packets do not tell."""
        times: list[int | None] = []
        keys: list[int | None] = []
        damaged = False
        with self._opened(careful=True) as (container, stream):
            guessed = container.format.name == "avi"
            try:
                for frame in _decoded(container, stream, drain=False):
                    times.append(frame.pts)
                    keys += [frame.pts] if frame.key_frame else []
            except _DamageError:
                damaged = True
        promised = scanned.promised if self._cut or damaged else len(times)
        ascending = [time for time in times if time is not None]
        if guessed or len(ascending) < len(times) or any(late <= early for early, late in pairwise(ascending)):
            return FrameIndex(count=len(times), promised=promised, pts=(), keys=())
        return with_clock(ascending, keys, promised=promised)

    @property
    def num_frames(self) -> int:
        """How many frames the file promises (the first call reads through it once, without decoding where it can)."""
        return self._index.promised

    def _identity(self) -> bytes:
        facts = self._path.stat()
        return json.dumps([str(self._path.resolve()), facts.st_size, facts.st_mtime_ns]).encode()

    def close(self) -> None:
        """Close whatever is open; iterators that are under way end with a VideoError. Safe to call twice."""
        while self._running:
            self._running.pop().close()

    def _read(self, start: int, stop: int | None) -> Iterator[Frame]:
        position, damaged = start, False
        for careful in (False, True):
            try:
                for frame in self._decode(position, stop, careful=careful):
                    yield frame
                    position += 1
                break
            except _DamageError:
                # Threads lose the good frames in flight when one fails, so the rest is fetched again by one thread.
                damaged = True
        else:
            self._complain(position, stop)
        if self._cut or damaged:
            self._complain(position, stop)

    def _complain(self, position: int, stop: int | None) -> None:
        """Raise if frames that were asked for are missing after ``position``."""
        expected = self._index.promised
        if position >= (expected if stop is None else min(stop, expected)):
            return
        message = f"{self._path} ends after {position} of {expected} frames (truncated or damaged): the frames before that are fine"
        cure = "re-copy or re-download the file for the rest"
        raise TruncatedVideoError(f"{message}; {cure}", decoded=position, expected=expected)

    def _decode(self, start: int, stop: int | None, *, careful: bool) -> Iterator[Frame]:
        """Frames ``start`` to ``stop``; raises _DamageError where the data is bad."""
        if self._cut and self._is_gif:
            # The last picture of a cut GIF is half there and nothing marks it.
            stop = min(self._index.count - 1, self._index.count if stop is None else stop)
        if stop is not None and start >= stop:
            return
        index = self._index if careful else None
        for position, decoded in self._run(start, careful=careful):
            if index is not None and index.pts and index.position(decoded.pts) != position:
                raise _DamageError("a frame is missing")
            image = upright(decoded)
            same_size(self, image, what=f"frame {position}")
            yield Frame(image=image, index=position, time_seconds=self._time(position, decoded), name=f"{position:05d}")
            if stop is not None and position + 1 >= stop:
                return

    def _time(self, position: int, decoded: "VideoFrame") -> float:
        if self._by_rate or decoded.pts is None or self._first_pts is None or decoded.time_base is None:
            return position / self.fps
        return float((decoded.pts - self._first_pts) * decoded.time_base)

    def _run(self, start: int, *, careful: bool) -> Iterator[tuple[int, "VideoFrame"]]:
        """Decoded frames from ``start`` on, each with its index."""
        # Without a clock nobody can tell whether the frames that wait for reordering come next or after a lost one.
        drain = careful and bool(self._index.pts)
        for anchor in self._index.anchors(start) if start else [0]:
            with self._opened(careful=careful) as (container, stream):
                frames = self._from_anchor(container, stream, anchor=anchor, drain=drain)
                try:
                    position, first = next(frames, (None, None))
                    while position is not None and position < start:
                        position, first = next(frames, (None, None))
                except _DamageError:
                    if anchor == 0:
                        raise
                    continue
                if anchor == 0 or position == start:
                    yield from chain([(position, first)] if position is not None and first is not None else [], frames)
                    return

    def _from_anchor(
        self, container: "InputContainer", stream: "VideoStream", *, anchor: int, drain: bool
    ) -> Iterator[tuple[int, "VideoFrame"]]:
        """Decoded frames from a key frame on, each with its index."""
        if anchor:
            container.seek(self._index.pts[anchor], stream=stream)
        frames = _decoded(container, stream, drain=drain)
        position = 0
        for number, frame in enumerate(frames):
            if number == 0 and anchor:
                found = self._index.position(frame.pts)
                if found is None:
                    raise _DamageError("the seek landed between frames")
                position = found
            yield position, frame
            position += 1
            if container not in self._running:
                raise VideoError(f"{self._path} was closed while its frames were read; read inside the with block")

    @contextmanager
    def _opened(self, *, careful: bool) -> Iterator[tuple["InputContainer", "VideoStream"]]:
        """The file, opened; ``careful`` decodes with one thread."""
        import av

        try:
            container = av.open(str(self._path))
        except (av.FFmpegError, OSError) as error:
            raise VideoError(unreadable(self._path, error.strerror or "unknown format")) from error
        self._running.append(container)
        try:
            stream = video_stream(container, self._path)
            stream.thread_type = "AUTO"
            stream.codec_context.thread_count = 1 if careful else 0
            # Without this FFmpeg paints over damage and says nothing.
            stream.codec_context.options = {"err_detect": "explode"}
            yield container, stream
        finally:
            if container in self._running:
                self._running.remove(container)
            container.close()


def _decoded(container: "InputContainer", stream: "VideoStream", *, drain: bool) -> Iterator["VideoFrame"]:
    """Frames in presentation order until the end or the first damage.

    Args:
        container: opened, perhaps after a seek.
        stream: the video stream in it.
        drain: whether frames that wait for reordering are given out before the damage is raised.

    Raises:
        _DamageError: a packet or frame is damaged.
    """
    import av

    damage: str
    first_pts: int | None = None
    # What H.264 shows before an open key frame needs frames before it, which we do not have; HEVC's decoder knows that itself.
    leading = stream.codec_context.name == "h264"
    try:
        for packet in container.demux(stream):
            if leading and first_pts is not None:
                leading = packet.pts is not None and packet.pts < first_pts
                if leading:
                    continue
            first_pts = packet.pts if first_pts is None else first_pts
            if packet.is_corrupt:
                damage = "packet cut off"
                break
            for frame in packet.decode():
                if frame.is_corrupt:
                    raise _DamageError("frame damaged")
                yield frame
        else:
            return
    except av.FFmpegError as error:
        damage = error.strerror or "bad data"
    if drain:
        try:
            waiting = [frame for frame in stream.codec_context.decode(None) if not frame.is_corrupt]
        except av.FFmpegError:
            waiting = []
        yield from waiting
    raise _DamageError(damage)


def upright(frame: "VideoFrame") -> Picture:
    """RGB ``(H, W, 3)``, turned as the header says (PyAV gives counter-clockwise degrees and does not turn by itself)."""
    image: Picture = frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
    return np.ascontiguousarray(np.rot90(image, round(frame.rotation / 90)))
