"""Numbers that change during training, written as short texts: learning rates, clipping limits, dropout shares, teacher rates."""

import difflib
import itertools
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast

from followspot.errors import SettingError

Kind: TypeAlias = Literal["constant", "linear", "log", "step", "cosine"]
_WRITTEN = ("linear", "log", "step", "cosine")
_FORMS: Mapping[str, str] = {
    "linear": "linear 2000:1 37000:3",
    "log": "log 0:0.001 0.25:0.005 1.0:0.0025",
    "step": "step 0.001 60000:x0.1",
    "cosine": "cosine 0.001 0 warmup 200",
}
_WHOLE = re.compile(r"\d+")


@dataclass(frozen=True)
class Moment:
    """A moment of training, in steps or as a share of all of them.

    >>> Moment(steps=300).at(1000), Moment(share=0.5).at(1000)
    (300, 500.0)
    """

    steps: int = 0
    """Optimiser steps done."""
    share: float = 0.0
    """Share of all steps in 0..1; one of the two is 0."""

    def __post_init__(self) -> None:
        if self.steps < 0 or not 0 <= self.share <= 1 or (self.steps and self.share):
            raise SettingError(f"a moment is a number of steps or a share of them in 0..1, got {self.steps} and {self.share}; give one")

    @classmethod
    def parse(cls, text: str) -> "Moment":
        """Read a whole number as steps, one with a decimal point as a share of all steps.

        Raises:
            SettingError: neither.

        >>> Moment.parse("2000"), Moment.parse("0.5")
        (Moment(steps=2000, share=0.0), Moment(steps=0, share=0.5))
        """
        if _WHOLE.fullmatch(text):
            return cls(steps=int(text))
        share = _number(text, "a moment in steps (2000) or as a share of all steps (0.5)")
        if not 0 <= share <= 1:
            raise SettingError(f"moment {text!r} is no share of training; write steps as a whole number, or a share in 0.0..1.0")
        return cls(share=share + 0.0)

    def at(self, total_steps: int) -> float:
        """The step it falls on, not rounded."""
        return self.share * total_steps if self.share else self.steps

    def __str__(self) -> str:
        return repr(float(self.share)) if self.share else str(self.steps)


@dataclass(frozen=True)
class Schedule:
    """A number as a function of the step.

    Args:
        kind: how to get from point to point: ``constant``, ``linear``, ``log`` (geometric), ``cosine`` (half a wave), or ``step``,
            where the first number is what training starts with and each later one a factor that applies from its moment on.
        points: moments in order, with their numbers. Before the first and after the last the number stays.
        warmup: for so long the number is reached linearly from 0, one share a step; a cosine starts after it. None: no such ramp.

    Raises:
        SettingError: points out of order, not finite, not positive where the kind is ``log``, or not as many as the kind needs.

    >>> rmax = Schedule.parse("linear 2000:1 37000:3")
    >>> [rmax.at(step, 400_000) for step in (0, 2000, 19_500, 37_000, 50_000)]
    [1.0, 1.0, 2.0, 3.0, 3.0]
    >>> print(Schedule.parse("step 2e-4 400000:x.5 600000:x.5"))
    step 0.0002 400000:x0.5 600000:x0.5
    """

    kind: Kind
    points: tuple[tuple[Moment, float], ...]
    warmup: Moment | None = None

    def __post_init__(self) -> None:
        if self.kind != "constant" and self.kind not in _WRITTEN:
            raise _unknown(self.kind)
        if not self.points or (self.kind == "constant" and len(self.points) != 1) or (self.kind == "cosine" and len(self.points) != 2):
            raise SettingError(f"a {self.kind} schedule does not go through {len(self.points)} points; {_advice(self.kind)}")
        if not all(math.isfinite(value) for _, value in self.points):
            raise SettingError(f"schedule {self} holds a number that is not finite; {_advice(self.kind)}")
        if self.kind == "log" and min(value for _, value in self.points) <= 0:
            raise SettingError(f"schedule {str(self)!r} is geometric and cannot reach 0 or less; use linear, or a small number instead")
        for (early, _), (late, _) in itertools.pairwise(self.points):
            if early.steps > late.steps > 0 or early.share > late.share > 0 or late == Moment():
                raise SettingError(f"schedule {str(self)!r} has moment {late} after {early}; put them in order")

    @classmethod
    def constant(cls, value: float) -> "Schedule":
        """The same number always."""
        return cls("constant", ((Moment(), float(value)),))

    @classmethod
    def parse(cls, text: "str | float | Schedule") -> "Schedule":
        """Read a schedule.

        Args:
            text: a number (``0.001``), or one of
                ``linear 2000:1 37000:3``, points of ``moment:number``, constant outside;
                ``log 0:0.001 0.25:0.005 1.0:0.0025``, the same with constant ratios between the points;
                ``step 0.001 60000:x0.1``, what it starts with and factors from moments on;
                ``cosine 0.001 0``, from the first to the second number (0 if left out) over all of training;
                each with ``warmup MOMENT`` at its end. A moment is a whole number of steps, or a share of all steps with a decimal point
                (``0.5``, ``1.0``). A schedule is returned as it is.

        Raises:
            SettingError: anything else; the message names what was probably meant.
        """
        if isinstance(text, Schedule):
            return text
        if isinstance(text, bool) or not isinstance(text, str | int | float):
            raise SettingError(f"a schedule is a number or a text, got {text!r}; write for instance 0.001 or {_FORMS['cosine']!r}")
        words = str(text).split()
        if not words:
            raise SettingError(f"a schedule is a number or a text, got an empty one; write for instance 0.001 or {_FORMS['cosine']!r}")
        words, warmup = _split_warmup(words, str(text))
        if len(words) == 1 and words[0].lower() not in _WRITTEN:
            if re.match(r"[^\W\d]", words[0]) and words[0].lower() not in ("nan", "inf", "infinity"):
                raise _unknown(words[0])
            return cls("constant", ((Moment(), _number(words[0], "a number")),), warmup)
        name = words[0].lower()
        if name not in _WRITTEN:
            raise _unknown(words[0])
        return cls(cast(Kind, name), _READERS[name](words[1:]), warmup)

    def at(self, step: int, total_steps: int) -> float:
        """The number at a step.

        Args:
            step: optimiser steps done, from 0.
            total_steps: how many there will be; what shares are shares of.

        Raises:
            SettingError: with so many steps, moments in steps and moments as shares are out of order.
        """
        ramp = self.warmup.at(total_steps) if self.warmup else 0.0
        return self._unramped(step, ramp, total_steps) * (min(1.0, (step + 1) / ramp) if step < ramp else 1.0)

    def _unramped(self, step: int, ramp: float, total_steps: int) -> float:
        if self.kind == "cosine":
            (_, first), (_, last) = self.points
            done = min(1.0, max(0.0, (step - ramp) / max(total_steps - ramp, 1)))
            return last + (first - last) * (1 + math.cos(math.pi * done)) / 2
        places = [(moment.at(total_steps), value) for moment, value in self.points]
        if any(late < early for (early, _), (late, _) in itertools.pairwise(places)):
            raise SettingError(f"the moments of schedule {str(self)!r} are out of order when training has {total_steps} steps; change one")
        if self.kind == "step":
            return math.prod(value for place, value in places if place <= step)
        return _between(places, step, geometric=self.kind == "log")

    def __str__(self) -> str:
        tail = f" warmup {self.warmup}" if self.warmup else ""
        first = _text(self.points[0][1])
        if self.kind == "constant":
            return first + tail
        if self.kind == "cosine":
            return f"cosine {first} {_text(self.points[1][1])}{tail}"
        if self.kind == "step":
            return " ".join(["step", first, *(f"{moment}:x{_text(factor)}" for moment, factor in self.points[1:])]) + tail
        return " ".join([self.kind, *(f"{moment}:{_text(value)}" for moment, value in self.points)]) + tail


