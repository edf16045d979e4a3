"""Trackers on benchmarks: what is run, kept, timed, refused, and goes on after a kill."""

import csv
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from followspot.benchmarks.davis import DavisBenchmark
from followspot.datasets.davis import read_ids
from followspot.datasets.synthetic import SyntheticVideo
from followspot.errors import DatasetError, OutputError, SettingError
from followspot.io.masks import write_mask
from followspot.io.video import open_video
from followspot.jobs import evaluate as evaluate_module
from followspot.jobs import evaluate_processes
from followspot.jobs.evaluate import evaluate, evaluate_tracker
from followspot.jobs.results import ResultsFolder, Timing, protocol_of
from followspot.jobs.trackers import TrackerSpec, find_tracker
from followspot.tracking.identity import IdentityTracker
from followspot.tracking.presets import PRESETS, Resolution
from followspot.types import Masks

FRAMES = {"one": 4, "two": 5, "three": 6}
QUICK = replace(PRESETS["default"], resolution=Resolution(pixels=64))


@pytest.fixture(scope="session")
def tree(tmp_path_factory):
    """A DAVIS with three sequences of 4, 5 and 6 frames."""
    root = tmp_path_factory.mktemp("DAVIS")
    for seed, (name, count) in enumerate(FRAMES.items(), 1):
        video = SyntheticVideo(seed, num_frames=count, height=64, width=80)
        (root / "JPEGImages/480p" / name).mkdir(parents=True)
        for index in range(count):
            Image.fromarray(video.frame(index)).save(root / "JPEGImages/480p" / name / f"{index:05d}.jpg", quality=95)
            write_mask(root / "Annotations/480p" / name / f"{index:05d}.png", video.masks(index))
    (root / "ImageSets/2017").mkdir(parents=True)
    (root / "ImageSets/2017/val.txt").write_text("".join(f"{name}\n" for name in FRAMES))
    return root


@pytest.fixture
def davis(tree):
    return DavisBenchmark(tree)


@pytest.fixture
def descriptor():
    return find_tracker("descriptor", preset=QUICK, device="cpu")


def identity(benchmark, out, **options):
    return evaluate(benchmark, find_tracker("identity"), out, data=benchmark.dataset.root, workers=1, **options)


def masks_of(contents):
    return {name: data for name, data in contents.items() if name.endswith(".png")}


class Failing(IdentityTracker):
    """Fails on sequences of so many frames."""

    def __init__(self, *, at, error):
        super().__init__()
        self.at, self.error = at, error

    def step(self, frame, annotations=()):
        if frame.index == self.at:
            raise self.error
        return super().step(frame, annotations)


def test_results_are_those_of_the_tracker_alone(davis, descriptor, tmp_path):
    done = evaluate(davis, descriptor, tmp_path, data=davis.dataset.root, workers=1)
    assert done.computed == 3
    assert done.report == davis.score(tmp_path, workers=1)
    tracker = descriptor.build()
    for sequence in davis.dataset.sequences:
        with open_video(sequence.image_folder) as video:
            for answer in tracker.stream(video, {0: [Masks(ids=sequence.read_mask(0))]}):
                np.testing.assert_array_equal(read_ids(tmp_path / sequence.name / f"{answer.name}.png"), answer.masks)


