"""TimeCycle's network: a ResNet-50 and a projection."""

import pytest
import torch
from torch.nn import functional

from followspot.errors import SettingError
from followspot.models.resnet import ResNet
from followspot.models.timecycle_net import TimeCycleNet


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return TimeCycleNet().eval()


def test_f047_240_gives_30x30x512_and_a_patch_of_80_gives_10x10(network):
    with torch.inference_mode():
        assert network(torch.rand(1, 3, 240, 240)).shape == (1, 512, 30, 30)
        assert network(torch.rand(1, 3, 80, 80)).shape == (1, 512, 10, 10)
    assert (network.dim, network.stride, network.receives, network.name) == (512, 8, "rgb", "timecycle-resnet50")


def test_it_is_a_resnet50_with_a_rectified_projection(network):
    plain = ResNet(50).eval()
    plain.load_state_dict(
        {key.removeprefix("backbone."): value for key, value in network.state_dict().items() if key.startswith("backbone.")}
    )
    x = torch.rand(1, 3, 32, 48)
    with torch.inference_mode():
        expected = torch.einsum("oc,bchw->bohw", network.head.weight[..., 0, 0], plain(x)).clamp_min(0)
        got = network(x)
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)
    assert (got == 0).any()
    assert (got > 0).any()


def test_features_can_be_compared_as_directions(network):
    """The paper compares unit vectors: no cell of a natural picture may be without a direction."""
    with torch.inference_mode():
        features = network(torch.rand(1, 3, 64, 64))
    lengths = functional.normalize(features, dim=1).norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones_like(lengths))


def test_stride_4_has_the_same_weights_and_a_finer_map(network):
    fine = TimeCycleNet(stride=4).eval()
    fine.load_state_dict(network.state_dict())
    with torch.inference_mode():
        assert fine(torch.rand(1, 3, 32, 48)).shape == (1, 512, 8, 12)
    assert fine.stride == 4


def test_errors_name_the_network(network):
    with pytest.raises(SettingError, match="'timecycle-resnet50' takes frames whose sides are multiples of 8, got 30x32"):
        network(torch.rand(1, 3, 30, 32))
    with pytest.raises(SettingError, match="stride 16"):
        TimeCycleNet(stride=16)
