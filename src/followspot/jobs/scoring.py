"""A tracking score of an encoder while it trains."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

from torch import nn

from followspot.benchmarks.base import Benchmark
from followspot.jobs.evaluate import evaluate_tracker
from followspot.models.encoder import Encoder
from followspot.tracking.presets import Preset, Resolution, find_preset
from followspot.tracking.propagation import PropagationTracker


def tracking_score(
    benchmark: Benchmark, *, preset: Preset | None = None, pixels: int = 240, workers: int | None = None
) -> Callable[[nn.Module], float]:
    """A function that runs a benchmark with an encoder and gives its first score: J&F for DAVIS.

    Args:
        benchmark: labelled clips; its first score must be better when larger.
        preset: propagation settings; None takes the default at a smaller size.
        pixels: short side at which frames are seen when no preset is given; 240 is four times faster than 480.
        workers: processes that score.

    Returns:
        A function of an encoder, which stays where it is and is left in eval mode.
    """
    chosen = preset if preset is not None else replace(find_preset("default"), resolution=Resolution(pixels=pixels))

    def score(encoder: nn.Module) -> float:
        encoder.eval()
        device = next(encoder.parameters()).device
        tracker = PropagationTracker(cast(Encoder, encoder), chosen, confidence=False, device=str(device))
        with TemporaryDirectory(prefix="followspot-") as folder:
            report = evaluate_tracker(benchmark, tracker, Path(folder), settings={}, workers=workers).require_report()
        return next(iter(report.scores.values()))

    return score
