"""Layers of the colorization networks: batch renormalisation, coordinate channels, heads that see several frames."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from followspot.errors import SettingError
from followspot.ops.collective import sum_over_processes
from followspot.ops.schedule import Schedule

RMAX = Schedule.parse("linear 2000:1 37000:3")
"""How much the correction may scale, over training (BATCH_RENORM_RMAX of the TensorFlow colorization tracker)."""
DMAX = Schedule.parse("linear 2000:0 22000:5")
"""How much it may shift, in standard deviations (BATCH_RENORM_DMAX of the same)."""


class BatchRenorm2d(nn.Module):
    """Batch renormalisation (Ioffe 2017): batch normalisation whose output depends less and less on the batch.

    In training ``y = ((x - mean_B) / std_B * r + d) * weight + bias`` with ``r = clip(std_B / std, 1/rmax, rmax)`` and
    ``d = clip((mean_B - mean) / std, -dmax, dmax)``, both without gradient, against fast running statistics; with rmax = 1 and dmax = 0 it
    is plain batch normalisation. In eval mode the slow running statistics are used. Statistics are of the batch of all processes
    together, so a batch may be split without changing them; all of them must run it alike.

    Args:
        channels: C.
        momentum: share of a new batch in the slow statistics; 0.001 as BATCH_NORM_DECAY 0.999 there.
        renorm_momentum: the same for the fast ones; 0.01 as BATCH_RENORM_DECAY 0.99. Both begin as plain means, so early ones have no bias.
        rmax: schedule of the largest scale, from 1 up.
        dmax: schedule of the largest shift, from 0 up.
        eps: added to variances; torch's own value for batch normalisation.

    Raises:
        SettingError: a momentum outside (0, 1].
    """

    running_mean: Tensor
    running_var: Tensor
    renorm_mean: Tensor
    renorm_std: Tensor
    num_batches_tracked: Tensor

    def __init__(
        self,
        channels: int,
        *,
        momentum: float = 0.001,
        renorm_momentum: float = 0.01,
        rmax: Schedule = RMAX,
        dmax: Schedule = DMAX,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        if not (0 < momentum <= 1 and 0 < renorm_momentum <= 1):
            raise SettingError(f"momenta {momentum} and {renorm_momentum} must lie in (0, 1]; 0.001 and 0.01 are the published ones")
        self.momentum = momentum
        self.renorm_momentum = renorm_momentum
        self.rmax_schedule = rmax
        self.dmax_schedule = dmax
        self.rmax = 1.0
        self.dmax = 0.0
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.register_buffer("renorm_mean", torch.zeros(channels))
        self.register_buffer("renorm_std", torch.ones(channels))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def advance(self, step: int, total_steps: int) -> None:
        """Set the limits of a step.

        Args:
            step: optimiser steps done.
            total_steps: how many there will be.
        """
        self.rmax = max(1.0, self.rmax_schedule.at(step, total_steps))
        self.dmax = max(0.0, self.dmax_schedule.at(step, total_steps))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(B, C, h, w)``; statistics in float32 whatever the input's type."""
        wide = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        if self.training:
            normal = self._renormalise(wide)
        else:
            normal = (wide - _channels(self.running_mean)) * _channels(self.running_var + self.eps).rsqrt()
        return (normal * _channels(self.weight) + _channels(self.bias)).to(x.dtype)

    def _renormalise(self, x: Tensor) -> Tensor:
        count = sum_over_processes(x.new_tensor(float(x.numel() // x.shape[1])))
        mean = sum_over_processes(x.sum((0, 2, 3))) / count
        centred = x - _channels(mean)
        variance = sum_over_processes(centred.square().sum((0, 2, 3))) / count
        std = (variance + self.eps).sqrt()
        with torch.no_grad():
            first = self.num_batches_tracked == 0
            known_mean = torch.where(first, mean, self.renorm_mean)
            known_std = torch.where(first, std, self.renorm_std)
            scale = (std / known_std).clamp(1 / self.rmax, self.rmax)
            shift = ((mean - known_mean) / known_std).clamp(-self.dmax, self.dmax)
            self._follow(mean, variance * (count / (count - 1).clamp_min(1)), std)
        return centred / _channels(std) * _channels(scale) + _channels(shift)

    def _follow(self, mean: Tensor, variance: Tensor, std: Tensor) -> None:
        self.num_batches_tracked += 1
        plain_mean = 1 / self.num_batches_tracked.to(mean.dtype)
        slow = plain_mean.clamp_min(self.momentum)
        fast = plain_mean.clamp_min(self.renorm_momentum)
        for running, new, share in (
            (self.running_mean, mean, slow),
            (self.running_var, variance, slow),
            (self.renorm_mean, mean, fast),
            (self.renorm_std, std, fast),
        ):
            running += (new - running) * share


def advance_renorm(module: nn.Module, *, step: int, total_steps: int) -> None:
    """Set the limits of every batch renormalisation in a module for a step; call it before each training step."""
    for part in module.modules():
        if isinstance(part, BatchRenorm2d):
            part.advance(step, total_steps)


def add_coordinates(maps: Tensor) -> Tensor:
    """Append the place of each cell as two channels, x and y in [-1, 1] from the first cell's centre to the last one's.

    Args:
        maps: ``(B, C, h, w)``.

    Returns:
        ``(B, C + 2, h, w)``; a side of one cell is at 0.

    >>> add_coordinates(torch.zeros(1, 1, 1, 3))[0, 1:].tolist()
    [[[-1.0, 0.0, 1.0]], [[0.0, 0.0, 0.0]]]
    """
    height, width = maps.shape[-2:]
    x = torch.linspace(-1, 1, width).to(maps) if width > 1 else maps.new_zeros(1)
    y = torch.linspace(-1, 1, height).to(maps) if height > 1 else maps.new_zeros(1)
    place = torch.stack([x.expand(height, width), y[:, None].expand(height, width)])
    return torch.cat([maps, place.expand(len(maps), 2, height, width)], dim=1)


class LinearHead(nn.Module):
    """A 1x1 convolution a frame, without normalisation or activation.

    Args:
        dim: channels of the features.
        feature_dim: channels that are compared.
    """

    def __init__(self, dim: int, *, feature_dim: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(dim, feature_dim, 1)

    def forward(self, features: Tensor) -> Tensor:
        """``(B, T, dim, h, w)`` to ``(B, T, feature_dim, h, w)``."""
        projected: Tensor = self.project(features.flatten(0, 1))
        return projected.view(*features.shape[:2], *projected.shape[1:])


class Conv3dHead(nn.Module):
    """Convolutions over time and space, so that a frame's features depend on its neighbours (USE_CONV3D of the TensorFlow tracker).

    3x3x3 to 512, 1x1x1 to 256, 3x3x3 to 512, 1x1x1 to `feature_dim`; stride 1, same size, normalised and rectified except the last.

    Args:
        dim: channels of the features.
        feature_dim: channels that are compared.
    """

    def __init__(self, dim: int, *, feature_dim: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_step(dim, 512, kernel=(3, 3, 3)),
            *_step(512, 256, kernel=(1, 1, 1)),
            *_step(256, 512, kernel=(3, 3, 3)),
            nn.Conv3d(512, feature_dim, 1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """``(B, T, dim, h, w)`` to ``(B, T, feature_dim, h, w)``."""
        mixed: Tensor = self.layers(features.transpose(1, 2))
        return mixed.transpose(1, 2)


class PaperHead(nn.Module):
    """The head of Vondrick et al. 2018: coordinates, then five spatio-temporal layers to 64 channels.

    Each layer is 1x3x3 with dilation 1, 2, 4, 8, 16 and then 3x1x1, both with 256 channels, normalised and rectified; a 1x1x1 convolution
    ends it. The dilations and the split are those of a public re-implementation; the paper says five 3-D layers.

    Args:
        dim: channels of the features.
        feature_dim: channels that are compared; 64 in the paper.
    """

    def __init__(self, dim: int, *, feature_dim: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for depth, dilation in enumerate((1, 2, 4, 8, 16)):
            layers += _step(256 if depth else dim + 2, 256, kernel=(1, 3, 3), dilation=dilation)
            layers += _step(256, 256, kernel=(3, 1, 1))
        self.layers = nn.Sequential(*layers, nn.Conv3d(256, feature_dim, 1))

    def forward(self, features: Tensor) -> Tensor:
        """``(B, T, dim, h, w)`` to ``(B, T, feature_dim, h, w)``."""
        placed = add_coordinates(features.flatten(0, 1))
        placed = placed.view(*features.shape[:2], *placed.shape[1:])
        mixed: Tensor = self.layers(placed.transpose(1, 2))
        return mixed.transpose(1, 2)


class FrameNorm(nn.Module):
    """Batch normalisation of ``(B, C, T, h, w)``, as one of two axes: T and h are one long axis to it.

    So there is one kind of normalisation in the package, and what synchronises it over processes finds it here too.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, maps: Tensor) -> Tensor:
        """``(B, C, T, h, w)`` to the same shape."""
        normal: Tensor = self.norm(maps.flatten(2, 3)).view_as(maps)
        return normal


def _step(inputs: int, outputs: int, *, kernel: tuple[int, int, int], dilation: int = 1) -> Sequence[nn.Module]:
    padding = (kernel[0] // 2, kernel[1] // 2 * dilation, kernel[2] // 2 * dilation)
    convolution = nn.Conv3d(inputs, outputs, kernel, padding=padding, dilation=(1, dilation, dilation), bias=False)
    # Gaussian, as the paper says; torch's own start lets the signal die over ten layers.
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    return convolution, FrameNorm(outputs), nn.ReLU()


def _channels(vector: Tensor) -> Tensor:
    return vector[:, None, None]
