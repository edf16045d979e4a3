"""What callbacks may know of the module that they watch, and how they look at it without leaving a trace."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from followspot.errors import SettingError


class Shown(Protocol):
    """A batch, of whatever."""

    @property
    def whole(self) -> int:
        """Samples of the whole batch, over all processes."""
        ...


class Watched(Protocol):
    """A module in training, as the callbacks see it."""

    encoder: nn.Module
    """What the last step was taken with."""
    objective: nn.Module
    """What it was taken for; its ``pictures(batch, encoder)`` are worth looking at."""
    recipe_text: str
    """The recipe as YAML."""
    steps_done: int
    """Steps so far, those before a resume and those not taken included."""
    step_logs: Mapping[str, float]
    """``loss``, ``lr`` and the objective's scalars, of the last step that was written down."""
    last_batch: Shown | None
    """What the last step was shown."""

    @property
    def trained_encoder(self) -> nn.Module:
        """What is saved and scored: the encoder, or the average of its weights."""
        ...

    @property
    def skipped(self) -> int:
        """Steps not taken, see :class:`followspot.training.optimiser.GuardedStep`."""
        ...

    def replay_priorities(self) -> Tensor | None:
        """Priorities of the clips in replay; None without replay."""
        ...


@dataclass(frozen=True)
class Interval:
    """Every so many steps, and at the end.

    >>> [step for step in range(8) if Interval(every=3, total=7).due(step)]
    [3, 6, 7]
    """

    every: int
    """Steps between, >= 1."""
    total: int
    """Steps of the whole training."""

    def __post_init__(self) -> None:
        if self.every < 1:
            raise SettingError(f"an interval of {self.every} steps is not possible; write 1 or more")

    def due(self, steps_done: int) -> bool:
        """Whether it is time after so many steps."""
        return steps_done > 0 and (steps_done % self.every == 0 or steps_done == self.total)


def watch(module: nn.Module) -> Watched:
    """The module that Lightning hands to a callback, as what it is here."""
    return cast(Watched, module)


@contextmanager
def looking_at(*modules: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; then each part has its own mode again, and random numbers go on as if nothing had been drawn.

    Args:
        modules: what is looked at.
    """
    modes = [(part, part.training) for module in modules for part in module.modules()]
    devices = {value.device.index for module in modules for value in module.parameters() if value.device.type == "cuda"}
    for module in modules:
        module.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=sorted(devices)):
            yield
    finally:
        for part, training in modes:
            part.training = training
