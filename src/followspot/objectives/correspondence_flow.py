"""Correspondence flow: colours flow from frame to frame through a small window, and back (Lai and Xie 2019).

A cell of frame t+1 is a softmax-weighted mean of the cells of frame t within R cells of it. Colour labels are copied that way,

* forward one frame at a time, from true labels or, more and more often, from labels that were themselves copied (scheduled sampling);
* from frame 0 to frame n and back to frame 0 (the long cycle), for small n.

Both are compared with the true labels by -log(p + 1e-8), and L = L_forward + 0.1 L_cycle, each a mean over its steps. So that colours
cannot be read off, whole colour channels are left out of what the encoder sees (the information bottleneck).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from followspot.errors import SettingError
from followspot.objectives.base import ClipBatch, Objective, ObjectiveOutput, encode_clips, uniform_rows
from followspot.objectives.palette import Palette, PaletteSettings
from followspot.ops.channel_dropout import drop_channels
from followspot.ops.clusters import draw_clusters, one_hot, quantise
from followspot.ops.correlation import local_affinity, local_copy
from followspot.ops.schedule import Schedule

# Added to probabilities before the logarithm (Lai and Xie 2019).
TINY = 1e-8
TEACHER = Schedule.parse("linear 0.0:0.9 1.0:0.6")
"""How often true labels are copied on, over training (Lai and Xie 2019)."""


@dataclass(frozen=True, kw_only=True)
class CorrespondenceFlowSettings(PaletteSettings):
    """Settings of :class:`CorrespondenceFlow`; those of its colours are in :class:`followspot.objectives.palette.PaletteSettings`.

    Raises:
        SettingError: a value outside its range.
    """

    num_frames: int = 3
    """Frames a clip, 2 or more; 3 in the paper."""
    radius: int = 6
    """R in cells: the window is 13 cells wide, 52 pixels at stride 4, as published."""
    temperature: float = 1.0
    """Products are divided by it; 1 as published."""
    normalize: bool = False
    """True compares directions of features (then a temperature near 0.05 is right); raw products as published."""
    cycles: tuple[int, ...] = (1, 2)
    """How far the long cycles go, each 1..num_frames - 1; 1 and 2 as published."""
    cycle_weight: float = 0.1
    """Weight of the long cycles, 0 or more; 0.1 as published."""
    teacher: Schedule = TEACHER
    """Probability that true labels, not copied ones, are copied on; from 0.9 to 0.6 over training, as published."""
    bottleneck: Literal["rgb", "lab", "none"] = "rgb"
    """Of which space channels are left out; RGB as published, Lab in the successor of 2020."""
    keep: float = 0.3
    """Probability that a clip keeps all channels; 0.3 in the published code."""
    compare: Literal["pixels", "cells"] = "pixels"
    """Labels of every pixel against bilinearly enlarged predictions, as published; or both on the grid, which is cheaper."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_frames < 2 or self.radius < 0:
            raise SettingError(f"num_frames = {self.num_frames} and radius = {self.radius} must be at least 2 and 0; 3 and 6 are published")
        if not self.temperature > 0 or self.cycle_weight < 0 or not 0 <= self.keep <= 1:
            got = f"temperature = {self.temperature}, cycle_weight = {self.cycle_weight}, keep = {self.keep}"
            raise SettingError(f"{got}: they must be above 0, 0 or more, and in [0, 1]; 1, 0.1 and 0.3 are published")
        if any(not 1 <= cycle < self.num_frames for cycle in self.cycles):
            raise SettingError(f"cycles = {self.cycles} must go 1..{self.num_frames - 1} frames far in clips of {self.num_frames}")
        if self.bottleneck not in ("rgb", "lab", "none") or self.compare not in ("pixels", "cells"):
            got = f'bottleneck = "{self.bottleneck}", compare = "{self.compare}"'
            raise SettingError(f"{got}: use rgb, lab or none, and pixels or cells")


@dataclass(frozen=True)
class _Truth:
    """True labels of a batch."""

    grid: Tensor
    """``(B, T, K, h, w)`` shares on the grid, what is copied."""
    wanted: Tensor
    """``(B, T, H, W)`` or ``(B, T, h, w)`` int64, what is compared with."""


