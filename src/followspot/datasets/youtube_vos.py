"""YouTube-VOS 2018 and 2019 as they unpack; the two years have one layout.

::

    YouTube-VOS/
      valid/meta.json                                {"videos": {VIDEO: {"objects": {"1": {"category": "cat", "frames": ["00000", ...]}}}}}
      valid/JPEGImages/<video>/00000.jpg             every fifth frame
      valid/Annotations/<video>/00000.png            train: every fifth frame; valid, test: only frames in which an object begins
      valid_all_frames/JPEGImages/<video>/00000.jpg  optional: every frame
      train/..., test/..., test_all_frames/...       the same
      holdout.txt                                    optional: a split of your own, one video of train a line
      seen_categories.txt                            optional: categories that count as seen, one a line
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from followspot.datasets.davis import read_ids
from followspot.datasets.frame_files import frame_files, image_size, mask_names, read_names
from followspot.errors import AnnotationError, DatasetError
from followspot.io.fields import as_list, as_mapping, as_text, load_json

HELD_OUT_OF = "train"
"""The folder of which a list of your own names videos."""


@dataclass(frozen=True, kw_only=True)
class YoutubeVosVideo:
    """One video. Nothing is decoded before it is asked for."""

    name: str
    image_files: tuple[Path, ...]
    """The frames to follow through, in order."""
    required: tuple[str, ...]
    """Names of the frames for which the server wants a mask: those that ``meta.json`` lists for any object, in order."""
    mask_folder: Path
    annotated: tuple[str, ...]
    """Names of the frames that have an annotation, in order."""
    categories: Mapping[int, str]
    """Category by object id, ascending; empty where ``meta.json`` has none."""

    def __len__(self) -> int:
        return len(self.image_files)

    @property
    def hidden(self) -> bool:
        """Whether frames that are to be scored lack an annotation."""
        return not set(self.required) <= set(self.annotated)

    @cached_property
    def positions(self) -> Mapping[str, int]:
        """Index of a frame by its name."""
        return {file.stem: index for index, file in enumerate(self.image_files)}

    def read_mask(self, frame: str) -> NDArray[np.uint8]:
        """The annotation of a frame.

        Args:
            frame: its name, one of `annotated`.

        Returns:
            Ids ``(H, W)`` of the frame's size.

        Raises:
            DatasetError: the annotation is unreadable, of another size, or holds an object that ``meta.json`` does not list.
        """
        path = self.mask_folder / f"{frame}.png"
        ids = read_ids(path)
        size = image_size(self.image_files[self.positions[frame]])
        if ids.shape != size:
            got, expected = (f"{width}x{height}" for height, width in (ids.shape, size))
            raise DatasetError(f"{path} is {got} but its frame is {expected}; use annotations and frames of one release")
        extra = sorted(set(np.unique(ids).tolist()) - {0, *self.categories})
        if extra:
            known = ", ".join(map(str, self.categories))
            raise DatasetError(
                f"{path} holds ids {extra} but meta.json lists the objects {known} for {self.name!r}; unpack both of one release again"
            )
        return ids

    @cached_property
    def begins(self) -> Mapping[int, str]:
        """By object id, the first frame in which it is annotated; there it is given to the tracker.

        Raises:
            DatasetError: an annotation is unusable, or an object has none.
        """
        found: dict[int, str] = {}
        for frame in self.annotated:
            if len(found) == len(self.categories):
                break
            for object_id in np.unique(self.read_mask(frame)).tolist():
                if object_id:
                    found.setdefault(object_id, frame)
        missing = [object_id for object_id in self.categories if object_id not in found]
        if missing:
            raise DatasetError(
                f"{self.mask_folder} has no mask of object {missing[0]}, which meta.json lists; unpack the annotations again"
            )
        return found

    def given(self) -> dict[int, NDArray[np.uint8]]:
        """What the tracker is shown, by frame index: in each frame only the objects that begin there, as ids ``(H, W)``.

        Raises:
            DatasetError: an annotation is unusable, or an object has none.
        """
        by_frame: dict[str, list[int]] = {}
        for object_id, frame in self.begins.items():
            by_frame.setdefault(frame, []).append(object_id)
        shown: dict[int, NDArray[np.uint8]] = {}
        for frame in sorted(by_frame, key=self.positions.__getitem__):
            ids = self.read_mask(frame)
            shown[self.positions[frame]] = np.where(np.isin(ids, by_frame[frame]), ids, 0).astype(np.uint8)
        return shown


class YoutubeVosDataset:
    """A split of YouTube-VOS in a folder.

    Args:
        root: the folder that holds ``valid``, ``train`` ...
        split: a folder with a ``meta.json``, or a list ``<split>.txt`` of videos of ``train``.
        all_frames: follow through every frame, which needs ``<split>_all_frames``; None: if that is there.

    Attributes:
        all_frames: whether every frame is there to follow through.
        videos: by name, in the order of ``meta.json`` or of the list.

    Raises:
        DatasetError: the folder, its ``meta.json``, a video or a frame is missing or wrong.
    """

    def __init__(self, root: Path | str, *, split: str = "valid", all_frames: bool | None = None) -> None:
        self.root, self.split = Path(root), split
        self._listing = self.root / f"{split}.txt"
        self._own = self._listing.is_file() and not (self.root / split).is_dir()
        self.folder = self.root / (HELD_OUT_OF if self._own else split)
        meta = _read_meta(self.folder / "meta.json")
        every = self.folder.with_name(f"{self.folder.name}_all_frames") / "JPEGImages"
        if all_frames and not every.is_dir():
            raise DatasetError(f"{every} is missing, so not all frames are there; unpack it, or choose the protocol every-fifth")
        self.all_frames = every.is_dir() if all_frames is None else all_frames
        images = every if self.all_frames else self.folder / "JPEGImages"
        names = read_names(self._listing, meta) if self._own else tuple(meta)
        self.videos = {name: self._open(name, meta[name], images=images / name) for name in names}
        self._others = {category for name, objects in meta.items() if name not in self.videos for category, _ in objects.values()}

    def _open(self, name: str, objects: "_Objects", *, images: Path) -> YoutubeVosVideo:
        files = frame_files(images)
        masks = self.folder / "Annotations" / name
        annotated = mask_names(masks)
        required = sorted({frame for _, frames in objects.values() for frame in frames})
        there = {file.stem for file in files}
        for frames, what in ((required, "meta.json lists it"), (annotated, f"{masks} annotates it")):
            missing = [frame for frame in frames if frame not in there]
            if missing:
                raise DatasetError(
                    f"{images / missing[0]}.jpg is missing but {what} ({len(missing)} frames are missing); unpack the video again"
                )
        if not annotated:
            raise DatasetError(f"{masks} holds no annotation; unpack the annotations, a video starts from them")
        categories = {object_id: category for object_id, (category, _) in sorted(objects.items())}
        return YoutubeVosVideo(
            name=name, image_files=files, required=tuple(required), mask_folder=masks, annotated=annotated, categories=categories
        )

    def seen(self) -> "Seen | None":
        """Which categories a network that was trained on YouTube-VOS has seen, or None if nothing here says so.

        Raises:
            DatasetError: the list or the ``meta.json`` of train is unusable.
        """
        own = self.root / "seen_categories.txt"
        if own.is_file():
            # Categories may hold blanks ("giant panda").
            return Seen(frozenset(line.strip() for line in own.read_text(encoding="utf-8").splitlines() if line.strip()), own.name)
        if self._own:
            return Seen(frozenset(self._others - {""}), f"videos of {HELD_OUT_OF} that {self._listing.name} leaves out")
        meta = self.root / HELD_OUT_OF / "meta.json"
        if not meta.is_file():
            return None
        return Seen(frozenset(c for o in _read_meta(meta).values() for c, _ in o.values() if c), f"{HELD_OUT_OF}/meta.json")


@dataclass(frozen=True)
class Seen:
    """Categories that count as seen in training, and where that is said."""

    categories: frozenset[str]
    source: str


_Objects = Mapping[int, tuple[str, tuple[str, ...]]]
"""By object id: its category and the frames that ``meta.json`` lists for it."""


def _read_meta(path: Path) -> dict[str, _Objects]:
    """Objects by video."""
    if not path.is_file():
        root = path.parent.parent
        known = sorted(file.parent.name for file in root.glob("*/meta.json")) + sorted(file.stem for file in root.glob("*.txt"))
        exist = f"splits there are: {', '.join(known)}" if known else "expected the folder that holds train, valid or test"
        raise DatasetError(f"{path} is missing; {exist}")
    try:
        videos = as_mapping(load_json(path).get("videos"), f"{path}: videos")
        meta = {name: _read_objects(video, f"{path}: videos.{name}") for name, video in videos.items()}
    except AnnotationError as error:
        raise DatasetError(f"{error} (it should be YouTube-VOS' own meta.json)") from error
    if not meta:
        raise DatasetError(f"{path} lists no video; unpack it again")
    return meta


def _read_objects(video: object, where: str) -> _Objects:
    objects: dict[int, tuple[str, tuple[str, ...]]] = {}
    for key, value in as_mapping(as_mapping(video, where).get("objects"), f"{where}.objects").items():
        inside = f"{where}.objects.{key}"
        if not (key.isdecimal() and 1 <= int(key) <= 255):
            raise AnnotationError(f"{inside}: {key!r} is no object id from 1 to 255; correct the file")
        about = as_mapping(value, inside)
        frames = tuple(as_text(frame, f"{inside}.frames") for frame in as_list(about.get("frames"), f"{inside}.frames"))
        category = about.get("category")
        objects[int(key)] = (category if isinstance(category, str) else "", frames)
    if not objects:
        raise AnnotationError(f"{where}.objects is empty; every video has an object")
    return objects
