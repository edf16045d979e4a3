"""Lines of the VOT challenge: regions of objects, and what a tracker did in every frame of a run.

::

    groundtruth.txt               <sequence>_001.txt
    x,y,width,height              1                      the tracker was started here
    x1,y1,x2,y2,x3,y3,x4,y4       10.0000,20.0000,...    its answer
    nan,nan,nan,nan               2                      it lost the object here
                                  0                      skipped until it is started again
"""

import math
import re
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from followspot.errors import DatasetError
from followspot.io.files import missing_file, write_atomic

Region = NDArray[np.float64]
"""``(4,)``: x, y, width, height; ``(2n,)`` with n >= 3: corners x1, y1, x2, y2 ... of a polygon; pixels, as the file says."""


class Code(IntEnum):
    """What happened in a frame without an answer; the numbers of pysot's and the official tools."""

    SKIPPED = 0
    STARTED = 1
    FAILED = 2


Step = Region | Code
"""One frame of a run."""

_RANGE = 1e7
"""No image is that large; bounds what areas can become."""


def parse_region(line: str, where: str) -> Region | None:
    """A line of a ground truth.

    Args:
        line: numbers separated by commas, tabs or blanks.
        where: file and line, for errors.

    Returns:
        Four numbers or the corners of a polygon; None where the object is absent: all numbers NaN, or all zero.

    Raises:
        DatasetError: anything else.

    >>> parse_region("1,2,10,20", "gt.txt:1")
    array([ 1.,  2., 10., 20.])
    >>> parse_region("nan,nan,nan,nan", "gt.txt:2") is None
    True
    """
    numbers = _numbers(line, where)
    if np.isnan(numbers).all() or not numbers.any():
        return None
    if not (np.abs(numbers) < _RANGE).all() or (len(numbers) == 4 and not (numbers[2:] > 0).all()):
        raise _wrong(line, where)
    return numbers


def read_regions(path: Path) -> list[Region | None]:
    """A ground truth: a region a frame, None where the object is absent. Blank lines at the end do not count.

    Raises:
        DatasetError: the file is missing or empty, or a line is no region; names file and line.
    """
    return [parse_region(line, f"{path}:{number}") for number, line in enumerate(_lines(path), 1)]


def format_region(region: Region, *, decimals: int = 4) -> str:
    """A region as a line without its end; pysot writes four decimals.

    >>> format_region(np.array([1.0, 2, 10, 20]))
    '1.0000,2.0000,10.0000,20.0000'
    """
    return ",".join(f"{number:.{decimals}f}" for number in region)


def write_trajectory(path: Path, steps: Sequence[Step]) -> None:
    """Writes a run in the format that pysot's and the official tools read.

    Raises:
        OutputError: the file cannot be written.
    """
    lines = [str(int(step)) if isinstance(step, Code) else format_region(step) for step in steps]
    write_atomic(path, "\n".join(lines) + "\n")


def read_trajectory(path: Path, *, frames: int) -> list[Step]:
    """A run, whoever wrote it.

    Args:
        path: ``<sequence>_001.txt``.
        frames: how many lines there must be.

    Raises:
        DatasetError: the file is missing, has another number of lines, or a line is neither a code nor a region,
            such as the placeholder of a stopped run.
    """
    steps = [_parse_step(line, f"{path}:{number}") for number, line in enumerate(_lines(path), 1)]
    if len(steps) != frames:
        raise DatasetError(f"{path} has {len(steps)} lines but the sequence has {frames} frames; run the tracker on this sequence again")
    return steps


def _parse_step(line: str, where: str) -> Step:
    text = line.strip().rstrip(",")
    try:
        code = float(text)
    except ValueError:
        if text[:1] not in tuple("-+.0123456789"):
            raise DatasetError(
                f'{where}: "{_short(line)}" is neither 0, 1, 2 nor a region; where a run was stopped such lines stay behind: '
                "delete the file and run the tracker on this sequence again"
            ) from None
        region = _numbers(line, where)
        # Trackers do say boxes without any area; that is an answer, with an overlap of 0.
        if not (np.abs(region) < _RANGE).all() or (len(region) == 4 and region[2:].min() < 0):
            raise _wrong(line, where) from None
        return region
    if math.isfinite(code) and code in tuple(Code):
        return Code(int(code))
    raise DatasetError(f'{where}: "{_short(line)}" is no code; expected 1 (started), 2 (failed), 0 (skipped) or a region: run it again')


def _numbers(line: str, where: str) -> Region:
    """Four numbers, or an even number of them from six on."""
    fields = [field for field in re.split(r"[,;\s]+", line.strip()) if field]
    try:
        numbers = np.array([float(field) for field in fields])
    except ValueError:
        raise _wrong(line, where) from None
    if len(numbers) != 4 and (len(numbers) < 6 or len(numbers) % 2):
        raise _wrong(line, where)
    return numbers


def _lines(path: Path) -> list[str]:
    problem = missing_file(path)
    if problem:
        raise DatasetError(problem)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read as text ({error}); copy it again") from error
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise DatasetError(f"{path} is empty, expected a line a frame; copy it again")
    return lines


def _wrong(line: str, where: str) -> DatasetError:
    return DatasetError(
        f'{where}: "{_short(line)}" is no region; expected x,y,width,height, corners x1,y1,x2,y2,x3,y3,x4,y4, or nan (absent object): '
        "correct the line"
    )


def _short(line: str) -> str:
    text = " ".join(line.split())
    return text if len(text) <= 60 else text[:57] + "..."
