"""Trials of a search, shared by any number of processes over one journal file (Optuna's), so that no two try the same settings.

What is to be tried next is decided by one process at a time. A trial belongs to the process that took it for as long as that process shows
signs of life; then it goes to another, at most three times. Everything that is known lies in the journal, so a search that was killed
goes on from there, on this machine or another that sees the folder.

    FOLDER/journal.log    what was tried, with what result
    FOLDER/alive/<n>      touched while trial n runs; says which process runs it
"""

import json
import math
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from followspot.io.files import write_atomic
from followspot.jobs.journal import born, locked, open_study, runs
from followspot.jobs.search_space import Listed, Space, Value, draw_from, grid_of, is_small, key_of

if TYPE_CHECKING:
    import optuna

Sampler = Literal["random", "grid", "tpe"]
"""Any order of the grid, anything in the ranges, or what Bergstra et al. 2011 (tree-structured Parzen estimators) expect most of."""

LEASE = 60.0
"""Seconds without a sign of life after which a trial is given to another process; clocks of machines should agree to half of that."""
_ATTEMPTS = 3
"""Settings that end their process this often, for want of memory say, are left alone."""
_DRAWS = 1000
"""After so many draws that were all tried before, there is nothing left to try."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Settings to try; they are this process's."""

    number: int
    settings: Mapping[str, Value]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of settings."""

    number: int
    """The trial that tried them last."""
    settings: Mapping[str, Value]
    state: Literal["done", "failed", "running", "waiting"]
    value: float | None = None
    """Higher is better; None unless done."""
    scores: Mapping[str, float] = field(default_factory=dict)
    seconds: float | None = None
    reason: str = ""
    """Why it failed."""


class TrialQueue:
    """The trials of one search.

    Args:
        folder: of the search; made if it is missing.
        space: what to search.
        sampler: how to choose.
        seed: what is chosen follows from it and from what was tried before.
        lease: seconds without a sign of life after which a trial is taken over.

    Raises:
        SettingError: Optuna is not installed, or the grid is endless.
    """

    def __init__(self, folder: Path, space: Space, *, sampler: Sampler = "random", seed: int = 0, lease: float = LEASE) -> None:
        self.folder = folder.resolve()
        self.space, self.lease = space, lease
        self._sampler, self._seed = sampler, seed
        self._names = tuple(space)
        self._grid = grid_of(space) if sampler == "grid" or is_small(space) else None
        self._study = open_study(self.folder)
        self._open: dict[int, optuna.Trial] = {}

    def take(self, *, limit: int | None = None) -> Trial | Literal["wait", "done"]:
        """Something to try.

        Args:
            limit: how many settings may be tried in all, those of earlier runs included; None: as many as there are.

        Returns:
            A trial; ``"wait"`` where there is none, but one that runs elsewhere may come back; ``"done"`` where there will be none.
        """
        with locked(self.folder / "turn"):
            self._take_back()
            trials = self._trials()
            if not any(trial.state.name == "WAITING" for trial in trials):
                counted = [trial for trial in trials if _counts(trial, trials)]
                chosen = self._choose(trials) if limit is None or len(counted) < limit else None
                if chosen is None:
                    return "wait" if any(trial.state.name == "RUNNING" for trial in counted) else "done"
                self._study.enqueue_trial(chosen, user_attrs={"settings": chosen, "attempt": 1})
            taken = self._study.ask({name: _distribution(axis) for name, axis in self.space.items()})
            self._open[taken.number] = taken
            self._write_life(taken.number)
            return Trial(number=taken.number, settings=dict(taken.user_attrs["settings"]))

    def finish(self, trial: Trial, value: float, *, scores: Mapping[str, float], seconds: float) -> bool:
        """Notes a result.

        Args:
            trial: from `take`.
            value: higher is better.
            scores: all numbers, for the table.
            seconds: how long it took.

        Returns:
            False where the trial had been given to another process meanwhile; the result is then not noted.
        """
        if not math.isfinite(value):
            return self.fail(trial, f"the score is {value}")
        return self._close(trial, {"scores": dict(scores), "seconds": seconds}, value)

    def fail(self, trial: Trial, reason: str) -> bool:
        """Notes that settings cannot be used; they are not tried again. Returns as `finish` does."""
        return self._close(trial, {"reason": reason}, None)

    @contextmanager
    def alive(self, trial: Trial) -> Iterator[None]:
        """Shows signs of life of a trial for as long as the body runs."""
        stop = threading.Event()

        def beat() -> None:
            while not stop.wait(self.lease / 6):
                with suppress(OSError):
                    os.utime(self._life(trial.number))

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def outcomes(self) -> list[Outcome]:
        """All settings that were or are tried, once each, in the order in which they were chosen."""
        trials = self._trials()
        return [_outcome(trial) for trial in trials if _counts(trial, trials)]

    def _trials(self) -> "list[optuna.trial.FrozenTrial]":
        return [trial for trial in self._study.get_trials(deepcopy=False) if "settings" in trial.user_attrs]

    def _choose(self, trials: "Sequence[optuna.trial.FrozenTrial]") -> dict[str, Value] | None:
        tried = {key_of(trial.user_attrs["settings"], self._names) for trial in trials}
        rng = np.random.default_rng([self._seed, len(tried)])
        if self._sampler == "tpe":
            wanted = self._expect_most(seed=int(rng.integers(2**31)))
            if key_of(wanted, self._names) not in tried:
                return wanted
        if self._grid is not None:
            left = [point for point in self._grid if key_of(point, self._names) not in tried]
            return left[int(rng.integers(len(left)))] if left else None
        drawn = (draw_from(self.space, rng) for _ in range(_DRAWS))
        return next((point for point in drawn if key_of(point, self._names) not in tried), None)

    def _expect_most(self, *, seed: int) -> dict[str, Value]:
        """What the estimator would try next: asked in a study of its own in memory, so that the journal holds only what is tried."""
        import optuna

        copy = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
        states = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.RUNNING)
        copy.add_trials([trial for trial in self._trials() if trial.state in states and set(trial.params) == set(self._names)])
        return dict(copy.ask({name: _distribution(axis) for name, axis in self.space.items()}).params)

    def _take_back(self) -> None:
        """Gives trials of processes that are gone to others. Told in two steps, so that a kill between them loses nothing."""
        import optuna

        for trial in self._study.get_trials(deepcopy=False):
            if trial.state.name == "RUNNING" and trial.number not in self._open and self._is_dead(trial.number):
                with suppress(optuna.exceptions.UpdateFinishedTrialError, ValueError):  # it has just been finished after all
                    self._study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        trials = self._trials()
        for trial in trials:
            if _was_lost(trial) and _counts(trial, trials) and trial.user_attrs["attempt"] < _ATTEMPTS:
                again = {"settings": trial.user_attrs["settings"], "attempt": trial.user_attrs["attempt"] + 1, "again_of": trial.number}
                self._study.enqueue_trial(trial.user_attrs["settings"], user_attrs=again)

    def _close(self, trial: Trial, about: Mapping[str, Any], value: float | None) -> bool:
        import optuna

        mine = self._open.pop(trial.number)
        try:
            for name, content in about.items():
                mine.set_user_attr(name, content)
            self._study.tell(mine, value, state=optuna.trial.TrialState.FAIL if value is None else None)
        except (optuna.exceptions.UpdateFinishedTrialError, ValueError):
            return False  # tell() says ValueError of a trial that is finished
        self._life(trial.number).unlink(missing_ok=True)
        return True

    def _life(self, number: int) -> Path:
        return self.folder / "alive" / str(number)

    def _write_life(self, number: int) -> None:
        owner = {"host": socket.gethostname(), "process": os.getpid(), "born": born(os.getpid())}
        write_atomic(self._life(number), json.dumps(owner))

    def _is_dead(self, number: int) -> bool:
        path = self._life(number)
        try:
            age, owner = time.time() - path.stat().st_mtime, json.loads(path.read_text())
        except (OSError, ValueError):
            return True  # written before the trial is given out, so its process was killed in between
        if age > self.lease:
            return True
        return owner["host"] == socket.gethostname() and (not runs(owner["process"]) or born(owner["process"]) != owner["born"])


def _distribution(axis: Any) -> "optuna.distributions.BaseDistribution":  # noqa: ANN401 -- Listed | Span
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(axis, Listed):
        return CategoricalDistribution(axis.values)
    if axis.whole:
        return IntDistribution(int(axis.low), int(axis.high), log=axis.log)
    return FloatDistribution(float(axis.low), float(axis.high), log=axis.log)


def _was_lost(trial: "optuna.trial.FrozenTrial") -> bool:
    return trial.state.name == "FAIL" and "reason" not in trial.user_attrs


def _counts(trial: "optuna.trial.FrozenTrial", trials: "Sequence[optuna.trial.FrozenTrial]") -> bool:
    """Whether no later trial has taken the place of this one."""
    return all(other.user_attrs.get("again_of") != trial.number for other in trials)


def _outcome(trial: "optuna.trial.FrozenTrial") -> Outcome:
    states: Mapping[str, Literal["done", "failed", "running", "waiting"]]
    states = {"COMPLETE": "done", "RUNNING": "running", "WAITING": "waiting"}
    state = states.get(trial.state.name, "failed")
    lost = f"its process ended {trial.user_attrs['attempt']} times" if _was_lost(trial) else ""
    return Outcome(
        number=trial.number,
        settings=dict(trial.user_attrs["settings"]),
        state=state,
        value=trial.value if state == "done" else None,
        scores=dict(trial.user_attrs.get("scores", {})),
        seconds=trial.user_attrs.get("seconds"),
        reason=trial.user_attrs.get("reason", lost),
    )
