"""What every source of frames offers, and the sources that need no file format: arrays and iterators."""

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from followspot.errors import SettingError, VideoError
from followspot.types import Frame

DEFAULT_FPS = 24.0
"""Frames per second where a source has no clock; DAVIS sequences were shot at 24 (Perazzi et al., CVPR 2016)."""

Picture = NDArray[np.uint8]


class VideoSource(ABC):
    """Frames of a video, one after another; at most a few are in memory at a time.

    A source is a context manager; :meth:`close` may be called twice.

    Attributes:
        name: what outputs are called: the file's or folder's name without its ending.
        height: of the frames as delivered (after rotation), in pixels.
        width: of the frames as delivered, in pixels.
        fps: nominal frames per second; variable rates show in ``Frame.time_seconds``.
        rewindable: whether :meth:`frames` may be called again and from any start.
    """

    def __init__(self, *, name: str, height: int, width: int, fps: float, rewindable: bool) -> None:
        self.name = name
        self.height = height
        self.width = width
        self.fps = fps
        self.rewindable = rewindable

    @property
    def num_frames(self) -> int | None:
        """How many frames the source promises; None where nobody knows (camera, iterator). A container is scanned once for it."""
        return None

    def frame_names(self) -> list[str] | None:
        """What :attr:`Frame.name` will be for every frame; None where the length is not known."""
        return None if self.num_frames is None else [f"{index:05d}" for index in range(self.num_frames)]

    @abstractmethod
    def _read(self, start: int, stop: int | None) -> Iterator[Frame]:
        """Frames ``start`` to ``stop`` (exclusive); both were checked."""

    def _identity(self) -> bytes:
        """What :meth:`fingerprint` is made from."""
        raise NotImplementedError

    def fingerprint(self) -> str:
        """A stable id of the content (32 hex digits), for finding out whether a stopped run may go on.

        Raises:
            VideoError: the source cannot be read twice, so there is nothing to go back to.
        """
        if not self.rewindable:
            raise VideoError(f"{self.name} can be read only once, so a run over it cannot be resumed; record it to a file first")
        return hashlib.sha256(self._identity()).hexdigest()[:32]

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """Frames ``start`` to ``stop`` (exclusive), exact by index and decoded one at a time.

        Args:
            start: first frame, from 0.
            stop: end, exclusive; None or past the end means to the end.

        Raises:
            VideoError: ``start`` lies outside the video or the source cannot go back there.
            TruncatedVideoError: after every good frame, where the file ends before it should.
        """
        if start < 0 or (stop is not None and stop < 0):
            raise VideoError(f"frames {start} to {stop} of {self.name}: frames are counted from 0; give numbers from 0 on")
        if start > 0 and self.num_frames is not None and start > self.num_frames:
            raise VideoError(f"frame {start} is outside {self.name}, which has {self.num_frames} frames (0 to {self.num_frames - 1})")
        return self._read(start, stop)

    def frame(self, index: int) -> Frame:
        """One frame.

        Raises:
            VideoError: ``index`` is outside the video.
        """
        known = self.num_frames if index else None
        if index < 0 or (known is not None and index >= known):
            count = self.num_frames
            span = f"which has {count} frames (0 to {count - 1})" if count else "whose frames are counted from 0"
            raise VideoError(f"frame {index} is outside {self.name}, {span}")
        found = next(self.frames(index, index + 1), None)
        if found is None:
            raise VideoError(f"frame {index} is outside {self.name}, which ends before it")
        return found

    def close(self) -> None:
        """Let go of files and devices; safe to call twice."""
        return

    def __iter__(self) -> Iterator[Frame]:
        return self.frames()

    def __len__(self) -> int:
        if self.num_frames is None:
            raise TypeError(f"the length of {self.name} is not known before it ends")
        return self.num_frames

    def __bool__(self) -> bool:
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class ArrayVideo(VideoSource):
    """Frames that are in memory already.

    Args:
        pictures: ``(T, H, W)``, ``(T, H, W, 1)``, ``(T, H, W, 3)`` or ``(T, H, W, 4)`` uint8, or a list of such pictures.
            RGB order; alpha is dropped.
        fps: frames per second of the time stamps; 24 if not given.
    """

    def __init__(self, pictures: Sequence[Any] | NDArray[Any], *, fps: float | None = None) -> None:
        if isinstance(pictures, np.ndarray) and pictures.ndim == 3 and pictures.shape[2] in (3, 4):
            raise VideoError(f"array {pictures.shape} looks like one picture, not (T, H, W): pass image[None] for a video of one frame")
        if isinstance(pictures, np.ndarray) and pictures.ndim not in (3, 4):
            raise VideoError(f"array {pictures.shape} is not a video; give (T, H, W), (T, H, W, 1), (T, H, W, 3) or (T, H, W, 4) uint8")
        if len(pictures) == 0:
            raise VideoError("the array holds no frames; give at least one")
        height, width = as_rgb(pictures[0], what="frame 0").shape[:2]
        super().__init__(name="array", height=height, width=width, fps=checked_fps(fps) or DEFAULT_FPS, rewindable=True)
        self._pictures = pictures

    @property
    def num_frames(self) -> int:
        """How many frames there are."""
        return len(self._pictures)

    def _read(self, start: int, stop: int | None) -> Iterator[Frame]:
        for index in range(start, self.num_frames if stop is None else min(stop, self.num_frames)):
            image = as_rgb(self._pictures[index], what=f"frame {index}")
            same_size(self, image, what=f"frame {index}")
            yield Frame(image=image, index=index, time_seconds=index / self.fps, name=f"{index:05d}")

    def _identity(self) -> bytes:
        digest = hashlib.sha256()
        for frame in self._read(0, None):
            digest.update(str(frame.image.shape).encode())
            digest.update(frame.image.data)
        return digest.digest()


