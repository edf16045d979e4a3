"""One function drops colour for training and tracking; weight files do not know of it."""

import numpy as np
import pytest
import torch
from torch import nn

from followspot.models.colorizer_nets import ColorizerPaperNet, ColorizerResNetV2
from followspot.models.encoder import Encoder, encode_image
from followspot.models.gray import GrayInput, lightness
from followspot.models.resnet import ResNet
from followspot.models.weights import load_into, load_weights, save_weights
from followspot.objectives.base import encode_clips
from followspot.ops.color import lab_to_rgb, rgb_to_lab


@pytest.fixture(scope="module")
def inner():
    torch.manual_seed(0)
    return ResNet(18).eval()


class Spy(nn.Module):
    name, dim, stride, receives = "spy", 3, 8, "rgb"

    def __init__(self):
        super().__init__()
        self.seen = []
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, frames):
        self.seen.append(frames.clone())
        return frames[..., ::8, ::8]


def test_f040_training_and_tracking_show_the_network_the_same_tensor():
    spy = Spy()
    encoder = GrayInput(spy)
    image = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
    frame = torch.from_numpy(image).permute(2, 0, 1).float() / 255
    encode_clips(frame[None, None].expand(1, 2, -1, -1, -1), encoder)
    encode_image(encoder, image, size=(16, 24))
    trained, tracked = spy.seen
    assert torch.equal(trained[0], tracked[0])
    assert torch.equal(trained[1], tracked[0])
    torch.testing.assert_close(tracked[0, 0], rgb_to_lab(frame)[0] / 100)
    assert torch.equal(tracked[0, 0], tracked[0, 1])
    assert torch.equal(tracked[0, 0], tracked[0, 2])


@pytest.mark.parametrize("make", [lambda: GrayInput(ResNet(18)), ColorizerResNetV2, ColorizerPaperNet])
def test_f040_colour_never_reaches_the_features(make):
    torch.manual_seed(0)
    encoder = make().eval()
    lab = rgb_to_lab(0.3 + 0.3 * torch.rand(1, 3, 16, 16))
    gray = lab.clone()
    gray[:, 1:] = 0
    with torch.inference_mode():
        torch.testing.assert_close(encoder(lab_to_rgb(lab)), encoder(lab_to_rgb(gray)), atol=1e-3, rtol=1e-3)


def test_it_is_an_encoder_with_a_name(inner):
    encoder = GrayInput(inner)
    assert isinstance(encoder, Encoder)
    assert (encoder.name, encoder.dim, encoder.stride, encoder.receives) == ("gray:resnet18", 256, 8, "L")


def test_its_state_has_the_inner_names_also_inside_another_module(inner, tmp_path):
    encoder = GrayInput(inner)
    assert set(encoder.state_dict()) == set(inner.state_dict())
    holder = nn.ModuleDict({"encoder": encoder, "head": nn.Linear(2, 2)})
    state = holder.state_dict()
    assert set(state) == {f"encoder.{key}" for key in inner.state_dict()} | {"head.weight", "head.bias"}
    torch.manual_seed(1)
    other = nn.ModuleDict({"encoder": GrayInput(ResNet(18)), "head": nn.Linear(2, 2)})
    assert not other.load_state_dict(state).missing_keys
    assert all(torch.equal(value, state[key]) for key, value in other.state_dict().items())
    save_weights(tmp_path / "gray.safetensors", encoder, {})
    plain = ResNet(18)
    load_into(plain, load_weights(tmp_path / "gray.safetensors")[0], source="gray")
    again = GrayInput(ResNet(18))
    load_into(again, plain.state_dict(), source="plain")
    assert torch.equal(again.inner.conv1.weight, inner.conv1.weight)


def test_a_key_too_many_is_still_an_error(inner):
    state = inner.state_dict() | {"surplus": torch.zeros(1)}
    with pytest.raises(RuntimeError, match="surplus"):
        GrayInput(ResNet(18)).load_state_dict(state)


def test_lightness_keeps_type_and_precision_under_autocast():
    frames = torch.rand(2, 3, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(lightness(frames), lightness(frames.clone()))
        assert lightness(frames).dtype == torch.float32
    torch.testing.assert_close(lightness(frames.bfloat16()).float(), lightness(frames), atol=0.02, rtol=0)
