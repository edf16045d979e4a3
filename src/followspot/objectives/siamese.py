"""What a siamese tracker is trained by: which anchors are on the object, where its box is, and its mask.

Wang et al., CVPR 2019; the weights and the ways of averaging are those of SiamMask's public code. Unlike the other objectives these need
labels, of people or made by propagation; they take what the network said and know nothing of it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from followspot.ops.regions import cut_windows, pool_regions

MASK_SIDE: Final = 127
"""Pixels of the search crop that a mask covers, a side."""
_STEP: Final = 8
_PADDING: Final = 32
"""The mask of place (r, c) covers the pixels from (8r - 32, 8c - 32) on, as the network's places lie."""
_REGION: Final = 28

Count = Callable[[Tensor], Tensor]
"""What a count of this process is on average over all of them, so that the mean of their losses is that of the joined batch."""


@dataclass(frozen=True, kw_only=True)
class SiameseWeights:
    """How much each part counts (public settings of ``siammask_base``; ``siammask_sharp`` has 0, 0 and 36, the paper 32 for masks)."""

    score: float = 1.0
    box: float = 1.2
    mask: float = 36.0


@dataclass(frozen=True, kw_only=True)
class AnchorTargets:
    """:class:`followspot.ops.anchors.AnchorLabels` of a batch, stacked."""

    labels: Tensor
    """``(B, K, g, g)``: 1 right, 0 wrong, -1 not trained."""
    deltas: Tensor
    """``(B, 4, K, g, g)``."""
    weights: Tensor
    """``(B, K, g, g)``."""


@dataclass(frozen=True, kw_only=True)
class SiameseOutput:
    """What the losses say about a batch."""

    loss: Tensor
    """Scalar to descend; finite for finite input, also where nothing is right anywhere."""
    logs: Mapping[str, Tensor]
    """Detached scalars: ``score``, ``box`` and ``mask`` unweighted; where masks were drawn what :func:`mask_scores` says."""


def siamese_loss(
    scores: Tensor,
    deltas: Tensor,
    targets: AnchorTargets,
    *,
    masks: Tensor,
    mask_targets: Tensor,
    weights: SiameseWeights | None = None,
    count: Count | None = None,
) -> SiameseOutput:
    """The loss of a batch of pairs.

    Args:
        scores: ``(B, 2, K, g, g)`` logits.
        deltas: ``(B, 4, K, g, g)``.
        targets: what is right.
        masks: ``(N, s, s)`` logits at the places of :func:`mask_positions`; N may be 0, and is 0 for boxes only.
        mask_targets: ``(N, t, t)`` in {0, 1}, of :func:`mask_windows` or :func:`region_targets`.
        weights: None takes the published ones.
        count: None: this process has the whole batch.
    """
    weights = SiameseWeights() if weights is None else weights
    parts = {"score": score_loss(scores, targets.labels, count=count), "box": box_loss(deltas, targets.deltas, weights=targets.weights)}
    parts["mask"] = mask_loss(masks, mask_targets, count=count)
    loss = weights.score * parts["score"] + weights.box * parts["box"] + weights.mask * parts["mask"]
    logs = {name: part.detach() for name, part in parts.items()} | mask_scores(masks, mask_targets)
    return SiameseOutput(loss=loss, logs=logs)


def score_loss(scores: Tensor, labels: Tensor, *, count: Count | None = None) -> Tensor:
    """Half the mean cross-entropy of right anchors, half that of wrong ones, over the whole batch.

    Args:
        scores: ``(B, 2, K, g, g)`` logits: not the object, the object.
        labels: ``(B, K, g, g)``.
        count: None: this process has the whole batch.

    >>> score_loss(torch.zeros(1, 2, 1, 1, 2), torch.tensor([[[[1, 0]]]])).item()
    0.6931471824645996
    """
    likelihood = scores.float().log_softmax(1)
    return sum((_mean_where(-likelihood[:, kind], labels == kind, count) / 2 for kind in (0, 1)), start=likelihood.new_zeros(()))


