"""Encoders side by side."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from followspot.errors import SettingError
from followspot.models.descriptor import Descriptor
from followspot.models.encoder import Encoder, load_encoder
from followspot.models.fused import Fused
from followspot.models.networks import build_network
from followspot.models.resnet import ResNet
from followspot.models.weights import save_weights


@pytest.fixture
def frames():
    return torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))


def net(seed=0, **kwargs):
    torch.manual_seed(seed)
    return ResNet(18, **kwargs).eval()


def test_it_is_an_encoder():
    fused = Fused([Descriptor(), net()])
    assert isinstance(fused, Encoder)
    assert (fused.name, fused.stride, fused.receives) == ("descriptor+resnet18", 8, "rgb")
    assert fused.dim == Descriptor().dim + 256


def test_a_product_is_the_weighted_mean_of_the_parts_cosines(frames):
    parts = [Descriptor(), net()]
    fused = Fused(parts, weights=[1, 3]).eval()
    features = fused(frames).flatten(2).double()
    assert torch.allclose(features.norm(dim=1), torch.ones(2, 24, dtype=torch.float64), atol=1e-5)
    found = torch.einsum("bci,bcj->bij", features, features)
    cosines = []
    for part in parts:
        alone = functional.normalize(part(frames).flatten(2).double(), dim=1)
        cosines.append(torch.einsum("bci,bcj->bij", alone, alone))
    assert torch.allclose(found, 0.25 * cosines[0] + 0.75 * cosines[1], atol=1e-5)


def test_equal_weights_unless_said_and_scale_does_not_matter(frames):
    parts = [net(0), net(1)]
    assert Fused(parts).weights.tolist() == [0.5, 0.5]
    assert torch.equal(Fused(parts, weights=[2, 6]).eval()(frames), Fused(parts, weights=[0.25, 0.75]).eval()(frames))


def test_three_parts_keep_their_order(frames):
    parts = [net(0), net(1), net(2)]
    features = Fused(parts).eval()(frames)
    for place, part in enumerate(parts):
        alone = functional.normalize(part(frames), dim=1) * (1 / 3) ** 0.5
        assert torch.allclose(features[:, place * 256 : (place + 1) * 256], alone, atol=1e-6)


@pytest.mark.parametrize("weights", [[1], [1, 2, 3], [1, 0], [1, -1], [1, float("nan")], [1, float("inf")]])
def test_weights_that_do_not_fit(weights):
    with pytest.raises(SettingError, match="2 fused encoders need as many positive weights"):
        Fused([Descriptor(), net()], weights=weights)


def test_parts_that_do_not_fit():
    with pytest.raises(SettingError, match="resnet18 at stride 8, resnet18 at stride 4"):
        Fused([net(), net(stride=4)])
    with pytest.raises(SettingError, match="two or more parts of one stride, got resnet18 at stride 8"):
        Fused([net()])
    with pytest.raises(SettingError, match="got none"):
        Fused([])


def test_gradients_reach_what_learns_and_nothing_else(frames):
    fused = Fused([Descriptor(), net()]).train()
    fused(frames).square().sum(1).mean().backward()
    learning = [parameter for parameter in fused.parameters() if parameter.requires_grad]
    assert learning
    frozen, learner = net(1).requires_grad_(False), net(2)
    both = Fused([frozen, learner])
    both(frames)[:, :, 0, 0].sum().backward()
    assert all(parameter.grad is None for parameter in frozen.parameters())
    assert any(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in learner.parameters())


def test_a_part_that_learns_nothing_is_exact_under_autocast(frames):
    descriptor = Descriptor()
    fused = Fused([descriptor, net()]).eval()
    expected = functional.normalize(descriptor(frames), dim=1) * 0.5**0.5
    with torch.autocast("cpu", torch.bfloat16):
        features = fused(frames)
    assert features.dtype == torch.float32
    assert torch.equal(features[:, : descriptor.dim], expected)


def test_a_weight_file_keeps_how_parts_are_weighed(frames, tmp_path):
    torch.manual_seed(0)
    fused = build_network("descriptor+resnet18")
    fused.reweigh([1, 4])
    assert isinstance(fused, nn.Module)
    fused.eval()
    save_weights(tmp_path / "fused.safetensors", fused, {"encoder": fused.name, "stride": fused.stride})
    loaded = load_encoder(weights=tmp_path / "fused.safetensors")
    assert loaded.name == "descriptor+resnet18"
    assert torch.equal(loaded(frames), fused(frames))
