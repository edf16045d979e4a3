"""JHMDB as it unpacks: clips of people, 15 joints in every frame (Jhuang et al., "Towards understanding action recognition", ICCV 2013).

::

    JHMDB/
      Rename_Images/<class>/<clip>/00001.png                    320x240, counted from 1
      joint_positions/<class>/<clip>/joint_positions.mat        pos_img (2, 15, T): x and y, counted from 1
      splits/<class>_test_split1.txt                            the dataset's own lists: "<clip>.avi 2" is a test clip
      split1.txt                                                or one list, as tracking papers have it: "<mat> <folder>" a line,
                                                                or "<folder> <mat>"
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from followspot.errors import DatasetError
from followspot.io.files import missing_file, nearest
from followspot.io.images import ImageVideo

Floats = NDArray[np.float64]

JOINTS = (
    "neck",
    "belly",
    "face",
    "right shoulder",
    "left shoulder",
    "right hip",
    "left hip",
    "right elbow",
    "left elbow",
    "right knee",
    "left knee",
    "right wrist",
    "left wrist",
    "right ankle",
    "left ankle",
)
"""The 15 joints in the order of the files (the dataset's README)."""
LIMBS = ((0, 1), (2, 0), (3, 0), (4, 0), (5, 1), (6, 1), (7, 3), (8, 4), (9, 5), (10, 6), (11, 7), (12, 8), (13, 9), (14, 10))
"""The 14 limbs between them, as TimeCycle's and UVC's evaluations draw them."""

_TEST = "2"
"""In the dataset's own lists: 1 is training, 2 is test, 0 is neither."""
# What scipy raises for files that are cut short, of MATLAB 7.3, or nothing of the kind, besides its own MatReadError.
_DAMAGE = (ValueError, TypeError, LookupError, NotImplementedError, OSError, EOFError, OverflowError, MemoryError, zlib.error)


@dataclass(frozen=True)
class JhmdbClip:
    """One clip; nothing is read before it is asked for."""

    name: str
    """``<class>/<clip>``."""
    image_folder: Path
    joint_file: Path

    def __len__(self) -> int:
        """How many frames are annotated."""
        return len(self.joints)

    @cached_property
    def joints(self) -> Floats:
        """``(T, 15, 2)``: x and y in pixels, origin at the centre of the top-left pixel; may lie outside the image.

        Raises:
            DatasetError: the file is missing, unreadable, or holds something else.
        """
        positions = _read_positions(self.joint_file)
        if positions.ndim != 3 or positions.shape[:2] != (2, len(JOINTS)) or not positions.shape[2] or not np.isfinite(positions).all():
            raise DatasetError(
                f"{self.joint_file}: pos_img is {positions.shape}, expected (2, {len(JOINTS)}, frames) of finite numbers; unpack it again"
            )
        return positions.transpose(2, 1, 0) - 1  # MATLAB counts pixels from 1

    @cached_property
    def image_files(self) -> tuple[Path, ...]:
        """The frames in order, one for each that is annotated.

        Raises:
            DatasetError: a frame is missing, or there are more than annotated.
        """
        there = {path.name for path in self.image_folder.iterdir() if path.suffix.lower() == ".png" and not path.name.startswith(".")}
        wanted = [f"{number:05d}.png" for number in range(1, len(self) + 1)]
        missing = [name for name in wanted if name not in there]
        if missing:
            raise DatasetError(
                f"{self.image_folder / missing[0]} is missing ({len(missing)} of {len(self)} annotated frames are); unpack the clip again"
            )
        extra = sorted(there - set(wanted))
        if extra:
            raise DatasetError(
                f"{self.image_folder / extra[0]} is not annotated: {self.joint_file} has {len(self)} frames; unpack both again, "
                "or remove the frames beyond"
            )
        return tuple(self.image_folder / name for name in wanted)

    def open(self) -> ImageVideo:
        """The frames as a video.

        Raises:
            DatasetError: as `image_files`.
            VideoError: a frame is no image.
        """
        return ImageVideo(self.image_files, name=self.name)


class JhmdbDataset:
    """A split of JHMDB in a folder.

    Args:
        root: the folder that holds ``Rename_Images`` and ``joint_positions``.
        split: ``"split1"`` to ``"split3"`` (test clips), ``"all"``, the name of a ``.txt`` list in the folder, or the path of one.

    Attributes:
        clips: in the order of the list.

    Raises:
        DatasetError: the folder, the list or a clip is missing, or a line of the list is wrong.
    """

    def __init__(self, root: Path | str, *, split: str = "split1") -> None:
        self.root = Path(root)
        self.split = split
        for folder in ("Rename_Images", "joint_positions"):
            if not (self.root / folder).is_dir():
                raise DatasetError(f"{self.root} has no folder {folder}; expected the JHMDB folder with Rename_Images and joint_positions")
        self.clips = tuple(self._open(name) for name in _clip_names(self.root, split))

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, name: str) -> JhmdbClip:
        """A clip by its name, ``<class>/<clip>``.

        Raises:
            DatasetError: the split has no such clip.
        """
        for clip in self.clips:
            if clip.name == name:
                return clip
        near = nearest(name, [clip.name for clip in self.clips])
        raise DatasetError(f"JHMDB {self.split} has no clip {name!r}; " + (f"did you mean {near!r}?" if near else "see its list"))

    def _open(self, name: str) -> JhmdbClip:
        clip = JhmdbClip(name, self.root / "Rename_Images" / name, self.root / "joint_positions" / name / "joint_positions.mat")
        if not clip.image_folder.is_dir():
            raise DatasetError(f"{clip.image_folder} is missing but {self.split} lists {name!r}; unpack Rename_Images again")
        if not clip.joint_file.is_file():
            raise DatasetError(f"{clip.joint_file} is missing but {self.split} lists {name!r}; unpack joint_positions again")
        return clip


