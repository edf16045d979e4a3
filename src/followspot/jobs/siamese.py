"""A siamese tracker that is not built yet: weights and settings, for benchmarks, comparisons and searches."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

from followspot.tracking.base import Tracker
from followspot.tracking.siamese_settings import SIAMESE_PRESETS, SIAMESE_TUNABLE, SiameseSettings, change_siamese, describe_siamese


@dataclass(frozen=True, kw_only=True)
class SiameseSpec:
    """The counterpart of `followspot.jobs.trackers.TrackerSpec`; it can be sent to other processes."""

    name: str
    """For people and for folders: ``"siammask-lite@davis"``."""
    weights: Path
    """A file that `followspot.models.online_networks.load_online_network` reads."""
    preset: SiameseSettings = field(default_factory=lambda: SIAMESE_PRESETS["vot"])
    device: str = "auto"
    confidence: bool = False
    """Its answers always carry the network's score; nothing more is recorded."""

    def build(self) -> Tracker:
        """The tracker.

        Raises:
            EncoderError: the weights are missing, damaged, or of another kind.
            SettingError: a network of boxes only, of which rotated boxes are wanted.
        """
        import torch

        from followspot.models.online_networks import load_online_network
        from followspot.tracking.siamese import SiameseTracker

        network, _ = load_online_network(self.weights)
        device = ("cuda" if torch.cuda.is_available() else "cpu") if self.device == "auto" else self.device
        return SiameseTracker(network.to(device), self.preset)

    def settings(self) -> dict[str, object]:
        """What makes results the same, as JSON has it: weights are named by their content, wherever the file lies.

        Raises:
            EncoderError: the weights are unusable.
        """
        from followspot.models.online_networks import load_online_network
        from followspot.models.weights import weights_id

        network, _ = load_online_network(self.weights)
        return {
            "name": self.name,
            "followspot": version("followspot"),
            "method": "siamese",
            "network": network.name,
            "weights": weights_id(network),
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

    @property
    def slug(self) -> str:
        """The name as that of a folder."""
        return re.sub(r"[^\w.+-]+", "-", self.name).strip("-.") or "tracker"
