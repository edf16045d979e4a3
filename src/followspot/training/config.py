"""Frozen dataclasses to plain mappings (what YAML holds) and back, with errors that name the key.

Values are numbers, texts, truth values, None, tuples, mappings, further dataclasses, and :class:`followspot.ops.schedule.Schedule`, which
is written as its text.
"""

import dataclasses
import difflib
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from followspot.errors import SettingError
from followspot.ops.schedule import Schedule

T = TypeVar("T")


def to_plain(value: object) -> Any:  # noqa: ANN401 -- JSON-like
    """Anything a settings dataclass holds as what YAML and JSON hold.

    >>> to_plain((1, Schedule.parse(0.5)))
    [1, 0.5]
    """
    if isinstance(value, Schedule):
        text = str(value)
        return float(text) if _is_number(text) else text
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def from_plain(kind: type[T], value: object, *, where: str) -> T:
    """Build a settings dataclass from a mapping.

    Args:
        kind: the dataclass.
        value: what was read.
        where: the dotted name of `value`, for messages; empty at the top.

    Raises:
        SettingError: an unknown key (names the nearest), a missing one, or a value of the wrong type.
    """
    if not isinstance(value, Mapping):
        raise SettingError(f"{where or 'the recipe'} must be a mapping of settings, got {value!r}")
    hints = get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]  # only dataclasses come here
    for key in value:
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1, cutoff=0.0)[0]
            raise SettingError(f"there is no setting {_dotted(where, str(key))!r}; did you mean {_dotted(where, near)!r}?")
    for name, field in fields.items():
        if name not in value and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise SettingError(f"setting {_dotted(where, name)!r} is missing; add it")
    converted = {name: _convert(hints[name], item, where=_dotted(where, name)) for name, item in value.items()}
    try:
        return kind(**converted)
    except SettingError as error:
        # Settings check themselves without knowing where they stand in a recipe.
        raise _placed(error, where) from error


def convert(kind: type[T], value: object, *, where: str) -> T:
    """One value as a field of that kind would hold it.

    >>> convert(float, "1e-3", where="lr")
    0.001

    Raises:
        SettingError: it is of another kind.
    """
    return cast(T, _convert(kind, value, where=where))


def _placed(error: SettingError, where: str) -> SettingError:
    text = str(error)
    return error if not where or text.startswith(where) else SettingError(f"{where}: {text}")


def _convert(hint: Any, value: object, *, where: str) -> object:  # noqa: ANN401 -- a type hint of any form
    origin, choices = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _convert_union(choices, value, where=where)
    if origin is Literal:
        if value in choices:
            return value
        near = difflib.get_close_matches(str(value), [str(choice) for choice in choices], n=1, cutoff=0.0)[0]
        raise SettingError(f"{where} = {value!r} is not one of {', '.join(map(str, choices))}; did you mean {near!r}?")
    if origin is tuple:
        return _convert_tuple(choices, value, where=where)
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise SettingError(f"{where} must be a mapping, got {value!r}")
        return {str(key): _convert(choices[1], item, where=f"{where}.{key}") for key, item in value.items()}
    if dataclasses.is_dataclass(hint) and hint is not Schedule and not isinstance(value, hint):  # type: ignore[arg-type]
        return from_plain(hint, value, where=where)  # type: ignore[arg-type]  # a class, not an instance
    return _convert_scalar(hint, value, where=where)


def _convert_scalar(hint: Any, value: object, *, where: str) -> object:  # noqa: ANN401
    if hint is Schedule and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            return Schedule.parse(value)
        except SettingError as error:
            raise _placed(error, where) from error
    # YAML 1.1 reads 1e-4 as a text, and 1 where 1.0 is meant as a whole number.
    if hint is float and not isinstance(value, bool) and (isinstance(value, int | float) or (isinstance(value, str) and _is_number(value))):
        return float(value)
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if hint is Any or (isinstance(value, hint) and not (hint is int and isinstance(value, bool))):
        return value
    raise SettingError(f"{where} = {value!r} is not {_called(hint)}")


def _convert_union(choices: tuple[Any, ...], value: object, *, where: str) -> object:
    # YAML spells it null; the messages of this package say none, so that is understood too.
    if types.NoneType in choices and (value is None or (isinstance(value, str) and value.lower() == "none")):
        return None
    problems = []
    for choice in choices:
        if choice is not types.NoneType:
            try:
                return _convert(choice, value, where=where)
            except SettingError as error:
                problems.append(str(error))
    expected = " or ".join(_called(choice) for choice in choices)
    raise SettingError(problems[0] if len(problems) == 1 else f"{where} = {value!r} is not {expected}")


def _convert_tuple(choices: tuple[Any, ...], value: object, *, where: str) -> tuple[object, ...]:
    if not isinstance(value, list | tuple):
        raise SettingError(f"{where} must be a list, got {value!r}")
    if len(choices) == 2 and choices[1] is ...:
        return tuple(_convert(choices[0], item, where=f"{where}[{index}]") for index, item in enumerate(value))
    if len(choices) != len(value):
        raise SettingError(f"{where} must have {len(choices)} values, got {len(value)}")
    return tuple(_convert(choice, item, where=f"{where}[{index}]") for index, (choice, item) in enumerate(zip(choices, value, strict=True)))


def _called(hint: object) -> str:
    if get_origin(hint) is Literal:
        return " or ".join(repr(choice) for choice in get_args(hint))
    if get_origin(hint) is tuple:
        return "a list"
    if dataclasses.is_dataclass(hint) and hint is not Schedule:
        return "a mapping of settings"
    names = {float: "a number", int: "a whole number", str: "a text", bool: "true or false", types.NoneType: "none", Schedule: "a schedule"}
    return names.get(hint, getattr(hint, "__name__", str(hint)))  # type: ignore[call-overload,no-any-return]  # hints are hashable


def _dotted(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
