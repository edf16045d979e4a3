"""A recipe: everything that decides what a training run computes, as one frozen value that prints as YAML and reads back."""

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module, resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal, cast

import yaml
from torch import nn

from followspot.datasets.augment import CropSettings, StillMotion
from followspot.datasets.clips import ClipPattern
from followspot.datasets.jitter import JitterSettings
from followspot.datasets.replay import ReplaySettings
from followspot.errors import SettingError
from followspot.models.encoder import Encoder
from followspot.models.layers import DMAX, RMAX, BatchRenorm2d
from followspot.models.networks import build_network
from followspot.objectives.base import Objective
from followspot.objectives.mixture import Mixture
from followspot.ops.schedule import Schedule
from followspot.training.config import convert, from_plain, to_plain
from followspot.training.run_settings import RunSettings

# name in a recipe: module under followspot.objectives, settings, objective
_OBJECTIVES = {
    "colorization": ("ColorizationSettings", "Colorization"),
    "correspondence_flow": ("CorrespondenceFlowSettings", "CorrespondenceFlow"),
    "cycle_time": ("CycleTimeSettings", "CycleTime"),
    "dense_contrast": ("DenseContrastSettings", "DenseContrast"),
    "random_walk": ("RandomWalkSettings", "RandomWalk"),
    "single_image_colorization": ("SingleImageColorizationSettings", "SingleImageColorization"),
}
_SHIPPED = resources.files("followspot.training") / "recipes"
_ONLINE = _SHIPPED / "online"


@dataclass(frozen=True, kw_only=True)
class RenormSettings:
    """Batch renormalisation, in networks that have it; see :class:`followspot.models.layers.BatchRenorm2d`."""

    momentum: float = 0.001
    """Share of a new batch in the statistics that tracking uses (the TensorFlow colorization tracker: 1 - BATCH_NORM_DECAY)."""
    renorm_momentum: float = 0.01
    """Share of a new batch in those that training corrects by (the TensorFlow colorization tracker: 1 - BATCH_RENORM_DECAY)."""
    rmax: Schedule = RMAX
    """How much the correction may scale (the same tracker: BATCH_RENORM_RMAX)."""
    dmax: Schedule = DMAX
    """How much it may shift, in standard deviations (the same tracker: BATCH_RENORM_DMAX)."""

    def __post_init__(self) -> None:
        # The layer knows what is possible.
        BatchRenorm2d(1, momentum=self.momentum, renorm_momentum=self.renorm_momentum)

    def apply(self, network: nn.Module, *, name: str) -> None:
        """Set all batch renormalisations of a network.

        Raises:
            SettingError: it has none.
        """
        layers = [layer for layer in network.modules() if isinstance(layer, BatchRenorm2d)]
        if not layers:
            raise SettingError(f"encoder.renorm is for networks with batch renormalisation, which {name!r} has not; remove it")
        for layer in layers:
            layer.momentum, layer.renorm_momentum = self.momentum, self.renorm_momentum
            layer.rmax_schedule, layer.dmax_schedule = self.rmax, self.dmax


@dataclass(frozen=True, kw_only=True)
class EncoderSettings:
    """The network that is trained."""

    name: str = "resnet18"
    """A network of :mod:`followspot.models.networks`."""
    stride: int | None = None
    """Pixels a feature cell; None takes the network's own."""
    dim: int | None = None
    """Channels of the features, for networks that end in a projection (``colorizer-*``); None takes the network's own."""
    init: str | None = None
    """Weights to start from: a file, or ``default`` for those that followspot ships; None starts from random numbers."""
    weights: tuple[float, ...] | None = None
    """Of a ``+`` name: how much each part counts; None keeps what it is."""
    renorm: RenormSettings | None = None
    """Batch renormalisation, for ``colorizer-resnet-v2``; None keeps the published settings."""


