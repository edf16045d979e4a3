"""Point at something in one frame of a video and follow it through the whole video.

>>> import followspot as fs
>>> tracker = fs.PropagationTracker()                                                          # doctest: +SKIP
>>> with fs.open_video("tennis.mp4") as video:                                                 # doctest: +SKIP
...     for frame, answer in fs.follow(tracker, video, {0: [fs.read_mask("first.png")]}):
...         print(answer.objects[0].box, answer.objects[0].confidence)

Names are imported when they are first used, so that ``import followspot`` does not import torch.
"""

from importlib import import_module
from importlib.metadata import version as _version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from followspot.benchmarks.report import Report
    from followspot.datasets.davis import DavisDataset
    from followspot.datasets.synthetic import SyntheticVideo
    from followspot.errors import FollowspotError
    from followspot.io.annotations import read_annotation, read_keypoints, read_label_maps, read_mask, write_mask
    from followspot.io.video import VideoSource, VideoWriter, open_video
    from followspot.jobs.track import TrackResult, track_video
    from followspot.models.encoder import Encoder, load_encoder
    from followspot.tracking.base import Tracker
    from followspot.tracking.both_ways import follow
    from followspot.tracking.presets import PRESETS, Preset, Resolution
    from followspot.tracking.propagation import PropagationTracker
    from followspot.tracking.suggestion import suggest
    from followspot.types import (
        Boxes,
        Frame,
        Keypoints,
        LabelMaps,
        Masks,
        Points,
        Suggestion,
        Track,
        TrackedFrame,
        TrackedObject,
        TrackedPoint,
    )
    from followspot.viz.overlay import contact_sheet, draw

_HOMES = {
    "benchmarks.report": ("Report",),
    "datasets.davis": ("DavisDataset",),
    "datasets.synthetic": ("SyntheticVideo",),
    "errors": ("FollowspotError",),
    "io.annotations": ("read_annotation", "read_keypoints", "read_label_maps", "read_mask", "write_mask"),
    "io.video": ("VideoSource", "VideoWriter", "open_video"),
    "jobs.track": ("TrackResult", "track_video"),
    "models.encoder": ("Encoder", "load_encoder"),
    "tracking.base": ("Tracker",),
    "tracking.both_ways": ("follow",),
    "tracking.presets": ("PRESETS", "Preset", "Resolution"),
    "tracking.propagation": ("PropagationTracker",),
    "tracking.suggestion": ("suggest",),
    "types": (
        "Boxes",
        "Frame",
        "Keypoints",
        "LabelMaps",
        "Masks",
        "Points",
        "Suggestion",
        "Track",
        "TrackedFrame",
        "TrackedObject",
        "TrackedPoint",
    ),
    "viz.overlay": ("contact_sheet", "draw"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "PRESETS",
    "Boxes",
    "DavisDataset",
    "Encoder",
    "FollowspotError",
    "Frame",
    "Keypoints",
    "LabelMaps",
    "Masks",
    "Points",
    "Preset",
    "PropagationTracker",
    "Report",
    "Resolution",
    "Suggestion",
    "SyntheticVideo",
    "Track",
    "TrackResult",
    "TrackedFrame",
    "TrackedObject",
    "TrackedPoint",
    "Tracker",
    "VideoSource",
    "VideoWriter",
    "contact_sheet",
    "draw",
    "follow",
    "load_encoder",
    "open_video",
    "read_annotation",
    "read_keypoints",
    "read_label_maps",
    "read_mask",
    "suggest",
    "track_video",
    "write_mask",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        return _version("followspot")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'followspot' has no attribute {name!r}")
    return getattr(import_module(f"followspot.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
