"""From a batch of pairs to a loss for SiamMask and S2iamMask; the formulas are those of :mod:`followspot.objectives.siamese`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from followspot.errors import SettingError
from followspot.models.s2iammask import S2iamMask
from followspot.models.siammask import Proposals, SiamMask
from followspot.objectives.base import ObjectiveOutput
from followspot.objectives.siamese import (
    AnchorTargets,
    Count,
    SiameseWeights,
    mask_positions,
    mask_windows,
    region_targets,
    siamese_loss,
)
from followspot.ops.collective import mean_over_processes

_SHOWN: Final = 4
"""Pairs of a batch in a picture."""


@dataclass(frozen=True, kw_only=True)
class PairBatch:
    """A batch of pairs as a network and the losses take them."""

    template: Tensor
    """``(B, 3, 127, 127)`` RGB in 0..1."""
    search: Tensor
    """``(B, 3, 255, 255)`` RGB in 0..1."""
    masks: Tensor
    """``(B, 255, 255)`` in {0, 1}."""
    has_mask: Tensor
    """``(B,)`` bool."""
    targets: AnchorTargets
    total: int | None = None
    """Pairs of the whole batch over all processes; None: this is all of it."""

    @property
    def whole(self) -> int:
        """Pairs of the whole batch."""
        return len(self.template) if self.total is None else self.total


@dataclass(frozen=True, kw_only=True)
class PairLossSettings:
    """What a pair trains."""

    weights: SiameseWeights = field(default_factory=SiameseWeights)
    places: int | None = None
    """At most so many masks a pair are drawn and trained, at places that are drawn at random; None: at all that are right."""
    enlarge: tuple[float, float] = (0.0, 0.4)
    """S2iamMask: the anchors whose masks are trained are grown by so much of their sides on each side, drawn uniformly. Its description
    trains on the anchors as they are and draws masks in boxes grown by 0.4; here training sees both."""

    def __post_init__(self) -> None:
        if self.places is not None and self.places < 1:
            raise SettingError(f"places = {self.places} must be 1 or more; none: all")
        if not 0 <= self.enlarge[0] <= self.enlarge[1]:
            raise SettingError(f"enlarge = {list(self.enlarge)} must be two shares, the smaller first, such as [0, 0.4]")


class SiamesePairs(nn.Module):
    """The loss of pairs.

    Args:
        settings: what counts how much.
    """

    def __init__(self, settings: PairLossSettings) -> None:
        super().__init__()
        self.settings = settings

    def advance(self, step: int, total_steps: int) -> None:
        """Nothing changes on the way."""

    def forward(self, batch: PairBatch, network: nn.Module) -> ObjectiveOutput:
        """The loss of a batch; random places and growths come from torch's random state.

        Args:
            batch: the pairs.
            network: a SiamMask or S2iamMask; gradients flow into it.
        """
        online = cast("SiamMask | S2iamMask", network)
        found = online.search(online.template(batch.template), batch.search)
        masks, true = self._masks(batch, online, found)
        # Only in training do all processes come here.
        count: Count | None = mean_over_processes if self.training else None
        weights = self.settings.weights
        said = siamese_loss(found.scores, found.deltas, batch.targets, masks=masks, mask_targets=true, weights=weights, count=count)
        return ObjectiveOutput(loss=said.loss, per_sample=said.loss.detach().expand(len(batch.template)), logs=said.logs)

    def pictures(self, batch: PairBatch, network: nn.Module) -> Mapping[str, Tensor]:
        """The first pairs: what was shown, and the mask of the surest place on the search view.

        Returns:
            ``pairs``: ``(3, N 255, 510)`` in 0..1.
        """
        online = cast("SiamMask | S2iamMask", network)
        rows = []
        for index in range(min(_SHOWN, len(batch.template))):
            view = batch.search[index : index + 1]
            found = online.search(online.template(batch.template[index : index + 1]), view)
            template = functional.pad(batch.template[index], (64, 64, 64, 64))
            rows.append(torch.cat([template, _drawn(online, found, view[0])], -1))
        return {"pairs": torch.cat(rows, -2)}

    def _masks(self, batch: PairBatch, network: SiamMask | S2iamMask, found: Proposals) -> tuple[Tensor, Tensor]:
        """Logits and truth of the masks that are trained; none of either for a network of boxes only.

        A mask is drawn, and left out of both, even where none is trained: so the loss hangs on weights that learn though scores and boxes
        are frozen, and every process takes part in what the others wait for (batch norms, gradients).
        """
        if isinstance(network, S2iamMask):
            boxes, samples = self._boxes(batch, network)
            count = len(boxes)
            if count == 0:
                boxes, samples = boxes.new_tensor([[0.0, 0.0, 255.0, 255.0]]), samples.new_zeros(1)
            return network.masks(found, boxes, samples)[:count], region_targets(batch.masks, boxes, samples)[:count]
        if network.masks_kind == "none":
            none = found.scores.new_zeros(0, 1, 1)
            return none, none
        places = self._some(mask_positions(batch.targets.labels, batch.has_mask))
        drawn = places if len(places) else places.new_zeros(1, 3)
        return network.masks(found, drawn)[: len(places)], mask_windows(batch.masks, drawn)[: len(places)].float()

    def _boxes(self, batch: PairBatch, network: S2iamMask) -> tuple[Tensor, Tensor]:
        """Right anchors of pairs with masks, grown: ``(N, 4)``, and which pair each is of."""
        right = (batch.targets.labels == 1) & batch.has_mask.view(-1, 1, 1, 1)
        places = self._some(right.nonzero())
        anchors = network.anchors.boxes().to(batch.template)
        boxes = anchors[:, places[:, 1], places[:, 2], places[:, 3]].T
        low, high = self.settings.enlarge
        grown = low + (high - low) * torch.rand(len(boxes), 1, device=boxes.device)
        sides = boxes[:, 2:] - boxes[:, :2]
        return torch.cat([boxes[:, :2] - grown * sides, boxes[:, 2:] + grown * sides], 1), places[:, 0]

    def _some(self, places: Tensor) -> Tensor:
        """At most :attr:`PairLossSettings.places` rows of each pair (the first column), drawn."""
        most = self.settings.places
        if most is None or len(places) == 0:
            return places
        shuffled = places[torch.randperm(len(places), device=places.device)]
        order = shuffled[:, 0].argsort(stable=True)
        ordered = shuffled[order]
        starts = torch.searchsorted(ordered[:, 0].contiguous(), ordered[:, 0].contiguous())
        rank = torch.arange(len(ordered), device=places.device) - starts
        return ordered[rank < most]


def _drawn(network: SiamMask | S2iamMask, found: Proposals, view: Tensor) -> Tensor:
    """The search view with what the surest proposal says in red: its mask, or a dot where there is none."""
    best = int(found.probabilities[0].argmax())
    shape, row, column = (int(value) for value in torch.unravel_index(torch.tensor(best), found.probabilities[0].shape))
    size = view.shape[-1]
    over = view.new_zeros(size, size)
    if isinstance(network, S2iamMask):
        left, top, right, bottom = (int(value) for value in network.anchors.boxes()[:, shape, row, column].round())
        mask = network.masks(found, network.anchors.boxes()[:, shape, row, column][None].to(view))
    elif network.masks_kind == "none":
        left, top, right, bottom = 8 * column + 28, 8 * row + 28, 8 * column + 35, 8 * row + 35
        mask = view.new_ones(1, 7, 7)
    else:
        left, top = 8 * column - 32, 8 * row - 32
        right, bottom = left + 127, top + 127
        mask = network.masks(found, (row, column))
    placed = functional.interpolate(mask[None].float().sigmoid(), (bottom - top, right - left), mode="bilinear", align_corners=False)[0, 0]
    low_x, low_y, high_x, high_y = max(left, 0), max(top, 0), min(right, size), min(bottom, size)
    over[low_y:high_y, low_x:high_x] = placed[low_y - top : high_y - top, low_x - left : high_x - left]
    red = view.new_tensor([1.0, 0.0, 0.0]).view(3, 1, 1)
    return view * (1 - 0.6 * over) + red * 0.6 * over
