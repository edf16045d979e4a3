"""Prioritised replay: clips that taught much are shown again.

The clips stand in order of priority. A new clip is put before the first of lower priority and takes the place of the lowest; drawing goes
by share of the priorities, and a drawn clip gets its new loss as its priority (replay.py and train.py of the TensorFlow colorization
tracker, 2018).

Differs from that on purpose. Drawing is exactly proportional: the sum of priorities is cut in n equal parts and one number is drawn
uniformly in each, where it draws uniformly among the *clips* of a part, which favours the lowest of them. And a priority of new clips
that follows the maximum replaces the fixed 3.0, which was right for one loss only.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from followspot.datasets.shelf import ClipShelf, DiskShelf, Encoding, PackedShelf, PlainShelf
from followspot.errors import SettingError
from followspot.io.files import atomic_path

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ReplaySettings:
    """How replay works. The defaults are the TensorFlow colorization tracker's, but for the priority of new clips."""

    capacity: int = 10000
    """How many clips are kept."""
    min_size: int = 3000
    """Training begins when so many are kept."""
    train_interval: int = 1
    """New clips a training step."""
    initial: float | Literal["max"] = "max"
    """Priority of a new clip. ``max``: above all others, and it is drawn at least once within capacity / batch size steps."""
    storage: Literal["memory", "device", "disk"] = "memory"
    """Where clips are kept."""
    encoding: Encoding = "raw"
    """How: ``raw``, ``png`` (exact), ``jpeg`` or ``webp`` (about a tenth of the size); ``device`` keeps them raw."""
    save_contents: bool = True
    """Whether checkpoints hold the clips. If not, a resumed run first fills replay anew."""

    def __post_init__(self) -> None:
        for name in ("capacity", "min_size", "train_interval"):
            if getattr(self, name) < 1:
                raise SettingError(f"replay's {name} {getattr(self, name)} must be 1 or more")
        if self.min_size > self.capacity:
            raise SettingError(f"replay's min_size {self.min_size} is never reached with capacity {self.capacity}; make it smaller")
        if self.initial != "max" and not (isinstance(self.initial, int | float) and math.isfinite(self.initial)):
            raise SettingError(f"replay's initial priority {self.initial!r} must be a number or 'max'")
        if self.storage not in ("memory", "device", "disk"):
            raise SettingError(f"replay's storage {self.storage!r} must be 'memory', 'device' or 'disk'")
        if self.encoding not in ("raw", "png", "jpeg", "webp"):
            raise SettingError(f"replay's encoding {self.encoding!r} must be 'raw', 'png', 'jpeg' or 'webp'")
        if self.storage == "device" and self.encoding != "raw":
            raise SettingError(f"replay's encoding {self.encoding!r} needs storage 'memory' or 'disk'; a device keeps clips raw")


