"""F120, F123, F124, F126, F132 and bad input: the whole siamese tracker over a network whose answers are known."""

import inspect
from dataclasses import fields, replace

import cv2
import numpy as np
import pytest
import torch

from followspot.errors import AnnotationError, SettingError, VideoError
from followspot.models.online_networks import build_online_network
from followspot.models.s2iammask import S2iamMask
from followspot.ops.anchors import Anchors, encode_boxes
from followspot.tracking.base import Tracker
from followspot.tracking.siamese import SiameseTracker
from followspot.tracking.siamese_settings import SIAMESE_PRESETS
from followspot.types import Boxes, Frame, Keypoints, Masks, Points

SIZE = (240, 320)
RED, BLUE = (220, 30, 30), (20, 40, 230)
DAVIS, VOT = SIAMESE_PRESETS["davis"], SIAMESE_PRESETS["vot"]
BOXES = replace(DAVIS, output="axis-aligned")


class Proposals:
    def __init__(self, probabilities, deltas, seen):
        self.probabilities, self.deltas, self.seen = probabilities, deltas, seen


class ColourNetwork:
    """Knows an object by the colour of its middle: the box around such pixels is proposed at the place nearest to it, its mask is they."""

    exemplar_size, instance_size, stride, mask_side = 127, 255, 8, 127
    anchors = Anchors()

    def __init__(self):
        self.drawn, self.searched, self.shown = 0, 0, []

    def template(self, crop):
        assert crop.shape == (1, 3, 127, 127)
        assert 0 <= crop.min() <= crop.max() <= 1
        self.shown.append(crop)
        return crop[0, :, 61:66, 61:66].mean((1, 2))

    def search(self, template, crop):
        assert crop.shape == (1, 3, 255, 255)
        self.searched += 1
        seen = (crop[0] - template[:, None, None]).abs().amax(0) < 0.2
        probabilities = torch.full((1, 5, 25, 25), 0.01)
        deltas = torch.zeros(1, 4, 5, 25, 25)
        if seen.sum() > 20:
            rows, columns = (seen.any(axis).nonzero().flatten() for axis in (1, 0))
            box = torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]).float()
            deltas[0] = encode_boxes(box.view(4, 1, 1, 1), self.anchors.boxes())
            x, y = ((((box[axis] + box[axis + 2]) / 2 - 127.5) / 8).round().int() + 12 for axis in (0, 1))
            probabilities[0, :, y.clip(0, 24), x.clip(0, 24)] = 0.98
        return Proposals(probabilities, deltas, seen)

    def masks(self, proposals, places):
        self.drawn += len(places)
        wide = torch.nn.functional.pad(proposals.seen.float(), (32,) * 4)
        return torch.stack([wide[8 * row : 8 * row + 127, 8 * column : 8 * column + 127] * 16 - 8 for row, column in places])


def covered(shape):
    """Pixels whose centres lie in a turned rectangle."""
    _, (x, y), (width, height), degrees = shape
    down, across = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5 - np.array([y, x])[:, None, None]
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return (abs(across * cos + down * sin) <= width / 2) & (abs(down * cos - across * sin) <= height / 2)


def scene(t, *shapes):
    """Rectangles ``(colour, centre, sides, degrees)`` on grey noise."""
    image = np.random.default_rng(t).integers(90, 160, (*SIZE, 3), dtype=np.uint8)
    for shape in shapes:
        image[covered(shape)] = shape[0]
    return Frame(image=image, index=t, time_seconds=t / 10, name=f"{t:05d}")


def car(t, degrees=0.0):
    return RED, (100 + 6 * t, 110 + 3 * t), (60, 36), degrees


def ball(t):
    return BLUE, (220 - 4 * t, 150), (30, 30), 0


def around(*shapes, names=None):
    rows = [[x - w / 2, y - h / 2, x + w / 2, y + h / 2] for _, (x, y), (w, h), _ in shapes]
    return Boxes(xyxy=np.array(rows, float), names=names or tuple(f"thing {i}" for i in range(len(rows))))


