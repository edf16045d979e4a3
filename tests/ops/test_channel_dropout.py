"""The information bottleneck: which channels go, how often, and what becomes of the others."""

import pytest
import torch

from followspot.errors import SettingError
from followspot.ops.channel_dropout import drop_channels
from followspot.ops.color import rgb_to_lab


def clips(batch=4):
    return 0.2 + 0.6 * torch.rand(batch, 3, 3, 4, 4, generator=torch.Generator().manual_seed(0))


def test_f070_the_same_channels_go_in_all_frames_and_the_rest_is_rescaled():
    frames = clips(500)
    draws = torch.rand(500, 3, generator=torch.Generator().manual_seed(1))
    out = drop_channels(frames, draws, keep=0.3, space="rgb")
    gains = (out / frames).mean((3, 4))
    assert torch.allclose(gains, gains[:, :1].expand_as(gains)), "all frames alike"
    dropped = (gains[:, 0] == 0).sum(1)
    torch.testing.assert_close(gains[:, 0].amax(1), 3 / (3 - dropped).float())
    shares = torch.bincount(dropped, minlength=4) / 500
    assert shares[3] == 0
    assert abs(shares[0] - 0.3) < 0.06
    assert abs(shares[1] - 0.35) < 0.06
    assert abs(shares[2] - 0.35) < 0.06
    each = (gains[:, 0] == 0)[dropped == 1].float().mean(0)
    assert (each - 1 / 3).abs().max() < 0.12


@pytest.mark.parametrize("space", ["rgb", "lab"])
def test_f070_keeping_all_changes_nothing(space):
    out = drop_channels(clips(), torch.rand(4, 3), keep=1.0, space=space)
    torch.testing.assert_close(out, clips(), atol=1e-4, rtol=0)


def test_f070_in_lab_what_is_left_out_is_neutral():
    frames = clips(3)
    # One channel kept: which = 0 keeps L, so nothing but grey is left; 3 times the contrast about mid-grey.
    out = rgb_to_lab(drop_channels(frames, torch.tensor([[0.9, 0.9, 0.1]]).expand(3, 3), keep=0.0, space="lab").double())
    lightness = rgb_to_lab(frames.double())[:, :, 0]
    assert out[:, :, 1:].abs().max() < 1e-2
    torch.testing.assert_close(out[:, :, 0], 50 + 3 * (lightness - 50), atol=2e-2, rtol=0)


def test_lab_takes_half_precision():
    out = drop_channels(clips().bfloat16(), torch.full((4, 3), 0.9), keep=0.0, space="lab")
    assert out.dtype == torch.bfloat16
    assert out.isfinite().all()


@pytest.mark.parametrize(("keep", "space"), [(1.5, "rgb"), (0.3, "hsv")])
def test_bad_settings(keep, space):
    with pytest.raises(SettingError, match="must be in"):
        drop_channels(clips(), torch.rand(4, 3), keep=keep, space=space)
