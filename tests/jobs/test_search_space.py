"""Ranges as texts: every form, what they hold, and what is wrong with others."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from followspot.errors import SettingError
from followspot.jobs.search_space import Listed, Span, draw_from, grid_of, is_small, key_of, parse_range, parse_space


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1,5,1", (1, 2, 3, 4, 5)),
        ("5,1,-2", (5, 3, 1)),
        ("0.1,0.5,0.1", (0.1, 0.2, 0.3, 0.4, 0.5)),
        ("0,1,0.3", (0.0, 0.3, 0.6, 0.9)),
        ("2,2,1", (2,)),
        ("soft|hard", ("soft", "hard")),
        ("true|false", (True, False)),
        ("6|12|all", (6, 12, "all")),
        ("0.5", (0.5,)),
        ("square:240|native", ("square:240", "native")),
        ("square:240", ("square:240",)),
        ("1:4", (1, 2, 3, 4)),
    ],
)
def test_f171_steps_and_lists(text, values):
    grid = parse_range(text).grid()
    assert grid == values
    assert [type(value) for value in grid] == [type(value) for value in values]


@given(st.integers(-50, 50), st.integers(1, 20), st.integers(0, 30))
def test_f171_steps_are_those_of_counting(start, step, count):
    stop = start + count * step + (step - 1)
    assert parse_range(f"{start},{stop},{step}").grid() == tuple(range(start, stop + 1, step))


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.randoms())
def test_spans_draw_inside(low, size, random):
    span = Span(low=low, high=low + size)
    drawn = span.draw(np.random.default_rng(random.randrange(2**32)))
    assert low <= drawn <= low + size


def test_logarithmic_spans_are_even_in_the_logarithm():
    rng = np.random.default_rng(0)
    span = parse_range("0.001:1:log")
    drawn = np.array([span.draw(rng) for _ in range(3000)])
    assert np.histogram(np.log10(drawn), bins=3, range=(-3, 0))[0] == pytest.approx([1000] * 3, rel=0.1)
    whole = parse_range("1:64:log")
    assert {type(whole.draw(rng)) for _ in range(50)} == {int}


def test_whole_spans_reach_both_ends():
    rng = np.random.default_rng(0)
    assert {parse_range("3:5").draw(rng) for _ in range(100)} == {3, 4, 5}


@pytest.mark.parametrize(
    "text",
    ["", " ", "1,2", "1,2,3,4", "5,1,1", "1,5,0", "a,b,c", "2:1", "1:1", "0:1:log", "1:nan", "1:2:lag", "1:x", "a||a", "a|a", "1,1e9,1"],
)
def test_what_is_no_range_says_so_in_one_line(text):
    with pytest.raises(SettingError) as error:
        parse_range(text)
    assert "\n" not in str(error.value)


def test_spaces():
    usual = {"top_k": parse_range("1:20"), "radius": parse_range("4:24")}
    assert parse_space([], usual) == usual
    assert parse_space(["top-k", "window=square|circle"], usual) == {"top_k": usual["top_k"], "window": Listed(values=("square", "circle"))}
    with pytest.raises(SettingError, match="did you mean 'radius'"):
        parse_space(["radios"], usual)
    with pytest.raises(SettingError, match="given twice"):
        parse_space(["top_k=1|2", "top-k=3|4"], usual)
    with pytest.raises(SettingError, match="--set top_k: '1,2'"):
        parse_space(["top_k=1,2"], usual)
    with pytest.raises(SettingError, match="no setting to search"):
        parse_space([], {})


def test_grids():
    space = parse_space(["a=1|2", "b=x|y|z"], {})
    points = grid_of(space)
    assert len(points) == 6
    assert points[0] == {"a": 1, "b": "x"}
    assert len({key_of(point, list(space)) for point in points}) == 6
    assert is_small(space)
    assert not is_small(parse_space(["a=0.1:0.2"], {}))
    assert not is_small(parse_space(["a=1:100000", "b=1:100"], {}))
    with pytest.raises(SettingError, match=r"a=0\.1:0\.2 has no steps"):
        grid_of(parse_space(["a=0.1:0.2"], {}))
    with pytest.raises(SettingError, match="10000000 points"):
        grid_of(parse_space(["a=1:100000", "b=1:100"], {}))


def test_draws_repeat_and_cover():
    space = parse_space(["a=1|2", "b=0:1.5", "c=1:3"], {})
    first, again = (draw_from(space, np.random.default_rng(5)) for _ in range(2))
    assert first == again
    assert math.isfinite(first["b"])
    assert {draw_from(space, np.random.default_rng(seed))["a"] for seed in range(20)} == {1, 2}


@pytest.mark.parametrize("text", ["1|2", "0.1:0.2", "1:9:log", "a|b"])
def test_ranges_print_as_they_are_read(text):
    assert str(parse_range(text)) == text
