"""A search for a tracker's settings on any benchmark: many processes, killed and resumed at will.

out/search.json          what is searched where: another search is refused
out/journal.log          all trials (`followspot.jobs.trials`)
out/trials/<settings>/   report.json of each; its results while it runs, so that it goes on after a kill
out/trials.csv .md       the table, the best first
out/best.yaml            the best settings, a preset that every command takes
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from followspot.benchmarks.base import Benchmark
from followspot.benchmarks.report import Report
from followspot.errors import OutputError, SettingError
from followspot.io.files import write_atomic
from followspot.jobs.evaluate import evaluate_tracker, run_settings
from followspot.jobs.search_space import Range, Value, grid_of, is_small
from followspot.jobs.tracker_choice import Tunable
from followspot.jobs.trials import LEASE, Sampler, Trial, TrialQueue
from followspot.jobs.tune_report import TuneReport

Progress = Callable[[int, int | None], None]
"""Told how many settings were tried, and how many there are to be."""

_WAIT_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How long to search.

    Raises:
        SettingError: a value out of range.
    """

    trials: int | None = None
    """Settings to try in all, those of earlier calls included; None: as many as the grid has, or as the time allows."""
    minutes: float | None = None
    """No trial begins later than this after the call; None: no limit."""
    processes: int = 1

    def __post_init__(self) -> None:
        for name, value, least in (("trials", self.trials, 1), ("minutes", self.minutes, 0), ("processes", self.processes, 1)):
            if value is not None and not value >= least:
                raise SettingError(f"{name} is {value}, expected at least {least}")


@dataclass(frozen=True, kw_only=True)
class Search:
    """All that a process needs to take part; it can be pickled."""

    benchmark: Benchmark
    tracker: Tunable
    space: Mapping[str, Range]
    out: Path
    data: Path | None
    sampler: Sampler = "random"
    seed: int = 0
    lease: float = LEASE

    def queue(self) -> TrialQueue:
        """The trials that all processes share."""
        return TrialQueue(self.out, self.space, sampler=self.sampler, seed=self.seed, lease=self.lease)


def tune(search: Search, budget: Budget, *, progress: Progress = lambda done, total: None) -> TuneReport:
    """Searches, or goes on with a search; the tables and the preset are written anew each time.

    Settings that the tracker refuses count as tried; what cannot be read or written ends the search.

    Args:
        search: what.
        budget: how long. Several processes share the cores; call this under ``if __name__ == "__main__":`` then.
        progress: told now and then.

    Returns:
        All that was tried so far, the best first.

    Raises:
        OutputError: the folder holds another search, or cannot be written.
        SettingError: a setting does not exist or cannot have a value of its range, Optuna is not installed, or nothing could be tried.
        DatasetError: a sequence cannot be used.
    """
    if search.sampler == "grid":
        grid_of(search.space)  # which complains about ranges without steps
    if budget.trials is None and budget.minutes is None and not is_small(search.space):
        raise SettingError("this search has no end: its ranges have no steps; say how many --trials or --minutes it may take")
    _check_values(search)
    _require_same(search)
    queue = search.queue()
    deadline = None if budget.minutes is None else time.time() + 60 * budget.minutes
    try:
        if budget.processes == 1:
            work(search, queue, limit=budget.trials, deadline=deadline, after=lambda: progress(_tried(queue), budget.trials))
        else:
            from followspot.jobs.tune_processes import work_in_processes

            work_in_processes(search, budget, deadline=deadline, watch=lambda: progress(_tried(queue), budget.trials))
    finally:
        report = TuneReport.of(search.benchmark, search.tracker.name, list(search.space), queue.outcomes())
        report.save(search.out)
    best = report.best
    if best is None:
        reason = next((outcome.reason for outcome in report.outcomes if outcome.reason), "no trial has ended yet; give it more time")
        raise SettingError(f"nothing could be tried: {reason}")
    _write_best(search, report, best.settings)
    return report