def mask_of(*shapes, ids):
    picture = np.zeros(SIZE, np.uint8)
    for shape, i in zip(shapes, ids, strict=True):
        picture[covered(shape)] = i
    return Masks(ids=picture)


def iou(a, b):
    return (a & b).sum() / max((a | b).sum(), 1)


def box_iou(a, b):
    both = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod()
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


@pytest.fixture
def network():
    return ColourNetwork()


def test_f120_the_whole_protocol(network):
    tracker = SiameseTracker(network)
    assert isinstance(tracker, Tracker)
    given = [around(car(1))]
    answers = list(tracker.stream([scene(t, car(t)) for t in range(4)], {1: given}))
    assert [(a.index, a.name, a.time_seconds) for a in answers] == [(t, f"{t:05d}", t / 10) for t in (1, 2, 3)]
    assert answers[0].objects[0].box == tuple(given[0].xyxy[0])
    assert answers[0].objects[0].confidence == 1
    assert answers[1].objects[0].confidence == pytest.approx(0.98)
    with pytest.raises(VideoError, match="is 90x72 but the video began with 320x240"):
        tracker.step(replace(scene(4), image=np.zeros((72, 90, 3), np.uint8)))
    tracker.remove("thing 0")
    for action in (lambda: tracker.step(scene(4)), lambda: tracker.add(given)):
        with pytest.raises(SettingError, match="before start"):
            action()
    with pytest.raises(AnnotationError, match="nothing to follow"):
        tracker.start(scene(0), [])
    with pytest.raises(AnnotationError, match="cannot remove 'x': followed are nothing yet"):
        tracker.remove("x")
    with pytest.raises(AnnotationError, match="frame 9 is annotated but"):
        list(tracker.stream([scene(0)], {9: given}))


def test_f120_no_truth_reaches_the_tracker_after_start(network):
    """By type: a step takes a frame, which has pixels and times, and annotations that somebody gives. By test: what was given at the start
    may change afterwards and changes nothing, and the network sees pixels only."""
    assert list(inspect.signature(SiameseTracker.step).parameters) == ["self", "frame", "annotations"]
    assert {field.name for field in fields(Frame)} == {"image", "index", "time_seconds", "name"}
    answers = []
    for spoil in (False, True):
        tracker = SiameseTracker(ColourNetwork(), DAVIS)
        boxes, masks = around(car(0)), mask_of(ball(0), ids=[2])
        tracker.start(scene(0, car(0), ball(0)), [boxes, masks])
        if spoil:
            boxes.xyxy[:], masks.ids[:] = 0, 9
        answers.append([tracker.step(scene(t, car(t), ball(t))) for t in range(1, 4)])
    for one, other in zip(*answers, strict=True):
        assert one.objects == other.objects
        np.testing.assert_array_equal(one.masks, other.masks)
    assert len(tracker._look._network.shown) == 2


def test_f122_a_box_follows_with_its_size_smoothed(network):
    tracker = SiameseTracker(network, VOT)
    tracker.start(scene(0, car(0)), [around(car(0))])
    grown = RED, (106, 113), (80, 20), 0
    found = tracker.step(scene(1, grown)).objects[0]
    x1, y1, x2, y2 = found.box
    # The crop shows the object at 127 / s_z = 1.27 of its size, so places come back to a pixel of the crop.
    assert (x1 + x2) / 2 == pytest.approx(106, abs=1)
    assert (y1 + y2) / 2 == pytest.approx(113, abs=1)
    # r = 2.4, s = sqrt(130 * 70) / sqrt(108 * 84): lr = exp(-0.04 (rs - 1)) * 0.98 * 0.25.
    share = np.exp(-0.04 * (2.4 * np.sqrt(130 * 70 / (108 * 84)) ** np.sign(130 * 70 - 108 * 84) - 1)) * 0.98 * 0.25
    assert x2 - x1 == pytest.approx(60 + 20 * share, abs=0.5)
    assert y2 - y1 == pytest.approx(36 - 16 * share, abs=0.5)


