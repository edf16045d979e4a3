"""``followspot trax``."""

from followspot.cli.options import EncoderOptions, PropagationOptions


def trax(
    *,
    tracker: str | None = None,
    encoder: EncoderOptions = EncoderOptions(),
    propagation: PropagationOptions = PropagationOptions(),
) -> None:
    """Let a TraX client such as vot-toolkit drive a tracker (needs the extra "eval").

    The client starts this command and talks with it over standard input and output; there is nothing to see for people.

    Args:
        tracker: default, an encoder by name, a weights file, a training run, an online tracker (siammask-lite), or a baseline: identity,
            template, flow:dis, flow:farneback, flow:coarse-to-fine. NAME@PRESET chooses a preset. Or use the options of the encoder below.
    """
    from followspot.cli.trackers import chosen_tracker
    from followspot.jobs.trax import load_trax, serve

    load_trax()
    spec = chosen_tracker(tracker, encoder, propagation)
    serve(spec.build(), name=spec.slug)
