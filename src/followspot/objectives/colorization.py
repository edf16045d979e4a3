"""Colorization: a grey frame gets its colours by pointing at coloured reference frames (Vondrick et al. 2018).

For a target cell j and all cells i of all references, A_ij = softmax_i(f_i . f_j / temperature); the predicted colour is sum_i A_ij c_i,
where c are soft labels of colour clusters, or colours. The loss of a clip is the cross-entropy -sum_k y_k log p_k (or a distance),
meaned over cells and targets, times how well the colours of the target and its references agree.

The encoder must not see colours: wrap it in :class:`followspot.models.gray.GrayInput` or use a network that receives L.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from followspot.errors import SettingError
from followspot.models.layers import Conv3dHead, LinearHead, PaperHead
from followspot.objectives.base import ClipBatch, Objective, ObjectiveOutput, encode_clips
from followspot.objectives.palette import Palette, PaletteSettings, pool_cells
from followspot.ops.clusters import draw_clusters

# Added to probabilities before the logarithm, as CorrFlow does: lost in float32 beside any probability that counts.
TINY = 1e-8


@dataclass(frozen=True, kw_only=True)
class ColorizationSettings(PaletteSettings):
    """Settings of :class:`Colorization`; those of its colours are in :class:`followspot.objectives.palette.PaletteSettings`.

    Raises:
        SettingError: a value outside its range.
    """

    num_ref: int = 3
    """Reference frames, first in a clip; 3 in the paper."""
    num_target: int = 1
    """Frames to colour, after them; 1 in the paper."""
    temperature: float = 1.0
    """Products are divided by it; 1 in training in the paper (and 0.5 in tracking)."""
    normalize: bool = False
    """True compares directions of features (then a temperature near 0.05 is right); raw products in the paper."""
    loss: Literal["ce", "l1", "huber", "l2"] = "ce"
    """Cross-entropy of colour clusters (paper), or a distance of colours in units of 110 (ab) or 1 (RGB)."""
    huber_delta: float = 0.1
    """Above 0: where Huber's loss turns from square to straight, in those units: a clear but not a strong change of colour."""
    labels: Literal["hard", "soft"] = "hard"
    """A cell has the cluster of its mean colour, or the shares of its pixels' clusters."""
    consistency: float | None = 0.5
    """beta in (0, 0.5] of the weight sum_k p_k^(1-beta) q_k^beta; 0.5 as LOSS_WEIGHTING_SHARPNESS; None weighs all clips alike."""
    head: Literal["none", "linear", "conv3d", "paper"] = "none"
    """Layers after the encoder, for training only; see :mod:`followspot.models.layers`."""
    feature_dim: int = 64
    """Channels after a head; 64 in the paper."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("num_ref", "num_target", "feature_dim"):
            if getattr(self, name) < 1:
                raise SettingError(
                    f"{name} = {getattr(self, name)} must be 1 or more; the paper has 3 references, 1 target and 64 channels"
                )
        for name in ("temperature", "huber_delta"):
            if not getattr(self, name) > 0:
                raise SettingError(f"{name} = {getattr(self, name)} must be above 0; the default is a good start")
        if self.consistency is not None and not 0 < self.consistency <= 0.5:
            raise SettingError(f"consistency = {self.consistency} must be in (0, 0.5], or none to weigh all clips alike")
        for name, known in (("loss", ("ce", "l1", "huber", "l2")), ("labels", ("hard", "soft")), ("head", ("none", *_HEADS))):
            if getattr(self, name) not in known:
                raise SettingError(f'{name} = "{getattr(self, name)}" is unknown; use one of {", ".join(known)}')


class Colorization(Objective):
    """Colours copied from reference frames to targets, from all cells to each cell.

    Args:
        settings: see there.
        dim: channels of the encoder's map.
    """

    def __init__(self, settings: ColorizationSettings, *, dim: int) -> None:
        super().__init__(num_frames=settings.num_ref + settings.num_target)
        self.settings = settings
        self.palette = Palette(settings)
        self.head: nn.Module = nn.Identity()
        if settings.head != "none":
            self.head = _HEADS[settings.head](dim, feature_dim=settings.feature_dim)
        self._step = 0

    def advance(self, step: int, total_steps: int) -> None:
        """Remember the step, by which the colour clusters keep time."""
        self._step = step

    def forward(self, clips: ClipBatch, encoder: nn.Module) -> ObjectiveOutput:
        """The loss of a batch; see the module."""
        features = self.head(encode_clips(clips.frames, encoder))
        with torch.autocast(clips.frames.device.type, enabled=False):
            labels, values = self._colours(clips, grid=(features.shape[-2], features.shape[-1]))
            wanted = labels if self.settings.loss == "ce" else values
            predicted = self._predict(features, wanted[:, : self.settings.num_ref])
            losses = self._losses(predicted, wanted[:, self.settings.num_ref :])
            weights = self._weights(labels)
        logs = {"color_weight": weights.mean(), "clusters_used": (labels.sum((0, 1, 3, 4)) > 0).sum().float()}
        if self.settings.loss == "ce":
            hits = predicted.argmax(2) == wanted[:, self.settings.num_ref :].argmax(2)
            logs["color_accuracy"] = hits.float().mean()
        return ObjectiveOutput(loss=(losses * weights).mean(), per_sample=losses.mean(1).detach(), logs=logs)

    @torch.no_grad()
    def pictures(self, clips: ClipBatch, encoder: nn.Module) -> Mapping[str, Tensor]:
        """The first clip's first target in its true colours and those predicted (mean, and likeliest class); references; clusters."""
        first = ClipBatch(frames=clips.frames[:1], clean=clips.clean[:1])
        features = self.head(encode_clips(first.frames, encoder))
        with torch.autocast(clips.frames.device.type, enabled=False):
            labels, values = self._colours(first, grid=(features.shape[-2], features.shape[-1]), follow=False)
            kind: Literal["labels", "values"] = "labels" if self.settings.loss == "ce" else "values"
            wanted = labels if kind == "labels" else values
            predicted = self._predict(features, wanted[:, : self.settings.num_ref])[0, 0]
            target = first.clean[0, self.settings.num_ref].float()
            size = (target.shape[-2], target.shape[-1])
            shown = {
                "target": target,
                "prediction": self.palette.show(predicted, size=size, kind=kind, light=target),
                "labels": self.palette.show(wanted[0, self.settings.num_ref], size=size, kind=kind, light=target),
                "references": torch.cat(list(first.clean[0, : self.settings.num_ref].float()), dim=-1),
            }
            if kind == "labels":
                # What classes allow and a distance does not: the likeliest colour instead of the mean of all.
                likeliest = F.one_hot(predicted.argmax(0), len(predicted)).permute(2, 0, 1).float()
                shown["likeliest"] = self.palette.show(likeliest, size=size, kind=kind, light=target)
            if self.settings.color == "ab":
                shown["clusters"] = draw_clusters(self.palette.centres)
        return shown

    @torch.no_grad()
    def _colours(self, clips: ClipBatch, *, grid: tuple[int, int], follow: bool = True) -> tuple[Tensor, Tensor]:
        """Label maps ``(B, T, K, h, w)`` and colours ``(B, T, D, h, w)`` of the cells."""
        pixels = self.palette.colours(clips.clean)
        cells = pool_cells(pixels, grid)
        labelled = cells if self.settings.labels == "hard" else pixels
        if self.training and follow:
            self.palette.follow(clips, labelled, step=self._step)
        labels = self.palette.labels(labelled)
        return (labels if self.settings.labels == "hard" else pool_cells(labels, grid)), self.palette.values(cells)

    def _predict(self, features: Tensor, references: Tensor) -> Tensor:
        """Copy ``(B, num_ref, K, h, w)`` labels to the targets: ``(B, num_target, K, h, w)``."""
        features = features.float()
        if self.settings.normalize:
            features = F.normalize(features, dim=2)
        known, asked = features[:, : self.settings.num_ref], features[:, self.settings.num_ref :]
        scores = asked.permute(0, 1, 3, 4, 2).flatten(1, 3) @ known.transpose(1, 2).flatten(2)
        affinity = (scores / self.settings.temperature).softmax(-1)
        copied = affinity @ references.permute(0, 1, 3, 4, 2).flatten(1, 3)
        return copied.view(len(features), self.settings.num_target, *features.shape[-2:], -1).permute(0, 1, 4, 2, 3)

    def _losses(self, predicted: Tensor, wanted: Tensor) -> Tensor:
        """Mean loss of each clip's targets, ``(B, num_target)``."""
        kind = self.settings.loss
        if kind == "ce":
            return -(wanted * (predicted + TINY).log()).sum(2).mean((2, 3))
        if kind == "l1":
            return (predicted - wanted).abs().mean((2, 3, 4))
        if kind == "l2":
            return (predicted - wanted).square().mean((2, 3, 4))
        return F.huber_loss(predicted, wanted, reduction="none", delta=self.settings.huber_delta).mean((2, 3, 4))

    def _weights(self, labels: Tensor) -> Tensor:
        """How well the colours of each target agree with those of the references, ``(B, num_target)`` in [0, 1]."""
        if self.settings.consistency is None:
            return labels.new_ones(len(labels), self.settings.num_target)
        histograms = labels.mean((3, 4))
        references, targets = histograms[:, : self.settings.num_ref].mean(1, keepdim=True), histograms[:, self.settings.num_ref :]
        return consistency_weight(targets, references, beta=self.settings.consistency)


def consistency_weight(target: Tensor, reference: Tensor, *, beta: float) -> Tensor:
    """sum_k p_k^(1-beta) q_k^beta of two histograms: 1 if equal, 0 if disjoint, at least exp(-beta KL(p||q)).

    Args:
        target: ``(..., K)`` p, summing to 1.
        reference: ``(..., K)`` q, summing to 1.
        beta: in (0, 0.5]; 0.5 gives the Bhattacharyya coefficient.

    >>> consistency_weight(torch.tensor([0.5, 0.5]), torch.tensor([1.0, 0.0]), beta=0.5).item()
    0.7071067690849304
    """
    weight: Tensor = (target.pow(1 - beta) * reference.pow(beta)).sum(-1)
    return weight


_HEADS: Mapping[str, type[LinearHead] | type[Conv3dHead] | type[PaperHead]] = {
    "linear": LinearHead,
    "conv3d": Conv3dHead,
    "paper": PaperHead,
}
