"""F122, F124, F125, F126, F132, F133: the rules of the siamese tracker, by hand and against slow references."""

import re
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from followspot.errors import SettingError
from followspot.metrics.overlap import overlap
from followspot.ops.anchors import Anchors
from followspot.ops.siamese_crops import Patch
from followspot.tracking.siamese_choice import Candidates, change_penalties, enlarge, follow_size, keep_inside, overlaps, rate
from followspot.tracking.siamese_masks import count_votes, filled_box, find_outline, fuse
from followspot.tracking.siamese_settings import (
    SIAMESE_PRESETS,
    SIAMESE_TUNABLE,
    change_siamese,
    describe_siamese,
    find_siamese_preset,
)

BOXES = Anchors().boxes().double().numpy()


def test_f125_presets_have_the_published_values():
    values = {name: (s.seg_thr, s.penalty_k, s.window_influence, s.lr) for name, s in SIAMESE_PRESETS.items()}
    assert values["vot"] == (0.30, 0.04, 0.42, 0.25)
    assert values["vot18"] == (0.15, 0.10, 0.41, 0.32)
    assert values["davis"] == (0.35, 0.04, 0.40, 1.0)
    assert all(SIAMESE_PRESETS[name].vote_n == 1 and SIAMESE_PRESETS[name].lost_below == 0 for name in ("vot", "vot18", "davis"))
    assert all(s.source for s in SIAMESE_PRESETS.values())
    vote = SIAMESE_PRESETS["vote"]
    assert (vote.vote_n, vote.vote_ratio, vote.vote_enlarge, vote.vote_seg_thr, vote.vote_threshold, vote.vote_min_area) == (
        *(10, 0.3, 0.4, 0.2, 0.5, 1600),
    )
    with pytest.raises(SettingError, match='did you mean "davis"'):
        find_siamese_preset("davs")


def test_f125_the_page_has_the_presets_and_its_snippet_runs():
    page = (Path(__file__).resolve().parents[2] / "docs" / "siammask.md").read_text(encoding="utf-8")
    for s in SIAMESE_PRESETS.values():
        lr = "1.0" if s.lr == 1 else f"{s.lr:.2f}"
        assert f"| `{s.name}` | {s.seg_thr:.2f} | {s.penalty_k:.2f} | {s.window_influence:.2f} | {lr} |" in page
    snippet = next(block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "SiameseTracker" in block)
    exec(compile(snippet, "docs/siammask.md", "exec"), {})


def test_settings_go_by_name_as_a_search_needs_it():
    vot = find_siamese_preset("vot")
    assert change_siamese(vot, describe_siamese(vot)) == vot
    changed = change_siamese(vot, {"penalty_k": "0.2", "vote_n": "5", "vote_min_area": "100", "output": "axis-aligned"})
    assert (changed.penalty_k, changed.vote_n, changed.vote_min_area, changed.output) == (0.2, 5, 100.0, "axis-aligned")
    assert changed.name == "vot (changed)" == change_siamese(changed, {"lr": 0.3}).name
    assert set(SIAMESE_TUNABLE) <= set(describe_siamese(vot))
    for values, message in (
        ({"penalty": 1}, "did you mean 'penalty_k'"),
        ({"lr": "fast"}, "lr: 'fast' is not a number"),
        ({"lr": 1.5}, r"lr = 1.5 is outside 0..1"),
        ({"lr": "nan"}, "outside 0..1"),
        ({"vote_n": 2.5}, "not a whole number"),
        ({"vote_n": 0}, "outside 1..1000"),
        ({"penalty_k": -1}, "must be 0 or more"),
        ({"output": "ellipse"}, 'output "ellipse" is unknown'),
    ):
        with pytest.raises(SettingError, match=message):
            change_siamese(vot, values)


def test_f122_three_cases_by_hand():
    size = np.array([40.0, 40.0])
    # The same box; the same shape twice as large: r = 1, s = 2; and 80x20: r = 4, s = sqrt(130 * 70) / 80 = 1.192424.
    sides = np.array([[40.0, 40], [80, 80], [80, 20]])
    penalties = change_penalties(sides, size, penalty_k=0.04)
    np.testing.assert_allclose(penalties, [1, 0.960789, 0.860030], atol=1e-6)
    # Smaller is as bad as larger.
    np.testing.assert_allclose(change_penalties(sides / 4, size / 2, penalty_k=0.04)[1], change_penalties(size[None], size, penalty_k=0.04))
    # lr = penalty * score * 0.25: 0.25 * 0.9 * 0.860030 = 0.193507.
    np.testing.assert_allclose(follow_size(size, sides[2], rate=0.25 * 0.9 * penalties[2]), [47.740271, 36.129864], atol=1e-5)
    np.testing.assert_allclose(follow_size(size, sides[1], rate=0), size)


