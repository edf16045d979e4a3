"""The figures of a report: numbers in, a drawing out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from followspot.viz.figures import Drawing, colour_of_method, dash_of_method, draw_figure, grid_lines, legend_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Course:
    """One method's mean over time, with its band."""

    name: str
    x: Floats
    """``(B,)``"""
    mean: Floats
    """``(B,)``; NaN leaves a gap."""
    low: Floats
    high: Floats


@dataclass(frozen=True, kw_only=True)
class Dots:
    """One method's points in a scatter."""

    name: str
    x: Floats
    """``(N,)``"""
    y: Floats
    """``(N,)``"""


def plot_courses(courses: Sequence[Course], *, xlabel: str, ylabel: str, name: str, percent: bool = False) -> Drawing:
    """Lines with bands, one a method, in [0, 1] upwards.

    Args:
        courses: at least one.
        xlabel: of the time axis.
        ylabel: of the measure.
        name: of the figure.
        percent: the time axis is a share, shown as percent.
    """

    def paint(figure: "Figure") -> None:
        axes = figure.subplots()
        for index, course in enumerate(courses):
            colour = colour_of_method(index)
            axes.fill_between(course.x, course.low, course.high, color=colour, alpha=0.16, linewidth=0)
            axes.plot(course.x, course.mean, color=colour, linestyle=dash_of_method(index), label=legend_name(course.name))
        _finish(figure, axes, xlabel=xlabel, ylabel=ylabel, entries=len(courses))
        axes.set_ylim(0, 1)
        axes.margins(x=0.01)
        if percent:
            axes.set_xlim(0, 1)
            axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")

    return draw_figure(paint, name=name, height=3.6)


def plot_bars(groups: Sequence[str], methods: Mapping[str, Floats], *, ylabel: str, name: str) -> Drawing:
    """Bars of several methods side by side, a group at a time; what is NaN has no bar.

    Args:
        groups: their labels.
        methods: ``(len(groups),)`` values in [0, 1] by name.
        ylabel: of the measure.
        name: of the figure.
    """

    def paint(figure: "Figure") -> None:
        axes = figure.subplots()
        thick = 0.8 / len(methods)
        for index, (label, values) in enumerate(methods.items()):
            place = np.arange(len(groups)) - 0.4 + (index + 0.5) * thick
            hatch = "" if index < 6 else "///"
            axes.bar(place, np.nan_to_num(values), 0.9 * thick, color=colour_of_method(index), label=legend_name(label), hatch=hatch)
        axes.set_xticks(np.arange(len(groups)), groups)
        _finish(figure, axes, xlabel="", ylabel=ylabel, entries=len(methods))
        axes.set_ylim(0, 1)

    return draw_figure(paint, name=name, width=max(7.2, 0.55 * len(groups) + 1))


def plot_dots(dots: Sequence[Dots], *, xlabel: str, ylabel: str, name: str) -> Drawing:
    """A scatter, one colour and shape a method.

    Args:
        dots: at least one method.
        xlabel: of the first measure.
        ylabel: of the second.
        name: of the figure.
    """

    def paint(figure: "Figure") -> None:
        axes = figure.subplots()
        for index, group in enumerate(dots):
            marker = "osD^vP"[index % 6]
            axes.scatter(
                group.x, group.y, s=34, color=colour_of_method(index), marker=marker, alpha=0.8, label=legend_name(group.name), linewidth=0
            )
        _finish(figure, axes, xlabel=xlabel, ylabel=ylabel, entries=len(dots))
        grid_lines(axes, axis="both")

    return draw_figure(paint, name=name, width=6.4, height=4.2)


def plot_reliability(predicted: Mapping[str, Floats], measured: Mapping[str, Floats], *, ylabel: str, name: str) -> Drawing:
    """Predicted confidence against measured overlap; on the diagonal a confidence means what it says.

    Args:
        predicted: bin means ``(bins,)`` by method; NaN for an empty bin.
        measured: the same, of what was measured.
        ylabel: what was measured.
        name: of the figure.
    """

    def paint(figure: "Figure") -> None:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color="#8b949e", linewidth=1, linestyle=(0, (4, 3)))
        for index, label in enumerate(predicted):
            known = ~np.isnan(predicted[label])
            line = (predicted[label][known], measured[label][known])
            axes.plot(
                *line, color=colour_of_method(index), linestyle=dash_of_method(index), marker="o", markersize=5, label=legend_name(label)
            )
        _finish(figure, axes, xlabel="predicted confidence", ylabel=ylabel, entries=len(predicted))
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        grid_lines(axes, axis="both")

    return draw_figure(paint, name=name, width=5.2, height=4.6)


def plot_training(panels: Mapping[str, Mapping[str, tuple[Floats, Floats]]], *, name: str) -> Drawing:
    """Training curves: one panel a quantity, one line a run, over steps.

    Args:
        panels: by quantity, then by run: steps ``(N,)`` and values ``(N,)``.
        name: of the figure.
    """
    across = min(2, len(panels))
    down = -(-len(panels) // across)

    def paint(figure: "Figure") -> None:
        grid = np.ravel(figure.subplots(down, across, squeeze=False))
        runs = list(dict.fromkeys(run for panel in panels.values() for run in panel))
        for axes, (quantity, lines) in zip(grid, panels.items(), strict=False):
            for run, (steps, values) in lines.items():
                index = runs.index(run)
                axes.plot(
                    steps, values, color=colour_of_method(index), linestyle=dash_of_method(index), linewidth=1.6, label=legend_name(run)
                )
            axes.set_title(quantity)
            axes.set_xlabel("step")
            grid_lines(axes)
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        _legend(figure, grid[0], len(runs) if len(runs) > 1 else 0)

    return draw_figure(paint, name=name, height=2.3 * down + 0.4)


def plot_matrix(values: Floats, *, xlabel: str, ylabel: str, name: str) -> Drawing:
    """A matrix as a picture, dark is low.

    Args:
        values: ``(rows, columns)``.
        xlabel: of the columns.
        ylabel: of the rows.
        name: of the figure.
    """

    def paint(figure: "Figure") -> None:
        axes = figure.subplots()
        picture = axes.imshow(values, cmap="cividis", interpolation="nearest", aspect="auto")
        axes.set(xlabel=xlabel, ylabel=ylabel)
        bar = figure.colorbar(picture, ax=axes, pad=0.02)
        bar.outline.set_visible(False)
        for part in (axes, bar.ax):
            part.tick_params(length=0)

    return draw_figure(paint, name=name, width=6.4, height=3.9)


def _finish(figure: "Figure", axes: "Axes", *, xlabel: str, ylabel: str, entries: int) -> None:
    axes.set(xlabel=xlabel, ylabel=ylabel)
    grid_lines(axes)
    _legend(figure, axes, entries)


def _legend(figure: "Figure", axes: "Axes", entries: int) -> None:
    """Above the axes, where it covers nothing."""
    if entries:
        handles, labels = axes.get_legend_handles_labels()
        columns = 4 if max(map(len, labels)) <= 18 else 2
        figure.legend(handles, labels, loc="outside upper left", ncols=min(entries, columns), handlelength=2.2, columnspacing=1.6)
