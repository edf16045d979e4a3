"""Settings dataclasses to plain mappings and back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from followspot.errors import SettingError
from followspot.ops.schedule import Schedule
from followspot.training.config import from_plain, to_plain


@dataclass(frozen=True, kw_only=True)
class Inner:
    size: int = 3
    share: float = 0.5
    flag: bool = False
    kind: Literal["red", "green"] = "red"

    def __post_init__(self):
        if self.size < 1:
            raise SettingError(f"size {self.size} must be 1 or more")


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    inner: Inner = Inner()
    maybe: Inner | None = None
    rate: Schedule = Schedule.parse(0.1)  # noqa: RUF009 -- frozen
    limit: float | None = None
    count: int | None = None
    pair: tuple[float, float] = (0.0, 1.0)
    many: tuple[int, ...] = ()
    rows: tuple[tuple[float, ...], ...] | None = None
    factors: Mapping[str, float] = field(default_factory=dict)
    either: float | Literal["max"] = "max"
    anything: Any = None


def read(**values):
    return from_plain(Outer, {"name": "x", **values}, where="")


def refused(message, **values):
    with pytest.raises(SettingError, match=message) as caught:
        read(**values)
    assert "\n" not in str(caught.value)


def test_defaults_and_values_of_every_kind():
    assert read() == Outer(name="x")
    got = read(
        inner={"size": 7.0, "share": 1, "flag": True, "kind": "green"},
        maybe={"size": 1},
        rate="linear 0:1 10:2",
        limit="1e-3",
        pair=[1, 2.5],
        many=(1, 2),
        rows=[[1, 2], [3]],
        factors={"a": 1},
        either=2,
        anything={"free": [1]},
    )
    assert got.inner == Inner(size=7, share=1.0, flag=True, kind="green")
    assert isinstance(got.inner.size, int)
    assert got.maybe == Inner(size=1)
    assert got.rate == Schedule.parse("linear 0:1 10:2")
    assert (got.limit, got.pair, got.many, got.rows) == (1e-3, (1.0, 2.5), (1, 2), ((1.0, 2.0), (3.0,)))
    assert (got.factors, got.either, got.anything) == ({"a": 1.0}, 2.0, {"free": [1]})


def test_values_that_are_there_already_stay():
    assert read(inner=Inner(size=4), rate=Schedule.parse(2)).inner == Inner(size=4)


@pytest.mark.parametrize("nothing", [None, "none", "None"])
def test_none_is_said_as_yaml_does_or_as_messages_do(nothing):
    assert read(maybe=nothing, limit=nothing, count=nothing, rows=nothing) == Outer(name="x")
    refused("inner must be a mapping", inner=nothing)


def test_f098_an_unknown_key_names_the_nearest():
    refused(r"no setting 'limt'; did you mean 'limit'\?", limt=1)
    refused(r"no setting 'inner.sise'; did you mean 'inner.size'\?", inner={"sise": 1})
    refused(r"no setting 'maybe.sise'; did you mean 'maybe.size'\?", maybe={"sise": 1})
    refused(r"no setting '7'", **{"7": 1})


def test_a_missing_key_is_named():
    with pytest.raises(SettingError, match="setting 'name' is missing; add it"):
        from_plain(Outer, {}, where="")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"inner": 3}, "inner must be a mapping of settings, got 3"),
        ({"inner": {"size": 1.5}}, "inner.size = 1.5 is not a whole number"),
        ({"inner": {"size": True}}, "inner.size = True is not a whole number"),
        ({"inner": {"share": True}}, "inner.share = True is not a number"),
        ({"inner": {"share": "much"}}, "inner.share = 'much' is not a number"),
        ({"inner": {"flag": 1}}, "inner.flag = 1 is not true or false"),
        ({"inner": {"kind": "gren"}}, "inner.kind = 'gren' is not one of red, green; did you mean 'green'"),
        ({"count": 1.5}, "count = 1.5 is not a whole number"),
        ({"name": 3}, "name = 3 is not a text"),
        ({"pair": [1]}, "pair must have 2 values, got 1"),
        ({"pair": 1}, "pair must be a list, got 1"),
        ({"pair": [1, "a"]}, r"pair\[1\] = 'a' is not a number"),
        ({"many": [1, 0.5]}, r"many\[1\] = 0.5 is not a whole number"),
        ({"rows": [[1, "b"]]}, r"rows\[0\]\[1\] = 'b' is not a number"),
        ({"factors": [1]}, r"factors must be a mapping, got \[1\]"),
        ({"factors": {"a": "b"}}, "factors.a = 'b' is not a number"),
        ({"either": "min"}, "either = 'min' is not a number or 'max'"),
        ({"rate": "liner 0:1"}, "rate: .*linear"),
        ({"rate": True}, "rate = True is not a schedule"),
        ({"inner": {"size": 0}}, "inner: size 0 must be 1 or more"),
    ],
)
def test_wrong_values_are_named_with_their_place(values, message):
    refused(message, **values)


def test_plain_values_are_what_yaml_holds():
    value = Outer(name="x", maybe=Inner(), rate=Schedule.parse("cosine 1e-3 0"), many=(1, 2), factors={"a": 0.5}, anything=Path("a"))
    plain = to_plain(value)
    assert plain["rate"] == "cosine 0.001 0"
    assert to_plain(Schedule.parse("1e-4")) == 1e-4
    assert plain["maybe"] == {"size": 3, "share": 0.5, "flag": False, "kind": "red"}
    assert (plain["many"], plain["factors"], plain["anything"]) == ([1, 2], {"a": 0.5}, "a")
    assert from_plain(Outer, plain | {"anything": None}, where="") == Outer(
        name="x", maybe=Inner(), rate=value.rate, many=(1, 2), factors={"a": 0.5}
    )


numbers = st.floats(allow_nan=False, width=64)
inners = st.builds(Inner, size=st.integers(1, 10**9), share=numbers, flag=st.booleans(), kind=st.sampled_from(("red", "green")))
# "none" is how a missing value may be written, so it is no text.
texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=9).filter(lambda text: text.lower() != "none")


@given(
    st.builds(
        Outer,
        name=texts,
        inner=inners,
        maybe=st.none() | inners,
        rate=st.builds(Schedule.parse, st.floats(allow_nan=False, allow_infinity=False)),
        limit=st.none() | numbers,
        count=st.none() | st.integers(),
        pair=st.tuples(numbers, numbers),
        many=st.lists(st.integers(), max_size=3).map(tuple),
        rows=st.none() | st.lists(st.lists(numbers, max_size=2).map(tuple), max_size=2).map(tuple),
        factors=st.dictionaries(texts, numbers, max_size=2),
        either=st.just("max") | numbers,
    )
)
@settings(deadline=None, max_examples=60)
def test_f098_whatever_is_written_is_read_back(value):
    assert from_plain(Outer, yaml.safe_load(yaml.safe_dump(to_plain(value))), where="") == value
