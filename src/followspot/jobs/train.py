"""A training run on disk.

out/
  recipe.yaml           everything that decides what is computed
  environment.json      versions, device, command, processes
  metrics.csv           a row every few steps; log.txt the same for people
  tensorboard/          curves and pictures
  checkpoints/          what `resume` goes on from
  encoder.safetensors   the trained encoder with its card; `followspot track --weights` takes it
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from followspot.datasets.loader import ClipLoader
from followspot.datasets.replay_loader import ReplayLoader
from followspot.datasets.store import ClipStore
from followspot.errors import SettingError
from followspot.jobs.training_run import begin_run, fit
from followspot.models.encoder import SHIPPED_ENCODER, load_encoder
from followspot.models.weights import load_into, load_weights, save_weights
from followspot.training.callbacks import RunCallbacks
from followspot.training.environment import describe_environment
from followspot.training.module import Loader, TrainingModule
from followspot.training.recipe import Recipe, read_recipe

Score = Callable[[nn.Module], float]


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What a training run came to."""

    folder: Path
    weights: Path
    steps: int
    skipped: int
    """Steps left out because something was not finite."""
    loss: float
    """Of the last row of the log."""
    best_score: float | None
    """Of the scores on labelled clips; None where none was named."""


def train(
    recipe: Recipe,
    store: Path | ClipStore,
    out: Path,
    *,
    resume: bool = False,
    device: str = "auto",
    score: Score | None = None,
    progress: bool = True,
    compiled: bool = False,
    devices: int = 1,
) -> TrainResult:
    """Train an encoder.

    Args:
        recipe: what to do.
        store: prepared clips.
        out: the run's folder; must be new or empty unless `resume`.
        resume: go on from the last checkpoint in `out`; its recipe must be this one but for names and `log`.
        device: ``auto``, ``cpu`` or ``cuda``.
        score: judges the encoder now and then, higher is better; the best is saved as ``best.safetensors``.
        progress: show a bar.
        compiled: compile the encoder; takes a minute, and whether steps get faster depends on network and GPU.
        devices: processes on this machine, unless torchrun or SLURM started several.

    Raises:
        OutputError: the folder holds another run, or nothing to resume.
        SettingError: the recipe does not fit the data.
    """
    clips = ClipStore(store) if isinstance(store, Path) else store
    checkpoint = begin_run(recipe, out, resume=resume, read=read_recipe)
    module = TrainingModule(recipe, _loader_of(recipe, clips, out), compiled=compiled)
    if checkpoint is None and recipe.encoder.init is not None:
        initialize(module.encoder, recipe.encoder.init)

    def card() -> dict[str, Any]:
        return card_of(recipe, clips, module, seconds=callbacks.seconds)

    callbacks = RunCallbacks(out, recipe, score=score, card=card, progress=progress)
    trainer = fit(module, recipe, out, device=device, devices=devices, callbacks=callbacks.all(), checkpoint=checkpoint)
    weights = out / "encoder.safetensors"
    if trainer.is_global_zero:
        save_weights(weights, module.trained_encoder, card())
    return TrainResult(
        folder=out,
        weights=weights,
        steps=module.steps_done,
        skipped=module.skipped,
        loss=module.step_logs.get("loss", float("nan")),
        best_score=callbacks.best_score,
    )


def initialize(encoder: nn.Module, source: str) -> None:
    """Fill an encoder from a weight file, or from the weights that followspot ships (``"default"``).

    Raises:
        EncoderError: the file is unusable or belongs to another network.
    """
    if source == "default":
        shipped = cast(nn.Module, load_encoder(SHIPPED_ENCODER))
        load_into(encoder, shipped.state_dict(), source="the shipped encoder")
        return
    state, _ = load_weights(Path(source))
    load_into(encoder, state, source=Path(source).name, unused=getattr(encoder, "ignored_weights", ()))


def card_of(recipe: Recipe, store: ClipStore, module: TrainingModule, *, seconds: float) -> dict[str, Any]:
    """What a weight file says about itself."""
    licences: dict[str, int] = {}
    for entry in store.entries:
        licences[entry.licence or "not stated"] = licences.get(entry.licence or "not stated", 0) + 1
    encoder = cast(Any, module.encoder)
    return {
        "encoder": encoder.name,
        "stride": encoder.stride,
        **({} if recipe.encoder.dim is None else {"dim": recipe.encoder.dim}),
        "recipe": recipe.to_yaml(),
        "data": {"clips": len(store.entries), "frames": sum(entry.frames for entry in store.entries), "licences": licences},
        "steps": module.steps_done,
        "skipped": module.skipped,
        "hours": round(seconds / 3600, 4),
        "hardware": describe_environment(module.trained_on)["device" if module.trained_on.type == "cuda" else "cpu"],
        "versions": {"followspot": version("followspot"), "torch": str(torch.__version__)},
    }


def _loader_of(recipe: Recipe, store: ClipStore, out: Path) -> Callable[[int, int, torch.device], Loader]:
    def make(rank: int, world: int, device: torch.device) -> Loader:
        if recipe.batch_size % world:
            raise SettingError(f"batch_size {recipe.batch_size} does not divide by {world} processes; choose a multiple")
        data, replay = recipe.data, recipe.replay
        batch_size = recipe.batch_size // world
        loader = ClipLoader(
            store,
            pattern=data.pattern,
            crop=data.crop,
            batch_size=batch_size if replay is None else replay.train_interval,
            seed=recipe.seed,
            rank=rank,
            world=world,
            workers=data.workers if data.where == "disk" else 0,
            where=data.where,
            device=str(device),
            still_share=data.still_share,
            still=data.still,
            resident_frames=data.resident_frames if data.where != "disk" else None,
        )
        if replay is None:
            return loader
        folder = out / "replay" / f"rank-{rank}"
        return ReplayLoader(loader, replay, batch_size=batch_size, seed=recipe.seed, rank=rank, folder=folder, device=device)

    return make
