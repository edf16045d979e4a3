"""VOT as a benchmark: resets (F144), files (F146), rows by video (F151)."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from followspot.benchmarks.base import Benchmark
from followspot.benchmarks.registry import open_benchmark
from followspot.benchmarks.report import Report
from followspot.benchmarks.vot import PROTOCOLS, VotBenchmark
from followspot.benchmarks.vot_regions import answer_region, start_box
from followspot.errors import DatasetError, SettingError
from followspot.tracking.identity import IdentityTracker
from followspot.types import TrackedFrame, TrackedObject

FRAMES = 30
SIZE = (40, 80)


def truth(index):
    """A polygon that moves right by a pixel a frame."""
    left = 5 + index
    return [left, 10, left + 10, 10, left + 10, 20, left, 20]


@pytest.fixture
def vot(tmp_path):
    """ant (30 frames) and bee (20 frames), the same motion."""
    root = tmp_path / "data"
    for name, frames in (("ant", FRAMES), ("bee", 20)):
        images = root / name / "color"
        images.mkdir(parents=True)
        for index in range(frames):
            Image.new("RGB", SIZE[::-1], (index, 0, 0)).save(images / f"{index + 1:08d}.jpg")
        lines = [",".join(map(str, truth(index))) for index in range(frames)]
        (root / name / "groundtruth.txt").write_text("\n".join(lines) + "\n")
    (root / "list.txt").write_text("ant\nbee\n")
    return root


class Scripted:
    """Answers what a script says: by default the box of the first frame's square, moved along; nothing in the frames of `gone`."""

    def __init__(self, *, gone=(), away=(), shift=0):
        self.gone, self.away, self.shift, self.started = gone, away, shift, []

    def start(self, frame, annotations):
        self.started.append((frame.index, annotations[0].xyxy.tolist()[0]))

    def step(self, frame):
        left = 60 + self.shift if frame.index in self.away else 5 + frame.index + self.shift
        box = None if frame.index in self.gone else (left, 10.0, left + 10.0, 20.0)
        found = TrackedObject(name="object", kind="box", mask_id=None, box=box, points=(), confidence=None, lost=box is None)
        return TrackedFrame(index=frame.index, name=frame.name, time_seconds=0, masks=None, maps=None, objects=(found,))


def run_all(benchmark, tracker, results):
    for name in benchmark.sequence_names:
        benchmark.run(name, tracker, results / name)
    return results


@pytest.mark.parametrize("lost", [{"gone": (7,)}, {"away": (7,)}])
def test_f144_started_anew_five_frames_after_a_failure(vot, tmp_path, lost):
    tracker, told = Scripted(**lost), []
    benchmark = VotBenchmark(vot)
    benchmark.run("ant", tracker, tmp_path / "ant", on_frame=lambda *what: told.append(what))
    lines = (tmp_path / "ant" / "ant_001.txt").read_text().splitlines()
    assert lines[0] == "1"
    assert lines[1] == "6.0000,10.0000,10.0000,10.0000"
    assert lines[7:13] == ["2", "0", "0", "0", "0", "1"]
    assert all(line.count(",") == 3 for line in lines[1:7] + lines[13:])
    assert [(at, np.round(box, 6).tolist()) for at, box in tracker.started] == [(0, [5, 10, 16, 21]), (12, [17, 10, 28, 21])]
    assert (told[0], told[-1], len(told)) == (("ant", 1, FRAMES), ("ant", FRAMES, FRAMES), FRAMES)
    assert benchmark.is_complete("ant", tmp_path / "ant")


def test_a_failure_near_the_end_has_no_new_start(vot, tmp_path):
    VotBenchmark(vot).run("bee", Scripted(gone=(16,)), tmp_path)
    assert (tmp_path / "bee_001.txt").read_text().splitlines()[15:] == ["20.0000,10.0000,10.0000,10.0000", "2", "0", "0", "0"]


def test_f144_f151_scores_and_rows_by_hand(vot, tmp_path):
    """2 of 10 pixels aside in both; exact overlap 8 / 12. ant is lost once in 30 frames, bee never."""
    benchmark = VotBenchmark(vot, protocol="exact")
    benchmark.run("ant", Scripted(shift=2, gone=(7,)), tmp_path / "ant")
    benchmark.run("bee", Scripted(shift=2), tmp_path / "bee")
    report = benchmark.score(tmp_path, workers=1)
    assert isinstance(benchmark, Benchmark)
    assert (report.benchmark, report.split, report.protocol, report.curve) == ("VOT2018", "all", "exact", "overlap")
    assert report.scores["A"] == pytest.approx(2 / 3)
    assert report.scores["R"] == pytest.approx(30 / 50)
    assert report.scores["lost"] == 1
    assert np.isnan(report.scores["EAO"])  # no sequence is as long as the interval of 2018
    assert next(iter(report.scores)) == "EAO"
    assert report.lower_is_better == {"R", "lost"}
    ant, bee = report.rows
    assert (ant.sequence, ant.frames, ant.values["lost"]) == ("ant", 8, 1)  # frames 22 to 29: ten after the second start
    assert (bee.sequence, bee.frames, bee.values["accuracy"]) == ("bee", 10, pytest.approx(2 / 3))
    assert ant.curve[0] is None
    assert ant.curve[1] == pytest.approx(2 / 3)
    assert ant.curve[7:13] == (None,) * 6
    assert "ant" in report.table()
    report.save(tmp_path / "scores")
    assert Report.read(tmp_path / "scores" / "report.json").rows == report.rows
    lines = (tmp_path / "scores" / "expected_overlap.csv").read_text().splitlines()
    assert lines[0] == "length,overlap"
    assert lines[3] == "2,0.666667"
    assert len(lines) == 1 + 20


