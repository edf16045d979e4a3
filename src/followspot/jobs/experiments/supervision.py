"""Supervised or self-supervised? The same propagation with features of every origin, in one table.

What cannot be had here (an extra that is not installed, weights that cannot be fetched) has a row that says so, and no number.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from followspot.benchmarks.base import Benchmark
from followspot.benchmarks.report import Report
from followspot.errors import EncoderError, SettingError
from followspot.io.files import write_atomic
from followspot.jobs.evaluate import Show, evaluate
from followspot.jobs.tables import Cell, Table
from followspot.jobs.tracker_choice import TrackerChoice
from followspot.jobs.trackers import find_tracker
from followspot.tracking.presets import Preset

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Origin = Literal["untrained", "hand-made", "self-supervised", "supervised"]

SUPERVISED = ("timm:resnet18", "timm:resnet50")
"""Trained on the labels of ImageNet; features at stride 8, as trackers take them."""


@dataclass(frozen=True, kw_only=True)
class Features:
    """Features and where they come from."""

    origin: Origin
    tracker: str
    """As ``--tracker`` takes it."""
    name: str | None = None
    """What to call it; None: as the tracker is called."""


@dataclass(frozen=True, kw_only=True)
class _Row:
    features: Features
    name: str
    report: Report | None
    reason: str = ""


def usual_features(*, weights: Sequence[str] = (), supervised: Sequence[str] = SUPERVISED) -> list[Features]:
    """What is compared.

    Args:
        weights: files or training runs of self-supervised encoders; ``NAME=PATH`` names one.
        supervised: encoders that learnt from labels.
    """
    own = []
    for text in weights:
        name, equals, path = text.partition("=")
        own.append(Features(origin="self-supervised", tracker=path if equals else text, name=name if equals else None))
    return [
        Features(origin="untrained", tracker="random:resnet18"),
        Features(origin="hand-made", tracker="descriptor"),
        Features(origin="self-supervised", tracker="followspot"),
        *own,
        *(Features(origin="supervised", tracker=name) for name in supervised),
    ]


def supervision(
    out: Path,
    features: Sequence[Features],
    benchmark: Benchmark,
    *,
    data: Path | None,
    preset: Preset,
    device: str = "auto",
    processes: int = 1,
    show_for: Callable[[str], Show] = lambda name: lambda stage, done, total: None,
) -> Table:
    """Scores all features; writes ``supervision.md``, ``.csv`` and ``.png``. What is finished in the folder is not done again.

    Args:
        out: folder for all of it.
        features: what to compare.
        benchmark: what is scored.
        data: where its files are; None for one without files.
        preset: how labels are propagated, the same for all.
        device: where to track.
        processes: sequences that run at once.
        show_for: gives what is told about the progress of a row.

    Raises:
        SettingError: a tracker does not exist, two have one name, or none can be had.
        OutputError: the folder holds results of other settings, or cannot be written.
    """
    specs = [find_tracker(it.tracker, preset=preset, name=it.name, device=device) for it in features]
    if len({spec.slug for spec in specs}) < len(specs):
        raise SettingError(f"two of {', '.join(spec.name for spec in specs)} have one name; name weights apart: --weights NAME=PATH")
    rows = []
    for it, spec in zip(features, specs, strict=True):
        report, reason = _score(benchmark, spec, out / spec.slug, data=data, processes=processes, show=show_for(spec.name))
        rows.append(_Row(features=it, name=spec.name, report=report, reason=reason))
    if all(row.report is None for row in rows):
        raise SettingError(f"none of the features can be had here: {rows[0].reason}")
    table = _table(rows, preset)
    table.save(out, "supervision")
    write_atomic(out / "supervision.png", _figure(rows))
    return table


def _score(
    benchmark: Benchmark, spec: TrackerChoice, out: Path, *, data: Path | None, processes: int, show: Show
) -> tuple[Report | None, str]:
    try:
        spec.build()
    except EncoderError as error:
        return None, str(error)
    return evaluate(benchmark, spec, out, data=data, processes=processes, show=show).require_report(), ""


def _table(rows: Sequence[_Row], preset: Preset) -> Table:
    some = next(row.report for row in rows if row.report is not None)
    cells: list[tuple[Cell, ...]] = []
    for row in rows:
        scores = [None] * len(some.scores) if row.report is None else list(row.report.scores.values())
        cells.append((row.name, row.features.origin, *scores, "not available" if row.report is None else ""))
    where = f"{some.benchmark} {some.split}, {some.protocol} protocol"
    missing = tuple(f"{row.name} is not available: {row.reason}" for row in rows if row.report is None)
    return Table(
        title=f"The same propagation (preset {preset.name}) with features of every origin, on {where}.",
        columns=("features", "origin", *some.scores, "remark"),
        rows=tuple(cells),
        notes=(some.note, *missing),
    )


def _figure(rows: Sequence[_Row]) -> bytes:
    from followspot.viz.figures import colour_of_method, draw_figure

    known = [(row.name, row.features.origin, row.report) for row in rows if row.report is not None][::-1]
    first = next(iter(known[0][2].scores))

    def paint(figure: "Figure") -> None:
        axes = figure.subplots()
        for order, origin in enumerate(get_args(Origin)):
            own = [(name, report.scores[first]) for name, its, report in known if its == origin]
            if own:
                axes.barh([name for name, _ in own], [value for _, value in own], color=colour_of_method(order), label=origin)
        axes.set_xlabel(first)
        axes.legend(fontsize=8)

    return draw_figure(paint, name="supervision", height=1.2 + 0.35 * len(known)).png
