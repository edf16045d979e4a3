"""Optical flow as ``.flo`` files, the format of the Middlebury benchmark (Baker et al., "A Database and Evaluation Methodology for Optical
Flow", IJCV 2011): the number 202021.25 as float32, width and height as int32, then u and v of each pixel as float32, row by row, all
little-endian. A value beyond 1e9 says that a pixel's flow is not known; it is NaN here.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from followspot.errors import DatasetError, OutputError
from followspot.io.files import write_atomic

_MAGIC = np.array(202021.25, "<f4").tobytes()
_UNKNOWN_ABOVE = 1e9
_UNKNOWN = 1e10
# As the reference code of the benchmark refuses larger ones.
_MOST = 99_999


def write_flow(path: Path, flow: NDArray[np.floating]) -> None:
    """Writes a ``.flo`` file, whole or not at all.

    Args:
        path: the file; folders are made.
        flow: ``(2, H, W)`` dx and dy in pixels; NaN where it is not known.

    Raises:
        OutputError: it is no flow, or the file cannot be written.
    """
    if flow.ndim != 3 or len(flow) != 2 or min(flow.shape) < 1 or max(flow.shape) > _MOST:
        raise OutputError(f"{path}: a flow must be (2, H, W) with sides of 1 to {_MOST} pixels, got {flow.shape}")
    known = np.abs(flow) <= _UNKNOWN_ABOVE
    pairs = np.where(known, flow, _UNKNOWN).transpose(1, 2, 0).astype("<f4")
    size = np.array([flow.shape[2], flow.shape[1]], "<i4").tobytes()
    write_atomic(path, _MAGIC + size + pairs.tobytes())


def read_flow(path: Path) -> NDArray[np.float32]:
    """Reads a ``.flo`` file.

    Args:
        path: the file.

    Returns:
        ``(2, H, W)`` dx and dy in pixels; NaN where it is not known.

    Raises:
        DatasetError: the file is missing, cut, or no such file.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path} cannot be read ({error.strerror}); give a .flo file") from error
    if content[:4] != _MAGIC or len(content) < 12:
        raise DatasetError(f"{path} is no Middlebury flow: it does not begin with 202021.25; give a .flo file")
    width, height = (int(side) for side in np.frombuffer(content, "<i4", count=2, offset=4))
    if not (1 <= width <= _MOST and 1 <= height <= _MOST) or len(content) != 12 + 8 * width * height:
        wanted = f"{width}x{height}, which needs {12 + 8 * width * height} bytes"
        raise DatasetError(f"{path} says that it is {wanted}, and has {len(content)}; it is cut or damaged, so copy it again")
    pairs = np.frombuffer(content, "<f4", offset=12).reshape(height, width, 2).transpose(2, 0, 1)
    return np.where(np.abs(pairs) <= _UNKNOWN_ABOVE, pairs, np.nan).astype(np.float32)
