"""How sure is the tracker: send the answer back to the annotated frame and see whether it arrives.

For each label channel two questions are asked of the features alone, with no limit on how far things moved:

    recall      the cells that were annotated look for themselves in this frame: do they land on the answer?
    precision   the cells of the answer look for themselves in the annotated frame: do they land on the annotation?

Both count only what is better than chance: on an answer that covers half the frame, half of all cells land anyway.

Together with the entropy of that search, the change of area, and how much the label map has blurred since (cells disagree about
where the object is) they predict the expected overlap; the weights of that prediction were fitted on real footage
(``speed/calibrate_confidence.py``; docs/confidence.md has the table).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from followspot.ops.boxes import encode_boxes

Boxes = Sequence[tuple[float, float, float, float] | None]

CELLS = 64
"""Cells asked per channel in each direction, spread evenly; they cost about 25 ms a frame at 60 x 107 cells on one core."""
MOST_CHANCE = 0.5
"""Landing on an answer that covers half the frame or more is worth no less than this leaves, or nothing could confirm an object that fills
the frame."""
PLACE = 0.15
"""Of a box's sides: a match counts 1/e where it lies so far from the cell's place in the box. Of 0.1, 0.2 and 0.4 the first two predict the
overlap about alike, the last much worse."""
OUTSIDE = 0.1
"""Cells with at most this share of the peak are outside the object."""
TOP_K = 5
TEMPERATURE = 0.02
"""Of the search there and back; the values of the default preset."""


@dataclass(frozen=True, kw_only=True)
class Anchor:
    """An annotated frame, as confidence needs it."""

    index: int
    features: Tensor
    """``(C, h, w)`` straight from the encoder."""
    labels: Tensor
    """``(L, h, w)``: the annotation; channels in the order of the tracker's books."""
    _elsewhere: dict[tuple[int, ...], Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    @cached_property
    def keys(self) -> Tensor:
        """``(C, h * w)``: unit vectors; every frame is compared with them."""
        return _unit(self.features)

    def elsewhere(self, channels: Sequence[int]) -> Tensor:
        """How alike the cells of some channels and the best cell outside each are; the same for every frame.

        Args:
            channels: positions in `labels`.
        """
        asked = tuple(channels)
        if asked not in self._elsewhere:
            then = self.labels[list(asked)].flatten(1)
            self._elsewhere[asked] = _elsewhere(self.keys, then / _peak(then))
        return self._elsewhere[asked]

    def padded(self, count: int) -> "Anchor":
        """The same with zero channels appended up to `count`: objects that were not annotated yet."""
        missing = count - len(self.labels)
        if missing <= 0:
            return self
        return replace(self, labels=torch.nn.functional.pad(self.labels, (0, 0, 0, 0, 0, missing)))


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """What the journey back says, one entry a channel, each in [0, 1] except the last three."""

    recall: Tensor
    precision: Tensor
    entropy: Tensor
    growth: Tensor
    """Natural logarithm of (weight now / weight in the annotated frame), within -5..5."""
    blur: Tensor
    """Within -1..1: by how much the weight of the cells has sunk, on average over where the weight lies, since the annotated frame."""
    strange: Tensor
    """In 0..2: how much less the best matches resemble than what the annotated cells find outside the object in their own frame, in
    units of what that lacks to 1. 0 where they resemble more: then something of the object was recognised."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Logistic model from an `Agreement` to the expected overlap."""

    bias: float
    recall: float
    precision: float
    entropy: float
    growth: float
    """Weight of the size of growth, whatever its sign."""
    blur: float
    strange: float

    def expected_overlap(self, agreement: Agreement) -> Tensor:
        """Expected overlap in [0, 1], one a channel."""
        logit = (
            self.bias
            + self.recall * agreement.recall
            + self.precision * agreement.precision
            + self.entropy * agreement.entropy
            + self.growth * agreement.growth.abs()
            + self.blur * agreement.blur
            + self.strange * agreement.strange
        )
        return torch.sigmoid(logit)


MASKS = Calibration(bias=-0.97, recall=2.82, precision=0.48, entropy=0.0, growth=-0.24, blur=-2.2, strange=-0.98)
BOXES = Calibration(bias=-0.04, recall=1.89, precision=2.04, entropy=-0.3, growth=-0.11, blur=-0.15, strange=-0.15)
POINTS = Calibration(bias=2.12, recall=2.67, precision=2.19, entropy=-0.44, growth=-0.68, blur=-4.72, strange=0.0)
LOST_BELOW = 0.5
"""An object with a smaller expected overlap is reported as lost."""


def agreement(features: Tensor, labels: Tensor, anchor: Anchor, channels: Sequence[int], *, drawn: Tensor | None = None) -> Agreement:
    """Sends the answer for a frame back to an annotated frame.

    Args:
        features: ``(C, h, w)`` of the frame.
        labels: ``(L, h, w)`` of the frame: the answer.
        anchor: the annotated frame.
        channels: which label channels to ask about; all must exist in the anchor.
        drawn: ``(len(channels), h, w)``: what was read out of these channels, drawn like an annotation, where that is less than the
            label maps say (a point is in one place even if its map is scattered). None: the label maps themselves.

    Returns:
        One figure a channel, in the order of `channels`.
    """
    now, then = labels[list(channels)].flatten(1), anchor.labels[list(channels)].to(labels.device).flatten(1)
    return _journey(_unit(features), anchor, channels, now=now, then=then, drawn=now if drawn is None else drawn.to(now.device).flatten(1))


def box_agreement(
    features: Tensor, labels: Tensor, anchor: Anchor, channels: Sequence[int], *, boxes: Boxes, given: Boxes, image_size: tuple[int, int]
) -> Agreement:
    """The same for boxes: a cell arrives where it lies at the same place in the box, so a box of the wrong size or shape disagrees.

    Args:
        features: ``(C, h, w)`` of the frame.
        labels: ``(L, h, w)`` of the frame.
        anchor: the annotated frame.
        channels: for each box the channel that says how much of a cell it covers.
        boxes: the answer for each box, ``(left, top, right, bottom)`` in pixels; None where there is none.
        given: the boxes that were annotated.
        image_size: ``(H, W)`` in pixels.

    Returns:
        One figure a box.
    """
    now, then = labels[list(channels)].flatten(1), anchor.labels[list(channels)].to(labels.device).flatten(1)
    grid = (features.shape[1], features.shape[2])
    present, before = (np.array([box or (0.0, 0.0, 1.0, 1.0) for box in some], float).reshape(-1, 4) for some in (boxes, given))
    drawn = encode_boxes(present, image_size, grid)
    drawn[[i for i, box in enumerate(boxes) if box is None]] = 0
    places = _places(present, image_size, grid).to(now.device), _places(before, image_size, grid).to(now.device)
    return _journey(_unit(features), anchor, channels, now=now, then=then, drawn=drawn.flatten(1).to(now.device), places=places)


def _places(boxes: NDArray[np.float64], image_size: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """``(N, h * w, 2)``: where in its box each cell's centre lies, 0 at the left or top edge, 1 at the right or bottom edge."""
    x = (np.arange(grid[1]) + 0.5) * image_size[1] / grid[1]
    y = (np.arange(grid[0]) + 0.5) * image_size[0] / grid[0]
    centres = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
    places = (centres - boxes[:, None, :2]) / np.maximum(boxes[:, None, 2:] - boxes[:, None, :2], 1e-6)
    return torch.from_numpy(places.astype(np.float32))


def _journey(
    keys: Tensor,
    anchor: Anchor,
    channels: Sequence[int],
    *,
    now: Tensor,
    then: Tensor,
    drawn: Tensor,
    places: tuple[Tensor, Tensor] | None = None,
) -> Agreement:
    """Keys (C, hw) of the frame, labels (N, hw), the answer drawn anew (N, hw), places (N, hw, 2) now and then."""
    peak = _peak(then)
    # Both in units of the annotation, so that landing on an answer that is spread thin counts little.
    shape_then, shape_now = then / peak, (drawn / peak).clamp(max=1)
    back = _arrivals(anchor.keys, keys, shape_then, shape_now, places[::-1] if places else None)
    forth = _arrivals(keys, anchor.keys, shape_now, shape_then, places)
    elsewhere = anchor.elsewhere(channels).to(now.device)
    alike = (back.alike + forth.alike) / 2
    return Agreement(
        recall=back.share,
        precision=forth.share,
        entropy=(back.doubt + forth.doubt) / 2,
        growth=torch.log((now.sum(1) + 1e-3) / (then.sum(1) + 1e-3)).clamp(-5, 5),
        blur=_mean_weight(then) - _mean_weight(now),
        strange=((elsewhere - alike) / (1 - elsewhere).clamp(min=1e-3)).clamp(0, 2),
    )


def _unit(features: Tensor) -> Tensor:
    return torch.nn.functional.normalize(features.flatten(1), dim=0)


def _peak(labels: Tensor) -> Tensor:
    return labels.amax(1, keepdim=True).clamp(min=1e-6)


def _mean_weight(labels: Tensor) -> Tensor:
    """The weight that a cell has, averaged over where the weight lies; 0 where there is none."""
    return labels.square().sum(1) / labels.sum(1).clamp(min=1e-6)


def _spread(shape: Tensor) -> Tensor:
    """At most `CELLS` cells (N, n) of at least half the peak, evenly over each channel in row order; small objects repeat some."""
    peak = shape.amax(1, keepdim=True)
    rank = ((shape >= peak / 2) & (peak > 0)).cumsum(1)
    count = rank[:, -1:]
    n = min(CELLS, shape.shape[1])
    steps = torch.arange(n, device=shape.device)[None]
    wanted = 1 + steps * (count - 1).clamp(min=0) // max(1, n - 1)
    # Integers are compared, so the same cells are asked on every machine; an empty channel ends on the last cell, which weighs 0.
    return torch.searchsorted(rank, wanted).clamp(max=shape.shape[1] - 1)


class _Arrivals(NamedTuple):
    """One figure a channel."""

    share: Tensor
    doubt: Tensor
    alike: Tensor


def _arrivals(start_keys: Tensor, end_keys: Tensor, start: Tensor, end: Tensor, places: tuple[Tensor, Tensor] | None) -> _Arrivals:
    """Share of each channel's weight in `start` (N, hw) that finds its way onto the same channel of `end`, entropy, similarity.

    The share is less what chance would bring there (as Cohen's kappa, 1960); the similarity is that of the best match.
    """
    cells = _spread(start)
    weight = start.gather(1, cells)
    asked, where = torch.unique(cells, return_inverse=True)
    k = min(TOP_K, end.shape[1])
    scores, found = (start_keys[:, asked].T @ end_keys).topk(k, dim=1)
    affinity = torch.softmax(scores / TEMPERATURE, dim=1)
    doubt = -(affinity * affinity.clamp(min=1e-12).log()).sum(1) / (math.log(k) if k > 1 else 1.0)
    channel = torch.arange(len(start), device=start.device)[:, None, None]
    landed = end[channel, found[where]]
    chance = end.mean(1).clamp(max=MOST_CHANCE)
    if places is not None:
        apart = places[1][channel, found[where]] - places[0][channel[..., 0], cells][:, :, None]
        landed = landed * torch.exp(-(apart / PLACE).square().sum(3))
        chance = torch.zeros_like(chance)
    total = weight.sum(1).clamp(min=1e-6)

    def mean(values: Tensor) -> Tensor:
        return (values * weight).sum(1) / total

    share = (mean((landed * affinity[where]).sum(2)) - chance) / (1 - chance)
    return _Arrivals(share.clamp(min=0), mean(doubt[where]), mean(scores[:, 0][where]))


def _elsewhere(keys: Tensor, shape: Tensor) -> Tensor:
    """How alike the cells of each channel and the best cell outside it are, on average; -1 where nothing is outside."""
    cells = _spread(shape)
    asked, where = torch.unique(cells, return_inverse=True)
    scores = keys[:, asked].T @ keys
    best = [scores[where[i]].masked_fill(shape[i] > OUTSIDE, -1).amax(1).mean() for i in range(len(shape))]
    return torch.stack(best) if best else shape.new_zeros(0)
