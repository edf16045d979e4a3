"""F127: what an online network begins with."""

import pytest
import torch
from torch.nn import functional

from followspot.errors import EncoderError
from followspot.models.encoder import load_encoder
from followspot.models.online_networks import build_online_network, save_online_network
from followspot.models.resnet import ResNet
from followspot.models.siammask_init import fill_backbone, fill_from_stage
from followspot.models.weights import save_weights


def made(name, *, seed=0):
    torch.manual_seed(seed)
    return build_online_network(name).eval()


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """The weights of a first stage, in the folder of its run."""
    run, network = tmp_path_factory.mktemp("base"), made("siammask-lite-base", seed=5)
    save_online_network(run / "network.safetensors", network, {})
    return run, network.state_dict()


def shuffled_resnet(depth=18):
    """An encoder whose statistics are of no use to anybody else."""
    torch.manual_seed(3)
    encoder = ResNet(depth).eval()
    for module in encoder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.uniform_(-0.5, 0.5)
    return encoder


@torch.no_grad()
def test_the_backbone_sees_what_the_encoder_sees():
    """First convolution and first stage, away from borders; the frame is normalised for the encoder only. The encoder pads the first by 3
    pixels, so that its cells lie 3 pixels before the backbone's: the frame of the latter begins 3 pixels earlier."""
    network = made("siammask-lite-base")
    fill_backbone(network, "followspot")
    encoder = next(part for part in load_encoder("followspot").modules() if isinstance(part, ResNet))
    frame = torch.rand(1, 3, 128, 128)
    fine = functional.relu(encoder.bn1(encoder.conv1((frame - encoder.mean) / encoder.std)))
    ours = functional.relu(network.backbone.bn1(network.backbone.conv1(functional.pad(frame, (3, 3, 3, 3)))))
    assert ours.shape == fine.shape
    assert fine[..., 4:-4, 4:-4].std() > 0.01
    assert torch.allclose(ours[..., 4:-4, 4:-4], fine[..., 4:-4, 4:-4], atol=1e-4)
    theirs = encoder.layer1(functional.max_pool2d(fine, 3, 2, 1))
    mine = network.backbone.layer1(functional.max_pool2d(ours, 3, 2, 1))
    assert torch.allclose(mine[..., 8:-8, 8:-8], theirs[..., 8:-8, 8:-8], atol=1e-3)


@pytest.mark.parametrize("name", ["siammask-lite-box", "s2iammask-lite"])
def test_shortcuts_of_a_pixel_become_the_middle_of_three_and_the_rest_stays(name, tmp_path):
    encoder = shuffled_resnet()
    save_weights(tmp_path / "mine.safetensors", encoder, {"encoder": "resnet18"})
    network, before = made(name), made(name).state_dict()
    fill_backbone(network, str(tmp_path / "mine.safetensors"))
    state, prefix = network.state_dict(), "stage1.backbone." if name == "s2iammask-lite" else "backbone."
    kernel = state[f"{prefix}layer2.0.downsample.0.weight"]
    assert kernel.shape[-2:] == (3, 3)
    assert torch.equal(kernel[..., 1:2, 1:2], encoder.layer2[0].downsample[0].weight)
    assert float(kernel.abs().sum()) == pytest.approx(float(kernel[..., 1, 1].abs().sum()))
    for key in (f"{prefix}layer3.1.conv2.weight", f"{prefix}layer2.0.bn1.running_var"):
        assert torch.equal(state[key], encoder.state_dict()[key.removeprefix(prefix)])
    untouched = [key for key in state if not key.startswith(prefix) or "adjust" in key]
    assert all(torch.equal(state[key], before[key]) for key in untouched)


def test_weights_without_a_card_are_taken_for_a_resnet_of_that_depth(tmp_path):
    """Such as those that torchvision publishes, with the parts that no encoder has."""
    encoder = shuffled_resnet()
    extra = {"fc.weight": torch.zeros(2, 2), "layer4.0.conv1.weight": torch.zeros(1)}
    torch.save(encoder.state_dict() | extra, tmp_path / "resnet18.pth")
    network = made("siammask-lite-base")
    fill_backbone(network, str(tmp_path / "resnet18.pth"))
    assert torch.equal(network.backbone.layer3[0].conv1.weight, encoder.layer3[0].conv1.weight)


def test_another_depth_or_no_resnet_cannot_be_begun_with(tmp_path):
    save_weights(tmp_path / "deep.safetensors", ResNet(50), {"encoder": "resnet50"})
    with pytest.raises(EncoderError, match="no ResNet of the depth of siammask-lite-base; name an encoder with ResNet-18"):
        fill_backbone(made("siammask-lite-base"), str(tmp_path / "deep.safetensors"))
    with pytest.raises(EncoderError, match="no ResNet of the depth"):
        fill_backbone(made("siammask-lite-base"), "descriptor")
    with pytest.raises(EncoderError, match=r"there is no weight file .*gone\.safetensors to begin with; check network\.backbone"):
        fill_backbone(made("siammask-lite-base"), str(tmp_path / "gone.safetensors"))


@pytest.mark.parametrize(("name", "prefix", "new"), [("siammask-lite", "", "refinement."), ("s2iammask-lite", "stage1.", "fusion.")])
def test_f127_f130_a_second_stage_begins_with_the_first(base, name, prefix, new):
    run, state = base
    network, before = made(name, seed=9), made(name, seed=9).state_dict()
    missing = fill_from_stage(network, run)
    assert missing
    assert all(key.startswith(new) for key in missing)
    after = network.state_dict()
    assert all(torch.equal(after[prefix + key], value) for key, value in state.items())
    assert all(torch.equal(after[key], before[key]) for key in missing)
    assert set(after) == {prefix + key for key in state} | set(missing)


def test_weights_that_are_no_stage_are_told(base, tmp_path):
    run, _ = base
    with pytest.raises(EncoderError, match=r"so siammask cannot begin with it; give weights of an online tracker of the same depth"):
        fill_from_stage(build_online_network("siammask"), run)
    save_weights(tmp_path / "encoder.safetensors", ResNet(18), {"encoder": "resnet18"})
    with pytest.raises(EncoderError, match=r"has no backbone of an online tracker.* or those of an encoder as network\.backbone"):
        fill_from_stage(made("siammask-lite"), tmp_path / "encoder.safetensors")
    with pytest.raises(
        EncoderError, match=r"there is no weight file .*network\.safetensors to begin siammask-lite with; check network\.init"
    ):
        fill_from_stage(made("siammask-lite"), tmp_path)
