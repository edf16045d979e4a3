"""Where points are in every frame of a video, as files: what benchmarks of joints and points keep, and read from others."""

import csv
import json
import zipfile
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from followspot.errors import DatasetError
from followspot.io.files import atomic_path, write_atomic

Floats = NDArray[np.float64]

FILE = "tracks.npz"
"""What the file of a sequence is called; ``tracks.json`` is read too where there is none."""


@dataclass(frozen=True, kw_only=True)
class PointTracks:
    """N points over the T frames of a video."""

    xy: Floats
    """``(T, N, 2)`` in pixels of the frames, origin at the centre of the top-left pixel; NaN where there is no position."""
    lost: NDArray[np.bool_]
    """``(T, N)``: not visible, or gone, as far as the tracker knows; true wherever there is no position."""
    confidence: Floats
    """``(T, N)`` in [0, 1]; NaN where the tracker said none."""
    names: tuple[str, ...]
    """One name a point."""

    @property
    def shown(self) -> Floats:
        """`xy` with NaN where a point is lost, for drawing."""
        return np.where(self.lost[..., None], np.nan, self.xy)

    @classmethod
    def empty(cls, frames: int, names: tuple[str, ...]) -> Self:
        """No position in any frame, to be filled in."""
        shape = (frames, len(names))
        nothing = np.full(shape, np.nan)
        return cls(xy=np.full((*shape, 2), np.nan), lost=np.ones(shape, bool), confidence=nothing, names=names)


def write_point_tracks(folder: Path, tracks: PointTracks) -> None:
    """Write ``tracks.npz`` (arrays ``xy``, ``lost``, ``confidence``, ``names``) and, for people, ``tracks.csv``.

    Args:
        folder: made if it does not exist.
        tracks: what to write; the CSV leaves out frames without a position.

    Raises:
        OutputError: a file cannot be written.
    """
    write_atomic(folder / "tracks.csv", _csv(tracks))
    with atomic_path(folder / FILE) as partial:
        np.savez_compressed(
            partial, xy=tracks.xy, lost=tracks.lost, confidence=tracks.confidence, names=np.array(tracks.names, dtype=np.str_)
        )


def has_point_tracks(folder: Path) -> bool:
    """Whether a folder holds the results of a sequence."""
    return (folder / FILE).is_file() or (folder / "tracks.json").is_file()


def read_point_tracks(folder: Path, *, frames: int, names: tuple[str, ...]) -> PointTracks:
    """Read what :func:`write_point_tracks` wrote, or what others put in its place.

    Of ``tracks.npz`` only ``xy`` must be there; ``tracks.json`` has the same fields as nested lists, null where there is no position.

    Args:
        folder: of one sequence.
        frames: how many there must be.
        names: of the points, in order; names in the file are not compared.

    Returns:
        The tracks; a point without a position is lost.

    Raises:
        DatasetError: there is no such file, it cannot be read, or it is of another shape.
    """
    path = folder / FILE if (folder / FILE).is_file() else folder / "tracks.json"
    fields = _npz_fields(path) if path.name == FILE else _json_fields(path)
    shape = (frames, len(names))
    xy = _shaped(fields.get("xy"), (*shape, 2), path=path, field="xy")
    nowhere: NDArray[np.bool_] = np.asarray(np.isnan(xy).any(axis=2))
    said = fields.get("lost")
    lost = nowhere if said is None else nowhere | (_shaped(said, shape, path=path, field="lost") != 0)
    given = fields.get("confidence")
    confidence = np.full(shape, np.nan) if given is None else _shaped(given, shape, path=path, field="confidence")
    return PointTracks(xy=xy, lost=lost, confidence=confidence, names=names)


def _npz_fields(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in ("xy", "lost", "confidence") if name in file}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DatasetError(f"{path} cannot be read ({error}); write it with numpy.savez(path, xy=...), xy being (T, N, 2)") from error


def _json_fields(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise DatasetError(f"{path.parent / FILE} is missing; run the sequence, or write xy (T, N, 2) there with numpy.savez")
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(fields, dict):
            raise ValueError("not an object {...}")
        # A position may be null as a whole.
        rows = [[[np.nan, np.nan] if point is None else point for point in row] for row in fields["xy"]]
        return fields | {"xy": rows}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DatasetError(f'{path} is not {{"xy": [T][N] of [x, y] or null}} ({error}); write it again') from error


def _shaped(value: object, shape: tuple[int, ...], *, path: Path, field: str) -> Floats:
    try:
        array = np.array(value, np.float64)
    except (TypeError, ValueError) as error:
        raise DatasetError(f"{path}: {field} is no array of numbers of shape {shape} ({error}); write it again") from error
    if array.shape != shape:
        raise DatasetError(f"{path}: {field} has shape {array.shape}, expected {shape}: frames, points{', x and y' * (len(shape) == 3)}")
    return np.where(np.isinf(array), np.nan, array)


def _csv(tracks: PointTracks) -> str:
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("frame", "point", "x", "y", "confidence", "lost"))
    for frame, number in np.argwhere(np.isfinite(tracks.xy).all(-1)).tolist():
        x, y = tracks.xy[frame, number]
        sure = tracks.confidence[frame, number]
        confidence = "" if np.isnan(sure) else f"{sure:.4f}"
        writer.writerow((frame, tracks.names[number], f"{x:z.3f}", f"{y:z.3f}", confidence, int(tracks.lost[frame, number])))
    return text.getvalue()