class ReplayBuffer:
    """A fixed number of clips in order of priority.

    Args:
        capacity: how many.
        initial: priority of new clips, or ``max``: above the highest. Such a clip keeps at least the highest priority until it was drawn,
            and is drawn within ``ceil(capacity / n)`` calls of :meth:`sample`.
        storage: where clips are kept: ``memory``, ``device`` or ``disk``.
        encoding: how they are kept there.
        folder: for ``disk``; made if missing. One that holds a buffer is opened as that was at its last :meth:`state_dict`.
        device: for ``device``.

    Raises:
        SettingError: a value is out of range, or ``disk`` has no folder.
    """

    def __init__(
        self,
        capacity: int,
        *,
        initial: float | Literal["max"] = "max",
        storage: Literal["memory", "device", "disk"] = "memory",
        encoding: Encoding = "raw",
        folder: Path | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        ReplaySettings(capacity=capacity, min_size=1, initial=initial, storage=storage, encoding=encoding)
        self.capacity = capacity
        self._initial = initial
        self._folder = folder
        self._shelf = _shelf(capacity, storage=storage, encoding=encoding, folder=folder, device=torch.device(device))
        self._priorities: Floats = np.zeros(0)
        self._slots = np.zeros(0, np.int64)
        self._calls = 0
        self._unseen: dict[int, int] = {}
        """Slots that were appended at the highest priority and not drawn since, oldest first, with the number of calls before."""
        ranking = self._ranking_file()
        if ranking is not None and ranking.is_file():
            self.load_state_dict(torch.load(ranking, weights_only=True))

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def priorities(self) -> Floats:
        """``(size,)``, highest first."""
        return self._priorities.copy()

    @property
    def slots(self) -> NDArray[np.int64]:
        """``(size,)``: which slot has each of the priorities."""
        return self._slots.copy()

    def append(self, clip: Tensor, *, priority: float | None = None) -> int | None:
        """Offer a clip.

        Args:
            clip: ``(T, 3, S, S)`` uint8, the same shape always.
            priority: its priority; None: the buffer's ``initial``.

        Returns:
            The slot it was given; None where the buffer is full and no clip has a lower priority.

        Raises:
            SettingError: the priority is not finite.
            DatasetError: the clip's shape differs from the others'.
        """
        first = priority is None and self._initial == "max"
        value = self._first_priority() if priority is None else priority
        if not math.isfinite(value):
            raise SettingError(f"priority {value} of a clip must be finite; leave out clips without a loss")
        place = int(np.searchsorted(-self._priorities, -value, side="right"))
        full = len(self) == self.capacity
        if full and place == len(self):
            return None
        slot = int(self._slots[-1]) if full else len(self)
        self._shelf.put(slot, clip)
        kept = len(self) - full
        self._priorities = np.insert(self._priorities[:kept], place, value)
        self._slots = np.insert(self._slots[:kept], place, slot)
        self._unseen.pop(slot, None)
        if first:
            self._unseen[slot] = self._calls
        return slot

    def sample(self, n: int, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Draw clips by their share of the priorities; a clip may come twice.

        Args:
            n: how many, >= 1.
            generator: what is random comes from it.

        Returns:
            Slots ``(n,)`` int64 on the CPU, and clips ``(n, T, 3, S, S)`` uint8.

        Raises:
            SettingError: the buffer is empty, or ``n`` below 1.
        """
        if n < 1 or not len(self):
            raise SettingError(f"{n} clips cannot be drawn from a replay buffer of {len(self)}; append some first")
        due = self._due(n)
        drawn = self._stratified(n - len(due), generator)
        chosen = np.concatenate([np.array(due, np.int64), self._slots[drawn]])
        for slot in chosen.tolist():
            self._unseen.pop(slot, None)
        self._calls += 1
        return torch.from_numpy(chosen), self._shelf.take(chosen.tolist())

    def update(self, slots: Tensor, losses: Tensor) -> None:
        """Give clips that were drawn their new priorities.

        Args:
            slots: ``(n,)`` as :meth:`sample` returned them; before the next :meth:`append`, which may fill a slot with another clip.
            losses: ``(n,)``. A clip that was drawn twice gets the mean. If any is negative, shares count from the lowest. A clip whose
                loss is not finite goes last, so that it is the next to give way (training has skipped and counted its step).

        Raises:
            SettingError: a slot is empty, or there are more slots than losses or fewer.
        """
        where = slots.cpu().numpy().astype(np.int64)
        values = losses.detach().cpu().double().numpy()
        if where.shape != values.shape or (where < 0).any() or (where >= len(self)).any():
            raise SettingError(f"replay got {values.size} losses of the slots {where.tolist()}; each must be of a clip that it holds")
        by_slot = np.zeros(len(self))
        by_slot[self._slots] = self._priorities
        lowest = by_slot.min(initial=0.0)
        times = np.bincount(where, minlength=len(self))
        sums = np.bincount(where, weights=np.where(np.isfinite(values), values, np.nan), minlength=len(self))
        means = sums / np.maximum(times, 1)
        by_slot = np.where(times > 0, np.where(np.isnan(means), lowest, means), by_slot)
        by_slot[list(self._unseen)] = by_slot.max()
        priorities = by_slot[self._slots]
        order = np.argsort(-priorities, kind="stable")
        self._priorities, self._slots = priorities[order], self._slots[order]

    def state_dict(self, *, contents: bool = True) -> dict[str, Any]:
        """Everything, as tensors and numbers; without contents an empty buffer. What is on disk stays there and is only named."""
        state: dict[str, Any] = {"calls": self._calls}
        if contents and len(self):
            state["priorities"] = torch.from_numpy(self.priorities)
            state["slots"] = torch.from_numpy(self.slots)
            state["unseen"] = torch.tensor(list(self._unseen.items()), dtype=torch.int64).reshape(-1, 2)
            state["clips"] = self._shelf.state(self._slots.tolist())
        ranking = self._ranking_file()
        if ranking is not None and contents:
            _save(state, ranking)
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Become what another buffer was.

        Raises:
            SettingError: the other held more than this one can.
            DatasetError: clips on disk are gone.
        """
        slots = state.get("slots", torch.zeros(0, dtype=torch.int64)).numpy().copy()
        if len(slots) > self.capacity:
            raise SettingError(f"replay's capacity {self.capacity} is below the {len(slots)} clips of the run; raise it or start anew")
        self._calls = state["calls"]
        self._slots = slots
        self._priorities = state["priorities"].numpy().copy() if len(slots) else np.zeros(0)
        self._unseen = dict(state["unseen"].tolist()) if len(slots) else {}
        if len(slots):
            self._shelf.restore(state["clips"], slots.tolist())

    def _first_priority(self) -> float:
        """Of a new clip: just above the highest, so that it is never turned away."""
        if self._initial != "max":
            return float(self._initial)
        return float(np.nextafter(self._priorities[0], np.inf)) if len(self) else 1.0

    def _due(self, n: int) -> list[int]:
        """Unseen clips that must be drawn now, or there will not be draws enough left for all of them in time; oldest first."""
        ages = self._calls - np.fromiter(self._unseen.values(), np.int64, len(self._unseen))
        calls_left = np.maximum(math.ceil(self.capacity / n) - 1 - ages, 0)
        missing = np.arange(1, len(ages) + 1) - n * calls_left
        count = min(max(int(missing.max(initial=0)), 0), n)
        return list(self._unseen)[:count]

    def _stratified(self, n: int, generator: np.random.Generator) -> NDArray[np.int64]:
        """Ranks of n clips: one uniform number in each of n equal parts of the sum of priorities."""
        share = self._priorities - min(self._priorities[-1], 0.0)
        if not share.any():
            share = np.ones(len(self))
        edges = np.cumsum(share)
        marks = (np.arange(n) + generator.random(n)) / max(n, 1) * edges[-1]
        return np.asarray(np.minimum(np.searchsorted(edges, marks, side="right"), len(self) - 1), np.int64)

    def _ranking_file(self) -> Path | None:
        return self._folder / "ranking.pt" if isinstance(self._shelf, DiskShelf) and self._folder is not None else None


def _shelf(capacity: int, *, storage: str, encoding: Encoding, folder: Path | None, device: torch.device) -> ClipShelf:
    if storage == "disk":
        if folder is None:
            raise SettingError("replay's storage 'disk' needs a folder; name one")
        folder.mkdir(parents=True, exist_ok=True)
        return DiskShelf(folder, encoding=encoding)
    if storage == "memory" and encoding != "raw":
        return PackedShelf(encoding=encoding)
    return PlainShelf(capacity, device=device if storage == "device" else torch.device("cpu"))


def _save(state: Mapping[str, Any], file: Path) -> None:
    with atomic_path(file) as partial:
        torch.save(dict(state), partial)
