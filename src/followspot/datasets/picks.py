"""Which clip is drawn when: epochs over a store that may grow, as a pure function of (seed, epoch, position).

An epoch is a list of picks, a pick one training clip of one video. Each is picked as often as its weight says, rounded down or up, and the
picks are shuffled over all videos.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from followspot.datasets.clips import ClipPattern
from followspot.datasets.store import ClipEntry
from followspot.errors import DatasetError

_ORDER, _CLIP = 1, 2
"""Keep the streams apart: numpy pads seeds with zeros, so (7, 3) and (7, 3, 0) would be the same."""


class Clips(Protocol):
    """What a loader needs of a store; :class:`followspot.datasets.store.ClipStore` has it."""

    @property
    def entries(self) -> tuple[ClipEntry, ...]:
        """All clips; a clip never changes its number."""

    def __len__(self) -> int: ...

    def read(self, index: int, frames: Sequence[int]) -> NDArray[np.uint8]:
        """RGB ``(T, H, W, 3)``."""

    def refresh(self) -> int:
        """Look for new clips, which come last; how many there are."""


@dataclass(frozen=True)
class Choices:
    """All training clips that the first clips of a store offer."""

    clip: NDArray[np.int64]
    """``(U,)``: which clip of the store."""
    window: NDArray[np.int64]
    """``(U,)``: which of its training clips."""
    weight: NDArray[np.float64]
    """``(U,)``: how often it is picked, relative to others."""

    def __len__(self) -> int:
        return len(self.clip)


def list_choices(entries: Sequence[ClipEntry], pattern: ClipPattern) -> tuple[Choices, list[int]]:
    """All training clips of some entries, and the numbers of the entries that are too short for any.

    Raises:
        DatasetError: nothing is left to train on.
    """
    counts = np.array([pattern.choices(entry.frames, fps=entry.fps) for entry in entries], dtype=np.int64)
    weights = np.array([entry.weight for entry in entries])
    too_short = [int(index) for index in np.flatnonzero(counts == 0)]
    counts[weights == 0] = 0
    if not counts.any():
        raise DatasetError(
            f"none of {len(entries)} clips can be trained on: {len(too_short)} are shorter than the clip pattern, "
            "the others have weight 0; use short_video = 'shrink' or add longer videos"
        )
    clip = np.repeat(np.arange(len(entries)), counts)
    window = np.concatenate([np.arange(count) for count in counts])
    return Choices(clip, window, weights[clip]), too_short


def epoch_order(choices: Choices, *, length: int | None, seed: int, epoch: int) -> NDArray[np.int64]:
    """The picks of an epoch in their order.

    Args:
        choices: what there is to pick.
        length: how many picks an epoch has; None: as many as there are choices.
        seed: of the run.
        epoch: from 0.

    Returns:
        ``(length,)`` positions in ``choices``. Each occurs ``length * weight / sum of weights`` times, rounded down or up, and on average
        over epochs exactly so often.

    >>> even = Choices(np.arange(3), np.zeros(3, int), np.ones(3))
    >>> sorted(epoch_order(even, length=None, seed=0, epoch=1).tolist())
    [0, 1, 2]
    """
    rng = np.random.default_rng((seed, _ORDER, epoch))
    picks = len(choices) if length is None else length
    shuffled = rng.permutation(len(choices))  # so that the picks that are rounded up are not always the same neighbours
    share = choices.weight[shuffled] / choices.weight.sum()
    edges = np.floor(np.cumsum(share) * picks + rng.random())
    edges[-1] = picks  # rounding must not cost or add a pick
    times = np.diff(np.minimum(edges, picks), prepend=0.0).astype(np.int64)
    return rng.permutation(np.repeat(shuffled, times))


def draw_source(place: "Place", attempt: int, *, seed: int) -> np.random.Generator:
    """What everything random of one training clip is drawn from."""
    return np.random.default_rng((seed, _CLIP, place.epoch, place.position, attempt))


@dataclass(frozen=True)
class Place:
    """One row of a batch: position ``position`` of epoch ``epoch``, which draws from the first ``clips`` clips of the store."""

    epoch: int
    clips: int
    position: int


class Epochs:
    """Turns places into picks; remembers the last few epochs.

    Args:
        entries: of the store; replace them when it has grown.
        pattern: which frames make a training clip.
        length: picks an epoch; None: as many as there are training clips.
        seed: of the run.
    """

    def __init__(self, entries: Sequence[ClipEntry], pattern: ClipPattern, *, length: int | None, seed: int) -> None:
        self.entries: Sequence[ClipEntry] = entries
        self._pattern = pattern
        self._length = length
        self._seed = seed
        self._choices: dict[int, tuple[Choices, list[int]]] = {}
        self._orders: dict[tuple[int, int], NDArray[np.int64]] = {}

    def choices(self, clips: int) -> Choices:
        """The training clips of the first ``clips`` entries."""
        return self._listed(clips)[0]

    def too_short(self, clips: int) -> list[int]:
        """Which of the first ``clips`` entries the pattern leaves out."""
        return self._listed(clips)[1]

    def length(self, clips: int) -> int:
        """How many picks an epoch over the first ``clips`` entries has."""
        return len(self.choices(clips)) if self._length is None else self._length

    def pick(self, place: Place, attempt: int) -> tuple[int, int]:
        """Clip and window at a place; later attempts are the next ones of the epoch."""
        key = (place.epoch, place.clips)
        choices = self.choices(place.clips)
        order = self._orders.get(key)
        if order is None:
            order = epoch_order(choices, length=self._length, seed=self._seed, epoch=place.epoch)
            self._orders = {**dict(list(self._orders.items())[-1:]), key: order}
        chosen = order[(place.position + attempt) % len(order)]
        return int(choices.clip[chosen]), int(choices.window[chosen])

    def _listed(self, clips: int) -> tuple[Choices, list[int]]:
        # A thread that fetches and the one that plans both come here, so nothing is looked up twice.
        found = self._choices.get(clips)
        if found is None:
            found = list_choices(self.entries[:clips], self._pattern)
            self._choices = {**dict(list(self._choices.items())[-1:]), clips: found}
        return found


def fingerprint(entries: Sequence[ClipEntry]) -> str:
    """16 hex digits that tell whether the same clips stand in the same order."""
    digest = hashlib.sha256()
    for entry in entries:
        digest.update(f"{entry.sha256} {entry.frames}\n".encode())
    return digest.hexdigest()[:16]
