"""``followspot adapt``: fine-tune the encoder on your own videos, without labels."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Group, Parameter

from followspot.cli.progress import Stages
from followspot.errors import SettingError

_TRUTH = Group("Labels, where there are some: the true gain, which is reported and decides nothing", sort_key=2)


def adapt(
    video: Annotated[list[Path], Parameter(help="Videos, folders of frames, folders of videos.", negative="")],
    /,
    *,
    out: Path,
    minutes: float = 5.0,
    encoder: str | None = None,
    weights: Path | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    changes: Annotated[tuple[str, ...], Parameter(name="--set", negative=())] = (),
    workers: int | None = None,
    score_on: Annotated[Path | None, Parameter(group=_TRUTH)] = None,
    score_split: Annotated[str, Parameter(group=_TRUTH)] = "val",
    sequences: Annotated[str | None, Parameter(group=_TRUTH)] = None,
) -> None:
    """Fine-tune the encoder on your own videos, without labels.

    Both encoders follow things drawn from the videos themselves, and the better one is kept. A stopped run goes on when the same command is
    given again.

    Args:
        out: Folder for encoder.safetensors (the better one), report.json and all that led to them.
        minutes: What training may take; the checks before and after come on top.
        encoder: Network to start from; default: what the weights say, or the default encoder.
        weights: Weights to start from.
        device: Where to compute; auto takes a GPU if there is one.
        changes: A setting that differs from the recipe "adapt", such as optimizer.lr=3e-5; may be given several times.
        workers: Processes that prepare the videos and score; default one a core.
        score_on: Folder in the layout of DAVIS.
        score_split: Name of a list in its ImageSets.
        sequences: Names of sequences in that list, with commas between; default all.
    """
    from followspot.jobs.adapt import AdaptSettings
    from followspot.jobs.adapt import adapt as run
    from followspot.jobs.adapt_truth import TruthSource

    if score_on is None and sequences is not None:
        raise SettingError(f"--sequences {sequences} scores nothing alone; add --score-on FOLDER, or leave it out")
    truth = None
    if score_on is not None:
        names = None if sequences is None else tuple(name.strip() for name in sequences.split(",") if name.strip())
        truth = TruthSource(folder=score_on, split=score_split, sequences=names, workers=workers)
        truth.open()  # a wrong name should be told before minutes of work
    settings = AdaptSettings(minutes=minutes, changes=changes)
    report = run(video, out, encoder=encoder, weights=weights, settings=settings, device=device, workers=workers, truth=truth, bars=Stages)
    print(report.table(), end="")
    print(f"saved to {report.weights}; use it: followspot track VIDEO ... --weights {report.weights}")
