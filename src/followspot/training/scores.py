"""Tracking scores on the way: what the loss cannot tell."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from torch import nn

from followspot.models.weights import save_weights
from followspot.training.table import StepTable
from followspot.training.watched import Interval, looking_at, watch

Score = Callable[[nn.Module], float]
"""Judges an encoder in evaluation mode; higher is better."""


@dataclass(frozen=True)
class Scored:
    """A score and when it was reached."""

    step: int
    """Steps done."""
    value: float
    """Higher is better."""


class Scores(pl.Callback):
    """Scores the encoder at intervals, keeps the weights of the best, and writes a table.

    Put it before the callbacks that show or use :attr:`latest`.

    Args:
        score: what judges.
        interval: when.
        table: the CSV file with columns step, score, best.
        weights: where the best encoder is kept, a ``.safetensors`` file; None keeps none.
        card: what goes into it, asked for when it is written; ``steps`` and ``score`` are added.

    Attributes:
        latest: the last score.
        best: the highest; the earlier of two alike; None while there was none that is a number.
    """

    def __init__(
        self, score: Score, interval: Interval, *, table: Path, weights: Path | None = None, card: Callable[[], Mapping[str, Any]] = dict
    ) -> None:
        self.latest: Scored | None = None
        self.best: Scored | None = None
        self._score, self._interval, self._weights, self._card = score, interval, weights, card
        self._table = StepTable(table, ("score", "best"))

    def fresh(self, step: int) -> float | None:
        """The score reached after exactly so many steps, if there is one."""
        return self.latest.value if self.latest is not None and self.latest.step == step else None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go on with the table."""
        if trainer.is_global_zero:
            self._table.resume(watch(pl_module).steps_done)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Score where it is due: the first process does, the others are told."""
        module = watch(pl_module)
        if not self._interval.due(module.steps_done):
            return
        value = 0.0
        if trainer.is_global_zero:
            with looking_at(module.trained_encoder):
                value = float(self._score(module.trained_encoder))
        value = trainer.strategy.broadcast(value)
        self.latest = Scored(module.steps_done, value)
        better = not math.isnan(value) and (self.best is None or value > self.best.value)
        if better:
            self.best = self.latest
        if trainer.is_global_zero:
            self._table.append(module.steps_done, {"score": value, "best": self.best.value if self.best else math.nan})
            if better and self._weights is not None:
                save_weights(self._weights, module.trained_encoder, {**self._card(), "steps": module.steps_done, "score": value})

    def state_dict(self) -> dict[str, Any]:
        """Latest and best."""
        return {name: None if it is None else (it.step, it.value) for name, it in (("latest", self.latest), ("best", self.best))}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.latest, self.best = (None if state_dict[name] is None else Scored(*state_dict[name]) for name in ("latest", "best"))
