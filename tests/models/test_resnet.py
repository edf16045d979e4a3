"""Our ResNets against torchvision's, layer for layer."""

import pytest
import torch

from followspot.errors import EncoderError, SettingError
from followspot.models.encoder import load_encoder
from followspot.models.resnet import ResNet
from followspot.models.weights import load_into


@pytest.fixture(scope="module")
def models():
    return pytest.importorskip("torchvision.models")


def randomise(network):
    """Batch norms with statistics of their own, so that a wrong one shows."""
    torch.manual_seed(1)
    for name, value in network.state_dict().items():
        if "bn" in name or "downsample.1" in name:
            value.copy_(torch.rand_like(value) + 0.5 if value.is_floating_point() else value)
    return network.eval()


def prefix(oracle, frames, *, last):
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    x = oracle.maxpool(oracle.relu(oracle.bn1(oracle.conv1((frames - mean) / std))))
    for stage in range(1, last + 1):
        x = getattr(oracle, f"layer{stage}")(x)
    return x


def unstride(stage):
    """Stride 1 in a torchvision stage, by hand."""
    for convolution in (stage[0].conv1, stage[0].conv2, stage[0].downsample[0]):
        convolution.stride = (1, 1)


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("stride", [8, 4])
def test_equals_torchvision(models, depth, stride):
    oracle = randomise(getattr(models, f"resnet{depth}")())
    ours = ResNet(depth, stride=stride).eval()
    unused = load_into(ours, oracle.state_dict(), source="oracle", unused=("layer4.", "fc."))
    assert unused
    assert all(key.startswith(("layer4.", "fc.")) for key in unused)
    unstride(oracle.layer3)
    if stride == 4:
        unstride(oracle.layer2)
    frames = torch.rand(1, 3, 48, 64)
    with torch.inference_mode():
        got, expected = ours(frames), prefix(oracle, frames, last=3)
    assert got.shape == (1, ours.dim, 48 // stride, 64 // stride)
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)


def test_prefix_equals_torchvision_as_it_is(models):
    oracle = randomise(models.resnet18())
    ours = ResNet(18).eval()
    load_into(ours, oracle.state_dict(), source="oracle", unused=("layer4.", "fc."))
    x = torch.rand(1, 64, 12, 16)
    with torch.inference_mode():
        torch.testing.assert_close(ours.layer2(ours.layer1(x)), oracle.layer2(oracle.layer1(x)))


@pytest.mark.parametrize("depth", [18, 50])
def test_load_from_a_file(models, tmp_path, depth):
    oracle = randomise(getattr(models, f"resnet{depth}")())
    torch.save({"state_dict": {f"module.{key}": value for key, value in oracle.state_dict().items()}}, tmp_path / "w.pth")
    encoder = load_encoder(f"resnet{depth}", weights=tmp_path / "w.pth")
    assert not encoder.training
    assert torch.equal(encoder.layer3[0].conv1.weight, oracle.layer3[0].conv1.weight)
    assert "fc.weight" in encoder.unused_weights
    other = 68 - depth
    with pytest.raises(EncoderError, match=r"w\.pth (lacks|has|also holds) "):
        load_encoder(f"resnet{other}", weights=tmp_path / "w.pth")


def test_odd_settings():
    with pytest.raises(SettingError, match="depth 34"):
        ResNet(34)
    with pytest.raises(SettingError, match="stride 16"):
        ResNet(18, stride=16)
    with pytest.raises(SettingError, match="stride 0"):
        ResNet(18, stride=0)


def test_learns():
    encoder = ResNet(18).train()
    encoder(torch.rand(2, 3, 32, 32)).square().mean().backward()
    assert all(parameter.grad is not None and torch.isfinite(parameter.grad).all() for parameter in encoder.parameters())
