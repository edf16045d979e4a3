"""Anchors: published sizes, which are trained, and boxes told relative to them and back."""

import math

import pytest
import torch

from followspot.errors import SettingError
from followspot.ops.anchors import Anchors, LabelRule, box_overlap, decode_boxes, encode_boxes, label_anchors


def slow_overlap(a, b):
    both = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def test_f022_widths_and_heights_are_the_published_ones():
    boxes = Anchors().boxes()
    assert boxes.shape == (4, 5, 25, 25)
    sides = [(round(float(b[2] - b[0])), round(float(b[3] - b[1]))) for b in boxes[:, :, 3, 20].T]
    assert sides == [(104, 32), (88, 40), (64, 64), (40, 80), (32, 96)]


def test_f022_places_are_8_pixels_apart_around_the_centre():
    boxes = Anchors().boxes()
    for row, column in ((0, 0), (12, 12), (24, 3)):
        x, y = (boxes[0] + boxes[2]) / 2, (boxes[1] + boxes[3]) / 2
        # 127 is the middle pixel of 255; its centre has the edge coordinate 127.5.
        assert (x[:, row, column] == 127.5 + 8 * (column - 12)).all()
        assert (y[:, row, column] == 127.5 + 8 * (row - 12)).all()


@pytest.mark.parametrize("target", [(95.5, 95.5, 159.5, 159.5), (60.0, 100.0, 180.0, 140.0), (140.2, 60.7, 181.9, 142.1)])
def test_f022_labels_follow_the_overlap(target):
    anchors, generator = Anchors(), torch.Generator().manual_seed(1)
    made = label_anchors(torch.tensor(target), anchors, generator=generator)
    overlap = torch.tensor(
        [[[slow_overlap(b, target) for b in row.T.tolist()] for row in shape.transpose(0, 1)] for shape in anchors.boxes().transpose(0, 1)]
    )
    assert (overlap[made.labels == 1] > 0.6).all()
    assert (overlap[made.labels == 0] < 0.3).all()
    positives = int((made.labels == 1).sum())
    assert positives == min(16, int((overlap > 0.6).sum()))
    assert int((made.labels >= 0).sum()) == 64
    assert made.weights.sum().item() == pytest.approx(1)
    assert torch.equal(made.weights > 0, made.labels == 1)
    assert torch.equal(made.positions, (made.labels == 1).any(0))


def test_f022_deltas_invert_to_the_target():
    anchors, target = Anchors(), torch.tensor([60.0, 100.0, 180.0, 141.0])
    deltas = label_anchors(target, anchors).deltas
    torch.testing.assert_close(decode_boxes(deltas, anchors.boxes()), target.view(4, 1, 1, 1).expand_as(deltas), atol=1e-3, rtol=0)


def test_f022_deltas_by_hand():
    anchor, target = torch.tensor([0.0, 0.0, 10.0, 20.0]), torch.tensor([5.0, 0.0, 25.0, 10.0])
    expected = torch.tensor([(15 - 5) / 10, (5 - 10) / 20, math.log(20 / 10), math.log(10 / 20)])
    torch.testing.assert_close(encode_boxes(target, anchor), expected)


def test_f022_which_are_drawn_changes_and_repeats():
    target, anchors = torch.tensor([95.5, 95.5, 159.5, 159.5]), Anchors()
    drawn = [label_anchors(target, anchors, generator=torch.Generator().manual_seed(seed)).labels for seed in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_f022_a_pair_without_target_trains_16_central_negatives():
    made = label_anchors(None, Anchors(), generator=torch.Generator().manual_seed(0))
    assert int((made.labels == 0).sum()) == 16
    assert not (made.labels == 1).any()
    rows, columns = (made.labels == 0).nonzero()[:, 1:].T
    assert 9 <= int(min(rows.min(), columns.min())) <= int(max(rows.max(), columns.max())) <= 15
    assert made.deltas.abs().sum() == made.weights.sum() == 0


def test_a_target_that_no_anchor_fits_has_no_positives_and_finite_numbers():
    made = label_anchors(torch.tensor([1.0, 1.0, 3.0, 3.0]), Anchors())
    assert not made.positions.any()
    assert made.weights.sum() == 0
    assert made.deltas.isfinite().all()
    assert int((made.labels == 0).sum()) == 64


def test_a_rule_of_ones_own():
    made = label_anchors(torch.tensor([95.5, 95.5, 159.5, 159.5]), Anchors(), rule=LabelRule(positives=2, total=5))
    assert (int((made.labels == 1).sum()), int((made.labels == 0).sum())) == (2, 3)


def test_overlap_of_empty_boxes_is_zero():
    assert box_overlap(torch.zeros(4), torch.zeros(4)) == 0


def test_even_grids_have_no_centre():
    with pytest.raises(SettingError, match="an odd grid"):
        Anchors(grid=24)
