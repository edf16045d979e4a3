"""BADJA: 20 joints of animals in some frames of DAVIS videos and others (Biggs et al., "Creatures Great and SMAL", ACCV 2018).

Two layouts, told apart by the folder of the annotations::

    BADJA/joint_annotations/<sequence>.json    the official one: [{"image_path", "segmentation_path", "joints", "visibility"}], a joint
                                               being [row, column], and the paths being inside BADJA/

    data/keypoints/<sequence>.json             ours: {"joint_names", "frames", "xy", "visible", "resolution"}; see io.keypoints
    data/davis/JPEGImages/480p/<sequence>/     frames, and masks in Annotations/480p/<sequence>/
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from followspot.datasets.davis import read_ids
from followspot.errors import AnnotationError, DatasetError
from followspot.io.fields import as_list, as_mapping, as_numbers, as_text
from followspot.io.files import missing_file, nearest
from followspot.io.images import IMAGE_SUFFIXES, ImageVideo, natural_key, read_image
from followspot.io.keypoints import read_keypoints

Floats = NDArray[np.float64]

JOINTS: Mapping[str, int] = MappingProxyType(
    {
        "upper_right_1": 8,
        "upper_right_2": 9,
        "upper_right_3": 10,
        "upper_left_1": 12,
        "upper_left_2": 13,
        "upper_left_3": 14,
        "neck_lower": 15,
        "lower_right_1": 18,
        "lower_right_2": 19,
        "lower_right_3": 20,
        "lower_left_1": 22,
        "lower_left_2": 23,
        "lower_left_3": 24,
        "tail_0": 25,
        "tail_3": 28,
        "tail_6": 31,
        "jaw": 32,
        "nose": 33,
        "right_ear": 35,
        "left_ear": 36,
    }
)
"""The annotated joints and their places among the 37 of an official file (the dataset's joint catalogue)."""
_ALL_JOINTS = 37
LIMBS = tuple(
    (tuple(JOINTS).index(one), tuple(JOINTS).index(other))
    for one, other in (
        *((f"{leg}_{k}", f"{leg}_{k + 1}") for leg in ("upper_right", "upper_left", "lower_right", "lower_left") for k in (1, 2)),
        *(("upper_right_1", "neck_lower"), ("upper_left_1", "neck_lower"), ("lower_right_1", "tail_0"), ("lower_left_1", "tail_0")),
        *(("neck_lower", "tail_0"), ("tail_0", "tail_3"), ("tail_3", "tail_6")),
        *(("neck_lower", "jaw"), ("jaw", "nose"), ("nose", "right_ear"), ("nose", "left_ear")),
    )
)
"""Limbs between them, for drawing; ours, since the dataset has none."""
WITHHELD = ("cat_jump", "tiger")
"""Sequences whose frames are not published for reasons of licence (the dataset's README)."""


@dataclass(frozen=True)
class BadjaSequence:
    """One video and its joints; nothing is decoded before it is asked for."""

    name: str
    joints: tuple[str, ...]
    """Names of the K joints."""
    image_files: tuple[Path, ...]
    """All T frames in order, also those without annotation."""
    annotated: tuple[int, ...]
    """Which frames are annotated, ascending; A of them."""
    mask_files: tuple[Path, ...]
    """Masks of the animal in the annotated frames, whether they exist or not."""
    positions: tuple[tuple[tuple[float, float], ...], ...]
    """``[A][K]`` of x and y in pixels, origin at the centre of the top-left pixel; NaN where a joint is not visible."""

    def __len__(self) -> int:
        return len(self.image_files)

    @cached_property
    def xy(self) -> Floats:
        """`positions` over all frames, ``(T, K, 2)``; NaN in frames without annotation too."""
        xy = np.full((len(self), len(self.joints), 2), np.nan)
        xy[list(self.annotated)] = self.positions
        return xy

    def open(self) -> ImageVideo:
        """The frames as a video.

        Raises:
            VideoError: a frame is no image.
        """
        return ImageVideo(self.image_files, name=self.name)

    def areas(self) -> Floats:
        """``(T,)``: pixels of the mask in annotated frames (all its ids together), NaN in others.

        Raises:
            DatasetError: a mask is missing, unreadable, empty, or of another size than the frame.
        """
        with self.open() as video:
            size = video.height, video.width
        areas = np.full(len(self), np.nan)
        for index, path in zip(self.annotated, self.mask_files, strict=True):
            ids = read_ids(path)
            if ids.shape != size or not ids.any():
                got = f"is {ids.shape[1]}x{ids.shape[0]} but the frame is {size[1]}x{size[0]}" if ids.shape != size else "is empty"
                raise DatasetError(f"{path} {got}; use masks and frames of one resolution, or the protocol without masks (pixels)")
            areas[index] = np.count_nonzero(ids)
        return areas


class BadjaDataset:
    """The annotated videos in a folder.

    Args:
        root: the folder that holds ``joint_annotations`` (official) or ``keypoints`` (ours).
        split: ``"public"`` (all but those whose frames are withheld), ``"all"``, or names with commas between them.

    Attributes:
        sequences: by name.

    Raises:
        DatasetError: the folder, a sequence or a frame is missing, or a file of joints is wrong.
    """

    def __init__(self, root: Path | str, *, split: str = "public") -> None:
        self.root = Path(root)
        self.split = split
        folders = [self.root / name for name in ("joint_annotations", "keypoints") if (self.root / name).is_dir()]
        files = {path.stem: path for path in sorted(folders[0].glob("[!.]*.json"))} if folders else {}
        if not files:
            raise DatasetError(f"{self.root} has no joint_annotations/*.json (official) or keypoints/*.json; give the folder that has")
        read = _official if folders[0].name == "joint_annotations" else _ours
        self.sequences = tuple(_reported(read, self.root, files[name]) for name in _chosen(split, files))

    def __len__(self) -> int:
        return len(self.sequences)

    def __getitem__(self, name: str) -> BadjaSequence:
        """A sequence by its name.

        Raises:
            DatasetError: the split has no such sequence.
        """
        for sequence in self.sequences:
            if sequence.name == name:
                return sequence
        raise DatasetError(f"BADJA {self.split} has no sequence {name!r}; there are {', '.join(s.name for s in self.sequences)}")


def _chosen(split: str, files: Mapping[str, Path]) -> list[str]:
    if split in ("public", "all"):
        return [name for name in files if split == "all" or name not in WITHHELD]
    names = [name.strip() for name in split.split(",")]
    for name in names:
        if name not in files:
            near = nearest(name, files)
            hint = f"did you mean {near!r}?" if near else f"choose public, all, or names of {', '.join(files)}"
            raise DatasetError(f"no sequence {name!r} in {next(iter(files.values())).parent}; {hint}")
    return list(dict.fromkeys(names))


def _reported(read: Callable[[Path, Path], BadjaSequence], root: Path, path: Path) -> BadjaSequence:
    """What a reader gives; what is wrong with a file is the dataset's fault here."""
    try:
        return read(root, path)
    except AnnotationError as error:
        raise DatasetError(str(error)) from error


def _ours(root: Path, path: Path) -> BadjaSequence:
    davis = next((folder for folder in (root / "davis", root / "DAVIS", root) if (folder / "JPEGImages").is_dir()), root / "davis")
    images = _frames(davis / "JPEGImages" / "480p" / path.stem, needed_by=path)
    height, width = read_image(images[0]).shape[:2]
    keypoints = {index: found[0] for index, found in read_keypoints(path, size=(height, width)).items() if index is not None}
    annotated = sorted(keypoints)
    if not annotated or annotated[-1] >= len(images):
        last = annotated[-1] if annotated else "no frame"
        raise DatasetError(f"{path} annotates {last} but {images[0].parent} has frames 0 to {len(images) - 1}; unpack the frames again")
    masks = davis / "Annotations" / "480p" / path.stem
    return BadjaSequence(
        name=path.stem,
        joints=keypoints[annotated[0]].joints,
        image_files=images,
        annotated=tuple(annotated),
        mask_files=tuple(masks / f"{images[index].stem}.png" for index in annotated),
        positions=tuple(tuple((float(x), float(y)) for x, y in keypoints[index].xy) for index in annotated),
    )


def _official(root: Path, path: Path) -> BadjaSequence:
    entries = [as_mapping(entry, f"{path}[{place}]") for place, entry in enumerate(_load_list(path))]
    named = [root / as_text(entry.get("image_path"), f"{path}[{place}].image_path") for place, entry in enumerate(entries)]
    if not named:
        raise DatasetError(f"{path} annotates no frame; fetch it again")
    images = _frames(named[0].parent, needed_by=path)
    places = {image: index for index, image in enumerate(images)}
    missing = [image for image in named if image not in places]
    if missing:
        raise DatasetError(f"{missing[0]} is missing but {path} annotates it ({len(missing)} of {len(named)} are); unpack the frames again")
    order = sorted(range(len(named)), key=lambda place: places[named[place]])
    if len(set(named)) < len(named):
        raise DatasetError(f"{path} annotates a frame twice; fetch it again")
    return BadjaSequence(
        name=path.stem,
        joints=tuple(JOINTS),
        image_files=images,
        annotated=tuple(places[named[place]] for place in order),
        mask_files=tuple(root / as_text(entries[place].get("segmentation_path"), f"{path}[{place}].segmentation_path") for place in order),
        positions=tuple(_visible_joints(entries[place], f"{path}[{place}]") for place in order),
    )


def _load_list(path: Path) -> list[object]:
    """The official files are a list at their top."""
    import json

    problem = missing_file(path)
    if problem:
        raise DatasetError(problem)
    try:
        return as_list(json.loads(path.read_text(encoding="utf-8")), str(path))
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, AnnotationError):
            raise
        raise DatasetError(f"{path} is not readable JSON ({error}); fetch it again") from error


def _visible_joints(entry: Mapping[str, object], where: str) -> tuple[tuple[float, float], ...]:
    rows = [as_numbers(row, f"{where}.joints[{k}]", count=2) for k, row in enumerate(as_list(entry.get("joints"), f"{where}.joints"))]
    seen = as_list(entry.get("visibility"), f"{where}.visibility")
    if not len(rows) == len(seen) == _ALL_JOINTS:
        raise DatasetError(f"{where} has {len(rows)} joints and {len(seen)} flags, expected {_ALL_JOINTS} of each; fetch the file again")
    return tuple((rows[k][1], rows[k][0]) if seen[k] else (np.nan, np.nan) for k in JOINTS.values())


def _frames(folder: Path, *, needed_by: Path) -> tuple[Path, ...]:
    found = folder.iterdir() if folder.is_dir() else ()
    images = [path for path in found if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")]
    if not images:
        raise DatasetError(
            f"{folder} holds no frame but {needed_by} annotates some; unpack them there, or choose other sequences by --split"
        )
    return tuple(sorted(images, key=lambda path: natural_key(path.name)))
