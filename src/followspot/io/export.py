"""Results as tables: ``tracks.json``, ``tracks.csv``, and single frames as plain dicts for a journal.

Nothing here holds more than one frame in memory, and a file appears under its name only when it is complete.
"""

import csv
import json
import math
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, TextIO

import numpy as np

from followspot.errors import OutputError
from followspot.io.files import atomic_path
from followspot.types import TrackedFrame, TrackedObject, TrackedPoint

_ABOUT_FRAME = ("frame", "name", "time_seconds")
_ABOUT_OBJECT = ("object", "kind", "mask_id", "x1", "y1", "x2", "y2")
_ABOUT_PLACE = ("point", "x", "y", "confidence", "lost")
CSV_COLUMNS = _ABOUT_FRAME + _ABOUT_OBJECT + _ABOUT_PLACE
"""The columns of ``tracks.csv``, in order."""
POLYGON_COLUMN = "polygon"
"""A last column where a tracker tells rotated boxes: corners ``x1 y1 x2 y2 ...``."""

# Frames are called like files, whose names may hold bytes that are no text; such a character is written as its JSON escape.
_UNENCODABLE = "backslashreplace"


def frame_to_dict(frame: TrackedFrame) -> dict[str, Any]:
    """A frame as JSON-ready values, without its masks and maps.

    Floats are kept exactly; NaN and infinity, which JSON cannot hold, become None.

    Args:
        frame: any.

    Returns:
        A dict of which :func:`frame_from_dict` makes the same frame again.
    """
    return {
        "frame": frame.index,
        "name": frame.name,
        "time_seconds": _number(frame.time_seconds),
        "objects": [_object_to_dict(entry) for entry in frame.objects],
    }