def test_f123_the_axis_aligned_mode_never_calls_the_mask_head(network):
    tracker = SiameseTracker(network, BOXES)
    given = [around(car(0)), mask_of(ball(0), ids=[4])]
    tracker.start(scene(0, car(0), ball(0)), given)
    for t in range(1, 5):
        answer = tracker.step(scene(t, car(t), ball(t)))
    box, mask = answer.objects
    assert network.drawn == 0
    assert box.polygon is None
    assert box.mask_id is None
    assert box_iou(np.array(box.box), around(car(4)).xyxy[0]) > 0.9
    # An object given as a mask is its box, filled in.
    assert mask.mask_id == 4
    assert iou(answer.masks == 4, mask_of(ball(4), ids=[4]).ids == 4) > 0.85
    boxes_only = SiameseTracker(network, BOXES)
    boxes_only.start(scene(0, car(0)), given[:1])
    assert boxes_only.step(scene(1, car(1))).masks is None
    SiameseTracker(network, DAVIS).stream([], {})
    network.mask_side = 0
    with pytest.raises(SettingError, match="draws no masks"):
        SiameseTracker(network, DAVIS)


@pytest.mark.parametrize("preset", ["vot", "davis", "vote"])
@pytest.mark.parametrize("degrees", [0, 25, 60])
def test_f124_a_rotated_rectangle_comes_back(network, preset, degrees):
    settings = replace(SIAMESE_PRESETS[preset], vote_min_area=100.0)
    tracker = SiameseTracker(network, settings)
    tracker.start(scene(0, car(0, degrees)), [mask_of(car(0, degrees), ids=[1])])
    for t in range(1, 4):
        answer = tracker.step(scene(t, car(t, degrees + 3 * t)))
    found = answer.objects[0]
    corners = cv2.boxPoints(((118, 119), (60, 36), degrees + 9))
    assert np.linalg.norm(np.array(found.polygon)[:, None] - corners, axis=2).min(1).max() < 2
    _, (width, height), turn = cv2.minAreaRect(np.array(found.polygon, np.float32))
    turn += 90 * (width < height)
    assert abs((turn - (degrees + 9) + 90) % 180 - 90) < 3
    assert iou(answer.masks == 1, mask_of(car(3, degrees + 9), ids=[1]).ids == 1) > 0.9


def test_f124_without_a_contour_there_is_the_upright_box_only(network):
    tracker = SiameseTracker(network, replace(VOT, min_area=5000))
    tracker.start(scene(0, car(0)), [around(car(0))])
    found = tracker.step(scene(1, car(1))).objects[0]
    assert found.polygon is None
    assert box_iou(np.array(found.box), around(car(1)).xyxy[0]) > 0.9


def test_f126_several_objects_keep_their_ids(network):
    tracker = SiameseTracker(network, DAVIS)
    answer = tracker.start(scene(0, car(0), ball(0)), [around(ball(0), names=("ball",)), mask_of(car(0), ids=[1])])
    np.testing.assert_array_equal(answer.masks, mask_of(car(0), ids=[1]).ids)
    assert [(o.name, o.kind, o.mask_id) for o in answer.objects] == [("ball", "box", 2), ("object 1", "mask", 1)]
    late = RED, (40, 200), (40, 20), 0
    for t in range(1, 4):
        answer = tracker.step(scene(t, car(t), ball(t)), [around(ball(t), names=("late",))] if t == 2 else ())
    assert [(o.name, o.mask_id) for o in answer.objects] == [("ball", 2), ("object 1", 1), ("late", 3)]
    assert iou(answer.masks == 1, mask_of(car(3), ids=[1]).ids == 1) > 0.9
    # Two objects at one place are equally likely there: the earlier one keeps its pixels.
    assert iou(answer.masks == 2, mask_of(ball(3), ids=[2]).ids == 2) > 0.9
    tracker.remove("ball")
    answer = tracker.step(scene(4, car(4), ball(4)))
    assert iou(answer.masks == 3, mask_of(ball(4), ids=[3]).ids == 3) > 0.9
    answer = tracker.add([mask_of(late, ids=[1])])
    np.testing.assert_array_equal(answer.masks == 1, mask_of(late, ids=[1]).ids == 1)
    assert answer.objects[0].box == (20, 190, 60, 210)


