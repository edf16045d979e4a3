"""Why are colours made classes? The same training with cross-entropy of colour clusters and with regression of colours.

A cell whose colour cannot be told has several plausible ones. Regression is best off with their mean, which is greyer; classes keep them
apart, so that the likeliest can be shown. So beside the tracking scores stands how saturated the predicted colours are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import torch
from torch import nn

from followspot.benchmarks.base import Benchmark
from followspot.benchmarks.report import Report
from followspot.errors import SettingError
from followspot.io.files import write_atomic
from followspot.jobs.evaluate import Show, evaluate
from followspot.jobs.experiments.clips import drawn_store, held_out_clips
from followspot.jobs.tables import Cell, Table
from followspot.jobs.trackers import TrackerSpec
from followspot.jobs.train import train
from followspot.objectives.base import ClipBatch, Objective
from followspot.ops.color import rgb_to_lab
from followspot.tracking.presets import PRESETS, Preset
from followspot.training.callbacks import last_checkpoint
from followspot.training.recipe import Recipe, read_recipe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Loss = Literal["ce", "l1", "huber", "l2"]
"""Cross-entropy of k-means clusters in ab; distances of ab colours."""

_HELD_OUT = 8
"""Clips on which colours are predicted; more changed the second digit."""
_GAP = 2
"""Frames between those shown of a held-out clip: the middle of the recipe's 1 to 3."""


