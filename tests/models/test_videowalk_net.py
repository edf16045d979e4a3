"""The random walk's network: a ResNet-18 that cannot tell where the border is."""

import torch

from followspot.models.resnet import ResNet
from followspot.models.videowalk_net import VideowalkNet


def test_same_weights_as_resnet18_and_another_border():
    torch.manual_seed(0)
    ours, plain = VideowalkNet().eval(), ResNet(18).eval()
    plain.load_state_dict(ours.state_dict())
    x = torch.rand(1, 3, 192, 192, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        mine, zeros = ours(x), plain(x)
    inner = (..., slice(11, 13), slice(11, 13))  # 92 pixels from the border, the reach of the third stage
    torch.testing.assert_close(mine[inner], zeros[inner])
    assert not torch.allclose(mine[..., 0, :], zeros[..., 0, :], atol=1e-2)


def test_a_picture_of_one_colour_looks_the_same_everywhere():
    """With a border of zeros it does not: that is why the paper reflects."""
    torch.manual_seed(0)
    x = torch.full((1, 3, 64, 64), 0.7)
    with torch.inference_mode():
        mine, zeros = VideowalkNet().eval()(x), ResNet(18).eval()(x)
    torch.testing.assert_close(mine, mine[..., :1, :1].expand_as(mine), atol=1e-4, rtol=1e-4)
    assert (zeros - zeros[..., 4:5, 4:5]).abs().max() > 0.1


def test_stride_4():
    assert VideowalkNet(stride=4).eval()(torch.rand(1, 3, 32, 32)).shape == (1, 256, 8, 8)