def test_f132_ten_voters_follow_as_one_does(network):
    tracker = SiameseTracker(network, replace(SIAMESE_PRESETS["vote"], vote_min_area=200))
    tracker.start(scene(0, car(0)), [around(car(0))])
    for t in range(1, 4):
        answer = tracker.step(scene(t, car(t)))
    assert network.drawn == 30
    # The region, not the smoothed proposal, is the box.
    np.testing.assert_allclose(answer.objects[0].box, around(car(3)).xyxy[0], atol=1.5)
    assert iou(answer.masks == 1, mask_of(car(3), ids=[1]).ids == 1) > 0.9


def lost_and_found(network, settings):
    """The car is seen, hides for five frames, and comes back 120 pixels further on."""
    tracker = SiameseTracker(network, settings)
    tracker.start(scene(0, car(0)), [around(car(0))])
    hidden = [tracker.step(scene(t, *([car(t)] if t < 3 else []))).objects[0] for t in range(1, 8)]
    back = RED, (250, 200), (60, 36), 0
    return hidden, [tracker.step(scene(t, back)) for t in range(8, 11)], back


def test_a_lost_object_is_found_again_further_away(network):
    hidden, found, back = lost_and_found(network, replace(SIAMESE_PRESETS["long"], lost_after=2, lr=1.0))
    assert [o.lost for o in hidden] == [False, False, False, True, True, True, True]
    # It is said to be where it was last seen for sure.
    assert hidden[-1].box == hidden[1].box
    assert hidden[-1].polygon is None
    assert hidden[-1].confidence == pytest.approx(0.01)
    last = found[-1].objects[0]
    assert not last.lost
    assert box_iou(np.array(last.box), around(back).xyxy[0]) > 0.85
    assert iou(found[-1].masks == 1, mask_of(back, ids=[1]).ids == 1) > 0.9


def test_the_searched_square_grows_while_it_is_lost(network):
    tracker = SiameseTracker(network, replace(SIAMESE_PRESETS["long"], search_growth=2))
    small = RED, (160, 120), (20, 20), 0
    tracker.start(scene(0, small), [around(small)])
    looks = []
    for t in range(1, 6):
        before = network.searched
        tracker.step(scene(t))
        looks.append(network.searched - before)
    assert looks == [1, 9, 25, 25, 25]


def test_without_lost_settings_it_is_never_given_up(network):
    hidden, found, _ = lost_and_found(network, VOT)
    assert not any(o.lost for o in hidden)
    assert found[-1].objects[0].confidence == pytest.approx(0.01)


@pytest.mark.parametrize("box", [[400, 10, 450, 60], [-50, 10, 0, 60], [10, 240, 60, 300]])
def test_d7_a_box_outside_the_frame_is_refused(network, box):
    with pytest.raises(AnnotationError, match="lies outside the frame of 320x240"):
        SiameseTracker(network).start(scene(0), [Boxes(xyxy=np.array([box], float), names=("x",))])


@pytest.mark.parametrize("box", [[10, 10, 10, 60], [10, 10, 5, 60], [10, np.nan, 50, 60], [10, 10, np.inf, 60]])
def test_d7_a_box_that_is_none_cannot_be_made(box):
    with pytest.raises(AnnotationError, match="is empty"):
        Boxes(xyxy=np.array([box], float), names=("x",))


