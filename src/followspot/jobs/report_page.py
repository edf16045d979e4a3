"""The page of a report: one HTML file that needs no other, built from sections. Everything that is not markup is escaped here."""

import base64
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from string import Template
from types import MappingProxyType
from typing import NewType

import numpy as np
from numpy.typing import NDArray

from followspot.errors import OutputError
from followspot.viz.figures import Drawing

Markup = NewType("Markup", str)
"""HTML that is safe to put on the page."""

Cell = str | float | int | None
"""A table's cell; None and NaN are shown as a dash and stay at the end of every order."""

MOST_BYTES = 20_000_000
"""A page that is larger cannot be sent around."""

_HERE = Path(__file__)


@dataclass(frozen=True, kw_only=True)
class Section:
    """One part of the page, and the files that lie beside the page for it."""

    id: str
    """Letters and dashes; links lead to it."""
    title: str
    body: tuple[Markup, ...]
    files: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}))
    """Path below the report's folder to content."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Columns and rows, for the page, and for CSV, Markdown and LaTeX alike."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    wordy: frozenset[str] = frozenset()
    """Columns that hold sentences."""
    own: frozenset[int] = frozenset()
    """Rows that stand out: what was measured here."""
    decimals: int = 3

    def without_empty_columns(self) -> "Table":
        """The same less the columns in which no row says anything."""
        kept = [index for index in range(len(self.columns)) if any(row[index] not in ("", None) for row in self.rows)]
        rows = tuple(tuple(row[index] for index in kept) for row in self.rows)
        return replace(self, columns=tuple(self.columns[index] for index in kept), rows=rows)

    def is_numeric(self, column: int) -> bool:
        """Whether a column holds numbers and gaps only."""
        known = [row[column] for row in self.rows if row[column] is not None]
        return bool(known) and not any(isinstance(value, str) for value in known)


def paragraph(sentence: str) -> Markup:
    """A paragraph."""
    return Markup(f"<p>{escape(sentence)}</p>")


def missing(sentence: str) -> Markup:
    """What could not be shown, and what would make it appear."""
    return Markup(f'<p class="missing">{escape(sentence)}</p>')


def heading(text: str) -> Markup:
    """A heading inside a section."""
    return Markup(f"<h3>{escape(text)}</h3>")


def figure(drawing: Drawing, caption: str) -> Markup:
    """A drawn figure, in the colours of the page."""
    return Markup(f"<figure>{drawing.svg}<figcaption>{escape(caption)}</figcaption></figure>")


def photo(image: NDArray[np.uint8], caption: str, *, quality: int = 82, widest: int = 1280) -> Markup:
    """A picture that opens large when chosen.

    Args:
        image: RGB ``(H, W, 3)``.
        caption: below it, and what a screen reader says.
        quality: of WebP, 1 to 100.
        widest: pixels; wider pictures are made smaller.
    """
    source = data_uri(webp(image, quality=quality, widest=widest), "image/webp")
    said = escape(caption, quote=True)
    return Markup(
        f'<figure><button type="button" class="zoom"><img src="{source}" alt="{said}" loading="lazy"></button>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def film(mp4: bytes, caption: str) -> Markup:
    """A short video without sound that repeats."""
    source = data_uri(mp4, "video/mp4")
    return Markup(
        f'<figure><video src="{source}" controls loop muted playsinline preload="metadata"></video>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def strips(figures: Sequence[Markup]) -> Markup:
    """Wide pictures close below each other, each under its name."""
    return Markup(f'<div class="strips">{"".join(figures)}</div>')


def pairs(figures: Sequence[Markup]) -> Markup:
    """Figures side by side, as many as fit."""
    return Markup(f'<div class="pair">{"".join(figures)}</div>')


def facts(entries: Mapping[str, str]) -> Markup:
    """Names and what they are."""
    return Markup("<dl>" + "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in entries.items()) + "</dl>")


def table(content: Table, *, caption: str) -> Markup:
    """A table that is sorted by a click on a column's head, or Enter there.

    Args:
        content: what to show.
        caption: says to a screen reader what it is.
    """
    numeric = [content.is_numeric(column) for column in range(len(content.columns))]
    heads = "".join(
        f'<th scope="col"{_class("n" if number else "")}><button type="button">{escape(name)}</button></th>'
        for name, number in zip(content.columns, numeric, strict=True)
    )
    kinds = ["n" if number else "w" if name in content.wordy else "" for name, number in zip(content.columns, numeric, strict=True)]
    rows = "".join(
        f"<tr{_class('own' if index in content.own else '')}>"
        + "".join(_cell(value, kind, content.decimals) for value, kind in zip(row, kinds, strict=True))
        + "</tr>"
        for index, row in enumerate(content.rows)
    )
    tall = " tall" if len(content.rows) > 24 else ""
    return Markup(
        f'<div class="scroll{tall}" tabindex="0" role="region" aria-label="{escape(caption, quote=True)}"><table class="sortable">'
        f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def downloads(files: Mapping[str, bytes]) -> Markup:
    """Links that save small text files out of the page itself.

    Args:
        files: as in `Section`; only the name after the last slash is kept.
    """
    links = [
        f'<a download="{escape(Path(name).name, quote=True)}" href="{data_uri(data, "text/plain")}">{escape(Path(name).name)}</a>'
        for name, data in files.items()
    ]
    return Markup(f'<p class="files">Save as {", ".join(links)}</p>')


def json_block(value: object) -> Markup:
    """Data for the page's script."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return Markup(f'<script type="application/json">{text}</script>')


