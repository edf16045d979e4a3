"""A search from ranges to a preset: it finds what is known to be best, goes on, and says what is wrong."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace

import pytest
import yaml

from followspot.benchmarks.registry import open_benchmark
from followspot.benchmarks.report import Report, Row
from followspot.benchmarks.selection import only
from followspot.benchmarks.synthetic import SyntheticBenchmark
from followspot.datasets.davis import DavisDataset
from followspot.errors import DatasetError, OutputError, SettingError
from followspot.jobs.search_space import parse_space
from followspot.jobs.trackers import BASELINES, TUNABLE, TrackerSpec, find_tracker
from followspot.jobs.tune import Budget, Search, tune
from followspot.tracking.preset_file import choose_preset
from followspot.tracking.presets import PRESETS


@dataclass(frozen=True)
class Hill:
    """Scores how far a tracker's number is from 6, on as many sequences as are named."""

    sequence_names: tuple[str, ...] = ("one", "two")
    lower: bool = False
    broken: str = ""
    name: str = "hill"
    split: str = "all"
    protocol: str = "plain"

    def only(self, sequences):
        return replace(self, sequence_names=tuple(sequences))

    def length(self, sequence):
        return 1

    def is_complete(self, sequence, folder):
        return (folder / "x").is_file()

    def run(self, sequence, tracker, folder, *, on_frame=None):
        if sequence == self.broken:
            raise DatasetError("frame 7 is gone; restore it")
        on_frame(sequence, 1, 1)
        (folder / "x").write_text(str(tracker))

    def score(self, results, *, workers=None, progress=None):
        values = [abs(float((results / name / "x").read_text()) - 6) for name in self.sequence_names]
        rows = tuple(Row(sequence=name, frames=1, values={"d": d}) for name, d in zip(self.sequence_names, values, strict=True))
        value = sum(values) / len(values) * (1 if self.lower else -1)
        lower = frozenset({"score"} if self.lower else ())
        return Report(
            benchmark=self.name, split="all", protocol="plain", note="", scores={"score": value}, rows=rows, lower_is_better=lower
        )


@dataclass(frozen=True)
class Climber:
    """Its one setting is where it stands."""

    name: str = "climber"
    at: float = 0
    tried: list = field(default_factory=list, compare=False)

    def tunable(self):
        return {"at": "1:10"}

    def with_settings(self, settings):
        unknown = set(settings) - {"at"}
        if unknown:
            raise SettingError(f"a climber has no setting {unknown.pop()!r}")
        return replace(self, at=settings["at"])

    def build(self):
        if self.at == 3:
            raise SettingError("3 is too steep")
        self.tried.append(self.at)
        return self.at

    def settings(self):
        return {"name": self.name, "kind": "climber"}


def search(out, *, benchmark=None, tracker=None, ranges=("at",), sampler="grid", **more):
    tracker = tracker or Climber()
    space = parse_space(
        ranges, parse_space([f"{name}={text}" for name, text in tracker.tunable().items()], {}) if tracker.tunable() else {}
    )
    return Search(benchmark=benchmark or Hill(), tracker=tracker, space=space, out=out, data=None, sampler=sampler, **more)


def test_f171_the_grid_is_tried_whole_and_ranked(tmp_path):
    tracker = Climber()
    report = tune(search(tmp_path, tracker=tracker), Budget())
    assert sorted(tracker.tried) == [1, 2, 4, 5, 6, 7, 8, 9, 10]
    assert [outcome.settings["at"] for outcome in report.outcomes[:3]] in ([6, 5, 7], [6, 7, 5])
    assert report.best.settings == {"at": 6}
    assert report.outcomes[-1].reason == "3 is too steep"
    rows = list(csv.DictReader((tmp_path / "trials.csv").open()))
    assert rows[0] == {"rank": "1", "at": "6", "score": "-0.000000", "seconds": rows[0]["seconds"], "state": "done"}
    assert rows[-1]["state"] == "failed"
    text = (tmp_path / "trials.md").read_text()
    assert "| 1 | 6 |" in text
    assert "failed: at 3: 3 is too steep" in text
    assert yaml.safe_load((tmp_path / "best.yaml").read_text())["at"] == 6