@pytest.mark.parametrize("box", [[-500, -500, 2000, 2000], [-30, -20, 30, 15], [0, 0, 0.5, 0.5], [0, 100, 320, 101]])
def test_d7_odd_boxes_are_followed_in_the_frame(network, box):
    tracker = SiameseTracker(network, DAVIS)
    answer = tracker.start(scene(0), [Boxes(xyxy=np.array([box], float), names=("x",))])
    assert answer.objects[0].box == tuple(box)
    for t in range(1, 4):
        x1, y1, x2, y2 = tracker.step(scene(t)).objects[0].box
        assert 10 <= x2 - x1 <= 320
        assert 10 <= y2 - y1 <= 240
        assert 0 <= (x1 + x2) / 2 <= 320
        assert 0 <= (y1 + y2) / 2 <= 240


def test_d7_other_annotations_are_refused_and_change_nothing(network):
    tracker = SiameseTracker(network)
    tracker.start(scene(0, car(0)), [around(car(0))])
    point = Points(xy=np.array([[3.0, 4]]), names=("p",))
    joints = Keypoints(xy=np.array([[3.0, 4]]), joints=("a",))
    bad = (
        (point, "follows boxes and masks, got points"),
        (joints, "got keypoints"),
        (around(car(0), car(0), names=("a", "a")), "annotated twice"),
        (Masks(ids=np.zeros(SIZE, np.uint8)), "the mask is empty"),
        (Masks(ids=np.ones((10, 10), np.uint8)), "the mask is 10x10 but the frame is 320x240"),
        (replace(mask_of(car(0), ids=[1]), names={1: "thing 0"}), "annotated as box and as mask"),
    )
    for annotation, message in bad:
        with pytest.raises(AnnotationError, match=message):
            tracker.add([around(ball(0), names=("new",)), annotation])
    assert [o.name for o in tracker.step(scene(1, car(1))).objects] == ["thing 0"]


def test_d7_an_object_that_leaves_is_held_at_the_border(network):
    tracker = SiameseTracker(network, replace(SIAMESE_PRESETS["long"], lr=1.0))
    tracker.start(scene(0, car(0)), [around(car(0))])
    answers = [tracker.step(scene(t, (RED, (100 + 25 * t, 110), (60, 36), 0))) for t in range(1, 14)]
    assert all(np.isfinite(a.objects[0].box).all() for a in answers)
    assert not answers[6].objects[0].lost
    last = answers[-1].objects[0]
    assert last.lost
    assert last.polygon is None
    assert not answers[-1].masks.any()
    assert last.box[0] < 320


@pytest.mark.parametrize("preset", ["vot", "davis", "vote", "long"])
@pytest.mark.parametrize("image", ["black", "cut"])
def test_d7_black_frames_and_cuts_leave_it_where_it_was(network, preset, image):
    tracker = SiameseTracker(network, SIAMESE_PRESETS[preset])
    tracker.start(scene(0, car(0)), [around(car(0))])
    before = np.array(tracker.step(scene(1, car(1))).objects[0].box)
    for t in range(2, 6):
        picture = np.zeros((*SIZE, 3), np.uint8) if image == "black" else np.full((*SIZE, 3), (t * 9, 200, 90), np.uint8)
        found = tracker.step(replace(scene(t), image=picture)).objects[0]
    assert found.confidence < 0.05
    assert found.lost == (preset == "long")
    assert found.polygon is None
    # The cosine window keeps it near.
    assert np.abs(np.array(found.box)[:2] - before[:2]).max() < 60


def test_d7_a_network_that_answers_nothing_sensible_moves_nothing(network):
    tracker = SiameseTracker(network, DAVIS)
    tracker.start(scene(0, car(0)), [around(car(0))])
    network.search = lambda template, crop: Proposals(torch.full((1, 5, 25, 25), torch.nan), torch.full((1, 4, 5, 25, 25), torch.inf), None)
    found = tracker.step(scene(1, car(1))).objects[0]
    assert found.box == tuple(around(car(0)).xyxy[0])
    assert found.confidence == 0