@dataclass(frozen=True, kw_only=True)
class ColourClassesSettings:
    """How each network is trained; all that is not named is the recipe's.

    Raises:
        SettingError: nothing to train.
    """

    losses: tuple[Loss, ...] = get_args(Loss)
    steps: int = 200
    clips: int = 24
    """Drawn for training, where no store is given."""
    crop: int = 96
    """Side of the training crops, in pixels."""
    batch_size: int = 4
    seed: int = 0
    recipe: str = "colorization-small"
    preset: Preset = PRESETS["default"]

    def __post_init__(self) -> None:
        if not self.losses or self.steps < 1 or self.clips < 1:
            raise SettingError(f"{len(self.losses)} losses, {self.steps} steps and {self.clips} clips: each must be at least 1")

    def recipe_for(self, loss: Loss) -> Recipe:
        """The recipe with a loss; nothing else differs."""
        changes = {
            "name": f"colour-classes-{loss}",
            "objectives.colorization.loss": loss,
            "data.crop.size": self.crop,
            "data.where": "memory",
            "steps": self.steps,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "precision": "float32",
            "log.checkpoint_every": max(1, self.steps // 4),  # what a kill may cost
            "log.pictures_every": self.steps,
        }
        return read_recipe(self.recipe, changes=[f"{name}={value}" for name, value in changes.items()])


@dataclass(frozen=True, kw_only=True)
class Colours:
    """Predicted colours beside the true ones, over the targets of held-out clips."""

    saturation: float
    """Mean distance from grey in ab, of that of the true colours."""
    error: float
    """Mean distance in ab."""
    likeliest: float | None
    """Saturation where each cell has the likeliest of its classes, not their mean; None without classes."""


def colour_classes(
    out: Path,
    settings: ColourClassesSettings,
    benchmark: Benchmark,
    *,
    data: Path | None,
    store: Path | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    show_for: Callable[[str], Show] = lambda name: lambda stage, done, total: None,
) -> Table:
    """Trains with each loss and scores what was learnt; writes ``colour-classes.md``, ``.csv`` and ``.png``.

    What is finished in the folder is not done again; training that was stopped goes on.

    Args:
        out: folder for all of it.
        settings: how to train.
        benchmark: what is scored.
        data: where its files are; None for one without files.
        store: prepared clips to train on; None: drawn ones.
        device: where to train and track.
        show_for: gives what is told about the progress of a row.

    Raises:
        OutputError: the folder holds another experiment, or cannot be written.
        DatasetError: a sequence cannot be used.
    """
    if store is None:
        show = show_for("clips")
        store = drawn_store(out / "clips", clips=settings.clips, progress=lambda done, total: show("drawing", done, total))
    specs = {
        "identity": TrackerSpec(name="identity", method="identity"),
        "untrained": TrackerSpec(name="untrained", encoder="random:gray:resnet18", preset=settings.preset, device=device),
    }
    colours: dict[str, Colours] = {}
    for loss in settings.losses:
        run = out / loss
        weights = _trained(settings.recipe_for(loss), store, run, device=device)
        specs[loss] = TrackerSpec(name=loss, weights=weights, preset=settings.preset, device=device)
        colours[loss] = predicted_colours(settings.recipe_for(loss), run)
    reports = {
        name: evaluate(benchmark, spec, out / "results" / name, data=data, show=show_for(name)).require_report()
        for name, spec in specs.items()
    }
    table = _table(settings, reports, colours)
    table.save(out, "colour-classes")
    write_atomic(out / "colour-classes.png", _figure(settings, reports, colours))
    return table


def parse_losses(text: str) -> tuple[Loss, ...]:
    """Losses with commas between.

    Raises:
        SettingError: one does not exist.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    known = get_args(Loss)
    wrong = next((name for name in names if name not in known), None)
    if wrong is not None or not names:
        raise SettingError(f'--losses "{text}" is not understood; choose from {",".join(known)}, with commas between')
    return tuple(cast(Loss, name) for name in names)


def predicted_colours(recipe: Recipe, run: Path) -> Colours:
    """What a trained objective makes of held-out clips.

    Args:
        recipe: it was trained with.
        run: its folder.
    """
    encoder, objective = _last_state(recipe, run)
    size = recipe.data.crop.size
    clips = held_out_clips(_HELD_OUT, frames=recipe.data.pattern.frames, gap=_GAP, size=size)
    chroma, true_chroma, far, sharp = [], [], [], []
    for clip in clips:
        pictures = objective.pictures(ClipBatch(frames=clip[None], clean=clip[None]), encoder)
        said, true = (rgb_to_lab(pictures[name])[1:] for name in ("prediction", "target"))
        chroma.append(said.norm(dim=0).mean())
        true_chroma.append(true.norm(dim=0).mean())
        far.append((said - true).norm(dim=0).mean())
        if "likeliest" in pictures:
            sharp.append(rgb_to_lab(pictures["likeliest"])[1:].norm(dim=0).mean())
    return Colours(
        saturation=float(sum(chroma) / sum(true_chroma)),
        error=float(sum(far) / len(far)),
        likeliest=float(sum(sharp) / sum(true_chroma)) if sharp else None,
    )


def _trained(recipe: Recipe, store: Path, run: Path, *, device: Literal["auto", "cpu", "cuda"]) -> Path:
    weights = run / "encoder.safetensors"
    if not weights.is_file():
        train(recipe, store, run, resume=(run / "recipe.yaml").is_file(), device=device, progress=False)
    elif read_recipe(str(run / "recipe.yaml")).to_yaml() != recipe.to_yaml():
        raise SettingError(f"{run} was trained with other settings; choose another --out")
    return weights


def _last_state(recipe: Recipe, run: Path) -> tuple[nn.Module, Objective]:
    checkpoint = last_checkpoint(run / "checkpoints")
    if checkpoint is None:
        raise SettingError(f"{run} has no checkpoint; delete it to train again")
    state: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    encoder = recipe.build_encoder()
    objective = recipe.build_objective(dim=encoder.dim)
    for module, prefix in ((cast(nn.Module, encoder), "encoder."), (objective, "objective.")):
        module.load_state_dict({name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)})
        module.eval()
    return cast(nn.Module, encoder), objective


def _table(settings: ColourClassesSettings, reports: dict[str, Report], colours: dict[str, Colours]) -> Table:
    some = next(iter(reports.values()))
    rows: list[tuple[Cell, ...]] = []
    for name, report in reports.items():
        seen = colours.get(name)
        own = (None, None, None) if seen is None else (seen.saturation, seen.likeliest, seen.error)
        rows.append((name, *report.scores.values(), *own))
    where = f"{some.benchmark} {some.split}, {some.protocol} protocol"
    return Table(
        title=f"Colour classes against regression: {settings.recipe}, {settings.steps} steps, seed {settings.seed}; scored on {where}.",
        columns=("loss", *some.scores, "saturation", "saturation, likeliest", "colour error"),
        rows=tuple(rows),
        notes=(
            some.note,
            "ce: cross-entropy of k-means clusters in ab; l1, huber, l2: distances of ab colours; data, seed and steps are the same",
            "saturation: mean distance of predicted colours from grey, true ones being 1; colour error: distance in ab; on held-out clips",
            "likeliest: each cell in the likeliest of its classes instead of their mean, which only classes allow",
        ),
    )


def _figure(settings: ColourClassesSettings, reports: dict[str, Report], colours: dict[str, Colours]) -> bytes:
    from followspot.viz.figures import colour_of_method, draw_figure

    first = next(iter(next(iter(reports.values())).scores))

    def paint(figure: "Figure") -> None:
        left, right = figure.subplots(1, 2)
        names = list(reports)
        left.bar(names, [reports[name].scores[first] for name in names], color=[colour_of_method(order) for order in range(len(names))])
        left.set_ylabel(first)
        left.tick_params(axis="x", labelrotation=30)
        shown = [colour_of_method(order) for order, name in enumerate(names) if name in colours]
        right.bar(list(colours), [seen.saturation for seen in colours.values()], color=shown)
        sharp = [(name, seen.likeliest, colour) for (name, seen), colour in zip(colours.items(), shown, strict=True) if seen.likeliest]
        for name, value, colour in sharp:
            right.bar([f"{name},\nlikeliest"], [value], color=colour, alpha=0.6)
        right.axhline(1, color="#8b949e", linewidth=1)
        right.set_ylabel("saturation of predicted colours")

    return draw_figure(paint, name="colour-classes").png
