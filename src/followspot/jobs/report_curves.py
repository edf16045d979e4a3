"""The figures of a report that need nothing but the reports: over time, calibration of confidence, training."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from followspot.errors import DatasetError
from followspot.jobs.report_graph import Graph
from followspot.jobs.report_page import Cell, Markup, Section, Table, downloads, missing, paragraph, slug, table
from followspot.jobs.report_runs import EvaluationRun, Group, TrainingRun, group_heading
from followspot.jobs.report_text import to_csv
from followspot.metrics.calibration import alarms, alarms_at, reliability, roc_area
from followspot.metrics.over_time import Band, bootstrap_band, in_bins, on_frames
from followspot.viz.figures import Drawing
from followspot.viz.plots import Course, plot_courses, plot_reliability, plot_training

Floats = NDArray[np.float64]
Curve = tuple[float | None, ...]

BINS = 20
"""Of normalised time; fine enough to see a loss, coarse enough for videos of 25 frames (the shortest of DAVIS)."""

CONFIDENCE = "confidence.csv"
"""Beside ``report.json``: sequence, object, frame, confidence, j; one line an answer, both numbers in [0, 1]."""

_TOLERATED = 0.2
"""Share of the good answers that may be flagged: one needless look in five."""

_FEWEST = 0.25
"""Share of the objects whose videos must last that long for a mean over them to be drawn; the table has all frames."""

_FIRST_PANELS = ("loss", "lr", "samples_per_second")
_NOT_DRAWN = ("step", "seconds", "skipped")
_MOST_PANELS = 8


def over_time_section(groups: Sequence[Group]) -> Section:
    """The benchmark's measure over the course of a video, on normalised time and on frame numbers, with bands."""
    body: list[Markup] = []
    files: dict[str, bytes] = {}
    for group in groups:
        curves = {run.name: curves_of(run) for run in group.runs if curves_of(run)}
        if not curves:
            body += [
                *group_heading(group, groups),
                missing("This benchmark has no measure in every frame, so there is no course over time."),
            ]
            continue
        number = len(next(iter(curves.values())))
        note = f"Means over {number} objects. Bands are 95 % bootstrap intervals, objects drawn 1000 times with seed 0."
        graphs = (over_normalised_time(curves, group), over_frames(curves, group))
        body += [*group_heading(group, groups), paragraph(note), *(graph.markup for graph in graphs)]
        for graph in graphs:
            files |= graph.files
    return Section(id="over-time", title="Over time", body=tuple(body), files=files)


def curves_of(run: EvaluationRun) -> list[Curve]:
    """The curves of a run's objects; those without a scored frame are left out."""
    return [row.curve for row in run.report.rows if any(value is not None for value in row.curve)]


def over_normalised_time(curves: Mapping[str, Sequence[Curve]], group: Group) -> Graph:
    """Mean and band in `BINS` parts of each object's time.

    Args:
        curves: of the objects, by method.
        group: what they are of.
    """
    edges = np.linspace(0, 1, BINS + 1)
    middle = (edges[1:] + edges[:-1]) / 2
    bands = {name: bootstrap_band(np.array([in_bins(curve, bins=BINS) for curve in found])) for name, found in curves.items()}
    rows = tuple((name, *map(float, edges[bin : bin + 2]), *_row(band, bin)) for name, band in bands.items() for bin in range(BINS))
    measure = group.report.curve
    return Graph(
        stem=f"over-time-normalised-{slug(group.title)}",
        drawing=_draw(bands, middle, measure, xlabel="time in the video", name=f"normalised {group.title}"),
        table=Table(columns=("method", "from", "to", "mean", "low", "high", "objects"), rows=rows),
        caption=f"{measure} against time in the video, from the object's first scored frame (0 %) to its last (100 %), in {BINS} bins.",
    )


def over_frames(curves: Mapping[str, Sequence[Curve]], group: Group) -> Graph:
    """Mean and band at each frame number.

    Args:
        curves: of the objects, by method.
        group: what they are of.
    """
    bands = {name: bootstrap_band(on_frames(found)) for name, found in curves.items()}
    rows = tuple((name, frame, *_row(band, frame)) for name, band in bands.items() for frame in range(len(band.mean)) if band.count[frame])
    longest = max(len(band.mean) for band in bands.values())
    measure = group.report.curve
    return Graph(
        stem=f"over-time-frames-{slug(group.title)}",
        drawing=_draw(bands, np.arange(longest, dtype=np.float64), measure, xlabel="frame", name=f"frames {group.title}"),
        table=Table(columns=("method", "frame", "mean", "low", "high", "objects"), rows=rows),
        caption=f"{measure} against the frame number, drawn while at least a quarter of the objects are in videos that long.",
    )


def calibration_section(groups: Sequence[Group]) -> Section:
    """Predicted confidence against measured overlap, of the runs that kept a `CONFIDENCE` file."""
    body: list[Markup] = []
    files: dict[str, bytes] = {}
    for group in groups:
        answers = {run.name: read_confidence(run.folder / CONFIDENCE) for run in group.runs if (run.folder / CONFIDENCE).is_file()}
        if answers:
            graph, rates = _calibration(answers, group)
            own = {f"tables/alarms-{slug(group.title)}.csv": to_csv(rates).encode()}
            body += [*group_heading(group, groups), graph.markup, table(rates, caption=f"Alarms, {group.title}"), downloads(own)]
            files |= graph.files | own
    if not body:
        body = [missing(f"None of the runs has a {CONFIDENCE} beside its report, so there is nothing to compare the overlap with.")]
    return Section(id="confidence", title="Confidence", body=tuple(body), files=files)


