"""A training run on disk.

out/
  recipe.yaml           everything that decides what is computed
  environment.json      versions, device, command, processes
  metrics.csv           a row every few steps; log.txt the same for people
  tensorboard/          curves and pictures
  checkpoints/          what `resume` goes on from
  encoder.safetensors   the trained encoder with its card; `followspot track --weights` takes it
"""

import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, cast

import lightning.pytorch as pl
import torch
from torch import nn

from followspot.datasets.loader import ClipLoader
from followspot.datasets.replay_loader import ReplayLoader
from followspot.datasets.store import ClipStore
from followspot.errors import OutputError, SettingError
from followspot.io.files import write_atomic
from followspot.models.encoder import SHIPPED_ENCODER, load_encoder
from followspot.models.weights import load_into, load_weights, save_weights
from followspot.training.callbacks import RunCallbacks, last_checkpoint
from followspot.training.environment import describe_environment
from followspot.training.module import Loader, TrainingModule
from followspot.training.progress import quiet_lightning
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
    checkpoint = _begin(recipe, out, resume=resume)
    if recipe.precision == "float32" and torch.cuda.is_available():
        torch.set_float32_matmul_precision("high")
    module = TrainingModule(recipe, _loader_of(recipe, clips, out), compiled=compiled)
    if checkpoint is None and recipe.encoder.init is not None:
        initialize(module.encoder, recipe.encoder.init)

    def card() -> dict[str, Any]:
        return card_of(recipe, clips, module, seconds=callbacks.seconds)

    callbacks = RunCallbacks(out, recipe, score=score, card=card, progress=progress)
    with warnings.catch_warnings():
        # Lightning advises on loaders and loggers that this package does not have.
        warnings.filterwarnings("ignore", module="lightning")
        trainer = _trainer(recipe, out, device=device, devices=devices, callbacks=callbacks.all())
        trainer.fit(module, _Count(recipe.steps), ckpt_path=checkpoint, weights_only=checkpoint is not None or None)
    if module.steps_done < recipe.steps:
        raise KeyboardInterrupt
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
        "hardware": describe_environment(module.device)["device" if module.device.type == "cuda" else "cpu"],
        "versions": {"followspot": version("followspot"), "torch": str(torch.__version__)},
    }


class _Count:
    """As many items as there are steps; the module fetches its own batches, so that none is taken that is not trained on."""

    def __init__(self, steps: int) -> None:
        self._steps = steps

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[int]:
        return iter(range(self._steps))


def _begin(recipe: Recipe, out: Path, *, resume: bool) -> Path | None:
    """Make or check the run folder.

    Returns:
        The checkpoint to go on from; None starts anew.
    """
    kept = out / "recipe.yaml"
    if _rank() != 0:
        # The first process makes the folder and checks; it is the one that complains.
        return last_checkpoint(out / "checkpoints") if resume else None
    if not resume:
        if out.exists() and any(out.iterdir()):
            raise OutputError(f"{out} is not empty; add --resume to go on with the run in it, or choose another --out")
        out.mkdir(parents=True, exist_ok=True)
        write_atomic(kept, recipe.to_yaml())
        machine = describe_environment(torch.device("cuda") if torch.cuda.is_available() else None)
        write_atomic(out / "environment.json", json.dumps({"command": sys.argv, **machine}, indent=2) + "\n")
        return None
    if not kept.is_file():
        raise OutputError(f"there is no run in {out} to resume; drop --resume, or check --out")
    earlier = read_recipe(str(kept))
    if _essence(earlier) != _essence(recipe):
        changed = [name for name, value in _essence(recipe).items() if _essence(earlier)[name] != value]
        raise SettingError(f"the run in {out} has another recipe (different: {', '.join(changed)}); choose another --out")
    write_atomic(kept, recipe.to_yaml())
    return last_checkpoint(out / "checkpoints")


def _rank() -> int:
    """Which process this is, as torchrun, SLURM or Lightning's own launcher say; 0 where none does."""
    return next((int(os.environ[name]) for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK") if name in os.environ), 0)


def _essence(recipe: Recipe) -> dict[str, object]:
    return {name: getattr(recipe, name) for name in recipe.__dataclass_fields__ if name not in ("log", "source", "name")}


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


def _trainer(recipe: Recipe, out: Path, *, device: str, devices: int, callbacks: list[pl.Callback]) -> pl.Trainer:
    quiet_lightning()
    accelerator = device if device != "auto" else "gpu" if torch.cuda.is_available() else "cpu"
    precision: Literal["bf16-mixed", "32-true"] = "bf16-mixed" if recipe.precision == "bfloat16" else "32-true"
    # Under torchrun Lightning wants to be told what torchrun already knows.
    devices = int(os.environ.get("LOCAL_WORLD_SIZE", devices))
    nodes = int(os.environ.get("GROUP_WORLD_SIZE", os.environ.get("SLURM_NNODES", 1)))
    return pl.Trainer(
        accelerator="gpu" if accelerator.startswith("cuda") else accelerator,
        devices=devices,
        num_nodes=nodes,
        strategy="ddp" if devices * nodes > 1 else "auto",
        precision=precision,
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        callbacks=callbacks,
        default_root_dir=out,
    )
