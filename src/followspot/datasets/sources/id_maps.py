"""Videos as folders of frames beside folders of id maps: YouTube-VOS, DAVIS and what is like it.

::

    YouTube-VOS/train/meta.json                    DAVIS/JPEGImages/480p/<sequence>/00000.jpg
    YouTube-VOS/train/JPEGImages/<video>/00000.jpg       Annotations/480p/<sequence>/00000.png
    YouTube-VOS/train/Annotations/<video>/00000.png      ImageSets/2017/train.txt

Annotations are indexed PNGs whose index is the object's id; the folder 480p may be absent.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from followspot.datasets.davis import VOID, read_ids, read_sequences
from followspot.datasets.frame_files import frame_files, mask_names
from followspot.datasets.sources.base import (
    LabelledFrame,
    LabelledObject,
    LabelledSource,
    LabelledVideo,
    Least,
    LeftOut,
    frame_numbers,
    mask_box,
    one_folder,
    read_picture,
)
from followspot.datasets.target_index import TargetCard
from followspot.datasets.youtube_vos import YoutubeVosDataset, YoutubeVosVideo
from followspot.errors import DatasetError
from followspot.io.files import nearest
from followspot.io.images import natural_key

FRAME_RANGE = 20
"""Frames that a pair may lie apart (SiamMask's settings for YouTube-VOS)."""
YOUTUBE_VOS_AREA = 1001
"""SiamMask trains on regions of more than 1000 pixels of YouTube-VOS, whose smaller ones are often torn."""

Shown = tuple[int, Path, Path]
"""Number of a frame, its picture, its annotation."""


def read_youtube_vos(given: Sequence[Path]) -> LabelledSource:
    """The training videos of YouTube-VOS: every frame that is annotated, every object by its id.

    Args:
        given: the folder that holds ``train``, or ``train`` itself.

    Raises:
        DatasetError: the folder, its ``meta.json``, a video or a frame is missing.
    """
    root = one_folder(given, expected="train/meta.json")
    own = not (root / "train").is_dir() and (root / "meta.json").is_file()
    dataset = YoutubeVosDataset(root.absolute().parent if own else root, split=root.absolute().name if own else "train", all_frames=False)
    videos = [LabelledVideo(name=name, read=partial(_read_youtube_vos, video)) for name, video in dataset.videos.items()]
    card = TargetCard(dataset="ytb_vos", labelled_by="people", still=False, frame_range=FRAME_RANGE, source="YouTube-VOS train")
    return LabelledSource(card=card, videos=videos, least=Least(area=YOUTUBE_VOS_AREA))


def read_davis(given: Sequence[Path]) -> LabelledSource:
    """A folder like DAVIS: every frame that is annotated, every object by its id.

    Where ``ImageSets/2017/train.txt`` or ``ImageSets/2016/train.txt`` is there, the videos that it lists: others are for scoring.
    An annotation of 0 and 255 alone is black and white, and 255 the object; otherwise 255 belongs to nobody.

    Args:
        given: the folder that holds ``JPEGImages`` and ``Annotations``.

    Raises:
        DatasetError: a folder or a listed video is missing, an annotation has no frame, or there is none.
    """
    root = one_folder(given, expected="JPEGImages and Annotations")
    for name in ("JPEGImages", "Annotations"):
        if not (root / name).is_dir():
            raise DatasetError(f"{root} has no folder {name}; expected JPEGImages/SEQUENCE and Annotations/SEQUENCE, or both below 480p")
    size = _resolution(root / "Annotations")
    masks, images = (root / name / size for name in ("Annotations", "JPEGImages"))
    known = sorted((path.name for path in _folders(masks)), key=natural_key)
    videos = [
        LabelledVideo(name=name, read=partial(_read_davis, images / name, masks / name)) for name in _training_videos(root, known=known)
    ]
    card = TargetCard(
        dataset="davis", labelled_by="people", still=False, frame_range=FRAME_RANGE, source="masks laid out as DAVIS has them"
    )
    return LabelledSource(card=card, videos=videos)


def _training_videos(root: Path, *, known: Sequence[str]) -> Sequence[str]:
    listing = next((path for year in ("2017", "2016") if (path := root / "ImageSets" / year / "train.txt").is_file()), None)
    names = known if listing is None else read_sequences(listing)
    lost = next((name for name in names if name not in known), None)
    if lost is not None:
        near = nearest(lost, known)
        raise DatasetError(f"{listing} names {lost!r}, which is not in Annotations; {f'did you mean {near!r}?' if near else 'unpack it'}")
    return names


def _resolution(masks: Path) -> str:
    """The folder between ``Annotations`` and the sequences: 480p, the only one, or none."""
    folders = _folders(masks)
    if not folders:
        raise DatasetError(f"{masks} is empty; expected a folder of indexed PNGs a sequence")
    if any(mask_names(folder) for folder in folders):
        return "."
    names = [folder.name for folder in folders if _folders(folder)]
    if "480p" not in names and len(names) != 1:
        found = f"several sizes ({', '.join(names)}); keep one of them" if names else "no indexed PNG; unpack the annotations again"
        raise DatasetError(f"{masks} holds {found}")
    return "480p" if "480p" in names else names[0]


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _read_youtube_vos(video: YoutubeVosVideo) -> Iterator[LabelledFrame | LeftOut]:
    numbers = dict(zip(video.positions, frame_numbers(list(video.positions)), strict=True))
    for frame in video.annotated:
        yield from _frame(numbers[frame], video.image_files[video.positions[frame]], video.read_mask(frame))


def _read_davis(images: Path, masks: Path) -> Iterator[LabelledFrame | LeftOut]:
    pictures = {path.stem: path for path in frame_files(images)}
    numbers = dict(zip(pictures, frame_numbers(list(pictures)), strict=True))
    names = mask_names(masks)
    lost = [name for name in names if name not in pictures]
    if lost:
        raise DatasetError(f"{masks / lost[0]}.png has no frame in {images} ({len(lost)} have none); unpack the frames again")
    binary: bool | None = None
    for name in names:
        ids = read_ids(masks / f"{name}.png")
        values = set(np.unique(ids).tolist()) - {0}
        if binary is None and values:
            binary = values == {VOID}
        ids[ids == VOID] = 1 if binary else 0
        yield from _frame(numbers[name], pictures[name], ids)


def _frame(number: int, picture: Path, ids: NDArray[np.uint8]) -> Iterator[LabelledFrame]:
    tracks = [int(value) for value in np.unique(ids) if value]
    if tracks:
        image = read_picture(picture, size=(ids.shape[0], ids.shape[1]))
        masks = {track: ids == track for track in tracks}
        objects = [LabelledObject(track=track, box=mask_box(mask), mask=mask) for track, mask in masks.items()]
        yield LabelledFrame(number=number, image=image, objects=objects)
