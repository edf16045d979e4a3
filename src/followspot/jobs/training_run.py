"""What all training runs on disk share: the folder, what may be resumed, and Lightning."""

import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Literal

import lightning.pytorch as pl
import torch

from followspot.errors import OutputError, SettingError
from followspot.io.files import write_atomic
from followspot.training.callbacks import last_checkpoint
from followspot.training.environment import describe_environment
from followspot.training.progress import quiet_lightning
from followspot.training.run_settings import RunSettings
from followspot.training.steps import StepModule


class _Count:
    """As many items as there are steps; the module fetches its own batches, so that none is taken that is not trained on."""

    def __init__(self, steps: int) -> None:
        self._steps = steps

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[int]:
        return iter(range(self._steps))


TARGETS: Final = "targets"
"""What a run's folder may hold before it begins: targets that were made for it."""


def begin_run(recipe: RunSettings, out: Path, *, resume: bool, read: Callable[[str], RunSettings]) -> Path | None:
    """Make or check the run folder.

    Args:
        recipe: what is to run.
        out: the folder; must be new or empty unless `resume`.
        resume: go on with the run in it, whose recipe must be this one but for names and `log`. Where a run was stopped while its targets
            were made, begin.
        read: reads the recipe file of an earlier run.

    Returns:
        The checkpoint to go on from; None starts anew.

    Raises:
        OutputError: the folder holds another run, or nothing to resume.
        SettingError: the run has another recipe.
    """
    kept = out / "recipe.yaml"
    if process_rank() != 0:
        # The first process makes the folder and checks; it is the one that complains.
        return last_checkpoint(out / "checkpoints") if resume else None
    if not is_begun(out, resume=resume):
        out.mkdir(parents=True, exist_ok=True)
        write_atomic(kept, recipe.to_yaml())
        machine = describe_environment(torch.device("cuda") if torch.cuda.is_available() else None)
        write_atomic(out / "environment.json", json.dumps({"command": sys.argv, **machine}, indent=2) + "\n")
        return None
    earlier = read(str(kept))
    if _essence(earlier) != _essence(recipe):
        changed = [name for name, value in _essence(recipe).items() if _essence(earlier)[name] != value]
        raise SettingError(f"the run in {out} has another recipe (different: {', '.join(changed)}); choose another --out")
    write_atomic(kept, recipe.to_yaml())
    return last_checkpoint(out / "checkpoints")


def is_begun(out: Path, *, resume: bool) -> bool:
    """Whether there is a run in a folder to go on with.

    Args:
        out: the folder.
        resume: whether one may be there, and should be.

    Raises:
        OutputError: there is something that may not be there, or nothing of what should be.
    """
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file; choose a folder as --out")
    held = {path.name for path in out.iterdir()} if out.exists() else set()
    if not resume and held - {TARGETS}:
        raise OutputError(f"{out} is not empty; add --resume to go on with the run in it, or choose another --out")
    if resume and "recipe.yaml" not in held and held != {TARGETS}:
        raise OutputError(f"there is no run in {out} to resume; drop --resume, or check --out")
    return resume and "recipe.yaml" in held


def process_rank() -> int:
    """Which process this is, as torchrun, SLURM or Lightning's own launcher say; 0 where none does."""
    return next((int(os.environ[name]) for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK") if name in os.environ), 0)


def _essence(recipe: RunSettings) -> dict[str, object]:
    return {name: getattr(recipe, name) for name in recipe.__dataclass_fields__ if name not in ("log", "source", "name")}


def fit(
    module: StepModule, recipe: RunSettings, out: Path, *, device: str, devices: int, callbacks: list[pl.Callback], checkpoint: Path | None
) -> pl.Trainer:
    """Train until all steps are done.

    Args:
        module: what steps.
        recipe: how long, and how exactly.
        out: the run's folder.
        device: ``auto``, ``cpu`` or ``cuda``.
        devices: processes on this machine, unless torchrun or SLURM started several.
        callbacks: what watches.
        checkpoint: what to go on from; None starts anew.

    Raises:
        KeyboardInterrupt: it was stopped before its last step.
    """
    if recipe.precision == "float32" and torch.cuda.is_available():
        torch.set_float32_matmul_precision("high")
    with warnings.catch_warnings():
        # Lightning advises on loaders and loggers that this package does not have.
        warnings.filterwarnings("ignore", module="lightning")
        strategy = "ddp_find_unused_parameters_true" if module.partial else "ddp"
        trainer = _trainer(recipe, out, device=device, devices=devices, callbacks=callbacks, several=strategy)
        trainer.fit(module, _Count(recipe.steps), ckpt_path=checkpoint, weights_only=checkpoint is not None or None)
    if module.steps_done < recipe.steps:
        raise KeyboardInterrupt
    return trainer


def _trainer(recipe: RunSettings, out: Path, *, device: str, devices: int, callbacks: list[pl.Callback], several: str) -> pl.Trainer:
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
        strategy=several if devices * nodes > 1 else "auto",
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
