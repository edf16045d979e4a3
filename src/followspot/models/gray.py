"""Colour dropped before a network sees a frame, in training and in tracking alike.

Colorization learns by guessing colours; its network must never see them. Dropping them is part of the encoder, not of the objective, so
there is one function and one place, and what was trained is what tracks.
"""

from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from followspot.models.encoder import Encoder
from followspot.ops.color import rgb_to_lab

_INNER = "inner."


def lightness(frames: Tensor) -> Tensor:
    """The L of Lab as one channel in [0, 1].

    Args:
        frames: ``(..., 3, H, W)`` RGB floats in [0, 1].

    Returns:
        ``(..., 1, H, W)``, of the frames' dtype; computed in float32 at least.

    >>> round(lightness(torch.full((3, 1, 1), 0.5)).item(), 3)
    0.534
    """
    wide = frames.float() if frames.dtype in (torch.bfloat16, torch.float16) else frames
    with torch.autocast(frames.device.type, enabled=False):
        return (rgb_to_lab(wide)[..., :1, :, :] / 100).to(frames.dtype)


class GrayInput(nn.Module):
    """An encoder that is shown frames without their colours: L of Lab, three times over.

    Weight files do not know of it: its state has the names of the inner encoder, so either loads the other's file.

    Args:
        encoder: the encoder that is shown the frames; a module.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.inner = cast(nn.Module, encoder)
        self.name = f"gray:{encoder.name}"
        self.dim = encoder.dim
        self.stride = encoder.stride
        self.receives: Literal["rgb", "lab", "L"] = "L"
        self.register_state_dict_post_hook(_drop_prefix)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_add_prefix)  # type: ignore[no-untyped-call]

    def forward(self, frames: Tensor) -> Tensor:
        """Encode ``(B, 3, H, W)`` RGB in 0..1 to ``(B, dim, H/stride, W/stride)``; equal for frames that differ in ab only."""
        features: Tensor = self.inner(lightness(frames).expand(*frames.shape[:-3], 3, *frames.shape[-2:]))
        return features


def _drop_prefix(_module: nn.Module, state: dict[str, Any], prefix: str, _metadata: object) -> None:
    for key in [key for key in state if key.startswith(prefix + _INNER)]:
        state[prefix + key.removeprefix(prefix + _INNER)] = state.pop(key)


def _add_prefix(
    _module: nn.Module,
    state: dict[str, Any],
    prefix: str,
    _metadata: object,
    _strict: bool,
    *_lists: list[str],
) -> None:
    for key in [key for key in state if key.startswith(prefix)]:
        state[prefix + _INNER + key.removeprefix(prefix)] = state.pop(key)