def test_protocols_differ_as_they_say(vot, tmp_path):
    VotBenchmark(vot).run("ant", Scripted(gone=(7,)), tmp_path / "ant")
    VotBenchmark(vot).run("bee", Scripted(), tmp_path / "bee")
    found = {name: VotBenchmark(vot, protocol=name).score(tmp_path, workers=1).scores for name in PROTOCOLS}
    assert found["exact"]["A"] == pytest.approx(1)
    assert found["toolkit"]["A"] == pytest.approx(100 / 121)  # a polygon's border counts, a rectangle's does not
    assert found["pysot"]["A"] == pytest.approx(1)
    assert found["toolkit"]["R"] == found["exact"]["R"] == pytest.approx(30 / 50)
    assert found["pysot"]["R"] == found["siammask"]["R"] == pytest.approx(100 / 50)
    assert PROTOCOLS["siammask"].intervals["2016"] == (100, 356)
    assert PROTOCOLS["pysot"].intervals["2016"] == (108, 371)
    assert PROTOCOLS["siammask"].intervals["2019"] == PROTOCOLS["toolkit"].intervals["2019"] == (46, 291)


def test_results_of_other_tools(vot, tmp_path):
    """A folder ``baseline`` and several runs of a sequence, as pysot and the official tools write them; workers do not matter."""
    baseline = run_all(VotBenchmark(vot), Scripted(), tmp_path / "them" / "baseline")
    once = VotBenchmark(vot).score(tmp_path / "them", workers=1)
    VotBenchmark(vot).run("ant", Scripted(gone=(9,)), tmp_path / "second")
    (tmp_path / "second" / "ant_001.txt").rename(baseline / "ant" / "ant_002.txt")
    (baseline / "ant" / "ant_001_time.txt").write_text("0.1\n")
    twice = VotBenchmark(vot).score(tmp_path / "them", workers=1)
    assert (once.scores["lost"], twice.scores["lost"]) == (0, 0.5)
    assert twice.scores["R"] == pytest.approx(0.5 * 30 / 50)
    told = []
    assert VotBenchmark(vot).score(tmp_path / "them", workers=2, progress=lambda *what: told.append(what)).to_json() == twice.to_json()
    assert told == [(1, 2), (2, 2)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, r"ant_001\.txt is missing; run the tracker"),
        ("Occ\n", r'ant_001\.txt:1: "Occ" is neither'),
        ("1\n" * 29, r"ant_001\.txt has 29 lines but the sequence has 30 frames"),
        ("1,2,3,4\n" * 30, r"ant_001\.txt:1: a run begins with 1"),
        ("1\n1\n" + "1,2,3,4\n" * 28, r"ant_001\.txt: a run with starts \(0, 1\)"),
    ],
)
def test_f146_unusable_runs_are_named(vot, tmp_path, text, told):
    run_all(VotBenchmark(vot), Scripted(), tmp_path)
    file = tmp_path / "ant" / "ant_001.txt"
    file.unlink()
    if text is not None:
        file.write_text(text)
    if text is None or not text.startswith("1"):
        assert not VotBenchmark(vot).is_complete("ant", tmp_path / "ant") or "begins" in told
    with pytest.raises(DatasetError, match=told) as caught:
        VotBenchmark(vot).score(tmp_path, workers=1)
    assert "\n" not in str(caught.value)


def test_frames_without_truth_neither_fail_nor_start(vot, tmp_path):
    lines = (vot / "ant" / "groundtruth.txt").read_text().splitlines()
    lines[7:9] = ["nan,nan,nan,nan"] * 2
    lines[17] = "0,0,0,0"
    (vot / "ant" / "groundtruth.txt").write_text("\n".join(lines) + "\n")
    tracker = Scripted(gone=(8, 12), away=(7,))
    VotBenchmark(vot).run("ant", tracker, tmp_path / "ant")
    VotBenchmark(vot).run("bee", Scripted(), tmp_path / "bee")
    lines = (tmp_path / "ant" / "ant_001.txt").read_text().splitlines()
    assert lines[7].startswith("60.0")  # an answer that cannot be judged
    assert lines[8] == "0"  # none, and none was to be given
    assert lines[12:19] == ["2", "0", "0", "0", "0", "0", "1"]  # the start waits for truth
    assert VotBenchmark(vot).score(tmp_path, workers=1).scores["lost"] == 1