@dataclass(frozen=True, kw_only=True)
class Term:
    """One objective of a recipe."""

    name: str
    """File name of the objective."""
    weight: float
    """Factor of its loss."""
    settings: Any
    """Its own settings dataclass."""


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """Which frames are shown, and how."""

    pattern: ClipPattern = field(default_factory=ClipPattern)
    """Which frames of a clip."""
    crop: CropSettings = field(default_factory=CropSettings)
    """Which part of them, at what size."""
    jitter: JitterSettings | None = None
    """Changes of colour; None shows colours as they are."""
    still_share: float = 0.0
    """Share of samples that are one still frame set in motion."""
    still: StillMotion = field(default_factory=StillMotion)
    """How the camera moves over it."""
    where: Literal["disk", "memory", "device"] = "disk"
    """Decode as needed, or keep all frames as bytes in memory or on the training device."""
    resident_frames: int | None = None
    """For ``memory`` and ``device``: hold at most so many neighbouring frames of each clip; None holds all."""
    workers: int = 2
    """Decoding processes, for ``disk``."""


@dataclass(frozen=True, kw_only=True)
class Recipe(RunSettings):
    """A training run of an encoder on clips."""

    encoder: EncoderSettings = EncoderSettings()
    objectives: tuple[Term, ...]
    data: DataSettings = DataSettings()
    replay: ReplaySettings | None = None
    """Prioritised replay: clips that taught much are shown again; None shows each once an epoch."""

    def __post_init__(self) -> None:
        if not self.objectives:
            raise SettingError("a recipe needs at least one objective; name one of " + ", ".join(_OBJECTIVES))
        super().__post_init__()

    @property
    def replays(self) -> bool:
        """Whether clips are kept to be shown again."""
        return self.replay is not None

    def about(self) -> dict[str, Any]:
        """The network and the recipe."""
        return {"encoder": self.encoder.name, "stride": self.encoder.stride, "recipe": self.to_yaml()}

    def to_yaml(self) -> str:
        """The recipe as text that :func:`read_recipe` reads back."""
        plain = {name: to_plain(getattr(self, name)) for name in self.__dataclass_fields__ if name != "objectives"}
        terms = {term.name: {"weight": term.weight, **to_plain(term.settings)} for term in self.objectives}
        ordered = {name: plain.pop(name) for name in ("name", "source", "encoder")} | {"objectives": terms}
        ordered |= {name: plain.pop(name) for name in ("data", "replay")} | plain
        return yaml.safe_dump(ordered, sort_keys=False, width=140, default_flow_style=None)

    def build_encoder(self) -> Encoder:
        """The network, with random weights from torch's random state; `encoder.init` is the caller's."""
        encoder = build_network(self.encoder.name, stride=self.encoder.stride, dim=self.encoder.dim)
        if self.encoder.renorm is not None:
            self.encoder.renorm.apply(cast(nn.Module, encoder), name=self.encoder.name)
        if self.encoder.weights is not None:
            reweigh = getattr(encoder, "reweigh", None)
            if reweigh is None:
                raise SettingError(f"encoder.weights is for names joined by '+', got {self.encoder.name!r}; remove it")
            reweigh(self.encoder.weights)
        cast(nn.Module, encoder).train()
        return encoder

    def build_objective(self, *, dim: int) -> Objective:
        """The objective, or the weighted sum of several, for an encoder of `dim` channels.

        Raises:
            SettingError: the clips have another number of frames than the objective looks at.
        """
        built: list[Objective] = [_load(term.name)[1](term.settings, dim=dim) for term in self.objectives]
        alone = len(built) == 1 and self.objectives[0].weight == 1
        objective = built[0] if alone else Mixture(built, [term.weight for term in self.objectives])
        if objective.num_frames != self.data.pattern.frames:
            wanted = f"the objective looks at {objective.num_frames} frames of a clip"
            raise SettingError(f"data.pattern.frames = {self.data.pattern.frames}, but {wanted}; make them the same")
        return objective


def recipe_names() -> list[str]:
    """The recipes of encoders that come with followspot."""
    return _names(_SHIPPED)


def online_recipe_names() -> list[str]:
    """The recipes of online trackers that come with followspot."""
    return _names(_ONLINE)


def read_recipe(name_or_path: str, *, changes: Iterable[str] = ()) -> Recipe:
    """A shipped recipe by name, or one from a YAML file, with single settings changed.

    Args:
        name_or_path: such as ``default`` or ``mine.yaml``.
        changes: texts like ``optimizer.lr=1e-3``; values are read as YAML.

    Raises:
        SettingError: no such recipe, unreadable YAML, an unknown key (names the nearest) or a wrong value.
    """
    content = read_content(name_or_path, changes=changes)
    if "network" in content:
        raise SettingError(f"{name_or_path} trains an online tracker, not an encoder; name another recipe, or use it with followspot train")
    return parse_recipe(content)


