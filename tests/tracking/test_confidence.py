"""Confidence knows a right answer from a wrong one, from the features alone."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from followspot.tracking.confidence import (
    BOXES,
    CELLS,
    LOST_BELOW,
    MASKS,
    POINTS,
    TEMPERATURE,
    TOP_K,
    Agreement,
    Anchor,
    Calibration,
    agreement,
    box_agreement,
)

H, W, C = 12, 16, 48
FIGURES = ("recall", "precision", "entropy", "growth", "blur", "strange")


@pytest.fixture
def features():
    """Every cell looks different, so it can be found again."""
    return torch.randn(C, H, W, generator=torch.Generator().manual_seed(0))


def patch(top, left, size=4, value=1.0):
    labels = torch.zeros(H, W)
    labels[top : top + size, left : left + size] = value
    return labels


def stack(*patches):
    return torch.stack(patches)


def anchor_of(features, labels):
    return Anchor(index=0, features=features, labels=labels)


def test_a_perfect_answer_agrees(features):
    labels = stack(patch(2, 3), patch(7, 10, value=0.3))
    found = agreement(features, labels, anchor_of(features, labels), [0, 1])
    assert (found.recall > 0.98).all()
    assert (found.precision > 0.98).all()
    assert (found.entropy < 0.05).all()
    torch.testing.assert_close(found.growth, torch.zeros(2))
    torch.testing.assert_close(found.blur, torch.zeros(2))
    for calibration in (MASKS, BOXES, POINTS):
        assert (calibration.expected_overlap(found) > 0.65).all()


def test_an_answer_that_moved_with_its_object_agrees(features):
    moved = torch.roll(features, (3, 5), dims=(1, 2))
    found = agreement(moved, stack(patch(5, 8)), anchor_of(features, stack(patch(2, 3))), [0])
    assert found.recall > 0.98
    assert found.precision > 0.98


def test_a_wrong_answer_does_not(features):
    anchor = anchor_of(features, stack(patch(2, 3)))
    right, half, wrong = (agreement(features, stack(patch(2, left)), anchor, [0]) for left in (3, 5, 11))
    assert right.recall > half.recall > wrong.recall
    assert right.precision > half.precision > wrong.precision
    assert wrong.recall < 0.05
    assert right.precision > 0.9
    figures = [MASKS.expected_overlap(a).item() for a in (right, half, wrong)]
    assert figures[0] > figures[1] > figures[2]
    assert figures[2] < LOST_BELOW


def test_too_large_and_too_small_are_told_apart(features):
    anchor = anchor_of(features, stack(patch(2, 3)))
    large, small = (agreement(features, stack(patch(2, 3, size=size)), anchor, [0]) for size in (8, 2))
    assert large.recall > 0.95
    assert large.precision < 0.6
    assert small.precision > 0.95
    assert small.recall < 0.6
    assert large.growth.item() == pytest.approx(math.log(64 / 16), abs=1e-3)
    assert small.growth.item() == pytest.approx(math.log(4 / 16), abs=1e-3)


def test_an_object_that_is_gone(features):
    anchor = anchor_of(features, stack(patch(2, 3)))
    found = agreement(features, torch.zeros(1, H, W), anchor, [0])
    assert all(torch.isfinite(getattr(found, name)).all() for name in FIGURES)
    assert found.growth == -5
    assert MASKS.expected_overlap(found) < LOST_BELOW


def test_features_that_say_nothing_are_doubted(features):
    labels = stack(patch(2, 3))
    anchor = anchor_of(features, labels)
    flat = agreement(torch.ones(C, H, W), labels, anchor_of(torch.ones(C, H, W), labels), [0])
    assert flat.entropy.item() == pytest.approx(1, abs=1e-4)
    clear = agreement(features, labels, anchor, [0])
    assert MASKS.expected_overlap(flat) < MASKS.expected_overlap(clear)


def test_the_order_of_channels_is_kept(features):
    labels = stack(patch(2, 3), patch(7, 10), patch(5, 5))
    now = stack(patch(2, 3), patch(1, 1), patch(6, 5))
    anchor = anchor_of(features, labels)
    alone = [agreement(features, now, anchor, [k]) for k in range(3)]
    for order in ([2, 0, 1], [1], [0, 2]):
        found = agreement(features, now, anchor, order)
        for name in FIGURES:
            expected = torch.cat([getattr(alone[k], name) for k in order])
            torch.testing.assert_close(getattr(found, name), expected, atol=1e-5, rtol=1e-5)


def test_the_scale_of_labels_and_features_does_not_matter(features):
    then, now = stack(patch(2, 3)), stack(patch(2, 4))
    one = agreement(features, now, anchor_of(features, then), [0])
    other = agreement(7 * features, 0.25 * now, anchor_of(3 * features, 0.25 * then), [0])
    for name in ("recall", "precision", "entropy"):  # blur is in the weights' own units
        torch.testing.assert_close(getattr(one, name), getattr(other, name), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(one.growth, other.growth, atol=1e-3, rtol=0)


@pytest.mark.parametrize("grid", [(1, 1), (1, 3), (3, 2)])
def test_tiny_grids(grid):
    features = torch.randn(C, *grid, generator=torch.Generator().manual_seed(1))
    labels = torch.ones(1, *grid)
    found = agreement(features, labels, anchor_of(features, labels), [0])
    assert found.recall.item() == pytest.approx(1, abs=1e-5)
    assert found.precision.item() == pytest.approx(1, abs=1e-5)
    assert torch.isfinite(found.entropy).all()


def journey(start_keys, end_keys, start, end):
    """The formula, cell by cell in float64: share of the weight of `start` that lands on `end`."""
    unit = [k.reshape(C, -1).astype(float) / np.linalg.norm(k.reshape(C, -1).astype(float), axis=0) for k in (start_keys, end_keys)]
    start, end = start.ravel(), end.ravel()
    cells = np.flatnonzero(start >= start.max() / 2)
    assert len(cells) <= CELLS
    landed = doubt = 0.0
    for cell in cells:
        scores = unit[1].T @ unit[0][:, cell]
        best = np.argsort(-scores)[:TOP_K]
        weights = np.exp(scores[best] / TEMPERATURE)
        weights /= weights.sum()
        landed += start[cell] * (weights * end[best]).sum()
        doubt += start[cell] * -(weights * np.log(weights)).sum() / np.log(TOP_K)
    total, chance = start[cells].sum(), min(end.mean(), 0.5)
    return max(0, (landed / total - chance) / (1 - chance)), doubt / total


def test_equals_the_formula_cell_by_cell(features):
    rng = np.random.default_rng(3)
    now_features = features.numpy() + rng.normal(size=(C, H, W)).astype(np.float32)
    then, now = np.zeros((H, W), np.float32), np.zeros((H, W), np.float32)
    then[2:7, 3:9] = rng.random((5, 6))
    now[3:8, 4:9] = rng.random((5, 5))
    anchor = anchor_of(features, torch.from_numpy(then)[None])
    found = agreement(torch.from_numpy(now_features), torch.from_numpy(now)[None], anchor, [0])
    # Both in units of the annotation's peak.
    scaled_then, scaled_now = then / then.max(), np.minimum(now / then.max(), 1)
    recall, doubt_back = journey(features.numpy(), now_features, scaled_then, scaled_now)
    precision, doubt_forth = journey(now_features, features.numpy(), scaled_now, scaled_then)
    # Small objects repeat some cells to fill up `CELLS`, so the mean is not quite the plain one.
    assert found.recall.item() == pytest.approx(recall, abs=0.05)
    assert found.precision.item() == pytest.approx(precision, abs=0.05)
    assert found.entropy.item() == pytest.approx((doubt_back + doubt_forth) / 2, abs=0.05)
    assert found.growth.item() == pytest.approx(math.log(now.sum() / then.sum()), abs=1e-3)
    assert found.blur.item() == pytest.approx((then**2).sum() / then.sum() - (now**2).sum() / now.sum(), abs=1e-5)


def test_all_parts_of_a_large_object_are_asked():
    """Half of it is recognised, wherever that half lies."""
    features = torch.randn(C, 40, 40, generator=torch.Generator().manual_seed(2))
    labels = torch.zeros(1, 40, 40)
    labels[:, 4:28, 4:28] = 1
    other = torch.randn(C, 40, 40, generator=torch.Generator().manual_seed(3))
    for rows in (slice(4, 16), slice(16, 28)):
        now = features.clone()
        now[:, rows] = other[:, rows]
        found = agreement(now, labels, anchor_of(features, labels), [0])
        assert 0.35 < found.recall < 0.75


def test_an_answer_that_is_everywhere_confirms_nothing(features):
    """Cells that look for themselves among noise land on it, by chance."""
    anchor = anchor_of(features, stack(patch(2, 3)))
    noise = torch.randn(C, H, W, generator=torch.Generator().manual_seed(4))
    half = torch.zeros(1, H, W)
    half[:, :, : W // 2] = 1
    found = agreement(noise, half, anchor, [0])
    assert found.recall < 0.4
    assert MASKS.expected_overlap(found) < LOST_BELOW
    thin = agreement(features, torch.full((1, H, W), 0.3), anchor, [0])
    assert thin.recall < 0.1
    assert thin.blur == pytest.approx(0.7, abs=1e-5)


def test_a_scattered_point_is_asked_where_it_was_read_out(features):
    anchor = anchor_of(features, stack(patch(2, 3, size=3)))
    everywhere, here, there = torch.full((1, H, W), 0.9), stack(patch(2, 3, size=3)), stack(patch(7, 10, size=3))
    right, wrong = (agreement(features, everywhere, anchor, [0], drawn=drawn) for drawn in (here, there))
    assert right.recall > 0.95
    assert right.precision > 0.95
    assert wrong.recall < 0.05
    assert wrong.precision < 0.05
    for found in (right, wrong):  # of the label map, not of the drawing
        assert found.growth == pytest.approx(math.log(0.9 * H * W / 9), abs=1e-3)
        assert found.blur == pytest.approx(0.1, abs=1e-5)


def test_another_scene_is_strange():
    """All of a scene resembles itself more than it resembles another one."""
    generator = torch.Generator().manual_seed(5)
    scene, other = (torch.randn(C, 1, 1, generator=generator) + 0.5 * torch.randn(C, H, W, generator=generator) for _ in range(2))
    labels = stack(patch(2, 3))
    anchor = anchor_of(scene, labels)
    assert agreement(scene, labels, anchor, [0]).strange == 0
    assert agreement(other, labels, anchor, [0]).strange > 1


BOX = (12.0, 8.0, 44.0, 40.0)


def around(box, grow):
    x, y, half = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, grow * (box[2] - box[0]) / 2
    return (x - half, y - half, x + half, y + half)


def ask_box(now_features, then_features, box):
    labels = stack(patch(2, 3, size=8))  # what the box covers
    anchor = anchor_of(then_features, labels)
    return box_agreement(now_features, labels, anchor, [0], boxes=[box], given=[BOX], image_size=(4 * H, 4 * W))


def test_a_box_of_the_wrong_size_disagrees(features):
    right, larger, smaller = (ask_box(features, features, around(BOX, grow)) for grow in (1, 1.6, 0.6))
    assert right.recall > 0.95
    assert right.precision > 0.95
    for wrong in (larger, smaller):
        assert wrong.recall < 0.6
        assert wrong.precision < 0.6


def test_a_box_that_moved_with_its_object_agrees(features):
    moved = torch.roll(features, (1, 4), dims=(1, 2))
    assert ask_box(moved, features, (28.0, 12.0, 60.0, 44.0)).recall > 0.95
    assert ask_box(moved, features, BOX).recall < 0.3


def test_a_box_that_is_gone(features):
    found = ask_box(features, features, None)
    assert found.recall == found.precision == 0
    assert all(torch.isfinite(getattr(found, name)).all() for name in FIGURES)


def test_an_object_that_fills_the_frame_can_be_confirmed(features):
    labels = torch.ones(1, H, W)
    found = agreement(features, labels, anchor_of(features, labels), [0])
    assert found.recall == pytest.approx(1, abs=1e-4)
    assert found.precision == pytest.approx(1, abs=1e-4)


def test_an_object_that_nearly_fills_the_frame_is_not_judged_by_a_few_cells(features):
    labels = torch.ones(1, H, W)
    labels[:, :, :2] = 0
    now = features.clone()
    now[:, 5:7, 7:9] = features[:, 5:7, 0:2]  # a part now looks like what was outside
    found = agreement(now, labels, anchor_of(features, labels), [0])
    assert found.precision > 0.85


UNIT = st.floats(0, 1, width=32)


@settings(deadline=None, max_examples=40)
@given(UNIT, UNIT, UNIT, st.floats(-5, 5, width=32), UNIT, UNIT, st.floats(0.0625, 0.5, width=32))
@pytest.mark.parametrize("calibration", [MASKS, BOXES, POINTS])
def test_the_calibration_is_monotone(calibration, recall, precision, entropy, growth, blur, strange, more):
    def value(**changes):
        figures = dict(zip(FIGURES, (recall, precision, entropy, growth, blur, strange), strict=True)) | changes
        return calibration.expected_overlap(Agreement(**{name: torch.tensor([float(f)]) for name, f in figures.items()})).item()

    assert 0 <= value() <= 1
    assert value(recall=recall + more) >= value()
    assert value(precision=precision + more) >= value()
    assert value(entropy=entropy + more) <= value()
    assert value(blur=blur + more) <= value()
    assert value(strange=strange + more) <= value()
    assert value(growth=-growth) == value()
    assert value(growth=growth + math.copysign(more, growth)) <= value()


def test_the_calibration_is_the_logistic_function():
    model = Calibration(bias=-1, recall=2, precision=0.5, entropy=-3, growth=-0.25, blur=-1.5, strange=-0.75)
    figures = {"recall": 0.4, "precision": 0.8, "entropy": 0.1, "growth": -2.0, "blur": 0.2, "strange": 0.6}
    one = Agreement(**{name: torch.tensor([value]) for name, value in figures.items()})
    logit = -1 + 2 * 0.4 + 0.5 * 0.8 - 3 * 0.1 - 0.25 * 2 - 1.5 * 0.2 - 0.75 * 0.6
    assert model.expected_overlap(one).item() == pytest.approx(1 / (1 + math.exp(-logit)), abs=1e-6)


def test_an_anchor_grows_with_the_books(features):
    anchor = anchor_of(features, stack(patch(2, 3)))
    assert anchor.padded(1) is anchor
    assert anchor.padded(0) is anchor
    grown = anchor.padded(3)
    assert grown == replace(anchor, labels=grown.labels)
    torch.testing.assert_close(grown.labels, torch.cat([anchor.labels, torch.zeros(2, H, W)]))


def test_what_is_remembered_of_an_annotated_frame_is_what_would_be_computed():
    """Unit vectors and the likeness of the rest of the annotated frame are the same for every frame, so they are computed once."""
    generator = torch.Generator().manual_seed(3)
    features, labels = torch.rand(8, 6, 7, generator=generator), torch.rand(3, 6, 7, generator=generator)
    asked = Anchor(index=0, features=features, labels=labels)
    now = torch.rand(8, 6, 7, generator=generator)
    for channels in ([0], [2, 1], [1, 2], [0]):
        fresh = Anchor(index=0, features=features, labels=labels)
        for one, other in zip(
            vars(agreement(now, labels, asked, channels)).values(), vars(agreement(now, labels, fresh, channels)).values(), strict=True
        ):
            torch.testing.assert_close(one, other, rtol=0, atol=0)
    late = asked.padded(4)
    torch.testing.assert_close(late.elsewhere([1]), asked.elsewhere([1]), rtol=0, atol=0)