def webp(image: NDArray[np.uint8], *, quality: int = 82, widest: int = 1280) -> bytes:
    """A picture as WebP.

    Args:
        image: RGB ``(H, W, 3)``.
        quality: 1 to 100.
        widest: pixels; wider pictures are made smaller.
    """
    from PIL import Image

    picture = Image.fromarray(image)
    if picture.width > widest:
        picture = picture.resize((widest, round(picture.height * widest / picture.width)), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    picture.save(out, "WEBP", quality=quality, method=4)
    return out.getvalue()


def data_uri(data: bytes, kind: str) -> str:
    """Data inside a link."""
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def page(sections: Sequence[Section], *, title: str, lead: str, footer: str) -> str:
    """The whole file.

    Args:
        sections: in order; ids differ.
        title: of the page.
        lead: one or two sentences below it.
        footer: how it was made.

    Returns:
        HTML that loads nothing, and by its own policy may not.

    Raises:
        OutputError: it would be larger than `MOST_BYTES`.
    """
    html = Template(_HERE.with_suffix(".html").read_text(encoding="utf-8")).substitute(
        title=escape(title),
        lead=escape(lead),
        footer=escape(footer),
        style=_HERE.with_suffix(".css").read_text(encoding="utf-8"),
        script=_HERE.with_suffix(".js").read_text(encoding="utf-8"),
        contents="".join(f'<li><a href="#{part.id}">{escape(part.title)}</a></li>' for part in sections),
        sections="\n".join(
            f'<section id="{part.id}" aria-labelledby="{part.id}-title"><h2 id="{part.id}-title">{escape(part.title)}</h2>'
            f"{''.join(part.body)}</section>"
            for part in sections
        ),
    )
    size = len(html.encode())
    if size >= MOST_BYTES:
        raise OutputError(f"the page would be {size / 1e6:.0f} MB, more than {MOST_BYTES / 1e6:.0f}; report fewer runs at once")
    return html


def _cell(value: Cell, kind: str, decimals: int) -> str:
    if value is None or value != value:
        return f'<td data-value=""{_class(kind)}>–</td>'
    if isinstance(value, str):
        badge = value in ("published", "reproduced", "measured")
        shown = f'<span class="badge {value}">{value}</span>' if badge else escape(value)
        return f'<td data-value="{escape(value, quote=True)}"{_class(kind)}>{shown}</td>'
    shown = str(value) if isinstance(value, int) else f"{value:.{decimals if abs(value) < 10 else 1}f}"
    return f'<td data-value="{value!r}"{_class(kind)}>{shown}</td>'


def _class(names: str) -> str:
    return f' class="{names}"' if names else ""


def slug(text: str) -> str:
    """A text as part of a file's name or an id.

    >>> slug("random:resnet18@crw"), slug("???")
    ('random-resnet18-crw', 'x')
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "x"
