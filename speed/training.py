"""How much of the time of `followspot train` is not the network: against a bare loop over the same network and objective.

    python speed/training.py STORE [--recipe NAME] [--set a.b=c] [--rounds 8] [--block 25] [--json FILE]
    python speed/training.py --quick   # only whether all of it runs, on synthetic clips

STORE is a folder of clips from `followspot prepare`. The training is the real one with its loader, jitter, guarded steps, logs, TensorBoard
and checkpoints at the intervals of the recipe, in a temporary folder. After each block of its steps, through the hook that scores encoders
on the way, it waits while a copy of the network takes as many bare steps (zero_grad, objective, backward, step) on one batch that lies in
memory. So both run in one process, in turn, and a machine that others use slows both. The first block of each is warm-up.

Printed: seconds a step of both, the median of the ratio over blocks with its quartiles, and the share of its time that training waited for
the loader. While the bare steps run, the loader may get up to three batches a worker ahead, out of a block of 25.
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from torch import nn

from followspot.datasets.loader import ClipLoader, RawBatch
from followspot.datasets.store import ClipStore
from followspot.datasets.synthetic import SyntheticVideo
from followspot.io.writer import VideoWriter
from followspot.jobs.prepare import PrepareSettings, prepare
from followspot.jobs.train import train
from followspot.models.encoder import Encoder
from followspot.objectives.base import ClipBatch
from followspot.training.optimiser import apply_schedule, build_optimizer
from followspot.training.recipe import Recipe, read_recipe

BAR = 1.15
"""Training may take this many times as long as the bare loop."""


class BareLoop:
    """The network and objective of a recipe on one batch in memory.

    Args:
        recipe: of which.
        store: where the batch comes from.
    """

    def __init__(self, recipe: Recipe, store: ClipStore) -> None:
        self.recipe = recipe
        self.encoder = cast(nn.Module, recipe.build_encoder())
        self.objective = recipe.build_objective(dim=cast(Encoder, self.encoder).dim)
        self.optimizer = build_optimizer(nn.ModuleDict({"encoder": self.encoder, "objective": self.objective}), recipe.optimizer)
        data = recipe.data
        loader = ClipLoader(store, pattern=data.pattern, crop=data.crop, batch_size=recipe.batch_size, seed=recipe.seed)
        frames = next(iter(loader)).frames.float() / 255
        self.clips = ClipBatch(frames=frames, clean=frames)
        apply_schedule(self.optimizer, recipe.optimizer, step=recipe.steps // 2, total_steps=recipe.steps)

    def run(self, steps: int) -> float:
        """Seconds that so many steps take."""
        start = time.perf_counter()
        for _ in range(steps):
            self.optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=self.recipe.precision == "bfloat16"):
                loss = self.objective(self.clips, self.encoder).loss
            loss.backward()
            self.optimizer.step()
        return time.perf_counter() - start


class Turns:
    """Called by training after each block of its steps.

    Args:
        bare: what then runs.
        block: steps.
    """

    def __init__(self, bare: BareLoop, block: int) -> None:
        self._bare, self._block = bare, block
        self.ours: list[float] = []
        self.bares: list[float] = []
        self.waits: list[float] = []
        self._begun, self._waited = time.perf_counter(), 0.0

    def __call__(self, encoder: nn.Module) -> float:
        """Note training's seconds since the last call and take the bare steps."""
        self.ours.append(time.perf_counter() - self._begun)
        self.waits.append(self._waited)
        with torch.enable_grad():
            self.bares.append(self._bare.run(self._block))
        self._waited = 0.0
        self._begun = time.perf_counter()
        return 0.0

    def timed(self, batches: Iterator[RawBatch]) -> Iterator[RawBatch]:
        """The same batches, with the time until each added up."""
        while True:
            start = time.perf_counter()
            batch = next(batches)
            self._waited += time.perf_counter() - start
            yield batch


def measure(recipe: Recipe, store: ClipStore, *, block: int) -> Turns:
    """Train with bare steps between the blocks."""
    turns = Turns(BareLoop(recipe, store), block)
    plain = ClipLoader.__iter__
    ClipLoader.__iter__ = lambda loader: turns.timed(plain(loader))  # type: ignore[method-assign]  # nobody else needs this hook
    try:
        with tempfile.TemporaryDirectory() as folder:
            train(recipe, store, Path(folder), device="cpu", score=turns, progress=False)
    finally:
        ClipLoader.__iter__ = plain  # type: ignore[method-assign]
    return turns


def synthetic_store(root: Path) -> Path:
    """Two tiny clips."""
    for seed in range(2):
        with VideoWriter(root / "videos" / f"{seed}.mp4", height=64, width=96, fps=24) as writer:
            for frame in SyntheticVideo(seed, num_frames=40, height=64, width=96):
                writer.write(frame.image)
    prepare([root / "videos"], root / "store", settings=PrepareSettings(), workers=1)
    return root / "store"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path, nargs="?")
    parser.add_argument("--recipe", default="random_walk-small")
    parser.add_argument("--set", action="append", default=[], metavar="a.b=c")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--block", type=int, default=25)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    if given.quick:
        given.rounds, given.block = 2, 2
        given.set += ["data.crop.size=64", "batch_size=2", "data.workers=0"]
    elif given.store is None:
        parser.error("name a STORE, or --quick")
    with tempfile.TemporaryDirectory() as folder:
        report(given, given.store or synthetic_store(Path(folder)))


def report(given: argparse.Namespace, store: Path) -> None:
    """Measure as asked for."""
    recipe = read_recipe(given.recipe, changes=given.set)
    steps = given.block * (given.rounds + 1)
    recipe = replace(recipe, steps=steps, log=replace(recipe.log, score_every=given.block))
    turns = measure(recipe, ClipStore(store), block=given.block)
    ours, bare, waits = turns.ours[1:], turns.bares[1:], turns.waits[1:]
    low, ratio, high = statistics.quantiles([mine / other for mine, other in zip(ours, bare, strict=True)], n=4, method="inclusive")
    result = {
        "recipe": given.recipe,
        "changes": given.set,
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "steps": given.block * len(ours),
        "training_seconds_per_step": statistics.median(ours) / given.block,
        "bare_seconds_per_step": statistics.median(bare) / given.block,
        "ratio": ratio,
        "ratio_quartiles": [low, high],
        "loader_waiting_share": sum(waits) / sum(ours),
    }
    for name, value in result.items():
        print(f"{name:>26}: {value:.4f}" if isinstance(value, float) else f"{name:>26}: {value}")
    print(f"{'within 15 %':>26}: {'yes' if ratio <= BAR else 'no'}")
    if given.json:
        given.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