def _between(places: list[tuple[float, float]], step: int, *, geometric: bool) -> float:
    if step <= places[0][0]:
        return places[0][1]
    for (start, first), (end, last) in itertools.pairwise(places):
        if step < end:
            done = (step - start) / (end - start)
            return first * (last / first) ** done if geometric else first + (last - first) * done
    return places[-1][1]


def _split_warmup(words: list[str], text: str) -> tuple[list[str], Moment | None]:
    for place, word in enumerate(words):
        if place and word.lower() not in _WRITTEN and difflib.get_close_matches(word.lower(), ["warmup", "warm-up"], n=1, cutoff=0.7):
            if word.lower() != "warmup":
                raise SettingError(f"schedule {text!r} has an unknown word {word!r}; did you mean 'warmup'?")
            if place != len(words) - 2:
                raise SettingError(f"schedule {text!r} must end with 'warmup' and one moment; write for instance {_FORMS['cosine']!r}")
            return words[:place], Moment.parse(words[-1])
    return words, None


def _read_points(words: list[str]) -> tuple[tuple[Moment, float], ...]:
    return tuple(_read_point(word, "") for word in words)


def _read_factors(words: list[str]) -> tuple[tuple[Moment, float], ...]:
    if not words:
        return ()
    start = _number(words[0], f"the number that training starts with, as in {_FORMS['step']!r}")
    return ((Moment(), start), *(_read_point(word, "x") for word in words[1:]))


def _read_cosine(words: list[str]) -> tuple[tuple[Moment, float], ...]:
    ends = [_number(word, f"numbers from which and to which the cosine goes, as in {_FORMS['cosine']!r}") for word in words]
    if len(ends) == 1:
        ends.append(0.0)
    return tuple((Moment(share=1.0) if place else Moment(), value) for place, value in enumerate(ends))


_READERS: Mapping[str, Callable[[list[str]], tuple[tuple[Moment, float], ...]]] = {
    "linear": _read_points,
    "log": _read_points,
    "step": _read_factors,
    "cosine": _read_cosine,
}


def _read_point(word: str, sign: str) -> tuple[Moment, float]:
    moment, colon, value = word.partition(":")
    example = f"0.5:{sign}0.1"
    if not (moment and colon and value) or not value.startswith(sign):
        raise SettingError(f"{word!r} is no moment:{sign}number of a schedule; write for instance {example}")
    return Moment.parse(moment), _number(value.removeprefix(sign), f"a number, as in {example}")


def _number(text: str, what: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise SettingError(f"{text!r} in a schedule should be {what}; correct it")
    return number


def _unknown(word: str) -> SettingError:
    near = difflib.get_close_matches(word.lower(), _WRITTEN, n=1, cutoff=0.5)
    then = f"did you mean {near[0]!r}, as in {_FORMS[near[0]]!r}?" if near else f"write a number, or one of {', '.join(_WRITTEN)}"
    return SettingError(f"unknown schedule {word!r}; {then}")


def _advice(kind: str) -> str:
    return f"write for instance {_FORMS[kind]!r}" if kind in _FORMS else "write one number"


def _text(value: float) -> str:
    short = f"{value:g}"
    return short if float(short) == value else repr(float(value))
