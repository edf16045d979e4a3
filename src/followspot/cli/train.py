"""``followspot train``."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from followspot.errors import SettingError


def train(
    recipe: Annotated[str, Parameter(help="Name of a recipe that comes with followspot, or a YAML file.")] = "default",
    /,
    *,
    data: Path | None = None,
    out: Path | None = None,
    changes: Annotated[tuple[str, ...], Parameter(name="--set", negative=())] = (),
    resume: bool = False,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    devices: int = 1,
    compile: bool = False,
    score_on: Path | None = None,
    score_split: str = "val",
    show: bool = False,
) -> None:
    """Train an encoder on unlabelled video.

    Kill it whenever you like: the same command with --resume goes on where it was.

    Args:
        data: Folder of prepared clips (followspot prepare).
        out: Folder for checkpoints, logs and encoder.safetensors; new, or that of the run to resume.
        changes: A setting that differs from the recipe, such as optimizer.lr=1e-3; may be given several times.
        resume: Go on with the run in --out.
        device: Where to compute; auto takes a GPU if there is one.
        devices: Processes on this machine; under torchrun or SLURM theirs count.
        compile: Compile the encoder: a minute more at the start; try whether your steps get faster.
        score_on: Folder in the layout of DAVIS with labelled clips to score the encoder on now and then.
        score_split: Name of a list in its ImageSets.
        show: Print the recipe as YAML and stop.
    """
    from followspot.training.recipe import read_recipe

    chosen = read_recipe(recipe, changes=changes)
    if show:
        print(chosen.to_yaml(), end="")
        return
    if data is None or out is None:
        raise SettingError("training needs --data STORE (made by followspot prepare) and --out FOLDER for what it leaves")
    from followspot.jobs.train import train as run

    score = None
    if score_on is not None:
        from followspot.benchmarks.davis import DavisBenchmark
        from followspot.jobs.scoring import tracking_score

        score = tracking_score(DavisBenchmark(score_on, split=score_split))
    result = run(chosen, data, out, resume=resume, device=device, devices=devices, compiled=compile, score=score)
    best = "" if result.best_score is None else f", best J&F {result.best_score:.3f} (best.safetensors)"
    print(f"{result.steps} steps ({result.skipped} skipped), loss {result.loss:.4f}{best}")
    print(f"saved to {result.weights}; use it: followspot track VIDEO ... --weights {result.weights}")
