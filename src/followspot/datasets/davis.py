"""DAVIS 2016 and 2017 as they unpack: which sequences there are, their frames and their annotations.

::

    DAVIS/
      ImageSets/2017/val.txt                 one sequence a line (2016: also lines of frame and annotation paths)
      JPEGImages/480p/<sequence>/00000.jpg
      Annotations/480p/<sequence>/00000.png  indexed PNG, the index is the object's id
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from followspot.datasets.frame_files import image_size
from followspot.errors import DatasetError
from followspot.io.files import nearest

Year = Literal["2016", "2017"]

VOID = 255
"""The id of pixels that belong to nobody (DAVIS 2017 annotations)."""

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class DavisSequence:
    """One video of DAVIS and what is annotated in it. Nothing is decoded before it is asked for."""

    name: str
    """The sequence's folder name."""
    image_folder: Path
    """Folder with the frames."""
    mask_folder: Path
    """Folder with the annotations."""
    image_files: tuple[str, ...]
    """File names of all frames, in order."""
    annotated: frozenset[str]
    """Names of the frames that have an annotation; only the first one in a test split."""
    single_object: bool
    """True for DAVIS 2016, where all objects are one."""

    def __len__(self) -> int:
        return len(self.image_files)

    @cached_property
    def frame_names(self) -> tuple[str, ...]:
        """Names of all frames in order, without suffix; results are called ``<name>.png``."""
        return tuple(Path(file).stem for file in self.image_files)

    @cached_property
    def object_ids(self) -> tuple[int, ...]:
        """Ids in the first frame, ascending: the objects to follow. Objects that only appear later do not count.

        Raises:
            DatasetError: the first frame's annotation is missing, unreadable or empty.
        """
        ids = tuple(int(value) for value in np.unique(self.read_mask(0)) if value != 0)
        if not ids:
            raise DatasetError(f"{self.mask_path(0)}: the first annotation is empty, expected at least one object; restore the file")
        return ids

    def image_path(self, index: int) -> Path:
        """The file of a frame."""
        return self.image_folder / self.image_files[index]

    def mask_path(self, index: int) -> Path:
        """The file of a frame's annotation, whether it exists or not."""
        return self.mask_folder / f"{self.frame_names[index]}.png"

    def image_size(self, index: int) -> tuple[int, int]:
        """Height and width of a frame in pixels, from its header.

        Raises:
            DatasetError: the frame is not an image.
        """
        return image_size(self.image_path(index))

    def read_mask(self, index: int) -> NDArray[np.uint8]:
        """The annotation of a frame.

        Args:
            index: the frame, from 0.

        Returns:
            Id map ``(H, W)`` of the image's size, 0 = background. Void pixels are 0; in DAVIS 2016 every object is 1.

        Raises:
            DatasetError: the annotation is missing, is not an indexed PNG, or has another size than the frame.
        """
        path = self.mask_path(index)
        ids = read_ids(path)
        size = self.image_size(index)
        if ids.shape != size:
            got, expected = (f"{width}x{height}" for height, width in (ids.shape, size))
            raise DatasetError(f"{path} is {got} but its frame is {expected}; use annotations and frames of one resolution")
        if self.single_object and self._is_binary:
            return (ids > 0).astype(np.uint8)
        ids[ids == VOID] = 0
        return np.minimum(ids, 1) if self.single_object else ids

    @cached_property
    def _is_binary(self) -> bool:
        """Whether 255 means the object: the first DAVIS 2016 release has black and white annotations, later ones have void."""
        values = np.unique(read_ids(self.mask_path(0)))
        return bool(set(values.tolist()) <= {0, VOID})


class DavisDataset:
    """A split of DAVIS in a folder.

    Args:
        root: the folder that holds ``ImageSets``, ``JPEGImages`` and ``Annotations``.
        year: which list and protocol: 2016 (all objects are one) or 2017. None takes the only one that has the split.
        split: the list's name: train, val, test-dev, or any list put there.
        resolution: name of the folder between ``JPEGImages`` and the sequences: 480p, 1080p or Full-Resolution.

    Attributes:
        sequences: the videos in the order of the list.

    Raises:
        DatasetError: the folder, the split or a sequence is missing, or the split's year is not clear.
    """

    def __init__(self, root: Path | str, *, year: Year | None = None, split: str = "val", resolution: str = "480p") -> None:
        self.root = Path(root)
        self.split = split
        self.resolution = resolution
        self.year, listing = _find_list(self.root, year=year, split=split, resolution=resolution)
        self.sequences = tuple(self._open(name) for name in read_sequences(listing))

    def __len__(self) -> int:
        return len(self.sequences)

    @property
    def name(self) -> str:
        """What reports call it, for example ``"DAVIS 2017"``."""
        return f"DAVIS {self.year}"

    def __getitem__(self, name: str) -> DavisSequence:
        """A sequence by its name.

        Raises:
            DatasetError: the split has no such sequence.
        """
        for sequence in self.sequences:
            if sequence.name == name:
                return sequence
        raise DatasetError(f"{self.name} {self.split} has no sequence {name!r}{_nearest(name, [s.name for s in self.sequences])}")

    def _open(self, name: str) -> DavisSequence:
        image_folder = self.root / "JPEGImages" / self.resolution / name
        mask_folder = self.root / "Annotations" / self.resolution / name
        for folder in (image_folder, mask_folder):
            if not folder.is_dir():
                raise DatasetError(
                    f"{folder} is missing but {self.split}.txt lists {name!r}; unpack it or correct resolution {self.resolution!r}"
                )
        images = tuple(file for file in _visible(image_folder) if file.lower().endswith(IMAGE_SUFFIXES))
        if not images:
            raise DatasetError(f"{image_folder} holds no frame (.jpg or .png); unpack the sequence again")
        annotated = frozenset(Path(file).stem for file in _visible(mask_folder) if file.lower().endswith(".png"))
        orphans = sorted(annotated - {Path(file).stem for file in images})
        if orphans:
            raise DatasetError(
                f"{mask_folder / orphans[0]}.png has no frame in {image_folder}; unpack the frames again ({len(orphans)} missing)"
            )
        if Path(images[0]).stem not in annotated:
            raise DatasetError(f"{mask_folder} has no annotation of the first frame {Path(images[0]).stem}; a sequence starts from it")
        return DavisSequence(name, image_folder, mask_folder, images, annotated, single_object=self.year == "2016")


