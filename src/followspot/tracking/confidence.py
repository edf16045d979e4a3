"""How sure is the tracker: send the answer back to the annotated frame and see whether it arrives.

For each label channel two questions are asked of the features alone, with no limit on how far things moved:

    recall      the cells that were annotated look for themselves in this frame: do they land on the answer?
    precision   the cells of the answer look for themselves in the annotated frame: do they land on the annotation?

Together with the entropy of that search and the change of area they predict the expected overlap; the weights of that
prediction were fitted on real footage (``speed/calibrate_confidence.py``; docs/confidence.md has the table).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

CELLS = 64
"""Cells asked per channel in each direction; more change the figures by less than 0.01 and cost time."""
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

    def padded(self, count: int) -> "Anchor":
        """The same with zero channels appended up to `count`: objects that were not annotated yet."""
        missing = count - len(self.labels)
        if missing <= 0:
            return self
        return replace(self, labels=torch.nn.functional.pad(self.labels, (0, 0, 0, 0, 0, missing)))


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """What the journey back says, one entry a channel, each in [0, 1] except `growth`."""

    recall: Tensor
    precision: Tensor
    entropy: Tensor
    growth: Tensor
    """Natural logarithm of (weight now / weight in the annotated frame), within -5..5."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Logistic model from an `Agreement` to the expected overlap."""

    bias: float
    recall: float
    precision: float
    entropy: float
    growth: float
    """Weight of \\|growth\\|."""

    def expected_overlap(self, agreement: Agreement) -> Tensor:
        """Expected overlap in [0, 1], one a channel."""
        logit = (
            self.bias
            + self.recall * agreement.recall
            + self.precision * agreement.precision
            + self.entropy * agreement.entropy
            + self.growth * agreement.growth.abs()
        )
        return torch.sigmoid(logit)


REGIONS = Calibration(bias=-3.0, recall=3.0, precision=3.0, entropy=-0.5, growth=-0.5)
POINTS = Calibration(bias=-3.0, recall=3.0, precision=3.0, entropy=-0.5, growth=0.0)
LOST_BELOW = 0.5
"""An object with a smaller expected overlap is reported as lost."""


def agreement(features: Tensor, labels: Tensor, anchor: Anchor, channels: Sequence[int]) -> Agreement:
    """Sends the answer for a frame back to an annotated frame.

    Args:
        features: ``(C, h, w)`` of the frame.
        labels: ``(L, h, w)`` of the frame: the answer.
        anchor: the annotated frame.
        channels: which label channels to ask about; all must exist in the anchor.

    Returns:
        One figure a channel, in the order of `channels`.
    """
    keys_now, keys_then = _unit(features), _unit(anchor.features)
    now = labels[list(channels)].flatten(1)
    then = anchor.labels[list(channels)].to(now.device).flatten(1)
    shape_now = now / now.amax(1, keepdim=True).clamp(min=1e-6)
    shape_then = then / then.amax(1, keepdim=True).clamp(min=1e-6)
    recall, doubt_back = _arrivals(keys_then, keys_now, shape_then, shape_now)
    precision, doubt_forth = _arrivals(keys_now, keys_then, shape_now, shape_then)
    growth = torch.log((now.sum(1) + 1e-3) / (then.sum(1) + 1e-3)).clamp(-5, 5)
    return Agreement(recall=recall, precision=precision, entropy=(doubt_back + doubt_forth) / 2, growth=growth)


def _unit(features: Tensor) -> Tensor:
    return torch.nn.functional.normalize(features.flatten(1), dim=0)


def _arrivals(start_keys: Tensor, end_keys: Tensor, start: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
    """Share of each channel's weight in `start` (N, hw) that finds its way onto the same channel of `end`, and the entropy."""
    count = min(CELLS, start.shape[1])
    weight, cells = start.topk(count, dim=1)
    asked, where = torch.unique(cells, return_inverse=True)
    k = min(TOP_K, end.shape[1])
    scores, found = (start_keys[:, asked].T @ end_keys).topk(k, dim=1)
    affinity = torch.softmax(scores / TEMPERATURE, dim=1)
    doubt = -(affinity * affinity.clamp(min=1e-12).log()).sum(1) / (math.log(k) if k > 1 else 1.0)
    channel = torch.arange(len(start), device=start.device)[:, None, None]
    landed = (end[channel, found[where]] * affinity[where]).sum(2)
    total = weight.sum(1).clamp(min=1e-6)
    return (landed * weight).sum(1) / total, (doubt[where] * weight).sum(1) / total
