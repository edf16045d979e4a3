"""VIP (Zhou et al., "Adaptive Temporal Encoding Network for Video Instance-level Human Parsing", ACM MM 2018) as it unpacks.

::

    VIP/VIP_Fine/
      lists/val_videos.txt                            one video a line
      Images/<video>/000000000001.jpg                 all frames
      Annotations/Category_ids/<video>/000000000001.png   the class of every pixel, in every 25th frame
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from followspot.datasets.davis import read_ids
from followspot.datasets.frame_files import frame_files, image_size, mask_names, read_names
from followspot.errors import DatasetError

CLASSES = (
    "background",
    "hat",
    "hair",
    "glove",
    "sunglasses",
    "upper-clothes",
    "dress",
    "coat",
    "socks",
    "pants",
    "torso-skin",
    "scarf",
    "skirt",
    "face",
    "left-arm",
    "right-arm",
    "left-leg",
    "right-leg",
    "left-shoe",
    "right-shoe",
)
"""Names of the classes, in the order of their numbers (the page of the video parsing challenge of LIP)."""

VOID = 255
"""Pixels that are not scored."""


@dataclass(frozen=True, kw_only=True)
class VipVideo:
    """One video. Nothing is decoded before it is asked for."""

    name: str
    image_files: tuple[Path, ...]
    mask_folder: Path
    annotated: tuple[str, ...]
    """Names of the frames whose classes are annotated, in order; the first of them is given to the tracker."""

    def __len__(self) -> int:
        return len(self.image_files)

    @cached_property
    def positions(self) -> dict[str, int]:
        """Index of a frame by its name."""
        return {file.stem: index for index, file in enumerate(self.image_files)}

    def read_classes(self, frame: str) -> NDArray[np.uint8]:
        """The class of every pixel.

        Args:
            frame: its name, one of `annotated`.

        Returns:
            ``(H, W)``, 0..19, or 255 where nobody knows.

        Raises:
            DatasetError: the annotation is unreadable, of another size, or holds other numbers.
        """
        path = self.mask_folder / f"{frame}.png"
        classes = read_ids(path)
        size = image_size(self.image_files[self.positions[frame]])
        if classes.shape != size:
            got, expected = (f"{width}x{height}" for height, width in (classes.shape, size))
            raise DatasetError(f"{path} is {got} but its frame is {expected}; unpack images and annotations of one release again")
        extra = sorted(set(np.unique(classes).tolist()) - {*range(len(CLASSES)), VOID})
        if extra:
            raise DatasetError(f"{path} holds classes {extra}, expected 0 to {len(CLASSES) - 1}; use the folder Category_ids")
        return classes


class VipDataset:
    """A split of VIP in a folder.

    Args:
        root: ``VIP_Fine``, or the folder that holds it.
        split: ``val``, or the name of another list ``lists/<split>_videos.txt`` or ``lists/<split>.txt``.

    Attributes:
        videos: by name, in the order of the list.

    Raises:
        DatasetError: the folder, the list, a video or an annotation is missing.
    """

    def __init__(self, root: Path | str, *, split: str = "val") -> None:
        root = Path(root)
        self.root = root / "VIP_Fine" if (root / "VIP_Fine").is_dir() else root
        self.split = split
        images = self.root / "Images"
        if not images.is_dir():
            raise DatasetError(f"{images} is missing, expected the folder VIP_Fine with Images, Annotations and lists; unpack it again")
        known = sorted(folder.name for folder in images.iterdir() if folder.is_dir())
        self.videos = {name: self._open(name) for name in read_names(self._list(), known)}

    def _list(self) -> Path:
        for path in (self.root / "lists" / f"{self.split}_videos.txt", self.root / "lists" / f"{self.split}.txt"):
            if path.is_file():
                return path
        there = sorted(path.name for path in (self.root / "lists").glob("*.txt"))
        raise DatasetError(f"{self.root / 'lists'} has no list {self.split}_videos.txt; there are: {', '.join(there) or 'none'}")

    def _open(self, name: str) -> VipVideo:
        files = frame_files(self.root / "Images" / name)
        masks = self.root / "Annotations" / "Category_ids" / name
        annotated = mask_names(masks)
        if not annotated:
            raise DatasetError(f"{masks} holds no annotation (.png); unpack the annotations again")
        missing = sorted(set(annotated) - {file.stem for file in files})
        if missing:
            raise DatasetError(
                f"{masks / missing[0]}.png has no frame in {files[0].parent} ({len(missing)} have none); unpack the frames again"
            )
        return VipVideo(name=name, image_files=files, mask_folder=masks, annotated=annotated)