def test_f122_the_window_decides_between_equals():
    vot = find_siamese_preset("vot")
    scores = np.zeros((5, 25, 25))
    scores[2, 12, 12] = 0.9
    scores[2, 3, 20] = 0.95
    candidates = rate(scores, BOXES, size=np.array([64.0, 64.0]), settings=vot, window=0.42)
    assert candidates.places[candidates.ranks.argmax()].tolist() == [12, 12]
    # By hand: the anchor is the object's size, so the penalty is 1: 0.9 * 0.58 + 1 * 0.42.
    assert candidates.ranks[candidates.ranks.argmax()] == pytest.approx(0.942)
    far = 2 * 625 + 3 * 25 + 20
    assert candidates.ranks[far] == pytest.approx(0.95 * 0.58 + 0.42 * np.hanning(25)[3] * np.hanning(25)[20])
    assert rate(scores, BOXES, size=np.array([64.0, 64.0]), settings=vot, window=0.0).ranks.argmax() == far


def test_d7_proposals_that_are_no_boxes_never_win():
    vot = find_siamese_preset("vot")
    boxes = BOXES.copy()
    boxes[0, 2, 12, 12], boxes[2, 2, 12, 13] = np.nan, np.inf
    boxes[:, 2, 12, 14] = 5, 5, 5, 9
    scores = np.full((5, 25, 25), 0.5)
    scores[2, 12, 12:15] = 1
    scores[0, 0, 0] = np.nan
    candidates = rate(scores, boxes, size=np.array([64.0, 64.0]), settings=vot, window=0.42)
    assert all(np.isfinite(part).all() for part in (candidates.boxes, candidates.scores, candidates.penalties, candidates.ranks))
    assert candidates.scores[candidates.ranks.argmax()] == 0.5
    nothing = rate(scores, np.full_like(boxes, np.nan), size=np.array([64.0, 64.0]), settings=vot, window=0.42)
    assert nothing.most(10, last=None, ratio=0.3, pixels=255).size == 0


def test_centre_and_size_stay_in_the_image():
    centre, size = keep_inside(np.array([-5.0, 200]), np.array([3.0, 900]), image=(100, 300))
    assert centre.tolist() == [0, 100]
    assert size.tolist() == [10, 100]
    assert keep_inside(np.array([2.0, 2]), np.array([3.0, 3]), image=(8, 6))[1].tolist() == [6, 8]


def turned(degrees, centre=(150.3, 120.6), sides=(90, 40)):
    return cv2.boxPoints((centre, sides, degrees)).astype(np.float64)


@pytest.mark.parametrize("degrees", [0, 30, 77])
def test_f132_overlaps_equal_exact_ones(degrees):
    polygon = turned(degrees)
    boxes = np.array([[100.0, 90, 200, 150], [0, 0, 255, 255], [150.25, 120.5, 160.75, 133], [-20, -30, 110, 110], [0, 0, 5, 5]])
    got = overlaps(boxes, polygon, pixels=255)
    for box, share in zip(boxes.clip(0, 255), got, strict=True):
        exact = overlap(np.array([*box[:2], *(box[2:] - box[:2])]), polygon.ravel(), size=(255, 255))
        assert share == pytest.approx(exact, abs=0.01)


def test_f132_overlaps_of_all_proposals_take_few_milliseconds():
    boxes = BOXES.reshape(4, -1).T
    seconds = []
    for _ in range(5):
        begin = time.process_time()
        overlaps(boxes, turned(20), pixels=255)
        seconds.append(time.process_time() - begin)
    assert min(seconds) < 0.005