@pytest.mark.parametrize("name", ["siammask-lite", "siammask-lite-base", "s2iammask-lite", "siammask-lite-box"])
def test_f130_every_online_network_drives_it(name):
    """Untrained, so only what any weights must give is asked."""
    torch.manual_seed(0)
    network = build_online_network(name).eval()
    settings = replace(DAVIS, output="axis-aligned" if name.endswith("box") else "rotated", vote_n=3, min_area=0.0)
    tracker = SiameseTracker(network, settings)
    tracker.start(scene(0, car(0)), [around(car(0)), mask_of(ball(0), ids=[5])])
    answer = tracker.step(scene(1, car(1)))
    assert [o.mask_id for o in answer.objects] == [None if name.endswith("box") else 1, 5]
    assert answer.masks.shape == SIZE
    assert all(0 <= o.confidence <= 1 for o in answer.objects)


class BoxPainter(S2iamMask):
    """Draws the left half of every box, whatever it shows."""

    def __init__(self):
        super().__init__(18)
        self.known = ColourNetwork()

    def template(self, crop):
        return self.known.template(crop)

    def search(self, template, crop):
        return self.known.search(template, crop)

    def masks(self, proposals, boxes):
        drawn = torch.full((len(boxes), 28, 28), -8.0)
        drawn[:, :, :14] = 8
        return drawn


def test_f130_masks_of_boxes_lie_in_the_enlarged_box():
    """The box of 60x36 grows by 0.4 of its sides on each: 108x64.8; half of that is painted."""
    tracker = SiameseTracker(BoxPainter(), replace(DAVIS, lr=1.0))
    tracker.start(scene(0, car(0)), [around(car(0))])
    answer = tracker.step(scene(1, car(1)))
    rows, columns = np.nonzero(answer.masks)
    np.testing.assert_allclose([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], [52, 80.6, 106, 145.4], atol=1.6)


def watch(network):
    """What the backbone is shown: side and dtype, by copies of the network as well."""
    shown = []
    network.backbone.register_forward_hook(lambda _, inputs, __: shown.append((inputs[0].shape[-1], inputs[0].dtype)))
    return shown


@pytest.mark.parametrize(("native", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_f123_the_template_is_computed_once_in_the_precision_of_the_processor(monkeypatch, native, dtype):
    monkeypatch.setattr("followspot.models.siammask_inference.has_bfloat16", lambda: native)
    network = build_online_network("siammask-lite").eval()
    shown = watch(network)
    tracker = SiameseTracker(network, DAVIS)
    tracker.start(scene(0, car(0), ball(0)), [around(car(0), ball(0))])
    for t in (1, 2):
        tracker.step(scene(t, car(t), ball(t)))
    assert shown == [(127, dtype)] * 2 + [(255, dtype)] * 4


class Plain:
    """A network that the tracker does not know, so that it is asked as it is."""

    def __init__(self, network):
        self.exemplar_size, self.instance_size, self.stride = 127, 255, 8
        self.anchors, self.mask_side = network.anchors, network.mask_side
        self.template, self.search, self.masks = network.template, network.search, network.masks


def test_in_single_precision_the_prepared_network_follows_as_the_plain_one():
    torch.manual_seed(0)
    network = build_online_network("siammask-lite").eval()
    answers = []
    for asked in (network, Plain(network)):
        tracker = SiameseTracker(asked, DAVIS, precision="float32")
        tracker.start(scene(0, car(0)), [around(car(0))])
        answers.append([tracker.step(scene(t, car(t))) for t in (1, 2, 3)])
    for ours, plain in zip(*answers, strict=True):
        np.testing.assert_allclose(ours.objects[0].box, plain.objects[0].box, atol=1e-3)
        np.testing.assert_allclose(ours.objects[0].confidence, plain.objects[0].confidence, atol=1e-5)
        assert (ours.masks != plain.masks).mean() < 1e-3
