"""From a store to batches of training clips, for ever, and exactly the same ones after a stop.

Nothing is random but through (seed, epoch, position in the epoch), so a batch does not depend on how many processes read it, on which
machine, or where the frames are held, and the state is a handful of numbers.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, distributed

from followspot.datasets.augment import CropSettings, StillMotion
from followspot.datasets.clips import ClipPattern
from followspot.datasets.fetch import BatchPlan, Fetched, Fetcher
from followspot.datasets.picks import Clips, Epochs, Place, fingerprint
from followspot.datasets.pipeline import fetch_in_thread, fetch_in_workers
from followspot.datasets.resident import ResidentClips
from followspot.errors import DatasetError, FollowspotError, SettingError

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RawBatch:
    """A batch of training clips before colour jitter."""

    frames: Tensor
    """``(B, T, 3, S, S)`` uint8 RGB."""
    ids: Tensor
    """``(B,)`` int64 on the CPU: which clip of the store each row is from."""
    step: int
    """How many batches came before this one."""
    state: Mapping[str, int | str] = field(default_factory=dict, repr=False)
    """What :meth:`ClipLoader.load_state_dict` needs to go on after this batch."""
    slots: Tensor | None = None
    """``(B,)`` int64: where replay holds each row; None without replay."""


@dataclass(frozen=True)
class _Cursor:
    """Where the loader is: the next row is ``position`` of ``epoch``; ``clips`` is None before the epoch's first row."""

    step: int = 0
    epoch: int = 0
    position: int = 0
    clips: int | None = None


class ClipLoader:
    """Endless batches of training clips from a store.

    Clips that cannot be read are left out with one warning each; the next one of the epoch takes their place. Clips that join the store are
    used from the next epoch on.

    Args:
        store: the prepared clips.
        pattern: which frames make a training clip.
        crop: which part of them is shown, and its size.
        batch_size: rows of this process, B >= 1.
        seed: >= 0; the same seed gives the same batches.
        rank: which of ``world`` processes this is; it gets rows ``rank * B .. (rank + 1) * B`` of the joined batch.
        world: how many processes share a batch.
        workers: processes that decode, for ``disk``; 0: a thread does. Batches do not depend on it.
        where: read clips from ``disk``; or decode all once and hold them in ``memory``, or on the ``device``, which then makes the crops.
        device: for ``where="device"``, such as "cuda"; "cpu" is the same as ``memory``.
        still_share: share of the rows that are one frame under a moving camera instead of a moving scene, 0..1.
        still: how that camera moves.
        epoch_length: rows of an epoch; None: one for each training clip that the store offers.
        resident_frames: for ``memory`` and ``device``, keep at most so many neighbouring frames of each clip.
        start_method: how worker processes start: fork, spawn or forkserver; None: Python's default.

    Attributes:
        batch_size: as given.
        skipped: why clips were left out, by their number in the store.

    Raises:
        SettingError: a number is out of range.
        DatasetError: no clip can be used, or they do not fit in memory.
    """

    def __init__(
        self,
        store: Clips,
        *,
        pattern: ClipPattern,
        crop: CropSettings,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        workers: int = 0,
        where: Literal["disk", "memory", "device"] = "disk",
        device: str | torch.device = "cpu",
        still_share: float = 0.0,
        still: StillMotion | None = None,
        epoch_length: int | None = None,
        resident_frames: int | None = None,
        start_method: Literal["fork", "spawn", "forkserver"] | None = None,
    ) -> None:
        _check_numbers(batch_size=batch_size, epoch_length=epoch_length, resident_frames=resident_frames, seed=seed, workers=workers)
        _check_choices(rank, world, where=where, still_share=still_share, workers=workers, resident_frames=resident_frames)
        self.skipped: dict[int, str] = {}
        self._store = store
        self.batch_size = batch_size
        self._seed = seed
        self._rank = rank
        self._world = world
        self._workers = workers
        self._start_method = start_method
        self._cursor = _Cursor()
        self._prints: dict[int, str] = {}
        self._resident = None
        place = torch.device(device if where == "device" else "cpu")
        if where != "disk":
            self._resident = ResidentClips(store, limit=resident_frames, device=place, seed=seed)
        entries = store.entries if self._resident is None else self._resident.entries
        self._epochs = Epochs(entries, pattern, length=epoch_length, seed=seed)
        self._fetcher = Fetcher(
            store=store,
            resident=self._resident,
            epochs=self._epochs,
            pattern=pattern,
            crop=crop,
            still=still or StillMotion(),
            still_share=still_share,
            seed=seed,
            on_device=place.type != "cpu",
        )
        self._note_short(len(entries))

    def __iter__(self) -> Iterator[RawBatch]:
        """Batches from where the loader is; starting again goes on after the last batch that was handed out."""
        for plan, fetched in self._fetched():
            self._note(fetched.skipped)
            if isinstance(fetched.failure, FollowspotError):
                raise fetched.failure
            self._cursor = plan.after
            yield RawBatch(frames=fetched.frames, ids=fetched.ids, step=plan.step, state=self.state_dict())

    def state_dict(self) -> dict[str, int | str]:
        """Where the loader is, after the last batch that was handed out (not the last that was made ahead)."""
        cursor = self._cursor
        clips = len(self._epochs.entries) if cursor.clips is None else cursor.clips
        return {
            "step": cursor.step,
            "epoch": cursor.epoch,
            "position": cursor.position,
            "clips": clips,
            "seed": self._seed,
            "store": self._print(clips),
        }

    def load_state_dict(self, state: Mapping[str, int | str]) -> None:
        """Go on where another loader was. Batch size, world and workers may be others; the store may have grown.

        Raises:
            SettingError: the other had another seed.
            DatasetError: the clips it knew are not those of this store.
        """
        if state["seed"] != self._seed:
            raise SettingError(f"seed {self._seed} differs from the {state['seed']} that the run began with; resume with that one")
        clips = int(state["clips"])
        if clips > len(self._epochs.entries) or self._print(clips) != state["store"]:
            raise DatasetError(
                f"the store's first {clips} clips are not those that the run began with; give it back its store or start anew"
            )
        self._cursor = _Cursor(step=int(state["step"]), epoch=int(state["epoch"]), position=int(state["position"]), clips=clips)

    def _fetched(self) -> Iterator[tuple[BatchPlan, Fetched]]:
        """Batches with their plans, made ahead of time where that helps."""
        if self._fetcher.on_device:
            return ((plan, self._fetcher[plan]) for plan in self._plans())
        if self._workers == 0:
            return fetch_in_thread(self._fetcher, self._plans())
        return fetch_in_workers(self._fetcher, self._plans(), workers=self._workers, start_method=self._start_method)

    def _plans(self) -> Iterator[BatchPlan]:
        cursor = self._cursor
        while True:
            rows: list[Place] = []
            for _ in range(self.batch_size * self._world):
                cursor = self._entered(cursor)
                assert cursor.clips is not None
                rows.append(Place(cursor.epoch, cursor.clips, cursor.position))
                cursor = replace(cursor, position=cursor.position + 1)
            own = rows[self._rank * self.batch_size : (self._rank + 1) * self.batch_size]
            step, cursor = cursor.step, replace(cursor, step=cursor.step + 1)
            yield BatchPlan(step=step, rows=tuple(own), after=cursor)

    def _entered(self, cursor: _Cursor) -> _Cursor:
        """The cursor in an epoch that has a row left; a new epoch begins with what the store holds then."""
        if cursor.clips is not None and cursor.position < self._epochs.length(cursor.clips):
            return cursor
        if cursor.clips is None:
            return replace(cursor, clips=_agreed(len(self._epochs.entries), self._world))
        self._store.refresh()
        if self._resident is None:
            self._epochs.entries = self._store.entries
        else:
            self._resident.grow()
            self._epochs.entries = self._resident.entries
        clips = _agreed(len(self._epochs.entries), self._world)
        self._note_short(clips)
        return replace(cursor, epoch=cursor.epoch + 1, position=0, clips=clips)

    def _note_short(self, clips: int) -> None:
        entries = self._epochs.entries
        reason = "clip {} ({}) has {} frames, fewer than the clip pattern; short_video = 'shrink' would use it"
        self._note({index: reason.format(index, entries[index].path, entries[index].frames) for index in self._epochs.too_short(clips)})

    def _note(self, skipped: Mapping[int, str]) -> None:
        for index, reason in skipped.items():
            if index not in self.skipped:
                self.skipped[index] = reason
                log.warning("left out: %s", reason)

    def _print(self, clips: int) -> str:
        if clips not in self._prints:
            self._prints = {clips: fingerprint(self._store.entries[:clips])}
        return self._prints[clips]