def test_f132_voters_are_chosen_by_rank_and_by_overlap():
    boxes = np.array([[0.0, 0, 50, 50], [100, 100, 200, 140], [105, 100, 205, 140], [0, 0, 1, 1]])
    candidates = Candidates(
        boxes=boxes,
        scores=np.array([0.9, 0.5, 0.6, 0]),
        penalties=np.ones(4),
        ranks=np.array([0.9, 0.5, 0.6, 0.99]),
        places=np.zeros((4, 2), int),
    )
    last = turned(0, centre=(150, 120), sides=(100, 40))
    assert candidates.most(10, last=None, ratio=0.3, pixels=255).tolist() == [0, 2, 1]
    # By hand: 0.3 * 0.5 + 0.7 * 1 = 0.85; 0.3 * 0.6 + 0.7 * 95 / 105 = 0.813; 0.3 * 0.9 + 0.
    assert candidates.most(10, last=last, ratio=0.3, pixels=255).tolist() == [1, 2, 0]
    assert candidates.most(1, last=last, ratio=0.3, pixels=255).tolist() == [1]
    np.testing.assert_allclose(enlarge(boxes[1:2], 0.4, pixels=255), [[60, 84, 240, 156]])


def test_f132_a_pixel_needs_more_than_half_of_ten_votes():
    masks = []
    for voter in range(10):
        mask = np.full((20, 20), 0.1, np.float32)
        mask[5:15, 5:15] = 0.9 if voter < 6 else 0.1  # six are for the inner part
        mask[0:5, 5:15] = 0.25 if voter < 5 else 0.19  # five for the part above
        masks.append((mask, np.array([40.0, 30, 60, 50])))
    votes = count_votes(masks, above=0.2, size=(80, 100))
    whole = np.zeros((80, 100), np.float32)
    whole[votes.area] = votes.values
    assert (whole > 0.5).sum() == 100
    assert (whole[35:45, 45:55] == np.float32(0.6)).all()
    assert (whole[31:34, 46:54] == 0.5).all()
    outline = find_outline(votes, above=0.5, min_area=50)
    assert outline is not None
    assert outline.box.tolist() == [45, 35, 55, 45]
    # What encloses no more than the limit says nothing: the contour runs through centres, so 9 x 9.
    assert find_outline(votes, above=0.5, min_area=81) is None
    assert count_votes([(masks[0][0], np.array([500.0, 30, 520, 50]))], above=0.2, size=(80, 100)).values.size == 0


def test_f133_one_voter_decides_alone():
    mask = np.linspace(0, 1, 100, dtype=np.float32).reshape(10, 10)
    votes = count_votes([(mask, np.array([0.0, 0, 10, 10]))], above=0.2, size=(10, 10))
    np.testing.assert_array_equal(votes.values[:10, :10] > 0.5, mask > 0.2)


@pytest.mark.parametrize("degrees", [5, 25, 45, 80])
def test_f124_a_rotated_rectangle_is_recovered(degrees):
    truth = turned(degrees)
    picture = np.zeros((240, 320), np.float32)
    for y, x in np.ndindex(picture.shape):
        picture[y, x] = cv2.pointPolygonTest(truth.astype(np.float32), (x + 0.5, y + 0.5), False) >= 0
    found = find_outline(Patch(top=0, left=0, values=picture), above=0.5, min_area=100)
    assert found is not None
    nearest = np.linalg.norm(found.polygon[:, None] - truth[None], axis=2).min(1)
    assert nearest.max() < 2


def test_f126_fusion():
    a = Patch(top=0, left=0, values=np.full((4, 4), 0.6, np.float32))
    b = Patch(top=2, left=2, values=np.array([[0.9, 0.6], [0.5, 0.2]], np.float32))
    ids = fuse([(3, a), (200, b)], above=0.3, size=(5, 6))
    assert ids[:4, :4].tolist() == [[3, 3, 3, 3], [3, 3, 3, 3], [3, 3, 200, 3], [3, 3, 3, 3]]
    assert ids[4].max() == ids[:, 4:].max() == 0
    assert fuse([(3, a)], above=0.6, size=(5, 6)).max() == 0
    assert fuse([], above=0.3, size=(2, 3)).tolist() == [[0, 0, 0], [0, 0, 0]]


def test_a_box_as_a_mask():
    patch = filled_box(np.array([1.5, -3, 3.6, 2.5]), (4, 5))
    whole = np.zeros((4, 5))
    whole[patch.area] = patch.values
    assert whole.tolist() == [[0, 1, 1, 1, 0], [0, 1, 1, 1, 0], [0] * 5, [0] * 5]
    assert filled_box(np.array([10.0, 10, 12, 12]), (4, 5)).values.size == 0
