"""TAP-Vid: points anywhere, annotated in every frame (Doersch et al., 2211.03726).

Two layouts::

    tapvid_davis.pkl                  as published: a dict or list of {"video", "points" (N, T, 2) in 0..1, "occluded" (N, T)};
    kinetics/0000_of_0010.pkl         the video is (T, H, W, 3) uint8 or T JPEG files; read without running anything in the pickle
    tapvid/<sequence>/00000.jpg       frames as images, and
    tapvid/<sequence>/points.npz      the arrays points and occluded; `unpack` makes this of the above

A pickle must be read as a whole before the first frame is known; unpack large ones.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from followspot.errors import DatasetError
from followspot.io.files import atomic_path, nearest, write_atomic
from followspot.io.images import IMAGE_SUFFIXES, image_folder
from followspot.io.pickles import read_pickle
from followspot.io.source import DEFAULT_FPS, VideoSource, same_size
from followspot.types import Frame

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_FAR_OUTSIDE = 1.0
"""Shares: a visible point this far outside its image is given in pixels, most likely."""


@dataclass(frozen=True)
class TapvidSequence:
    """One video and its points."""

    name: str
    points: Floats
    """``(N, T, 2)``: x and y as shares of the width and the height, 0 and 1 being the edges of the image."""
    occluded: Flags
    """``(N, T)``: not visible in the frame, or outside it."""
    folder: Path | None = None
    """With the frames as images."""
    pictures: "Pictures | None" = None
    """The frames, where they come from a pickle."""

    def __len__(self) -> int:
        return int(self.points.shape[1])

    def open(self) -> VideoSource:
        """The frames as a video.

        Raises:
            DatasetError: a frame of a pickle is no image.
            VideoError: a frame of a folder is no image, or of another size.
        """
        return self.pictures or image_folder(self.folder or Path())

    def pixels(self, size: tuple[int, int]) -> Floats:
        """The points in pixels, origin at the centre of the top-left pixel.

        Args:
            size: ``(H, W)`` of the video.

        Returns:
            ``(N, T, 2)``.
        """
        return self.points * (size[1], size[0]) - 0.5


class TapvidDataset:
    """All videos of a file or folder.

    Args:
        root: a ``.pkl``, a folder of them, or a folder as `unpack` makes it.

    Raises:
        DatasetError: there is nothing of that kind.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self.pickles = (self.root,) if self.root.is_file() else tuple(sorted(self.root.glob("[!.]*.pkl")))
        self.folders = () if self.pickles else tuple(sorted(path.parent for path in self.root.rglob("points.npz")))
        if not self.pickles and not self.folders:
            raise DatasetError(f"{self.root} holds neither .pkl files of TAP-Vid nor <sequence>/points.npz with frames; unpack it there")

    def __getstate__(self) -> dict[str, Any]:
        # What was read from a pickle may be gigabytes; another process reads it again.
        return {name: value for name, value in self.__dict__.items() if name != "_unpickled"}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the sequences: keys of a dict, numbers in a list; with the file's name before them where there are several files.

        Raises:
            DatasetError: a file is unusable.
        """
        return tuple(self._unpickled) if self.pickles else tuple(folder.relative_to(self.root).as_posix() for folder in self.folders)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, name: str) -> TapvidSequence:
        """A sequence by its name.

        Raises:
            DatasetError: there is none of that name, or its arrays are missing or of wrong shapes.
        """
        if name not in self.names:
            near = nearest(name, self.names)
            hint = f"did you mean {near!r}?" if near else f"there are {len(self)}, the first is {self.names[0]!r}"
            raise DatasetError(f"{self.root} has no sequence {name!r}; {hint}")
        return self._unpickled[name] if self.pickles else _from_folder(self.root / name, name)

    @cached_property
    def _unpickled(self) -> dict[str, TapvidSequence]:
        found: dict[str, TapvidSequence] = {}
        for path in self.pickles:
            for name, entry in _entries(path).items():
                unique = f"{path.stem}/{name}" if len(self.pickles) > 1 else name
                found[unique] = _from_entry(entry, unique, where=f"{path}: {name}")
        return found


def unpack(source: Path | str, folder: Path | str) -> int:
    """Turns published pickles into a folder of frames and ``points.npz``, which opens at once and needs no memory.

    Args:
        source: a ``.pkl`` or a folder of them.
        folder: gets a folder for each sequence; JPEG frames are kept byte for byte, others become PNG.

    Returns:
        How many sequences.

    Raises:
        DatasetError: a file is unusable.
        OutputError: the folder cannot be written.
    """
    dataset = TapvidDataset(source)
    for name in dataset.names:
        sequence = dataset[name]
        pictures = sequence.pictures
        if pictures is None:
            raise DatasetError(f"{source} is unpacked already; give the .pkl files")
        for index in range(len(sequence)):
            pictures.save(index, Path(folder) / name / f"{index:05d}")
        with atomic_path(Path(folder) / name / "points.npz") as partial:
            np.savez_compressed(partial, points=sequence.points, occluded=sequence.occluded)
    return len(dataset)


class Pictures(VideoSource):
    """The frames as a pickle holds them; each is decoded when it is asked for.

    Args:
        stored: ``(T, H, W, 3)`` uint8, or T JPEG files.
        where: for messages.

    Raises:
        DatasetError: the first frame is no image.
    """

    def __init__(self, stored: NDArray[np.uint8] | Sequence[bytes], *, where: str) -> None:
        self._stored = stored
        self._where = where
        height, width = self._picture(0).shape[:2]
        super().__init__(name=where, height=height, width=width, fps=DEFAULT_FPS, rewindable=True)

    @property
    def num_frames(self) -> int:
        """How many frames there are."""
        return len(self._stored)

    def _read(self, start: int, stop: int | None) -> Iterator[Frame]:
        for index in range(self.num_frames)[start:stop]:
            image = self._picture(index)
            same_size(self, image, what=f"frame {index}")
            yield Frame(image=image, index=index, time_seconds=index / self.fps, name=f"{index:05d}")

    def _picture(self, index: int) -> NDArray[np.uint8]:
        """RGB ``(H, W, 3)``; a copy, since what is unpickled is read-only."""
        from PIL import Image

        frame = self._stored[index]
        if not isinstance(frame, bytes):
            return np.array(frame)
        try:
            with Image.open(io.BytesIO(frame)) as image:
                return np.array(image.convert("RGB"))
        except (OSError, SyntaxError, ValueError) as error:
            raise DatasetError(f"{self._where}: frame {index} is no image ({error}); fetch the file again") from error

    def save(self, index: int, stem: Path) -> None:
        """Write a frame: JPEG files as they are, others as PNG.

        Args:
            index: the frame.
            stem: the file without its ending.

        Raises:
            OutputError: it cannot be written.
        """
        from PIL import Image

        frame = self._stored[index]
        if isinstance(frame, bytes):
            write_atomic(stem.with_suffix(".jpg"), frame)
            return
        with atomic_path(stem.with_suffix(".png")) as partial:
            Image.fromarray(self._picture(index)).save(partial, format="PNG")


def _entries(path: Path) -> dict[str, object]:
    content = read_pickle(path)
    if isinstance(content, list):
        return {f"{index:05d}": entry for index, entry in enumerate(content)}
    if isinstance(content, dict) and content and not {"video", "points"} & set(content):
        return {str(name): entry for name, entry in content.items()}
    raise DatasetError(f"{path} holds a {type(content).__name__}, expected a dict or list of videos with points; check the file")


def _from_entry(entry: object, name: str, *, where: str) -> TapvidSequence:
    if not isinstance(entry, Mapping) or not {"video", "points", "occluded"} <= set(entry):
        raise DatasetError(f"{where} has not the three fields video, points and occluded; fetch the file again")
    video = entry["video"]
    stored = isinstance(video, np.ndarray) and video.ndim == 4 and video.shape[3] == 3 and video.dtype == np.uint8
    files = isinstance(video, list | tuple) and all(isinstance(frame, bytes) for frame in video)
    if not (stored or files) or not len(video):
        shape = getattr(video, "shape", type(video).__name__)
        raise DatasetError(f"{where}: the video is {shape}, expected (T, H, W, 3) uint8 or a list of JPEG files; fetch the file again")
    points, occluded = _checked(entry["points"], entry["occluded"], frames=len(video), where=where)
    return TapvidSequence(name, points, occluded, pictures=Pictures(video, where=where))


def _from_folder(folder: Path, name: str) -> TapvidSequence:
    path = folder / "points.npz"
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in ("points", "occluded")}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise DatasetError(f"{path} cannot be read ({error}), expected the arrays points and occluded; unpack it again") from error
    frames = sum(path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") for path in folder.iterdir())
    points, occluded = _checked(arrays["points"], arrays["occluded"], frames=frames, where=str(path))
    return TapvidSequence(name, points, occluded, folder=folder)


def _checked(points: object, occluded: object, *, frames: int, where: str) -> tuple[Floats, Flags]:
    try:
        places, flags = np.array(points, np.float64), np.array(occluded).astype(bool)
    except (TypeError, ValueError) as error:
        raise DatasetError(f"{where}: points or occluded are no numbers ({error}); fetch the file again") from error
    if places.ndim != 3 or places.shape[1:] != (frames, 2) or flags.shape != places.shape[:2]:
        raise DatasetError(
            f"{where}: points are {places.shape} and occluded {flags.shape} for {frames} frames, expected (N, {frames}, 2) and "
            f"(N, {frames}); a frame is missing, or they are of another video"
        )
    if not np.isfinite(places[~flags]).all() or np.abs(places[~flags] - 0.5).max(initial=0) > 0.5 + _FAR_OUTSIDE:
        raise DatasetError(f"{where}: visible points lie outside 0..1; expected shares of width and height, so divide pixels by the size")
    return places, flags
