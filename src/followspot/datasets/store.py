"""A store of prepared clips: one Parquet index beside a tree of small videos, read frame by frame from anywhere.

STORE/
  index.parquet          one row a clip
  clips/xx/<hash>.mp4    H.264, a key frame at least every 16 frames, no sound; named after the pictures in them

Readers never lock anything: the index is replaced in one step, and a clip is there before the index speaks of it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from followspot.errors import DatasetError, OutputError, VideoError
from followspot.io.clip_format import GOP
from followspot.io.files import atomic_path
from followspot.io.frame_index import video_stream

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

INDEX = "index.parquet"
CLIPS = "clips"


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipEntry:
    """One clip of a store."""

    path: str
    """Relative to the store, with forward slashes."""
    frames: int
    fps: float
    height: int
    """Pixels, even."""
    width: int
    """Pixels, even."""
    sha256: str
    """Of the pictures as they were before encoding: equal for equal pictures."""
    source: str
    """Where it comes from, for people: what the list said, or the file or folder."""
    licence: str
    """As given; empty where nobody said."""
    motion: float
    """Mean absolute difference between neighbouring frames in grey levels, 0..255; near 0 for a still picture."""
    weight: float = 1.0
    """How often it is drawn, relative to others."""
    origin: str = ""
    """The file or folder it was made of, relative to what was prepared."""
    start_seconds: float = 0.0
    """Where in the origin it begins."""

    def __post_init__(self) -> None:
        if self.frames < 1 or self.fps <= 0 or self.weight < 0:
            raise DatasetError(f"clip {self.path}: {self.frames} frames at {self.fps} Hz, weight {self.weight}; prepare the store again")


class ClipStore:
    """Prepared clips, read by index and frame.

    It holds no open files, so it may be copied to other processes and used from several threads.

    Args:
        root: the store's folder.

    Raises:
        DatasetError: there is no store, or none with a clip in it.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self._stamp: tuple[int, int, int] | None = None
        self.entries: tuple[ClipEntry, ...] = ()
        self.refresh()
        if not self.entries:
            raise DatasetError(f"the store {self.root} holds no clip; {_teach(self.root)}")

    def __len__(self) -> int:
        return len(self.entries)

    def __repr__(self) -> str:
        return f"ClipStore({str(self.root)!r}, {len(self)} clips)"

    def refresh(self) -> int:
        """Look whether the index has grown; clips known before keep their numbers.

        Returns:
            How many clips are new.

        Raises:
            DatasetError: the index is gone or damaged.
        """
        stamp = _stamp(self.root)
        if stamp is not None and stamp == self._stamp:
            return 0
        known = {(entry.path, entry.origin, entry.start_seconds) for entry in self.entries}
        new = [entry for entry in read_index(self.root) if (entry.path, entry.origin, entry.start_seconds) not in known]
        self.entries = (*self.entries, *new)
        self._stamp = stamp
        return len(new)

    def read(self, index: int, frames: Sequence[int]) -> NDArray[np.uint8]:
        """Frames of a clip, exact by number.

        Args:
            index: which clip, from 0.
            frames: which frames, from 0; in any order, repeats allowed.

        Returns:
            RGB ``(T, H, W, 3)`` in the order asked for.

        Raises:
            DatasetError: there is no such clip or frame, or its file is gone or damaged.
        """
        if not 0 <= index < len(self.entries):
            raise DatasetError(f"clip {index} is not in {self.root}, which has {len(self)} clips (0 to {len(self) - 1})")
        entry = self.entries[index]
        outside = next((frame for frame in frames if not 0 <= frame < entry.frames), None)
        if outside is not None or not len(frames):
            asked = "no frame" if outside is None else f"frame {outside}"
            raise DatasetError(f"{asked} was asked of clip {index} ({entry.path}), which has {entry.frames} (0 to {entry.frames - 1})")
        pictures = _decode(self.root / entry.path, sorted(set(frames)), fps=entry.fps)
        return np.stack([pictures[frame] for frame in frames])


