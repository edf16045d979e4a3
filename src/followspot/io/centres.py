"""Colour centres as files: ``.npy`` arrays, as published colour clusters come. Nothing in a file is ever executed."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from followspot.errors import AnnotationError, OutputError


def read_centres(path: Path) -> NDArray[np.float64]:
    """Read colour centres.

    Args:
        path: an ``.npy`` file of K x D numbers.

    Returns:
        ``(K, D)`` float64; as the setting ``centres`` of an objective: ``tuple(map(tuple, centres.tolist()))``.

    Raises:
        AnnotationError: the file is missing, no array of numbers (one with Python objects is refused), or not finite ``(K, D)``.
    """
    try:
        with path.open("rb") as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise AnnotationError(f"{path} holds no colour centres ({reason}); give an .npy file of K x D numbers") from error
    if array.ndim != 2 or not array.size or array.dtype.kind not in "fiu" or not np.isfinite(array).all():
        raise AnnotationError(f"{path} holds {array.dtype} {array.shape}, not finite numbers (K, D); save the centres alone")
    return array.astype(np.float64)


def write_centres(path: Path, centres: NDArray[np.floating]) -> None:
    """Write colour centres for :func:`read_centres`.

    Args:
        path: ends in ``.npy``; its folder is made.
        centres: ``(K, D)``.

    Raises:
        OutputError: another suffix, or the file cannot be written.
    """
    if path.suffix != ".npy":
        raise OutputError(f"colour centres are saved as .npy, got {path}; change the file's ending")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.asarray(centres), allow_pickle=False)
    except OSError as error:
        raise OutputError(f"cannot write colour centres to {path} ({error.strerror or error}); choose another place") from error
