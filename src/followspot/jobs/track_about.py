"""What tracked: for the header of ``tracks.json``, and for finding out whether a stopped run may go on."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version

import numpy as np

from followspot.io.video import VideoSource
from followspot.models.weights import weights_id
from followspot.tracking.base import Tracker
from followspot.tracking.propagation import PropagationTracker
from followspot.tracking.siamese import SiameseTracker
from followspot.types import Annotation


def about(tracker: Tracker) -> Mapping[str, str | None]:
    """For people: the encoder, the network of an online tracker, or the kind of tracker; and the preset.

    Args:
        tracker: any.
    """
    if isinstance(tracker, PropagationTracker):
        return {"encoder": tracker.encoder.name, "preset": tracker.preset.name}
    if isinstance(tracker, SiameseTracker):
        return {"network": _network(tracker), "preset": tracker.settings.name}
    return {"tracker": type(tracker).__name__, "preset": None}


def identity(tracker: Tracker) -> tuple[object, ...]:
    """Everything that its answers depend on, in a form whose ``repr`` is the same for the same answers.

    Args:
        tracker: any.
    """
    if isinstance(tracker, PropagationTracker):
        encoder = tracker.encoder
        return encoder.name, weights_id(encoder), tracker.preset, tracker.confidence, tracker.device.type
    if isinstance(tracker, SiameseTracker):
        return _network(tracker), weights_id(tracker.network), tracker.settings, tracker.device.type
    return type(tracker).__name__, getattr(tracker, "method", None)


def run_id(video: VideoSource, annotations: Mapping[int, Sequence[Annotation]], tracker: Tracker, *, both_ways: bool) -> str:
    """One id for source, annotations and settings; a live source is never the same twice.

    Args:
        video: the source.
        annotations: by frame index.
        tracker: any.
        both_ways: whether annotations are carried backward too.

    Returns:
        64 hex digits.
    """
    digest = hashlib.sha256()
    digest.update((video.fingerprint() if video.rewindable else f"live {time.time_ns()}").encode())
    settings = (version("followspot"), *identity(tracker), both_ways)
    digest.update(repr(settings).encode())
    for index in sorted(annotations):
        for annotation in annotations[index]:
            digest.update(f"{index} {type(annotation).__name__}".encode())
            for name, value in vars(annotation).items():
                digest.update(name.encode())
                digest.update(value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode())
    return digest.hexdigest()


def _network(tracker: SiameseTracker) -> str:
    return str(getattr(tracker.network, "name", type(tracker.network).__name__))
