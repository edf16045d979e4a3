"""The state machine: what goes in comes out, moved."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from followspot.errors import AnnotationError, SettingError, VideoError
from followspot.io.video import open_video
from followspot.tracking.base import Tracker
from followspot.tracking.presets import PRESETS, Resolution
from followspot.tracking.propagation import PropagationTracker
from followspot.types import Boxes, Frame, Keypoints, LabelMaps, Masks, Points


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def test_follows_every_kind_of_annotation_in_one_pass(tracker, shift):
    given = [
        Masks(ids=shift.mask(0)),
        Boxes(xyxy=shift.box(0), names=("crate",)),
        Points(xy=shift.point(0), names=("nose",)),
        Keypoints(xy=np.vstack([shift.point(0), shift.point(0) + 4]), joints=("a", "b"), skeleton=((0, 1),), name="dog"),
        LabelMaps(weights=shift.mask(0)[None].astype(np.float32), names=("heat",)),
    ]
    answers = list(tracker.stream(shift.frames(), {0: given}))
    assert [a.index for a in answers] == list(range(8))
    last = answers[-1]
    objects = {o.name: o for o in last.objects}
    assert list(objects) == ["object 1", "crate", "nose", "dog", "heat"]
    assert iou(last.masks == 1, shift.mask(7) == 1) > 0.85
    assert np.abs(np.array(objects["crate"].box) - shift.box(7)[0]).max() < 1
    spot = objects["nose"].points[0]
    assert np.hypot(*(np.array([spot.x, spot.y]) - shift.point(7)[0])) < 1
    assert [p.name for p in objects["dog"].points] == ["a", "b"]
    assert np.hypot(objects["dog"].points[1].x - shift.point(7)[0, 0] - 4, objects["dog"].points[1].y - shift.point(7)[0, 1] - 4) < 1
    assert iou(last.maps[0] > 0.5, shift.mask(7) == 1) > 0.7
    assert not any(o.lost for o in last.objects)
    assert all(o.confidence > 0.5 for o in last.objects)


def test_the_annotated_frame_comes_back_exactly(tracker, shift):
    ids = np.zeros(shift.size, np.uint8)
    ids[5, 7] = 9  # one pixel, smaller than any cell
    box = np.array([[3.25, 4.5, 9.0, 11.75]])
    answer = tracker.start(
        shift.frame(0),
        [Masks(ids=ids), Boxes(xyxy=box, names=("b",)), Points(xy=np.array([[1.3, 2.7]]), names=("p",))],
    )
    np.testing.assert_array_equal(answer.masks, ids)
    assert answer.objects[1].box == (3.25, 4.5, 9.0, 11.75)
    assert (answer.objects[2].points[0].x, answer.objects[2].points[0].y) == (1.3, 2.7)
    assert all(o.confidence == 1 for o in answer.objects)


def test_it_is_a_tracker(tracker):
    assert isinstance(tracker, Tracker)


def test_memory_does_not_grow(tracker, shift):
    tracker.start(shift.frame(0), [Masks(ids=shift.mask(0))])
    sizes = []
    for t in range(1, 8):
        tracker.step(shift.frame(t))
        sizes.append(len(tracker.memory.bank))
    assert sizes == [2, 3, 3, 3, 3, 3, 3]


def test_an_object_that_is_added_later_does_not_suffer_from_frames_before(tracker, shift):
    tracker.start(shift.frame(0), [Points(xy=np.array([[70.0, 40.0]]), names=("corner",))])
    tracker.step(shift.frame(1))
    tracker.step(shift.frame(2))
    answer = tracker.step(shift.frame(3), [Masks(ids=shift.mask(3, value=7), names={7: "late"})])
    assert [o.name for o in answer.objects] == ["corner", "late"]
    for t in range(4, 8):
        answer = tracker.step(shift.frame(t))
    assert iou(answer.masks == 7, shift.mask(7) == 1) > 0.7
    assert answer.objects[1].mask_id == 7


def test_a_late_mask_among_masks_keeps_both(tracker, shift):
    static = np.zeros(shift.size, np.uint8)
    static[36:48, 60:80] = 2
    tracker.start(shift.frame(0), [Masks(ids=static)])
    tracker.step(shift.frame(1), [Masks(ids=shift.mask(1, value=5))])
    for t in range(2, 8):
        answer = tracker.step(shift.frame(t))
    assert iou(answer.masks == 5, shift.mask(7) == 1) > 0.7
    assert iou(answer.masks == 2, static == 2) > 0.7


def test_a_correction_counts_from_then_on(tracker, shift):
    tracker.start(shift.frame(0), [Masks(ids=shift.mask(0))])
    rng = np.random.default_rng(1)
    for t in range(1, 4):  # the square is hidden by noise, and the labels with it
        answer = tracker.step(replace(shift.frame(t), image=rng.integers(0, 255, (*shift.size, 3), dtype=np.uint8)))
    assert iou(answer.masks == 1, shift.mask(3) == 1) < 0.5
    answer = tracker.step(shift.frame(4))
    assert len(tracker.memory.bank) == 3
    answer = tracker.add([Masks(ids=shift.mask(4))])
    np.testing.assert_array_equal(answer.masks, shift.mask(4))
    assert len(tracker.memory.bank) == 2  # what was remembered of the frames before is forgotten, both references stay
    for t in range(5, 8):
        answer = tracker.step(shift.frame(t))
        assert iou(answer.masks == 1, shift.mask(t) == 1) > 0.85


def test_remove(tracker, shift):
    static = shift.mask(0)
    static[36:48, 60:80] = 2
    tracker.start(shift.frame(0), [Masks(ids=static), Points(xy=shift.point(0), names=("p",))])
    tracker.step(shift.frame(1))
    tracker.remove("object 2")
    answer = tracker.step(shift.frame(2))
    assert [o.name for o in answer.objects] == ["object 1", "p"]
    assert set(np.unique(answer.masks)) == {0, 1}
    assert iou(answer.masks == 1, shift.mask(2) == 1) > 0.7
    tracker.remove("object 1")
    answer = tracker.step(shift.frame(3))
    assert answer.masks is None
    assert [o.name for o in answer.objects] == ["p"]
    with pytest.raises(AnnotationError, match="cannot remove 'cat': followed are p"):
        tracker.remove("cat")


def test_an_object_that_leaves_is_lost(tracker, shift):
    frames = shift.frames()
    tracker.start(frames[0], [Masks(ids=shift.mask(0)), Points(xy=shift.point(0), names=("p",))])
    rng = np.random.default_rng(1)
    for t in range(1, 6):
        noise = rng.integers(0, 255, (*shift.size, 3), dtype=np.uint8)
        answer = tracker.step(replace(frames[t], image=noise))
    assert all(o.lost for o in answer.objects)
    assert all(o.confidence < 0.5 for o in answer.objects)


def test_without_confidence_nothing_is_claimed(encoder, shift, native):
    tracker = PropagationTracker(encoder, native, confidence=False)
    tracker.start(shift.frame(0), [Masks(ids=shift.mask(0)), Points(xy=shift.point(0), names=("p",))])
    answer = tracker.step(shift.frame(1))
    assert [o.confidence for o in answer.objects] == [None, None]
    assert answer.objects[1].points[0].confidence is None


def test_state_goes_on_bit_for_bit(encoder, shift, native):
    given = [Masks(ids=shift.mask(0)), Points(xy=shift.point(0), names=("p",)), Boxes(xyxy=shift.box(0), names=("b",))]
    whole = PropagationTracker(encoder, native)
    whole.start(shift.frame(0), given)
    for t in range(1, 4):
        whole.step(shift.frame(t), [Masks(ids=shift.mask(2, value=3))] if t == 2 else ())
    again = PropagationTracker(encoder, native)
    again.restore(whole.state(), shift.frame)
    for t in range(4, 8):
        a, b = whole.step(shift.frame(t)), again.step(shift.frame(t))
        np.testing.assert_array_equal(a.masks, b.masks)
        assert a.objects == b.objects
        assert torch.equal(whole.labels, again.labels)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_f105_every_preset_tracks_and_a_class_may_vanish(encoder, shift, name):
    preset = replace(PRESETS[name], resolution=Resolution(mode="native"))
    tracker = PropagationTracker(encoder, preset)
    ids = shift.mask(0)
    ids[0, 0] = 2  # a class that vanishes at once must not turn into NaN
    answers = list(tracker.stream(shift.frames(), {0: [Masks(ids=ids), Points(xy=shift.point(0), names=("p",))]}))
    assert torch.isfinite(tracker.labels).all()
    if name not in ("colorization", "corrflow"):  # raw products of raw pixels say little; those presets need their encoders
        assert iou(answers[3].masks == 1, shift.mask(3) == 1) > 0.6


def test_f106_presets_have_the_published_values():
    table = {
        name: (p.context_frames, p.affinity.top_k, p.affinity.radius, p.affinity.radius_first, round(p.affinity.temperature, 4))
        for name, p in PRESETS.items()
    }
    assert table["colorization"] == (3, None, None, None, 0.5)
    assert table["corrflow"] == (1, None, 6, 6, 1.0)
    assert table["timecycle"] == (7, 5, None, None, 0.0442)
    assert table["uvc"] == (7, 20, None, None, 0.0442)
    assert table["crw"] == (20, 10, 12, None, 0.05)
    assert PRESETS["corrflow"].recursion == "hard"
    assert PRESETS["timecycle"].class_normalize
    assert not PRESETS["timecycle"].affinity.joint
    assert not PRESETS["timecycle"].affinity.renormalize


def test_hard_recursion_remembers_the_decoded_answer(encoder, shift, native):
    tracker = PropagationTracker(encoder, replace(native, recursion="hard"))
    given = [Masks(ids=shift.mask(0)), Boxes(xyxy=shift.box(0), names=("b",)), Points(xy=shift.point(0), names=("p",))]
    tracker.start(shift.frame(0), given)
    answer = tracker.step(shift.frame(1))
    newest = tracker.memory.bank.entries[-1] if not tracker.memory.bank.entries[-1].permanent else tracker.memory.bank.entries[1]
    masks = newest.labels.t()[tracker.channels.indices("background", "mask")]
    np.testing.assert_allclose(masks.sum(0).numpy(), 1, atol=1e-6)
    assert iou(answer.masks == 1, shift.mask(1) == 1) > 0.7


def test_f108_255_masks(encoder, native):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (64, 68, 3), dtype=np.uint8)
    ids = np.zeros((64, 68), np.uint8)
    ids.reshape(16, 4, 17, 4)[:] = (np.arange(16 * 17).reshape(16, 1, 17, 1) % 256).astype(np.uint8)
    tracker = PropagationTracker(encoder, native, confidence=False)
    frame = Frame(image=image, index=0, time_seconds=0, name="0")
    tracker.start(frame, [Masks(ids=ids)])
    answer = tracker.step(replace(frame, index=1))
    assert len(answer.objects) == 255
    assert (answer.masks == ids).mean() > 0.7
    with pytest.raises(AnnotationError, match="at most 255 masks"):
        tracker.add([Masks(ids=np.ones((64, 68), np.uint8), names={1: "one too many"})])


def test_errors_leave_the_tracker_as_it_was(tracker, shift):
    with pytest.raises(SettingError, match="before start"):
        tracker.step(shift.frame(0))
    with pytest.raises(SettingError, match="before start"):
        tracker.add([Masks(ids=shift.mask(0))])
    with pytest.raises(AnnotationError, match="nothing to follow"):
        tracker.start(shift.frame(0), [])
    with pytest.raises(AnnotationError, match="the mask is 8x8 but the video is 80x48"):
        tracker.start(shift.frame(0), [Masks(ids=np.ones((8, 8), np.uint8))])
    with pytest.raises(AnnotationError, match="empty"):
        tracker.start(shift.frame(0), [Masks(ids=np.zeros(shift.size, np.uint8))])
    with pytest.raises(AnnotationError, match="twice"):
        tracker.start(shift.frame(0), [Points(xy=shift.point(0), names=("p",)), Points(xy=shift.point(0), names=("p",))])
    tracker.start(shift.frame(0), [Masks(ids=shift.mask(0))])
    books = tracker.channels
    with pytest.raises(AnnotationError, match="label map is 4x4"):
        tracker.add([LabelMaps(weights=np.ones((1, 4, 4), np.float32), names=("m",))])
    assert tracker.channels is books
    small = Frame(image=np.zeros((8, 8, 3), np.uint8), index=1, time_seconds=0, name="1")
    with pytest.raises(VideoError, match="began with 80x48"):
        tracker.step(small)
    with pytest.raises(SettingError, match='did you mean "timecycle"'):
        PropagationTracker(tracker.encoder, "timecyle")
    with pytest.raises(AnnotationError, match="frame 99 is annotated"):
        list(tracker.stream(shift.frames(), {0: [Masks(ids=shift.mask(0))], 99: [Masks(ids=shift.mask(0))]}))


def test_without_its_last_object_the_tracker_is_as_new(tracker, shift):
    tracker.start(shift.frame(0), [Points(xy=shift.point(0), names=("p",))])
    tracker.step(shift.frame(1), [Masks(ids=shift.mask(1))])
    tracker.remove("p")
    tracker.remove("object 1")
    with pytest.raises(SettingError, match="before start"):
        tracker.step(shift.frame(2))


def test_track_follows_at_once(tracker, shift):
    video = open_video(np.stack([f.image for f in shift.frames()]))
    track = tracker.track(video, {2: [Masks(ids=shift.mask(2))]})
    assert len(track) == 8
    assert iou(track.frames[0].masks == 1, shift.mask(0) == 1) > 0.7
    assert iou(track.frames[7].masks == 1, shift.mask(7) == 1) > 0.7
    assert track.suggestion is None or track.suggestion.index != 2


def test_only_what_was_annotated_is_certain(tracker, shift):
    joints = Keypoints(xy=np.vstack([shift.point(0), shift.point(0) + 4]), joints=("a", "b"), name="dog")
    tracker.start(shift.frame(0), [joints])
    partly = Keypoints(xy=np.vstack([shift.point(1), [[np.nan, np.nan]]]), joints=("a", "b"), name="dog")
    answer = tracker.step(shift.frame(1), [partly])
    a, b = answer.objects[0].points
    assert (a.x, a.y, a.confidence) == (*shift.point(1)[0], 1.0)
    assert b.confidence < 1
    assert np.hypot(b.x - shift.point(1)[0, 0] - 4, b.y - shift.point(1)[0, 1] - 4) < 1.5


def test_one_name_is_one_object(tracker, shift):
    given = [Masks(ids=shift.mask(0), names={1: "cat"}), Boxes(xyxy=shift.box(0), names=("cat",))]
    with pytest.raises(AnnotationError, match="'cat' is annotated as mask and as box"):
        tracker.start(shift.frame(0), given)
