"""Frame folders and lists of names, as several benchmarks have them."""

from collections.abc import Collection
from pathlib import Path

from followspot.errors import DatasetError
from followspot.io.files import nearest
from followspot.io.images import IMAGE_SUFFIXES, natural_key


def frame_files(folder: Path) -> tuple[Path, ...]:
    """The pictures in a folder in natural order (2 before 10), without hidden files.

    Raises:
        DatasetError: there is no such folder, or no picture in it.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder} is missing, expected a folder of frames; unpack the video again")
    files = [file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".")]
    if not files:
        raise DatasetError(f"{folder} holds no frame (.jpg or .png); unpack the video again")
    return tuple(sorted(files, key=lambda file: natural_key(file.name)))


def mask_names(folder: Path) -> tuple[str, ...]:
    """Names of the PNGs in a folder without suffix, in natural order; nothing where there is no such folder."""
    names = [file.stem for file in folder.glob("*.png") if not file.name.startswith(".")] if folder.is_dir() else []
    return tuple(sorted(names, key=natural_key))


def image_size(path: Path) -> tuple[int, int]:
    """Height and width of a picture, from its header.

    Raises:
        DatasetError: it is missing or no picture.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.height, image.width
    except OSError as error:
        raise DatasetError(f"{path} cannot be read as an image ({error}); unpack the frame again") from error


def read_names(path: Path, known: Collection[str]) -> tuple[str, ...]:
    """The names in a list, one a line; empty lines and what follows a blank are passed over.

    Args:
        path: a text file.
        known: the names that there are.

    Returns:
        Each name once, in the order of the list.

    Raises:
        DatasetError: the list cannot be read, is empty, or has a line that names nothing; says which.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read as text ({error}); expected one name a line") from error
    names: dict[str, None] = {}
    for number, line in enumerate(lines, 1):
        if line.strip():
            name = line.split()[0]
            if name not in known:
                near = nearest(name, known)
                hint = f"did you mean {near!r}?" if near else "correct the line, or unpack what it names"
                raise DatasetError(f"{path} line {number} names {name!r}, which is not there; {hint}")
            names[name] = None
    if not names:
        raise DatasetError(f"{path} lists nothing; expected one name a line")
    return tuple(names)
