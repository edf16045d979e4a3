"""A recipe of an online tracker: network, pairs, losses and stages, as one frozen value that prints as YAML and reads back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from followspot.datasets.pairs import PairSettings
from followspot.errors import SettingError
from followspot.models.online_networks import ONLINE_NETWORKS
from followspot.objectives.siamese_pairs import PairLossSettings
from followspot.ops.anchors import LabelRule
from followspot.training.config import from_plain, to_plain
from followspot.training.run_settings import RunSettings


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """The network that is trained, and what it begins with."""

    name: str = "siammask-lite"
    """A network of :mod:`followspot.models.online_networks`."""
    backbone: str | None = None
    """An encoder whose ResNet the backbone begins with: a name such as ``followspot``, or a weight file; None: random numbers."""
    init: str | None = None
    """Weights of an earlier stage to begin with: a file, or the folder of its run."""
    after: str | None = None
    """The recipe of the earlier stage; where ``init`` is none it is trained first, into the folder ``first`` of the run."""

    def __post_init__(self) -> None:
        if self.name not in ONLINE_NETWORKS:
            raise SettingError(f"name = {self.name!r} is no online network; there are {', '.join(ONLINE_NETWORKS)}")
        if self.backbone is not None and (self.init is not None or self.after is not None):
            raise SettingError("backbone and an earlier stage (init, after) both say what the backbone begins with; give one of them")

    @property
    def first_stage(self) -> str | None:
        """The recipe of the stage that is trained first; None where there is none, or its weights are given."""
        return self.after if self.init is None else None


@dataclass(frozen=True, kw_only=True)
class OnlineRecipe(RunSettings):
    """A training run of an online tracker on pairs."""

    network: NetworkSettings = NetworkSettings()
    data: PairSettings = field(default_factory=PairSettings)
    anchors: LabelRule = field(default_factory=LabelRule)
    """Which anchors are trained."""
    loss: PairLossSettings = field(default_factory=PairLossSettings)
    workers: int = 1
    """Threads that make batches ahead of time."""
    judged: int = 128
    """Pairs of the videos that are held out on which training is judged."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.workers < 1 or self.judged < 1:
            raise SettingError(f"workers = {self.workers} and judged = {self.judged} must be 1 or more")

    def about(self) -> dict[str, Any]:
        """The network and the recipe."""
        return {"network": self.network.name, "recipe": self.to_yaml()}

    def to_yaml(self) -> str:
        """The recipe as text that :func:`parse_online_recipe` reads back."""
        plain = {name: to_plain(getattr(self, name)) for name in self.__dataclass_fields__}
        first = {name: plain.pop(name) for name in ("name", "source", "network", "data", "anchors", "loss")}
        return yaml.safe_dump(first | plain, sort_keys=False, width=140, default_flow_style=None)


def is_online(content: Mapping[str, Any]) -> bool:
    """Whether a recipe, as it was read, is one of an online tracker."""
    return "network" in content


def parse_online_recipe(content: Mapping[str, Any]) -> OnlineRecipe:
    """A recipe from plain mappings.

    Raises:
        SettingError: an unknown key (names the nearest), a missing one, or a wrong value.
    """
    return from_plain(OnlineRecipe, content, where="")
