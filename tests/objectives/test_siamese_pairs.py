"""F071, F128 and F130: what a batch of pairs trains in each kind of network."""

import pytest
import torch

from followspot.errors import SettingError
from followspot.models.online_networks import build_online_network
from followspot.objectives.siamese import AnchorTargets, SiameseWeights, region_targets
from followspot.objectives.siamese_pairs import PairBatch, PairLossSettings, SiamesePairs
from followspot.ops.anchors import Anchors, label_anchors
from followspot.training.watched import looking_at

MASKS_ONLY = SiameseWeights(score=0.0, box=0.0, mask=36.0)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def batch_of(boxes, *, seed=0, has_mask=True):
    """Pairs of noise whose objects fill their boxes; None: nothing is there."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.zeros(len(boxes), 255, 255, dtype=torch.uint8)
    for mask, box in zip(masks, boxes, strict=True):
        if box is not None:
            mask[box[1] : box[3], box[0] : box[2]] = 1
    labels = [label_anchors(None if box is None else torch.tensor(box).float(), Anchors(), generator=generator) for box in boxes]
    return PairBatch(
        template=torch.rand(len(boxes), 3, 127, 127, generator=generator),
        search=torch.rand(len(boxes), 3, 255, 255, generator=generator),
        masks=masks,
        has_mask=torch.tensor([has_mask and box is not None for box in boxes]),
        targets=AnchorTargets(
            **{name: torch.stack([getattr(label, name) for label in labels]) for name in ("labels", "deltas", "weights")}
        ),
    )


MIDDLE, ASIDE = (95, 95, 160, 160), (120, 60, 180, 130)


@pytest.fixture(scope="module", params=["siammask-lite", "siammask-lite-base", "siammask-lite-box", "s2iammask-lite"])
def network(request):
    torch.manual_seed(0)
    return build_online_network(request.param)


def gradients(network):
    return [parameter.grad for parameter in network.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("weights", [SiameseWeights(), MASKS_ONLY], ids=["all", "masks"])
def test_f071_a_batch_without_positives_has_a_finite_loss_and_gradients(network, weights):
    """Also where scores and boxes are frozen, as in the second stages."""
    frozen = [] if weights is not MASKS_ONLY else [part for name, part in network.named_parameters() if "mask" not in name]
    frozen = [part for part in frozen if network.name not in ("siammask-lite-box", "s2iammask-lite")]
    for part in frozen:
        part.requires_grad_(False)
    network.zero_grad()
    said = SiamesePairs(PairLossSettings(weights=weights))(batch_of([None, None]), network)
    said.loss.backward()
    assert torch.isfinite(said.loss)
    assert gradients(network)
    assert all(torch.isfinite(gradient).all() for gradient in gradients(network))
    assert "mask_iou" not in said.logs
    for part in frozen:
        part.requires_grad_(True)


def test_f071_the_logs_say_how_good_the_masks_are(network):
    said = SiamesePairs(PairLossSettings(places=2))(batch_of([MIDDLE, ASIDE]), network)
    masks = {"mask_iou", "mask_iou_50", "mask_iou_70"}
    assert set(said.logs) == {"score", "box", "mask"} | (set() if network.name.endswith("-box") else masks)
    assert all(torch.isfinite(value) and not value.requires_grad for value in said.logs.values())
    assert torch.isfinite(said.loss)
    assert len(said.per_sample) == 2


def test_f128_pairs_with_boxes_only_train_scores_and_boxes(network):
    """A store that mixes masks and boxes: a pair without a mask trains none."""
    said = SiamesePairs(PairLossSettings())(batch_of([MIDDLE, ASIDE], has_mask=False), network)
    assert float(said.logs["mask"]) == 0
    assert float(said.logs["box"]) > 0


def test_pictures_show_the_pairs(network):
    objective, batch = SiamesePairs(PairLossSettings()), batch_of([MIDDLE, None])
    with looking_at(network, objective):
        (picture,) = objective.pictures(batch, network).values()
    assert picture.shape == (3, 510, 510)
    assert torch.equal(picture[:, 64:191, 64:191], batch.template[0])


def test_at_most_so_many_places_of_each_pair_are_trained():
    places = torch.tensor([[0, 1, 1], [0, 2, 2], [0, 3, 3], [2, 5, 5], [3, 1, 1], [3, 9, 9]])
    objective = SiamesePairs(PairLossSettings(places=2))
    seen = set()
    for seed in range(40):
        torch.manual_seed(seed)
        some = objective._some(places)
        assert torch.bincount(some[:, 0], minlength=4).tolist() == [2, 0, 1, 2]
        rows = {tuple(row) for row in some.tolist()}
        assert rows <= {tuple(row) for row in places.tolist()}
        seen |= rows
    assert len(seen) == 6, "some place is never drawn"
    assert torch.equal(SiamesePairs(PairLossSettings())._some(places), places)


@pytest.mark.parametrize("settings", [{"places": 0}, {"enlarge": (0.4, 0.1)}, {"enlarge": (-0.1, 0.1)}])
def test_wrong_settings_are_told(settings):
    with pytest.raises(SettingError):
        PairLossSettings(**settings)


@pytest.fixture(scope="module")
def second_stage():
    torch.manual_seed(1)
    return build_online_network("s2iammask-lite").eval()


def test_f130_every_region_is_pooled_from_its_own_image(second_stage):
    """Three pairs in another order: masks and truths follow them."""
    objective = SiamesePairs(PairLossSettings(enlarge=(0.1, 0.1), places=1))
    batch = batch_of([MIDDLE, ASIDE, (60, 90, 140, 150)])
    order = torch.tensor([2, 0, 1])
    turned = PairBatch(
        **{name: getattr(batch, name)[order] for name in ("template", "search", "masks", "has_mask")},
        targets=AnchorTargets(**{name: getattr(batch.targets, name)[order] for name in ("labels", "deltas", "weights")}),
    )
    with torch.no_grad():
        boxes, samples = objective._boxes(batch, second_stage)
        found = second_stage.search(second_stage.template(batch.template), batch.search)
        masks, true = second_stage.masks(found, boxes, samples), region_targets(batch.masks, boxes, samples)
        found = second_stage.search(second_stage.template(turned.template), turned.search)
        where = torch.argsort(order)[samples]
        other_masks, other_true = second_stage.masks(found, boxes, where), region_targets(turned.masks, boxes, where)
        wrong = second_stage.masks(found, boxes, samples)
    assert sorted(samples.tolist()) == [0, 1, 2]
    assert torch.allclose(masks, other_masks, atol=1e-4)
    assert torch.equal(true, other_true)
    assert not torch.allclose(masks, wrong, atol=1e-4)
    for box, mask, sample in zip(boxes, true, samples, strict=True):
        left, top, right, bottom = (MIDDLE, ASIDE, (60, 90, 140, 150))[int(sample)]
        x, y = (box[0] + (torch.arange(28) + 0.5) / 28 * (box[2] - box[0])), (box[1] + (torch.arange(28) + 0.5) / 28 * (box[3] - box[1]))
        inside = ((y > top) & (y < bottom))[:, None] & ((x > left) & (x < right))
        assert (inside.float() - mask).abs().mean() < 0.1


def test_f130_boxes_are_right_anchors_grown_on_every_side(second_stage):
    objective = SiamesePairs(PairLossSettings(enlarge=(0.4, 0.4)))
    batch = batch_of([MIDDLE, None, ASIDE])
    boxes, samples = objective._boxes(batch, second_stage)
    right = (batch.targets.labels == 1).nonzero()
    assert torch.equal(samples, right[:, 0])
    anchors = Anchors().boxes()[:, right[:, 1], right[:, 2], right[:, 3]].T
    sides = anchors[:, 2:] - anchors[:, :2]
    assert torch.allclose(boxes, torch.cat([anchors[:, :2] - 0.4 * sides, anchors[:, 2:] + 0.4 * sides], 1))
