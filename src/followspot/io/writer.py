"""Videos out: H.264 that browsers play, written beside the target and moved onto it when whole."""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, cast

import numpy as np
from numpy.typing import NDArray

from followspot.errors import OutputError, SettingError, VideoError
from followspot.io.files import output_error

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.stream import VideoStream

_CLOCK = 90_000
"""Ticks a second: divides 24, 25, 30, 50, 60 and 30000/1001 frames a second exactly (the clock of MPEG-2 systems)."""

_FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
"""FFmpeg's muxer for a file ending; named because the partial file has another ending."""

VIDEO_SUFFIXES = tuple(_FORMATS)
"""Endings of files that `VideoWriter` writes."""

_ENCODERS = {"h264": "libx264", "hevc": "libx265", "h265": "libx265", "av1": "libsvtav1"}
"""The software encoder of each codec: the same bytes on every run, which hardware encoders do not promise."""

_ENCODER_OPTIONS = {"libx264": {"preset": "veryfast", "mbtree": "0"}, "libx265": {"preset": "veryfast", "x265-params": "log-level=error"}}
"""Presets of x264's default speed halve the rate for 5 % of the size. Its macroblock tree (mbtree) gave other bytes on every run."""

_BT709 = 1
"""Code of BT.709 in ITU-T H.273 tables 2 to 4; untagged video is guessed by its size and comes out in other colours."""


