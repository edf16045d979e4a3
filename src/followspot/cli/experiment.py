"""``followspot experiment``: questions about learning to track, each answered by one command with a table and a figure."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Group, Parameter

from followspot.cli.options import EncoderOptions, PropagationOptions, build_preset, usable_device
from followspot.cli.progress import Stages

if TYPE_CHECKING:
    from followspot.benchmarks.base import Benchmark

_SCORED = Group("What is scored: drawn clips, or any benchmark", sort_key=2)


@Parameter(name="*", group=_SCORED)
@dataclass(frozen=True, kw_only=True)
class ScoredOptions:
    """What is scored."""

    benchmark: str = "synthetic"
    """Name of the benchmark, as for evaluate; synthetic needs no data."""
    data: Path | None = None
    """Folder of the benchmark as it unpacks."""
    split: str | None = None
    """Name of a list of sequences; default: the usual one."""
    protocol: str | None = None
    """Where a benchmark has several; default: the official one."""
    sequences: str | None = None
    """Names of sequences in that list, with commas between; default all."""


def same_colour(
    *,
    out: Path,
    clips: int = 2,
    frames: int = 24,
    radii: str = "all,24,12,6,3",
    contexts: str = "1,8",
    size: int = 192,
    encoder: EncoderOptions = EncoderOptions(),
    propagation: PropagationOptions = PropagationOptions(),
) -> None:
    """How often are two objects of one colour taken for each other?

    Two discs meet and part; varied are the reach of attention, what the encoder is shown (RGB, lightness, colour channels dropped), and how
    many frames are remembered. A minute on a CPU.

    Args:
        out: Folder for same-colour.md, same-colour.csv and same-colour.png.
        clips: Clips of each way to meet; more make the rates finer.
        frames: Of each clip.
        radii: Reaches of attention in cells, with commas between; all: everywhere.
        contexts: Numbers of frames remembered besides the first one, with commas between.
        size: Height of the clips in pixels; the width is 4/3 of it.
    """
    from followspot.jobs.experiments.numbers import parse_numbers
    from followspot.jobs.experiments.same_colour import SameColourSettings
    from followspot.jobs.experiments.same_colour import same_colour as run
    from followspot.models.encoder import load_encoder

    settings = SameColourSettings(
        radii=parse_numbers("--radii", radii, all_allowed=True),
        contexts=tuple(number for number in parse_numbers("--contexts", contexts) if number is not None),
        clips=clips,
        num_frames=frames,
        height=size,
        width=round(size * 4 / 3),
        preset=build_preset(propagation),
    )
    network = load_encoder(encoder.encoder, stride=encoder.stride, weights=encoder.weights)
    with Stages("clips") as progress:
        device = usable_device(encoder.device)
        table = run(out, network, settings, device=device, progress=lambda done, total: progress("tracking", done, total))
    _tell(table.text(), out, "same-colour")


def colour_classes(
    *,
    out: Path,
    steps: int = 200,
    clips: int = 24,
    store: Path | None = None,
    losses: str = "ce,l1,huber,l2",
    seed: int = 0,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    scored: ScoredOptions = ScoredOptions(),
    propagation: PropagationOptions = PropagationOptions(),
) -> None:
    """Why are colours made classes? The same small training with cross-entropy of clusters and with regression.

    A stopped experiment goes on when the same command is given again. Five minutes on a CPU; with --steps 30 --clips 4 one.

    Args:
        out: Folder for colour-classes.md, colour-classes.csv, colour-classes.png and the training runs.
        steps: Of training, for each loss.
        clips: Drawn for training, where no --store is given.
        store: Prepared clips to train on (followspot prepare); default: drawn ones.
        losses: Of ce, l1, huber and l2, with commas between.
        seed: Of all trainings.
        device: Where to compute; auto takes a GPU if there is one.
    """
    from followspot.jobs.experiments.colour_classes import ColourClassesSettings, parse_losses
    from followspot.jobs.experiments.colour_classes import colour_classes as run

    settings = ColourClassesSettings(losses=parse_losses(losses), steps=steps, clips=clips, seed=seed, preset=build_preset(propagation))
    with Stages(units={"scoring": "sequences", "drawing": "clips"}) as progress:
        table = run(
            out,
            settings,
            _open(scored),
            data=scored.data,
            store=store,
            device=device,
            show_for=lambda name: lambda stage, done, total: progress(name if stage == "tracking" else stage, done, total),
        )
    _tell(table.text(), out, "colour-classes")


def supervision(
    *,
    out: Path,
    weights: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    supervised: str = "timm:resnet18,timm:resnet50",
    processes: int = 1,
    device: str = "auto",
    scored: ScoredOptions = ScoredOptions(),
    propagation: PropagationOptions = PropagationOptions(),
) -> None:
    """Supervised or self-supervised? The same propagation with features of every origin.

    What cannot be had here has a row that says so. A stopped experiment goes on when the same command is given again.

    Args:
        out: Folder for supervision.md, supervision.csv, supervision.png and the results.
        weights: Weights of a self-supervised encoder, or a training run; NAME=PATH names it. May be given several times.
        supervised: Encoders that learnt from labels, with commas between.
        processes: Sequences that run at once.
        device: auto, cpu, cuda, cuda:1 ...
    """
    from followspot.jobs.experiments.supervision import supervision as run
    from followspot.jobs.experiments.supervision import usual_features

    names = [name.strip() for name in supervised.split(",") if name.strip()]
    with Stages(units={"scoring": "sequences"}) as progress:
        table = run(
            out,
            usual_features(weights=weights, supervised=names),
            _open(scored),
            data=scored.data,
            preset=build_preset(propagation),
            device=usable_device(device),
            processes=processes,
            show_for=lambda name: lambda stage, done, total: progress(name if stage == "tracking" else stage, done, total),
        )
    _tell(table.text(), out, "supervision")


def _open(scored: ScoredOptions) -> "Benchmark":
    from followspot.benchmarks.registry import open_benchmark
    from followspot.cli.tune import cut

    return cut(open_benchmark(scored.benchmark, scored.data, split=scored.split, protocol=scored.protocol), scored.sequences)


def _tell(text: str, out: Path, name: str) -> None:
    print(text)
    print(f"saved to {out}: {name}.md, {name}.csv, {name}.png")
