"""F112, F113: identity, optical flow and template matching as trackers."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from followspot.errors import AnnotationError, SettingError, VideoError
from followspot.ops.flow import FLOWS
from followspot.tracking.base import Tracker
from followspot.tracking.flow import FlowTracker
from followspot.tracking.identity import IdentityTracker
from followspot.tracking.template import TemplateTracker
from followspot.types import Boxes, Frame, Keypoints, LabelMaps, Masks, Points

STEP = np.array([3, 2])
SIZE = (72, 96)


def smooth(height, width, seed):
    noise = cv2.GaussianBlur(np.random.default_rng(seed).random((height, width, 3)), (0, 0), 2)
    return ((noise - noise.min()) / np.ptp(noise) * 255).astype(np.uint8)


WORLD = smooth(140, 160, 0)


def frame(t):
    """Everything moves by STEP a frame."""
    x, y = 40 - STEP * t
    return Frame(image=WORLD[y : y + SIZE[0], x : x + SIZE[1]].copy(), index=t, time_seconds=t / 10, name=f"{t:05d}")


def mask(t, value=1):
    ids = np.zeros(SIZE, np.uint8)
    x, y = np.array([20, 15]) + STEP * t
    ids[y : y + 20, x : x + 30] = value
    return ids


def annotations(t=0):
    offset = STEP * t
    return [
        Masks(ids=mask(t)),
        Boxes(xyxy=np.array([[20.25, 15.5, 50, 35.75]]) + np.tile(offset, 2), names=("crate",)),
        Points(xy=np.array([[30.4, 20.3]]) + offset, names=("nose",)),
        Keypoints(xy=np.array([[25.0, 30.0], [np.nan, np.nan]]) + offset, joints=("a", "b"), name="dog"),
        LabelMaps(weights=(0.4 * mask(t))[None].astype(np.float32), names=("heat",)),
    ]


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def still_flow(first, second):
    return np.zeros((2, *first.shape[:2]))


def step_flow(first, second):
    """The truth, given which of the two frames comes later."""
    forward = np.abs(first[2:, 3:].astype(int) - second[:-2, :-3]).sum() > np.abs(first[:-2, :-3].astype(int) - second[2:, 3:]).sum()
    return np.broadcast_to((STEP if forward else -STEP)[:, None, None], (2, *first.shape[:2])).astype(np.float64)


def broken_flow(first, second):
    return np.full((2, *first.shape[:2]), np.nan)


not_a_function = 3


@pytest.fixture(params=["identity", "template", *FLOWS, f"{__name__}:step_flow"])
def tracker(request):
    return {"identity": IdentityTracker, "template": TemplateTracker}.get(request.param, lambda: FlowTracker(request.param))()


def fitting(tracker, given):
    return [a for a in given if isinstance(a, Boxes)] if isinstance(tracker, TemplateTracker) else given


def test_f112_each_baseline_speaks_the_whole_protocol(tracker):
    assert isinstance(tracker, Tracker)
    given = fitting(tracker, annotations())
    answers = list(tracker.stream([frame(t) for t in range(4)], {1: given}))
    assert [(a.index, a.name, a.time_seconds) for a in answers] == [(t, f"{t:05d}", t / 10) for t in (1, 2, 3)]
    assert all(o.confidence is None for a in answers for o in a.objects)
    with pytest.raises(VideoError, match="is 90x72 but the video began with 96x72"):
        tracker.step(replace(frame(4), image=np.zeros((72, 90, 3), np.uint8)))
    tracker.reset()
    with pytest.raises(SettingError, match="before start"):
        tracker.step(frame(4))
    with pytest.raises(SettingError, match="before start"):
        tracker.add(given)
    with pytest.raises(AnnotationError, match="nothing to follow"):
        tracker.start(frame(0), [])
    with pytest.raises(AnnotationError, match="cannot remove 'x': followed are nothing yet"):
        tracker.remove("x")
    with pytest.raises(AnnotationError, match="frame 9 is annotated but"):
        list(tracker.stream([frame(0)], {9: given}))


def check_exact(answer, t=0):
    objects = {o.name: o for o in answer.objects}
    assert list(objects) == ["object 1", "crate", "nose", "dog", "heat"]
    np.testing.assert_array_equal(answer.masks, mask(t))
    np.testing.assert_array_equal(answer.maps, (0.4 * mask(t))[None].astype(np.float32))
    x, y = STEP * t
    assert objects["crate"].box == (20.25 + x, 15.5 + y, 50 + x, 35.75 + y)
    assert objects["object 1"].box == objects["heat"].box == (20 + x, 15 + y, 50 + x, 35 + y)
    assert (objects["nose"].points[0].x, objects["nose"].points[0].y) == (30.4 + x, 20.3 + y)
    a, b = objects["dog"].points
    assert (a.name, a.x, a.y, a.lost) == ("a", 25 + x, 30 + y, False)
    assert (b.name, b.lost) == ("b", True)
    assert not any(o.lost for o in answer.objects)


def test_f112_identity_is_the_annotation_in_every_frame():
    for answer in IdentityTracker().stream([frame(t) for t in range(5)], {0: annotations()}):
        check_exact(answer)


def test_f113_flow_gives_the_annotated_frame_back_exactly_and_follows_a_known_flow():
    for t, answer in enumerate(FlowTracker(f"{__name__}:step_flow").stream([frame(t) for t in range(5)], {0: annotations()})):
        if not t:
            check_exact(answer)
        np.testing.assert_array_equal(answer.masks, mask(t))
        np.testing.assert_allclose(answer.maps, (0.4 * mask(t))[None], atol=1e-6)
        objects = {o.name: o for o in answer.objects}
        np.testing.assert_allclose(objects["crate"].box, np.array([20.25, 15.5, 50, 35.75]) + np.tile(STEP * t, 2))
        np.testing.assert_allclose([objects["nose"].points[0].x, objects["nose"].points[0].y], [30.4, 20.3] + STEP * t)


@pytest.mark.parametrize("method", FLOWS)
def test_f113_a_known_translation_is_recovered(method):
    *_, last = FlowTracker(method).stream([frame(t) for t in range(8)], {0: annotations()})
    objects = {o.name: o for o in last.objects}
    assert iou(last.masks == 1, mask(7) == 1) > 0.93
    assert iou(last.maps[0] > 0.2, mask(7) == 1) > 0.93
    assert np.abs(np.array(objects["crate"].box) - [41.25, 29.5, 71, 49.75]).max() < 1
    assert np.hypot(objects["nose"].points[0].x - 51.4, objects["nose"].points[0].y - 34.3) < 1
    assert np.hypot(objects["dog"].points[0].x - 46, objects["dog"].points[0].y - 44) < 1
    assert np.isfinite(last.maps).all()


def test_template_recovers_a_known_translation():
    *_, last = TemplateTracker().stream([frame(t) for t in range(8)], {0: annotations()[1:2]})
    assert last.objects[0].box == (41.25, 29.5, 71, 49.75)


def test_the_template_agrees_with_correlation_by_the_formula():
    """Every whole-pixel place in the searched square, its correlation from the definition."""
    rng = np.random.default_rng(3)
    tracker, box = TemplateTracker(), np.array([[10.0, 12, 18, 17]])
    first, second = (rng.integers(0, 255, (40, 50, 3), dtype=np.uint8) for _ in range(2))
    tracker.start(replace(frame(0), image=first), [Boxes(xyxy=box, names=("b",))])
    found = tracker.step(replace(frame(1), image=second)).objects[0].box
    one, two = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(float) for image in (first, second))
    template = one[12:17, 10:18]
    fits = {}
    for y in range(40 - 5 + 1):
        for x in range(50 - 8 + 1):
            if 6 <= x <= 14 and 6 <= y <= 17:  # all of it within a square of 16 around the box's centre (14, 14.5), cut to whole pixels
                fits[x, y] = np.corrcoef(template.ravel(), two[y : y + 5, x : x + 8].ravel())[0, 1]
    assert max(fits, key=fits.get) == found[:2]


def test_a_template_partly_outside_or_flat_stays_sane():
    tracker = TemplateTracker()
    tracker.start(frame(0), [Boxes(xyxy=np.array([[-10.5, -5, 20, 20]]), names=("edge",))])
    moved = tracker.step(frame(1)).objects[0].box
    assert moved == (-7.5, -3, 23, 22)
    flat = replace(frame(0), image=np.full((*SIZE, 3), 90, np.uint8))
    tracker.start(flat, [Boxes(xyxy=np.array([[10.0, 10, 20, 20], [-30, -30, -10, -10]]), names=("flat", "outside"))])
    flat_object, outside = tracker.step(frame(1)).objects
    assert flat_object.box == (10, 10, 20, 20)
    assert outside.box is None
    assert outside.lost
    tracker.start(frame(0), [Boxes(xyxy=np.array([[10.0, 10, 20, 20]]), names=("b",))])
    assert tracker.step(flat).objects[0].box == (10, 10, 20, 20)


def test_the_template_tracker_refuses_all_but_boxes():
    for given, kind in zip(annotations(), ("masks", "", "points", "keypoints", "labelmaps"), strict=True):
        if kind:
            with pytest.raises(AnnotationError, match=f"follows boxes only, got {kind}"):
                TemplateTracker().start(frame(0), [given])


def test_corrections_late_objects_and_removal():
    tracker = FlowTracker(f"{__name__}:step_flow")
    both = mask(0)
    both[50:60, 5:15] = 2
    tracker.start(frame(0), [Masks(ids=both), Points(xy=np.array([[30.0, 20]]), names=("p",))])
    correction = np.zeros(SIZE, np.uint8)
    correction[0:6, 0:6] = 1
    late = Masks(ids=np.where(np.arange(96) >= 90, 1, 0).astype(np.uint8)[None].repeat(72, 0), names={1: "late"})
    tracker.step(frame(1))
    answer = tracker.step(frame(2), [Masks(ids=correction), late])
    assert [(o.name, o.mask_id) for o in answer.objects] == [("object 1", 1), ("object 2", 2), ("p", None), ("late", 3)]
    np.testing.assert_array_equal(answer.masks == 1, correction == 1)
    np.testing.assert_array_equal(answer.masks == 3, late.ids == 1)
    np.testing.assert_array_equal(answer.masks == 2, np.roll(both == 2, 2 * STEP[::-1], (0, 1)))
    answer = tracker.step(frame(3))
    assert answer.masks[5, 7] == 1
    tracker.remove("object 1")
    answer = tracker.step(frame(4))
    assert [o.name for o in answer.objects] == ["object 2", "p", "late"]
    assert not (answer.masks == 1).any()
    with pytest.raises(AnnotationError, match="cannot remove 'cat': followed are object 2, p, late"):
        tracker.remove("cat")
    for name in ("object 2", "late"):
        tracker.remove(name)
    assert tracker.step(frame(5)).masks is None
    tracker.remove("p")
    with pytest.raises(SettingError, match="before start"):
        tracker.step(frame(6))


def test_a_joint_that_is_unknown_in_a_correction_stays():
    tracker = IdentityTracker()
    tracker.start(frame(0), [Keypoints(xy=np.array([[1.0, 2], [3, 4]]), joints=("a", "b"))])
    tracker.step(frame(1))
    answer = tracker.add([Keypoints(xy=np.array([[9.0, 8], [np.nan, np.nan], [5, 6]]), joints=("b", "a", "c"))])
    assert [(p.name, p.x, p.y) for p in answer.objects[0].points] == [("a", 1, 2), ("b", 9, 8), ("c", 5, 6)]


def test_annotations_that_do_not_fit_change_nothing():
    tracker = IdentityTracker()
    tracker.start(frame(0), [Points(xy=np.array([[1.0, 2]]), names=("p",))])
    with pytest.raises(AnnotationError, match="annotated as point and as box"):
        tracker.add([Masks(ids=mask(0)), Boxes(xyxy=np.array([[0.0, 0, 5, 5]]), names=("p",))])
    answer = tracker.step(frame(1))
    assert [o.name for o in answer.objects] == ["p"]
    assert answer.masks is None


def test_what_leaves_the_picture_is_lost_and_forty_objects_stay_apart():
    tracker = FlowTracker(f"{__name__}:step_flow")
    ids = np.zeros(SIZE, np.uint8)
    ids[:40, :80] = np.kron(np.arange(1, 41).reshape(5, 8), np.ones((8, 10)))
    tracker.start(frame(0), [Masks(ids=ids), Points(xy=np.array([[94.0, 70]]), names=("p",))])
    for t in range(1, 4):
        answer = tracker.step(frame(t))
    np.testing.assert_array_equal(answer.masks[6:46, 9:89], ids[:40, :80])
    assert [o.name for o in answer.objects if o.lost] == ["p"]
    assert (answer.objects[-1].points[0].x, answer.objects[-1].points[0].y) == (103, 76)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("raft", "flow 'raft' is unknown; choose one of dis, farneback, coarse-to-fine, or module:function"),
        ("no.such.module:flow", "cannot be imported"),
        (f"{__name__}:missing", "cannot be imported"),
        (f"{__name__}:not_a_function", "is a int, expected a function"),
        (":flow", "is unknown"),
    ],
)
def test_f112_a_learnt_flow_is_named_or_refused(method, message):
    with pytest.raises(SettingError, match=message):
        FlowTracker(method)


def test_f112_a_flow_of_ones_own_is_named_honestly_and_checked():
    assert FlowTracker(f"{__name__}:still_flow").method == f"{__name__}:still_flow"
    tracker = FlowTracker(f"{__name__}:broken_flow")
    tracker.start(frame(0), annotations()[:1])
    with pytest.raises(SettingError, match="broken_flow' gave"):
        tracker.step(frame(1))


def test_real_flow_beats_identity(shared_data):
    """Twelve frames of a walking bear at a quarter of the size."""
    folder = shared_data / "davis"

    def read(kind, t, flag):
        picture = cv2.imread(str(folder / kind / "480p" / "bear" / f"{t:05d}.{'jpg' if flag else 'png'}"), flag)
        return cv2.resize(picture, (214, 120), interpolation=cv2.INTER_AREA if flag else cv2.INTER_NEAREST)

    frames = [Frame(image=read("JPEGImages", t, 1)[..., ::-1].copy(), index=t, time_seconds=t, name=f"{t:05d}") for t in range(12)]
    truth = [(read("Annotations", t, 0) > 0) for t in range(12)]
    scores = {}
    for tracker in (IdentityTracker(), FlowTracker("dis"), FlowTracker("farneback"), FlowTracker("coarse-to-fine")):
        answers = tracker.stream(frames, {0: [Masks(ids=truth[0].astype(np.uint8))]})
        name = getattr(tracker, "method", "identity")
        scores[name] = np.mean([iou(answer.masks == 1, truth[t]) for t, answer in enumerate(answers) if t])
    assert all(score > scores["identity"] + 0.02 for name, score in scores.items() if name != "identity"), scores