class VideoWriter:
    """Writes RGB pictures as a video: yuv420p, index first (faststart), variable frame rate kept, the same bytes every time.

    Use it in a ``with`` block. The target appears when the block ends well; after an exception, or a full disk, the partial
    file is gone and an older target is untouched. Odd sizes get one more row or column, a copy of the last.

    Args:
        path: the target: .mp4, .m4v, .mov or .mkv.
        height: of the pictures, in pixels.
        width: of the pictures, in pixels.
        fps: frames per second, used where :meth:`write` is given no time.
        codec: "h264", "hevc" or "av1", or the name of an encoder that PyAV has.
        crf: quality, 0 (best) to 51; 20 cannot be told from the original at a glance.

    Raises:
        SettingError: fps, crf or a size is out of range.
        OutputError: the folder (made if missing) cannot be written to, or the disk is full.
        VideoError: the ending or encoder is not available.
    """

    def __init__(self, path: str | Path, *, height: int, width: int, fps: float, codec: str = "h264", crf: int = 20) -> None:
        self.path = Path(path)
        self._partial = self.path.with_name(f".{self.path.name}.partial")
        self._size = (height, width)
        self._rate = fps
        self._last = -1
        self._origin: float | None = None
        self._count = 0
        self._container: OutputContainer | None = None
        self._check(height, width, fps, crf)
        self._container, self._stream = self._start(codec, crf)

    def _check(self, height: int, width: int, fps: float, crf: int) -> None:
        if not (math.isfinite(fps) and fps > 0):
            raise SettingError(f"fps {fps} is not a frame rate; give a number above 0, such as 24")
        if not 0 <= crf <= 51:
            raise SettingError(f"crf {crf} is not a quality; give 0 (best) to 51, such as 20")
        if height < 1 or width < 1:
            raise SettingError(f"a video of {width}x{height} has no pixels; give the size of the pictures")
        if self.path.suffix.lower() not in _FORMATS:
            raise VideoError(f"{self.path} cannot be written: videos end in {', '.join(_FORMATS)}; rename it to {self.path.stem}.mp4")
        if self.path.is_dir():
            raise OutputError(f"{self.path} is a folder; give the name of a file")

    def _start(self, codec: str, crf: int) -> tuple["OutputContainer", "VideoStream"]:
        """Open the partial file with its stream."""
        import av

        encoder, muxer = _ENCODERS.get(codec, codec), _FORMATS[self.path.suffix.lower()]
        try:
            kind = av.Codec(encoder, "w").type
        except (av.FFmpegError, ValueError) as error:
            missing = f"this build of PyAV has no {codec} encoder, which {self.path.name} needs"
            raise VideoError(f"{missing}; run: pip install --force-reinstall av") from error
        if kind != "video":
            raise VideoError(f"{codec} encodes {kind}, not pictures; use h264, hevc or av1")
        with self._guarded():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            container = av.open(str(self._partial), "w", format=muxer, options={} if muxer == "matroska" else {"movflags": "+faststart"})
        # Denominators up to 1001 hold every broadcast rate, 30000/1001 among them.
        rate = max(Fraction(self._rate).limit_denominator(1001), Fraction(1, 1001))
        options = {"crf": str(crf), **_ENCODER_OPTIONS.get(encoder, {})}
        try:
            stream = cast("VideoStream", container.add_stream(encoder, rate=rate, options=options))
        except (av.FFmpegError, ValueError) as error:
            self._drop(container)
            raise VideoError(f"{self.path.suffix} files cannot hold {codec}; write h264, or an .mkv file") from error
        height, width = self._size
        stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        context = stream.codec_context
        context.time_base = Fraction(1, _CLOCK)
        context.colorspace = context.color_primaries = context.color_trc = context.color_range = _BT709
        return container, stream

    def write(self, image: NDArray[np.uint8], *, time_seconds: float | None = None) -> None:
        """Add one picture.

        Args:
            image: RGB uint8 ``(height, width, 3)``.
            time_seconds: when it is shown, counted from the first picture's time; by default one ``1 / fps`` after the last.
                A time that does not pass the last one's is moved one tick (1/90000 s) after it: a video cannot go back.

        Raises:
            VideoError: the picture has another size or type, or the time is not a number.
            OutputError: the disk is full or the file cannot be written; the partial file is removed.
        """
        import av

        if self._container is None:
            raise VideoError(f"{self.path} is finished; make a new VideoWriter to write more")
        if image.shape != (*self._size, 3) or image.dtype != np.uint8:
            height, width = self._size
            raise VideoError(f"{self.path} takes RGB uint8 ({height}, {width}, 3), got {image.dtype} {image.shape}; resize or convert it")
        pad = ((0, image.shape[0] % 2), (0, image.shape[1] % 2), (0, 0))
        frame = av.VideoFrame.from_ndarray(np.pad(image, pad, mode="edge"), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709")
        frame.pts, frame.time_base = self._tick(time_seconds), Fraction(1, _CLOCK)
        with self._guarded():
            self._container.mux(self._stream.encode(frame))
        self._count += 1

    def _tick(self, time_seconds: float | None) -> int:
        """The picture's time in ticks, after the last one's."""
        step = _CLOCK / self._rate
        if time_seconds is None:
            tick = round(self._count * step) if self._origin is None else self._last + max(1, round(step))
        elif math.isfinite(time_seconds):
            self._origin = time_seconds if self._origin is None else self._origin
            tick = round((time_seconds - self._origin) * _CLOCK)
        else:
            raise VideoError(f"time {time_seconds} of frame {self._count} is not a number of seconds; leave it out to use fps")
        self._last = max(tick, self._last + 1)
        return self._last

    def close(self) -> None:
        """Finish the file and move it onto the target; safe to call twice.

        Raises:
            VideoError: nothing was written.
            OutputError: the disk is full or the file cannot be written.
        """
        if self._container is None:
            return
        if self._count == 0:
            self.abort()
            raise VideoError(f"{self.path} got no picture, so there is no video to write; write at least one")
        with self._guarded():
            self._container.mux(self._stream.encode(None))
            self._container.close()
            self._container = None
            os.replace(self._partial, self.path)

    def abort(self) -> None:
        """Give up: remove the partial file and leave the target as it was; safe to call twice."""
        container, self._container = self._container, None
        if container is not None:
            self._drop(container)

    def _drop(self, container: "OutputContainer") -> None:
        import av

        # Closing writes the index, which fails again on a full disk; the file goes anyway.
        with suppress(av.FFmpegError, OSError, ValueError):
            container.close()
        self._remove_partial()

    def _remove_partial(self) -> None:
        # On a read-only disk, or below a file that should be a folder, there is nothing to remove; the first error is the one to tell.
        with suppress(OSError):
            self._partial.unlink(missing_ok=True)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Turns failures of the encoder and the disk into our errors, without leaving the partial file."""
        import av

        try:
            yield
        except (av.FFmpegError, OSError, ValueError) as error:
            self.abort()
            self._remove_partial()
            told = output_error(error, self.path) if isinstance(error, OSError) else None
            if told is not None:
                raise told from error
            reason = getattr(error, "strerror", None) or str(error)
            raise OutputError(f"{self.path} cannot be written ({reason}); check the settings and the place") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()
