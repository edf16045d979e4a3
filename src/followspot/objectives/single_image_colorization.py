"""Single-image colorization: a grey picture gets its colours from nothing but itself.

After Zhang et al., "Colorful Image Colorization" (ECCV 2016). A linear layer turns the features of each cell into a distribution over
classes of colour; the loss of a clip is the cross-entropy -v sum_q y_q log p_q with that cell's true colour, meaned over cells and
frames, where v weighs rare colours up. No frame sees another, so what is learnt is what things are, not where they went: the baseline
"Single Image Colorization" of Vondrick et al. (ECCV 2018), table 1.

The encoder must not see colours: wrap it in :class:`followspot.models.gray.GrayInput` or use a network that receives L.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from followspot.errors import SettingError
from followspot.models.layers import LinearHead
from followspot.objectives.base import ClipBatch, Objective, ObjectiveOutput, encode_clips, gather_rows
from followspot.objectives.palette import Palette, PaletteSettings, pool_cells
from followspot.ops.clusters import soft_labels
from followspot.ops.color import gamut_bins

_SHOWN_TEMPERATURE = 0.38
"""Of the annealed mean that pictures show: Zhang et al. 2016, section 2.3."""


@dataclass(frozen=True, kw_only=True)
class SingleImageColorizationSettings:
    """Settings of :class:`SingleImageColorization`.

    Raises:
        SettingError: a value outside its range.
    """

    frames: int = 1
    """Frames of a clip, each coloured on its own; the paper has pictures."""
    spacing: float = 10.0
    """Between classes of colour, in units of ab; 10 in the paper."""
    neighbours: int = 5
    """Classes that share a colour, weighted by a Gaussian of half the spacing; 5 in the paper."""
    rebalance: float | None = 0.5
    """lambda in (0, 1] of the weight 1 / ((1 - lambda) share + lambda / Q) of a class; 0.5 in the paper; None weighs all alike."""
    memory: float = 0.99
    """In [0, 1): share of the past in the running shares of the classes, as that of `kmeans_memory`; the paper counted ImageNet first."""

    def __post_init__(self) -> None:
        count = len(gamut_bins(self.spacing))
        if self.frames < 1:
            raise SettingError(f"frames = {self.frames} must be 1 or more; 1 is enough, as each is coloured on its own")
        if not 1 <= self.neighbours <= count:
            raise SettingError(f"neighbours = {self.neighbours} must be in 1..{count}, the colours of spacing {self.spacing:g}; 5 is usual")
        if self.rebalance is not None and not 0 < self.rebalance <= 1:
            raise SettingError(f"rebalance = {self.rebalance} must be in (0, 1], or none to weigh all colours alike")
        if not 0 <= self.memory < 1:
            raise SettingError(f"memory = {self.memory} must be in [0, 1); 0.99 follows the last hundred steps")


class SingleImageColorization(Objective):
    """Classes of colour told from a grey picture alone.

    Args:
        settings: see there.
        dim: channels of the encoder's map.
    """

    shares: Tensor
    ready: Tensor

    def __init__(self, settings: SingleImageColorizationSettings, *, dim: int) -> None:
        super().__init__(num_frames=settings.frames)
        self.settings = settings
        bins = gamut_bins(settings.spacing).tolist()
        self.palette = Palette(PaletteSettings(clusters=len(bins), centres=tuple((a, b) for a, b in bins)))
        self.head = LinearHead(dim, feature_dim=len(bins))
        self.register_buffer("shares", torch.full((len(bins),), 1 / len(bins)))
        self.register_buffer("ready", torch.tensor(False))

    def forward(self, clips: ClipBatch, encoder: nn.Module) -> ObjectiveOutput:
        """The loss of a batch; see the module."""
        scores = self.head(encode_clips(clips.frames, encoder))
        with torch.autocast(clips.frames.device.type, enabled=False):
            wanted = self._labels(clips.clean, grid=(scores.shape[-2], scores.shape[-1]))
            if self.training:
                self._follow(wanted)
            costs = -(wanted * scores.float().log_softmax(2)).sum(2)
            truth = wanted.argmax(2)
            weights = self._weights()[truth]
        logs = {"color_accuracy": (scores.argmax(2) == truth).float().mean(), "bins_used": (wanted.sum((0, 1, 3, 4)) > 0).sum().float()}
        return ObjectiveOutput(loss=(costs * weights).mean(), per_sample=costs.mean((1, 2, 3)).detach(), logs=logs)

    @torch.no_grad()
    def pictures(self, clips: ClipBatch, encoder: nn.Module) -> Mapping[str, Tensor]:
        """The first clip's first frame in its true colours and in those predicted for it, and the colours of its cells."""
        target = clips.clean[0, 0].float()
        scores = self.head(encode_clips(clips.frames[:1, :1], encoder))[0, 0].float()
        size = (target.shape[-2], target.shape[-1])
        labels = self._labels(clips.clean[:1, :1], grid=(scores.shape[-2], scores.shape[-1]))[0, 0]
        predicted = (scores / _SHOWN_TEMPERATURE).softmax(0)
        return {
            "target": target,
            "prediction": self.palette.show(predicted, size=size, kind="labels", light=target),
            "labels": self.palette.show(labels, size=size, kind="labels", light=target),
        }

    @torch.no_grad()
    def _labels(self, clean: Tensor, *, grid: tuple[int, int]) -> Tensor:
        """Soft labels ``(B, T, Q, h, w)`` of the mean colours of the cells."""
        cells = pool_cells(self.palette.colours(clean), grid)
        return soft_labels(cells, self.palette.centres, neighbours=self.settings.neighbours, sigma=self.settings.spacing / 2)

    @torch.no_grad()
    def _follow(self, labels: Tensor) -> None:
        """Let the shares of the classes follow those of the batch, the whole of it over all processes; the first sets them."""
        if self.settings.rebalance is None:
            return
        batch = gather_rows(labels.mean((1, 3, 4))).mean(0).to(self.shares)
        self.shares.copy_(torch.where(self.ready, self.settings.memory * self.shares + (1 - self.settings.memory) * batch, batch))
        self.ready.fill_(True)

    def _weights(self) -> Tensor:
        """``(Q,)`` weights of the classes, 1 on average over cells."""
        if self.settings.rebalance is None:
            return torch.ones_like(self.shares)
        weights = 1 / ((1 - self.settings.rebalance) * self.shares + self.settings.rebalance / len(self.shares))
        return weights / (weights * self.shares).sum()
