"""Metrics as CSV: one row at each interval."""

import time
from pathlib import Path

import lightning.pytorch as pl

from followspot.training.table import StepTable
from followspot.training.watched import Interval, watch

COLUMNS = ("seconds", "loss", "lr", "samples_per_second", "skipped")
"""First columns after ``step``; the objective's scalars follow."""


class MetricsCsv(pl.Callback):
    """Writes ``step, seconds, loss, lr, samples_per_second, skipped`` and the objective's scalars.

    ``step`` is the number of steps done. ``seconds`` go on where the last row kept ended, so time that a kill made useless does not count.

    Args:
        path: the file, appended to on resume.
        interval: when; those steps at which the module fills ``step_logs``.
    """

    def __init__(self, path: Path, interval: Interval) -> None:
        self._table, self._interval = StepTable(path, COLUMNS), interval
        self._before, self._clock = 0.0, Clock()
        self._start: float | None = None

    @property
    def seconds(self) -> float:
        """Time in training up to now, that before a resume included."""
        return self._before + (0.0 if self._start is None else time.perf_counter() - self._start)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Cut rows after the step that training resumes from."""
        if trainer.is_global_zero:
            steps_done = watch(pl_module).steps_done
            last = self._table.resume(steps_done)
            self._before = float(last["seconds"]) if last else 0.0
            self._start = time.perf_counter()
            self._clock.restart(steps_done)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Add a row where it is due."""
        module = watch(pl_module)
        if trainer.is_global_zero and self._interval.due(module.steps_done):
            values = {
                "seconds": round(self.seconds, 3),
                "samples_per_second": round(self._clock.rate(module.steps_done) * (module.last_batch.whole if module.last_batch else 0), 3),
                **module.step_logs,
                "skipped": module.skipped,
            }
            self._table.append(module.steps_done, values)


class Clock:
    """Steps per second since it was asked last."""

    def __init__(self) -> None:
        self._time, self._step = time.perf_counter(), 0

    def restart(self, steps_done: int) -> None:
        """Start measuring here."""
        self._time, self._step = time.perf_counter(), steps_done

    def rate(self, steps_done: int) -> float:
        """Steps a second since the last call or restart, which starts the next measurement."""
        passed, steps = time.perf_counter() - self._time, steps_done - self._step
        self.restart(steps_done)
        return steps / passed if passed > 0 else 0.0
