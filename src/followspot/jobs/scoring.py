"""A tracking score of an encoder while it trains."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

from torch import nn

from followspot.benchmarks import davis
from followspot.datasets.davis import DavisDataset
from followspot.jobs.davis import davis_run
from followspot.models.encoder import Encoder
from followspot.tracking.presets import Preset, Resolution, find_preset
from followspot.tracking.propagation import PropagationTracker


def davis_score(
    dataset: DavisDataset, *, preset: Preset | None = None, pixels: int = 240, workers: int | None = None
) -> Callable[[nn.Module], float]:
    """A function that follows the first masks of a split with an encoder and gives J&F.

    Args:
        dataset: labelled clips.
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
            return davis.evaluate(dataset, davis_run(tracker), Path(folder), workers=workers).scores["J&F-Mean"]

    return score
