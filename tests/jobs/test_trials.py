"""Trials of several processes: none is done twice, none is lost, whatever is killed."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from followspot.errors import SettingError
from followspot.jobs.search_space import grid_of, key_of, parse_space
from followspot.jobs.trials import TrialQueue

SPACE = parse_space(["a=1,6,1", "b=x|y|z"], {})

WORKER = """
import sys, time
from pathlib import Path
from followspot.jobs.search_space import parse_space
from followspot.jobs.trials import TrialQueue
queue = TrialQueue(Path(sys.argv[1]), parse_space(["a=1,6,1", "b=x|y|z"], {}), sampler=sys.argv[2], lease=float(sys.argv[4]))
print("ready", flush=True)
sys.stdin.readline()
while (trial := queue.take()) != "done":
    if trial == "wait":
        time.sleep(0.05)
        continue
    print("took", trial.number, trial.settings["a"], trial.settings["b"], flush=True)
    with queue.alive(trial):
        time.sleep(float(sys.argv[3]))
        queue.finish(trial, trial.settings["a"], scores={"score": trial.settings["a"]}, seconds=0.1)
"""


def worker(folder, *, sampler="random", seconds=0.01, lease=60):
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, str(folder), sampler, str(seconds), str(lease)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def go(*workers):
    for process in workers:
        assert process.stdout.readline() == "ready\n"
    for process in workers:
        process.stdin.write("go\n")
        process.stdin.flush()


def finish(queue, trial, value=0.5):
    assert queue.finish(trial, value, scores={"score": value}, seconds=0.1)


@pytest.mark.parametrize("sampler", ["grid", "tpe"])
def test_f171_three_workers_do_each_settings_once(tmp_path, sampler):
    workers = [worker(tmp_path, sampler=sampler) for _ in range(3)]
    go(*workers)
    took = [line.split()[2:] for process in workers for line in process.communicate(timeout=100)[0].splitlines()]
    assert all(process.returncode == 0 for process in workers)
    assert len(took) == 18
    assert len({tuple(settings) for settings in took}) == 18
    outcomes = TrialQueue(tmp_path, SPACE).outcomes()
    assert {key_of(outcome.settings, list(SPACE)) for outcome in outcomes} == {key_of(point, list(SPACE)) for point in grid_of(SPACE)}
    assert all(outcome.state == "done" and outcome.value == outcome.settings["a"] for outcome in outcomes)


def test_f171_what_a_killed_worker_ran_is_run_again_at_once(tmp_path):
    """On one machine nobody has to wait for the lease."""
    process = worker(tmp_path, seconds=100)
    go(process)
    _, number, a, b = process.stdout.readline().split()
    queue = TrialQueue(tmp_path, SPACE, sampler="grid", lease=1000)
    other = queue.take()
    assert (other.settings["a"], other.settings["b"]) != (int(a), b), "it is alive, so its settings are its own"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    again = queue.take()
    assert (again.settings["a"], again.settings["b"]) == (int(a), b)
    assert again.number != int(number)
    finish(queue, again)
    mine = [outcome for outcome in queue.outcomes() if outcome.state == "done"]
    assert [outcome.settings for outcome in mine] == [again.settings]
    assert len(queue.outcomes()) == 2, "the killed trial is not a second row"


def claimed_elsewhere(folder, *, age):
    """A trial that a process of another machine took, and last touched `age` seconds ago."""
    trial = TrialQueue(folder, SPACE, sampler="grid").take()
    life = folder / "alive" / str(trial.number)
    life.write_text(json.dumps({"host": "elsewhere", "process": os.getpid(), "born": ""}))
    os.utime(life, (time.time() - age,) * 2)
    return trial


@pytest.mark.parametrize(("age", "taken"), [(50, False), (70, True)])
def test_f171_stale_claims_expire_and_others_do_not(tmp_path, age, taken):
    trial = claimed_elsewhere(tmp_path, age=age)
    queue = TrialQueue(tmp_path, SPACE, sampler="grid", lease=60)
    assert (queue.take().settings == trial.settings) is taken


def test_who_lost_a_trial_cannot_finish_it(tmp_path):
    slow = TrialQueue(tmp_path, SPACE, sampler="grid")
    trial = slow.take()
    life = tmp_path / "alive" / str(trial.number)
    os.utime(life, (time.time() - 999,) * 2)
    quick = TrialQueue(tmp_path, SPACE, sampler="grid")
    again = quick.take()
    assert again.settings == trial.settings
    assert not slow.finish(trial, 0.9, scores={}, seconds=1)
    finish(quick, again, 0.4)
    assert [outcome.value for outcome in quick.outcomes()] == [0.4]


def test_signs_of_life_keep_a_trial(tmp_path):
    queue = TrialQueue(tmp_path, SPACE, sampler="grid", lease=0.6)
    trial = queue.take()
    (tmp_path / "alive" / str(trial.number)).write_text(json.dumps({"host": "elsewhere", "process": 1, "born": ""}))
    other = TrialQueue(tmp_path, SPACE, sampler="grid", lease=0.6)
    with queue.alive(trial):
        time.sleep(1.0)
        assert other.take().settings != trial.settings
    time.sleep(1.0)
    assert other.take().settings == trial.settings


def test_settings_that_kill_their_process_are_given_up(tmp_path):
    one = parse_space(["a=1"], {})
    for _ in range(3):
        trial = TrialQueue(tmp_path, one).take()
        (tmp_path / "alive" / str(trial.number)).unlink()
    assert TrialQueue(tmp_path, one).take() == "done"
    (outcome,) = TrialQueue(tmp_path, one).outcomes()
    assert outcome.state == "failed"
    assert outcome.reason == "its process ended 3 times"


def test_limits_count_what_earlier_runs_did_and_what_runs(tmp_path):
    queue = TrialQueue(tmp_path, SPACE)
    first, second = queue.take(limit=2), queue.take(limit=2)
    assert queue.take(limit=2) == "wait", "the other two may be lost"
    finish(queue, first)
    queue.fail(second, "too large")
    assert queue.take(limit=2) == "done"
    again = TrialQueue(tmp_path, SPACE)
    third = again.take(limit=3)
    assert third.number == 2
    assert [outcome.state for outcome in again.outcomes()] == ["done", "failed", "running"]
    assert again.outcomes()[1].reason == "too large"


def test_a_score_that_is_no_number_fails_the_trial(tmp_path):
    queue = TrialQueue(tmp_path, SPACE)
    assert queue.finish(queue.take(), float("nan"), scores={}, seconds=1)
    assert queue.outcomes()[0].reason == "the score is nan"


def test_order_of_a_grid_is_random_and_repeats(tmp_path):
    def order(folder, seed):
        queue, found = TrialQueue(tmp_path / folder, SPACE, sampler="grid", seed=seed), []
        for _ in range(6):
            trial = queue.take()
            found.append((trial.settings["a"], trial.settings["b"]))
            finish(queue, trial)
        return found

    first = order("1", 1)
    assert first == order("2", 1)
    assert first != order("3", 2)
    assert first != [(point["a"], point["b"]) for point in grid_of(SPACE)[:6]]


def test_tpe_finds_more_than_chance_would(tmp_path):
    """A parabola over a long line: the later half of what is tried lies nearer to its top."""
    space = parse_space(["x=0.0:100.0"], {})
    queue, seen = TrialQueue(tmp_path, space, sampler="tpe", seed=3), []
    for _ in range(30):
        trial = queue.take()
        finish(queue, trial, -((trial.settings["x"] - 80) ** 2))
        seen.append(abs(trial.settings["x"] - 80))
    assert sum(seen[20:]) / 10 < 15 < sum(seen[:10]) / 10


def test_a_line_that_was_cut_short_is_mended(tmp_path):
    queue = TrialQueue(tmp_path, SPACE)
    finish(queue, queue.take())
    with (tmp_path / "journal.log").open("ab") as file:
        file.write(b'{"op_code":4,"work')
    again = TrialQueue(tmp_path, SPACE)
    finish(again, again.take())
    assert len(TrialQueue(tmp_path, SPACE).outcomes()) == 2


def test_an_endless_grid_is_told(tmp_path):
    with pytest.raises(SettingError, match="has no steps"):
        TrialQueue(tmp_path, parse_space(["x=0.0:1.0"], {}), sampler="grid")


def test_without_optuna_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(SettingError, match=r"followspot\[tune\]"):
        TrialQueue(tmp_path, SPACE)
