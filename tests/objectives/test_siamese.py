"""Losses of siamese trackers against loops written from the formulas; batches in which nothing is right."""

import math

import pytest
import torch

from followspot.models.siammask import SiamMask
from followspot.objectives.siamese import (
    AnchorTargets,
    SiameseWeights,
    box_loss,
    mask_loss,
    mask_positions,
    mask_scores,
    mask_windows,
    region_targets,
    score_loss,
    siamese_loss,
)
from followspot.ops.anchors import Anchors, label_anchors


@pytest.fixture
def random():
    return torch.Generator().manual_seed(0)


def targets_of(*boxes):
    made = [label_anchors(None if box is None else torch.tensor(box), Anchors()) for box in boxes]
    return AnchorTargets(**{name: torch.stack([getattr(m, name) for m in made]) for name in ("labels", "deltas", "weights")})


def test_f071_score_loss_equals_a_loop(random):
    scores = torch.randn(2, 2, 3, 4, 5, generator=random, dtype=torch.float64)
    labels = torch.randint(-1, 2, (2, 3, 4, 5), generator=random)
    costs = {0: [], 1: []}
    for b, k, y, x in torch.ones(labels.shape).nonzero().tolist():
        kind = int(labels[b, k, y, x])
        if kind >= 0:
            away, on = (math.exp(float(scores[b, c, k, y, x])) for c in (0, 1))
            costs[kind].append(-math.log((on if kind else away) / (on + away)))
    expected = sum(costs[0]) / len(costs[0]) / 2 + sum(costs[1]) / len(costs[1]) / 2
    assert score_loss(scores, labels).item() == pytest.approx(expected, rel=1e-5)


def test_f071_right_and_wrong_anchors_count_alike():
    """However many more wrong ones there are."""
    scores = torch.zeros(1, 2, 1, 10, 10)
    scores[0, 1, 0, 0, 0] = 3.0  # the only right one, rated well
    labels = torch.zeros(1, 1, 10, 10, dtype=torch.int64)
    labels[0, 0, 0, 0] = 1
    assert score_loss(scores, labels).item() == pytest.approx(math.log(2) / 2 + math.log(1 + math.exp(-3)) / 2, rel=1e-5)


def test_f071_box_loss_equals_a_loop(random):
    deltas, wanted = (torch.randn(2, 4, 3, 4, 5, generator=random) for _ in range(2))
    weights = torch.rand(2, 3, 4, 5, generator=random)
    expected = 0.0
    for b, k, y, x in torch.ones(weights.shape).nonzero().tolist():
        expected += sum(abs(float(deltas[b, c, k, y, x] - wanted[b, c, k, y, x])) for c in range(4)) * float(weights[b, k, y, x])
    assert box_loss(deltas, wanted, weights=weights).item() == pytest.approx(expected / 2, rel=1e-4)


def test_f071_a_pair_counts_alike_however_many_anchors_are_right():
    targets = targets_of([95.5, 95.5, 159.5, 159.5], [107.0, 88.0, 149.0, 166.0])
    assert len({int((labels == 1).sum()) for labels in targets.labels}) == 2
    off = targets.deltas + 1
    for pair in (0, 1):
        one = box_loss(off[pair : pair + 1], targets.deltas[pair : pair + 1], weights=targets.weights[pair : pair + 1])
        assert one.item() == pytest.approx(4, rel=1e-4)


def test_f071_mask_loss_equals_a_loop_and_needs_no_scale(random):
    masks, wanted = torch.randn(3, 6, 6, generator=random), torch.randint(0, 2, (3, 6, 6), generator=random)
    expected = [math.log(1 + math.exp(-(2 * int(y) - 1) * float(x))) for x, y in zip(masks.flatten(), wanted.flatten(), strict=True)]
    assert mask_loss(masks, wanted).item() == pytest.approx(sum(expected) / len(expected), rel=1e-5)
    assert mask_loss(torch.full((1, 2, 2), -1e4), torch.ones(1, 2, 2)).item() == pytest.approx(1e4)


def test_f071_base_masks_are_enlarged_corners_on_corners():
    ramp = torch.linspace(0, 62, 63).expand(1, 63, 63)
    expected = torch.nn.functional.softplus(-torch.linspace(0, 62, 127)).mean()
    assert mask_loss(ramp, torch.ones(1, 127, 127)).item() == pytest.approx(expected.item(), rel=1e-5)


def test_f071_mask_scores_by_hand():
    wanted = torch.zeros(4, 4, 4)
    wanted[:3, :2] = 1  # 8 of 16 pixels; the last mask is empty
    drawn = torch.full((4, 4, 4), -1.0)
    drawn[0, :2] = 1  # 8 / 8
    drawn[1, :2, :3] = 1  # 6 / 8
    drawn[2, :1] = 1  # 4 / 8, not above 0.5
    scores = mask_scores(drawn, wanted)
    assert scores["mask_iou"].item() == pytest.approx((1 + 0.75 + 0.5 + 1) / 4)
    assert (scores["mask_iou_50"].item(), scores["mask_iou_70"].item()) == (0.75, 0.75)


