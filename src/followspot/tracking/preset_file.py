"""Presets as files: one setting a line, under the names that the command line has; what ``followspot tune`` leaves and ``--preset`` takes.

    name: best of 40 trials
    source: followspot tune davis
    top_k: 7
    radius: all
    resolution: short:480

A setting that is left out keeps the value of the preset ``default``; one that nobody knows is an error that names the nearest.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import yaml

from followspot.errors import SettingError
from followspot.io.files import missing_file, nearest, write_atomic
from followspot.tracking.presets import PRESETS, Preset, Resolution, find_preset

T = TypeVar("T")

SUFFIXES = (".yaml", ".yml")
"""How names of preset files end; any other text is the name of a preset."""


def choose_preset(name_or_path: str) -> Preset:
    """A preset by its name, or from a file.

    Args:
        name_or_path: such as ``crw`` or ``out/best.yaml``.

    Raises:
        SettingError: there is none of that name, or the file is not a preset.

    >>> choose_preset("crw").context_frames
    20
    """
    return read_preset(Path(name_or_path)) if name_or_path.endswith(SUFFIXES) else find_preset(name_or_path)


def change_preset(preset: Preset, settings: Mapping[str, object]) -> Preset:
    """The same preset with other values; its name says so where a value differs.

    Args:
        preset: to start from.
        settings: by the names of `SETTINGS`; texts are read as on the command line, so ``"all"`` and ``"0.05"`` are welcome.

    Raises:
        SettingError: an unknown name (names the nearest) or a value out of range.

    >>> change_preset(PRESETS["default"], {"top_k": "all", "resolution": 240}).resolution.pixels
    240
    """
    changed = _changed(preset, settings)
    return changed if changed == preset else replace(changed, name=f"{preset.name} (changed)")


def describe_preset(preset: Preset) -> dict[str, object]:
    """All settings as numbers, texts and truth values, by the names of `SETTINGS`; `change_preset` takes them back.

    >>> describe_preset(PRESETS["crw"])["radius_first"]
    'all'
    """
    values = {name: getattr(preset.affinity if name in _OF_AFFINITY else preset, name) for name in SETTINGS}
    plain = {name: "all" if value is None else value for name, value in values.items()}
    return plain | {"resolution": format_resolution(preset.resolution)}


def write_preset(path: Path, preset: Preset) -> None:
    """Save a preset.

    Args:
        path: a file that ends in ``.yaml``.
        preset: what to write, with its name and source.

    Raises:
        SettingError: another ending, by which the file would not be known again.
        OutputError: the file cannot be written.
    """
    if path.suffix not in SUFFIXES:
        raise SettingError(f"presets are saved as .yaml, got {path}; change the file's ending")
    content = {"name": preset.name, "source": preset.source, **describe_preset(preset)}
    write_atomic(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=140))


def read_preset(path: Path) -> Preset:
    """Read a preset back.

    Args:
        path: a file that `write_preset` or a person wrote.

    Raises:
        SettingError: no such file, no YAML, an unknown setting (names the nearest) or a value out of range.
    """
    wrong = missing_file(path)
    if wrong is not None:
        raise SettingError(f"there is no preset file {path}: {wrong}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise SettingError(f"{path} is not YAML ({' '.join(str(error).split())}); mend it") from error
    if not isinstance(content, dict):
        raise SettingError(f"{path} is not a preset: expected settings by name, got {type(content).__name__}")
    own = {str(key): value for key, value in content.items()}
    name, source = (str(own.pop(key, path.stem)) for key in ("name", "source"))
    try:
        return replace(_changed(PRESETS["default"], own), name=name, source=source)
    except SettingError as error:
        raise SettingError(f"{path}: {error}") from error


def parse_resolution(text: str) -> Resolution:
    """A resolution from ``480``, ``short:480``, ``square:320`` or ``native``.

    Raises:
        SettingError: any other text.
    """
    mode, colon, number = text.rpartition(":")
    if text == "native":
        return Resolution(mode="native")
    if number.isdecimal() and (mode in ("square", "short") or not colon):
        return Resolution(mode="square" if mode == "square" else "short", pixels=int(number))
    raise SettingError(f'resolution "{text}" is not understood; write a short side (480), square:320 or native')


def format_resolution(resolution: Resolution) -> str:
    """What `parse_resolution` reads back; ``short:480`` rather than ``480``, which YAML would take for a number."""
    return "native" if resolution.mode == "native" else f"{resolution.mode}:{resolution.pixels}"


def _changed(preset: Preset, settings: Mapping[str, object]) -> Preset:
    values = {name: _read(name, value) for name, value in settings.items()}
    of_affinity: dict[str, Any] = {name: value for name, value in values.items() if name in _OF_AFFINITY}
    others: dict[str, Any] = {name: value for name, value in values.items() if name not in _OF_AFFINITY}
    return replace(preset, affinity=replace(preset.affinity, **of_affinity), **others)


def _read(name: str, value: object) -> object:
    if name not in SETTINGS:
        near = nearest(name, SETTINGS)
        hint = f"did you mean {near!r}?" if near else "there are " + ", ".join(SETTINGS)
        raise SettingError(f"a preset has no setting {name!r}; {hint}")
    try:
        return SETTINGS[name](value)
    except ValueError as error:  # which SettingError is
        told = str(error) if isinstance(error, SettingError) else f"{value!r} is not understood"
        raise SettingError(f"{name}: {told}") from error


def _whole(value: object) -> int:
    number = float(str(value))
    if isinstance(value, bool) or not number.is_integer():
        raise SettingError(f"{value!r} is not a whole number")
    return int(number)


def _cells(value: object) -> int | None:
    if value == "all":
        return None
    try:
        return _whole(value)
    except ValueError as error:
        raise SettingError(f"{value!r} is not a number of cells; write a whole number such as 12, or all") from error


def _number(value: object) -> float:
    if isinstance(value, bool):
        raise SettingError(f"{value!r} is not a number")
    return float(str(value))


def _truth(value: object) -> bool:
    known = {"true": True, "false": False}
    if str(value).lower() not in known:
        raise SettingError(f"{value!r} is neither true nor false")
    return known[str(value).lower()]


def _one_of(*texts: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if value not in texts:
            raise SettingError(f"{value!r} is not one of {', '.join(texts)}")
        return str(value)

    return read


def _resolution(value: object) -> Resolution:
    return parse_resolution(str(value))


_OF_AFFINITY: Mapping[str, Callable[[object], object]] = {
    "top_k": _cells,
    "temperature": _number,
    "radius": _cells,
    "radius_first": _cells,
    "window": _one_of("square", "circle"),
    "normalize": _truth,
    "joint": _truth,
    "renormalize": _truth,
}

SETTINGS: Mapping[str, Callable[[object], object]] = MappingProxyType(
    {
        **_OF_AFFINITY,
        "context_frames": _whole,
        "keep_references": _truth,
        "recursion": _one_of("soft", "hard"),
        "class_normalize": _truth,
        "resolution": _resolution,
    }
)
"""Every setting of a preset: its name on the command line (with ``-`` for ``_``), and what reads its value."""
