"""--at binds to the annotation before it, whatever the parser does with the order."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from followspot.cli.frames import ANNOTATIONS, AT, bind_frames, split_frame
from followspot.errors import AnnotationError


def bound(line):
    return bind_frames(line.split())


def test_each_at_belongs_to_the_value_before_it():
    tokens = bound("track v.mp4 --mask a.png --at 3 --box cat=1,2,3,4 --mask=b.png --at=20 --point 5,6 --out o")
    assert " ".join(tokens) == f"track v.mp4 --mask a.png{AT}3 --box cat=1,2,3,4 --mask=b.png{AT}20 --point 5,6 --out o"
    assert split_frame(tokens[3]) == ("a.png", 3)
    assert split_frame("cat=1,2,3,4") == ("cat=1,2,3,4", None)


def test_numbers_below_zero_are_values():
    assert bound("--box -5,0,40,40 --at 7 --point -.5,3") == [f"--box=-5,0,40,40{AT}7", "--point=-.5,3"]


def test_an_option_is_not_a_value_below_zero():
    assert bound("--box --out o --point -x") == ["--box", "--out", "o", "--point", "-x"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("track v.mp4 --at 3", "--at 3 follows no annotation"),
        ("--mask a.png --out o --at 3", "--at 3 follows no annotation"),
        ("--mask a.png --at 3 --at 4", "--at 4 follows no annotation"),
        ("--mask=a.png --at=3 --at=4", "--at 4 follows no annotation"),
        ("--mask --at 3 --at 4", "--at 4 follows|--at 3"),
        ("--mask a.png --at", "--at needs a frame number"),
        ("--mask a.png --at x", '"x" is not a frame number'),
        ("--mask a.png --at -1", '"-1" is not a frame number'),
        ("--mask a.png --at 1.5", '"1.5" is not a frame number'),
        ("--mask a.png --at=", '"" is not a frame number'),
    ],
)
def test_errors(line, message):
    with pytest.raises(AnnotationError, match=message):
        bound(line)


WORDS = st.text(st.characters(codec="ascii", exclude_characters=AT + "-"), min_size=1, max_size=8)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(ANNOTATIONS), WORDS, st.none() | st.integers(0, 10**6), st.booleans(), st.booleans())))
def test_what_is_bound_comes_apart_again(wanted):
    line, expected = [], []
    for option, value, frame, joined, at_joined in wanted:
        line += [f"{option}={value}"] if joined else [option, value]
        if frame is not None:
            line += [f"--at={frame}"] if at_joined else ["--at", str(frame)]
        expected.append((option, value, frame))
    found, tokens = [], iter(bind_frames(line))
    for token in tokens:
        option, equals, value = token.partition("=")
        found.append((option, *split_frame(value if equals else next(tokens))))
    assert found == expected