def read_ids(path: Path) -> NDArray[np.uint8]:
    """The indices of an indexed or 8-bit grey PNG, whatever its palette's colours are.

    Args:
        path: the file.

    Returns:
        ``(H, W)`` ids.

    Raises:
        DatasetError: the file is missing, is not a PNG, is in colour, or is broken.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            if image.format != "PNG":
                raise DatasetError(
                    f"{path} is a {image.format} file, expected an indexed PNG; lossy formats change ids, write it again as PNG"
                )
            if image.mode not in ("P", "L", "1"):
                raise DatasetError(
                    f"{path} holds {image.mode} pixels, expected an indexed PNG whose index is the object's id; save ids, not colours"
                )
            return np.array(image, dtype=np.uint8)
    except FileNotFoundError:
        raise DatasetError(f"{path} is missing, expected an indexed PNG; write a mask for every frame of the sequence") from None
    except UnidentifiedImageError:
        raise DatasetError(f"{path} is not an image, expected an indexed PNG; write it again") from None
    except (OSError, SyntaxError) as error:
        raise DatasetError(f"{path} cannot be read ({error}), expected an indexed PNG; write it again") from error


def _find_list(root: Path, *, year: Year | None, split: str, resolution: str) -> tuple[Year, Path]:
    """The year and the file of a split."""
    if not (root / "ImageSets").is_dir():
        raise DatasetError(f"{root} has no ImageSets folder; expected the DAVIS folder with ImageSets, JPEGImages and Annotations")
    lists = _lists(root, resolution)
    found = [(key, file) for key, file in lists.items() if key[1] == split and year in (None, key[0])]
    if not found:
        wanted = split if year is None else f"{year}/{split}"
        known = [key[1] if year == key[0] else "/".join(key) for key in lists]
        exist = f"there are {', '.join(known)}" if known else "there are none"
        raise DatasetError(f"no split {wanted!r} in {root / 'ImageSets'}: {exist}{_nearest(split, [key[1] for key in lists])}")
    if len(found) > 1:
        raise DatasetError(
            f"split {split!r} is in DAVIS 2016 (objects merged) and in 2017 (objects apart); name the benchmark davis-2016 or davis-2017"
        )
    (found_year, _), file = found[0]
    return found_year, file


def _lists(root: Path, resolution: str) -> dict[tuple[Year, str], Path]:
    """All splits by year and name. The first DAVIS 2016 release keeps its lists under the resolution instead of the year."""
    folders: list[tuple[Year, str]] = [("2016", resolution), *((year, year) for year in get_args(Year))]
    lists: dict[tuple[Year, str], Path] = {}
    for year, folder in folders:
        for file in sorted((root / "ImageSets" / folder).glob("*.txt")):
            if not file.name.startswith("."):
                lists[year, file.stem] = file
    return lists


def read_sequences(path: Path) -> list[str]:
    """Sequence names of a list: one a line, or lines of ``/JPEGImages/480p/bear/00000.jpg /Annotations/...`` for every frame.

    Raises:
        DatasetError: it lists none.
    """
    names: dict[str, None] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip():
            entry = line.split()[0]
            names[Path(entry).parent.name if "/" in entry else entry] = None
    if not names:
        raise DatasetError(f"{path} lists no sequence; expected one name a line")
    return list(names)


def _visible(folder: Path) -> list[str]:
    """Sorted file names without the hidden ones that file managers and archives leave."""
    return sorted(file.name for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))


def _nearest(name: str, known: list[str]) -> str:
    """``; did you mean ...?`` where a known name is near."""
    near = nearest(name, known)
    return f"; did you mean {near!r}?" if near else "; correct the name"