def read_confidence(path: Path) -> tuple[Floats, Floats]:
    """Confidence and overlap ``(N,)`` of every answer in a `CONFIDENCE` file; frames without an overlap are left out.

    Raises:
        DatasetError: a column is missing, or a cell is no number in [0, 1].
    """
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        try:
            pairs = [(float(line["confidence"]), float(line["j"])) for line in reader if line["j"] and line["confidence"]]
            values = np.array(pairs, np.float64).reshape(-1, 2)
            if not len(values) or not ((values >= 0) & (values <= 1)).all():
                raise ValueError("confidence and j must lie in [0, 1], and there must be one line at least")
        except (KeyError, ValueError, TypeError) as error:
            raise DatasetError(f"{path}:{reader.line_num} is no line of confidences ({error}); write it anew or remove the file") from error
    return values[:, 0], values[:, 1]


def training_section(runs: Sequence[TrainingRun]) -> Section:
    """Loss, learning rate and the objective's own numbers over the steps of training."""
    columns = list(dict.fromkeys(name for run in runs for name in run.columns if name not in _NOT_DRAWN))
    columns.sort(key=lambda name: _FIRST_PANELS.index(name) if name in _FIRST_PANELS else len(_FIRST_PANELS))
    panels = {name: {run.name: (run.columns["step"], run.columns[name]) for run in runs if name in run.columns} for name in columns}
    shown = dict(list(panels.items())[:_MOST_PANELS])
    rows = tuple(
        (run.name, *(float(run.columns[name][index]) if name in run.columns else None for name in ("step", "seconds", *columns)))
        for run in runs
        for index in range(len(run.columns["step"]))
    )
    graph = Graph(
        stem="training",
        drawing=plot_training(shown, name="training"),
        table=Table(columns=("run", "step", "seconds", *columns), rows=rows),
        caption="What the runs logged while they trained.",
    )
    return Section(id="training", title="Training", body=(_last_values(runs), graph.markup), files=graph.files)


def _calibration(answers: Mapping[str, tuple[Floats, Floats]], group: Group) -> tuple[Graph, Table]:
    found = {name: reliability(*pair) for name, pair in answers.items()}
    rows: list[tuple[Cell, ...]] = [
        (name, *map(float, (curve.predicted[bin], curve.measured[bin])), int(curve.count[bin]))
        for name, curve in found.items()
        for bin in range(len(curve.count))
        if curve.count[bin]
    ]
    measure = group.report.curve or "overlap"
    predicted, measured = ({name: getattr(curve, side) for name, curve in found.items()} for side in ("predicted", "measured"))
    graph = Graph(
        stem=f"calibration-{slug(group.title)}",
        drawing=plot_reliability(predicted, measured, ylabel=f"measured {measure}", name=f"calibration {group.title}"),
        table=Table(columns=("method", "predicted", "measured", "answers"), rows=tuple(rows)),
        caption="Predicted confidence against measured overlap, in ten bins. On the dashed line a confidence means what it says.",
    )
    return graph, _alarm_table(answers)


def _alarm_table(answers: Mapping[str, tuple[Floats, Floats]]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name, pair in answers.items():
        lost, best = alarms(*pair, threshold=0.5), alarms_at(*pair, false_alarms=_TOLERATED)
        error, area = reliability(*pair).error, roc_area(*pair)
        rows.append((name, error, area, lost.recall, lost.false_alarms, best.recall, lost.bad, lost.good))
    found = ("bad answers found", "false alarms", f"found at {_TOLERATED:.0%} false alarms".replace("%", " %"))
    columns = ("method", "calibration error", "area under ROC", *found, "bad answers", "good answers")
    return Table(columns=columns, rows=tuple(rows))


def _draw(bands: Mapping[str, Band], x: Floats, measure: str, *, xlabel: str, name: str) -> Drawing:
    courses = []
    for label, band in bands.items():
        drawn = band.count >= _FEWEST * band.count.max()
        mean, low, high = (np.where(drawn, values, np.nan) for values in (band.mean, band.low, band.high))
        courses.append(Course(name=label, x=x[: len(mean)], mean=mean, low=low, high=high))
    return plot_courses(courses, xlabel=xlabel, ylabel=measure, name=name, percent=xlabel != "frame")


def _row(band: Band, index: int) -> tuple[float | int, ...]:
    return float(band.mean[index]), float(band.low[index]), float(band.high[index]), int(band.count[index])


def _last_values(runs: Sequence[TrainingRun]) -> Markup:
    rows = []
    for run in runs:
        loss = run.columns.get("loss", np.array([np.nan]))
        seconds = run.columns.get("seconds", np.array([np.nan]))
        rows.append((run.name, int(run.columns["step"][-1]), float(seconds[-1]) / 60, float(loss[0]), float(loss[-1])))
    content = Table(columns=("run", "steps", "minutes", "first loss", "last loss"), rows=tuple(rows))
    return table(content, caption="Training runs")
