"""Trackers by name, for benchmarks, comparisons and searches: what to build, where, and what makes its results the same.

::

    default                     the default encoder
    descriptor, followspot      an encoder by name: also random:resnet18, timm:vit_small_patch8_224.dino ...
    run/encoder.safetensors     weights that say which network they are for
    run/                        a training run: its encoder.safetensors
    resnet50:moco.pth           weights that do not say it
    identity, template          baselines; flow:dis, flow:farneback, flow:coarse-to-fine
    flow:mine.raft:flow         a flow of one's own, learnt or not: the function `flow` of the module `mine.raft`
    siammask-lite               an online tracker by name, weights file or training run (see `followspot.jobs.siamese`)
    descriptor@crw              with a preset, by its name or file; siammask-lite@davis likewise
    ours=run/@crw               under a name of one's own
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

from followspot.errors import SettingError
from followspot.io.files import missing_file, nearest
from followspot.jobs.confidences import RecordingTracker
from followspot.jobs.siamese import WEIGHTS_OF_RUN, SiameseSpec, find_siamese, is_online
from followspot.tracking.base import Tracker
from followspot.tracking.preset_file import change_preset, describe_preset
from followspot.tracking.presets import PRESETS, Preset
from followspot.tracking.siamese_settings import SIAMESE_PRESETS, SiameseSettings

if TYPE_CHECKING:
    from followspot.tracking.propagation import PropagationTracker

WEIGHTS = (".safetensors", ".pt", ".pth")
"""How weight files end."""

BASELINES: Mapping[str, tuple[str, str, tuple[str, ...]]] = MappingProxyType(
    {
        "identity": ("identity", "IdentityTracker", ()),
        "template": ("template", "TemplateTracker", ()),
        "flow:dis": ("flow", "FlowTracker", ("dis",)),
        "flow:farneback": ("flow", "FlowTracker", ("farneback",)),
        "flow:coarse-to-fine": ("flow", "FlowTracker", ("coarse-to-fine",)),
    }
)
"""Trackers without an encoder: module in `followspot.tracking`, class, arguments."""

TUNABLE: Mapping[str, str] = MappingProxyType({"top_k": "1:20", "temperature": "0.005:0.5:log", "radius": "4:24", "context_frames": "1:20"})
"""What a search varies in propagation unless told otherwise, over what published methods use (docs/presets.md) and a little more."""

# Prefixes of names that load_encoder itself explains.
_OPEN_NAMES = ("random:", "timm:", "gray:")


@dataclass(frozen=True, kw_only=True)
class TrackerSpec:
    """A tracker that is not built yet; it can be sent to other processes."""

    name: str
    """For people and for folders: ``"descriptor@crw"``."""
    method: str = "propagation"
    """``"propagation"``, one of `BASELINES`, or ``"flow:module:function"``."""
    encoder: str | None = None
    """Name of the encoder; None: what the weights say, or the default."""
    weights: Path | None = None
    stride: int | None = None
    """Pixels a feature cell; None: the encoder's own."""
    preset: Preset = field(default_factory=lambda: PRESETS["default"])
    """Ignored by baselines."""
    device: str = "auto"
    confidence: bool = False
    """Whether it says how sure it is, and a `RecordingTracker` remembers that; results are the same.

    Raises:
        SettingError: a baseline, which makes no such claim.
    """

    def __post_init__(self) -> None:
        if self.confidence and self.method != "propagation":
            raise SettingError(f"{self.method} does not say how sure it is; leave --confidence out")

    def build(self) -> Tracker:
        """The tracker, without confidence unless it is asked for.

        Raises:
            EncoderError: the encoder is unknown or its weights are unusable.
        """
        if self.method != "propagation":
            module, name, arguments = BASELINES.get(self.method, ("flow", "FlowTracker", (self.method.removeprefix("flow:"),)))
            return cast(Tracker, getattr(import_module(f"followspot.tracking.{module}"), name)(*arguments))
        tracker = self.build_propagation(confidence=self.confidence)
        return RecordingTracker(tracker) if self.confidence else tracker

    def build_propagation(self, *, confidence: bool) -> "PropagationTracker":
        """The tracker of method ``"propagation"`` itself, for a video of one's own.

        Args:
            confidence: whether it says how sure it is.

        Raises:
            EncoderError: the encoder is unknown or its weights are unusable.
        """
        from followspot.models.encoder import load_encoder
        from followspot.tracking.propagation import PropagationTracker

        network = load_encoder(self.encoder, stride=self.stride, weights=self.weights)
        return PropagationTracker(network, self.preset, confidence=confidence, device=self.device)

    def settings(self) -> dict[str, object]:
        """What makes results the same, as JSON has it: weights are named by their content, wherever the file lies.

        Raises:
            EncoderError: the encoder is unknown or its weights are unusable.
        """
        own: dict[str, object] = {"name": self.name, "followspot": version("followspot"), "method": self.method}
        if self.method != "propagation":
            return own
        from followspot.models.encoder import load_encoder

        return own | encoder_settings(load_encoder(self.encoder, stride=self.stride, weights=self.weights), self.preset)

    def tunable(self) -> Mapping[str, str]:
        """Settings worth searching and their usual ranges (`followspot.jobs.search_space`); none for baselines."""
        return TUNABLE if self.method == "propagation" else {}

    def with_settings(self, settings: Mapping[str, object]) -> "TrackerSpec":
        """The same tracker with other propagation settings, by the names of `followspot.tracking.preset_file.SETTINGS`.

        Raises:
            SettingError: an unknown name (names the nearest), a value out of range, or a baseline, which has none.
        """
        if self.method != "propagation":
            raise SettingError(f"{self.method} has no settings to search; choose a tracker that propagates")
        return replace(self, preset=change_preset(self.preset, settings))

    def with_confidence(self) -> "TrackerSpec":
        """The same tracker with `confidence`.

        Raises:
            SettingError: a baseline.
        """
        return replace(self, confidence=True)

    @property
    def slug(self) -> str:
        """The name as that of a folder."""
        return re.sub(r"[^\w.+-]+", "-", self.name).strip("-.") or "tracker"


