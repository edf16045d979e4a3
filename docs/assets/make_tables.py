"""Writes the tables of presets and of benchmarks into their pages, between two marks each. A test compares the pages.

python docs/assets/make_tables.py
"""

from pathlib import Path

from followspot.benchmarks.registry import NAMES
from followspot.tracking.presets import PRESETS, Preset, Resolution

PAGE = Path(__file__).parents[1] / "presets.md"
BENCHMARKS = Path(__file__).parents[1] / "benchmarks.md"
BEGIN_BENCHMARKS, END_BENCHMARKS = "<!-- benchmarks: written by docs/assets/make_tables.py -->\n", "<!-- end of benchmarks -->\n"
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


def filled_benchmarks(page: str) -> str:
    """The page with the table of benchmarks as it is in the code."""
    before, _, rest = page.partition(BEGIN_BENCHMARKS)
    _, _, after = rest.partition(END_BENCHMARKS)
    table = ["| benchmark | what is followed and measured | splits | protocols |", "|---|---|---|---|"]
    table += [f"| `{name}` | {entry.help} | {_names(entry.splits)} | {_names(entry.protocols)} |" for name, entry in NAMES.items()]
    return before + BEGIN_BENCHMARKS + "\n".join(table) + "\n" + END_BENCHMARKS + after


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    BENCHMARKS.write_text(filled_benchmarks(BENCHMARKS.read_text(encoding="utf-8")), encoding="utf-8")
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
