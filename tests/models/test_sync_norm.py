import pytest
import torch
from torch import distributed, nn

from followspot.errors import SettingError
from followspot.models.sync_norm import SyncedBatchNorm2d, joined_moments, synchronize_batch_norm

SHARES = (3, 1)
"""Samples of the processes, uneven on purpose."""


def network(momentum):
    torch.manual_seed(0)
    norms = [nn.BatchNorm2d(4, momentum=momentum), nn.BatchNorm2d(2, momentum=momentum, affine=False)]
    for norm in norms[:1]:
        nn.init.uniform_(norm.weight)
        nn.init.uniform_(norm.bias)
    return nn.Sequential(nn.Conv2d(3, 4, 3), norms[0], nn.ReLU(), nn.Conv2d(4, 2, 1), norms[1]).double()


def batch():
    generator = torch.Generator().manual_seed(1)
    return 5 + torch.rand(2, sum(SHARES), 3, 6, 7, generator=generator, dtype=torch.float64)


def train(model, batches, *, rows, whole):
    """Two steps without updates; what there is to compare."""
    found = {}
    for step, samples in enumerate(batches):
        shown = samples[rows].clone().requires_grad_()
        answer = model(shown)
        # Weighted so that the gradient differs from sample to sample; the sum over processes is the loss of all.
        weights = torch.arange(1.0, 1 + answer[0].numel()).view_as(answer[0]).cos() + torch.arange(whole)[rows, None, None, None]
        (answer * weights).square().sum().backward()
        found |= {f"output{step}": answer.detach(), f"input{step}": shown.grad}
    gradients = {f"gradient {name}": value.grad for name, value in model.named_parameters()}
    return found | gradients | {name: value.clone() for name, value in model.named_buffers()}


def rows_of(rank):
    return slice(sum(SHARES[:rank]), sum(SHARES[: rank + 1]))


def be_one_of_two():
    rank = distributed.get_rank()
    results = {}
    for momentum in (0.1, None):
        model = synchronize_batch_norm(network(momentum))
        found = train(model, batch(), rows=rows_of(rank), whole=sum(SHARES))
        for name in [name for name in found if name.startswith("gradient")]:
            distributed.all_reduce(found[name])
        single = model.eval()(batch()[0][rows_of(rank)])
        results[momentum] = found | {"evaluated": single.detach()}
    alone = SyncedBatchNorm2d(2)
    try:
        alone(torch.zeros(1 - rank, 2, 1, 1))
    except SettingError as error:
        results["error"] = str(error)
    half = SyncedBatchNorm2d(2, track_running_stats=False)(torch.rand(2, 2, 3, 3, dtype=torch.bfloat16))
    results["half"] = half.dtype
    return results


@pytest.fixture(scope="module")
def two(in_two_processes):
    return in_two_processes(__file__, "be_one_of_two")()


@pytest.mark.parametrize("momentum", [0.1, None])
def test_f094_two_processes_normalise_as_one_with_the_joined_batch(two, momentum):
    model = network(momentum)  # plain layers of torch are the reference
    expected = train(model, batch(), rows=slice(None), whole=sum(SHARES))
    expected["evaluated"] = model.eval()(batch()[0]).detach()
    for name, value in expected.items():
        if name.startswith(("output", "input", "evaluated")):
            found = torch.cat([two[rank][momentum][name] for rank in range(2)])
        else:
            found = two[0][momentum][name]
            assert torch.equal(found, two[1][momentum][name]), name
        assert (found - value).abs().max() <= 1e-6 * max(1, value.abs().max()), name


def test_one_value_has_no_variance_and_types_are_kept(two):
    assert "no variance; use more clips" in two[0]["error"]
    assert two[0]["error"] == two[1]["error"]
    assert two[0]["half"] == torch.bfloat16


@pytest.mark.parametrize("training", [True, False])
def test_in_one_process_it_is_the_layer_of_torch(training):
    plain, synced = nn.BatchNorm2d(3), SyncedBatchNorm2d(3)
    maps = torch.rand(2, 3, 4, 4)
    assert torch.equal(plain.train(training)(maps), synced.train(training)(maps))
    assert all(torch.equal(value, synced.state_dict()[name]) for name, value in plain.state_dict().items())
    with pytest.raises(ValueError, match="Expected more than 1 value"):
        synced.train()(maps[:1, :, :1, :1])


@pytest.mark.parametrize(("momentum", "affine", "tracking"), [(0.1, True, True), (None, False, True), (0.1, True, False)])
def test_the_way_for_several_processes_gives_the_same_with_one(tmp_path, monkeypatch, momentum, affine, tracking):
    monkeypatch.setattr("followspot.models.sync_norm.several_processes", lambda: True)
    monkeypatch.setattr("followspot.ops.collective.several_processes", lambda: True)
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        settings = {"momentum": momentum, "affine": affine, "track_running_stats": tracking}
        layers = [kind(3, **settings).double() for kind in (nn.BatchNorm2d, SyncedBatchNorm2d)]
        shown = [torch.rand(2, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_() for _ in layers]
        answers = [layer(maps) for layer, maps in zip(layers, shown, strict=True)]
        for answer in answers:
            (answer * torch.arange(answer.numel()).view_as(answer)).sum().backward()
        assert torch.allclose(*answers, atol=1e-12)
        assert torch.allclose(shown[0].grad, shown[1].grad, atol=1e-9)
        for name, value in layers[0].state_dict().items():
            assert torch.allclose(value, layers[1].state_dict()[name], atol=1e-12), name
        with pytest.raises(SettingError, match="no variance"):
            layers[1](shown[1][:1, :, :1, :1])
    finally:
        distributed.destroy_process_group()


def test_layers_are_replaced_with_what_they_hold():
    class Own(nn.BatchNorm2d):
        pass

    shared = nn.BatchNorm2d(2).eval()
    model = nn.ModuleDict({"a": nn.Sequential(shared), "b": shared, "own": Own(2), "plain": nn.BatchNorm2d(2, momentum=0.3, eps=0.1)})
    before = {name: value.data_ptr() for name, value in model.state_dict(keep_vars=True).items()}
    assert synchronize_batch_norm(model) is model
    assert {name: value.data_ptr() for name, value in model.state_dict(keep_vars=True).items()} == before
    assert type(model["own"]) is Own
    assert type(model["b"]) is SyncedBatchNorm2d
    assert model["a"][0] is model["b"]
    assert not model["b"].training
    assert (model["plain"].momentum, model["plain"].eps) == (0.3, 0.1)
    assert isinstance(synchronize_batch_norm(nn.BatchNorm2d(2)), SyncedBatchNorm2d)


def test_moments_of_one_process_are_those_of_the_batch():
    maps = torch.rand(3, 2, 5, 4)
    mean, variance, count = joined_moments(maps)
    flat = maps.transpose(0, 1).flatten(1)
    assert torch.allclose(mean, flat.mean(1))
    assert torch.allclose(variance, flat.var(1, correction=0))
    assert count == 60
