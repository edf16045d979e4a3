"""JHMDB, BADJA and TAP-Vid as benchmarks: small trees run with trackers whose answers are known, scored by hand."""

import importlib.util
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from followspot.benchmarks.badja import BadjaBenchmark
from followspot.benchmarks.base import Benchmark
from followspot.benchmarks.jhmdb import JhmdbBenchmark
from followspot.benchmarks.registry import NAMES, open_benchmark
from followspot.benchmarks.report import Report
from followspot.benchmarks.tapvid import TapvidBenchmark
from followspot.errors import DatasetError, SettingError
from followspot.io.point_tracks import read_point_tracks
from followspot.tracking.presets import Resolution, find_preset
from followspot.tracking.propagation import PropagationTracker
from followspot.types import Keypoints, TrackedFrame, TrackedObject, TrackedPoint

_spec = importlib.util.spec_from_file_location("point_trees", Path(__file__).parents[1] / "point_trees.py")
point_trees = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(point_trees)
H, W = point_trees.SIZE
T = point_trees.FRAMES


class Still:
    """A tracker for which nothing moves; what it is shown is written down. `change` edits each point: (point, frame) -> point."""

    def __init__(self, change=lambda point, frame: point):
        self.change, self.starts, self.frames = change, [], []

    def start(self, frame, annotations):
        (self.given,) = annotations
        self.starts.append((frame.index, self.given))
        return self.answer(frame)

    def step(self, frame, annotations=()):
        assert not annotations
        return self.answer(frame)

    def answer(self, frame):
        self.frames.append(frame)
        names = self.given.joints if isinstance(self.given, Keypoints) else self.given.names
        spots = [TrackedPoint(name=n, x=x, y=y, confidence=0.75, lost=False) for n, (x, y) in zip(names, self.given.xy, strict=True)]
        spots = [self.change(spot, frame.index) for spot in spots]
        common = {"mask_id": None, "box": None, "confidence": None, "lost": False}
        if isinstance(self.given, Keypoints):
            things = (TrackedObject(name=self.given.name, kind="keypoints", points=tuple(spots), **common),)
        else:
            things = tuple(TrackedObject(name=spot.name, kind="point", points=(spot,), **common) for spot in spots)
        return TrackedFrame(index=frame.index, name=frame.name, time_seconds=0, masks=None, maps=None, objects=things)


def run(benchmark, tracker, results):
    heard = []
    for name in benchmark.sequence_names:
        folder = results / name
        folder.mkdir(parents=True)
        assert not benchmark.is_complete(name, folder)
        benchmark.run(name, tracker, folder, on_frame=lambda *told: heard.append(told))
        assert benchmark.is_complete(name, folder)
        assert heard[-1][0] == name
        assert heard[-1][1] == heard[-1][2] == benchmark.length(name)
    return benchmark.score(results)


@pytest.fixture
def jhmdb(tmp_path):
    return tmp_path / "data", point_trees.jhmdb(tmp_path / "data")


def test_jhmdb_standing_still_scores_what_the_joints_do(jhmdb, tmp_path):
    root, truth = jhmdb
    tracker = Still()
    report = run(JhmdbBenchmark(root, protocol="strict"), tracker, tmp_path / "results")
    near = []
    for joints in truth.values():
        size = 0.6 * np.hypot(*(joints.max(1) - joints.min(1)).T)
        near.append((np.linalg.norm(joints - joints[0], axis=2) <= 0.1 * size[:, None])[1:])
    assert report.scores["PCK@0.1"] == pytest.approx(np.concatenate(near).mean(0).mean())
    assert report.rows[1].values["PCK@0.1"] == pytest.approx(near[1].mean())
    assert report.rows[0].curve[0] is None
    assert report.rows[0].curve[1:] == pytest.approx(near[0].mean(1))
    assert report.scores["lost"] == 0
    assert tracker.frames[0].image.shape == (H, W, 3)
    np.testing.assert_allclose(tracker.starts[0][1].xy, truth[point_trees.CLIPS[0]][0])
    assert len(tracker.starts[0][1].skeleton) == 14


