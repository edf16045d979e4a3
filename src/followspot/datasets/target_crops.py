"""One crop of a target: which part of an image it shows, and the two files it is kept in.

STORE/crop511/<dataset>/<video>/{frame:06d}.{track:02d}.x.jpg   511x511 RGB, the target in its middle
                                                     ...m.png   its mask, 0 and 255; absent where only a box is known

A crop shows four times the context of SiamFC (Bertinetto et al., ECCVW 2016): at its scale the context's square is 127 pixels wide, so
that exemplars of 127 and search regions of 255 pixels can be cut from it with shift and scale to spare. File names are those of
SiamMask's training set (Wang et al., CVPR 2019).
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from followspot.datasets.target_index import Box
from followspot.errors import DatasetError
from followspot.io.files import output_error
from followspot.ops.siamese_crops import Window, context_side, cut

CROP = 511
"""Side of a crop in pixels (SiamMask's ``crop511``); the target's context square is `EXEMPLAR` of them."""
EXEMPLAR = 127
"""Pixels of the context square at a crop's scale (SiamFC, section 3.4)."""
CROPS = f"crop{CROP}"
_JPEG_QUALITY = 95
"""OpenCV's own default, with which SiamMask's crops are written."""


def target_window(box: Box) -> Window:
    """The window that a crop shows.

    Args:
        box: xyxy in pixels of the image, with an area.

    >>> target_window((100, 100, 200, 200)).side
    805
    """
    left, top, right, bottom = box
    side = context_side(right - left, bottom - top) * CROP / EXEMPLAR
    return Window.around((left + right) / 2, (top + bottom) / 2, side)


def crop_path(root: Path, dataset: str, video: str, *, track: int, frame: int, kind: Literal["x.jpg", "m.png"]) -> Path:
    """Where a crop lies; ``x.jpg`` is the picture, ``m.png`` the mask."""
    return root / CROPS / dataset / video / f"{frame:06d}.{track:02d}.{kind}"


def cut_picture(image: NDArray[np.uint8], window: Window) -> NDArray[np.uint8]:
    """``(511, 511, 3)``; outside of the image is its mean colour."""
    return cut(image, window, pixels=CROP, fill=np.array(cv2.mean(image)[:3]))


def cut_mask(mask: NDArray[np.uint8 | np.bool_], window: Window) -> NDArray[np.uint8]:
    """``(511, 511)`` of 0 and 255: cut just as the picture is, then what is at least half the target; outside of the image is 0."""
    shown = np.repeat(np.where(mask, np.uint8(255), np.uint8(0))[..., None], 3, axis=2)
    return np.where(cut(shown, window, pixels=CROP, fill=np.zeros(3))[..., 0] >= 128, np.uint8(255), np.uint8(0))


def save_crop(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write a picture ``(511, 511, 3)`` or a mask ``(511, 511)``.

    Not written aside and renamed: a file counts only once its video is finished, and waiting for the disk takes longer than all else.

    Raises:
        OutputError: it cannot be written.
    """
    stored = pixels[..., ::-1] if pixels.ndim == 3 else pixels
    encoded = cv2.imencode(path.suffix, stored, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if path.suffix == ".jpg" else [])[1]
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded.tobytes())


def load_crop(path: Path, mode: Literal["RGB", "L"]) -> NDArray[np.uint8]:
    """Pixels of a picture or a mask. Pillow rather than OpenCV, which fills cut files with grey and says nothing.

    Raises:
        DatasetError: the file is gone, damaged, or of another size.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(path.read_bytes())) as opened:
            pixels = np.array(opened.convert(mode))
    except (OSError, SyntaxError, ValueError) as error:
        reason = "is gone" if isinstance(error, FileNotFoundError) else f"cannot be read ({error})"
        raise DatasetError(f"the crop {path} {reason}; convert the dataset again") from error
    if pixels.shape[:2] != (CROP, CROP):
        raise DatasetError(f"the crop {path} is {pixels.shape[1]}x{pixels.shape[0]}, expected {CROP}x{CROP}; convert the dataset again")
    return pixels


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Errors of the operating system, in one line with advice.

    Raises:
        OutputError: the disk is full, or not ours to write to.
    """
    try:
        yield
    except OSError as error:
        told = output_error(error, path)
        if told is None:
            raise
        raise told from error
