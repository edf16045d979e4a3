"""Batch renormalisation against its formula, heads against what they may depend on."""

import copy

import pytest
import torch
from torch import nn

from followspot.errors import SettingError
from followspot.models.layers import BatchRenorm2d, Conv3dHead, LinearHead, PaperHead, add_coordinates, advance_renorm
from followspot.ops.schedule import Schedule


def batches(count=4, *, channels=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [2 + 3 * torch.randn(5, channels, 4, 6, generator=generator) * (1 + i) for i in range(count)]


def test_f044_with_r_one_and_d_zero_it_is_batch_normalisation():
    ours, plain = BatchRenorm2d(3), nn.BatchNorm2d(3)
    for batch in batches():
        x, y = batch.clone().requires_grad_(), batch.clone().requires_grad_()
        torch.testing.assert_close(ours(x), plain(y), atol=1e-5, rtol=0)
        probe = torch.randn_like(batch)
        for a, b in zip(torch.autograd.grad((ours(x) * probe).sum(), x), torch.autograd.grad((plain(y) * probe).sum(), y), strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_f044_forward_equals_the_formula_by_hand():
    layer = BatchRenorm2d(3, renorm_momentum=0.25, rmax=Schedule.constant(1.5), dmax=Schedule.constant(0.4))
    advance_renorm(nn.Sequential(layer), step=0, total_steps=1)
    with torch.no_grad():
        layer.weight.uniform_(0.5, 2)
        layer.bias.uniform_(-1, 1)
    mean = std = None
    for number, x in enumerate(batches()):
        got = layer(x)
        for channel in range(3):
            values = x[:, channel].double()
            batch_mean, batch_std = values.mean(), (values.var(unbiased=False) + 1e-5).sqrt()
            known = (batch_mean, batch_std) if mean is None else (mean[channel], std[channel])
            r = (batch_std / known[1]).clamp(1 / 1.5, 1.5)
            d = ((batch_mean - known[0]) / known[1]).clamp(-0.4, 0.4)
            wanted = ((values - batch_mean) / batch_std * r + d) * layer.weight[channel] + layer.bias[channel]
            torch.testing.assert_close(got[:, channel].double(), wanted, atol=1e-5, rtol=1e-5)
        share = max(0.25, 1 / (number + 1))
        new_mean = x.mean((0, 2, 3)).double()
        new_std = (x.var((0, 2, 3), unbiased=False) + 1e-5).sqrt().double()
        mean = new_mean if mean is None else mean + share * (new_mean - mean)
        std = new_std if std is None else std + share * (new_std - std)


def test_f044_no_gradient_flows_through_r_and_d():
    layer = BatchRenorm2d(2, rmax=Schedule.constant(100), dmax=Schedule.constant(100))
    layer.advance(0, 1)
    first, second = batches(2, channels=2)
    layer(first)
    x = second.double().requires_grad_()
    known_mean, known_std = layer.renorm_mean.double().clone(), layer.renorm_std.double().clone()
    layer.double()
    probe = torch.randn_like(x)
    ours = torch.autograd.grad((layer(x) * probe).sum(), x)[0]
    mean, std = x.mean((0, 2, 3)), (x.var((0, 2, 3), unbiased=False) + 1e-5).sqrt()
    r, d = (std / known_std).detach(), ((mean - known_mean) / known_std).detach()
    axes = (slice(None), None, None)
    slow = (x - mean[axes]) / std[axes] * r[axes] + d[axes]
    torch.testing.assert_close(ours, torch.autograd.grad((slow * probe).sum(), x)[0])


def test_f044_running_statistics_rule_in_eval_mode_and_begin_without_bias():
    layer = BatchRenorm2d(3)
    seen = batches(3)
    for batch in seen:
        layer(batch)
    layer.eval()
    mean = torch.stack([b.mean((0, 2, 3)) for b in seen]).mean(0)
    variance = torch.stack([b.var((0, 2, 3)) for b in seen]).mean(0)
    torch.testing.assert_close(layer.running_mean, mean)
    x = torch.randn(1, 3, 2, 2)
    torch.testing.assert_close(layer(x), (x - mean[:, None, None]) / (variance + 1e-5).sqrt()[:, None, None], atol=1e-5, rtol=1e-4)
    before = copy.deepcopy(layer.state_dict())
    layer(x)
    assert all(torch.equal(before[key], value) for key, value in layer.state_dict().items())


def test_f044_limits_follow_the_published_schedules():
    layer = BatchRenorm2d(1)
    limits = []
    for step in (0, 2000, 22_000, 37_000, 10**6):
        layer.advance(step, 10**6)
        limits.append((round(layer.rmax, 3), round(layer.dmax, 3)))
    assert limits == [(1.0, 0.0), (1.0, 0.0), (2.143, 5.0), (3.0, 5.0), (3.0, 5.0)]


def test_renorm_bears_constant_maps_and_half_precision():
    layer = BatchRenorm2d(2)
    x = torch.zeros(3, 2, 4, 4, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad.isfinite().all()
    assert layer(x.detach().bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("momentum", [0.0, 1.5])
def test_momentum_is_a_share(momentum):
    with pytest.raises(SettingError, match=r"\(0, 1\]"):
        BatchRenorm2d(3, momentum=momentum)


def test_coordinates_of_a_single_cell_are_the_middle():
    assert add_coordinates(torch.ones(2, 1, 1, 1))[:, 1:].abs().max() == 0


@pytest.mark.parametrize(("head", "mixes"), [(LinearHead, False), (Conv3dHead, True), (PaperHead, True)])
def test_f043_only_3d_heads_mix_frames_and_all_keep_the_shape(head, mixes):
    torch.manual_seed(0)
    module = head(6, feature_dim=8).eval()
    features = torch.randn(2, 3, 6, 4, 5)
    out = module(features)
    assert out.shape == (2, 3, 8, 4, 5)
    changed = features.clone()
    changed[:, 0] += 1
    moved = (module(changed) - out).abs().amax((0, 2, 3, 4))
    assert moved[0] > 0
    assert (moved[1] > 0) == mixes
    assert (module(features.flip(0)) - out.flip(0)).abs().max() < 1e-5, "clips of a batch never mix"


def test_f042_the_papers_head_knows_where_a_cell_is():
    torch.manual_seed(0)
    module = PaperHead(4).eval()
    out = module(torch.zeros(1, 2, 4, 6, 6))
    assert out.shape[2] == 64
    assert out.std((3, 4)).max() > 1e-3