def test_f143_jhmdb_lost_joints_in_all_protocols(jhmdb, tmp_path):
    root, _ = jhmdb
    gone = lambda spot, frame: replace(spot, x=np.nan, y=np.nan, lost=True) if frame and spot.name == "face" else spot  # noqa: E731
    run(JhmdbBenchmark(root), Still(), tmp_path / "all")
    run(JhmdbBenchmark(root), Still(gone), tmp_path / "some")
    scores = {
        (kind, protocol): JhmdbBenchmark(root, protocol=protocol).score(tmp_path / kind).scores
        for kind in ("all", "some")
        for protocol in ("videowalk", "legacy", "strict")
    }
    assert scores["some", "strict"]["PCK@0.5"] < scores["all", "strict"]["PCK@0.5"]
    assert scores["some", "strict"]["lost"] == pytest.approx(1 / 15)
    # The first frame, which legacy counts, is right.
    assert scores["some", "legacy"]["PCK@0.3"] > scores["some", "videowalk"]["PCK@0.3"]
    face = {}
    for protocol in ("videowalk", "legacy", "strict"):
        (table,) = JhmdbBenchmark(root, protocol=protocol).score(tmp_path / "some").files.values()
        face[protocol] = table.splitlines()[3].split(",")[:2]
    # Counted nowhere, counted where it was given, counted everywhere and wrong.
    assert face == {"videowalk": ["face", "nan"], "legacy": ["face", "1.000000"], "strict": ["face", "0.000000"]}


def test_doubt_about_a_joint_changes_no_score(jhmdb, tmp_path):
    root, _ = jhmdb
    doubtful = run(JhmdbBenchmark(root), Still(lambda spot, _: replace(spot, lost=True)), tmp_path / "doubtful")
    assert doubtful.scores == run(JhmdbBenchmark(root), Still(), tmp_path / "sure").scores


def test_jhmdb_files_as_videowalk_has_them(jhmdb, tmp_path):
    root, truth = jhmdb
    gone = lambda spot, frame: replace(spot, x=np.nan, y=np.nan) if frame == 3 and spot.name == "neck" else spot  # noqa: E731
    benchmark = JhmdbBenchmark(root, protocol="strict")
    report = run(benchmark, Still(gone), tmp_path / "ours")
    flat = tmp_path / "flat"
    flat.mkdir()
    for number, name in enumerate(point_trees.CLIPS):
        cells = pickle.loads((tmp_path / "ours" / name / f"{number}.dat").read_bytes())
        assert cells.shape == (2, 15, T)
        assert (cells[:, 0, 3] == -1).all()
        np.testing.assert_allclose(cells[:, 1, 5], truth[name][0, 1] * [40 / W, 40 / H])
        (flat / f"{number}.dat").write_bytes(pickle.dumps(cells, protocol=2))
    again = benchmark.score(flat)
    assert again.scores == pytest.approx(report.scores)
    assert benchmark.picture(point_trees.CLIPS[0], 3, flat).shape == (H, W, 3)
    (flat / "1.dat").write_bytes(pickle.dumps(np.zeros((2, 15, 3))))
    with pytest.raises(DatasetError, match=r"1\.dat holds \(2, 15, 3\), expected an array \(2, 15, 8\)"):
        benchmark.score(flat)
    (flat / "1.dat").unlink()
    with pytest.raises(DatasetError, match=r"two \(1\)!/tracks\.npz is missing, and so is 1\.dat; run every clip"):
        benchmark.score(flat)


def test_reports_are_saved_with_a_table_of_joints(jhmdb, tmp_path):
    root, _ = jhmdb
    report = run(JhmdbBenchmark(root), Still(), tmp_path / "results")
    report.save(tmp_path / "scores")
    table = (tmp_path / "scores/pck_per_joint-videowalk.csv").read_text().splitlines()
    assert table[0] == "joint,PCK@0.1,PCK@0.2,PCK@0.3,PCK@0.4,PCK@0.5"
    assert len(table) == 16
    assert np.mean([float(line.split(",")[1]) for line in table[1:]]) == pytest.approx(report.scores["PCK@0.1"], abs=1e-5)
    assert Report.read(tmp_path / "scores/report.json").scores == pytest.approx(report.scores)
    assert "videowalk protocol, 2 sequences" in report.table()


def test_f162_pictures_leave_out_lost_joints(jhmdb, tmp_path):
    root, _ = jhmdb
    name = point_trees.CLIPS[0]
    benchmark = JhmdbBenchmark(root)
    frame = benchmark.dataset[name].open().frame(2).image
    truth = benchmark.picture(name, 2, None)
    assert (truth != frame).any()
    run(benchmark, Still(lambda spot, _: replace(spot, lost=True)), tmp_path / "lost")
    np.testing.assert_array_equal(benchmark.picture(name, 2, tmp_path / "lost"), frame)
    with pytest.raises(DatasetError, match="has no frame 8; its frames are 0 to 7"):
        benchmark.picture(name, T, None)


