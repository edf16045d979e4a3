"""The frame to annotate next is where a correction helps most: in the middle of a doubtful stretch."""

import numpy as np
import pytest

from followspot.tracking.suggestion import HELP, REACH, SURE_ENOUGH, mended, suggest
from followspot.types import TrackedFrame, TrackedObject


def frames(*confidences, first=0, names=None):
    """One row of confidences an object."""
    names = names or [f"object {k + 1}" for k in range(len(confidences))]
    found = []
    for i, row in enumerate(zip(*confidences, strict=True)):
        objects = tuple(
            TrackedObject(name=n, kind="mask", mask_id=k + 1, box=None, points=(), confidence=None if c is None else float(c), lost=False)
            for k, (n, c) in enumerate(zip(names, row, strict=True))
        )
        found.append(TrackedFrame(index=i + first, name=f"{i + first:05d}", time_seconds=0.0, masks=None, maps=None, objects=objects))
    return found


def sure(count=60):
    return np.full(count, 0.95)


def test_the_middle_of_the_stretch_is_named():
    row = sure()
    row[30:51] = 0.2
    row[40] = 0.1
    found = suggest(frames(row))
    assert 35 <= found.index <= 45
    assert found.name == f"{found.index:05d}"
    assert found.objects == ("object 1",)
    assert f"around frame {found.name}" in found.reason
    assert "object 1" in found.reason
    assert "\n" not in found.reason


def test_a_blink_does_not_win_against_a_stretch():
    row = sure()
    row[10] = 0.0
    row[40:52] = 0.4
    assert 40 <= suggest(frames(row)).index < 52


def test_a_blink_alone_is_nothing():
    row = sure()
    row[30] = 0.0
    assert suggest(frames(row)) is None


def test_annotated_frames_are_not_suggested():
    row = sure()
    row[30:51] = 0.2
    best = suggest(frames(row)).index
    second = suggest(frames(row), annotated=[best])
    assert second.index != best
    assert 30 <= second.index <= 50
    assert suggest(frames(row), annotated=range(60)) is None


@pytest.mark.parametrize("rows", [[sure()], [np.full(60, SURE_ENOUGH)], [[None] * 20], []])
def test_nothing_to_suggest(rows):
    assert suggest(frames(*rows)) is None


def test_just_below_sure_enough():
    assert suggest(frames(np.full(60, SURE_ENOUGH - 0.01))) is not None


@pytest.mark.parametrize("count", [1, 2, 3, REACH, REACH + 1, 2 * REACH, 2 * REACH + 1])
def test_short_videos(count):
    row = np.full(count, 0.9)
    assert suggest(frames(row)) is None
    row[count // 2 :] = 0.1
    found = suggest(frames(row))
    assert count // 2 <= found.index < count
    assert suggest(frames(row), annotated=[0]) is None or count > 1


def test_the_worst_object_comes_first_and_sure_ones_are_left_out():
    low, lower = sure(), sure()
    low[20:41], lower[20:41] = 0.3, 0.1
    assert suggest(frames(low, sure(), lower, names=["cat", "dog", "nose"])).objects == ("nose", "cat")


def test_every_object_counts_alike():
    """Two objects half lost outweigh one that is wholly lost in another place."""
    first, second, third = sure(100), sure(100), sure(100)
    first[20:41] = 0.0
    second[70:91] = third[70:91] = 0.2
    assert 70 <= suggest(frames(first, second, third)).index < 91


def test_the_index_is_the_frames_own():
    row = sure()
    row[30:51] = 0.2
    assert suggest(frames(row, first=100)).index == suggest(frames(row)).index + 100


def test_frames_without_objects_do_not_count():
    row = sure()
    row[30:51] = 0.2
    late = [TrackedFrame(index=i, name=f"{i:05d}", time_seconds=0.0, masks=None, maps=None, objects=()) for i in range(7)]
    assert suggest(late + frames(row, first=7)).index == suggest(frames(row)).index + 7


def test_it_reads_any_iterable_once():
    row = np.full(30, 0.3)
    assert suggest(iter(frames(row))) == suggest(frames(row))


@pytest.mark.parametrize("marks", [[], [0], [0, 40], [7, 25, 49], list(range(50))])
def test_what_an_annotation_mends_is_the_formula(marks):
    doubt = np.random.default_rng(len(marks)).random(50)
    known = marks or [0]
    expected = []
    for c in range(50):
        total = 0.0
        for t in range(50):
            other = max((m for m in known if m < c), default=None) if t < c else min((m for m in known if m > c), default=None)
            share = 1.0 if t == c or other is None else max(0.0, (t - other) / (c - other))
            total += doubt[t] * np.exp(-abs(t - c) / HELP) * share
        expected.append(0.0 if c in known else total)
    np.testing.assert_allclose(mended(doubt, np.array(marks, np.intp)), expected)


def test_far_frames_do_not_matter():
    """A long video costs time that grows with its length, not with the square of it; nothing is lost by that."""
    doubt = np.random.default_rng(3).random(700)
    frames = np.arange(700)
    expected = [(doubt * np.exp(-np.abs(frames - c) / HELP) * np.minimum(1, frames / c)).sum() for c in frames[1:]]
    np.testing.assert_allclose(mended(doubt, np.zeros(1, np.intp))[1:], expected, atol=0.01)


def test_a_track_that_drifts_to_the_end_is_corrected_before_the_end():
    """The last frame is the least sure, but nothing comes after it that could be mended."""
    found = suggest(frames(np.linspace(1, 0.4, 61)), annotated=[0]).index
    assert 30 < found < 55


def test_the_half_that_has_an_annotation_is_left_alone():
    row = np.full(100, 0.4)
    assert 60 < suggest(frames(row), annotated=[0, 10, 20, 30, 40, 50]).index < 95
    assert 5 < suggest(frames(row), annotated=[50, 60, 70, 80, 90]).index < 40


def test_a_stretch_is_annotated_though_all_is_sure_enough_elsewhere():
    row = np.full(60, 0.9)
    assert suggest(frames(row)) is None
    assert suggest(frames(row), sure_enough=1.0) is not None
    assert suggest(frames(np.ones(60)), sure_enough=1.0) is None


def test_where_the_object_is_hidden_nothing_is_annotated():
    """Of frames that mend about as much, the one where most is to be seen."""
    row = np.linspace(1, 0.4, 61)
    best = suggest(frames(row), annotated=[0]).index
    row[best - 1 : best + 2] = 0.05
    hidden = suggest(frames(row), annotated=[0]).index
    assert hidden not in (best - 1, best, best + 1)
    assert abs(hidden - best) <= 8
