"""Training on the terminal. Written to standard error, like all progress."""

import logging

import lightning.pytorch as pl
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from followspot.training.watched import watch


class _Rate(ProgressColumn):
    """Samples per second."""

    def render(self, task: Task) -> Text:
        """The rate so far, blank while nobody knows."""
        rate = task.finished_speed or task.speed
        return Text(f"{rate * task.fields['batch']:.1f} samples/s" if rate else "", style="progress.data.speed")


class ProgressBar(pl.Callback):
    """A bar over steps with loss, samples a second and what remains.

    Args:
        total: steps of the whole training.
        console: where it is drawn; None is standard error.
    """

    def __init__(self, total: int, *, console: Console | None = None) -> None:
        self._total = total
        self._console = console
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw it, on the first process."""
        if not trainer.is_global_zero:
            return
        columns = (
            TextColumn("{task.description:>10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[loss]}"),
            _Rate(),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        self._bar = Progress(*columns, console=self._console or Console(stderr=True))
        self._task = self._bar.add_task("train", total=self._total, completed=watch(pl_module).steps_done, loss="", batch=0)
        self._bar.start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Move it."""
        if self._bar is not None:
            module = watch(pl_module)
            loss = module.step_logs.get("loss")
            whole = module.last_batch.whole if module.last_batch else 0
            shown = "" if loss is None else f"loss {loss:.4g}"
            self._bar.update(self._task, completed=module.steps_done, loss=shown, batch=whole)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the last state on the terminal."""
        self._close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """The same."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def quiet_lightning() -> None:
    """Let Lightning report warnings and errors only, not what hardware it found and which products go well with it."""
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
