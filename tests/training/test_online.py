"""F091, F127, F128 and F130 through the real module, a few steps of the lite networks on drawn targets."""

import copy
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from followspot.datasets.pair_loader import PairLoader
from followspot.datasets.pair_views import ViewSettings
from followspot.datasets.targets import TargetStore
from followspot.jobs.train_online import read_online_recipe
from followspot.training.online import OnlineModule

FEW = ("batch_size=2", "precision=float32", "workers=1", "data.held_out=0", "log.every=1", "data.negatives=0", "data.epoch=8")


@pytest.fixture(scope="module")
def targets(draw_targets, tmp_path_factory):
    return TargetStore(draw_targets(tmp_path_factory.mktemp("targets")))


class Steps(OnlineModule):
    """Steps without a trainer; the same batch each time, where one is given."""

    def __init__(self, recipe, targets, *, batch=None):
        def loader(rank, world, device):
            return PairLoader(targets, recipe.data, batch_size=recipe.batch_size, seed=recipe.seed, rule=recipe.anchors)

        super().__init__(recipe, loader)
        self.optimizer = self.configure_optimizers()
        raw = loader(0, 1, None)
        self._batches = iter([raw.batch(step if batch is None else batch) for step in range(recipe.steps)])
        self._trainer = SimpleNamespace(world_size=1)
        self.grown = {}

    def optimizers(self, use_pl_optimizer=True):
        return self.optimizer

    @property
    def trainer(self):
        return self._trainer

    def manual_backward(self, loss):
        loss.backward()
        self.grown = {name: value.grad.clone() for name, value in self.encoder.named_parameters() if value.grad is not None}

    def step(self):
        before = copy.deepcopy(self.encoder.state_dict())
        self.train()
        self.training_step(None, 0)
        after = self.encoder.state_dict()
        return {name for name in after if not torch.equal(after[name], before[name])}


def recipe_of(name, *changes):
    return read_online_recipe(name, changes=(*FEW, *changes))


def test_f091_the_backbone_waits_for_half_of_training_and_then_learns_at_a_tenth(targets):
    """The published freezing on the lite network."""
    module = Steps(recipe_of("siammask-base", "network.name=siammask-lite-base", "steps=4"), targets)
    backbone = "backbone."
    for step in range(2):
        changed = module.step()
        assert {name for name in module.grown if name.startswith(backbone)} == {
            f"backbone.adjust.{name}" for name in ("0.weight", "1.weight", "1.bias")
        }
        assert all(name.startswith(("heads.", "backbone.adjust.")) for name in changed), step
    adjust, late = module.encoder.backbone.adjust[0].weight, module.encoder.backbone.layer3[0].conv1.weight
    momentum = module.optimizer.state[adjust]["momentum_buffer"].clone()
    assert late not in module.optimizer.state
    weight, rate = adjust.detach().clone(), module.run_settings.optimizer.lr.at(2, 4)
    before = late.detach().clone()
    changed = module.step()
    thawed = {name for name in module.grown if name.startswith(backbone)}
    assert any(name.startswith("backbone.layer2.") for name in thawed)
    assert any(name.startswith("backbone.layer3.") for name in thawed)
    assert not any(name.startswith(("backbone.conv1", "backbone.bn1", "backbone.layer1")) for name in thawed | changed)
    assert "backbone.layer2.0.bn1.running_mean" in changed
    # Descent with momentum 0.9 by hand: what was remembered counts on; what thaws begins with its gradient.
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(value) for value in module.grown.values()]))
    short = min(1.0, 10.0 / (float(norm) + 1e-6))
    expected = weight - rate * (0.9 * momentum + short * module.grown["backbone.adjust.0.weight"] + 1e-4 * weight)
    assert torch.allclose(adjust, expected, atol=1e-7)
    expected = before - 0.1 * rate * (short * module.grown["backbone.layer3.0.conv1.weight"] + 1e-4 * before)
    assert torch.allclose(late, expected, atol=1e-7)


def test_f127_base_then_sharp_trains_masks_alone_and_they_get_better(targets):
    base = Steps(recipe_of("siammask-lite-base", "steps=2", "network.backbone="), targets)
    for _ in range(2):
        changed = base.step()
    assert {name.split(".")[1] for name in changed if name.startswith("heads.")} == {"score", "box", "mask"}
    sharp = recipe_of("siammask-lite", "steps=20", "optimizer.lr=3e-3", "loss.places=2")
    module = Steps(sharp, targets, batch=0)
    own = module.encoder.state_dict()
    own.update(base.encoder.state_dict())
    module.encoder.load_state_dict(own)
    changed, losses, overlaps = set(), [], []
    for _ in range(sharp.steps):
        changed |= module.step()
        losses.append(module.step_logs["mask"])
        overlaps.append(module.step_logs["mask_iou"])
    assert all(name.startswith(("heads.mask.", "refinement.")) for name in changed)
    assert not any(name.startswith("heads.mask.readout") for name in changed), "refined masks do not read base masks"
    assert any(name.startswith("refinement.") for name in changed)
    assert losses[-1] < 0.5 * losses[0], losses
    assert max(overlaps[-3:]) > 0.5 > overlaps[0], overlaps


def test_f128_boxes_alone_train(targets):
    module = Steps(
        recipe_of("siammask-lite-box", "steps=4", "network.backbone=", "optimizer.lr=1e-3", "optimizer.freeze={}"), targets, batch=0
    )
    losses = []
    for _ in range(4):
        changed = module.step()
        losses.append(module.step_logs["loss"])
    assert losses[-1] < losses[0]
    assert {name.split(".")[0] for name in changed} == {"backbone", "heads"}
    assert "mask_iou" not in module.step_logs


def test_f130_the_second_stage_of_s2iammask_leaves_the_first_to_the_bit(targets):
    recipe = recipe_of("s2iammask-lite", "steps=3", "batch_size=3", "optimizer.lr=1e-3")
    module = Steps(recipe, targets)
    changed = set()
    for _ in range(3):
        changed |= module.step()
        assert all(name.startswith("fusion.") for name in module.grown)
    assert changed
    assert all(name.startswith("fusion.") for name in changed), "also running statistics stay"
    assert "mask_iou" in module.step_logs


def test_a_batch_of_strangers_does_not_stop_the_second_stage(targets):
    """Scores and boxes are frozen there, and nothing is drawn."""
    recipe = recipe_of("siammask-lite", "steps=1", "data.negatives=1")
    module = Steps(recipe, targets)
    module.step()
    assert module.steps_done == 1
    assert module.step_logs["loss"] == 0


def test_colours_reach_the_network_in_0_to_1(targets):
    recipe = replace(recipe_of("siammask-lite-box", "steps=1", "network.backbone="), batch_size=2)
    recipe = replace(recipe, data=replace(recipe.data, search=ViewSettings(shift=0, scale=0)))
    module = Steps(recipe, targets)
    raw = next(module._batches)
    batch = module.batch_of(raw)
    assert torch.allclose(batch.search * 255, raw.search.float())
    assert batch.whole == 2
