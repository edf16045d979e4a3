"""Folders of images as videos, and single images as RGB."""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from followspot.errors import VideoError
from followspot.io.files import atomic_path
from followspot.io.source import DEFAULT_FPS, Picture, VideoSource, checked_fps, same_size
from followspot.types import Frame

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
"""Endings that count as images, in small letters."""


class ImageVideo(VideoSource):
    """Image files as frames.

    Each frame is called like its file without the ending, as the DAVIS layout needs. EXIF orientation is applied; palette,
    gray, CMYK and 16-bit images become 8-bit RGB; alpha is dropped.

    Args:
        paths: the files in order.
        name: what outputs are called.
        fps: frames per second of the time stamps, which images do not have; 24 if not given.

    Raises:
        VideoError: no files, two frames of one name, or a first file that is no image.
    """

    def __init__(self, paths: Sequence[Path], *, name: str, fps: float | None = None) -> None:
        by_stem: dict[str, Path] = {}
        for path in paths:
            other = by_stem.setdefault(path.stem, path)
            if other is not path:
                raise VideoError(f"{path.parent} holds {other.name} and {path.name}, two frames of one name; keep one of each pair")
        height, width = read_image(paths[0]).shape[:2]
        super().__init__(name=name, height=height, width=width, fps=checked_fps(fps) or DEFAULT_FPS, rewindable=True)
        self._paths = tuple(paths)

    @property
    def num_frames(self) -> int:
        """How many images there are."""
        return len(self._paths)

    def frame_names(self) -> list[str]:
        """The files' stems."""
        return [path.stem for path in self._paths]

    def _read(self, start: int, stop: int | None) -> Iterator[Frame]:
        for index, path in enumerate(self._paths[start:stop], start):
            image = read_image(path)
            same_size(self, image, what=path.name)
            yield Frame(image=image, index=index, time_seconds=index / self.fps, name=path.stem)

    def _identity(self) -> bytes:
        listing = [(str(path.resolve()), facts.st_size, facts.st_mtime_ns) for path in self._paths for facts in [path.stat()]]
        return hashlib.sha256(json.dumps(listing).encode()).digest()


def image_folder(folder: Path, *, fps: float | None = None) -> ImageVideo:
    """A folder's images in natural order (2 before 10); hidden and other files are left out.

    Raises:
        VideoError: there is no image in it.
    """
    paths = sorted((path for path in folder.iterdir() if _is_image(path)), key=lambda path: natural_key(path.name))
    if not paths:
        inside = sorted(path.name for path in folder.iterdir() if path.is_dir() and any(map(_is_image, path.iterdir())))
        hint = f"give one of its folders, such as {folder / inside[0]}" if inside else "give the folder that holds the frames"
        raise VideoError(f"{folder} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}); {hint}")
    return ImageVideo(paths, name=folder.resolve().name, fps=fps)


def image_pattern(pattern: Path, *, fps: float | None = None) -> ImageVideo:
    """Files whose name fits a pattern with one ``%d`` or ``%05d``, in the order of that number.

    Raises:
        VideoError: no file fits.
    """
    parts = re.split(r"%0?\d*d", pattern.name)
    shape = re.compile(r"(\d+)".join(re.escape(part) for part in parts))
    fitting = [path for path in pattern.parent.iterdir() if shape.fullmatch(path.name)] if pattern.parent.is_dir() else []
    if not fitting:
        raise VideoError(f"no file fits {pattern}; check the folder and the name before and after the number")
    return ImageVideo(sorted(fitting, key=lambda path: natural_key(path.name)), name=pattern.resolve().parent.name, fps=fps)


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Sorts numbers by value wherever they stand in a name.

    >>> sorted(["f10.png", "f2.png", "f001.png"], key=natural_key)
    ['f001.png', 'f2.png', 'f10.png']
    """
    parts: list[str | int] = [int(part) if place % 2 else part.casefold() for place, part in enumerate(re.split(r"([0-9]+)", name))]
    return parts, name


def read_image(path: Path) -> Picture:
    """An image file as RGB ``(H, W, 3)`` uint8, the way it is meant to be seen.

    Pillow rather than OpenCV: it reports cut files, which OpenCV fills with gray, and costs 0.4 ms more at 480p.

    Raises:
        VideoError: the file is missing, damaged or no image that can be shown.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as opened:
            pictures = getattr(opened, "n_frames", 1)
            if pictures > 1:
                raise VideoError(f"{path} holds {pictures} pictures; make it a video first: ffmpeg -i {path.name} out.mp4")
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I") or image.mode == "F":
                return _from_deep(np.asarray(image), path)
            return np.array(image.convert("RGB"))  # a copy: Pillow's own memory is read-only, of which torch warns
    except FileNotFoundError as error:
        raise VideoError(f"{path} is gone; it was there when the folder was listed, so put it back or start again") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise VideoError(f"{path} cannot be read as an image ({error}); re-copy it or take it out of the folder") from error


def write_image(path: Path, image: Picture) -> None:
    """Writes an RGB picture ``(H, W, 3)`` as PNG, whole or not at all; folders are made.

    Raises:
        OutputError: the file cannot be written.
    """
    from PIL import Image

    with atomic_path(path) as partial:
        Image.fromarray(image, "RGB").save(partial, format="PNG")


def _from_deep(values: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]", path: Path) -> Picture:
    """16-bit gray to 8 bits: 65535 = 257 · 255, so dividing by 257 keeps black and white where they are."""
    if values.dtype.kind == "f" or values.min() < 0 or values.max() > 65535:
        raise VideoError(f"{path} holds {values.dtype} values outside 0..65535; save it as 8 or 16 bits")
    gray = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return np.repeat(gray[..., None], 3, axis=2)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
