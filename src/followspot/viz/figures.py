"""One look for all figures: drawn without a screen, as PNG for papers and as SVG that takes the colours of the page it stands on."""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito, Color Universal Design (2008): told apart by all kinds of colour vision; less black and yellow, which need a ground."""

_DASHES = ("solid", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)))
"""Where colours come round again, lines differ in their dashes."""

_INK = "#1f2328"
"""Text and axes. In the SVG it becomes the text colour of the page."""

_STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "text.color": _INK,
    "text.parse_math": False,  # names of methods may hold dollar signs
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": "#8b949e",
    "grid.alpha": 0.3,
    "grid.linewidth": 0.7,
    "lines.linewidth": 2.0,
    "legend.frameon": False,
    "savefig.dpi": 160,
    "svg.fonttype": "path",
}


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure in both forms."""

    svg: str
    """One ``<svg>`` element for a page: no fonts, no links, ink in ``currentColor``."""
    png: bytes
    """On white."""


def draw_figure(paint: Callable[["Figure"], None], *, name: str, width: float = 7.2, height: float = 3.4) -> Drawing:
    """Draw a figure in the house style.

    Args:
        paint: fills an empty figure.
        name: makes the ids inside the SVG its own, so that several fit into one page, and the same on every run.
        width: in inches.
        height: in inches.

    Returns:
        The figure as SVG and PNG; the same input gives the same bytes.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(width, height), layout="constrained")
        paint(figure)
        png, svg = io.BytesIO(), io.StringIO()
        figure.savefig(png, format="png", facecolor="white", metadata={"Software": None})
        figure.savefig(svg, format="svg", transparent=True, metadata={"Creator": None, "Date": None, "Format": None, "Type": None})
    return Drawing(svg=_for_a_page(svg.getvalue(), name), png=png.getvalue())


def colour_of_method(index: int) -> str:
    """The colour of the n-th method, as ``#rrggbb``; after the sixth they come round again, in other dashes."""
    return COLOURS[index % len(COLOURS)]


def dash_of_method(index: int) -> str | tuple[int, tuple[float, ...]]:
    """The dashes of the n-th method's line."""
    return _DASHES[index // len(COLOURS) % len(_DASHES)]


def legend_name(name: str) -> str:
    """A method's name as a legend takes it: short, and not beginning with an underscore, which matplotlib reads as "no entry".

    >>> legend_name("_x"), len(legend_name("x" * 60))
    (' _x', 44)
    """
    shown = name if len(name) <= 44 else f"{name[:43]}…"
    return f" {shown}" if shown.startswith("_") else shown


def grid_lines(axes: "Axes", *, axis: Literal["x", "y", "both"] = "y") -> None:
    """Faint lines to read values by."""
    axes.grid(visible=True, axis=axis)
    axes.tick_params(length=0)


def _for_a_page(svg: str, name: str) -> str:
    """The element alone, without what only a file needs, in the page's own ink."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg)
    svg = svg.replace("xlink:href", "href").replace(_INK, "currentColor")
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    # Letters and markers are defined anew in each figure; in one page ids must not repeat.
    own = re.sub(r"\W", "-", name)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{own}-", svg)
    head, rest = svg.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    label = re.sub(r"[^\w .-]", " ", name)
    return f'<svg {box[0] if box else ""} role="img" aria-label="{label}">{rest}'.strip()
