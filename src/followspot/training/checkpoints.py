"""Checkpoints that are whole or absent."""

import os
import re
import shutil
from pathlib import Path

import lightning.pytorch as pl

from followspot.errors import SettingError
from followspot.io.files import atomic_path
from followspot.training.scores import Scores
from followspot.training.watched import Interval, watch

BEST = "best.ckpt"
"""Name of the checkpoint with the highest score."""
_NAME = re.compile(r"step-(\d+)\.ckpt")


class Checkpoints(pl.Callback):
    """Saves what training resumes from: at intervals, at the end, and where a score was the best so far.

    A checkpoint gets its name only when it is complete and on the disk, so a kill while one is written leaves the one before. Put it after
    all callbacks whose state it should hold.

    Args:
        folder: holds ``step-00000500.ckpt`` and so on, and ``best.ckpt``.
        interval: when.
        keep: how many of the newest stay, >= 1.
        scores: says which is the best; None: no best is kept.
    """

    def __init__(self, folder: Path, interval: Interval, *, keep: int = 2, scores: Scores | None = None) -> None:
        if keep < 1:
            raise SettingError(f"keep = {keep} checkpoints is not possible; write 1 or more")
        self.folder = folder
        self._interval, self._keep, self._scores = interval, keep, scores

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remove what a kill left half-written."""
        if trainer.is_global_zero and self.folder.is_dir():
            for partial in self.folder.glob(".*.partial.ckpt"):
                partial.unlink()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Save where it is due."""
        step = watch(pl_module).steps_done
        best = self._scores is not None and self._scores.best is not None and self._scores.best.step == step
        if best or self._interval.due(step):
            self._save(trainer, step, best=best)

    def _save(self, trainer: pl.Trainer, step: int, *, best: bool) -> None:
        path = self.folder / f"step-{step:08d}.ckpt"
        if not trainer.is_global_zero:
            trainer.save_checkpoint(path, weights_only=False)  # takes part, only the first process writes
            return
        with atomic_path(path) as partial:
            trainer.save_checkpoint(partial, weights_only=False)
        if best:
            with atomic_path(self.folder / BEST) as partial:
                _link_or_copy(path, partial)
        for _, old in _numbered(self.folder)[: -self._keep]:
            old.unlink(missing_ok=True)


def last_checkpoint(folder: Path) -> Path | None:
    """The checkpoint with the most steps; None where there is none.

    >>> last_checkpoint(Path("nowhere")) is None
    True
    """
    found = _numbered(folder)
    return found[-1][1] if found else None


def _numbered(folder: Path) -> list[tuple[int, Path]]:
    matches = [(_NAME.fullmatch(path.name), path) for path in folder.glob("step-*.ckpt")]
    return sorted((int(match[1]), path) for match, path in matches if match)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        shutil.copyfile(source, target)