def test_f071_parts_are_weighted_1_and_1_2_and_36(random):
    targets = targets_of([95.5, 95.5, 159.5, 159.5])
    scores, deltas = torch.randn(1, 2, 5, 25, 25, generator=random), torch.randn(1, 4, 5, 25, 25, generator=random)
    masks, wanted = torch.randn(2, 8, 8, generator=random), torch.ones(2, 8, 8)
    said = siamese_loss(scores, deltas, targets, masks=masks, mask_targets=wanted)
    parts = [said.logs[name].item() for name in ("score", "box", "mask")]
    assert said.loss.item() == pytest.approx(parts[0] + 1.2 * parts[1] + 36 * parts[2], rel=1e-5)
    sharp = siamese_loss(scores, deltas, targets, masks=masks, mask_targets=wanted, weights=SiameseWeights(score=0, box=0))
    assert sharp.loss.item() == pytest.approx(36 * parts[2], rel=1e-5)


@pytest.mark.parametrize("box", [None, [1.0, 1.0, 3.0, 3.0]])
def test_f071_a_batch_without_right_anchors_gives_finite_gradients(box, random):
    targets = targets_of(box, box)
    said = [torch.randn(2, count, 5, 25, 25, generator=random, requires_grad=True) for count in (2, 4)]
    masks = torch.zeros(2, 63, 63, requires_grad=True)
    positions = mask_positions(targets.labels, torch.ones(2, dtype=torch.bool))
    assert positions.shape == (0, 3)
    drawn, wanted = masks[positions[:, 0]], mask_windows(torch.zeros(2, 255, 255), positions)
    out = siamese_loss(*said, targets, masks=drawn, mask_targets=wanted)
    out.loss.backward()
    for tensor in (*said, masks):
        assert tensor.grad.isfinite().all()
    assert said[0].grad.abs().sum() > 0  # the wrong anchors still teach
    assert said[1].grad.abs().sum() == masks.grad.abs().sum() == 0
    assert "mask_iou" not in out.logs


def test_f071_nothing_trained_at_all_is_zero():
    targets = AnchorTargets(labels=torch.full((1, 5, 25, 25), -1), deltas=torch.zeros(1, 4, 5, 25, 25), weights=torch.zeros(1, 5, 25, 25))
    scores = torch.randn(1, 2, 5, 25, 25, requires_grad=True)
    out = siamese_loss(scores, torch.zeros(1, 4, 5, 25, 25), targets, masks=torch.zeros(0, 63, 63), mask_targets=torch.zeros(0, 127, 127))
    out.loss.backward()
    assert out.loss == 0
    assert scores.grad.abs().sum() == 0


def test_masks_are_trained_where_an_anchor_is_right_and_there_is_a_mask():
    targets = targets_of([95.5, 95.5, 159.5, 159.5], [95.5, 95.5, 159.5, 159.5])
    positions = mask_positions(targets.labels, torch.tensor([False, True]))
    assert (positions[:, 0] == 1).all()
    assert {tuple(p[1:]) for p in positions.tolist()} == {(y, x) for _, y, x in (targets.labels[1] == 1).nonzero().tolist()}


def test_windows_of_masks_equal_an_unfold():
    masks = (torch.rand(2, 255, 255, generator=torch.Generator().manual_seed(1)) > 0.5).float()
    unfolded = torch.nn.functional.unfold(masks[:, None], 127, padding=32, stride=8)
    assert unfolded.shape[-1] == 625
    for sample, row, column in ((0, 0, 0), (1, 24, 24), (1, 3, 17)):
        window = mask_windows(masks, torch.tensor([[sample, row, column]]))[0]
        assert torch.equal(window.flatten(), unfolded[sample, :, 25 * row + column])


def test_targets_of_regions_cover_their_boxes():
    masks = torch.zeros(2, 255, 255)
    masks[1, 100:156, 50:106] = 1
    boxes, samples = (
        torch.tensor([[50.0, 100.0, 106.0, 156.0], [50.0, 72.0, 106.0, 128.0], [50.0, 100.0, 106.0, 156.0]]),
        torch.tensor([1, 1, 0]),
    )
    targets = region_targets(masks, boxes, samples)
    assert targets[0].all()
    assert not targets[1, :14].any()
    assert targets[1, 14:].all()
    assert not targets[2].any()


def test_a_step_down_the_gradient_of_the_network_lowers_the_loss():
    """By what the gradient promises: network, labels and losses fit together."""
    torch.manual_seed(0)
    network = SiamMask(18, masks="refined").train()
    template, search = torch.rand(1, 3, 127, 127), torch.rand(1, 3, 255, 255)
    truth = torch.zeros(1, 255, 255)
    truth[:, 90:150, 80:150] = 1
    targets = targets_of([80.0, 90.0, 150.0, 150.0])
    positions = mask_positions(targets.labels, torch.tensor([True]))[:2]

    def loss():
        found = network.search(network.template(template), search)
        drawn = network.masks(found, positions)
        return siamese_loss(found.scores, found.deltas, targets, masks=drawn, mask_targets=mask_windows(truth, positions)).loss

    before = loss()
    before.backward()
    parameters = [parameter for parameter in network.parameters() if parameter.grad is not None]
    steepness = sum(parameter.grad.square().sum() for parameter in parameters)
    promised = before.item() * 1e-3
    with torch.no_grad():
        for parameter in parameters:
            parameter -= promised / steepness * parameter.grad
        assert before.item() - loss().item() == pytest.approx(promised, rel=0.3)
