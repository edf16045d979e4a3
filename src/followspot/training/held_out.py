"""How well a network does on pairs of videos that it is not trained on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import lightning.pytorch as pl
import torch
from torch.utils.tensorboard import SummaryWriter

from followspot.training.table import StepTable
from followspot.training.watched import Interval, looking_at, watch

COLUMNS = ("loss", "score", "box", "mask")
"""First columns after ``step``; others follow."""


class Judged(Protocol):
    """What this asks of a module besides what callbacks see."""

    def batch_of(self, raw: Any) -> object:  # noqa: ANN401 -- whatever the loader makes
        """A batch of the loader as the objective takes it."""
        ...


class HeldOut(pl.Callback):
    """Writes the losses and scores of fixed batches before the first step and at intervals, as a table and for TensorBoard.

    Args:
        batches: what the loader made of videos that are held out.
        interval: when.
        table: the CSV file.
        folder: of the event files.

    Attributes:
        latest: means over the batches, by name; empty before the first.
    """

    def __init__(self, batches: Sequence[object], interval: Interval, *, table: Path, folder: Path) -> None:
        self.latest: dict[str, float] = {}
        self._batches, self._interval, self._folder = batches, interval, folder
        self._table = StepTable(table, COLUMNS)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go on with the table; judge what training begins with."""
        steps_done = watch(pl_module).steps_done
        if trainer.is_global_zero:
            self._table.resume(steps_done)
        if steps_done == 0:
            self._judge(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Judge where it is due."""
        if self._interval.due(watch(pl_module).steps_done):
            self._judge(trainer, pl_module)

    def _judge(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        module = watch(pl_module)
        sums: dict[str, list[float]] = {}
        with looking_at(module.trained_encoder, module.objective):
            torch.manual_seed(0)  # the same places every time
            for raw in self._batches:
                said = module.objective(cast(Judged, pl_module).batch_of(raw), module.trained_encoder)
                for name, value in {"loss": said.loss, **said.logs}.items():
                    sums.setdefault(name, []).append(float(value))
        self.latest = {name: sum(values) / len(values) for name, values in sums.items()}
        self._table.append(module.steps_done, self.latest)
        writer = SummaryWriter(str(self._folder))
        for name, value in self.latest.items():
            writer.add_scalar(f"held_out/{name}", value, module.steps_done)
        writer.close()
