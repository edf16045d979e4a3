"""Frames that were encoded before the tracker gets to see them, so that the two overlap."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from followspot.types import Frame


@dataclass(frozen=True, kw_only=True, repr=False)
class EncodedFrame(Frame):
    """A frame with the features that `PropagationTracker.encode` gave for it; that tracker takes them instead of encoding it again."""

    features: Tensor
    """``(C, h, w)``."""


class Look(Protocol):
    """What is done with frames on their way to the tracker, such as decoding and encoding them ahead."""

    def __call__(self, frames: Iterator[Frame], /, *, first: int) -> Iterator[Frame]:
        """The same frames in the same order; `first` is the smallest index of which the tracker needs features."""
        ...


def as_they_come(frames: Iterator[Frame], /, *, first: int) -> Iterator[Frame]:
    """A `Look` that does nothing.

    Args:
        frames: any.
        first: of no matter.
    """
    return frames
