"""CorrFlow's network: its shape, and that it sees colours as they are and at the right place."""

import pytest
import torch

from followspot.errors import SettingError
from followspot.models.corrflow_net import CorrFlowNet


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return CorrFlowNet().eval()


def test_f046_480x848_gives_120x212x64(network):
    with torch.inference_mode():  # a side at a time, which is forty times quicker
        assert network(torch.rand(1, 3, 480, 8)).shape == (1, 64, 120, 2)
        assert network(torch.rand(1, 3, 8, 848)).shape == (1, 64, 2, 212)
    assert (network.dim, network.stride, network.receives, network.name) == (64, 4, "rgb", "corrflow-resnet18")


def test_number_of_parameters_is_that_of_the_layout(network):
    block = lambda inputs, width: 9 * width * (inputs + width) + 4 * width + (inputs * width + 2 * width if inputs != width else 0)  # noqa: E731
    stages = ((64, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 256), (256, 256))
    expected = 64 * 3 * 49 + 2 * 64 + sum(block(*stage) for stage in stages) + 64 * 256 * 9 + 64
    assert sum(parameter.numel() for parameter in network.parameters()) == expected


def test_a_shift_by_one_stride_shifts_the_map(network):
    """In a network without pooling the interior moves exactly."""
    x = torch.rand(1, 3, 160, 160, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        still, moved = network(x), network(x.roll((4, 8), (2, 3)))
    inner = slice(17, 23)  # beyond the reach of the border: 17 convolutions of radius 1 at stride 4, and less
    torch.testing.assert_close(moved[..., inner, inner], still.roll((1, 2), (2, 3))[..., inner, inner], atol=1e-4, rtol=1e-4)


def test_frames_are_not_normalised(network):
    """Black is zero: with batch norms at rest, only the bias of the last convolution is left."""
    with torch.inference_mode():
        black = network(torch.zeros(1, 3, 32, 32))
    torch.testing.assert_close(black, network.head.bias.view(1, -1, 1, 1).expand_as(black))


@pytest.mark.parametrize("size", [(4, 4), (36, 52), (8, 64)])
def test_any_multiple_of_four(network, size):
    with torch.inference_mode():
        assert network(torch.rand(2, 3, *size)).shape == (2, 64, size[0] // 4, size[1] // 4)


def test_other_sizes_and_strides_are_errors(network):
    with pytest.raises(SettingError, match="multiples of 4, got 30x32"):
        network(torch.rand(1, 3, 30, 32))
    with pytest.raises(SettingError, match="stride 8 is not possible for 'corrflow-resnet18'; use 4"):
        CorrFlowNet(stride=8)


def test_gradients_reach_every_parameter():
    torch.manual_seed(0)
    network = CorrFlowNet()
    network(torch.rand(2, 3, 16, 16)).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
