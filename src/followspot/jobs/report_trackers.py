"""The trackers behind results, built again: some figures show what a tracker sees, which no results folder holds."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from followspot.benchmarks.published import plain_name, published_for
from followspot.errors import EncoderError
from followspot.jobs.report_runs import EvaluationRun, Kind, Runs
from followspot.jobs.siamese import WEIGHTS_OF_RUN
from followspot.models.encoder import load_encoder
from followspot.models.online_networks import load_online_network
from followspot.models.weights import load_weights, read_card, weights_id
from followspot.tracking.preset_file import change_preset
from followspot.tracking.presets import PRESETS, Preset
from followspot.tracking.propagation import PropagationTracker

_PRESETS_OF = {"corrflow": ("corrflow",), "timecycle": ("timecycle",), "siammask": ("vot", "vot18", "davis")}
"""Layouts of published checkpoints, and the presets that are that system's own settings."""


class WeightFiles:
    """Weights by what is in them, which is how results name them.

    Args:
        paths: weight files, and folders of training runs; a folder without trained weights is passed over.

    Raises:
        EncoderError: a file holds no weights, or does not say which network they are for.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        files = [file for path in paths for file in _files_of(path)]
        self._found = {_id_of(file): file for file in files if file.is_file()}

    def of(self, run: EvaluationRun) -> Path | None:
        """The file with a run's weights, if it is known."""
        return self._found.get(str(run.tracker.get("weights")))


def build_tracker_of(run: EvaluationRun, weights: WeightFiles) -> PropagationTracker:
    """The tracker that made a run's results.

    Args:
        run: results of a tracker of ours.
        weights: where to look for what its encoder learnt.

    Raises:
        EncoderError: it has no encoder, or its weights are not known; says what to do.
    """
    made = run.tracker
    if made.get("method") != "propagation":
        raise EncoderError(f"{run.name} has no encoder, so there is nothing that it sees")
    file, name, stride = weights.of(run), made.get("encoder"), made.get("stride")
    try:
        encoder = load_encoder(None if file else str(name), stride=stride if isinstance(stride, int) else None, weights=file)
        same = weights_id(encoder) == made.get("weights")
    except EncoderError:
        same = False
    if not same:
        raise EncoderError(f"the weights of {run.name} are not known here; name their file with --weights")
    return PropagationTracker(encoder, _preset_of(made), confidence=False)


def with_kinds(runs: Runs, weights: WeightFiles) -> Runs:
    """The same runs, each marked as reproduced or measured.

    Reproduced is what follows a published method to the letter on the split that its row is of: identity, or published weights with the
    propagation of their own system.
    """
    groups = tuple(replace(group, runs=tuple(replace(run, kind=_kind(run, weights)) for run in group.runs)) for group in runs.groups)
    return replace(runs, groups=groups)


def _kind(run: EvaluationRun, weights: WeightFiles) -> Kind:
    rows = [row for row in published_for(run.report.benchmark, run.report.split) if row.protocol == run.report.protocol]
    if not rows:
        return "measured"
    if run.tracker.get("method") == "identity":
        return "reproduced" if any(plain_name(row.method) == "identity" for row in rows) else "measured"
    file = weights.of(run)
    converted = load_weights(file)[1].get("converted") if file else None
    layout = str(converted.get("from")) if isinstance(converted, Mapping) else ""
    preset = run.tracker.get("preset")
    own = isinstance(preset, Mapping) and preset.get("name") in _PRESETS_OF.get(layout, ())
    return "reproduced" if own and any(row.system == layout for row in rows) else "measured"


def _files_of(path: Path) -> tuple[Path, ...]:
    return (path / "encoder.safetensors", path / WEIGHTS_OF_RUN) if path.is_dir() else (path,)


def _id_of(file: Path) -> str:
    return weights_id(load_online_network(file)[0] if "network" in read_card(file) else load_encoder(weights=file))


def _preset_of(made: Mapping[str, object]) -> Preset:
    described = made.get("preset")
    if not isinstance(described, Mapping):
        return PRESETS["default"]
    settings = {name: value for name, value in described.items() if name != "name"}
    return replace(change_preset(PRESETS["default"], settings), name=str(described.get("name")))
