"""Small stores held whole: every frame decoded once, as uint8 in memory or on a device."""

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from followspot.datasets.picks import Clips
from followspot.datasets.store import ClipEntry
from followspot.errors import DatasetError

log = logging.getLogger(__name__)

_RUN = 4
"""Keeps the draw of kept runs apart from the other streams of a seed."""


@dataclass(frozen=True)
class Kept:
    """Which frames of a clip are held."""

    entry: ClipEntry
    """The clip, with as many frames as are held."""
    first: int
    """The first of them in the stored clip."""


def kept_run(entry: ClipEntry, index: int, *, limit: int | None, seed: int) -> Kept:
    """At most ``limit`` neighbouring frames of a clip, from a start drawn by (seed, clip)."""
    if limit is None or entry.frames <= limit:
        return Kept(entry, 0)
    start = int(np.random.default_rng((seed, _RUN, index)).integers(entry.frames - limit + 1))
    return Kept(replace(entry, frames=limit), start)


class ResidentClips:
    """The frames of all clips in one flat buffer of pixels.

    Args:
        store: where they come from.
        limit: keep at most so many neighbouring frames of each clip; None: all.
        device: where the buffer lies.
        seed: draws which frames are kept.
    """

    def __init__(self, store: Clips, *, limit: int | None, device: torch.device, seed: int) -> None:
        self.bad: dict[int, str] = {}
        self.kept: list[Kept] = []
        self._store = store
        self._limit = limit
        self._seed = seed
        self._starts = np.zeros(0, np.int64)
        self.pixels = torch.empty(0, 3, dtype=torch.uint8, device=device)
        self.grow()

    @property
    def entries(self) -> Sequence[ClipEntry]:
        """The clips with as many frames as are held."""
        return [kept.entry for kept in self.kept]

    def grow(self) -> None:
        """Take in the clips that the store has and this has not.

        Raises:
            DatasetError: the frames do not fit.
        """
        first = len(self.kept)
        new = [
            kept_run(entry, index, limit=self._limit, seed=self._seed)
            for index, entry in enumerate(self._store.entries[first:], start=first)
        ]
        if not new:
            return
        counts = np.array([kept.entry.frames * kept.entry.height * kept.entry.width for kept in new], dtype=np.int64)
        pixels = self._room(int(counts.sum()))
        offsets = np.concatenate([[0], np.cumsum(counts)])
        log.info("decoding %d clips into %.1f GB on %s", len(new), 3e-9 * offsets[-1], pixels.device)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for number, frames in enumerate(pool.map(self._read, range(first, first + len(new)), new)):
                if frames is not None:
                    part = pixels[offsets[number] : offsets[number + 1]]
                    part.copy_(torch.from_numpy(frames.reshape(-1, 3)))
        self._starts = np.concatenate([self._starts, len(self.pixels) + offsets[:-1]])
        self.pixels = torch.cat([self.pixels, pixels]) if len(self.pixels) else pixels
        self.kept += new

    def frames(self, index: int, wanted: Sequence[int]) -> list[NDArray[np.uint8]]:
        """Frames of a clip, each ``(H, W, 3)``, not copied; for a buffer in memory."""
        entry = self.kept[index].entry
        start, per_frame = int(self._starts[index]), entry.height * entry.width
        clip = self.pixels[start : start + entry.frames * per_frame].numpy().reshape(entry.frames, entry.height, entry.width, 3)
        return [clip[frame] for frame in wanted]

    def places(self, index: int, wanted: Sequence[int]) -> NDArray[np.int64]:
        """Which pixel of the buffer each wanted frame starts at."""
        entry = self.kept[index].entry
        return np.asarray(self._starts[index] + np.asarray(wanted, np.int64) * (entry.height * entry.width))

    def _read(self, index: int, kept: Kept) -> NDArray[np.uint8] | None:
        """All frames that are to be held, None where they cannot be read."""
        entry = kept.entry
        try:
            return read_checked(self._store, index, range(kept.first, kept.first + entry.frames))
        except (DatasetError, OSError) as error:
            self.bad[index] = str(error)
            return None

    def _room(self, count: int) -> Tensor:
        device = self.pixels.device
        try:
            # A CPU promises memory that it has not and kills the process later, so it is asked what it has.
            if device.type == "cpu" and 3 * count > _physical_bytes():
                raise MemoryError
            return torch.empty(count, 3, dtype=torch.uint8, device=device)
        except (RuntimeError, MemoryError) as error:
            raise DatasetError(
                f"the store needs {3e-9 * count:.1f} GB on {device}, which has not so much; "
                "set resident_frames to keep fewer frames of each clip, or read from disk"
            ) from error


def read_checked(store: Clips, index: int, frames: Sequence[int]) -> NDArray[np.uint8]:
    """Frames of a clip, ``(T, H, W, 3)``.

    Raises:
        DatasetError: they cannot be read, or have another size than the index says (crops are drawn from that).
    """
    pictures = store.read(index, frames)
    entry = store.entries[index]
    if pictures.shape[1:3] != (entry.height, entry.width):
        raise DatasetError(f"clip {index} ({entry.path}) is not {entry.width}x{entry.height} as the index says; prepare the store again")
    return pictures


def _physical_bytes() -> float:
    """Memory of the machine; no limit where the system does not say."""
    if not hasattr(os, "sysconf"):
        return float("inf")
    return float(os.sysconf("SC_PAGE_SIZE")) * os.sysconf("SC_PHYS_PAGES")