def test_what_is_left_behind(davis, tmp_path):
    shown = []
    done = identity(davis, tmp_path / "out", show=lambda *what: shown.append(what))
    out = tmp_path / "out"
    files = {"settings.json", "timing.csv", "report.json", "report.txt", "rows.csv", *done.report.files}
    assert {path.name for path in out.iterdir()} == {*FRAMES, *files}
    known = json.loads((out / "settings.json").read_text())
    assert {key: known[key] for key in ("benchmark", "split", "protocol")} == {
        "benchmark": "DAVIS 2017",
        "split": "val",
        "protocol": "official",
    }
    assert known["data"] == str(davis.dataset.root)
    assert known["tracker"]["method"] == "identity"
    assert protocol_of(out) == "official"
    with (out / "timing.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["sequence"], int(row["frames"])) for row in rows] == list(FRAMES.items())
    assert all(float(row["seconds"]) > 0 and float(row["frames_per_second"]) > 0 for row in rows)
    seconds = sum(float(row["seconds"]) for row in rows)
    assert done.frames_per_second == pytest.approx(15 / seconds, rel=0.05)
    assert [what for what in shown if what[0] == "tracking"] == [("tracking", n, 15) for n in range(1, 16)]
    assert [what for what in shown if what[0] == "scoring"] == [("scoring", n, 3) for n in range(1, 4)]


def test_what_is_complete_is_not_run_again(davis, tmp_path, contents):
    identity(davis, tmp_path)
    before = contents(tmp_path)
    shown = []
    assert identity(davis, tmp_path, show=lambda *what: shown.append(what)).computed == 0
    assert contents(tmp_path) == before
    assert not [what for what in shown if what[0] == "tracking"]
    (tmp_path / "two/00003.png").unlink()
    again = identity(davis, tmp_path)
    assert again.computed == 1
    assert masks_of(contents(tmp_path)) == masks_of(before)


def test_f154_several_processes_leave_what_one_leaves(davis, descriptor, tmp_path, contents):
    one = evaluate(davis, descriptor, tmp_path / "one", data=davis.dataset.root, workers=1)
    shown = []
    two = evaluate(
        davis,
        descriptor,
        tmp_path / "two",
        data=davis.dataset.root,
        processes=2,
        workers=1,
        show=lambda *what: shown.append(what),
    )
    assert two.report == one.report
    assert masks_of(contents(tmp_path / "two")) == masks_of(contents(tmp_path / "one"))
    assert max(what for what in shown if what[0] == "tracking") == ("tracking", 15, 15)
    assert {path.name for path in (tmp_path / "two").iterdir()} == {path.name for path in (tmp_path / "one").iterdir()}


def test_one_bad_sequence_does_not_lose_the_others(tree, descriptor, tmp_path):
    root = tmp_path / "DAVIS"
    for folder in ("ImageSets", "JPEGImages/480p", "Annotations/480p"):
        (root / folder).mkdir(parents=True)
    (root / "ImageSets/2017").symlink_to(tree / "ImageSets/2017")
    for kind in ("JPEGImages/480p", "Annotations/480p"):
        for name in FRAMES:
            (root / kind / name).symlink_to(tree / kind / name)
    (root / "JPEGImages/480p/two").unlink()
    (root / "JPEGImages/480p/two").mkdir()
    for file in (tree / "JPEGImages/480p/two").iterdir():
        (root / "JPEGImages/480p/two" / file.name).write_bytes(file.read_bytes() if file.stem != "00003" else b"no picture")
    out = tmp_path / "out"
    with pytest.raises(DatasetError, match=r"1 of 3 sequences could not be run: two: .*00003.*; run the same command again"):
        evaluate(DavisBenchmark(root), descriptor, out, data=root)
    assert {path.name for path in out.iterdir()} == {"one", "three", "settings.json", "timing.csv"}
    (root / "JPEGImages/480p/two/00003.jpg").write_bytes((tree / "JPEGImages/480p/two/00003.jpg").read_bytes())
    assert evaluate(DavisBenchmark(root), descriptor, out, data=root, workers=1).computed == 1


def test_one_reason_for_many_sequences_is_told_once(davis, tmp_path):
    with pytest.raises(DatasetError, match=r"3 of 3 sequences could not be run: one and 2 more: out of luck; run the same command again"):
        evaluate_tracker(davis, Failing(at=2, error=SettingError("out of luck")), tmp_path, settings={})
    failures = [evaluate_module.Failure(name, DatasetError(f"reason {name}")) for name in "abcde"]
    with pytest.raises(DatasetError, match=r"a: reason a; b: reason b; c: reason c \(and 2 other reasons\)"):
        evaluate_module.raise_failures(failures, 9)


def test_what_nobody_can_mend_is_raised_as_it_is_after_all_others_ran(davis, tmp_path):
    tracker = Failing(at=4, error=ZeroDivisionError("oops"))
    with pytest.raises(ZeroDivisionError, match="oops") as caught:
        evaluate_tracker(davis, tracker, tmp_path, settings={})
    assert "in sequence 'two', 2 of 3 failed" in caught.value.__notes__[0]
    assert (tmp_path / "one").is_dir()
    assert not (tmp_path / "two").exists()
    assert not (tmp_path / ".partial").exists()


class Counting(Failing):
    """Also counts how many sequences it began."""

    began = 0

    def start(self, frame, annotations):
        self.began += 1
        return super().start(frame, annotations)


@pytest.mark.parametrize("error", [OutputError("no space left"), KeyboardInterrupt()])
def test_a_full_disk_and_ctrl_c_end_it_at_once(davis, tmp_path, error):
    tracker = Counting(at=2, error=error)
    with pytest.raises(type(error)):
        evaluate_tracker(davis, tracker, tmp_path, settings={})
    assert tracker.began == 1


def test_a_tracker_that_leaves_out_frames_is_named(davis, tmp_path):
    class Tired(IdentityTracker):
        def stream(self, frames, annotations):
            for answer in super().stream(frames, annotations):
                if answer.index < 4:
                    yield answer

    with pytest.raises(DatasetError, match="two: the run of 'two' left results out; the tracker must answer for every frame"):
        evaluate_tracker(davis, Tired(), tmp_path, settings={})


def test_results_of_different_settings_are_never_mixed(davis, descriptor, tmp_path):
    evaluate(davis, descriptor, tmp_path / "out", data=davis.dataset.root, workers=1)
    renamed = replace(descriptor, name="the same", preset=replace(QUICK, name="by another name"))
    assert evaluate(davis, renamed, tmp_path / "out", data=davis.dataset.root, workers=1).computed == 0
    fewer = replace(descriptor, preset=replace(QUICK, affinity=replace(QUICK.affinity, top_k=3)))
    with pytest.raises(OutputError, match=r"settings\.json names other settings than this run \(top_k: 5 there, 3 now\)"):
        evaluate(davis, fewer, tmp_path / "out", data=davis.dataset.root)
    with pytest.raises(OutputError, match=r'\(protocol: "official" there, "preliminary" now\)'):
        evaluate(DavisBenchmark(davis.dataset, protocol="preliminary"), descriptor, tmp_path / "out", data=davis.dataset.root)
    (tmp_path / "unknown").mkdir()
    (tmp_path / "unknown/notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="so what made them is unknown"):
        evaluate(davis, descriptor, tmp_path / "unknown", data=davis.dataset.root)
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="file"):
        evaluate(davis, descriptor, tmp_path / "file", data=davis.dataset.root)


def test_settings_without_results_are_forgotten(tmp_path):
    ResultsFolder(tmp_path, {"top_k": 5})
    assert json.loads((tmp_path / "settings.json").read_text()) == {"top_k": 5}
    ResultsFolder(tmp_path, {"top_k": 3})
    assert json.loads((tmp_path / "settings.json").read_text()) == {"top_k": 3}
    (tmp_path / "settings.json").write_text("{")
    with pytest.raises(OutputError, match=r"settings\.json cannot be read"):
        ResultsFolder(tmp_path, {"top_k": 3})


def test_names_of_sequences_may_have_folders_in_them(tmp_path):
    folder = ResultsFolder(tmp_path / "out", {})
    for name in ("a/b", "a/c"):
        (folder.begin(name) / "x.txt").write_text(name)
        folder.keep(Timing(sequence=name, frames=10, seconds=2.0))
    assert (tmp_path / "out/a/c/x.txt").read_text() == "a/c"
    assert folder.timings()["a/b"].frames_per_second == 5.0
    (tmp_path / "out/timing.csv").write_text("what,ever\n1,2\n")
    with pytest.raises(DatasetError, match=r"timing\.csv is not a table of times .*; delete it"):
        folder.timings()


def test_a_split_without_truth_is_packed_for_its_server(davis, tmp_path):
    class Hidden(DavisBenchmark):
        hidden = True

        def pack(self, results, archive):
            archive.write_text(" ".join(sorted(path.name for path in results.iterdir() if path.is_dir())))

    done = identity(Hidden(davis.dataset), tmp_path)
    assert done.report is None
    assert done.archive == tmp_path / "submission.zip"
    assert done.archive.read_text() == "one three two"
    with pytest.raises(DatasetError, match="the split has no public truth"):
        done.require_report()


def test_no_processes_are_refused(davis, tmp_path):
    with pytest.raises(SettingError, match="processes is 0, expected at least 1"):
        identity(davis, tmp_path / "out", processes=0)
    assert not (tmp_path / "out").exists()


SCRIPT = """
import os, sys, time
from pathlib import Path
from followspot.benchmarks.davis import DavisBenchmark
from followspot.errors import DatasetError
from followspot.jobs.evaluate import evaluate
from followspot.jobs.trackers import find_tracker

class Odd(DavisBenchmark):
    def run(self, sequence, tracker, folder, *, on_frame):
{odd}
        super().run(sequence, tracker, folder, on_frame=on_frame)

if __name__ == "__main__":
    data = Path(sys.argv[1])
    evaluate(Odd(data), find_tracker("identity"), Path(sys.argv[2]), data=data, processes=2)
"""


def test_a_process_that_dies_costs_its_sequence_only(davis, tmp_path):
    script = tmp_path / "script.py"
    odd = """
        if sequence == "two":
            os._exit(9)
        if sequence == "three":
            raise DatasetError("no such thing")
    """
    script.write_text(SCRIPT.format(odd=odd))
    command = [sys.executable, script, str(davis.dataset.root), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 1
    assert "2 of 3 sequences could not be run" in done.stderr
    assert "two: its process ended (exit code 9); use fewer processes if memory is short" in done.stderr
    assert "three: no such thing" in done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"one", "settings.json", "timing.csv"}


class Line:
    """What a process hears and says, without a process."""

    def __init__(self, *heard):
        self.heard, self.said = list(heard), []

    def recv(self):
        if not self.heard:
            raise EOFError
        return self.heard.pop(0)

    def send(self, message):
        self.said.append(message)


def test_what_a_process_says(davis, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate_processes.signal, "signal", lambda *which: None)
    monkeypatch.setattr(evaluate_processes.cv2, "setNumThreads", lambda number: None)

    class Spec:
        def __init__(self, error):
            self.error = error

        def build(self):
            return Failing(at=4, error=self.error)

    for error, kind in ((DatasetError("bad"), "mendable"), (OutputError("full"), "output"), (ZeroDivisionError("oops"), "unexpected")):
        folder = tmp_path / kind
        line = Line(("one", folder / "one"), ("two", folder / "two"))
        evaluate_processes._serve(line, davis, Spec(error), torch.get_num_threads())
        *frames, done = line.said[:5]
        assert [(frame.done, frame.total) for frame in frames] == [(1, 4), (2, 4), (3, 4), (4, 4)]
        assert (done.timing.sequence, done.timing.frames) == ("one", 4)
        assert line.said[-1].kind == kind
        assert str(error) in line.said[-1].text
    assert "Traceback" in str(line.said[-1].error())
    line = Line(("one", tmp_path / "nobody"))
    line.send = lambda message: (_ for _ in ()).throw(BrokenPipeError)
    evaluate_processes._serve(line, davis, Spec(None), torch.get_num_threads())


def test_a_killed_run_goes_on_and_its_processes_end_with_it(davis, tmp_path, contents):
    """kill -9 while sequences run: only what is complete is there, and the next run gives what a whole one gives."""
    whole = identity(davis, tmp_path / "whole")
    script = tmp_path / "script.py"
    odd = """
        Path(sys.argv[0]).with_name(f"pid-{os.getpid()}").touch()
        say = on_frame
        def on_frame(*what):
            time.sleep(0.3 if sequence == "two" else 0)
            say(*what)
    """
    script.write_text(SCRIPT.format(odd=odd))
    out = tmp_path / "out"
    running = subprocess.Popen([sys.executable, script, str(davis.dataset.root), str(out)])
    wait_for(lambda: (out / "one").is_dir() and list(out.glob(".partial/*/two/*.png")))
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert not (out / "two").exists()
    children = [int(path.name.removeprefix("pid-")) for path in tmp_path.glob("pid-*")]
    assert len(children) == 2
    wait_for(lambda: not any(alive(child) for child in children))
    done = identity(davis, out)
    assert done.computed == 1
    assert done.report == whole.report
    assert masks_of(contents(out)) == masks_of(contents(tmp_path / "whole"))
    assert not (out / ".partial").exists()


def wait_for(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().split()[2] != "Z"
    except OSError:
        return False


def test_a_tracker_can_be_sent_to_other_processes(descriptor):
    assert pickle.loads(pickle.dumps(descriptor)) == descriptor
    assert isinstance(descriptor, TrackerSpec)