def work(
    search: Search,
    queue: TrialQueue,
    *,
    limit: int | None,
    deadline: float | None,
    after: Callable[[], None] = lambda: None,
    on_frame: Callable[[], None] = lambda: None,
) -> None:
    """Tries settings in this process until there are none, or the time is over.

    Args:
        search: what.
        queue: of the search.
        limit: settings to try in all, by all processes.
        deadline: in seconds of `time.time`; None: none.
        after: called after each trial.
        on_frame: called at every frame, and while there is nothing to do.

    Raises:
        FollowspotError: what cannot be read or written.
    """
    same = _essence(search)
    while deadline is None or time.time() < deadline:
        trial = queue.take(limit=limit)
        if trial == "done":
            return
        if trial == "wait":
            on_frame()
            time.sleep(_WAIT_SECONDS)
            continue
        with queue.alive(trial):
            _try(search, queue, trial, same=same, on_frame=on_frame)
        after()


def _try(search: Search, queue: TrialQueue, trial: Trial, *, same: Mapping[str, object], on_frame: Callable[[], None]) -> None:
    began = time.perf_counter()
    folder = search.out / "trials" / _digest(trial.settings)
    try:
        tracker = search.tracker.with_settings(trial.settings).build()
        settings = {"search": same, "settings": dict(trial.settings)}
        done = evaluate_tracker(search.benchmark, tracker, folder, settings=settings, workers=1, show=lambda stage, done, total: on_frame())
    except SettingError as error:
        queue.fail(trial, str(error))
        return
    report = done.require_report()
    sign = -1 if _first(report) in report.lower_is_better else 1
    seconds = time.perf_counter() - began
    queue.finish(trial, sign * report.scores[_first(report)], scores=report.scores, seconds=seconds)
    for sequence in search.benchmark.sequence_names:
        shutil.rmtree(folder / sequence, ignore_errors=True)


def _first(report: Report) -> str:
    return next(iter(report.scores))


def _tried(queue: TrialQueue) -> int:
    return sum(outcome.state in ("done", "failed") for outcome in queue.outcomes())


def _digest(settings: Mapping[str, Value]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]


def _check_values(search: Search) -> None:
    """Complains about names and ends of ranges before any time is spent."""
    for name, axis in search.space.items():
        for value in axis.ends():
            search.tracker.with_settings({name: value})


def _essence(search: Search) -> dict[str, object]:
    """What a search may not change on the way."""
    about = run_settings(search.benchmark, search.data, search.tracker.settings())
    return about | {"sequences": list(search.benchmark.sequence_names), "space": {name: str(axis) for name, axis in search.space.items()}}


def _require_same(search: Search) -> None:
    path = search.out / "search.json"
    wanted = json.dumps(_essence(search), indent=1, default=str) + "\n"
    if not path.is_file():
        if search.out.is_dir() and any(search.out.iterdir()):
            raise OutputError(f"{search.out} holds files but no search; choose an empty folder")
        write_atomic(path, wanted)
        return
    known, now = json.loads(path.read_text(encoding="utf-8")), json.loads(wanted)
    changed = [key for key in now if known.get(key) != now[key]]
    if changed:
        told = f"{changed[0]}: {json.dumps(known.get(changed[0]))} there, {json.dumps(now[changed[0]])} now"
        raise OutputError(f"{search.out} holds another search ({told}); choose another --out")


def _write_best(search: Search, report: TuneReport, settings: Mapping[str, Value]) -> None:
    """As a preset where the tracker has one, else the settings by name."""
    from dataclasses import replace

    import yaml

    from followspot.tracking.preset_file import write_preset
    from followspot.tracking.presets import Preset
    from followspot.tracking.siamese_settings import SiameseSettings, write_siamese_preset

    preset = getattr(search.tracker.with_settings(settings), "preset", None)
    if isinstance(preset, Preset):
        write_preset(search.out / "best.yaml", replace(preset, name="tuned", source=report.headline()))
    elif isinstance(preset, SiameseSettings):
        write_siamese_preset(search.out / "best.yaml", replace(preset, name="tuned", source=report.headline()))
    else:
        content = {"tracker": search.tracker.name, "source": report.headline(), **settings}
        write_atomic(search.out / "best.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=140))