def read_content(name_or_path: str, *, changes: Iterable[str] = ()) -> dict[str, Any]:
    """What a recipe of any kind says, as plain mappings; see :func:`read_recipe`."""
    text = _read_text(name_or_path)
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingError(f"{name_or_path} is not YAML ({' '.join(str(error).split())}); mend it") from error
    if not isinstance(content, dict):
        raise SettingError(f"{name_or_path} is not a recipe: expected settings by name, got {type(content).__name__}")
    for change in changes:
        _set(content, change)
    return content


def parse_recipe(content: Mapping[str, Any]) -> Recipe:
    """A recipe from plain mappings.

    Raises:
        SettingError: see :func:`read_recipe`.
    """
    terms = content.get("objectives")
    if not isinstance(terms, Mapping):
        raise SettingError(f"objectives must be settings by name of an objective ({', '.join(_OBJECTIVES)}), got {terms!r}")
    built = tuple(_term(name, {} if settings is None else settings) for name, settings in terms.items())
    return from_plain(Recipe, {**content, "objectives": built}, where="")


def _read_text(name_or_path: str) -> str:
    for shipped in (_SHIPPED / f"{name_or_path}.yaml", _ONLINE / f"{name_or_path}.yaml"):
        if shipped.is_file():
            return shipped.read_text(encoding="utf-8")
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml") and path.is_file():
        try:
            return path.read_text(encoding="utf-8")
        except (UnicodeDecodeError, OSError) as error:
            raise SettingError(f"{path} cannot be read as a recipe ({error}); give a YAML file in UTF-8") from error
    names = recipe_names() + online_recipe_names()
    near = difflib.get_close_matches(name_or_path, names, n=1, cutoff=0.0)[0]
    raise SettingError(f"there is no recipe {name_or_path!r}; did you mean {near!r}? Shipped: {', '.join(names)}; or give a .yaml file")


def _names(folder: Traversable) -> list[str]:
    return sorted(path.name.removesuffix(".yaml") for path in folder.iterdir() if path.name.endswith(".yaml"))


def _set(content: dict[str, Any], change: str) -> None:
    dotted, equals, text = change.partition("=")
    if not equals or not dotted:
        raise SettingError(f"--set {change!r} is not understood; write a.b=value, such as optimizer.lr=1e-3")
    *way, last = dotted.split(".")
    place: dict[str, Any] = content
    for name in way:
        inner = place.setdefault(name, {})
        if inner is None:
            inner = place[name] = {}
        if not isinstance(inner, dict):
            raise SettingError(f"--set {change!r}: {name!r} holds {inner!r}, which has no settings inside")
        place = inner
    try:
        place[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingError(f"--set {change!r} has no value in YAML ({' '.join(str(error).split())}); quote it") from error


def _term(name: str, settings: object) -> Term:
    if name not in _OBJECTIVES:
        near = difflib.get_close_matches(str(name), _OBJECTIVES, n=1, cutoff=0.0)[0]
        raise SettingError(f"no objective is called {name!r}; did you mean {near!r}? There are {', '.join(_OBJECTIVES)}")
    if not isinstance(settings, Mapping):
        raise SettingError(f"objectives.{name} must be a mapping of settings, got {settings!r}")
    own = {key: value for key, value in settings.items() if key != "weight"}
    weight = convert(float, settings.get("weight", 1.0), where=f"objectives.{name}.weight")
    if not 0 < weight < math.inf:
        raise SettingError(f"objectives.{name}.weight = {weight:g} must be a positive number")
    return Term(name=name, weight=weight, settings=from_plain(_load(name)[0], own, where=f"objectives.{name}"))


def _load(name: str) -> tuple[type[Any], type[Any]]:
    module = import_module(f"followspot.objectives.{name}")
    settings, objective = _OBJECTIVES[name]
    return getattr(module, settings), getattr(module, objective)
