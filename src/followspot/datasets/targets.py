"""A store of targets: what a siamese tracker is trained on, cut out once and read in any order.

`target_crops` says what a crop is and where it lies, `target_index` what is written about it. Both as SiamMask's training set has
them (Wang et al., CVPR 2019).
"""

import math
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from followspot.datasets.target_crops import CROP, CROPS, crop_path, cut_mask, cut_picture, load_crop, save_crop, target_window, writing
from followspot.datasets.target_index import (
    LEDGER,
    Box,
    TargetCard,
    Tracks,
    check_video,
    datasets_in,
    ledger_line,
    missing_dataset,
    read_boxes,
    read_card,
    read_ledger,
    write_boxes,
    write_card,
)
from followspot.errors import DatasetError, OutputError

__all__ = ["CROP", "Target", "TargetCard", "TargetFrame", "TargetStore", "TargetWriter", "target_window"]

_DIGITS = 3
"""A thousandth of a pixel; the window is chosen from the box as the index has it, so that both sides choose the same."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetFrame:
    """A target in one frame."""

    frame: int
    """Its number in the video, from 0."""
    box: Box
    """xyxy in pixels of the crop."""
    has_mask: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """One object of one video, or of one photograph."""

    dataset: str
    video: str
    track: int
    frames: tuple[TargetFrame, ...]
    """Ascending, at least one."""


class TargetStore:
    """Targets read from disk. It holds no open files, so it may be copied to other processes and used from several threads.

    Args:
        root: the store's folder.

    Attributes:
        cards: by name of the dataset.
        targets: of all datasets, sorted by dataset, video and track.

    Raises:
        DatasetError: there is no store, it is damaged, or none of its datasets has a target.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self.cards: Mapping[str, TargetCard] = {name: read_card(self.root, name) for name in datasets_in(self.root)}
        if not self.cards:
            raise DatasetError(missing_dataset(self.root))
        self.targets: tuple[Target, ...] = tuple(target for name in self.cards for target in self._targets(name))
        if not self.targets:
            raise DatasetError(f"the store {self.root} holds no target; convert something with objects in it")

    def __len__(self) -> int:
        return len(self.targets)

    def __repr__(self) -> str:
        return f"TargetStore({str(self.root)!r}, {len(self)} targets of {', '.join(self.cards)})"

    def crop(self, target: Target, frame: TargetFrame) -> NDArray[np.uint8]:
        """What a target looks like, ``(511, 511, 3)`` RGB.

        Raises:
            DatasetError: the file is gone or damaged.
        """
        return load_crop(self._path(target, frame, "x.jpg"), "RGB")

    def mask(self, target: Target, frame: TargetFrame) -> NDArray[np.uint8] | None:
        """Which pixels of the crop are the target, ``(511, 511)`` of 0 and 1; None where only its box is known.

        Raises:
            DatasetError: the file is gone or damaged.
        """
        return (load_crop(self._path(target, frame, "m.png"), "L") >= 128).astype(np.uint8) if frame.has_mask else None

    def _path(self, target: Target, frame: TargetFrame, kind: Literal["x.jpg", "m.png"]) -> Path:
        return crop_path(self.root, target.dataset, target.video, track=target.track, frame=frame.frame, kind=kind)

    def _targets(self, dataset: str) -> Iterator[Target]:
        for video, tracks in sorted(read_boxes(self.root, dataset).items()):
            folder = self.root / CROPS / dataset / video
            # One listing a video; asking for each file takes ten times as long on a network disk.
            masks = {path.name for path in folder.glob("*.m.png")}
            for track, boxes in sorted(tracks.items()):
                frames = tuple(_frame(frame, box, masks=masks, track=track) for frame, box in sorted(boxes.items()))
                yield Target(dataset=dataset, video=video, track=track, frames=frames)


