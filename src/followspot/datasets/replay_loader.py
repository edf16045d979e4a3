"""A loader that shows clips again: new ones go into replay, batches are drawn from it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from followspot.datasets.loader import ClipLoader, RawBatch
from followspot.datasets.replay import ReplayBuffer, ReplaySettings
from followspot.errors import SettingError

_STREAM = 5
"""Keeps the draws apart from the other streams of a seed."""


class ReplayLoader:
    """Batches drawn from prioritised replay, which a plain loader feeds. Without replay use the plain loader as it is.

    Each step takes ``train_interval`` new clips; the first batch comes when ``min_size`` clips are kept. Call :meth:`update` with the
    losses of a batch before the next batch is taken.

    Args:
        loader: gives the new clips, ``train_interval`` at a time (its batch size).
        settings: how replay works.
        batch_size: clips drawn a step, B >= 1.
        seed: >= 0; step n draws from (seed, rank, n) alone.
        rank: which of the processes of the run this is; each has a buffer of its own.
        folder: for storage ``disk``; one for each rank.
        device: for storage ``device``.

    Raises:
        SettingError: a number is out of range, or the loader's batch size is not ``train_interval``.
    """

    def __init__(
        self,
        loader: ClipLoader,
        settings: ReplaySettings,
        *,
        batch_size: int,
        seed: int,
        rank: int = 0,
        folder: Path | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        if loader.batch_size != settings.train_interval:
            raise SettingError(
                f"the loader that feeds replay has batch size {loader.batch_size}, "
                f"and train_interval is {settings.train_interval}; make them the same"
            )
        if batch_size < 1:
            raise SettingError(f"batch_size {batch_size} must be 1 or more")
        self.loader = loader
        self.settings = settings
        self.batch_size = batch_size
        self.buffer = ReplayBuffer(
            settings.capacity,
            initial=settings.initial,
            storage=settings.storage,
            encoding=settings.encoding,
            folder=folder,
            device=device,
        )
        self._seed = seed
        self._rank = rank
        self._step = 0
        self._ids = np.zeros(settings.capacity, np.int64)

    @property
    def skipped(self) -> Mapping[int, str]:
        """Why clips were left out, by their number in the store."""
        return self.loader.skipped

    def __iter__(self) -> Iterator[RawBatch]:
        """Batches from where the loader is; none before ``min_size`` clips are kept."""
        for new in self.loader:
            for clip, number in zip(new.frames, new.ids.tolist(), strict=True):
                slot = self.buffer.append(clip)
                if slot is not None:
                    self._ids[slot] = number
            if len(self.buffer) >= self.settings.min_size:
                yield self._drawn()

    def update(self, slots: Tensor, losses: Tensor) -> None:
        """Give the clips of the last batch their new priorities.

        Args:
            slots: ``RawBatch.slots``.
            losses: ``(B,)``: each clip's unweighted loss.

        Raises:
            SettingError: they are not of this batch.
        """
        self.buffer.update(slots, losses)

    def state_dict(self) -> dict[str, Any]:
        """Where the loader is, priorities, and clips unless ``save_contents`` is off; to be taken after :meth:`update`."""
        return {
            "step": self._step,
            "loader": self.loader.state_dict(),
            "buffer": self.buffer.state_dict(contents=self.settings.save_contents),
            "ids": torch.from_numpy(self._ids.copy()),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another was; if its clips were not saved, replay first fills anew with the clips that follow.

        Raises:
            SettingError: the other had another seed or a larger capacity.
            DatasetError: its clips are gone, or the store is another one.
        """
        ids = state["ids"].numpy()
        if len(ids) > self.settings.capacity:
            raise SettingError(f"replay's capacity {self.settings.capacity} is below the run's {len(ids)}; raise it or start anew")
        self.loader.load_state_dict(state["loader"])
        self.buffer.load_state_dict(state["buffer"])
        self._ids[: len(ids)] = ids
        self._step = int(state["step"])

    def _drawn(self) -> RawBatch:
        source = np.random.default_rng((self._seed, _STREAM, self._rank, self._step))
        slots, clips = self.buffer.sample(self.batch_size, source)
        self._step += 1
        return RawBatch(frames=clips, ids=torch.from_numpy(self._ids[slots.numpy()]), step=self._step - 1, slots=slots)
