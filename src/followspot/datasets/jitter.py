"""Colour jitter of a batch of clips, on any device: one affine map of colour space a clip (or a frame).

Brightness, contrast, saturation, hue and gray are all affine in RGB, so together they are one ``(3, 3)`` matrix and an offset, and the same
colour stays the same colour in all frames of a clip.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from followspot.errors import SettingError

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in brightness (ITU-R BT.601)."""
_YIQ = torch.tensor([LUMA, (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135)], dtype=torch.float64)
"""RGB to the NTSC space YIQ, where a change of hue is a turn around the first axis."""
_STREAM = 3
"""Keeps these numbers apart from those of the order and the crops, which have the same seed."""
_DRAWS = 7
"""Random numbers a frame: whether, brightness, contrast, saturation, hue, gray, blur."""


@dataclass(frozen=True, kw_only=True)
class JitterSettings:
    """How colours are changed. All zero: not at all. CorrFlow has 0.1 in all four, probability 0.1, per frame."""

    brightness: float = 0.0
    """Factor drawn from ``1 - brightness .. 1 + brightness`` (not below 0)."""
    contrast: float = 0.0
    """Likewise for the distance from the mean brightness of the clip (of the frame, if drawn per frame)."""
    saturation: float = 0.0
    """Likewise for the distance from gray."""
    hue: float = 0.0
    """Largest turn of the hue to either side, 0..0.5 turns, at constant brightness (a turn in YIQ)."""
    probability: float = 1.0
    """Share of the clips that are changed by the four above."""
    gray_probability: float = 0.0
    """Share of the clips that lose their colour."""
    blur_probability: float = 0.0
    """Share of the clips that are blurred."""
    blur_pixels: tuple[float, float] = (0.1, 2.0)
    """Smallest and largest standard deviation of the blur (SimCLR's 0.1..2, Chen et al. 2020)."""
    per_frame: bool = False
    """Whether every frame draws its own numbers. Then colours are no longer consistent over a clip."""

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise SettingError(f"{name} {getattr(self, name):g} must be 0 or more")
        if not 0 <= self.hue <= 0.5:
            raise SettingError(f"hue {self.hue:g} must be in 0..0.5 turns")
        for name in ("probability", "gray_probability", "blur_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise SettingError(f"{name} {getattr(self, name):g} must be in 0..1")
        if len(self.blur_pixels) != 2 or not 0 < self.blur_pixels[0] <= self.blur_pixels[1]:
            raise SettingError(f"blur_pixels {list(self.blur_pixels)} must be two positive numbers, smaller first")

    @property
    def changes_nothing(self) -> bool:
        """Whether every clip stays as it is."""
        strengths = max(self.brightness, self.contrast, self.saturation, self.hue) * self.probability
        return strengths == 0 and self.gray_probability == 0 and self.blur_probability == 0


def jitter_colors(frames: Tensor, settings: JitterSettings, *, seed: int, step: int, first_row: int = 0) -> Tensor:
    """Jitter the colours of a batch.

    Args:
        frames: ``(B, T, 3, H, W)`` floats, RGB in [0, 1], on any device.
        settings: how strongly.
        seed: of the run, >= 0.
        step: of the run; each step draws anew.
        first_row: row of the whole batch that row 0 is. A row's numbers depend on (seed, step, row of the whole batch) alone, so processes
            that share a batch get what one process would get.

    Returns:
        ``(B, T, 3, H, W)`` in [0, 1]; the same tensor where the settings change nothing.

    >>> jitter_colors(torch.full((1, 2, 3, 1, 1), 0.5), JitterSettings(brightness=0.5), seed=0, step=3)[0, :, :, 0, 0]
    tensor([[0.3823, 0.3823, 0.3823],
            [0.3823, 0.3823, 0.3823]])
    """
    if settings.changes_nothing:
        return frames
    draws = _draws(frames, settings, seed=seed, step=step, first_row=first_row)
    luma = torch.tensor(LUMA, dtype=frames.dtype, device=frames.device)
    gray = torch.einsum("btchw,c->bt", frames, luma) / (frames.shape[-1] * frames.shape[-2])
    mean = gray if settings.per_frame else gray.mean(1, keepdim=True)
    matrix, share = (part.to(frames) for part in _color_maps(draws, settings))
    changed = torch.einsum("btdc,btchw->btdhw", matrix, frames) + (share * mean)[..., None, None, None]
    return _blurred(changed.clamp(0, 1), draws, settings)


def _draws(frames: Tensor, settings: JitterSettings, *, seed: int, step: int, first_row: int) -> Tensor:
    """``(B, T, 7)`` numbers in [0, 1) on the CPU, the same for all frames of a clip unless drawn per frame."""
    rows, length = frames.shape[:2]
    shape = (length, _DRAWS) if settings.per_frame else (1, _DRAWS)
    drawn: list[NDArray[np.float64]] = []
    for row in range(first_row, first_row + rows):
        numbers = np.random.default_rng((seed, _STREAM, step, row)).random(shape)
        numbers[:, 0] = numbers[0, 0]  # whether is decided for the clip, as in CorrFlow
        drawn.append(np.broadcast_to(numbers, (length, _DRAWS)))
    return torch.from_numpy(np.stack(drawn))


def _color_maps(draws: Tensor, settings: JitterSettings) -> tuple[Tensor, Tensor]:
    """``(B, T, 3, 3)`` matrices, and ``(B, T)`` shares of the mean brightness that contrast adds (hue and saturation keep the mean)."""
    whether, bright, contrast, saturation, hue, gray, _ = draws.unbind(-1)
    on = (whether < settings.probability).double()
    brightness = _factor(bright, settings.brightness * on)
    contrasted = _factor(contrast, settings.contrast * on)
    colored = _factor(saturation, settings.saturation * on)
    colored = torch.where(gray < settings.gray_probability, torch.zeros_like(colored), colored)
    turn = 2 * torch.pi * (2 * hue - 1) * settings.hue * on
    turned = torch.zeros(*draws.shape[:2], 3, 3, dtype=torch.float64)
    turned[..., 0, 0] = 1
    turned[..., 1, 1] = turned[..., 2, 2] = turn.cos() * colored
    turned[..., 1, 2], turned[..., 2, 1] = -turn.sin() * colored, turn.sin() * colored
    matrix = torch.linalg.inv(_YIQ) @ turned @ _YIQ
    return matrix * (brightness * contrasted)[..., None, None], (1 - contrasted) * brightness


def _factor(uniform: Tensor, strength: Tensor) -> Tensor:
    """Uniform in ``max(0, 1 - strength) .. 1 + strength``."""
    low = (1 - strength).clamp(min=0)
    return low + uniform * (1 + strength - low)


def _blurred(frames: Tensor, draws: Tensor, settings: JitterSettings) -> Tensor:
    """Blur the clips (or frames) that drew it."""
    share = draws[..., 6]
    chosen = share < settings.blur_probability
    if not chosen.any():
        return frames
    low, high = settings.blur_pixels
    sigma = low + share[chosen] / settings.blur_probability * (high - low)
    reach = int(np.ceil(3 * high))
    taps = torch.exp(-(torch.arange(-reach, reach + 1) ** 2) / (2 * sigma[:, None] ** 2))
    kernel = (taps / taps.sum(1, keepdim=True)).to(frames).repeat_interleave(3, 0)[:, None, None]
    picked = frames[chosen.to(frames.device)].flatten(0, 1)[None]
    rows = functional.conv2d(functional.pad(picked, (reach, reach, 0, 0), mode="replicate"), kernel, groups=len(kernel))
    both = functional.conv2d(functional.pad(rows, (0, 0, reach, reach), mode="replicate"), kernel.mT, groups=len(kernel))
    blurred = frames.clone()
    blurred[chosen.to(frames.device)] = both.view(-1, 3, *frames.shape[-2:])
    return blurred
