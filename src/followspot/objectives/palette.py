"""What a colour is to the objectives that copy colours: a colour space, clusters found on the way, labels on a grid.

Clusters and labels see the same colours: k-means runs on what is labelled, be it cells (averaged first) or pixels. The
centres move while training goes on. Nothing is tied to a label's meaning from one step to the next: references and targets of a step are
labelled with the same centres, and what an objective learns is where to copy from.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from followspot.errors import SettingError
from followspot.objectives.base import ClipBatch, gather_rows, uniform_rows
from followspot.ops.clusters import CANDIDATES, dequantise, mini_batch_step, one_hot, quantise, seed_centres
from followspot.ops.color import lab_to_rgb, rgb_to_lab

Space = Literal["ab", "rgb"]

# A unit of ab in regression: colours of sRGB reach about +-110 (``ops.color``), so both spaces span about one unit.
_AB_SCALE = 110.0
# The L that a colour without one is shown with (the TensorFlow colorization tracker).
_SHOWN_LIGHTNESS = 75.0


@dataclass(frozen=True, kw_only=True)
class PaletteSettings:
    """How colours are grouped; what the settings of objectives that copy colours begin with.

    Raises:
        SettingError: a value outside its range.
    """

    color: Space = "ab"
    """``ab`` of Lab (Vondrick et al. 2018) or all of ``rgb`` (a slide on that paper; brightness then counts)."""
    clusters: int = 16
    """K, at least 2; 16 in both papers."""
    kmeans_interval: int = 10
    """Centres move every so many steps; 10 in the TensorFlow colorization tracker."""
    kmeans_steps: int = 10
    """Mini-batch steps each time they move; 10 in its second version (100 in the first)."""
    kmeans_points: int = 256
    """Points that a clip gives to each mini-batch step; 8 clips make 2048, where more changed nothing."""
    kmeans_memory: float = 0.99
    """In [0, 1): share of the past that a mini-batch step keeps; 0.99 follows the last hundred or so."""
    empty_share: float = 1e-4
    """In [0, 1): a centre with a smaller share of the points is re-seeded; well below the share of a rare colour."""
    centres: tuple[tuple[float, ...], ...] | None = None
    """Fixed centres, K of them, in units of the colour space (ab about +-110, RGB in [0, 1]); None finds them while training."""

    def __post_init__(self) -> None:
        if self.color not in ("ab", "rgb"):
            raise SettingError(f'color "{self.color}" is not a colour space of copying; use ab or rgb')
        for name, low in (("clusters", 2), ("kmeans_interval", 1), ("kmeans_steps", 1), ("kmeans_points", 1)):
            if getattr(self, name) < low:
                raise SettingError(f"{name} = {getattr(self, name)} must be {low} or more; the published values are the defaults")
        for name in ("kmeans_memory", "empty_share"):
            if not 0 <= getattr(self, name) < 1:
                raise SettingError(f"{name} = {getattr(self, name)} must be in [0, 1); the default is tried")
        if self.centres is not None:
            _check_centres(self.centres, clusters=self.clusters, color=self.color)


class Palette(nn.Module):
    """Colour clusters with their history; the centres are buffers, so checkpoints hold them.

    Args:
        settings: how.
    """

    centres: Tensor
    counts: Tensor
    ready: Tensor

    def __init__(self, settings: PaletteSettings) -> None:
        super().__init__()
        self.settings = settings
        axes = 2 if settings.color == "ab" else 3
        fixed = settings.centres
        self.register_buffer("centres", torch.zeros(settings.clusters, axes) if fixed is None else torch.tensor(fixed))
        self.register_buffer("counts", torch.zeros(settings.clusters))
        self.register_buffer("ready", torch.tensor(fixed is not None))

    def colours(self, rgb: Tensor) -> Tensor:
        """``(..., 3, H, W)`` RGB in [0, 1] in the colour space: ``(..., 2, H, W)`` ab or ``(..., 3, H, W)``."""
        if self.settings.color == "rgb":
            return rgb.float()
        # In bf16 a whole cluster fits between two neighbouring numbers of ab.
        with torch.autocast(rgb.device.type, enabled=False):
            return rgb_to_lab(rgb.float())[..., 1:, :, :]

    @torch.no_grad()
    def follow(self, clips: ClipBatch, colours: Tensor, *, step: int) -> None:
        """Let the centres follow the colours, when it is time; the first call begins with k-means++.

        Every process ends with the same centres, those of the whole batch.

        Args:
            clips: the batch, for its place among those of other processes.
            colours: ``(B, T, D, h, w)`` what will be labelled.
            step: optimiser steps done.
        """
        fixed = self.settings.centres is not None
        if fixed or (bool(self.ready) and step % self.settings.kmeans_interval):
            return
        flat = colours.transpose(1, 2).flatten(2)
        size = self.settings.kmeans_steps * self.settings.kmeans_points
        chosen = (uniform_rows(clips, size) * flat.shape[2]).long().clamp_(max=flat.shape[2] - 1)
        rows = gather_rows(flat.gather(2, chosen[:, None].expand(-1, flat.shape[1], -1)))
        steps = rows.reshape(len(rows), rows.shape[1], self.settings.kmeans_steps, -1).permute(2, 0, 3, 1).flatten(1, 2)
        if not bool(self.ready):
            draws = torch.rand(self.settings.clusters, CANDIDATES)
            self.centres.copy_(seed_centres(steps[0], draws.to(steps.device)))
            self.ready.fill_(True)
        for points in steps:
            centres, counts = mini_batch_step(
                self.centres, self.counts, points, memory=self.settings.kmeans_memory, empty_share=self.settings.empty_share
            )
            self.centres.copy_(centres)
            self.counts.copy_(counts)

    def labels(self, colours: Tensor) -> Tensor:
        """One-hot labels of the nearest centres, ``(..., D, h, w)`` to ``(..., K, h, w)`` float32."""
        return one_hot(quantise(colours, self.centres), self.settings.clusters)

    def values(self, colours: Tensor) -> Tensor:
        """Colours in units of about one, for regression: ``(..., D, h, w)`` to the same shape."""
        return colours if self.settings.color == "rgb" else colours / _AB_SCALE

    def show(self, predicted: Tensor, *, size: tuple[int, int], kind: Literal["labels", "values"], light: Tensor | None = None) -> Tensor:
        """A picture of predicted colours.

        Args:
            predicted: ``(K, h, w)`` label weights or ``(D, h, w)`` values.
            size: ``(H, W)`` of the picture.
            kind: which of the two.
            light: ``(3, H, W)`` RGB whose lightness is taken; None: one lightness everywhere. RGB clusters bring their own.

        Returns:
            ``(3, H, W)`` RGB in [0, 1].
        """
        in_ab = self.settings.color == "ab"
        scale = _AB_SCALE if in_ab else 1.0
        colours = dequantise(predicted, self.centres) if kind == "labels" else predicted * scale
        colours = F.interpolate(colours[None], size=size, mode="bilinear", align_corners=False)[0]
        if not in_ab:
            return colours.clamp(0, 1)
        lightness = torch.full_like(colours[:1], _SHOWN_LIGHTNESS) if light is None else rgb_to_lab(light.float())[:1]
        return lab_to_rgb(torch.cat([lightness, colours])).clamp(0, 1)


def pool_cells(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """Mean over the cells of a grid, ``(B, T, D, H, W)`` to ``(B, T, D, h, w)``."""
    return F.adaptive_avg_pool2d(maps.flatten(0, 1), grid).view(*maps.shape[:3], *grid)


def _check_centres(centres: tuple[tuple[float, ...], ...], *, clusters: int, color: Space) -> None:
    axes = 2 if color == "ab" else 3
    if len(centres) != clusters or any(len(centre) != axes for centre in centres):
        got = f"{len(centres)} centres of {sorted({len(centre) for centre in centres})} numbers"
        raise SettingError(
            f"{got} do not fit {clusters} clusters of {axes} in {color}; give {clusters} lists of {axes}, or leave centres out"
        )
