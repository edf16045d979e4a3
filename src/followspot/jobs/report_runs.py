"""What a report is about: folders of results, of a comparison, and of training, read and put into groups that can be compared."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from followspot.benchmarks.base import Benchmark
from followspot.benchmarks.published import plain_name
from followspot.benchmarks.registry import NAMES, Entry, open_benchmark
from followspot.benchmarks.report import Report
from followspot.errors import DatasetError
from followspot.jobs.report_page import Markup, heading

Kind = Literal["published", "reproduced", "measured"]
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class EvaluationRun:
    """One tracker on one benchmark."""

    folder: Path
    name: str
    """What the report calls the method."""
    settings: Mapping[str, Any]
    """``settings.json``."""
    report: Report
    kind: Kind = "measured"
    """``"reproduced"`` where it is a published method, with its own weights and settings, on the split that its row is of."""

    @property
    def tracker(self) -> Mapping[str, Any]:
        """What made the results; empty for results of others."""
        found = self.settings.get("tracker")
        return found if isinstance(found, Mapping) else {}

    @property
    def rank(self) -> float:
        """By the first score, larger is better; NaN last."""
        name, value = next(iter(self.report.scores.items()))
        return float("-inf") if value != value else -value if name in self.report.lower_is_better else value


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """The log of one training."""

    folder: Path
    name: str
    columns: Mapping[str, Floats]
    """``metrics.csv``: values ``(N,)`` by column, NaN where a cell is empty; ``step`` is one of them."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Runs whose numbers can be compared: one benchmark, split and protocol."""

    runs: tuple[EvaluationRun, ...]
    """The best first; at least one."""
    data: Path | None = None
    """Where the benchmark lies, if not where it lay when it was run."""

    @property
    def report(self) -> Report:
        """Of the best run: names what all of them are of."""
        return self.runs[0].report

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.report.benchmark} {self.report.split}, {self.report.protocol} protocol"

    def open(self) -> Benchmark:
        """The benchmark itself.

        Raises:
            DatasetError: it is not there, or nobody knows what made the results.
        """
        settings = self.runs[0].settings
        data, name = self.data or settings.get("data"), settings.get("benchmark")
        if not name:
            raise DatasetError(f"{self.runs[0].folder} has no settings.json that names a benchmark; run it with followspot evaluate")
        return open_benchmark(
            _key_of(str(name)), Path(data) if data else None, split=settings.get("split"), protocol=settings.get("protocol")
        )


@dataclass(frozen=True, kw_only=True)
class Runs:
    """All that a report is about."""

    groups: tuple[Group, ...] = ()
    training: tuple[TrainingRun, ...] = ()
    folders: tuple[Path, ...] = field(default=())
    """As they were given."""


def group_heading(group: Group, groups: Sequence[Group]) -> list[Markup]:
    """Which benchmark follows, where a report is about several."""
    return [heading(group.title)] if len(groups) > 1 else []


def read_runs(folders: Sequence[Path], *, data: Path | None = None) -> Runs:
    """Read everything that a report is about.

    Args:
        folders: each of ``evaluate``, ``score``, ``compare`` or ``train``.
        data: folder of the benchmark, where it is not where the results say.

    Raises:
        DatasetError: a folder is none of these, or holds something broken.
    """
    evaluations: list[EvaluationRun] = []
    training: list[TrainingRun] = []
    for folder in folders:
        for found in _open(Path(folder)):
            if isinstance(found, TrainingRun):
                training.append(found)
            else:
                evaluations.append(found)
    groups: dict[tuple[str, str, str], list[EvaluationRun]] = {}
    for run in evaluations:
        groups.setdefault((run.report.benchmark, run.report.split, run.report.protocol), []).append(run)
    return Runs(
        groups=tuple(Group(runs=_told_apart(sorted(runs, key=lambda run: -run.rank)), data=data) for runs in groups.values()),
        training=tuple(training),
        folders=tuple(Path(folder) for folder in folders),
    )


def _open(folder: Path) -> Iterator[EvaluationRun | TrainingRun]:
    """What one folder holds: itself a run, or runs in its folders."""
    if not folder.is_dir():
        raise DatasetError(f"{folder} is not a folder; give a folder that evaluate, compare or train wrote")
    inside = [folder] if _is_run(folder) else sorted(child for child in folder.iterdir() if child.is_dir() and _is_run(child))
    if not inside:
        raise DatasetError(
            f"{folder} holds neither report.json nor metrics.csv, nor do its folders; give a folder that evaluate, compare or train wrote"
        )
    for run in inside:
        if (run / "report.json").is_file():
            yield _evaluation(run)
        else:
            yield TrainingRun(folder=run, name=run.resolve().name, columns=_columns(run / "metrics.csv"))


def _key_of(benchmark: str) -> str:
    """The name that opens a benchmark, from the one that reports call it by."""
    plain = plain_name(benchmark)
    near = [key for key in NAMES if plain.startswith(plain_name(key))]
    # Where the two have nothing in common, the class says what reports call it.
    called = [key for key, entry in NAMES.items() if getattr(_class_of(entry), "name", None) == benchmark] if not near else []
    return max(near or called, key=len, default=benchmark)


def _class_of(entry: Entry) -> object:
    return getattr(import_module(f"followspot.benchmarks.{entry.module}"), entry.class_name)


def _is_run(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("report.json", "metrics.csv"))


def _evaluation(folder: Path) -> EvaluationRun:
    path = folder / "settings.json"
    settings: dict[str, Any] = {}
    if path.is_file():
        try:
            settings = dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise DatasetError(f"{path} cannot be read ({error}); run the evaluation again, or remove the file") from error
    tracker = settings.get("tracker")
    named = tracker.get("name") if isinstance(tracker, dict) else None
    name = named if isinstance(named, str) and named else folder.resolve().name
    return EvaluationRun(folder=folder, name=name, settings=settings, report=Report.read(folder / "report.json"))


def _columns(path: Path) -> dict[str, Floats]:
    """A CSV of numbers; a last line that a kill cut short is left out."""
    text = path.read_text(encoding="utf-8")
    lines = list(csv.reader(text[: text.rfind("\n") + 1].splitlines()))
    rows = [line for line in lines[1:] if len(line) == len(lines[0])]
    try:
        values = np.array([[float(cell) if cell else np.nan for cell in row] for row in rows], np.float64)
    except ValueError as error:
        raise DatasetError(f"{path} holds something that is no number ({error}); give the folder of a training run") from error
    if not rows or "step" not in lines[0]:
        raise DatasetError(f"{path} holds no steps yet; report the run when it has logged some")
    return {name: values[:, index] for index, name in enumerate(lines[0])}


def _told_apart(runs: Sequence[EvaluationRun]) -> tuple[EvaluationRun, ...]:
    """The same runs, where two of one name are told apart by their folders, and then by number."""
    names = [run.name for run in runs]
    wider = [run.name if names.count(run.name) == 1 else f"{run.name} ({run.folder.resolve().name})" for run in runs]
    return tuple(
        replace(run, name=name if wider.count(name) == 1 else f"{name} {wider[: index + 1].count(name)}")
        for index, (run, name) in enumerate(zip(runs, wider, strict=True))
    )
