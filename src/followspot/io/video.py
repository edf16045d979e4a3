"""Videos in and out: one way to open files, image folders, arrays, iterators, cameras and streams."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from followspot.errors import VideoError
from followspot.io.container import ContainerVideo
from followspot.io.files import missing_file
from followspot.io.images import IMAGE_SUFFIXES, ImageVideo, image_folder, image_pattern
from followspot.io.source import ArrayVideo, VideoSource, iterator_video
from followspot.io.stream import STREAM_PREFIXES, camera, stream_video
from followspot.io.writer import VideoWriter

__all__ = ["VideoSource", "VideoWriter", "open_video"]


def open_video(source: str | Path | NDArray[Any] | Iterable[NDArray[Any]] | int, *, fps: float | None = None) -> VideoSource:
    """Open anything that shows frames.

    Args:
        source: a video file (mp4, mov, mkv, webm, avi, GIF ...); a folder of images (jpg, jpeg, png, bmp, webp, tif, tiff; in
            natural order), one image, or a pattern such as ``frames/%05d.jpg``; an array ``(T, H, W)``, ``(T, H, W, 1)``,
            ``(T, H, W, 3)`` or ``(T, H, W, 4)`` uint8 in RGB order, or a list of such pictures; any iterator of pictures;
            a camera's number (0 or "0"); or the address of a stream (rtsp://, http://, https://, udp://, /dev/video0).
            The last three can be read only once. Alpha is dropped everywhere.
        fps: frames per second of the time stamps. By default a file's or stream's own clock, and 24 for sources without one.

    Returns:
        A source of frames; use it in a ``with`` block.

    Raises:
        VideoError: there is no such source or it cannot be read; one line says why and what to do.
        SettingError: ``fps`` is not a positive number.

    >>> import numpy as np
    >>> with open_video(np.zeros((3, 4, 6, 3), np.uint8), fps=10) as video:
    ...     print(len(video), video.frame(2))
    3 Frame('00002', index=2, 0.200 s, 6x4)
    """
    if isinstance(source, bool) or source is None:
        raise VideoError(f"{source!r} is not a video; give a file, a folder of images, an array or a camera's number")
    if isinstance(source, int):
        return camera(source, fps=fps)
    if isinstance(source, str | Path):
        return _open_named(source, fps=fps)
    if isinstance(source, np.ndarray | list | tuple):
        return ArrayVideo(source, fps=fps)
    if isinstance(source, Iterable):
        return iterator_video(iter(source), fps=fps)
    raise VideoError(f"a {type(source).__name__} is not a video; give a file, a folder of images, an array or a camera's number")


def _open_named(source: str | Path, *, fps: float | None) -> VideoSource:
    """Open a file, folder, pattern, camera number or address."""
    text = str(source)
    if text.lower().startswith(STREAM_PREFIXES):
        return stream_video(text, fps=fps)
    path = Path(source).expanduser()
    if path.is_dir():
        return image_folder(path, fps=fps)
    if not path.exists():
        if text.isdecimal():
            return camera(int(text), fps=fps)
        if re.search(r"%0?\d*d", path.name):
            return image_pattern(path, fps=fps)
        raise VideoError(missing_file(path))
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return ImageVideo([path], name=path.stem, fps=fps)
    return ContainerVideo(path, fps=fps)
