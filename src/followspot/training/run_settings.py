"""What every training run has, whatever it trains: how long, how large, how fast, and what is written down."""

from dataclasses import dataclass, field
from typing import Any, Literal

from followspot.errors import SettingError
from followspot.training.optimiser import OptimizerSettings


@dataclass(frozen=True, kw_only=True)
class LogSettings:
    """What is written down, and how often, in steps."""

    every: int = 10
    """A row of metrics."""
    pictures_every: int = 500
    """Pictures and histograms for TensorBoard."""
    checkpoint_every: int = 500
    """A checkpoint that training can resume from."""
    keep: int = 2
    """Checkpoints kept."""
    score_every: int = 2_000
    """A tracking score on the labelled clips that the command names; for online trackers losses and overlap on what is held out."""


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """A training run."""

    name: str
    source: str = ""
    """Where the values come from."""
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    steps: int
    batch_size: int
    """Samples a step, over all processes."""
    precision: Literal["float32", "bfloat16"] = "float32"
    average: float | None = None
    """Decay of the running average of weights that is saved beside the last ones; None: none."""
    seed: int = 0
    log: LogSettings = LogSettings()

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 1:
            raise SettingError(f"steps = {self.steps} and batch_size = {self.batch_size} must be 1 or more")
        if self.seed < 0:
            raise SettingError(f"seed = {self.seed} must be 0 or more")
        if self.average is not None and not 0 < self.average < 1:
            raise SettingError(f"average = {self.average} must lie between 0 and 1, such as 0.999; or none")

    @property
    def replays(self) -> bool:
        """Whether samples are kept to be shown again."""
        return False

    def about(self) -> dict[str, Any]:
        """What a weight file says at least: the network and the recipe."""
        raise NotImplementedError

    def to_yaml(self) -> str:
        """The recipe as text that reads back."""
        raise NotImplementedError
