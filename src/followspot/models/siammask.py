"""SiamMask: an object shown once, found in every later crop with a score, a box and a mask.

Wang et al., "Fast online object tracking and segmentation: a unifying approach", CVPR 2019. Everything of the template is computed
once; the mask branch runs when masks are asked for, at the places that are asked for. Crops are RGB in 0..1; what the published weights
expect (BGR in 0..255) is folded into the first convolution when they are converted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor, nn

from followspot.errors import SettingError
from followspot.models.siammask_backbone import STRIDE, Features, SiamMaskBackbone
from followspot.models.siammask_heads import CorrelationHead
from followspot.models.siammask_refine import Refinement
from followspot.ops.anchors import Anchors
from followspot.ops.regions import cut_windows

MaskKind = Literal["refined", "base", "none"]
"""Masks of 127x127 by refinement; of 63x63 read from one vector; or boxes only."""

_BASE_SIDE: Final = 63
_TEMPLATE_CELLS: Final = 7
# A place sees 7x7 cells, 5x5 after the branch's convolution. The whole map has 29x29, so up to this many places in each crop cost less than
# half of it.
_FEW: Final = 16
# Channels of the maps by depth: 256 as published; the twin for CPUs has half, as its backbone has a quarter.
_WIDTHS: Final = {50: 256, 18: 128}


@dataclass(frozen=True, kw_only=True)
class TemplateFeatures:
    """What is looked for: computed once for an object."""

    kernels: Mapping[str, Tensor]
    """``(B, width, 5, 5)`` for each head: ``"score"``, ``"box"`` and, where there is one, ``"mask"``."""


@dataclass(frozen=True, kw_only=True)
class Proposals:
    """What was found in search crops: K anchors at each place of a 25x25 grid."""

    scores: Tensor
    """``(B, 2, K, 25, 25)`` logits: not the object, the object."""
    deltas: Tensor
    """``(B, 4, K, 25, 25)``: boxes relative to the anchors, for :func:`followspot.ops.anchors.decode_boxes` (there, 4 comes first)."""
    template: TemplateFeatures
    """What was looked for, for the masks."""
    features: Features
    """Of the search crops, for the masks."""

    @property
    def probabilities(self) -> Tensor:
        """``(B, K, 25, 25)`` in 0..1: that an anchor is on the object."""
        return self.scores.float().softmax(1)[:, 1]


class SiamMask(nn.Module):
    """The network.

    Args:
        depth: 50 as published; 18 is the ``-lite`` twin for CPUs, with 128 instead of 256 channels.
        masks: ``"refined"`` (published as "sharp"; it keeps the base mask readout, unused, so that weights of both fit), ``"base"`` or
            ``"none"`` (SiamRPN++ by depthwise correlation, boxes only).
        anchors: None takes the published ones.

    Raises:
        SettingError: another depth or kind of masks.
    """

    exemplar_size: Final = 127
    """Side of template crops, pixels."""
    instance_size: Final = 255
    """Side of search crops, pixels."""
    stride: Final = STRIDE
    """Pixels between places."""

    def __init__(self, depth: int = 50, *, masks: MaskKind = "refined", anchors: Anchors | None = None) -> None:
        super().__init__()
        if depth not in _WIDTHS or masks not in ("refined", "base", "none"):
            got = f"depth {depth}, masks {masks!r}"
            raise SettingError(f"SiamMask has depth 50 or 18 and masks 'refined', 'base' or 'none', got {got}; choose among these")
        self.name = siammask_name(depth, masks=masks)
        self.masks_kind: MaskKind = masks
        self.anchors = Anchors() if anchors is None else anchors
        self.width = _WIDTHS[depth]
        count = len(self.anchors.ratios)
        self.backbone = SiamMaskBackbone(depth, width=self.width)
        self.heads = nn.ModuleDict({"score": CorrelationHead(self.width, 2 * count), "box": CorrelationHead(self.width, 4 * count)})
        if masks != "none":
            self.heads["mask"] = CorrelationHead(self.width, _BASE_SIDE**2)
        self.refinement = Refinement(self.width, self.backbone.side_widths) if masks == "refined" else None

    @property
    def mask_side(self) -> int:
        """Pixels a side of the masks of :meth:`masks`; each covers 127x127 pixels of the crop. 0 for boxes only."""
        return {"refined": 127, "base": _BASE_SIDE, "none": 0}[self.masks_kind]

    def template(self, crop: Tensor) -> TemplateFeatures:
        """Look at an object once.

        Args:
            crop: ``(B, 3, 127, 127)``, RGB in 0..1, the object in the middle.

        Raises:
            SettingError: another shape.
        """
        _check_crop(crop, side=self.exemplar_size)
        whole = self.backbone(crop).map
        edge = (whole.shape[-1] - _TEMPLATE_CELLS) // 2
        centre = whole[..., edge : edge + _TEMPLATE_CELLS, edge : edge + _TEMPLATE_CELLS]
        return TemplateFeatures(kernels={name: self.head(name).kernel(centre) for name in self.heads})

    def search(self, template: TemplateFeatures, crop: Tensor) -> Proposals:
        """Look for it.

        Args:
            template: of B objects, or of one that is looked for in all crops.
            crop: ``(B, 3, 255, 255)``, RGB in 0..1.

        Raises:
            SettingError: another shape.
        """
        _check_crop(crop, side=self.instance_size)
        features: Features = self.backbone(crop)
        scores, deltas = (self.head(name)(template.kernels[name], features.map) for name in ("score", "box"))
        # Channels are sorted by what they say first and by anchor second, as in the published weights.
        return Proposals(scores=scores.unflatten(1, (2, -1)), deltas=deltas.unflatten(1, (4, -1)), template=template, features=features)

    def masks(self, proposals: Proposals, positions: Tensor | Sequence[tuple[int, int]] | tuple[int, int]) -> Tensor:
        """Draw the object as it is seen from some places of the grid.

        Args:
            proposals: of :meth:`search`.
            positions: one place (row, column) or several, all in the first crop; or ``(N, 3)`` ints: sample, row and column.

        Returns:
            ``(N, side, side)`` logits, side = :attr:`mask_side`. The mask of place (r, c) covers the 127x127 pixels of the crop that begin
            at pixel (8r - 32, 8c - 32).

        Raises:
            SettingError: a network without masks, or a place that is not on the grid.
        """
        if self.masks_kind == "none":
            raise SettingError(f"{self.name} has boxes only and draws no masks; use a network with masks")
        places = _places(positions, like=proposals.scores)
        if self.refinement is not None:
            refined: Tensor = self.refinement(self._correlation_at(places, proposals), proposals.features.sides, places)
            return refined
        readout = self.head("mask").readout
        if self.training:
            # The statistics of batch norm are those of the whole grid, as published, however few places are asked for.
            sample, row, column = places.unbind(1)
            drawn: Tensor = readout(self._correlation(proposals))[sample, :, row, column]
        else:
            drawn = readout(self._correlation_at(places, proposals)[:, :, None, None])[:, :, 0, 0]
        return drawn.view(-1, _BASE_SIDE, _BASE_SIDE)

    def _correlation(self, proposals: Proposals) -> Tensor:
        """What the mask branch sees: ``(B, width, 25, 25)``."""
        return self.head("mask").correlate(proposals.template.kernels["mask"], proposals.features.map)

    def _correlation_at(self, places: Tensor, proposals: Proposals) -> Tensor:
        """The same at some places ``(N, 3)`` only: ``(N, width)``."""
        sample, row, column = places.unbind(1)
        kernel, search = proposals.template.kernels["mask"], proposals.features.map
        if self.training or len(places) > _FEW * len(search):  # the whole grid; its statistics are what trains
            return self._correlation(proposals)[sample, :, row, column]
        seen = cut_windows(search, places, size=_TEMPLATE_CELLS, step=1, padding=0)
        return self.head("mask").correlate(kernel if len(kernel) == 1 else kernel[sample], seen)[:, :, 0, 0]

    def head(self, name: str) -> CorrelationHead:
        """One branch: ``"score"``, ``"box"`` or ``"mask"``."""
        head = self.heads[name]
        assert isinstance(head, CorrelationHead)
        return head


def siammask_name(depth: int, *, masks: MaskKind) -> str:
    """What a network is called.

    >>> siammask_name(18, masks="none")
    'siammask-lite-box'
    """
    return "siammask" + ("-lite" if depth == 18 else "") + {"refined": "", "base": "-base", "none": "-box"}[masks]


def _check_crop(crop: Tensor, *, side: int) -> None:
    if crop.ndim != 4 or tuple(crop.shape[1:]) != (3, side, side) or not crop.is_floating_point():
        raise SettingError(f"this crop must be floats (B, 3, {side}, {side}), got {crop.dtype} {tuple(crop.shape)}; cut it to that size")


def _places(positions: Tensor | Sequence[tuple[int, int]] | tuple[int, int], *, like: Tensor) -> Tensor:
    """``(N, 3)`` ints of whatever was passed, checked."""
    places = torch.as_tensor(positions, device=like.device)
    if places.ndim == 1 and len(places) == 2:
        places = places[None]
    if places.ndim == 2 and places.shape[1] == 2:
        places = torch.cat([torch.zeros_like(places[:, :1]), places], 1)
    if places.ndim != 2 or places.shape[1] != 3 or places.is_floating_point():
        raise SettingError(
            f"positions are (row, column) or (N, 3) ints of sample, row, column, got {tuple(places.shape)}; pass one of these"
        )
    limits = torch.tensor([len(like), *like.shape[-2:]], device=like.device)
    if ((places < 0) | (places >= limits)).any():
        raise SettingError(f"positions {places.tolist()} lie outside {len(like)} grids of {like.shape[-2]}x{like.shape[-1]}; count from 0")
    return places
