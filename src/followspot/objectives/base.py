"""What an objective is: clips and an encoder in, a loss out.

An objective is an :class:`torch.nn.Module`, so that a training-only head or colour centres of it are trained and saved with the encoder.
It sees neither files nor trackers. Everything random in it is drawn through :func:`uniform_rows`, so that a batch split over processes gets
the numbers that the whole batch would get in one.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from followspot.ops.collective import join_rows


@dataclass(frozen=True, kw_only=True)
class ClipBatch:
    """A batch of short clips."""

    frames: Tensor
    """``(B, T, 3, H, W)`` floats, RGB in [0, 1]: what the encoder is shown, colour jitter included."""
    clean: Tensor
    """The same without colour jitter; the same tensor where there is none. Colour targets are taken from it."""
    first: int = 0
    """Row of the whole batch that row 0 is, when the batch is split over processes."""
    total: int | None = None
    """Rows of the whole batch; None: this is all of it."""

    @property
    def whole(self) -> int:
        """Rows of the whole batch over all processes."""
        return len(self.frames) if self.total is None else self.total


@dataclass(frozen=True, kw_only=True)
class ObjectiveOutput:
    """What an objective says about a batch."""

    loss: Tensor
    """Scalar to descend; finite for any finite clips."""
    per_sample: Tensor
    """``(B,)``, detached: each clip's unweighted loss, the priority in replay."""
    logs: Mapping[str, Tensor] = field(default_factory=dict)
    """Detached scalars to write down."""


class Objective(nn.Module, ABC):
    """Turns unlabelled clips into a loss for an encoder.

    Args:
        num_frames: how many frames a clip has.
    """

    def __init__(self, *, num_frames: int) -> None:
        super().__init__()
        self.num_frames = num_frames

    @abstractmethod
    def forward(self, clips: ClipBatch, encoder: nn.Module) -> ObjectiveOutput:
        """The loss of a batch.

        Args:
            clips: ``num_frames`` frames a clip.
            encoder: maps ``(N, 3, H, W)`` RGB in [0, 1] to ``(N, dim, H/stride, W/stride)``; gradients flow into it.
        """

    def advance(self, step: int, total_steps: int) -> None:
        """Told before every step how far training is; for what changes on the way.

        Args:
            step: optimiser steps done, from 0.
            total_steps: how many there will be.
        """

    def pictures(self, clips: ClipBatch, encoder: nn.Module) -> Mapping[str, Tensor]:
        """Pictures worth looking at during training, of the first clip of the batch; called rarely, without gradients.

        Returns:
            Names to ``(3, H, W)`` floats in [0, 1].
        """
        return {}


def encode_clips(clips: Tensor, encoder: nn.Module) -> Tensor:
    """Encode ``(B, T, 3, H, W)`` to ``(B, T, dim, h, w)`` in one batch."""
    features: Tensor = encoder(clips.flatten(0, 1))
    return features.view(*clips.shape[:2], *features.shape[1:])


def uniform_rows(clips: ClipBatch, *shape: int) -> Tensor:
    """Numbers uniform in [0, 1), ``(B, *shape)``: this process's rows of what is drawn for the whole batch.

    Processes that were seeded alike and call this in the same order get together what one process with the whole batch gets.
    """
    drawn = torch.rand(clips.whole, *shape, device=clips.frames.device)
    return drawn[clips.first : clips.first + len(clips.frames)]


def gather_rows(rows: Tensor) -> Tensor:
    """``(B, ...)`` of every process as ``(B * world, ...)``, in the order of ranks; gradients flow back to where each row came from."""
    return join_rows(rows)
