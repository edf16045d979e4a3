"""All checkpoints of a training run on a benchmark: which one tracks best.

out/step-00000500/encoder.safetensors   the encoder as it was then; network.safetensors of an online tracker
out/step-00000500/results/              what it did (`followspot.jobs.results`)
out/sweep.csv .md                       the table, the best first
out/best.safetensors                    the weights of its first row
"""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import torch
import yaml
from torch import nn

from followspot.benchmarks.base import Benchmark
from followspot.benchmarks.report import Report
from followspot.errors import DatasetError, EncoderError, SettingError
from followspot.io.files import atomic_path
from followspot.jobs.evaluate import Show, evaluate
from followspot.jobs.siamese import WEIGHTS_OF_RUN
from followspot.jobs.tables import Table, best_first
from followspot.jobs.tracker_choice import TrackerChoice
from followspot.models.online_networks import build_online_network, save_online_network
from followspot.models.weights import load_into, save_weights
from followspot.training.online_recipe import OnlineRecipe, is_online, parse_online_recipe
from followspot.training.recipe import parse_recipe

ENCODER_OF_RUN: Final = "encoder.safetensors"
"""What a training run of an encoder leaves."""
_NAME = re.compile(r"step-(\d+)\.ckpt")


@dataclass(frozen=True, kw_only=True)
class SweepReport:
    """What a sweep came to."""

    table: Table
    """A row for each checkpoint, the best first."""
    best_step: int
    best: Path
    """Weights of the best."""


def checkpoints_of(run: Path, *, steps: tuple[int, int] | None = None) -> list[tuple[int, Path]]:
    """The checkpoints of a training run, in order.

    Args:
        run: its folder.
        steps: only those from the first to the second, both included.

    Raises:
        DatasetError: there is none.
    """
    matches = [(_NAME.fullmatch(path.name), path) for path in (run / "checkpoints").glob("step-*.ckpt")]
    found = sorted((int(match[1]), path) for match, path in matches if match)
    if not found:
        raise DatasetError(f"{run} has no checkpoints/step-*.ckpt; give the folder of a training run")
    chosen = [(step, path) for step, path in found if steps is None or steps[0] <= step <= steps[1]]
    if not chosen:
        there = ", ".join(str(step) for step, _ in found)
        raise DatasetError(f"{run} has checkpoints at steps {there}, none of them in the range asked for; train with log.keep for more")
    return chosen


def parse_steps(text: str) -> tuple[int, int]:
    """A range of steps from ``100-2000``, or one from ``500``.

    Raises:
        SettingError: any other text.

    >>> parse_steps("100-2000"), parse_steps("500")
    ((100, 2000), (500, 500))
    """
    first, dash, last = text.partition("-")
    if not first.isdecimal() or (dash and not last.isdecimal()) or (dash and int(last) < int(first)):
        raise SettingError(f'steps "{text}" are not understood; write a range such as 100-2000, or one number')
    return int(first), int(last) if dash else int(first)


def export_weights(checkpoint: Path, folder: Path) -> Path:
    """Writes the encoder or online network of a checkpoint (the averaged one where there is one) as a weights file for every command.

    Args:
        checkpoint: of followspot's own training; nothing in it is executed.
        folder: gets ``encoder.safetensors`` or ``network.safetensors``.

    Returns:
        That file.

    Raises:
        EncoderError: the file is no such checkpoint.
        OutputError: the weights cannot be written.
    """
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
        ours, state = content["followspot"], content["state_dict"]
        said = yaml.safe_load(ours["recipe"])
        recipe = parse_online_recipe(said) if is_online(said) else parse_recipe(said)
    except Exception as error:  # torch says anything of a damaged file
        raise EncoderError(f"{checkpoint} is no checkpoint of followspot train ({type(error).__name__}: {error}); leave it out") from error
    prefix = "average.module." if any(name.startswith("average.module.") for name in state) else "encoder."
    own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    card: dict[str, Any] = {**recipe.about(), "steps": ours["steps_done"]}
    if isinstance(recipe, OnlineRecipe):
        network = build_online_network(recipe.network.name)
        load_into(network, own, source=checkpoint.name)
        save_online_network(folder / WEIGHTS_OF_RUN, network, card)
        return folder / WEIGHTS_OF_RUN
    encoder = recipe.build_encoder()
    load_into(cast(nn.Module, encoder), own, source=checkpoint.name)
    if recipe.encoder.dim is not None:
        card["dim"] = recipe.encoder.dim
    save_weights(folder / ENCODER_OF_RUN, cast(nn.Module, encoder), {**card, "encoder": encoder.name, "stride": encoder.stride})
    return folder / ENCODER_OF_RUN


def sweep(
    run: Path,
    benchmark: Benchmark,
    out: Path,
    *,
    data: Path | None,
    tracker: Callable[[Path, str], TrackerChoice],
    steps: tuple[int, int] | None = None,
    processes: int = 1,
    workers: int | None = None,
    show_for: Callable[[str], Show] = lambda name: lambda stage, done, total: None,
) -> SweepReport:
    """Evaluates the checkpoints of a run and keeps the weights of the best.

    What is complete in the output folder is not run again; checkpoints that were added since are.

    Args:
        run: folder of a training run.
        benchmark: what is run; its first score ranks.
        out: folder of the sweep.
        data: where the benchmark's files are; None for one without files.
        tracker: the tracker of a weights file, by a name.
        steps: only checkpoints in this range, both ends included.
        processes: sequences that run at once.
        workers: processes that score; None for one a core.
        show_for: gives what is told about the progress of a checkpoint.

    Raises:
        DatasetError: there is no checkpoint, or a sequence cannot be used.
        EncoderError: a checkpoint is unusable.
        OutputError: the folder holds results of other settings, or cannot be written.
    """
    reports: dict[int, Report] = {}
    for step, checkpoint in checkpoints_of(run, steps=steps):
        folder, name = _folder(out, step), f"step {step}"
        weights = _weights(folder) or export_weights(checkpoint, folder)
        spec = tracker(weights, name)
        results = _folder(out, step) / "results"
        done = evaluate(benchmark, spec, results, data=data, processes=processes, workers=workers, show=show_for(name))
        reports[step] = done.require_report()
        table = _table(run, reports)
        table.save(out, "sweep")
    best_step = cast(int, table.rows[0][0])
    best = out / "best.safetensors"
    with atomic_path(best) as partial:
        shutil.copyfile(cast(Path, _weights(_folder(out, best_step))), partial)
    return SweepReport(table=table, best_step=best_step, best=best)


def _weights(folder: Path) -> Path | None:
    """What was exported there, if anything."""
    return next((folder / name for name in (ENCODER_OF_RUN, WEIGHTS_OF_RUN) if (folder / name).is_file()), None)


def _folder(out: Path, step: int) -> Path:
    return out / f"step-{step:08d}"


def _table(run: Path, reports: dict[int, Report]) -> Table:
    any_report = next(iter(reports.values()))
    names = tuple(any_report.scores)
    rows = [(step, *(report.scores[name] for name in names)) for step, report in reports.items()]
    what = f"{any_report.benchmark} {any_report.split}, {any_report.protocol} protocol"
    return Table(
        title=f"Checkpoints of {run.name} on {what}. {any_report.note}",
        columns=("step", *names),
        rows=best_first(rows, 1, lower_is_better=names[0] in any_report.lower_is_better),
    )
