"""Anchors of a region proposal network: where they are, which of them are right, and boxes told relative to them.

Boxes are ``xyxy`` edges in pixels of the search crop, counted from the corner of its top-left pixel.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from followspot.errors import SettingError


@dataclass(frozen=True, kw_only=True)
class Anchors:
    """The boxes that a SiamRPN rates at every place of its grid (Li et al. 2018; values of SiamMask's public settings).

    Five shapes of about 64x64 pixels on a grid of 25x25 places, 8 pixels apart, around the centre of a crop of 255x255 pixels.
    """

    ratios: tuple[float, ...] = (0.33, 0.5, 1.0, 2.0, 3.0)
    """Height over width of each shape."""
    scale: int = 8
    """Sides, in strides."""
    stride: int = 8
    """Pixels between places."""
    grid: int = 25
    """Places a side; odd, so that one is the centre."""
    crop: int = 255
    """Side of the search crop in pixels."""

    def __post_init__(self) -> None:
        if self.grid % 2 == 0 or min(self.grid, self.scale, self.stride, self.crop) < 1 or min(self.ratios, default=0) <= 0:
            raise SettingError(f"anchors need an odd grid and positive sizes and ratios, got {self}; the defaults are SiamMask's")

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Width and height of each shape in pixels.

        >>> Anchors().shapes
        ((104, 32), (88, 40), (64, 64), (40, 80), (32, 96))
        """
        # Both sides are cut to whole strides before they are scaled, as in SiamRPN; published weights expect these very sizes.
        widths = [int(math.sqrt(self.stride**2 / ratio)) for ratio in self.ratios]
        return tuple((width * self.scale, int(width * ratio) * self.scale) for width, ratio in zip(widths, self.ratios, strict=True))

    def boxes(self) -> Tensor:
        """All anchors: ``(4, K, grid, grid)`` as x1, y1, x2, y2.

        >>> Anchors().boxes()[:, 2, 12, 12].tolist()
        [95.5, 95.5, 159.5, 159.5]
        """
        centre = (torch.arange(self.grid) - self.grid // 2) * self.stride + self.crop / 2
        sides = torch.tensor(self.shapes, dtype=torch.float32)
        count = len(self.shapes)
        x = centre.view(1, 1, -1).expand(count, self.grid, -1)
        y = centre.view(1, -1, 1).expand(count, -1, self.grid)
        half_width, half_height = (sides[:, side, None, None] / 2 for side in (0, 1))
        return torch.stack([x - half_width, y - half_height, x + half_width, y + half_height])


@dataclass(frozen=True, kw_only=True)
class LabelRule:
    """Which anchors a target trains; values of SiamMask's public settings."""

    positive_above: float = 0.6
    """An anchor whose overlap with the target is above is right."""
    negative_below: float = 0.3
    """One whose overlap is below is wrong; those between train nothing."""
    positives: int = 16
    """At most so many right ones, drawn at random."""
    total: int = 64
    """Wrong ones fill up to so many, drawn at random: 48 beside 16."""
    negatives_without_target: int = 16
    """Wrong ones of a pair whose target is not there."""
    central: int = 7
    """Those are drawn from so many central places a side."""


@dataclass(frozen=True, kw_only=True)
class AnchorLabels:
    """What one search crop asks of its anchors."""

    labels: Tensor
    """``(K, grid, grid)`` int64: 1 right, 0 wrong, -1 not trained."""
    deltas: Tensor
    """``(4, K, grid, grid)``: the target relative to every anchor; zeros without a target."""
    weights: Tensor
    """``(K, grid, grid)``: 1 / number of right anchors at each of them, 0 elsewhere."""

    @property
    def positions(self) -> Tensor:
        """``(grid, grid)`` bool: where any anchor is right; there masks are trained."""
        return (self.labels == 1).any(0)


def label_anchors(
    target: Tensor | None, anchors: Anchors, *, rule: LabelRule | None = None, generator: torch.Generator | None = None
) -> AnchorLabels:
    """Say which anchors are right for a target.

    Args:
        target: ``(4,)`` box in the search crop; None: the crop does not show the template's object.
        anchors: where the anchors are.
        rule: None takes the published one.
        generator: what draws; None takes torch's.

    >>> labels = label_anchors(torch.tensor([95.5, 95.5, 159.5, 159.5]), Anchors()).labels
    >>> int((labels == 1).sum()) <= 16, int((labels >= 0).sum())
    (True, 64)
    """
    rule = LabelRule() if rule is None else rule
    boxes = anchors.boxes()
    labels = torch.full(boxes.shape[1:], -1, dtype=torch.int64)
    if target is None:
        edge = (anchors.grid - min(rule.central, anchors.grid)) // 2
        central = torch.zeros_like(labels, dtype=torch.bool)
        central[:, edge : anchors.grid - edge, edge : anchors.grid - edge] = True
        labels[_draw(central, rule.negatives_without_target, generator)] = 0
        return AnchorLabels(labels=labels, deltas=torch.zeros_like(boxes), weights=torch.zeros(labels.shape))
    overlap = box_overlap(boxes, target.view(4, 1, 1, 1))
    right = _draw(overlap > rule.positive_above, rule.positives, generator)
    count = int(right.sum())
    labels[_draw(overlap < rule.negative_below, rule.total - count, generator)] = 0
    labels[right] = 1
    return AnchorLabels(labels=labels, deltas=encode_boxes(target.view(4, 1, 1, 1), boxes), weights=right / max(count, 1))


def box_overlap(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of boxes ``(4, ...)`` that broadcast; 0 where both are empty.

    >>> box_overlap(torch.tensor([0.0, 0.0, 2.0, 2.0]), torch.tensor([1.0, 0.0, 3.0, 2.0])).item()
    0.3333333432674408
    """
    left, top = torch.maximum(first[0], second[0]), torch.maximum(first[1], second[1])
    right, bottom = torch.minimum(first[2], second[2]), torch.minimum(first[3], second[3])
    both = (right - left).clamp(min=0) * (bottom - top).clamp(min=0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return both / (areas[0] + areas[1] - both).clamp(min=torch.finfo(both.dtype).tiny)


def encode_boxes(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Boxes relative to anchors: shift in anchor sides, logarithm of the ratio of sides (Girshick et al. 2014).

    Args:
        boxes: ``(4, ...)`` xyxy with positive sides.
        anchors: ``(4, ...)`` xyxy that broadcast.

    Returns:
        ``(4, ...)``: dx, dy, dw, dh.
    """
    x, y, width, height = _centred(boxes)
    anchor_x, anchor_y, anchor_width, anchor_height = _centred(anchors)
    shifts = ((x - anchor_x) / anchor_width, (y - anchor_y) / anchor_height)
    return torch.stack([*shifts, (width / anchor_width).log(), (height / anchor_height).log()])


def decode_boxes(deltas: Tensor, anchors: Tensor) -> Tensor:
    """The inverse of :func:`encode_boxes`.

    Args:
        deltas: ``(4, ...)``.
        anchors: ``(4, ...)`` xyxy that broadcast.

    Returns:
        ``(4, ...)`` xyxy.
    """
    anchor_x, anchor_y, anchor_width, anchor_height = _centred(anchors)
    x, y = deltas[0] * anchor_width + anchor_x, deltas[1] * anchor_height + anchor_y
    half_width, half_height = deltas[2].exp() * anchor_width / 2, deltas[3].exp() * anchor_height / 2
    return torch.stack([x - half_width, y - half_height, x + half_width, y + half_height])


def _centred(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x1, y1, x2, y2 = boxes.unbind(0)
    return (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1


def _draw(allowed: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """At most ``count`` of the allowed ones, as a mask."""
    where = allowed.flatten().nonzero().flatten()
    chosen = where[torch.randperm(len(where), generator=generator)[: max(count, 0)]]
    drawn = torch.zeros(allowed.numel(), dtype=torch.bool)
    drawn[chosen] = True
    return drawn.view(allowed.shape)
