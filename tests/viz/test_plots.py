"""Figures: the same bytes every time, no links, ids of their own, and what is drawn is what was given."""

import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from followspot.viz.figures import COLOURS, colour_of_method, dash_of_method, draw_figure, legend_name
from followspot.viz.plots import Course, Dots, plot_bars, plot_courses, plot_dots, plot_matrix, plot_reliability, plot_training

X = np.linspace(0, 1, 5)
NAN = np.full(5, np.nan)


def course(name, mean):
    return Course(name=name, x=X, mean=mean, low=mean - 0.1, high=mean + 0.1)


def all_plots():
    yield plot_courses([course("a", X), course("b", X[::-1])], xlabel="time", ylabel="J", name="courses", percent=True)
    yield plot_courses([Course(name="a", x=X, mean=X, low=NAN, high=NAN)], xlabel="time", ylabel="J", name="no band")
    yield plot_bars(["AC", "BC"], {"a": np.array([0.2, np.nan]), "b": np.array([0.4, 0.9])}, ylabel="J", name="bars")
    yield plot_dots([Dots(name="a", x=X, y=X)], xlabel="colour", ylabel="J", name="dots")
    yield plot_reliability({"a": X}, {"a": X}, ylabel="J", name="reliability")
    yield plot_training({"loss": {"run": (X, X)}, "lr": {"run": (X, X), "other": (X, X)}, "z": {"run": (X, NAN)}}, name="training")
    yield plot_matrix(np.eye(4), xlabel="keys", ylabel="queries", name="matrix")


PLOTS = list(all_plots())


@pytest.mark.parametrize("drawing", PLOTS)
def test_figures_stand_alone(drawing):
    assert drawing.svg.startswith("<svg")
    assert drawing.svg.endswith("</svg>")
    assert "http" not in drawing.svg
    assert "url(" not in re.sub(r"url\(#[\w-]+\)", "", drawing.svg)
    root = ElementTree.fromstring(drawing.svg)
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    links = [value for element in root.iter() for key, value in element.items() if key == "href"]
    assert all(link[1:] in ids if link.startswith("#") else link.startswith("data:image/png") for link in links)
    assert "currentColor" in drawing.svg
    assert Image.open(io.BytesIO(drawing.png)).width > 600


def test_figures_of_one_page_share_no_ids():
    ids = [set(re.findall(r'\bid="([^"]+)"', drawing.svg)) for drawing in PLOTS]
    assert sum(map(len, ids)) == len(set.union(*ids))


def test_the_same_numbers_give_the_same_bytes():
    again = list(all_plots())
    assert [drawing.svg for drawing in again] == [drawing.svg for drawing in PLOTS]
    assert [drawing.png for drawing in again] == [drawing.png for drawing in PLOTS]


def test_every_method_has_its_own_line():
    looks = {(colour_of_method(index), str(dash_of_method(index))) for index in range(4 * len(COLOURS))}
    assert len(looks) == 4 * len(COLOURS)


def test_colours_are_told_apart_without_red_or_green():
    """A crude dichromat, to whom red and green are one channel, their mean."""
    rgb = np.array([[int(colour[k : k + 2], 16) for k in (1, 3, 5)] for colour in COLOURS], float)
    merged = np.stack([rgb[:, :2].mean(1), rgb[:, 2]], axis=1)
    distances = np.linalg.norm(merged[:, None] - merged, axis=2)[~np.eye(len(COLOURS), dtype=bool)]
    assert distances.min() > 25


def test_names_are_drawn_as_they_are():
    for name in ("$x^2$", "_hidden", "a<b&c"):
        assert plot_courses([course(name, X)], xlabel="t", ylabel="J", name="names").svg.count("<use") > 10
    assert legend_name("m" * 80).endswith("…")


def test_drawn_values_are_the_given_ones():
    values = {}

    def paint(figure):
        axes = figure.subplots()
        axes.plot([0, 1], [0.25, 0.75])
        values.update(zip(("x", "y"), axes.lines[0].get_data(), strict=True))

    drawing = draw_figure(paint, name="plain", width=3, height=2)
    assert values["y"].tolist() == [0.25, 0.75]
    assert 'viewBox="0 0 216 144"' in drawing.svg
