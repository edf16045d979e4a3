"""What tracked: for the header of ``tracks.json``, and for finding out whether a stopped run may go on."""

from collections.abc import Mapping

from followspot.models.weights import weights_id
from followspot.tracking.base import Tracker
from followspot.tracking.propagation import PropagationTracker
from followspot.tracking.siamese import SiameseTracker


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


def _network(tracker: SiameseTracker) -> str:
    return str(getattr(tracker.network, "name", type(tracker.network).__name__))
