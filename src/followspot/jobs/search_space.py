"""What to search: a range for each setting, read from texts such as ``top_k=1:20`` and ``temperature=0.01:0.1:log``.

a|b|c               these values
start,stop,step     from start to stop, both included where the steps meet it
low:high            anything between, both included; whole numbers where both ends are
low:high:log        likewise, equally dense in the logarithm
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from followspot.errors import SettingError
from followspot.io.files import nearest

Value = int | float | str | bool

# Past this many points a table cannot be looked through, and a step was probably mistyped.
_MOST = 100_000
# Steps of 0.1 do not meet 1.0 exactly.
_SLACK = 1e-9


@dataclass(frozen=True, kw_only=True)
class Listed:
    """These values and no others.

    Raises:
        SettingError: there is none, or one twice.
    """

    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        if not self.values or len({(type(value), value) for value in self.values}) < len(self.values):
            raise SettingError(f"{'|'.join(map(str, self.values))!r} is no list of different values; write a|b|c")

    def grid(self) -> tuple[Value, ...]:
        """All values."""
        return self.values

    def ends(self) -> tuple[Value, ...]:
        """What must be possible: all values."""
        return self.values

    def draw(self, rng: np.random.Generator) -> Value:
        """One of them, equally likely."""
        return self.values[int(rng.integers(len(self.values)))]

    def __str__(self) -> str:
        return "|".join(str(value) for value in self.values)


@dataclass(frozen=True, kw_only=True)
class Span:
    """Anything between two numbers, both included.

    Raises:
        SettingError: the ends are not in order, or not finite, or not above 0 on a logarithmic scale.
    """

    low: int | float
    high: int | float
    """Whole numbers are drawn where both ends are `int`."""
    log: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise SettingError(f"{self.low}:{self.high} is no range; write two numbers, the smaller one first")
        if self.log and self.low <= 0:
            raise SettingError(f"{self.low}:{self.high}:log begins at {self.low}; a logarithmic range needs numbers above 0")

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are drawn."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def grid(self) -> tuple[Value, ...]:
        """All whole numbers.

        Raises:
            SettingError: between fractions there is no end of values.
        """
        if self.whole and not self.log:
            return tuple(range(int(self.low), int(self.high) + 1))
        raise SettingError(f"{self} has no steps, which a grid needs; write start,stop,step or a|b|c, or choose another sampler")

    def ends(self) -> tuple[Value, ...]:
        """What must be possible: both ends."""
        return self.low, self.high

    def draw(self, rng: np.random.Generator) -> Value:
        """One number, equally likely on the scale."""
        if self.log:
            number = math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
        elif self.whole:
            return int(rng.integers(int(self.low), int(self.high) + 1))
        else:
            number = float(rng.uniform(self.low, self.high))
        number = min(max(number, self.low), self.high)
        return round(number) if self.whole else number

    def __str__(self) -> str:
        return f"{self.low}:{self.high}" + (":log" if self.log else "")


Range = Listed | Span
Space = Mapping[str, Range]


def parse_space(texts: Iterable[str], defaults: Space) -> dict[str, Range]:
    """Ranges by setting.

    Args:
        texts: such as ``top_k=1:20``; a bare ``top_k`` takes its range from `defaults`.
        defaults: what a tracker offers to search; all of it where `texts` is empty.

    Raises:
        SettingError: a text is not understood, a setting is named twice or has no usual range, or there is nothing to search.

    >>> {name: str(range) for name, range in parse_space(["radius=6,12,3", "window=square|circle"], {}).items()}
    {'radius': '6|9|12', 'window': 'square|circle'}
    """
    space: dict[str, Range] = {}
    for text in texts:
        name, equals, rest = text.partition("=")
        name = name.strip().replace("-", "_")
        if name in space:
            raise SettingError(f"--set {name} is given twice; give it once, such as {name}=a|b|c")
        space[name] = _range(name, rest) if equals else _default(name, defaults)
    space = space or dict(defaults)
    if not space:
        raise SettingError("this tracker offers no setting to search; name one with --set NAME=RANGE, or choose another tracker")
    return space


def parse_range(text: str) -> Range:
    """One range; see the module.

    Raises:
        SettingError: it is not understood.

    >>> parse_range("0.01:0.1:log")
    Span(low=0.01, high=0.1, log=True)
    """
    if "|" in text:
        return Listed(values=tuple(_value(part) for part in text.split("|")))
    parts = text.split(",")
    if len(parts) == 3:
        return Listed(values=_steps(*(_number(part, text) for part in parts)))
    low, colon, high = text.partition(":")
    if colon and _is_number(low):
        end, log = (high[:-4], True) if high.endswith(":log") else (high, False)
        return Span(low=_number(low, text), high=_number(end, text), log=log)
    if len(parts) == 1 and text.strip():
        return Listed(values=(_value(text),))
    raise SettingError(f"{text!r} is no range; write start,stop,step or low:high or low:high:log or a|b|c")


def grid_of(space: Space) -> list[dict[str, Value]]:
    """All combinations, in the order in which one would write them down.

    Raises:
        SettingError: a range has no steps, or there are too many combinations.
    """
    axes = [_placed(name, axis) for name, axis in space.items()]
    count = math.prod(len(axis) for axis in axes)
    if count > _MOST:
        raise SettingError(f"the grid has {count} points, more than {_MOST}; take larger steps, or --sampler random or tpe")
    return [dict(zip(space, values, strict=True)) for values in product(*axes)]


def draw_from(space: Space, rng: np.random.Generator) -> dict[str, Value]:
    """One combination at random."""
    return {name: axis.draw(rng) for name, axis in space.items()}


def is_small(space: Space) -> bool:
    """Whether all combinations can be written down."""
    endless = any(isinstance(axis, Span) and (axis.log or not axis.whole) for axis in space.values())
    return not endless and math.prod(len(axis.grid()) for axis in space.values()) <= _MOST


def _placed(name: str, axis: Range) -> tuple[Value, ...]:
    try:
        return axis.grid()
    except SettingError as error:
        raise SettingError(f"{name}={error}") from error


def _range(name: str, text: str) -> Range:
    try:
        return parse_range(text)
    except SettingError as error:
        raise SettingError(f"--set {name}: {error}") from error


def _default(name: str, defaults: Space) -> Range:
    if name in defaults:
        return defaults[name]
    near = nearest(name, defaults)
    known = f"did you mean {near!r}?" if near else "those with one are " + (", ".join(defaults) or "none")
    raise SettingError(f"--set {name} has no usual range: write {name}=low:high or {name}=a|b|c; {known}")


def _steps(start: int | float, stop: int | float, step: int | float) -> tuple[Value, ...]:
    if step == 0 or not all(map(math.isfinite, (start, stop, step))) or (stop - start) / step < 0:
        raise SettingError(f"{start},{stop},{step} leads nowhere; write start,stop,step, such as 0.1,0.5,0.1")
    count = math.floor((stop - start) / step + _SLACK) + 1
    if count > _MOST:
        raise SettingError(f"{start},{stop},{step} has {count} steps, more than {_MOST}; take a larger step")
    if all(isinstance(number, int) for number in (start, stop, step)):
        return tuple(int(start + index * step) for index in range(count))
    # Rounded to digits that a step cannot have, so that 0.1 + 2 * 0.1 is 0.3.
    return tuple(float(f"{start + index * step:.12g}") for index in range(count))


def _value(text: str) -> Value:
    text = text.strip()
    if text in ("true", "false"):
        return text == "true"
    return _number(text, text) if _is_number(text) else text


def _number(text: str, whole: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        try:
            return float(text)
        except ValueError as error:
            raise SettingError(f"{whole!r}: {text!r} is not a number; write start,stop,step or low:high or low:high:log") from error


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def key_of(settings: Mapping[str, Value], names: Sequence[str]) -> tuple[tuple[type, Value], ...]:
    """Equal for equal settings: ``True`` is not 1, as it is in a set of Python.

    >>> key_of({"a": True}, ["a"]) == key_of({"a": 1}, ["a"])
    False
    """
    return tuple((type(settings[name]), settings[name]) for name in names)
