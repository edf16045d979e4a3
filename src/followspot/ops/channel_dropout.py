"""Colour channels left out of a clip: the information bottleneck that keeps a copier of colours from reading them off.

Lai and Xie 2019 drop channels of RGB; their successor (Lai et al. 2020) of Lab, whose channels tell less about each other.
"""

from typing import Literal

import torch
from torch import Tensor

from followspot.errors import SettingError
from followspot.ops.color import lab_to_rgb, rgb_to_lab

# Mid-grey: what a Lab colour without information is.
_NEUTRAL_LAB = (50.0, 0.0, 0.0)


def drop_channels(frames: Tensor, draws: Tensor, *, keep: float, space: Literal["rgb", "lab"]) -> Tensor:
    """Leave out one or two of three colour channels, the same ones in all frames of a clip.

    Args:
        frames: ``(B, T, 3, H, W)`` RGB floats in [0, 1].
        draws: ``(B, 3)`` numbers uniform in [0, 1): whether to drop, how many, which.
        keep: probability in [0, 1] that a clip keeps all channels; else one or two are dropped, equally often.
        space: ``"rgb"``: dropped channels are 0; ``"lab"``: L is 50, a or b is 0.

    Returns:
        ``(B, T, 3, H, W)`` RGB. With n channels dropped the others (in Lab, their difference from grey) are 3 / (3 - n) times as large, so
        values may leave [0, 1].

    Raises:
        SettingError: `keep` or `space` is out of range.

    >>> frames = torch.ones(1, 2, 3, 1, 1)
    >>> drop_channels(frames, torch.tensor([[0.9, 0.0, 0.5]]), keep=0.3, space="rgb")[0, :, :, 0, 0].tolist()
    [[1.5, 0.0, 1.5], [1.5, 0.0, 1.5]]
    """
    if not 0 <= keep <= 1 or space not in ("rgb", "lab"):
        raise SettingError(f"keep {keep} must be in [0, 1] and space {space!r} rgb or lab; 0.3 and rgb are published")
    whether, count, which = draws.unbind(1)
    chosen = torch.arange(3, device=draws.device) == (which * 3).long()[:, None]
    one = count < 0.5
    gains = torch.where(one[:, None], 1.5 * ~chosen, 3.0 * chosen)
    gains = torch.where((whether < keep)[:, None], torch.ones_like(gains), gains).to(frames.dtype)[:, None, :, None, None]
    if space == "rgb":
        return frames * gains
    with torch.autocast(frames.device.type, enabled=False):
        wide = frames.float() if frames.dtype in (torch.bfloat16, torch.float16) else frames
        neutral = wide.new_tensor(_NEUTRAL_LAB).view(3, 1, 1)
        return lab_to_rgb(neutral + (rgb_to_lab(wide) - neutral) * gains).to(frames.dtype)
