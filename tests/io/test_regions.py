"""F146: the files of the VOT challenge, written, read, and refused."""

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from followspot.errors import DatasetError
from followspot.io.regions import Code, format_region, parse_region, read_regions, read_trajectory, write_trajectory

numbers = st.floats(-9999, 9999).filter(lambda value: value != 0)
regions = st.one_of(
    st.tuples(numbers, numbers, st.floats(0.01, 9999), st.floats(0.01, 9999)),
    st.lists(numbers, min_size=6, max_size=6),
    st.lists(numbers, min_size=8, max_size=8),
).map(np.array)


@settings(deadline=None)
@given(regions, st.sampled_from([",", "\t", " ", ", ", ";"]))
def test_a_region_survives_any_separator(region, separator):
    line = separator.join(repr(float(number)) for number in region)
    np.testing.assert_array_equal(parse_region(line, "x:1"), region)


@settings(deadline=None)
@given(st.lists(st.one_of(regions, st.sampled_from(Code)), min_size=1, max_size=30))
def test_f146_a_run_survives_writing_and_reading(tmp_path_factory, steps):
    path = tmp_path_factory.mktemp("runs") / "a_001.txt"
    write_trajectory(path, steps)
    for before, after in zip(steps, read_trajectory(path, frames=len(steps)), strict=True):
        if isinstance(before, Code):
            assert after is before
        else:
            np.testing.assert_allclose(after, before, atol=5e-5)


def test_f146_the_exact_text(tmp_path):
    path = tmp_path / "a_001.txt"
    steps = [Code.STARTED, np.array([1.0, 2, 30.5, 4.25]), np.arange(8.0), Code.FAILED, Code.SKIPPED]
    write_trajectory(path, steps)
    assert path.read_text() == ("1\n1.0000,2.0000,30.5000,4.2500\n0.0000,1.0000,2.0000,3.0000,4.0000,5.0000,6.0000,7.0000\n2\n0\n")
    assert format_region(np.array([1.0, 2, 3, 4]), decimals=1) == "1.0,2.0,3.0,4.0"


@settings(deadline=None)
@given(st.text(max_size=40))
def test_any_line_is_a_region_an_absence_or_one_clear_error(line):
    def read():
        return parse_region(line, "gt.txt:7")

    with contextlib.suppress(DatasetError):
        region = read()
        assert region is None or (region.ndim == 1 and np.isfinite(region).all())
        return
    with pytest.raises(DatasetError, match=r"^gt\.txt:7: .*correct the line$"):
        read()


def test_absent_objects(tmp_path):
    path = tmp_path / "groundtruth.txt"
    path.write_text("1,2,3,4\nnan,nan,nan,nan\nNaN NaN NaN NaN\n0,0,0,0\n5\t6\t7\t8\n\n\n")
    read = read_regions(path)
    assert [region is None for region in read] == [False, True, True, True, False]
    assert read[4].tolist() == [5, 6, 7, 8]


@pytest.mark.parametrize(
    "line", ["1,2,3", "1,2,3,4,5", "1,2,x,4", "1,2,nan,4", "1,2,0,4", "1,2,-3,4", "inf,0,1,1", "", "1e300,0,1,1", "1,2,3,4,5,6,7"]
)
def test_a_bad_line_is_named(tmp_path, line):
    path = tmp_path / "groundtruth.txt"
    path.write_text(f"1,2,3,4\n{line}\n1,2,3,4\n")
    with pytest.raises(DatasetError, match=r"groundtruth\.txt:2: .* is no region; expected x,y,width,height"):
        read_regions(path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Occ\n", r'a_001\.txt:1: "Occ" is neither 0, 1, 2 nor a region.*delete the file'),
        ("1\nnan,nan,nan,nan\n2\n", r'a_001\.txt:2: "nan,nan,nan,nan" is neither'),
        ("1\n3\n2\n", r'a_001\.txt:2: "3" is no code'),
        ("1\n1.5\n2\n", r'a_001\.txt:2: "1.5" is no code'),
        ("1\n1,2,-3,4\n2\n", r'a_001\.txt:2: "1,2,-3,4" is no region'),
        ("1\n1,2,nan,4\n2\n", r'a_001\.txt:2: "1,2,nan,4" is no region'),
        ("1\n1,2,3\n2\n", r'a_001\.txt:2: "1,2,3" is no region'),
        ("1\n1,2,3,4\n", r"a_001\.txt has 2 lines but the sequence has 3 frames"),
        ("", r"a_001\.txt is empty"),
    ],
)
def test_f146_placeholders_and_broken_runs_are_refused(tmp_path, text, told):
    path = tmp_path / "a_001.txt"
    path.write_text(text)
    with pytest.raises(DatasetError, match=told):
        read_trajectory(path, frames=3)


def test_codes_as_numbers_of_other_tools(tmp_path):
    path = tmp_path / "a_001.txt"
    path.write_text("1.0000\n1,2,3,4\n2.0000\n0\n")
    steps = read_trajectory(path, frames=4)
    assert [steps[0], steps[2], steps[3]] == [Code.STARTED, Code.FAILED, Code.SKIPPED]


def test_a_box_without_area_is_an_answer(tmp_path):
    path = tmp_path / "a_001.txt"
    path.write_text("1\n0,0,0,0\n")
    assert read_trajectory(path, frames=2)[1].tolist() == [0, 0, 0, 0]


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(DatasetError, match=r"b_001\.txt does not exist"):
        read_trajectory(tmp_path / "b_001.txt", frames=1)
