"""``--tracker`` and ``--trackers``: which kind of tracker a name is of decides which options go with it."""

from dataclasses import replace
from typing import TYPE_CHECKING

from followspot.cli.options import EncoderOptions, PropagationOptions, build_preset, build_tracker, usable_device
from followspot.errors import SettingError

if TYPE_CHECKING:
    from followspot.jobs.tracker_choice import TrackerChoice
    from followspot.tracking.base import Tracker


def chosen_tracker(text: str | None, encoder: EncoderOptions, propagation: PropagationOptions, *, benchmark: str = "") -> "TrackerChoice":
    """The tracker that ``--tracker``, or the options of the encoder, name.

    Args:
        text: what ``--tracker`` says, if anything.
        encoder: how it sees.
        propagation: how labels are carried.
        benchmark: what it is for, if for one; online trackers have other settings for some.

    Raises:
        SettingError: there is none, or options do not go with it.
        EncoderError: there are no weights.
    """
    from followspot.jobs.trackers import TrackerSpec, with_preset

    if text is None:
        preset = build_preset(propagation)
        seen = encoder.encoder or (encoder.weights.stem if encoder.weights is not None else "default")
        return TrackerSpec(
            name=with_preset(seen, preset),
            encoder=encoder.encoder,
            weights=encoder.weights,
            stride=encoder.stride,
            preset=preset,
            device=usable_device(encoder.device),
        )
    if encoder.encoder is not None or encoder.weights is not None:
        raise SettingError(f"--tracker {text} and --encoder or --weights both say what the tracker sees with; give one of them")
    _require_no_propagation(text, encoder, propagation)
    return named_tracker(text, propagation, benchmark=benchmark, stride=encoder.stride, device=encoder.device)


def named_tracker(
    text: str, propagation: PropagationOptions, *, benchmark: str = "", stride: int | None = None, device: str = "auto"
) -> "TrackerChoice":
    """One name as ``--trackers`` has it; the preset in it outranks ``--preset``.

    Args:
        text: ``label=tracker@preset``.
        propagation: for a tracker that propagates; others take no notice of it.
        benchmark: what it is for, if for one; online trackers have other settings for some.
        stride: pixels a feature cell, for encoders.
        device: where it computes.

    Raises:
        SettingError: there is none.
        EncoderError: there are no weights.
    """
    from followspot.jobs.siamese import is_online, usual_preset
    from followspot.jobs.trackers import BASELINES, find_tracker, read_name
    from followspot.tracking.siamese_settings import choose_siamese_preset

    label, base, preset = read_name(text)
    device = usable_device(device)
    if is_online(base):
        return find_tracker(
            base, preset=choose_siamese_preset(preset or usual_preset(base, benchmark=benchmark)), name=label, device=device
        )
    if base in BASELINES and preset is not None:
        raise SettingError(f'"{text}": {base} propagates nothing, so it takes no preset; leave @{preset} out')
    chosen = build_preset(propagation if preset is None else replace(propagation, preset=preset))
    return find_tracker(base, preset=chosen, name=label, stride=stride, device=device)


def build_chosen(text: str | None, encoder: EncoderOptions, propagation: PropagationOptions, *, confidence: bool) -> "Tracker":
    """The tracker itself, for a video of one's own.

    Args:
        text: what ``--tracker`` says, if anything.
        encoder: how it sees.
        propagation: how labels are carried.
        confidence: whether it says how sure it is, where it has a choice.

    Raises:
        SettingError: there is none, options do not go with it, or it always says how sure it is.
        EncoderError: there are no weights.
    """
    from followspot.jobs.siamese import SiameseSpec
    from followspot.jobs.trackers import TrackerSpec

    if text is None:
        return build_tracker(encoder, propagation, confidence=confidence)
    spec = chosen_tracker(text, encoder, propagation)
    if isinstance(spec, SiameseSpec) and not confidence:
        raise SettingError(f"--tracker {text} tells its score with every answer, at no cost; leave --no-confidence out")
    if isinstance(spec, TrackerSpec) and spec.method == "propagation":
        return spec.build_propagation(confidence=confidence)
    return spec.build()


def _require_no_propagation(text: str, encoder: EncoderOptions, propagation: PropagationOptions) -> None:
    """Refuses options that a tracker which does not propagate would take no notice of."""
    from followspot.jobs.siamese import is_online
    from followspot.jobs.trackers import BASELINES, read_name

    if propagation == PropagationOptions() and encoder.stride is None:
        return
    if text in BASELINES:
        raise SettingError(f"--tracker {text} propagates nothing, so it takes no preset and none of its values; leave them out")
    _, base, _ = read_name(text)
    if is_online(base):
        raise SettingError(
            f"--tracker {text} is an online tracker: it propagates nothing and sees crops, so it takes neither --preset nor its values "
            f"(--resolution, --top-k ...) nor --stride; leave them out, and choose settings of its own with --tracker {base}@davis"
        )
