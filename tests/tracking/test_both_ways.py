"""Annotations anywhere in a video: forward, backward, and the blend between."""

from dataclasses import replace

import numpy as np
import pytest

from followspot.errors import AnnotationError, SettingError
from followspot.io.video import open_video
from followspot.tracking.both_ways import _share_of_backward, follow
from followspot.tracking.presets import Resolution
from followspot.tracking.propagation import PropagationTracker
from followspot.types import Masks, Points


@pytest.fixture
def video(shift):
    return open_video(np.stack([f.image for f in shift.frames()]), fps=10)


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def run(tracker, video, annotations, **options):
    return [answer for _, answer in follow(tracker, video, annotations, **options)]


def test_f110_first_frame_only_is_the_plain_stream(tracker, video, shift):
    given = {0: [Masks(ids=shift.mask(0))]}
    there = run(tracker, video, given)
    again = list(tracker.stream(shift.frames(), given))
    for a, b in zip(there, again, strict=True):
        np.testing.assert_array_equal(a.masks, b.masks)
        assert a.objects == b.objects


def test_backward_from_the_last_frame_mirrors_forward(tracker, shift, encoder, native):
    frames = np.stack([f.image for f in shift.frames()])
    forward = run(tracker, open_video(frames), {0: [Masks(ids=shift.mask(0))]})
    backward = run(PropagationTracker(encoder, native), open_video(frames[::-1].copy()), {7: [Masks(ids=shift.mask(0))]})
    for a, b in zip(forward, backward[::-1], strict=True):
        assert iou(a.masks > 0, b.masks > 0) > 0.97


def test_every_frame_has_an_answer_from_a_mark_in_the_middle(tracker, video, shift):
    answers = run(tracker, video, {3: [Masks(ids=shift.mask(3)), Points(xy=shift.point(3), names=("p",))]})
    assert [a.index for a in answers] == list(range(8))
    np.testing.assert_array_equal(answers[3].masks, shift.mask(3))
    for t in (0, 7):
        assert iou(answers[t].masks == 1, shift.mask(t) == 1) > 0.7
        spot = answers[t].objects[1].points[0]
        assert np.hypot(spot.x - shift.point(t)[0, 0], spot.y - shift.point(t)[0, 1]) < 1.5
        assert answers[t].objects[0].confidence > 0.5


def test_between_two_marks_both_count(tracker, video, shift):
    wrong = np.zeros(shift.size, np.uint8)
    wrong[36:48, 60:76] = 1
    answers = run(tracker, video, {0: [Masks(ids=wrong)], 7: [Masks(ids=shift.mask(7))]})
    np.testing.assert_array_equal(answers[0].masks, wrong)
    np.testing.assert_array_equal(answers[7].masks, shift.mask(7))
    near_start, near_end = answers[1].masks == 1, answers[6].masks == 1
    assert iou(near_start, wrong == 1) > iou(near_start, shift.mask(1) == 1)
    assert iou(near_end, shift.mask(6) == 1) > iou(near_end, wrong == 1)


def test_objects_marked_on_different_frames_share_the_masks(tracker, video, shift):
    static = np.zeros(shift.size, np.uint8)
    static[36:48, 60:76] = 2
    answers = run(tracker, video, {5: [Masks(ids=static)], 2: [Masks(ids=shift.mask(2))]})
    for t in (0, 3, 7):
        assert iou(answers[t].masks == 1, shift.mask(t) == 1) > 0.6
        assert iou(answers[t].masks == 2, static == 2) > 0.7
        assert [o.name for o in answers[t].objects] == ["object 1", "object 2"]


def test_forward_only_begins_at_the_mark(tracker, video, shift):
    answers = run(tracker, video, {3: [Masks(ids=shift.mask(3))]}, both_ways=False)
    assert [a.index for a in answers] == list(range(8))
    assert all(a.objects == () and not a.masks.any() and a.masks.shape == shift.size for a in answers[:3])
    assert iou(answers[7].masks == 1, shift.mask(7) == 1) > 0.7


def test_share_of_backward():
    assert [_share_of_backward(t, [2, 6]) for t in (0, 2, 3, 4, 6, 7)] == [1.0, 0.0, 0.25, 0.5, 0.0, 0.0]


def test_backward_maps_are_kept_and_used_again(tracker, video, shift, tmp_path):
    seen = []
    given = {4: [Masks(ids=shift.mask(4))]}
    first = run(tracker, video, given, scratch=tmp_path, on_backward=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 5) for i in range(1, 6)]
    second = run(tracker, video, given, scratch=tmp_path, on_backward=lambda done, total: seen.append("again"))
    assert "again" not in seen
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.masks, b.masks)
        assert a.objects == b.objects


@pytest.mark.parametrize("begin", [2, 5, 6])
def test_going_on_in_the_middle_equals_one_go(tracker, encoder, video, shift, tmp_path, begin, native):
    given = {1: [Points(xy=shift.point(1), names=("p",))], 4: [Masks(ids=shift.mask(4))]}
    whole = run(tracker, video, given, scratch=tmp_path)
    partial = PropagationTracker(encoder, native)
    for _, answer in follow(partial, video, given, scratch=tmp_path):
        if answer.index == begin - 1:
            break
    state = partial.state()
    other = PropagationTracker(encoder, native)
    other.restore(state, video.frame)
    rest = run(other, video, given, scratch=tmp_path, begin=begin)
    for a, b in zip(whole[begin:], rest, strict=True):
        np.testing.assert_array_equal(a.masks, b.masks)
        assert a.objects == b.objects


def test_errors(tracker, video, shift):
    with pytest.raises(AnnotationError, match="nothing to follow"):
        run(tracker, video, {})
    with pytest.raises(AnnotationError, match=r"frame 8 is annotated but .* has frames 0 to 7"):
        run(tracker, video, {8: [Masks(ids=shift.mask(0))]})
    with pytest.raises(AnnotationError, match="frame -1 is annotated"):
        run(tracker, video, {-1: [Masks(ids=shift.mask(0))]})
    once = open_video(iter([f.image for f in shift.frames()]))
    with pytest.raises(SettingError, match="cannot be rewound"):
        run(tracker, once, {3: [Masks(ids=shift.mask(3))]})


def test_a_camera_goes_forward(tracker, shift):
    once = open_video(iter([f.image for f in shift.frames()]))
    answers = run(tracker, once, {0: [Masks(ids=shift.mask(0))]})
    assert len(answers) == 8
    assert iou(answers[7].masks == 1, shift.mask(7) == 1) > 0.7


def test_resolution_grids():
    assert Resolution().grid(480, 854, stride=8) == (60, 107)
    assert Resolution(mode="square", pixels=320).grid(480, 854, stride=8) == (40, 40)
    assert Resolution(mode="native").grid(5, 9, stride=8) == (1, 2)
    assert replace(Resolution(), pixels=240).grid(480, 640, stride=4) == (60, 80)
    with pytest.raises(SettingError, match=r"outside 16\.\.8192"):
        Resolution(pixels=4)