def read_index(root: Path) -> list[ClipEntry]:
    """The rows of a store's index.

    Raises:
        DatasetError: there is none, or it is no index of clips.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Read whole before anything is parsed: another machine may replace the file meanwhile.
        table = pq.read_table(pa.BufferReader((root / INDEX).read_bytes()))
    except FileNotFoundError as error:
        raise DatasetError(f"{root} is not a store of clips: it has no {INDEX}; {_teach(root)}") from error
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(f"{root / INDEX} cannot be read ({error}); prepare the store again") from error
    names = [field.name for field in fields(ClipEntry)]
    missing = sorted({field.name for field in fields(ClipEntry) if field.name not in _OPTIONAL} - set(table.column_names))
    if missing:
        raise DatasetError(f"{root / INDEX} is no index of clips: it lacks {', '.join(missing)}; prepare the store again")
    rows: list[dict[str, Any]] = table.select([name for name in names if name in table.column_names]).to_pylist()
    return [ClipEntry(**row) for row in rows]


_OPTIONAL = {"weight", "origin", "start_seconds"}


def write_index(root: Path, entries: Sequence[ClipEntry]) -> None:
    """Replace a store's index in one step.

    Args:
        root: the store's folder; made if missing.
        entries: all clips, in order.

    Raises:
        OutputError: the disk is full or the store cannot be written to.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {str: pa.string(), int: pa.int64(), float: pa.float64()}
    schema = pa.schema([(field.name, kinds[field.type]) for field in fields(ClipEntry)])  # type: ignore[index]
    table = pa.Table.from_pylist([asdict(entry) for entry in entries], schema=schema)
    with atomic_path(root / INDEX) as partial:
        try:
            pq.write_table(table, partial, compression="zstd")
        except pa.ArrowException as error:
            raise OutputError(f"{root / INDEX} cannot be written ({error}); check the disk") from error


def clip_path(sha256: str) -> str:
    """Where a clip lies in its store: 256 folders, so that none holds too many files.

    >>> clip_path("ab12" + 60 * "0")
    'clips/ab/ab120000000000000000000000000000.mp4'
    """
    return f"{CLIPS}/{sha256[:2]}/{sha256[:32]}.mp4"


def _teach(root: Path) -> str:
    return f"make one with: followspot prepare FOLDER_OF_VIDEOS --out {root}"


def _stamp(root: Path) -> tuple[int, int, int] | None:
    try:
        facts = (root / INDEX).stat()
    except OSError:
        return None
    return facts.st_mtime_ns, facts.st_size, facts.st_ino


def _decode(path: Path, wanted: list[int], *, fps: float) -> dict[int, NDArray[np.uint8]]:
    """The wanted frames (ascending) of a clip with an even clock."""
    import av

    try:
        # Closed before returning: an open decoder that a forked worker inherits can hang when it is collected there.
        with av.open(str(path)) as container:
            found = _forward(container, video_stream(container, path), wanted, fps=fps)
    except FileNotFoundError as error:
        raise DatasetError(f"the clip {path} is gone; prepare the store again") from error
    except (av.FFmpegError, OSError, VideoError) as error:
        raise DatasetError(f"the clip {path} cannot be read ({error}); delete it and prepare the store again") from error
    lost = next((frame for frame in wanted if frame not in found), None)
    if lost is not None:
        raise DatasetError(f"frame {lost} is missing in the clip {path}; delete it and prepare the store again")
    return found


def _forward(container: "InputContainer", stream: "VideoStream", wanted: list[int], *, fps: float) -> dict[int, NDArray[np.uint8]]:
    """What can be found of the wanted frames."""
    stream.codec_context.thread_count = 1
    # Without this FFmpeg paints over damage and says nothing.
    stream.codec_context.options = {"err_detect": "explode"}
    found: dict[int, NDArray[np.uint8]] = {}
    for run in _runs(wanted):
        # Key frames shown out of order may make a seek land too late; then from further back.
        for anchor in dict.fromkeys((run[0], max(0, run[0] - GOP), 0)):
            part = _run(container, stream, run, anchor=anchor, fps=fps)
            if len(part) == len(run):
                found |= part
                break
    return found


def _runs(wanted: list[int]) -> list[list[int]]:
    """Cuts ascending numbers where jumping to the next key frame is shorter than decoding on.

    >>> _runs([0, 4, 8, 40, 41])
    [[0, 4, 8], [40, 41]]
    """
    runs: list[list[int]] = [[wanted[0]]]
    for early, late in pairwise(wanted):
        if late - early > GOP:
            runs.append([])
        runs[-1].append(late)
    return runs


def _run(container: "InputContainer", stream: "VideoStream", run: list[int], *, anchor: int, fps: float) -> dict[int, NDArray[np.uint8]]:
    """Frames of a run, decoded from the key frame at or before the anchor; fewer if decoding begins behind the first."""
    tick = stream.time_base or Fraction(1, 1)
    start = stream.start_time or 0
    # A quarter of a frame late: a time rounded down must not fall before its own key frame.
    container.seek(start + round((anchor + 0.25) / fps / tick), stream=stream)
    found: dict[int, NDArray[np.uint8]] = {}
    for frame in container.decode(stream):
        number = round(float((frame.pts - start) * tick) * fps) if frame.pts is not None else -1
        if number in run:
            found[number] = frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
        if number >= run[-1] or (number > run[0] and run[0] not in found):
            break
    return found