def encoder_settings(encoder: object, preset: Preset) -> dict[str, object]:
    """What makes results of a propagation tracker the same.

    Args:
        encoder: its encoder, built.
        preset: its propagation settings.
    """
    from followspot.models.weights import weights_id

    return {
        "encoder": getattr(encoder, "name", type(encoder).__name__),
        "stride": getattr(encoder, "stride", None),
        "weights": weights_id(encoder),
        "preset": {"name": preset.name, **describe_preset(preset)},
    }


def read_name(text: str) -> tuple[str | None, str, str | None]:
    """Takes ``label=tracker@preset`` apart: label, tracker, preset; what is not said is None.

    >>> read_name("ours=runs/1@crw"), read_name("timm:resnet50")
    (('ours', 'runs/1', 'crw'), (None, 'timm:resnet50', None))
    """
    label, equals, rest = text.partition("=")
    if not equals or "/" in label or Path(text).exists():
        label, rest = "", text
    base, at, preset = rest.rpartition("@")
    if not at or not base or Path(rest).exists():
        base, preset = rest, ""
    return label or None, base, preset or None


def find_tracker(
    text: str,
    *,
    preset: Preset | SiameseSettings | None = None,
    name: str | None = None,
    stride: int | None = None,
    device: str = "auto",
) -> TrackerSpec | SiameseSpec:
    """A tracker by name, without a preset in it (see `read_name`).

    Args:
        text: a name or a path, see the module.
        preset: settings of the kind of tracker it is; None for the usual ones.
        name: what to call it; None takes it from `text` and the preset.
        stride: pixels a feature cell, where the encoder offers a choice.
        device: where it computes.

    Raises:
        SettingError: nothing has that name (names the nearest), or the preset is of another kind of tracker.
        EncoderError: a path leads to no weights, or none come with an online tracker.
    """
    if is_online(text):
        if isinstance(preset, Preset):
            raise SettingError(f"{text} is an online tracker and takes no preset of propagation; choose from: {', '.join(SIAMESE_PRESETS)}")
        return find_siamese(text, preset=preset, name=name, device=device)
    if isinstance(preset, SiameseSettings):
        raise SettingError(f"{text} is no online tracker and takes no preset of one; choose from: {', '.join(PRESETS)}")
    chosen = preset if preset is not None else PRESETS["default"]
    if text in BASELINES or _is_own_flow(text):
        return TrackerSpec(name=name or text, method=text, device=device)
    encoder, weights = _encoder_and_weights(text)
    called = name or with_preset(_short_name(text, weights), chosen)
    return TrackerSpec(name=called, encoder=encoder, weights=weights, stride=stride, preset=chosen, device=device)