def frame_from_dict(fields: Mapping[str, Any]) -> TrackedFrame:
    """The frame that :func:`frame_to_dict` wrote; masks and maps are None.

    Args:
        fields: what was written, after a way through JSON.

    Raises:
        OutputError: a field is missing or has another type.
    """
    try:
        return TrackedFrame(
            index=int(fields["frame"]),
            name=_text(fields["name"]),
            time_seconds=_float(fields["time_seconds"]),
            masks=None,
            maps=None,
            objects=tuple(_object_from_dict(entry) for entry in fields["objects"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        shown = f"no field {error}" if isinstance(error, KeyError) else str(error)
        raise OutputError(
            f"a written frame cannot be read back ({shown}); it is damaged or of another version, start the run anew"
        ) from error


def write_tracks_json(path: Path, header: Mapping[str, object], rows: Iterable[TrackedFrame]) -> None:
    """Write ``{header..., "objects": [a summary each], "frames": [one a line]}``.

    Args:
        path: the file.
        header: fields that come first; any JSON values, numpy scalars and paths.
        rows: the frames in order; read once.

    Raises:
        OutputError: the file cannot be written.
        ValueError: the header has a field ``objects`` or ``frames``.
    """
    if {"objects", "frames"} & set(header):
        raise ValueError("the header's fields objects and frames are taken; call them otherwise")
    summary: dict[tuple[str, str, int | None], _Summary] = {}
    # The summary stands before the frames in the file but is known after them, so the frames wait beside it on the disk.
    with atomic_path(path) as partial, _waiting_room(path) as waiting:
        separator = "\n"
        for frame in rows:
            _summarise(frame, summary)
            waiting.write(f"{separator}    {_json(frame_to_dict(frame))}")
            separator = ",\n"
        waiting.seek(0)
        with partial.open("w", encoding="utf-8", errors=_UNENCODABLE, newline="") as file:
            file.write("{\n")
            for name, value in header.items():
                file.write(f"  {_json(name)}: {_json(value)},\n")
            _write_summaries(file, summary)
            file.write('  "frames": [')
            shutil.copyfileobj(waiting, file)
            file.write("\n  ]\n}\n")


def read_tracks(path: Path) -> list[TrackedFrame]:
    """Reads the answers of a ``tracks.json`` back (without masks and maps).

    Args:
        path: written by `write_tracks_json`.

    Returns:
        One answer a frame.

    Raises:
        OutputError: the file is missing or is something else.
    """
    try:
        frames = json.loads(path.read_text(encoding="utf-8"))["frames"]
        return [frame_from_dict(frame) for frame in frames]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{path} is not a tracks.json of followspot ({error}); run the tracking again") from error


def write_tracks_csv(path: Path, frames: Iterable[TrackedFrame], *, polygons: bool = False) -> None:
    """Write one row a frame and object, or a frame and point where an object has points.

    Pixels have 3 digits after the point, confidences 4, seconds 6; what is not known is blank; ``lost`` is 0 or 1.

    Args:
        path: the file.
        frames: in order; read once.
        polygons: whether there is a last column for rotated boxes.

    Raises:
        OutputError: the file cannot be written.
    """
    with atomic_path(path) as partial, partial.open("w", encoding="utf-8", errors=_UNENCODABLE, newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*CSV_COLUMNS, POLYGON_COLUMN] if polygons else CSV_COLUMNS)
        for frame in frames:
            start = [str(frame.index), frame.name, _digits(frame.time_seconds, 6)]
            for entry in frame.objects:
                last = [" ".join(_digits(edge, 3) for corner in entry.polygon or () for edge in corner)] if polygons else []
                writer.writerows(start + row + last for row in _csv_rows(entry))


def _waiting_room(path: Path) -> IO[str]:
    return tempfile.TemporaryFile("w+", encoding="utf-8", errors=_UNENCODABLE, newline="", dir=path.parent)


class _Summary:
    """What is said of one object over all frames."""

    def __init__(self, first: int) -> None:
        self.first = self.last = first
        self.frames = self.lost = self.rated = 0
        self.confidence = 0.0


def _summarise(frame: TrackedFrame, summary: dict[tuple[str, str, int | None], _Summary]) -> None:
    for entry in frame.objects:
        about = summary.setdefault((entry.name, entry.kind, entry.mask_id), _Summary(frame.index))
        about.last = frame.index
        about.frames += 1
        about.lost += bool(entry.lost)
        confidence = _number(entry.confidence)
        if confidence is not None:
            about.rated += 1
            about.confidence += confidence


def _write_summaries(file: TextIO, summary: Mapping[tuple[str, str, int | None], _Summary]) -> None:
    lines = [
        _json(
            {
                "name": name,
                "kind": kind,
                "mask_id": mask_id,
                "first_frame": about.first,
                "last_frame": about.last,
                "frames": about.frames,
                "frames_lost": about.lost,
                "mean_confidence": about.confidence / about.rated if about.rated else None,
            }
        )
        for (name, kind, mask_id), about in summary.items()
    ]
    file.write('  "objects": [' + ",".join(f"\n    {line}" for line in lines) + "\n  ],\n")


def _object_to_dict(entry: TrackedObject) -> dict[str, Any]:
    return {
        "name": entry.name,
        "kind": entry.kind,
        "mask_id": None if entry.mask_id is None else int(entry.mask_id),
        "box": None if entry.box is None else [_number(edge) for edge in entry.box],
        "points": [
            {
                "name": point.name,
                "x": _number(point.x),
                "y": _number(point.y),
                "confidence": _number(point.confidence),
                "lost": bool(point.lost),
            }
            for point in entry.points
        ],
        "confidence": _number(entry.confidence),
        "lost": bool(entry.lost),
    } | ({} if entry.polygon is None else {"polygon": [[_number(x), _number(y)] for x, y in entry.polygon]})


def _object_from_dict(fields: Mapping[str, Any]) -> TrackedObject:
    kind = fields["kind"]
    if kind not in ("mask", "box", "point", "keypoints", "map"):
        raise ValueError(f"kind {kind!r}")
    box = fields["box"]
    if box is not None:
        left, top, right, bottom = (_float(edge) for edge in box)
        box = (left, top, right, bottom)
    points = tuple(
        TrackedPoint(
            name=_text(point["name"]),
            x=_float(point["x"]),
            y=_float(point["y"]),
            confidence=_number(point["confidence"]),
            lost=bool(point["lost"]),
        )
        for point in fields["points"]
    )
    mask_id = None if fields["mask_id"] is None else int(fields["mask_id"])
    confidence = _number(fields["confidence"])
    name, lost = _text(fields["name"]), bool(fields["lost"])
    polygon = tuple((_float(x), _float(y)) for x, y in fields["polygon"]) if "polygon" in fields else None
    return TrackedObject(name=name, kind=kind, mask_id=mask_id, box=box, points=points, confidence=confidence, lost=lost, polygon=polygon)


def _csv_rows(entry: TrackedObject) -> Iterator[list[str]]:
    about = [entry.name, entry.kind, "" if entry.mask_id is None else str(entry.mask_id)]
    about += [""] * 4 if entry.box is None else [_digits(edge, 3) for edge in entry.box]
    if not entry.points:
        yield [*about, "", "", "", _digits(entry.confidence, 4), str(int(entry.lost))]
    for point in entry.points:
        where = [point.name, _digits(point.x, 3), _digits(point.y, 3)]
        yield [*about, *where, _digits(point.confidence, 4), str(int(point.lost))]


def _digits(value: float | None, places: int) -> str:
    number = _number(value)
    # "z" writes a value that rounds to zero as 0, never as -0.
    return "" if number is None else f"{number:z.{places}f}"


def _number(value: float | None) -> float | None:
    """A plain float that JSON can hold, or None."""
    return float(value) if value is not None and math.isfinite(value) else None


def _float(value: object) -> float:
    """A float that was written; None stood for NaN."""
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    return float(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _json(value: object) -> str:
    return json.dumps(_plain(value), ensure_ascii=False, allow_nan=False)


def _plain(value: object) -> object:
    """``value`` with numpy scalars, arrays, tuples and paths as JSON has them, and None for what is not finite."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value.as_posix() if isinstance(value, Path) else value