def test_badja_by_hand(tmp_path):
    truth = point_trees.badja_ours(tmp_path)
    tracker = Still()
    results = tmp_path / "results"
    report = run(BadjaBenchmark(tmp_path), tracker, results)
    assert len(tracker.frames) == 2 * 6  # frames 2 to 7
    assert tracker.starts[0][1].xy.shape == (19, 2)  # joint 5 is not visible in the first annotated frame
    expected, pixels = [], []
    for seed, joints in enumerate(truth.values()):
        near = []
        for frame in (4, 7):
            area = (point_trees.video(seed, points=20).masks(frame) > 0).sum()
            apart = np.linalg.norm(joints[frame] - joints[2], axis=1)
            counted = [k for k in range(20) if k != 5 and (frame, k) != (4, 3)]
            near += (apart[counted] <= 0.2 * np.sqrt(area)).tolist()
            pixels += apart[counted].tolist()
        expected.append(np.mean(near))
    assert [row.values["PCK@0.2"] for row in report.rows] == pytest.approx(expected)
    assert report.scores["PCK@0.2"] == pytest.approx(np.mean(expected))
    assert 0 < report.scores["PCK@0.2"] <= 1
    simple = BadjaBenchmark(tmp_path, protocol="pixels").score(results)
    assert simple.scores["near 24 px"] == pytest.approx(np.mean(np.array(pixels) <= 24))
    assert simple.scores["median px"] == pytest.approx(np.median(pixels))
    assert [i for i, share in enumerate(simple.rows[0].curve) if share is not None] == [4, 7]
    benchmark = BadjaBenchmark(tmp_path)
    assert (benchmark.picture("bear", 4, results) != benchmark.picture("bear", 3, None)).any()


def test_badja_lost_joints_are_wrong_and_masks_are_needed_by_one_protocol(tmp_path):
    point_trees.badja_ours(tmp_path)
    lost = Still(lambda spot, _: replace(spot, x=np.nan, y=np.nan, lost=True))
    report = run(BadjaBenchmark(tmp_path, split="dog"), lost, tmp_path / "results")
    assert report.scores["PCK@0.2"] == 0
    assert report.rows[0].values["lost"] == 1
    (tmp_path / "davis/Annotations/480p/dog/00007.png").unlink()
    assert BadjaBenchmark(tmp_path, split="dog", protocol="pixels").score(tmp_path / "results").scores["near 24 px"] == 0
    with pytest.raises(DatasetError, match=r"dog/00007\.png is missing"):
        BadjaBenchmark(tmp_path, split="dog").score(tmp_path / "results")


def test_tapvid_query_first(tmp_path):
    entries = point_trees.tapvid(tmp_path / "davis.pkl")
    tracker = Still()
    results = tmp_path / "results"
    benchmark = TapvidBenchmark(tmp_path / "davis.pkl", split="goat")
    report = run(benchmark, tracker, results)
    goat = entries["goat"]
    visible = ~goat["occluded"]
    firsts = {n: int(np.flatnonzero(visible[n])[0]) for n in range(len(visible)) if visible[n].any()}
    assert 2 not in firsts
    assert report.rows[0].values["queries"] == len(firsts)
    # One pass for each frame with queries, from there to the end; the tracker sees the right pictures and counts them from 0.
    assert len(tracker.starts) == len(set(firsts.values())) > 1
    assert [index for index, _ in tracker.starts] == [0] * len(tracker.starts)
    assert len(tracker.frames) == sum(T - at for at in set(firsts.values()))
    np.testing.assert_array_equal(tracker.frames[T].image, goat["video"][sorted(set(firsts.values()))[1]])
    near, agree = [], []
    for n, at in firsts.items():
        for t in range(at + 1, T):
            agree.append(visible[n, t])
            if visible[n, t]:
                apart = np.linalg.norm(256 * (goat["points"][n, t] - goat["points"][n, at]))
                near.append(np.mean([apart < threshold for threshold in (1, 2, 4, 8, 16)]))
    assert report.scores["delta_avg"] == pytest.approx(np.mean(near))
    assert report.scores["OA"] == pytest.approx(np.mean(agree))
    assert benchmark.picture("goat", 5, results).shape == (H, W, 3)
    assert (benchmark.picture("goat", 5, None) != goat["video"][5]).any()


def test_tapvid_strided_goes_both_ways(tmp_path):
    entries = point_trees.tapvid(tmp_path / "davis.pkl")
    tracker = Still()
    benchmark = TapvidBenchmark(tmp_path / "davis.pkl", split="goat", protocol="strided")
    report = run(benchmark, tracker, tmp_path / "results")
    visible = ~entries["goat"]["occluded"]
    assert report.rows[0].values["queries"] == visible[:, 0].sum() + visible[:, 5].sum()
    assert len(tracker.starts) == 3  # from 0 on, from 5 on, from 5 back
    backwards = [frame.image for frame in tracker.frames[-6:]]
    np.testing.assert_array_equal(backwards, entries["goat"]["video"][5::-1])
    tracks = read_point_tracks(tmp_path / "results/goat", frames=T, names=("",) * int(report.rows[0].values["queries"]))
    assert np.isfinite(tracks.xy).all()
    assert 0 < report.scores["AJ"] < report.scores["delta_avg"] <= 1