class TargetWriter:
    """Makes a dataset of a store, or goes on with one. A context: the index is written when it ends well.

    Videos count when they are finished; what a killed conversion left of others is made again. Several threads may add, each to
    videos of its own. Boxes without area and masks without a pixel are no targets, and are left out.

    Args:
        root: the store's folder; made if missing.
        card: what the dataset is; replaces an earlier card.

    Raises:
        OutputError: another process writes this dataset, or the store cannot be written.
        DatasetError: the dataset is there and damaged.
    """

    def __init__(self, root: Path, card: TargetCard) -> None:
        self.root, self.card = Path(root), card
        self._ledger = self.root / f"{card.dataset}{LEDGER}"
        self._turn = threading.Lock()
        self._open: dict[str, Tracks] = {}
        with writing(self._ledger):
            self.root.mkdir(parents=True, exist_ok=True)
            self._lines = self._ledger.open("a", encoding="utf-8")
        try:
            _hold(self._lines.fileno(), self._ledger)
            self._done = read_boxes(self.root, card.dataset) if (self.root / f"{card.dataset}.json").exists() else {}
            self._done |= read_ledger(self.root, card.dataset)
        except BaseException:
            self._lines.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if error is None and self.targets:
                write_boxes(self.root, self.card.dataset, {video: tracks for video, tracks in self._done.items() if tracks})
                write_card(self.root, self.card)
            if error is None:
                self._ledger.unlink()
        finally:
            self._lines.close()

    @property
    def targets(self) -> int:
        """How many there are in finished videos. Without any, no index is written."""
        return sum(map(len, self._done.values()))

    def done(self, video: str) -> bool:
        """Whether a video was finished, by this or an earlier conversion."""
        return video in self._done

    def add(
        self, video: str, track: int, frame: int, *, image: NDArray[np.uint8], box: Box, mask: NDArray[np.uint8 | np.bool_] | None = None
    ) -> None:
        """Cut a target out of a frame.

        Args:
            video: whose; may contain ``/``.
            track: which object of it, from 0.
            frame: which frame, from 0.
            image: ``(H, W, 3)`` RGB.
            box: xyxy in pixels of the image.
            mask: ``(H, W)``, other than 0 where the target is; None where only the box is known.

        Raises:
            DatasetError: box, mask or name cannot be used.
            OutputError: the crop cannot be written.
        """
        where = f"{self.card.dataset}, {check_video(video)}, frame {frame}, track {track}"
        left, top, right, bottom = _checked(image, box, mask, where)
        if not (right > left and bottom > top) or (mask is not None and not mask.any()):
            return
        window = target_window((left, top, right, bottom))
        picture, filled = (
            crop_path(self.root, self.card.dataset, video, track=track, frame=frame, kind=kind) for kind in ("x.jpg", "m.png")
        )
        save_crop(picture, cut_picture(image, window))
        if mask is None:
            filled.unlink(missing_ok=True)
        else:
            save_crop(filled, cut_mask(mask, window))
        self._open.setdefault(video, {}).setdefault(track, {})[frame] = (left, top, right, bottom)

    def finish(self, video: str) -> None:
        """A video is complete; from now on it counts, with or without a target.

        Raises:
            OutputError: it cannot be written down.
        """
        tracks = self._open.pop(check_video(video), {})
        with self._turn, writing(self._ledger):
            self._lines.write(ledger_line(video, tracks))
            self._lines.flush()
            self._done[video] = tracks


def _frame(frame: int, box: Box, *, masks: set[str], track: int) -> TargetFrame:
    # Window.to_crop in plain numbers: arrays of four take ten times as long, and there are millions of frames.
    window = target_window(box)
    scale = CROP / window.side
    left, right = ((edge - window.left) * scale for edge in box[::2])
    top, bottom = ((edge - window.top) * scale for edge in box[1::2])
    return TargetFrame(frame=frame, box=(left, top, right, bottom), has_mask=f"{frame:06d}.{track:02d}.m.png" in masks)


def _checked(image: NDArray[np.uint8], box: Box, mask: NDArray[np.uint8 | np.bool_] | None, where: str) -> Box:
    """The box as the index has it."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise DatasetError(f"{where}: the image is {image.shape} {image.dtype}, expected (H, W, 3) uint8 RGB")
    if mask is not None and mask.shape != image.shape[:2]:
        sizes = [f"{shape[1]}x{shape[0]}" for shape in (mask.shape, image.shape)]
        raise DatasetError(f"{where}: the mask is {sizes[0]}, but the image {sizes[1]}; use annotations and images of one resolution")
    if not all(math.isfinite(edge) for edge in box):
        raise DatasetError(f"{where}: the box {box} is not finite; correct the annotation")
    left, top, right, bottom = (round(float(edge), _DIGITS) for edge in box)
    return left, top, right, bottom


def _hold(ledger: int, path: Path) -> None:
    """Keep other writers out until the ledger is closed, which the system does even after a kill."""
    try:
        import fcntl
    except ImportError:  # Windows: two writers are the user's care there
        return
    try:
        fcntl.flock(ledger, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OutputError(f"another process writes {path} right now; wait for it, or choose another --out") from error
