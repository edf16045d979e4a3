"""TensorBoard: curves, histograms and pictures."""

from pathlib import Path
from typing import Any, cast

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from followspot.objectives.base import ClipBatch
from followspot.training.csv_log import Clock
from followspot.training.scores import Scores
from followspot.training.watched import Interval, Watched, looking_at, watch
from followspot.viz.embeddings import pca_colors


class Panels(pl.Callback):
    """Writes what TensorBoard shows.

    Scalars ``train/<name>`` (loss, lr, samples_per_second, skipped, the objective's), ``score``; a histogram ``replay/priorities``;
    pictures ``pictures/<name>`` from the objective (target, prediction, clusters and others) and ``features/pca``.

    Args:
        folder: of the event files. Events after the step that training resumes from are hidden.
        scalars: when curves get a point; those steps at which the module fills ``step_logs``.
        pictures: when there are pictures and histograms.
        scores: shown where there is one.
    """

    def __init__(self, folder: Path, *, scalars: Interval, pictures: Interval, scores: Scores | None = None) -> None:
        self._folder, self._scalars, self._pictures, self._scores = folder, scalars, pictures, scores
        self._writer: SummaryWriter | None = None
        self._clock = Clock()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the event file."""
        if trainer.is_global_zero:
            steps_done = watch(pl_module).steps_done
            self._clock.restart(steps_done)
            self._writer = SummaryWriter(str(self._folder), purge_step=steps_done + 1)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Add what is due. Objectives draw on all processes, since they may gather what each has."""
        module, writer = watch(pl_module), self._writer
        step = module.steps_done
        if writer is not None and self._scalars.due(step):
            self._add_scalars(writer, module)
        score = self._scores.fresh(step) if self._scores else None
        if writer is not None and score is not None:
            writer.add_scalar("score", score, step)
        if self._pictures.due(step):
            for tag, picture in draw(module).items():
                if writer is not None:
                    writer.add_image(tag, picture, step)
            priorities = module.replay_priorities()
            if writer is not None and priorities is not None and len(priorities):
                writer.add_histogram("replay/priorities", priorities.detach().float().cpu(), step)
        if writer is not None:
            writer.flush()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the event file."""
        self._close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """The same."""
        self._close()

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _add_scalars(self, writer: SummaryWriter, module: Watched) -> None:
        rate = self._clock.rate(module.steps_done) * (module.last_batch.whole if module.last_batch else 0)
        for name, value in {"samples_per_second": rate, **module.step_logs, "skipped": module.skipped}.items():
            writer.add_scalar(f"train/{name}", value, module.steps_done)


def draw(module: Watched) -> dict[str, Tensor]:
    """Pictures of the last batch: the objective's, and the first clip over its features in colour.

    Args:
        module: in training; it is left as it was.

    Returns:
        Tags to ``(3, H, W)`` in [0, 1], on the CPU.
    """
    batch = module.last_batch
    if batch is None:
        return {}
    with looking_at(module.encoder, module.objective):
        pictures = cast(Any, module.objective).pictures(batch, module.encoder)
        shown = {f"pictures/{name}": picture for name, picture in pictures.items()}
        if isinstance(batch, ClipBatch):
            shown["features/pca"] = pca_strip(batch, module.encoder)
    return {tag: picture.detach().float().clamp(0, 1).cpu() for tag, picture in shown.items()}


def pca_strip(clips: ClipBatch, encoder: nn.Module) -> Tensor:
    """The frames of the first clip side by side, and below them their features as colours.

    Args:
        clips: what the encoder was shown.
        encoder: in evaluation mode.

    Returns:
        ``(3, 2 H, T W)``.
    """
    frames = clips.frames[0]
    features = cast(Tensor, encoder(frames)).float()
    if not torch.isfinite(features).all():
        return frames.new_zeros(3, 2 * frames.shape[-2], len(frames) * frames.shape[-1])  # black says so without ending the training
    colors = nn.functional.interpolate(pca_colors(features), frames.shape[-2:], mode="nearest")
    return torch.cat([torch.cat(list(rows), -1) for rows in (frames, colors.to(frames))], -2)
