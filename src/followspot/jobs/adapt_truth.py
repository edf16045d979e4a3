"""The true gain of an adaptation, where some of the videos have labels."""

import copy
import difflib
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from followspot.benchmarks.davis import DavisBenchmark
from followspot.datasets.davis import DavisDataset
from followspot.errors import DatasetError
from followspot.jobs.evaluate import evaluate_tracker
from followspot.models.encoder import Encoder
from followspot.tracking.preset_file import describe_preset
from followspot.tracking.presets import PRESETS, Resolution
from followspot.tracking.propagation import PropagationTracker

Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True, kw_only=True)
class TruthSource:
    """Labelled clips in the layout of DAVIS."""

    folder: Path
    split: str = "val"
    sequences: tuple[str, ...] | None = None
    """Those to score; None: all of the split."""
    pixels: int = 480
    """Short side at which frames are seen; 480 is what tracking uses."""
    workers: int | None = None
    """Processes that score; None: one a core."""

    def open(self) -> DavisDataset:
        """The split, with the wanted sequences only.

        Raises:
            DatasetError: there is no such folder, split or sequence.
        """
        dataset = DavisDataset(self.folder, split=self.split)
        if self.sequences is None:
            return dataset
        known = [sequence.name for sequence in dataset.sequences]
        for name in self.sequences:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
                raise DatasetError(f"split {self.split!r} of {self.folder} has no sequence {name!r}; did you mean {near!r}?")
        chosen = copy.copy(dataset)
        chosen.sequences = tuple(dataset[name] for name in self.sequences)
        return chosen


def score_truth(
    encoder: Encoder, source: TruthSource, results: Path, *, weights: Path, device: str = "auto", progress: Progress | None = None
) -> Mapping[str, float]:
    """J&F of an encoder by sequence, and ``"mean"`` over objects.

    Args:
        encoder: whose.
        source: labelled clips.
        results: folder for masks; complete sequences in it are not run again.
        weights: of the encoder; masks of other weights in the folder are refused.
        device: where to track.
        progress: told ``"truth"``, the frames done and their number over all sequences.
    """
    preset = replace(PRESETS["default"], resolution=Resolution(pixels=source.pixels))
    tracker = PropagationTracker(encoder, preset, confidence=False, device=device)
    benchmark = DavisBenchmark(source.open())
    same = {"weights": hashlib.sha256(weights.read_bytes()).hexdigest(), "preset": describe_preset(preset)}

    def show(stage: str, done: int, total: int | None) -> None:
        if progress is not None and stage == "tracking":
            progress("truth", done, total)

    report = evaluate_tracker(benchmark, tracker, results, settings=same, workers=source.workers, show=show).require_report()
    return {**{name: values["J&F-Mean"] for name, values in report.sequences.items()}, "mean": report.scores["J&F-Mean"]}
