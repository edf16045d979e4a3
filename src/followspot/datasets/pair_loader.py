"""From a store of targets to batches of pairs with the labels of their anchors, for ever, and exactly the same ones after a stop."""

from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from followspot.datasets.pairs import SEARCH, Pair, PairSettings, PairSource
from followspot.datasets.targets import TargetStore
from followspot.errors import DatasetError, SettingError
from followspot.ops.anchors import AnchorLabels, Anchors, LabelRule, label_anchors

_AHEAD: Final = 2
"""Batches that are made while the last one is used: torch's own default."""


@dataclass(frozen=True, kw_only=True)
class RawPairs:
    """A batch of pairs, as the loader makes it."""

    template: Tensor
    """``(B, 3, 127, 127)`` uint8 RGB."""
    search: Tensor
    """``(B, 3, 255, 255)`` uint8 RGB."""
    masks: Tensor
    """``(B, 255, 255)`` uint8 in {0, 1}; zeros where there is none."""
    has_mask: Tensor
    """``(B,)`` bool."""
    labels: Tensor
    """``(B, K, g, g)`` int64: 1 right, 0 wrong, -1 not trained."""
    deltas: Tensor
    """``(B, 4, K, g, g)``."""
    weights: Tensor
    """``(B, K, g, g)``."""
    slots: None = None
    """Replay keeps no pairs."""


class PairLoader:
    """Endless batches of pairs.

    Args:
        store: the targets.
        settings: what is drawn.
        batch_size: rows of this process, B >= 1.
        seed: >= 0; the same seed gives the same batches.
        rank: which of `world` processes this is; it gets rows ``rank * B .. (rank + 1) * B`` of the joined batch.
        world: how many processes share a batch.
        threads: that decode and warp ahead of time, >= 1. Batches do not depend on it.
        rule: which anchors are trained; None takes the published one.

    Raises:
        SettingError: a number is out of range.
        DatasetError: there is nothing to draw from.
    """

    def __init__(
        self,
        store: TargetStore,
        settings: PairSettings,
        *,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        threads: int = 1,
        rule: LabelRule | None = None,
    ) -> None:
        if batch_size < 1 or threads < 1 or seed < 0 or not 0 <= rank < world:
            got = f"batch_size {batch_size}, threads {threads}, seed {seed}, rank {rank} of {world}"
            raise SettingError(f"a loader needs batch_size and threads of 1 or more, a seed of 0 or more and a rank below world, got {got}")
        self._source = PairSource(store, settings, seed=seed)
        self._size, self._seed, self._rank, self._world, self._threads = batch_size, seed, rank, world, threads
        self._rule = rule
        self._step = 0

    def __iter__(self) -> Iterator[RawPairs]:
        """Batches from where the loader is; starting again goes on after the last batch that was handed out."""
        waiting: deque[Future[RawPairs]] = deque()
        with ThreadPoolExecutor(self._threads, thread_name_prefix="followspot-pairs") as pool:
            ahead = self._step
            try:
                while True:
                    while len(waiting) < _AHEAD + self._threads:
                        waiting.append(pool.submit(self.batch, ahead))
                        ahead += 1
                    made = waiting.popleft().result()
                    self._step += 1
                    yield made
            finally:
                for future in waiting:
                    future.cancel()

    def batch(self, step: int) -> RawPairs:
        """The batch of a step, a function of the seed and the step."""
        first = (step * self._world + self._rank) * self._size
        pairs = [self._source.readable(*divmod(row, len(self._source))) for row in range(first, first + self._size)]
        rows = zip(pairs, range(first, first + self._size), strict=True)
        labels = [label_pair(pair, rule=self._rule, seed=(self._seed, row)) for pair, row in rows]
        return join_pairs(pairs, labels)

    def state_dict(self) -> dict[str, Any]:
        """Where the loader is, after the last batch that was handed out."""
        return {"step": self._step, "seed": self._seed, "videos": len(self._source.videos)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another loader was.

        Raises:
            SettingError: the other had another seed.
            DatasetError: the store was another.
        """
        if state["seed"] != self._seed:
            raise SettingError(f"seed {self._seed} differs from the {state['seed']} that the run began with; resume with that one")
        if state["videos"] != len(self._source.videos):
            raise DatasetError(
                f"the run began with {state['videos']} videos of targets, now {len(self._source.videos)}; give it its store or start anew"
            )
        self._step = int(state["step"])


def label_pair(pair: Pair, *, rule: LabelRule | None, seed: tuple[int, int]) -> AnchorLabels:
    """Labels of the anchors of a pair; which of those that fit are trained is drawn from the seed."""
    generator = torch.Generator().manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
    target = None if pair.box is None else torch.tensor(pair.box, dtype=torch.float32)
    return label_anchors(target, Anchors(), rule=rule, generator=generator)


def join_pairs(pairs: list[Pair], labels: list[AnchorLabels]) -> RawPairs:
    """Pairs and labels as one batch."""
    empty = np.zeros((SEARCH, SEARCH), np.uint8)
    images = [np.stack([getattr(pair, name) for pair in pairs]).transpose(0, 3, 1, 2) for name in ("template", "search")]
    return RawPairs(
        template=torch.from_numpy(np.ascontiguousarray(images[0])),
        search=torch.from_numpy(np.ascontiguousarray(images[1])),
        masks=torch.from_numpy(np.stack([empty if pair.mask is None else pair.mask for pair in pairs])),
        has_mask=torch.tensor([pair.mask is not None for pair in pairs]),
        labels=torch.stack([label.labels for label in labels]),
        deltas=torch.stack([label.deltas for label in labels]),
        weights=torch.stack([label.weights for label in labels]),
    )