class CorrespondenceFlow(Objective):
    """Colours copied from frame to frame within a window, forward and in cycles.

    Args:
        settings: see there.
        dim: channels of the encoder's map; any.
    """

    def __init__(self, settings: CorrespondenceFlowSettings, *, dim: int) -> None:
        super().__init__(num_frames=settings.num_frames)
        self.settings = settings
        self.palette = Palette(settings)
        self._step = 0
        self._teacher = settings.teacher.at(0, 1)

    def advance(self, step: int, total_steps: int) -> None:
        """Set the teacher's rate of this step and let the colour clusters keep time."""
        self._step = step
        self._teacher = self.settings.teacher.at(step, total_steps)

    def forward(self, clips: ClipBatch, encoder: nn.Module) -> ObjectiveOutput:
        """The loss of a batch; see the module."""
        draws = uniform_rows(clips, 3)
        shown = clips.frames
        if self.training and self.settings.bottleneck != "none":
            shown = drop_channels(shown, draws, keep=self.settings.keep, space=self.settings.bottleneck)
        features = encode_clips(shown, encoder)
        taught = uniform_rows(clips, self.num_frames - 1) < self._teacher
        with torch.autocast(clips.frames.device.type, enabled=False):
            features = self._prepare(features)
            truth = self._truth(clips, grid=(features.shape[-2], features.shape[-1]), follow=self.training)
            ahead = [self._affinity(features, start, start + 1) for start in range(self.num_frames - 1)]
            forward = self._forward_losses(truth, ahead, taught)
            cycle = self._cycle_losses(truth, ahead, features)
            losses = forward + self.settings.cycle_weight * cycle
        logs = {"forward": forward.mean().detach(), "cycle": cycle.mean().detach(), "taught": taught.float().mean()}
        return ObjectiveOutput(loss=losses.mean(), per_sample=losses.detach(), logs=logs)

    @torch.no_grad()
    def pictures(self, clips: ClipBatch, encoder: nn.Module) -> Mapping[str, Tensor]:
        """The first clip's last frame in its true colours and in those copied from the frame before, and the clusters."""
        first = ClipBatch(frames=clips.frames[:1], clean=clips.clean[:1])
        features = encode_clips(first.frames, encoder)
        with torch.autocast(clips.frames.device.type, enabled=False):
            features = self._prepare(features)
            truth = self._truth(first, grid=(features.shape[-2], features.shape[-1]), follow=False)
            last = self.num_frames - 1
            copied = local_copy(self._affinity(features, last - 1, last), truth.grid[:, last - 1], radius=self.settings.radius)
            target = first.clean[0, last].float()
            size = (target.shape[-2], target.shape[-1])
            shown = {
                "target": target,
                "prediction": self.palette.show(copied[0], size=size, kind="labels", light=target),
                "labels": self.palette.show(truth.grid[0, last], size=size, kind="labels", light=target),
                "references": first.clean[0, last - 1].float(),
            }
            if self.settings.color == "ab":
                shown["clusters"] = draw_clusters(self.palette.centres)
        return shown

    def _prepare(self, features: Tensor) -> Tensor:
        return F.normalize(features.float(), dim=2) if self.settings.normalize else features.float()

    def _affinity(self, features: Tensor, reference: int, target: int) -> Tensor:
        return local_affinity(
            features[:, target], features[:, reference], radius=self.settings.radius, temperature=self.settings.temperature
        )

    @torch.no_grad()
    def _truth(self, clips: ClipBatch, *, grid: tuple[int, int], follow: bool) -> _Truth:
        colours = self.palette.colours(clips.clean)
        if self.settings.compare == "cells":
            colours = F.adaptive_avg_pool2d(colours.flatten(0, 1), grid).view(*colours.shape[:3], *grid)
        if follow:
            self.palette.follow(clips, colours, step=self._step)
        wanted = quantise(colours, self.palette.centres)
        labels = one_hot(wanted, self.settings.clusters)
        if self.settings.compare == "pixels":
            labels = F.adaptive_avg_pool2d(labels.flatten(0, 1), grid).view(*labels.shape[:3], *grid)
        return _Truth(labels, wanted)

    def _forward_losses(self, truth: _Truth, ahead: list[Tensor], taught: Tensor) -> Tensor:
        """``(B,)``: each frame from the one before; what is copied on is the truth where `taught` says so, and at the start."""
        copied, losses = truth.grid[:, 0], []
        for start, affinity in enumerate(ahead):
            if start:
                copied = torch.where(taught[:, start, None, None, None], truth.grid[:, start], copied)
            copied = local_copy(affinity, copied, radius=self.settings.radius)
            losses.append(self._loss(copied, truth.wanted[:, start + 1]))
        return torch.stack(losses).mean(0)

    def _cycle_losses(self, truth: _Truth, ahead: list[Tensor], features: Tensor) -> Tensor:
        """``(B,)``: from frame 0 to frame n and back, against frame 0, for each n."""
        if not self.settings.cycles:
            return features.new_zeros(len(features))
        back = [self._affinity(features, start + 1, start) for start in range(max(self.settings.cycles))]
        away, losses = truth.grid[:, 0], []
        for far in range(1, max(self.settings.cycles) + 1):
            away = local_copy(ahead[far - 1], away, radius=self.settings.radius)
            if far in self.settings.cycles:
                home = away
                for step in reversed(back[:far]):
                    home = local_copy(step, home, radius=self.settings.radius)
                losses.append(self._loss(home, truth.wanted[:, 0]))
        return torch.stack(losses).mean(0)

    def _loss(self, predicted: Tensor, wanted: Tensor) -> Tensor:
        """``(B,)`` mean of -log(p + 1e-8) of the true labels."""
        if predicted.shape[-2:] != wanted.shape[-2:]:
            predicted = F.interpolate(predicted, size=wanted.shape[-2:], mode="bilinear", align_corners=False)
        hit = predicted.gather(1, wanted[:, None])[:, 0]
        return -(hit + TINY).log().mean((1, 2))