def box_loss(deltas: Tensor, targets: Tensor, *, weights: Tensor) -> Tensor:
    """Distance of the deltas of right anchors (L1, summed over the four), averaged within each pair and then over the batch.

    Args:
        deltas: ``(B, 4, K, g, g)``.
        targets: ``(B, 4, K, g, g)``.
        weights: ``(B, K, g, g)``, 1 / number of right anchors at each of them.
    """
    return ((deltas.float() - targets).abs().sum(1) * weights).sum() / max(len(deltas), 1)


def mask_loss(masks: Tensor, targets: Tensor, *, count: Count | None = None) -> Tensor:
    """Soft margin, ``log(1 + exp(-y x))`` with y in {-1, 1}, averaged over all pixels of all masks; 0 without any.

    Args:
        masks: ``(N, s, s)`` logits; enlarged bilinearly, corners on corners, where the targets are larger.
        targets: ``(N, t, t)`` in {0, 1}.
        count: None: this process has the whole batch.
    """
    own = masks.new_tensor(float(len(masks)), dtype=torch.float32)
    each = own if count is None else count(own)  # also without a mask here, since the other processes wait for our count
    if len(masks) == 0:
        return masks.float().sum()
    signs = targets.float() * 2 - 1
    return functional.softplus(-signs * _enlarged(masks, targets)).mean() * (own / each)


def mask_scores(masks: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Mean IoU, and the shares of masks whose IoU is above 0.5 and 0.7; nothing without masks.

    Args:
        masks: ``(N, s, s)`` logits; what is above 0 is the object.
        targets: ``(N, t, t)`` in {0, 1}; where both are empty they agree.
    """
    if len(masks) == 0:
        return {}
    drawn, true = _enlarged(masks.detach(), targets) > 0, targets > 0.5
    union = (drawn | true).sum((1, 2))
    overlap = torch.where(union > 0, (drawn & true).sum((1, 2)) / union.clamp(min=1), 1.0)
    return {"mask_iou": overlap.mean()} | {f"mask_iou_{bar}": (overlap > bar / 100).float().mean() for bar in (50, 70)}


def mask_positions(labels: Tensor, has_mask: Tensor) -> Tensor:
    """Where masks are trained: places with a right anchor, in pairs that have a mask.

    Args:
        labels: ``(B, K, g, g)``.
        has_mask: ``(B,)`` bool.

    Returns:
        ``(N, 3)`` int64: sample, row and column.
    """
    return ((labels == 1).any(1) & has_mask.view(-1, 1, 1)).nonzero()


def mask_windows(masks: Tensor, positions: Tensor) -> Tensor:
    """What the masks of places should show.

    Args:
        masks: ``(B, 255, 255)`` in {0, 1}: of the search crops.
        positions: ``(N, 3)`` int: sample, row and column.

    Returns:
        ``(N, 127, 127)``; zeros beyond the crop.
    """
    return cut_windows(masks[:, None], positions, size=MASK_SIDE, step=_STEP, padding=_PADDING)[:, 0]


def region_targets(masks: Tensor, boxes: Tensor, samples: Tensor) -> Tensor:
    """What the masks of boxes should show (S2iamMask's second stage).

    Args:
        masks: ``(B, H, W)`` in {0, 1}: of the search crops.
        boxes: ``(N, 4)`` xyxy edges in pixels of the crop.
        samples: ``(N,)`` int.

    Returns:
        ``(N, 28, 28)`` in {0, 1}.
    """
    pooled = pool_regions(masks[:, None].float(), boxes.float(), samples, size=_REGION, stride=1, first=0.5)
    return (pooled[:, 0] >= 0.5).float()


def _mean_where(values: Tensor, where: Tensor, count: Count | None) -> Tensor:
    """0 where there is none."""
    own = where.sum().float()
    # Of a single one in many processes each has a part.
    return (values * where).sum() / (own if count is None else count(own)).clamp(min=1e-6)


def _enlarged(masks: Tensor, targets: Tensor) -> Tensor:
    if masks.shape[1:] == targets.shape[1:]:
        return masks.float()
    side = (targets.shape[1], targets.shape[2])
    return functional.interpolate(masks[:, None].float(), size=side, mode="bilinear", align_corners=True)[:, 0]
