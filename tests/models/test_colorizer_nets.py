"""The two networks of colorization: shapes, sizes, what each frame depends on."""

import pytest
import torch

from followspot.errors import SettingError
from followspot.models.colorizer_nets import ColorizerPaperNet, ColorizerResNetV2
from followspot.models.encoder import Encoder
from followspot.models.layers import BatchRenorm2d, PaperHead

NETWORKS = [ColorizerResNetV2, ColorizerPaperNet]


def test_f041_256_pixels_give_32_cells_of_the_chosen_width():
    with torch.inference_mode():
        assert ColorizerResNetV2(dim=40).eval()(torch.rand(1, 3, 256, 256)).shape == (1, 40, 32, 32)


def test_f041_stages_are_those_of_the_tensorflow_tracker():
    network = ColorizerResNetV2()
    widths = [unit.conv1.out_channels for unit in network.units]
    assert widths == [16] * 3 + [32] * 4 + [64] * 6 + [128] * 3
    assert [index for index, unit in enumerate(network.units) if unit.stride == 2] == [2, 6, 12]
    assert sum(isinstance(module, BatchRenorm2d) for module in network.modules()) == 3 * 16


def test_f041_the_root_keeps_dark_frames_apart():
    # The original normalised and rectified the raw frame, so everything darker than its mean looked alike.
    torch.manual_seed(0)
    network = ColorizerResNetV2().eval()
    with torch.inference_mode():
        black, dark = network(torch.zeros(1, 3, 32, 32)), network(torch.full((1, 3, 32, 32), 0.1))
    assert (black - dark).abs().max() > 1e-3


def test_f042_the_papers_network_and_head_give_64_channels_for_four_frames():
    network, head = ColorizerPaperNet().eval(), PaperHead(64).eval()
    with torch.inference_mode():
        features = network(torch.rand(4, 3, 64, 64))
        assert head(features[None]).shape == (1, 4, 64, 8, 8)
    count = sum(parameter.numel() for module in (network, head) for parameter in module.parameters())
    assert count == 8_736_320


@pytest.mark.parametrize("make", NETWORKS)
def test_a_shift_of_the_picture_by_a_stride_shifts_the_map(make):
    torch.manual_seed(0)
    network = make().eval()
    picture = torch.rand(1, 3, 16, 200)
    with torch.inference_mode():
        whole, shifted = network(picture), network(picture.roll(8, dims=3))
    torch.testing.assert_close(whole[..., 11:12], shifted[..., 12:13], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("make", NETWORKS)
def test_they_are_encoders_and_say_what_they_cannot_take(make):
    network = make()
    assert isinstance(network, Encoder)
    assert network.receives == "L"
    with pytest.raises(SettingError, match="multiples of 8"):
        network(torch.rand(1, 3, 20, 16))
    with pytest.raises(SettingError, match="stride 4"):
        make(stride=4)


@pytest.mark.parametrize("make", NETWORKS)
def test_they_train_on_constant_frames(make):
    network = make(dim=8)
    network(torch.zeros(2, 3, 16, 16)).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())
