"""Reading JSON documents that others wrote: every access says where it is and what it wanted.

``where`` is the path into the document that errors name, starting with the file: ``"pose.json: objects[0].name"``.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path

from followspot.errors import AnnotationError
from followspot.io.files import missing_file


def load_json(path: Path) -> Mapping[str, object]:
    """The JSON object in a file.

    Args:
        path: a UTF-8 text file (a byte order mark is fine).

    Raises:
        AnnotationError: missing, not JSON, or not an object at its top.
    """
    problem = missing_file(path)
    if problem:
        raise AnnotationError(problem)
    try:
        document = json.loads(path.read_bytes().decode("utf-8-sig"))
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise AnnotationError(f"{path} is not readable JSON ({error}); save it again from the tool that wrote it") from error
    return as_mapping(document, str(path))


def as_mapping(value: object, where: str) -> Mapping[str, object]:
    """``value`` as a JSON object."""
    if not isinstance(value, Mapping):
        raise _wanted(value, where, "an object {...}")
    return value


def as_list(value: object, where: str) -> list[object]:
    """``value`` as a JSON list."""
    if not isinstance(value, list):
        raise _wanted(value, where, "a list [...]")
    return value


def as_mappings(value: object, where: str) -> list[Mapping[str, object]]:
    """``value`` as a list of JSON objects."""
    return [as_mapping(entry, f"{where}[{place}]") for place, entry in enumerate(as_list(value, where))]


def as_text(value: object, where: str) -> str:
    """``value`` as a text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise _wanted(value, where, "a text")
    return value


def as_number(value: object, where: str) -> float:
    """``value`` as a number of at most 1e15, so that products of two of them stay finite."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if abs(number) <= 1e15:
            return number
    raise _wanted(value, where, "a finite number")


def as_count(value: object, where: str) -> int:
    """``value`` as an integer from 0."""
    number = as_number(value, where)
    if number < 0 or number != int(number):
        raise _wanted(value, where, "a whole number from 0")
    return int(number)


def as_size(height: object, width: object, where: str) -> tuple[int, int]:
    """``(H, W)`` of an image; each from 1 to 16384, which holds 16K video and bounds what a broken file can allocate."""
    size = as_count(height, f"{where} height"), as_count(width, f"{where} width")
    if not (1 <= size[0] <= 16384 and 1 <= size[1] <= 16384):
        raise AnnotationError(f"{where}: an image of {size[1]}x{size[0]} cannot be; width and height must be 1 to 16384")
    return size


def as_numbers(value: object, where: str, *, count: int | None = None) -> list[float]:
    """``value`` as a list of finite numbers, ``count`` of them if given."""
    numbers = [as_number(entry, f"{where}[{place}]") for place, entry in enumerate(as_list(value, where))]
    if count is not None and len(numbers) != count:
        raise AnnotationError(f"{where}: has {len(numbers)} numbers, expected {count}; correct the file")
    return numbers


def check_size(size: tuple[int, int] | None, expected: tuple[int, int] | None, where: str) -> None:
    """Refuse an annotation drawn on an image of another size than the video.

    Args:
        size: ``(H, W)`` that the file states, None if it states none.
        expected: ``(H, W)`` of the video's frames, None if unknown.
        where: what to name.

    Raises:
        AnnotationError: both are known and differ.
    """
    if size is not None and expected is not None and size != expected:
        drawn, frames = f"{size[1]}x{size[0]}", f"{expected[1]}x{expected[0]}"
        raise AnnotationError(
            f"{where} is drawn on an image of {drawn}, but the video's frames are {frames}; annotate a frame of this video in full size"
        )


def _wanted(value: object, where: str, expected: str) -> AnnotationError:
    got = repr(value)
    shown = got if len(got) <= 60 else got[:57] + "..."
    return AnnotationError(f"{where}: expected {expected}, got {shown}; correct the file")