def _agreed(count: int, world: int) -> int:
    """The smallest count that any process sees: a store that grows may look larger to one than to another."""
    if world == 1 or not (distributed.is_available() and distributed.is_initialized()):
        return count
    counts: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(counts, count)
    return int(min(counts))


def _check_numbers(*, batch_size: int, epoch_length: int | None, resident_frames: int | None, seed: int, workers: int) -> None:
    lowest = {"batch_size": (batch_size, 1), "epoch_length": (epoch_length, 1), "resident_frames": (resident_frames, 1)}
    for name, (value, least) in {**lowest, "seed": (seed, 0), "workers": (workers, 0)}.items():
        if value is not None and value < least:
            raise SettingError(f"{name} {value} must be {least} or more")


def _check_choices(rank: int, world: int, *, where: str, still_share: float, workers: int, resident_frames: int | None) -> None:
    if not 0 <= rank < world:
        raise SettingError(f"rank {rank} must be in 0..{world - 1}, the {world} processes of the run")
    if where not in ("disk", "memory", "device"):
        raise SettingError(f"where {where!r} must be 'disk', 'memory' or 'device'")
    if not 0 <= still_share <= 1:
        raise SettingError(f"still_share {still_share:g} must be in 0..1")
    if workers and where != "disk":
        raise SettingError(f"workers {workers} are for where = 'disk'; clips held in {where} need none, set 0")
    if resident_frames is not None and where == "disk":
        raise SettingError(f"resident_frames {resident_frames} is for where = 'memory' or 'device'; leave it out for 'disk'")
