"""A siamese tracker that is not built yet: weights and settings, for benchmarks, comparisons and searches; and such trackers by name.

::

    siammask-lite               the weights that come with the package; any of followspot.models.online_networks.ONLINE_NETWORKS
    run/                        a training run: its network.safetensors
    siammask.safetensors        weights whose card names one of these networks, such as followspot convert writes
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from followspot.jobs.confidences import RecordingTracker
from followspot.tracking.base import Tracker
from followspot.tracking.siamese_settings import SIAMESE_PRESETS, SIAMESE_TUNABLE, SiameseSettings, change_siamese, describe_siamese

if TYPE_CHECKING:
    import torch

WEIGHTS_OF_RUN: Final = "network.safetensors"
"""What a training run of an online tracker leaves."""


@dataclass(frozen=True, kw_only=True)
class SiameseSpec:
    """The counterpart of `followspot.jobs.trackers.TrackerSpec`; it can be sent to other processes."""

    name: str
    """For people and for folders: ``"siammask-lite@davis"``."""
    weights: Path
    """A file that `followspot.models.online_networks.load_online_network` reads."""
    preset: SiameseSettings = field(default_factory=lambda: SIAMESE_PRESETS["vot"])
    device: str = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """What the network computes in (`followspot.models.siammask_inference`)."""
    confidence: bool = False
    """Whether the network's score of each answer is remembered as its confidence (`RecordingTracker`); results are the same."""

    def build(self) -> Tracker:
        """The tracker.

        Raises:
            EncoderError: the weights are missing, damaged, or of another kind.
            SettingError: a network of boxes only, of which rotated boxes are wanted.
        """
        from followspot.models.online_networks import load_online_network
        from followspot.tracking.siamese import SiameseTracker

        network, _ = load_online_network(self.weights)
        tracker = SiameseTracker(network.to(self._device()), self.preset, precision=self.precision)
        return RecordingTracker(tracker) if self.confidence else tracker

    def settings(self) -> dict[str, object]:
        """What makes results the same, as JSON has it: weights are named by their content, wherever the file lies.

        Raises:
            EncoderError: the weights are unusable.
        """
        from followspot.models.online_networks import load_online_network
        from followspot.models.siammask_inference import choose_dtype
        from followspot.models.weights import weights_id

        network, _ = load_online_network(self.weights)
        return {
            "name": self.name,
            "followspot": version("followspot"),
            "method": "siamese",
            "network": network.name,
            "weights": weights_id(network),
            # Of this machine where it is "auto": answers differ a little.
            "precision": str(choose_dtype(self.precision, device=self._device())).removeprefix("torch."),
            "preset": {"name": self.preset.name, **describe_siamese(self.preset)},
        }

    def tunable(self) -> Mapping[str, str]:
        """Settings worth searching and their usual ranges (`followspot.jobs.search_space`)."""
        return SIAMESE_TUNABLE

    def with_settings(self, settings: Mapping[str, object]) -> "SiameseSpec":
        """The same tracker with other settings, by the names of `SiameseSettings`.

        Raises:
            SettingError: an unknown name (names the nearest) or a value out of range.
        """
        return replace(self, preset=change_siamese(self.preset, settings))

    def with_confidence(self) -> "SiameseSpec":
        """The same tracker with `confidence`."""
        return replace(self, confidence=True)

    def _device(self) -> "torch.device":
        import torch

        chosen = ("cuda" if torch.cuda.is_available() else "cpu") if self.device == "auto" else self.device
        return torch.device(chosen)

    @property
    def slug(self) -> str:
        """The name as that of a folder."""
        return re.sub(r"[^\w.+-]+", "-", self.name).strip("-.") or "tracker"


def is_online(text: str) -> bool:
    """Whether a name or path is that of an online tracker, whether its weights are there or not.

    Raises:
        EncoderError: a weights file is damaged.

    >>> is_online("siammask-lite"), is_online("descriptor")
    (True, False)
    """
    from followspot.models.online_networks import ONLINE_NETWORKS
    from followspot.models.weights import read_card

    path = Path(text)
    if text in ONLINE_NETWORKS or (path / WEIGHTS_OF_RUN).is_file():
        return True
    return path.is_file() and "network" in read_card(path)


def find_siamese(text: str, *, preset: SiameseSettings | None = None, name: str | None = None, device: str = "auto") -> SiameseSpec:
    """An online tracker by name, without a preset in it.

    Args:
        text: for which `is_online` is true.
        preset: its settings; None for those of `usual_preset`. A network that draws no masks is asked for upright boxes whatever they say.
        name: what to call it; None takes it from `text` and the preset.
        device: where it computes.

    Raises:
        EncoderError: no weights come with that network; says where to get some.
    """
    from followspot.models.online_networks import ONLINE_NETWORKS

    usual = usual_preset(text)
    chosen = SIAMESE_PRESETS[usual] if preset is None else preset
    if network_of(text).endswith("-box"):
        chosen = replace(chosen, output="axis-aligned")
    weights = _weights(text)
    called = text if text in ONLINE_NETWORKS else _short_name(weights)
    return SiameseSpec(
        name=name or (called if chosen.name == usual else f"{called}@{chosen.name}"), weights=weights, preset=chosen, device=device
    )


def usual_preset(text: str, *, benchmark: str = "") -> str:
    """The settings of an online tracker where nobody names any: ``lite`` for our networks on ResNet-18, else what was published.

    Args:
        text: its name, for which `is_online` is true.
        benchmark: the name of one on the command line, if it is for one: DAVIS and YouTube-VOS have published settings of their own.

    Raises:
        EncoderError: no weights come with that network.
    """
    if "-lite" in network_of(text):
        return "lite"
    return "davis" if benchmark.startswith(("davis", "youtube-vos")) else "vot"


def network_of(text: str) -> str:
    """The network of an online tracker by name, run or file.

    Raises:
        EncoderError: no weights come with that network.
    """
    from followspot.models.weights import read_card

    return str(read_card(_weights(text)).get("network"))


def _weights(text: str) -> Path:
    from followspot.models.online_networks import ONLINE_NETWORKS, shipped_weights

    path = Path(text)
    return shipped_weights(text) if text in ONLINE_NETWORKS else path / WEIGHTS_OF_RUN if path.is_dir() else path


def _short_name(weights: Path) -> str:
    """What tells a file apart: the folder of a run, or its own name."""
    return weights.resolve().parent.name if weights.name == WEIGHTS_OF_RUN else weights.stem