def test_tapvid_the_truth_scores_1_and_lost_means_hidden(tmp_path):
    entries = point_trees.tapvid(tmp_path / "davis.pkl")
    benchmark = TapvidBenchmark(tmp_path / "davis.pkl")
    for name, entry in entries.items():
        chosen = np.flatnonzero((~entry["occluded"]).any(1))
        xy = entry["points"][chosen].transpose(1, 0, 2) * np.array([W, H]) - 0.5
        (tmp_path / "results" / name).mkdir(parents=True)
        np.savez(tmp_path / "results" / name / "tracks.npz", xy=xy, lost=entry["occluded"][chosen].T)
    scores = benchmark.score(tmp_path / "results").scores
    assert (scores["AJ"], scores["delta_avg"], scores["OA"]) == (1, 1, 1)


def test_a_point_that_nobody_sees_cannot_be_asked_for(tmp_path):
    entry = point_trees.tapvid_entry(1)
    entry["occluded"][:] = True
    (tmp_path / "davis.pkl").write_bytes(pickle.dumps({"goat": entry}))
    with pytest.raises(DatasetError, match="'goat' has no point that is ever visible"):
        TapvidBenchmark(tmp_path / "davis.pkl").run("goat", Still(), tmp_path)


class NoPoints(Still):
    def answer(self, frame):
        return TrackedFrame(index=frame.index, name=frame.name, time_seconds=0, masks=None, maps=None, objects=())


def test_trackers_without_points_are_refused(jhmdb, tmp_path):
    root, _ = jhmdb
    with pytest.raises(SettingError, match="gave no point for frame 00001; choose one that follows points"):
        JhmdbBenchmark(root).run(point_trees.CLIPS[0], NoPoints(), tmp_path)


@pytest.mark.parametrize("name", ["jhmdb", "badja", "tapvid"])
def test_they_are_benchmarks_by_name(name, tmp_path):
    make = {"jhmdb": point_trees.jhmdb, "badja": point_trees.badja_ours, "tapvid": lambda root: point_trees.tapvid(root / "a.pkl")}
    make[name](tmp_path)
    for protocol in NAMES[name].protocols:
        benchmark = open_benchmark(name, tmp_path, protocol=protocol)
        assert isinstance(benchmark, Benchmark)
        assert benchmark.protocol == protocol
        assert pickle.loads(pickle.dumps(benchmark)).sequence_names == benchmark.sequence_names
    assert open_benchmark(name, tmp_path).protocol == NAMES[name].protocols[0]
    assert open_benchmark(name, tmp_path).split == NAMES[name].splits[0]
    with pytest.raises(SettingError, match="protocol"):
        type(benchmark)(tmp_path, protocol="none")


@pytest.fixture(scope="module")
def small_tracker():
    preset = replace(find_preset("default"), resolution=Resolution(mode="native"))
    return PropagationTracker("descriptor", preset, confidence=False)


def test_f101_joints_are_followed_by_the_propagation_tracker(jhmdb, tmp_path, small_tracker):
    root, _ = jhmdb
    moved = run(JhmdbBenchmark(root, protocol="strict"), small_tracker, tmp_path / "moved").scores
    still = run(JhmdbBenchmark(root, protocol="strict"), Still(), tmp_path / "still").scores
    assert moved["PCK@0.2"] > still["PCK@0.2"]


def test_points_are_followed_and_some_called_hidden(tmp_path, small_tracker):
    point_trees.tapvid(tmp_path / "davis.pkl")
    benchmark = TapvidBenchmark(tmp_path / "davis.pkl")
    moved = run(benchmark, small_tracker, tmp_path / "moved").scores
    assert moved["delta_avg"] > run(benchmark, Still(), tmp_path / "still").scores["delta_avg"]
    tracks = read_point_tracks(tmp_path / "moved/goat", frames=T, names=("",) * 5)
    assert np.isfinite(tracks.confidence[-1]).all()
    assert tracks.lost[1:].any()
    assert not small_tracker.confidence  # only asked for while it is needed


def test_real_footage(shared_data, tmp_path):
    small = PropagationTracker("descriptor", replace(find_preset("default"), resolution=Resolution(pixels=120)))
    report = run(BadjaBenchmark(shared_data, split="dog-agility"), small, tmp_path)
    assert report.rows[0].frames == 4
    assert report.rows[0].values["joints"] == 29
    assert 0.1 < report.scores["PCK@0.2"] < 0.9