def _read_positions(path: Path) -> Floats:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    problem = missing_file(path)
    if problem:
        raise DatasetError(problem)
    try:
        content = loadmat(path, variable_names=["pos_img"])
        if "pos_img" not in content:
            raise ValueError("it holds no pos_img")
        return np.asarray(content["pos_img"], np.float64)
    except (*_DAMAGE, MatReadError) as error:
        raise DatasetError(f"{path} cannot be read ({error}), expected a MATLAB file with pos_img; unpack it again") from error


def _clip_names(root: Path, split: str) -> list[str]:
    """Names of the clips of a split, each once."""
    if split == "all":
        names = sorted(path.parent.relative_to(root / "joint_positions").as_posix() for path in root.glob("joint_positions/*/*/*.mat"))
        place = str(root / "joint_positions")
    else:
        listed = list(_listed(root, split))
        names, place = [name for name, _ in listed], listed[0][1] if listed else f"the list of {split!r}"
        seen: set[str] = set()
        for name, where in listed:
            if name in seen:
                raise DatasetError(f"{where}: clip {name!r} is listed twice; remove one of the lines")
            seen.add(name)
    if not names:
        raise DatasetError(f"{place} names no clip of {root}; unpack the dataset again, or correct the split")
    return names


def _listed(root: Path, split: str) -> Iterator[tuple[str, str]]:
    """Names of clips, and where each was read."""
    places = [root / f"{split}.txt", root / f"testlist_{split}.txt", root / "splits" / f"{split}.txt"]
    places += [Path(split)] if split.endswith(".txt") else []
    for path in places:
        if path.is_file():
            yield from _one_list(path)
            return
    official = sorted(path for path in root.glob(f"splits/*_test_{split}.txt") if not path.name.startswith("."))
    if not official:
        known = sorted({path.stem.rpartition("_test_")[2] for path in (*root.glob("*.txt"), *root.glob("splits/*.txt"))})
        there = f"there are {', '.join([*known, 'all'])}" if known else f"put it into {places[0]}, or take split all"
        raise DatasetError(f"no list {split!r} in {root}: {there}")
    for path in official:
        yield from _official_list(path, split)


def _one_list(path: Path) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip():
            yield _entry(line, f"{path}:{number}"), f"{path}:{number}"


def _entry(line: str, where: str) -> str:
    """The clip that a line names: a joint file and a folder of frames in either order, told apart by the ending."""
    entries = [PurePosixPath(entry) for entry in line.split()]
    joint_files = [entry.parent for entry in entries if entry.suffix == ".mat"]
    folders = [entry for entry in entries if entry.suffix != ".mat"]
    if len(joint_files) != 1 or len(folders) != 1 or len(folders[0].parts) < 2 or len(joint_files[0].parts) < 2:
        raise DatasetError(
            f"{where}: expected a joint_positions.mat and a folder of frames, in either order, got {line.strip()[:80]!r}; correct the line"
        )
    names = {"/".join(path.parts[-2:]) for path in (joint_files[0], folders[0])}
    if len(names) > 1:
        raise DatasetError(f"{where} joins two clips, {' and '.join(sorted(names))}; correct the line")
    return names.pop()


def _official_list(path: Path, split: str) -> Iterator[tuple[str, str]]:
    action = path.name.removesuffix(f"_test_{split}.txt")
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        clip, _, kind = line.strip().rpartition(" ")
        if line.strip() and (kind not in ("0", "1", _TEST) or not clip.strip().endswith(".avi")):
            raise DatasetError(f'{path}:{number}: expected "<clip>.avi 1" or "... 2", got {line.strip()[:80]!r}; correct the line')
        if kind == _TEST:
            yield f"{action}/{clip.strip().removesuffix('.avi')}", f"{path}:{number}"
