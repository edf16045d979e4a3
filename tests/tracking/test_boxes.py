"""Boxes as channels: booked, moved, remembered, corrected, forgotten."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from followspot.ops.box_frame import PARTS
from followspot.ops.propagate import Affinity
from followspot.tracking.channels import Channels
from followspot.tracking.presets import Preset, Resolution
from followspot.tracking.propagation import PropagationTracker
from followspot.types import Boxes, Frame, Masks, Points

native = Preset(
    name="test",
    source="test",
    affinity=Affinity(top_k=5, temperature=0.05, radius=3, radius_first=None),
    context_frames=2,
    resolution=Resolution(mode="native"),
)
SIZE, GRID = (48, 80), (12, 20)


@pytest.fixture
def books():
    return Channels(image_size=SIZE, grid=GRID)


def box_of(answer, name="b"):
    return np.array(next(o.box for o in answer.objects if o.name == name))


def overlap(one, other):
    width, height = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    shared = max(width, 0) * max(height, 0)
    return shared / (np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]) - shared)


def test_a_box_is_one_coverage_and_its_frame(books):
    xyxy = np.array([[4.0, 4, 20, 20], [40.0, 8, 60, 30]])
    maps = books.admit([Boxes(xyxy=xyxy, names=("a", "b")), Points(xy=np.array([[3.0, 3]]), names=("c",))])
    assert sorted(maps) == list(range(2 * len(PARTS) + 1))
    assert [c.role for c in books.items[: len(PARTS)]] == ["box"] + ["frame"] * (len(PARTS) - 1)
    assert books.items[0].key == ("box", "a", "")
    assert books.frame("b") == list(range(len(PARTS), 2 * len(PARTS)))
    assert len({c.key for c in books.items}) == len(books)
    objects = books.decode(books.merge(None, maps)).objects
    assert [(o.kind, o.name) for o in objects] == [("box", "a"), ("box", "b"), ("point", "c")]
    np.testing.assert_allclose([o.box for o in objects[:2]], xyxy, atol=0.05)


def test_books_survive_their_state(books):
    books.admit([Boxes(xyxy=np.array([[4.0, 4, 20, 20]]), names=("a",))])
    assert Channels.from_state(books.state()) == books


def test_a_forgotten_box_leaves_the_others(books):
    maps = books.admit([Boxes(xyxy=np.array([[4.0, 4, 20, 20], [40.0, 8, 60, 30]]), names=("a", "b"))])
    labels = books.merge(None, maps)
    gone = books.forget("a")
    assert gone == list(range(len(PARTS)))
    kept = labels[[i for i in range(len(labels)) if i not in gone]]
    np.testing.assert_allclose(books.decode(kept).objects[0].box, (40, 8, 60, 30), atol=0.05)


def test_redraw_touches_nothing_but_frames(books):
    ids = np.zeros(SIZE, np.uint8)
    ids[10:20, 10:20] = 1
    given = [Masks(ids=ids), Points(xy=np.array([[30.0, 30]]), names=("p",))]
    labels = books.merge(None, books.admit(given))
    assert books.redraw(labels) is labels
    labels = torch.cat([labels, books.merge(None, books.admit([Boxes(xyxy=np.array([[4.0, 4, 28, 28]]), names=("b",))]))[len(labels) :]])
    faded = 0.5 * labels
    again = books.redraw(faded)
    same = [i for i, c in enumerate(books.items) if c.role != "frame"]
    assert torch.equal(again[same], faded[same])
    assert not torch.equal(again, faded)
    assert torch.equal(faded, 0.5 * labels)


@pytest.mark.parametrize("recursion", ["soft", "hard"])
def test_f102_a_box_moves_with_what_is_in_it(encoder, shift, recursion, native):
    tracker = PropagationTracker(encoder, replace(native, recursion=recursion))
    answers = list(tracker.stream(shift.frames(), {0: [Boxes(xyxy=shift.box(0), names=("b",))]}))
    for t, answer in enumerate(answers):
        assert np.abs(box_of(answer) - shift.box(t)[0]).max() < 1
        assert overlap(box_of(answer), shift.box(t)[0]) > 0.8
    assert answers[-1].objects[0].confidence > 0.5


def test_a_box_stays_whole_when_half_of_the_object_changes(tracker, shift):
    """The lower half turns into noise: what is left knows where the whole box is."""
    rng = np.random.default_rng(0)
    tracker.start(shift.frame(0), [Boxes(xyxy=shift.box(0), names=("b",))])
    for t in range(1, 5):
        image = shift.frame(t).image.copy()
        x, y = shift.corner(t)
        image[y + 8 : y + 16, x : x + 16] = rng.integers(0, 255, (8, 16, 3), dtype=np.uint8)
        answer = tracker.step(replace(shift.frame(t), image=image))
        corners = box_of(answer).reshape(2, 2)
        assert np.abs(corners[1] - corners[0] - 16).max() < 3
        assert np.abs(corners - shift.box(t).reshape(2, 2)).max() < 6


def test_a_loose_box_follows_the_object_and_not_the_background(tracker, shift):
    """The margin repeats and stays where it is; it must lose its say."""
    margin = np.array([-4.0, -4, 4, 4])
    answers = list(tracker.stream(shift.frames(), {0: [Boxes(xyxy=shift.box(0) + margin, names=("b",))]}))
    for t in (3, 7):
        middle = box_of(answers[t]).reshape(2, 2).mean(0)
        assert np.abs(middle - shift.box(t)[0].reshape(2, 2).mean(0)).max() < 3


def test_a_box_that_begins_partly_outside_keeps_its_size(encoder, native):
    rng = np.random.default_rng(0)
    back = rng.integers(0, 255, (48, 120, 3), dtype=np.uint8)
    frames = [
        Frame(image=np.ascontiguousarray(back[:, 20 - 4 * t : 100 - 4 * t]), index=t, time_seconds=t / 10, name=str(t)) for t in range(5)
    ]
    tracker = PropagationTracker(encoder, native)
    answers = list(tracker.stream(frames, {0: [Boxes(xyxy=np.array([[-12.0, 10, 16, 38]]), names=("b",))]}))
    np.testing.assert_allclose(answers[0].objects[0].box, (-12, 10, 16, 38))
    np.testing.assert_allclose(box_of(answers[2]), (0, 10, 24, 38), atol=2)
    np.testing.assert_allclose(box_of(answers[4]), (4, 10, 32, 38), atol=2)


def test_a_box_that_is_added_later_does_not_suffer_from_frames_before(tracker, shift):
    tracker.start(shift.frame(0), [Boxes(xyxy=np.array([[60.0, 36, 80, 48]]), names=("corner",))])
    tracker.step(shift.frame(1))
    tracker.step(shift.frame(2), [Boxes(xyxy=shift.box(2), names=("late",))])
    for t in range(3, 8):
        answer = tracker.step(shift.frame(t))
    assert np.abs(box_of(answer, "late") - shift.box(7)[0]).max() < 1
    assert np.abs(box_of(answer, "corner") - [60, 36, 80, 48]).max() < 1


def test_a_correction_counts_from_then_on(tracker, shift):
    tracker.start(shift.frame(0), [Boxes(xyxy=np.array([[60.0, 36, 80, 48]]), names=("b",))])
    tracker.step(shift.frame(1))
    tracker.step(shift.frame(2), [Boxes(xyxy=shift.box(2), names=("b",))])
    answer = tracker.step(shift.frame(3))
    assert np.abs(box_of(answer) - shift.box(3)[0]).max() < 4


def test_state_goes_on_bit_for_bit(encoder, shift, native):
    whole = PropagationTracker(encoder, native)
    whole.start(shift.frame(0), [Boxes(xyxy=shift.box(0) + np.array([-3.0, 0, 2, 1]), names=("b",))])
    for t in range(1, 4):
        whole.step(shift.frame(t))
    again = PropagationTracker(encoder, native)
    again.restore(whole.state(), shift.frame)
    for t in range(4, 8):
        assert whole.step(shift.frame(t)).objects == again.step(shift.frame(t)).objects
        assert torch.equal(whole.labels, again.labels)