def with_preset(name: str, preset: Preset) -> str:
    """A tracker's name with that of its preset, where it is not the usual one.

    >>> with_preset("descriptor", PRESETS["crw"])
    'descriptor@crw'
    """
    own = preset.name.removeprefix("default")
    return f"{name}{own}" if preset.name.startswith("default") else f"{name}@{own}"


def is_weights(path: Path) -> bool:
    """Whether a path is that of a weight file or of a training run's folder, rather than a folder of results."""
    return (path.is_file() and path.suffix in WEIGHTS) or any((path / name).is_file() for name in ("encoder.safetensors", WEIGHTS_OF_RUN))


def _is_own_flow(text: str) -> bool:
    """Whether it is ``flow:module:function``; such a function is imported at once, so that a wrong name is an error before any work.

    Raises:
        SettingError: it cannot be imported.
    """
    method = text.removeprefix("flow:")
    if method == text or ":" not in method:
        return False
    from followspot.tracking.flow import find_flow

    find_flow(method)
    return True


def _encoder_and_weights(text: str) -> tuple[str | None, Path | None]:
    if text == "default":
        return None, None
    path = Path(text)
    if path.is_dir():
        inside = path / "encoder.safetensors"
        if not inside.is_file():
            raise SettingError(
                f"{path} holds no encoder.safetensors, so it is no finished training run (nor {WEIGHTS_OF_RUN}, as that of an online "
                "tracker does); name a weights file"
            )
        return None, inside
    network, colon, file = text.rpartition(":")
    if colon and file.endswith(WEIGHTS):
        return network, _existing(Path(file))
    if text.endswith(WEIGHTS):
        return None, _existing(path)
    if text not in _known() and not text.startswith(_OPEN_NAMES) and "+" not in text:
        near = nearest(text, _known())
        hint = f'did you mean "{near}"?' if near else "choose from: " + ", ".join(_known())
        raise SettingError(f'no tracker is called "{text}"; {hint} (or a path of weights, or timm:NAME)')
    return text, None


def _existing(path: Path) -> Path:
    wrong = missing_file(path)
    if wrong is not None:
        raise SettingError(f"there are no weights: {wrong}")
    return path


def _known() -> tuple[str, ...]:
    from followspot.models.networks import NETWORKS
    from followspot.models.online_networks import ONLINE_NETWORKS

    untrained = tuple(f"random:{name}" for name in NETWORKS if name != "descriptor")
    return ("default", *BASELINES, "followspot", *ONLINE_NETWORKS, *NETWORKS, *untrained)


def _short_name(text: str, weights: Path | None) -> str:
    """Of a weights file only what tells it apart: the folder of a run, or the file's own name."""
    if weights is None:
        return text
    return weights.resolve().parent.name if weights.stem == "encoder" else weights.stem
