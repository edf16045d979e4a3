"""Writes the table of presets into docs/presets.md, between its two marks. A test compares the page with `filled`.

python docs/assets/make_tables.py
"""

from pathlib import Path

from followspot.tracking.presets import PRESETS, Preset, Resolution

PAGE = Path(__file__).parents[1] / "presets.md"
BEGIN, END = "<!-- presets: written by docs/assets/make_tables.py -->\n", "<!-- end of presets -->\n"
COLUMNS = (
    "preset",
    "top-k",
    "temperature",
    "radius",
    "radius first",
    "window",
    "normalize",
    "joint",
    "renormalize",
    "context frames",
    "keep references",
    "recursion",
    "class normalize",
    "resolution",
)


def _count(value: int | None) -> str:
    return "all" if value is None else str(value)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _resolution(value: Resolution) -> str:
    return "native" if value.mode == "native" else f"square:{value.pixels}" if value.mode == "square" else str(value.pixels)


def row(preset: Preset) -> str:
    """One preset as a row of the table, written as the command line takes the values."""
    affinity = preset.affinity
    cells = (
        f"`{preset.name}`",
        _count(affinity.top_k),
        f"{affinity.temperature:.4g}",
        _count(affinity.radius),
        _count(affinity.radius_first),
        affinity.window,
        _yes(affinity.normalize),
        _yes(affinity.joint),
        _yes(affinity.renormalize),
        str(preset.context_frames),
        _yes(preset.keep_references),
        preset.recursion,
        _yes(preset.class_normalize),
        _resolution(preset.resolution),
    )
    return "| " + " | ".join(cells) + " |"


def filled(page: str) -> str:
    """The page with the table and the sources as they are in the code."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    table = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS), *(row(preset) for preset in PRESETS.values())]
    sources = [f"- `{preset.name}`: {preset.source}." for preset in PRESETS.values()]
    return before + BEGIN + "\n".join([*table, "", "Sources:", "", *sources]) + "\n" + END + after


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
