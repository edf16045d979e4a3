import copy
import math

import pytest
import torch
from torch import nn

from followspot.errors import SettingError
from followspot.ops.schedule import Schedule
from followspot.training.optimiser import GuardedStep, OptimizerSettings, apply_schedule, build_optimizer, hold_statistics


class Toy(nn.Module):
    """A backbone with running statistics, and a head."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer1 = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
        self.layer10 = nn.Conv2d(4, 4, 1)
        self.head = nn.Conv2d(4, 2, 1)
        self.fixed = nn.Conv2d(2, 2, 1).requires_grad_(False)
        self.register_buffer("centres", torch.zeros(2))
        self.register_buffer("unset", None)

    def forward(self, frames):
        maps = self.head(self.layer10(self.layer1(frames)))
        self.centres.add_(maps.detach().mean((0, 2, 3)))
        self.unset = maps.detach().sum()
        return maps.square().mean()


def frames(step=0):
    return torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(step))


def state(module, optimizer):
    moments = {(index, name): value for index, held in optimizer.state_dict()["state"].items() for name, value in held.items()}
    return copy.deepcopy({**module.state_dict(), **moments})


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(torch.as_tensor(first[key]), torch.as_tensor(second[key])) for key in first)


def take(module, optimizer, settings, *, step=0, total=100, guard=None, factor=1.0):
    guard = guard or GuardedStep()
    apply_schedule(optimizer, settings, step=step, total_steps=total)
    hold_statistics(module, settings, step=step, total_steps=total)
    guard.remember(module)
    return guard.step(optimizer, module(frames(step)) * factor, clip=settings.clip, skip_above=settings.skip_above)


@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)])
def test_f090_optimisers_step_as_those_of_torch(name, kind):
    settings = OptimizerSettings(name=name, lr=Schedule.parse("linear 0:0.1 10:0.2"), weight_decay=0.01, betas=(0.8, 0.9), momentum=0.7)
    ours, theirs = Toy(), Toy()
    optimizer = build_optimizer(ours, settings)
    own = {"momentum": 0.7} if name == "sgd" else {"betas": (0.8, 0.9)}
    reference = kind([value for value in theirs.parameters() if value.requires_grad], lr=1.0, weight_decay=0.01, **own)
    for step in range(3):
        assert take(ours, optimizer, settings, step=step)
        reference.param_groups[0]["lr"] = 0.1 + 0.01 * step
        reference.zero_grad()
        theirs(frames(step)).backward()
        reference.step()
    for (key, value), expected in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        assert torch.allclose(value, expected, atol=1e-6), key


def test_f090_learning_rates_by_module_and_decay_of_matrices_only():
    settings = OptimizerSettings(
        lr=Schedule.constant(1.0), weight_decay=0.5, decay_vectors=False, multipliers={"layer1": 0.1, "layer1.1": 0.3, "head.bias": 2.0}
    )
    module = Toy()
    optimizer = build_optimizer(module, settings)
    assert apply_schedule(optimizer, settings, step=0, total_steps=1) == 1.0
    names = {parameter: name for name, parameter in module.named_parameters()}
    found = {names[p]: (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]}
    assert found == {
        "layer1.0.weight": (0.1, 0.5),
        "layer1.0.bias": (0.1, 0.0),
        "layer1.1.weight": (0.3, 0.0),
        "layer1.1.bias": (0.3, 0.0),
        "layer10.weight": (1.0, 0.5),
        "layer10.bias": (1.0, 0.0),
        "head.weight": (1.0, 0.5),
        "head.bias": (2.0, 0.0),
    }


def test_f090_long_gradients_are_shortened():
    settings = OptimizerSettings(name="sgd", lr=Schedule.constant(1.0), momentum=0.0, clip=0.01)
    module = Toy()
    before = torch.cat([value.detach().flatten() for value in module.parameters()])
    assert take(module, build_optimizer(module, settings), settings)
    after = torch.cat([value.detach().flatten() for value in module.parameters()])
    assert (after - before).norm().item() == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("factor", [math.nan, math.inf, -math.inf, 1e30])
def test_f090_a_step_that_is_not_finite_leaves_no_trace_and_is_counted(factor):
    settings = OptimizerSettings(lr=Schedule.constant(0.1), skip_above=1e4)
    module, guard = Toy(), GuardedStep()
    optimizer = build_optimizer(module, settings)
    assert take(module, optimizer, settings, guard=guard)
    before, unset = state(module, optimizer), module.unset.clone()
    assert not take(module, optimizer, settings, step=1, guard=guard, factor=factor)
    assert same(state(module, optimizer), before)
    assert torch.equal(module.unset, unset)  # a buffer that was replaced, not changed
    assert (guard.skipped, guard.in_a_row) == (1, 1)
    assert take(module, optimizer, settings, step=2, guard=guard)
    assert (guard.skipped, guard.in_a_row) == (1, 0)
    assert not same(state(module, optimizer), before)


def test_f090_a_gradient_that_is_not_finite_counts_though_the_loss_is():
    weight = nn.Parameter(torch.zeros(1))
    module = nn.ParameterList([weight])
    settings = OptimizerSettings()
    optimizer, guard = build_optimizer(module, settings), GuardedStep()
    apply_schedule(optimizer, settings, step=0, total_steps=1)
    guard.remember(module)
    assert not guard.step(optimizer, weight.sqrt().sum())
    assert weight.item() == 0
    assert guard.norm.isinf()


def test_f090_too_many_in_a_row_say_what_to_do():
    module, settings, guard = Toy(), OptimizerSettings(), GuardedStep(max_skipped=3)
    optimizer = build_optimizer(module, settings)
    for _ in range(2):
        assert not take(module, optimizer, settings, guard=guard, factor=math.nan)
    resumed = GuardedStep(max_skipped=3)
    resumed.load_state_dict(guard.state_dict())
    with pytest.raises(SettingError, match=r"last 3 steps .* lower optimizer.lr"):
        take(module, optimizer, settings, guard=resumed, factor=math.nan)


def test_a_step_needs_what_was_remembered():
    module, settings, guard = Toy(), OptimizerSettings(), GuardedStep()
    with pytest.raises(RuntimeError, match="remember"):
        guard.step(build_optimizer(module, settings), module(frames()))


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_f091_a_module_waits_for_half_of_training_and_keeps_its_momentum(name):
    """Before: no gradient, statistics stay. After: a tenth of the rate. What the optimiser remembers is kept in both directions."""
    settings = OptimizerSettings(
        name=name, lr=Schedule.constant(0.1), weight_decay=0.1, multipliers={"layer1": 0.1}, freeze={"layer1": 0.5}
    )
    module = Toy()
    optimizer = build_optimizer(module, settings)
    frozen = copy.deepcopy(module.layer1.state_dict())
    for step in range(5):
        assert take(module, optimizer, settings, step=step, total=10)
        assert all(parameter.grad is None and not parameter.requires_grad for parameter in module.layer1.parameters())
        assert all(torch.equal(value, frozen[key]) for key, value in module.layer1.state_dict().items())
        assert not module.layer1[1].training
    assert all(parameter not in optimizer.state for parameter in module.layer1.parameters())
    assert all(parameter in optimizer.state for parameter in module.head.parameters())
    key = "momentum_buffer" if name == "sgd" else "exp_avg"
    head = optimizer.state[module.head.weight]
    momentum = head[key].clone()
    apply_schedule(optimizer, settings, step=5, total_steps=10)
    assert torch.equal(head[key], momentum)  # the optimiser was not made anew
    assert take(module, optimizer, settings, step=5, total=10)
    assert module.layer1[1].training
    assert not torch.equal(module.layer1[0].weight, frozen["0.weight"])
    assert {group["factor"]: group["lr"] for group in optimizer.param_groups} == pytest.approx({0.1: 0.01, 1.0: 0.1})
    kept = optimizer.state[module.layer1[0].weight][key].clone()
    take(module, optimizer, settings, step=0, total=10)  # frozen again
    assert torch.equal(optimizer.state[module.layer1[0].weight][key], kept)


def test_f091_what_never_wanted_gradients_does_not_after_thawing():
    settings = OptimizerSettings(freeze={"fixed": 0.5})
    module = Toy()
    optimizer = build_optimizer(module, settings)
    assert take(module, optimizer, settings, step=9, total=10)
    assert not any(parameter.requires_grad for parameter in module.fixed.parameters())
    assert OptimizerSettings().waits(1.0, step=9, total_steps=10)  # 1 is for ever


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "adm"}, "adam, adamw, sgd"),
        ({"betas": (0.9, 1.0)}, "betas"),
        ({"momentum": 1.0}, "momentum"),
        ({"weight_decay": -1.0}, "0 or more"),
        ({"clip": 0.0}, "leave it out"),
        ({"skip_above": 0.0}, "leave it out"),
        ({"multipliers": {"a": -1.0}}, "multipliers.a"),
        ({"freeze": {"a": 1.5}}, "1 is for ever"),
    ],
)
def test_bad_settings_are_explained(settings, message):
    with pytest.raises(SettingError, match=message):
        OptimizerSettings(**settings)


def test_unknown_modules_are_explained():
    with pytest.raises(SettingError, match="did you mean 'layer1'"):
        build_optimizer(Toy(), OptimizerSettings(multipliers={"layr1": 0.1}))
    with pytest.raises(SettingError, match=r"optimizer.freeze names 'haed'.*'head'"):
        build_optimizer(Toy(), OptimizerSettings(freeze={"haed": 0.1}))
    with pytest.raises(SettingError, match="nothing in this recipe can be trained"):
        build_optimizer(nn.ReLU(), OptimizerSettings())
