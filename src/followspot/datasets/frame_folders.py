"""Folders of frames without labels: any folder of folders of images, DAVIS and its like among them."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from followspot.datasets.davis import DavisDataset
from followspot.errors import DatasetError
from followspot.io.images import IMAGE_SUFFIXES

ALL = "all"
"""The split that is every folder."""
# Where DAVIS and YouTube-VOS have their frames.
_INNER = ("JPEGImages/480p", "JPEGImages")


@dataclass(frozen=True)
class FrameFolder:
    """The frames of one video."""

    name: str
    folder: Path

    def __len__(self) -> int:
        return len(self.frame_names)

    @cached_property
    def frame_names(self) -> tuple[str, ...]:
        """Stems of the image files, sorted."""
        return tuple(sorted(path.stem for path in self.folder.iterdir() if _is_image(path)))


class FrameFolders:
    """Videos as folders of images.

    Args:
        root: holds a folder of images a video, there or in ``JPEGImages/480p`` or ``JPEGImages``.
        split: ``"all"``, or a list of DAVIS in ``ImageSets``.

    Attributes:
        sequences: the videos, in the order of the list, or of their names.

    Raises:
        DatasetError: there are none, or no such list.
    """

    def __init__(self, root: Path, *, split: str = ALL) -> None:
        self.root, self.split = root, split
        if split == ALL:
            inner = next((root / name for name in _INNER if (root / name).is_dir()), root)
            folders = sorted(path for path in inner.iterdir() if path.is_dir()) if inner.is_dir() else []
            self.sequences = tuple(FrameFolder(path.name, path) for path in folders if any(map(_is_image, path.iterdir())))
        else:
            self.sequences = tuple(FrameFolder(video.name, video.image_folder) for video in DavisDataset(root, split=split).sequences)
        if not self.sequences:
            raise DatasetError(f"{root} holds no folders of images; give a folder with one folder of frames a video, or the root of DAVIS")

    def __getitem__(self, name: str) -> FrameFolder:
        """A video by its name.

        Raises:
            DatasetError: there is none.
        """
        for video in self.sequences:
            if video.name == name:
                return video
        raise DatasetError(f"{self.root} has no video {name!r}; the first of {len(self.sequences)} is {self.sequences[0].name!r}")


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
