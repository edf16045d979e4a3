"""A log to read: the recipe, the machine, and how it went."""

import time
from collections.abc import Mapping
from pathlib import Path

import lightning.pytorch as pl

from followspot.io.files import output_error
from followspot.training.csv_log import Clock
from followspot.training.environment import describe_environment
from followspot.training.scores import Scores
from followspot.training.watched import Interval, watch


class TextLog(pl.Callback):
    """Writes environment and recipe once a start, and a line at each interval with what remains; a resume appends.

    Args:
        path: the file; its folder is made.
        interval: when; its total is what remains is counted from.
        scores: shown where there is one.
    """

    def __init__(self, path: Path, interval: Interval, *, scores: Scores | None = None) -> None:
        self._path, self._interval, self._scores = path, interval, scores
        self._start, self._first, self._clock = 0.0, 0, Clock()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say what starts, or goes on."""
        if not trainer.is_global_zero:
            return
        module = watch(pl_module)
        self._first, self._start = module.steps_done, time.perf_counter()
        self._clock.restart(module.steps_done)
        what = f"resumed at step {module.steps_done}" if module.steps_done else "started"
        environment = {**describe_environment(pl_module.device), "processes": str(trainer.world_size)}
        lines = [f"{what}, {self._interval.total} steps in all, {time.strftime('%Y-%m-%d %H:%M:%S')}", "environment:"]
        lines += [f"  {name}: {value}" for name, value in environment.items()]
        lines += ["recipe:", *(f"  {line}" for line in module.recipe_text.splitlines())]
        self._write(*lines, anew=not module.steps_done)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Add a line where it is due."""
        module = watch(pl_module)
        step, total = module.steps_done, self._interval.total
        if not trainer.is_global_zero:
            return
        if self._interval.due(step):
            passed = time.perf_counter() - self._start
            left = passed / max(step - self._first, 1) * (total - step)
            rate = self._clock.rate(step) * (module.last_batch.whole if module.last_batch else 0)
            speed = f"{rate:.1f} samples/s, {duration(passed)} passed, {duration(left)} left"
            self._write(f"step {step}/{total}: {_listed(module.step_logs)}, skipped {module.skipped}; {speed}")
        score = self._scores.fresh(step) if self._scores else None
        if self._scores and self._scores.best and score is not None:
            self._write(f"step {step}/{total}: score {score:.4f} (best {self._scores.best.value:.4f} at step {self._scores.best.step})")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say that it is over."""
        if trainer.is_global_zero:
            module = watch(pl_module)
            passed = duration(time.perf_counter() - self._start)
            self._write(f"ended at step {module.steps_done} after {passed}, {module.skipped} steps not taken")

    def _write(self, *lines: str, anew: bool = False) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("w" if anew else "a", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in lines)
        except OSError as error:
            raise output_error(error, self._path) or error from error


def duration(seconds: float) -> str:
    """Hours, minutes and seconds.

    >>> duration(3725.4)
    '1:02:05'
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def _listed(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.5g}" for name, value in values.items() if name != "skipped")
