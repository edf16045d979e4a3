"""A module that is trained as ours are, small enough to be trained in a test."""

import itertools
import time
from pathlib import Path

import lightning.pytorch as pl
import torch
from torch import nn

from followspot.models.sync_norm import synchronize_batch_norm
from followspot.objectives.base import ClipBatch, Objective, ObjectiveOutput, encode_clips, uniform_rows
from followspot.ops.collective import join_rows
from followspot.ops.schedule import Schedule
from followspot.training.optimiser import GuardedStep, OptimizerSettings, apply_schedule, build_optimizer, hold_statistics

RECIPE = "name: toy\noptimizer:\n  lr: 0.01\nseed: 3\n"


class ToyObjective(Objective):
    """Neighbouring frames should look alike, with noise that is drawn."""

    def __init__(self):
        super().__init__(num_frames=3)
        self.register_buffer("centre", torch.zeros(4))

    def forward(self, clips, encoder):
        features = encode_clips(clips.frames, encoder)
        self.centre.lerp_(join_rows(features.detach()).mean((0, 1, 3, 4)), 0.1)
        noise = uniform_rows(clips, 1, 4, 1, 1)
        per_sample = (features[:, 1:] - features[:, :-1] + noise).square().flatten(1).mean(1)
        return ObjectiveOutput(loss=per_sample.mean(), per_sample=per_sample.detach(), logs={"noise": noise.mean()})

    def pictures(self, clips, encoder):
        torch.rand(7)  # training must not notice
        encoder(clips.frames[0])
        return {"target": clips.frames[0, -1], "prediction": clips.frames[0, 0] * 2, "clusters": torch.rand(3, 8, 8)}


class Toy(pl.LightningModule):
    """Has all that the callbacks watch."""

    def __init__(self, steps=12, *, batch=4, settings=None, seed=3, broken=(), pause=0.0, synced=True):
        super().__init__()
        self.automatic_optimization = False
        torch.manual_seed(seed)
        self.encoder = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1))
        self.objective = ToyObjective()
        self.settings = settings or OptimizerSettings(lr=Schedule.parse("linear 0:0.01 1.0:0"))
        self.guard = GuardedStep()
        self.recipe_text = RECIPE
        self.steps, self.batch, self.seed, self.broken, self.pause, self.synced = steps, batch, seed, broken, pause, synced
        self.steps_done, self.step_logs, self.last_batch = 0, {}, None
        self.gradients = None
        self.losses = []

    @property
    def trained_encoder(self):
        return self.encoder

    @property
    def skipped(self):
        return self.guard.skipped

    def replay_priorities(self):
        return torch.arange(10.0)

    def configure_model(self):
        if self.trainer.world_size > 1 and self.synced:
            synchronize_batch_norm(self)

    def configure_optimizers(self):
        return build_optimizer(nn.ModuleDict({"encoder": self.encoder, "objective": self.objective}), self.settings)

    def clips(self, step):
        frames = torch.rand(self.batch, 3, 3, 8, 8, generator=torch.Generator().manual_seed(1000 * self.seed + step))
        own = self.batch // self.trainer.world_size
        first = self.global_rank * own
        frames = frames[first : first + own]
        return ClipBatch(frames=frames, clean=frames, first=first, total=self.batch)

    def backward_and_keep(self, loss):
        self.manual_backward(loss)
        self.gradients = {name: value.grad.clone() for name, value in self.named_parameters() if value.grad is not None}

    def training_step(self, batch, index):
        step = self.steps_done
        torch.manual_seed(1000 * self.seed + step)
        optimizer = self.optimizers(use_pl_optimizer=False)
        rate = apply_schedule(optimizer, self.settings, step=step, total_steps=self.steps)
        hold_statistics(self, self.settings, step=step, total_steps=self.steps)
        self.guard.remember(self)
        clips = self.clips(step)
        output = self.objective(clips, self.encoder)
        loss = output.loss * (float("nan") if step in self.broken else 1)
        self.guard.step(optimizer, loss, clip=self.settings.clip, backward=self.backward_and_keep)
        self.steps_done = step + 1
        self.last_batch = clips
        self.losses.append(loss.item())
        self.step_logs = {"loss": loss.item(), "lr": rate, **{name: value.item() for name, value in output.logs.items()}}
        self.trainer.should_stop = self.steps_done >= self.steps
        time.sleep(self.pause)

    def on_save_checkpoint(self, checkpoint):
        checkpoint["toy"] = {"steps_done": self.steps_done, "guard": self.guard.state_dict()}

    def on_load_checkpoint(self, checkpoint):
        self.steps_done = checkpoint["toy"]["steps_done"]
        self.guard.load_state_dict(checkpoint["toy"]["guard"])


def fit(module, callbacks=(), *, resume: Path | None = None, **settings):
    """Train to the end."""
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=-1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        callbacks=list(callbacks),
        **{"devices": 1, **settings},
    )
    trainer.fit(module, itertools.repeat(0), ckpt_path=resume, weights_only=True)
    return trainer
