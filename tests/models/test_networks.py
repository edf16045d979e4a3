"""Networks by name."""

import sys

import pytest
import torch
from torch import nn

from followspot.errors import EncoderError, SettingError
from followspot.models.encoder import Encoder
from followspot.models.networks import NETWORKS, build_network

NAMES = [*NETWORKS, "gray:resnet18", "descriptor+resnet18", "gray:resnet18+resnet18"]


@pytest.mark.parametrize("name", NAMES)
def test_each_name_builds_the_encoder_of_that_name(name):
    encoder = build_network(name)
    assert isinstance(encoder, Encoder)
    assert isinstance(encoder, nn.Module)
    assert encoder.name == name
    assert encoder.receives in ("rgb", "lab", "L")
    with torch.no_grad():
        features = encoder.eval()(torch.rand(1, 3, 32, 48))
    assert features.shape == (1, encoder.dim, 32 // encoder.stride, 48 // encoder.stride)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "timecycle-resnet50", "videowalk-resnet18", "gray:resnet18", "resnet18+resnet18"])
def test_stride_is_a_choice_where_the_network_has_one(name):
    assert build_network(name, stride=4).stride == 4
    assert build_network(name).stride == 8


@pytest.mark.parametrize("name", ["corrflow-resnet18", "colorizer-paper", "colorizer-resnet-v2", "resnet18", "gray:resnet18"])
def test_a_stride_that_a_network_has_not_is_refused(name):
    with pytest.raises(SettingError, match="stride 16 is not possible"):
        build_network(name, stride=16)


def test_channels_are_a_choice_where_the_network_has_one():
    assert build_network("colorizer-paper", dim=32).dim == 32
    assert build_network("colorizer-resnet-v2").dim == 128
    for name in ("resnet18", "gray:resnet18", "descriptor+resnet18", "descriptor"):
        with pytest.raises(SettingError, match="has its own number of channels, got dim = 32"):
            build_network(name, dim=32)


def test_f040_a_gray_network_sees_no_colour():
    torch.manual_seed(0)
    encoder = build_network("gray:resnet18").eval()
    frames = torch.rand(1, 3, 32, 32)
    assert not torch.allclose(encoder(frames), encoder.inner(frames), atol=1e-3)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("resnet8", "resnet18"),
        ("corrflow", "corrflow-resnet18"),
        ("gray:resnet8", "resnet18"),
        ("descriptor+resnet8", "resnet18"),
        ("timm:", "timecycle"),
    ],
)
def test_an_unknown_name_names_the_nearest(name, near):
    with pytest.raises(EncoderError, match=f"did you mean '{near}") as caught:
        build_network(name)
    assert "\n" not in str(caught.value)


def test_weights_come_from_the_random_state():
    made = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        made.append(build_network("resnet18").conv1.weight)
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


def test_a_timm_network_is_untrained(monkeypatch):
    pytest.importorskip("timm")
    encoder = build_network("timm:resnet18.a1_in1k")
    assert encoder.name == "timm:resnet18.a1_in1k"
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(EncoderError, match="timm"):
        build_network("timm:resnet18.a1_in1k")