def test_a_search_goes_on_and_tries_nothing_twice(tmp_path):
    first, second = Climber(), Climber()
    tune(search(tmp_path, tracker=first), Budget(trials=4))
    report = tune(search(tmp_path, tracker=second), Budget(trials=7))
    assert len(report.outcomes) == 7
    assert len(first.tried) + len(second.tried) + sum(outcome.state == "failed" for outcome in report.outcomes) == 7
    assert not set(first.tried) & set(second.tried)
    third = Climber()
    assert len(tune(search(tmp_path, tracker=third), Budget(trials=7)).outcomes) == 7
    assert third.tried == []


def test_lower_may_be_better(tmp_path):
    report = tune(search(tmp_path, benchmark=Hill(lower=True)), Budget())
    assert report.best.settings == {"at": 6}
    assert report.best.scores == {"score": 0.0}


def test_sequences_that_were_done_before_a_kill_are_kept(tmp_path):
    """What stands in a trial's folder is not run again."""
    broken = search(tmp_path, benchmark=Hill(broken="two"), ranges=("at=6",))
    with pytest.raises(DatasetError, match="two: frame 7 is gone"):
        tune(broken, Budget())
    (folder,) = (tmp_path / "trials").iterdir()
    assert (folder / "one" / "x").is_file()
    (folder / "one" / "x").write_text("5.0")
    report = tune(search(tmp_path, ranges=("at=6",)), Budget())
    assert report.best.scores == {"score": -0.5}
    assert not (folder / "one").exists(), "results of a finished trial are not kept"
    assert (folder / "report.json").is_file()


def test_time_ends_a_search(tmp_path):
    with pytest.raises(SettingError, match="no trial has ended yet"):
        tune(search(tmp_path), Budget(minutes=0))
    assert len(tune(search(tmp_path), Budget(minutes=1, trials=2)).outcomes) == 2


def test_other_searches_in_the_folder_are_refused(tmp_path):
    tune(search(tmp_path / "a"), Budget(trials=1))
    for other in (
        search(tmp_path / "a", ranges=("at=1|2",)),
        search(tmp_path / "a", benchmark=only(Hill(), ["two"])),
        search(tmp_path / "a", tracker=type("Other", (Climber,), {"settings": lambda self: {"kind": "other"}})()),
    ):
        with pytest.raises(OutputError, match="holds another search"):
            tune(other, Budget(trials=1))
    tune(search(tmp_path / "a", sampler="random", seed=4), Budget(trials=2))  # how to choose is no part of it
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "letter.txt").write_text("hello")
    with pytest.raises(OutputError, match="holds files but no search"):
        tune(search(tmp_path / "b"), Budget(trials=1))


def test_wrong_settings_are_told_before_anything_runs(tmp_path):
    with pytest.raises(SettingError, match="no setting 'ta'"):
        tune(search(tmp_path, ranges=("ta=1|2",)), Budget())
    with pytest.raises(SettingError, match="this search has no end"):
        tune(search(tmp_path, ranges=("at=0.0:1.0",), sampler="random"), Budget())
    with pytest.raises(SettingError, match="processes is 0"):
        Budget(processes=0)
    assert not (tmp_path / "journal.log").exists()


def test_trackers_say_what_can_be_searched():
    spec = find_tracker("descriptor")
    assert spec.tunable() == TUNABLE
    changed = spec.with_settings({"top_k": 3, "resolution": "square:64"})
    assert (changed.preset.affinity.top_k, changed.preset.resolution.pixels) == (3, 64)
    with pytest.raises(SettingError, match="did you mean 'top_k'"):
        spec.with_settings({"topk": 3})
    baseline = TrackerSpec(name="identity", method=next(iter(BASELINES)))
    assert baseline.tunable() == {}
    with pytest.raises(SettingError, match="no settings to search"):
        baseline.with_settings({"top_k": 3})