class OneWayVideo(VideoSource):
    """Frames that come once: a camera, a stream, a generator.

    :meth:`frames` goes on where the last call stopped and may skip ahead, never back.

    Args:
        name: what outputs are called.
        pictures: pairs of an RGB picture and its time in seconds (None: index / fps).
        fps: nominal frames per second.
        on_close: called once by :meth:`close`.
    """

    def __init__(
        self, name: str, pictures: Iterator[tuple[Picture, float | None]], *, fps: float, on_close: Callable[[], None] | None = None
    ) -> None:
        self._pictures = pictures
        self._on_close = on_close
        self._peeked = next(pictures, None)
        if self._peeked is None:
            raise VideoError(f"{name} gave no frame; give a source with at least one")
        height, width = self._peeked[0].shape[:2]
        super().__init__(name=name, height=height, width=width, fps=fps, rewindable=False)
        self._position = 0

    def _next(self) -> Frame | None:
        """The next frame, None at the end."""
        item, self._peeked = self._peeked or next(self._pictures, None), None
        if item is None:
            return None
        image, time_seconds = item
        same_size(self, image, what=f"frame {self._position}")
        time_seconds = self._position / self.fps if time_seconds is None else time_seconds
        frame = Frame(image=image, index=self._position, time_seconds=time_seconds, name=f"{self._position:05d}")
        self._position += 1
        return frame

    def _read(self, start: int, stop: int | None) -> Iterator[Frame]:
        if start < self._position:
            behind = f"frame {start} of {self.name} is gone: it can be read only once and is at frame {self._position}"
            raise VideoError(f"{behind}; go on with frames({self._position}) or record it to a file first")
        return self._ahead(start, stop)

    def _ahead(self, start: int, stop: int | None) -> Iterator[Frame]:
        while stop is None or self._position < stop:
            frame = self._next()
            if frame is None:
                return
            if frame.index >= start:
                yield frame

    def close(self) -> None:
        """Close the device or stream; safe to call twice."""
        on_close, self._on_close = self._on_close, None
        if on_close is not None:
            on_close()


def iterator_video(pictures: Iterator[Any], *, fps: float | None = None) -> OneWayVideo:
    """A source from any iterator of ``(H, W)`` or ``(H, W, 1|3|4)`` uint8 arrays; one is read ahead for the size.

    >>> import numpy as np
    >>> source = iterator_video(iter(np.zeros((3, 4, 6), np.uint8)))
    >>> source.height, source.width, source.num_frames, [frame.index for frame in source]
    (4, 6, None, [0, 1, 2])
    """
    # Copied because a producer may fill one buffer again and again.
    rgb = ((as_rgb(picture, what=f"frame {index}").copy(), None) for index, picture in enumerate(pictures))
    return OneWayVideo("iterator", rgb, fps=checked_fps(fps) or DEFAULT_FPS)


def as_rgb(picture: object, *, what: str) -> Picture:
    """``(H, W)``, ``(H, W, 1)``, ``(H, W, 3)`` or ``(H, W, 4)`` uint8 to contiguous RGB ``(H, W, 3)``; alpha is dropped.

    Raises:
        VideoError: another type, shape or dtype.

    >>> import numpy as np
    >>> as_rgb(np.full((2, 2), 7, np.uint8), what="frame 0").shape
    (2, 2, 3)
    """
    if not isinstance(picture, np.ndarray):
        raise VideoError(f"{what} is a {type(picture).__name__}, not a numpy array; convert it to (H, W, 3) uint8 RGB")
    if picture.dtype != np.uint8:
        cure = "(255 * x).round().astype('uint8') if it lies in 0..1" if picture.dtype.kind == "f" else "x.astype('uint8') after scaling"
        raise VideoError(f"{what} is {picture.dtype}, not uint8 in 0..255; convert to uint8: {cure}")
    if picture.ndim == 2:
        picture = picture[..., None]
    if picture.ndim != 3 or picture.shape[2] not in (1, 3, 4) or 0 in picture.shape:
        raise VideoError(f"{what} has shape {picture.shape}; give (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)")
    rgb = np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture[..., :3]
    return np.ascontiguousarray(rgb)


def same_size(source: VideoSource, image: Picture, *, what: str) -> None:
    """Check that a picture has the source's size.

    Raises:
        VideoError: it has not; names ``what``.
    """
    height, width = image.shape[:2]
    if (height, width) != (source.height, source.width):
        sizes = f"{what} of {source.name} is {width}x{height}, the frames before it are {source.width}x{source.height}"
        raise VideoError(f"{sizes}; a video must keep one size: resize or split it")


def checked_fps(fps: float | None) -> float | None:
    """The rate itself, if it is one.

    Raises:
        SettingError: not a finite number above 0.
    """
    if fps is not None and not (math.isfinite(fps) and fps > 0):
        raise SettingError(f"fps {fps} is not a frame rate; give a number above 0, such as 24")
    return fps
