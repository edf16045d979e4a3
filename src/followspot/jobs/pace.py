"""How many steps of training fit into a time, on this machine."""

import csv
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from followspot.datasets.store import ClipStore
from followspot.jobs.train import train
from followspot.training.recipe import Recipe
from followspot.training.run_settings import LogSettings

_TRIED = 4
"""Steps; the first is not counted, since it waits for the first clips and for memory."""
FEWEST = 10
"""Steps: fewer do not even end the warm-up of the learning rate."""


def fit_to_time(recipe: Recipe, store: ClipStore, scratch: Path, *, seconds: float, device: str) -> Recipe:
    """A recipe with as many steps as fit into a time, and at most as many as it had, in the precision that is fastest here.

    Args:
        recipe: what to train.
        store: on what.
        scratch: folder for a few steps that are tried; gone afterwards.
        seconds: how long training may take, this trial included.
        device: ``auto``, ``cpu`` or ``cuda``.

    Returns:
        The recipe with `steps` and `precision` filled in; never fewer than 10 steps.
    """
    begun = time.monotonic()
    paces = {
        precision: _pace(replace(recipe, precision=precision), store, scratch, device=device) for precision in _precisions(recipe, device)
    }
    precision = min(paces, key=lambda name: paces[name])
    left = seconds - (time.monotonic() - begun)
    return replace(recipe, precision=precision, steps=min(recipe.steps, max(FEWEST, int(left / paces[precision]))))


def _precisions(recipe: Recipe, device: str) -> tuple[Literal["float32", "bfloat16"], ...]:
    # Processors without bfloat16 arithmetic imitate it, several times slower; those with it are nearly twice as fast.
    on_gpu = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    return (recipe.precision,) if on_gpu or recipe.precision == "float32" else ("bfloat16", "float32")


def _pace(recipe: Recipe, store: ClipStore, scratch: Path, *, device: str) -> float:
    """Seconds a step."""
    rare = 10**6
    tried = replace(recipe, steps=_TRIED, log=LogSettings(every=1, pictures_every=rare, checkpoint_every=rare, keep=1, score_every=rare))
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        train(tried, store, scratch, device=device, progress=False)
        with (scratch / "metrics.csv").open(encoding="utf-8", newline="") as file:
            at = [float(row["seconds"]) for row in csv.DictReader(file)]
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return max(1e-3, (at[-1] - at[0]) / (len(at) - 1))