def test_usual_ranges_hold_the_published_values():
    space = parse_space([f"{name}={text}" for name, text in TUNABLE.items()], {})
    for preset in (PRESETS["default"], PRESETS["crw"]):
        for name in ("top_k", "temperature", "radius"):
            assert space[name].low <= getattr(preset.affinity, name) <= space[name].high
        assert space["context_frames"].low <= preset.context_frames <= space["context_frames"].high


def synthetic(out, **more):
    spec = find_tracker("descriptor").with_settings({"resolution": 64})
    benchmark = only(SyntheticBenchmark(".", split="easy"), ["clip-2001"])
    space = parse_space(["top_k=1|5", "context_frames=1|4"], {})
    return Search(benchmark=benchmark, tracker=spec, space=space, out=out, data=None, sampler="grid", **more)


def test_f171_two_processes_find_a_preset_that_tracks(tmp_path):
    report = tune(synthetic(tmp_path), Budget(processes=2))
    assert [outcome.state for outcome in report.outcomes] == ["done"] * 4
    scores = [outcome.scores["J&F-Mean"] for outcome in report.outcomes]
    assert scores == sorted(scores, reverse=True)
    preset = choose_preset(str(tmp_path / "best.yaml"))
    assert preset.affinity.top_k == report.best.settings["top_k"]
    assert preset.context_frames == report.best.settings["context_frames"]
    assert preset.resolution.pixels == 64
    assert preset.source == report.headline()


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_tune import Budget, synthetic, tune
if __name__ == "__main__":
    tune(synthetic(Path(sys.argv[1])), Budget(processes=2))
"""


def test_f171_a_search_that_was_killed_goes_on_and_its_processes_end(tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    out = tmp_path / "out"
    process = subprocess.Popen([sys.executable, str(script), str(out), os.path.dirname(__file__)])
    began = time.time()
    while not (out / "alive").is_dir() and time.time() < began + 100:
        time.sleep(0.05)
    owners = [json.loads(path.read_text())["process"] for path in (out / "alive").iterdir() if not path.name.startswith(".")]
    process.send_signal(signal.SIGKILL)
    process.wait()
    report = tune(synthetic(out), Budget())
    assert [outcome.state for outcome in report.outcomes] == ["done"] * 4
    assert len({tuple(outcome.settings.values()) for outcome in report.outcomes}) == 4
    for _ in range(200):
        if not any(_runs(owner) for owner in owners):
            break
        time.sleep(0.05)
    else:
        pytest.fail("a process outlived the one that started it")


def _runs(process):
    try:
        os.kill(process, 0)
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_f173_davis_is_searched_like_any_other(tmp_path, shared_data):
    benchmark = only(open_benchmark("davis", shared_data / "davis", split="dev"), ["dog-agility"])
    spec = find_tracker("descriptor").with_settings({"resolution": 48})
    space = parse_space(["top_k=1|3"], {})
    found = Search(benchmark=benchmark, tracker=spec, space=space, out=tmp_path, data=shared_data / "davis", sampler="grid")
    report = tune(found, Budget())
    assert report.best is not None
    assert 0.1 < report.best.scores["J&F-Mean"] < 1


def test_benchmarks_are_cut_to_sequences():
    assert only(Hill(), ["two"]).sequence_names == ("two",)
    with pytest.raises(DatasetError, match="did you mean 'two'"):
        only(Hill(), ["tow"])
    with pytest.raises(DatasetError, match="each once"):
        only(Hill(), ["one", "one"])
    with pytest.raises(DatasetError, match="cannot be cut"):
        only(type("Whole", (), {"name": "w", "split": "s", "sequence_names": ("a", "b")})(), ["a"])


def test_readers_are_cut_without_changing_them(shared_data):
    benchmark = open_benchmark("davis", shared_data / "davis", split="dev")
    assert isinstance(benchmark.dataset, DavisDataset)
    names = benchmark.sequence_names
    part = only(benchmark, [names[3], names[1]])
    assert part.sequence_names == (names[3], names[1])
    assert benchmark.sequence_names == names
