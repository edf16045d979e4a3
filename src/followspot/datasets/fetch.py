"""Making one batch: draw frames and crops of each row, read, warp. Runs in the process, in a thread or in a worker process."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from followspot.datasets.augment import CropSettings, StillMotion, draw_crop, draw_still_path
from followspot.datasets.clips import ClipPattern
from followspot.datasets.picks import Clips, Epochs, Place, draw_source
from followspot.datasets.resident import ResidentClips, read_checked
from followspot.datasets.warp import gather_frames, warp_frames
from followspot.errors import DatasetError, FollowspotError


@dataclass(frozen=True)
class BatchPlan:
    """Which rows make a batch."""

    step: int
    rows: tuple[Place, ...]
    after: Any
    """Where the loader is after this batch."""


@dataclass
class Fetched:
    """A batch, or why there is none."""

    frames: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.uint8))
    """``(B, T, 3, S, S)`` uint8."""
    ids: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    skipped: dict[int, str] = field(default_factory=dict)
    """Clips that could not be read, and why."""
    failure: FollowspotError | None = None
    """Carried as a value: torch would wrap an error of a worker in many lines."""


@dataclass(frozen=True)
class _Row:
    """What was drawn for a row: clip, its frames, and where their pixels lie."""

    clip: int
    frames: tuple[int, ...]
    matrices: NDArray[np.float64]


@dataclass
class Fetcher:
    """Makes batches from plans; ``fetcher[plan]`` as torch's loaders call it."""

    store: Clips
    resident: ResidentClips | None
    epochs: Epochs
    pattern: ClipPattern
    crop: CropSettings
    still: StillMotion
    still_share: float
    seed: int
    on_device: bool
    bad: dict[int, str] = field(default_factory=dict)
    """Clips that this process could not read."""

    def __getitem__(self, plan: BatchPlan) -> Fetched:
        """The batch of a plan; a failure that the user can mend comes back as a value."""
        try:
            self._follow(max(row.clips for row in plan.rows))
            fetched = self._gathered(plan) if self.on_device else self._warped(plan)
        except FollowspotError as error:
            fetched = Fetched(failure=error)
        fetched.skipped = dict(self.bad) if self.resident is None else {**self.resident.bad}
        return fetched

    def _follow(self, clips: int) -> None:
        """A worker process has a store of its own, which learns of new clips here."""
        if clips <= len(self.epochs.entries):
            return
        self.store.refresh()
        self.epochs.entries = self.store.entries
        if clips > len(self.epochs.entries):
            raise DatasetError(f"the store has {len(self.epochs.entries)} clips where there were {clips}; it must not shrink during a run")

    def _warped(self, plan: BatchPlan) -> Fetched:
        size = self.crop.size
        out = np.empty((len(plan.rows), self.pattern.frames, size, size, 3), np.uint8)
        ids = []
        for place, target in zip(plan.rows, out, strict=True):
            row, frames = self._read(place)
            warp_frames(frames, row.matrices, size=size, out=target)
            ids.append(row.clip)
        return Fetched(torch.from_numpy(np.ascontiguousarray(out.transpose(0, 1, 4, 2, 3))), torch.tensor(ids))

    def _gathered(self, plan: BatchPlan) -> Fetched:
        resident = self.resident
        assert resident is not None
        rows = [self._read(place)[0] for place in plan.rows]
        sizes = np.array([(resident.kept[row.clip].entry.height, resident.kept[row.clip].entry.width) for row in rows])
        frames = gather_frames(
            resident.pixels,
            np.concatenate([resident.places(row.clip, row.frames) for row in rows]),
            sizes=np.repeat(sizes, self.pattern.frames, 0),
            matrices=np.concatenate([row.matrices for row in rows]),
            size=self.crop.size,
        )
        return Fetched(frames.view(len(rows), -1, *frames.shape[1:]), torch.tensor([row.clip for row in rows]))

    def _read(self, place: Place) -> tuple[_Row, Sequence[NDArray[np.uint8]]]:
        """Draw a row and read its frames (none where the device holds them); the next pick where that fails."""
        for attempt in range(self.epochs.length(place.clips)):
            clip, window = self.epochs.pick(place, attempt)
            bad = self.bad if self.resident is None else self.resident.bad
            if clip in bad:
                continue
            row = self._draw(clip, window, draw_source(place, attempt, seed=self.seed))
            if self.on_device:
                return row, ()
            try:
                return row, self._pixels(row)
            except (DatasetError, OSError) as error:
                self.bad[clip] = str(error)
        raise DatasetError(f"none of the store's {place.clips} clips can be read (the last: {next(reversed(bad.values()))})")

    def _draw(self, clip: int, window: int, rng: np.random.Generator) -> _Row:
        entry = self.epochs.entries[clip]
        size = (entry.height, entry.width)
        still = rng.random() < self.still_share
        frames = self.pattern.indices(entry.frames, fps=entry.fps, rng=rng, window=window)
        if not still:
            matrix = draw_crop(self.crop, size, rng=rng)
            return _Row(clip, frames, np.broadcast_to(matrix, (len(frames), 2, 3)))
        frame = frames[int(rng.integers(len(frames)))]
        path = draw_still_path(self.crop, self.still, size=size, frames=len(frames), rng=rng)
        return _Row(clip, (frame,) * len(frames), path)

    def _pixels(self, row: _Row) -> Sequence[NDArray[np.uint8]]:
        if self.resident is not None:
            return self.resident.frames(row.clip, row.frames)
        return list(read_checked(self.store, row.clip, row.frames))
