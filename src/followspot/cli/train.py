"""``followspot train``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from followspot.errors import SettingError

if TYPE_CHECKING:
    from followspot.training.online_recipe import OnlineRecipe

_FIRST = "first."


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
    """Train an encoder on unlabelled video, or an online tracker.

    Kill it whenever you like: the same command with --resume goes on where it was.

    Args:
        data: Folder of prepared clips (followspot prepare); for an online tracker of targets (followspot targets), or of clips, of which
            targets are then made first.
        out: Folder for checkpoints, logs and weights; new, or that of the run to resume.
        changes: A setting that differs from the recipe, such as optimizer.lr=1e-3; may be given several times. Where a recipe begins with
            another, first.steps=100 is for that one.
        resume: Go on with the run in --out.
        device: Where to compute; auto takes a GPU if there is one.
        devices: Processes on this machine; under torchrun or SLURM theirs count.
        compile: Compile the encoder: a minute more at the start; try whether your steps get faster.
        score_on: Folder in the layout of DAVIS with labelled clips to score the encoder on now and then.
        score_split: Name of a list in its ImageSets.
        show: Print the recipe as YAML and stop.
    """
    from followspot.training.online_recipe import is_online, parse_online_recipe
    from followspot.training.recipe import parse_recipe, read_content

    first = tuple(change.removeprefix(_FIRST) for change in changes if change.startswith(_FIRST))
    content = read_content(recipe, changes=[change for change in changes if not change.startswith(_FIRST)])
    online = is_online(content)
    if online:
        chosen_online = parse_online_recipe(content)
        text = chosen_online.to_yaml()
    else:
        chosen = parse_recipe(content)
        text = chosen.to_yaml()
    if show:
        print(text, end="")
        return
    if data is None or out is None:
        made_by = "followspot targets" if online else "followspot prepare"
        raise SettingError(f"training needs --data STORE (made by {made_by}) and --out FOLDER for what it leaves")
    if online:
        if score_on is not None or compile:
            raise SettingError(
                "an online tracker is judged on the videos that its recipe holds out and is not compiled; leave these options out"
            )
        _train_online(chosen_online, data, out, first=first, resume=resume, device=device, devices=devices)
        return
    if first:
        raise SettingError(f"{_FIRST}{first[0]} is for recipes that begin with another; {recipe} does not; leave it out")
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


def _train_online(
    recipe: "OnlineRecipe", data: Path, out: Path, *, first: tuple[str, ...], resume: bool, device: str, devices: int
) -> None:
    from followspot.cli.progress import Stages
    from followspot.jobs.train_online import check_first, prepare_targets, train_online

    check_first(recipe, first)  # before hours are spent on targets
    with Stages("clips") as progress:
        targets = prepare_targets(data, out, resume=resume, show=progress)
    result = train_online(recipe, targets, out, resume=resume, device=device, devices=devices, first_changes=first)
    print(f"{result.steps} steps ({result.skipped} skipped), loss {result.loss:.4f}")
    print(f"saved to {result.weights}; use it: followspot track VIDEO --box x,y,w,h --tracker {result.weights}")