def test_start_box_is_that_of_pysot():
    """Centre (cx, cy) in pixel centres; width and height one more than those of the same shape with the same area."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        angle, (w, h), centre = rng.uniform(0, np.pi), rng.uniform(5, 80, 2), rng.uniform(50, 200, 2)
        turn = np.array([(np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))])
        points = np.array([(-w, -h), (w, -h), (w, h), (-w, h)]) / 2 @ turn.T + centre
        spread = points.max(0) - points.min(0)
        wide, high = spread * np.sqrt(w * h / (spread[0] * spread[1])) + 1
        x1, y1, x2, y2 = start_box(points.ravel()).xyxy[0]
        # The first and last pixel, counted at their centres, are cx - (wide - 1) / 2 and cx + (wide - 1) / 2; edges are half a pixel out.
        assert x1 + 0.5 - 0.5 == pytest.approx(centre[0] - (wide - 1) / 2)
        assert (x2 - x1, y2 - y1) == pytest.approx((wide, high))
        assert (y1 + y2) / 2 == pytest.approx(centre[1] + 0.5)


def test_a_mask_answers_with_the_smallest_turned_rectangle():
    ids = np.zeros((60, 80), np.uint8)
    ys, xs = np.mgrid[:60, :80]
    ids[abs((xs - 40) + (ys - 30)) + abs((xs - 40) - (ys - 30)) <= 30] = 3  # an upright square
    ids[(abs((xs - 40) + (ys - 30)) <= 20) & (abs((xs - 40) - (ys - 30)) <= 8)] = 2  # a bar along the diagonal
    found = TrackedObject(name="a", kind="mask", mask_id=2, box=(26, 16, 54, 44), points=(), confidence=None, lost=False)
    answer = TrackedFrame(index=1, name="1", time_seconds=0, masks=ids, maps=None, objects=(found,))
    corners = answer_region(answer).reshape(4, 2)
    sides = sorted(np.hypot(*(corners - np.roll(corners, 1, 0)).T).tolist())
    assert sides == pytest.approx([18 / 2**0.5] * 2 + [42 / 2**0.5] * 2, rel=0.02)
    assert corners.mean(0) == pytest.approx([40.5, 30.5], abs=0.1)
    assert answer_region(TrackedFrame(index=1, name="1", time_seconds=0, masks=None, maps=None, objects=())) is None
    # A rotated box is an answer by itself; without one, a box is what it says, whatever pixels are told besides.
    turned = replace(found, kind="box", polygon=((1.0, 2.0), (9.0, 2.5), (8.5, 7.0), (0.5, 6.5)))
    assert answer_region(replace(answer, objects=(turned,))).tolist() == [1, 2, 9, 2.5, 8.5, 7, 0.5, 6.5]
    assert answer_region(replace(answer, objects=(replace(turned, polygon=None),))).tolist() == [26, 16, 28, 28]


def test_pictures(vot, tmp_path):
    benchmark = VotBenchmark(vot)
    plain = benchmark._dataset["ant"].read_frame(7).image
    with_truth = benchmark.picture("ant", 7, None)
    assert with_truth.shape == (*SIZE, 3)
    assert (with_truth[10, 12:22] != plain[10, 12:22]).any(1).all()
    assert (with_truth[0] == plain[0]).all()
    run_all(benchmark, Scripted(gone=(7,)), tmp_path)
    assert (benchmark.picture("ant", 7, tmp_path) == plain).all()
    assert (benchmark.picture("ant", 6, tmp_path) != benchmark._dataset["ant"].read_frame(6).image).any()


def test_a_picture_of_no_frame_is_refused(vot):
    with pytest.raises(DatasetError, match="ant has no frame 30; frames are 0 to 29"):
        VotBenchmark(vot).picture("ant", FRAMES, None)


@pytest.mark.parametrize("year", ["2016", "2018", "2019"])
def test_by_name_pickled_and_with_a_tracker_of_ours(vot, tmp_path, year):
    benchmark = pickle.loads(pickle.dumps(open_benchmark(f"vot{year}", vot)))
    assert (benchmark.name, benchmark.protocol, benchmark.sequence_names, benchmark.length("bee")) == (
        f"VOT{year}",
        "toolkit",
        ("ant", "bee"),
        20,
    )
    report = run_all(benchmark, IdentityTracker(), tmp_path) and benchmark.score(tmp_path, workers=1)
    assert report.scores["lost"] >= 2  # a box that stays is left behind after eleven frames
    with pytest.raises(SettingError, match="no protocol"):
        VotBenchmark(vot, protocol="pysott")
