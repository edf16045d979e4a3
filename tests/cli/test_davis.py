"""``evaluate davis`` and ``score davis`` on a tiny DAVIS whose numbers can be computed by hand."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from followspot.datasets.davis import read_ids
from followspot.datasets.synthetic import SyntheticVideo
from followspot.io.masks import write_mask

FRAMES = 5
SEEDS = {"one": 1, "two": 2}
QUICK = ("--resolution", "64", "--device", "cpu", "--workers", "1", "--encoder", "descriptor")


@pytest.fixture(scope="session")
def videos():
    return {name: SyntheticVideo(seed, num_frames=FRAMES, height=96, width=128) for name, seed in SEEDS.items()}


@pytest.fixture
def davis(videos, tmp_path):
    root = tmp_path / "DAVIS"
    for name, video in videos.items():
        images = root / "JPEGImages/480p" / name
        images.mkdir(parents=True)
        for index in range(FRAMES):
            Image.fromarray(video.frame(index)).save(images / f"{index:05d}.jpg", quality=95)
            write_mask(root / "Annotations/480p" / name / f"{index:05d}.png", video.masks(index))
    for listing, names in (("2017/val", "one\ntwo\n"), ("2016/dev", "two\n"), ("2016/both", "one\n"), ("2017/both", "one\n")):
        path = root / f"ImageSets/{listing}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(names)
    return root


def table(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


def region(predicted, actual):
    both = (predicted & actual).sum() / max(1, (predicted | actual).sum())
    return both if (predicted | actual).any() else 1.0


def identity_j(videos, names, *, single):
    """Mean J of copying frame 0, over objects, without the first and the last frame."""
    means = []
    for name in names:
        video = videos[name]
        for wanted in ((1, 2),) if single else ((1,), (2,)):
            scores = [region(np.isin(video.masks(0), wanted), np.isin(video.masks(i), wanted)) for i in range(1, FRAMES - 1)]
            means.append(np.mean(scores))
    return np.mean(means)


def test_identity_equals_the_direct_computation(davis, videos, followspot, tmp_path):
    out = tmp_path / "identity"
    said = followspot("evaluate", "davis", "--data", davis, "--baseline", "identity", "--out", out, "--workers", "1")
    assert said.code == 0, said.err
    header, values = table(out / "global_results-val.csv")
    assert header == ["J&F-Mean", "J-Mean", "J-Recall", "J-Decay", "F-Mean", "F-Recall", "F-Decay"]
    j = identity_j(videos, SEEDS, single=False)
    assert float(values[1]) == pytest.approx(j, abs=1e-3)
    assert f"{j:.3f}" in said.out or f"{100 * j:.1f}" in said.out
    header, *rows = table(out / "per-sequence_results-val.csv")
    assert header == ["Sequence", "J-Mean", "F-Mean"]
    assert [row[0] for row in rows] == ["one_1", "one_2", "two_1", "two_2"]
    assert f"saved to {out}: global_results-val.csv, per-sequence_results-val.csv, report.json" in said.out
    assert json.loads((out / "report.json").read_text())
    for name in SEEDS:
        for index in range(FRAMES):
            np.testing.assert_array_equal(read_ids(out / name / f"{index:05d}.png"), videos[name].masks(0))


def test_the_year_follows_from_the_split(davis, videos, followspot, tmp_path):
    out = tmp_path / "out"
    said = followspot("evaluate", "davis", "--data", davis, "--split", "dev", "--baseline", "identity", "--out", out, "--workers", "1")
    assert said.code == 0, said.err
    assert "2016" in said.out
    assert float(table(out / "global_results-dev.csv")[1][1]) == pytest.approx(identity_j(videos, ["two"], single=True), abs=1e-3)
    both = ("evaluate", "davis", "--data", davis, "--split", "both", "--baseline", "identity", "--workers", "1")
    unclear = followspot(*both, "--out", tmp_path / "both")
    assert unclear.code == 2
    assert len(unclear.complaints) == 1
    assert "2016" in unclear.complaints[0]
    assert "2017" in unclear.complaints[0]
    assert followspot(*both, "--year", "2017", "--out", tmp_path / "both").code == 0


def test_a_tracker_beats_nothing_moves_and_goes_on_where_it_was(davis, videos, followspot, tmp_path, monkeypatch, contents):
    monkeypatch.chdir(tmp_path)
    command = ("evaluate", "davis", "--data", davis, *QUICK)
    first = followspot(*command)
    assert first.code == 0, first.err
    out = tmp_path / "out/davis-val-descriptor-default-(changed)"
    before = contents(out)
    assert float(table(out / "global_results-val.csv")[1][1]) > 0.4
    assert first.err.count("/5") == 2  # a bar a sequence
    again = followspot(*command)
    assert again.err.count("/5") == 0
    assert again.out == first.out
    assert contents(out) == before
    (out / "two/00003.png").unlink()
    resumed = followspot(*command)
    assert "two" in resumed.err
    assert resumed.err.count("/5") == 1
    assert contents(out) == before
    other = followspot(*command, "--top-k", "3", "--out", out)
    assert other.code == 2
    assert "names other settings than this run" in other.complaints[0]
    assert contents(out) == before
    scored = followspot("score", "davis", out, "--data", davis, "--workers", "1", "--out", tmp_path / "scores")
    assert scored.code == 0, scored.err
    assert (tmp_path / "scores/global_results-val.csv").read_bytes() == (out / "global_results-val.csv").read_bytes()


@pytest.fixture
def results(davis, videos, tmp_path):
    """The truth as results."""
    for name, video in videos.items():
        for index in range(FRAMES):
            write_mask(tmp_path / "results" / name / f"{index:05d}.png", video.masks(index))
    return tmp_path / "results"


def test_the_truth_scores_one(davis, results, followspot):
    said = followspot("score", "davis", results, "--data", davis, "--workers", "1", "--protocol", "preliminary")
    assert said.code == 0, said.err
    assert "preliminary_global_results-val.csv" in said.out
    _, values = table(results / "preliminary_global_results-val.csv")
    assert [float(v) for v in values[:3]] == [1, 1, 1]
    assert followspot("score", "davis", results, "--data", davis, "--workers", "2").code == 0


@pytest.mark.parametrize(
    ("damage", "parts"),
    [
        ("missing frame", ["two/00002.png is missing", "1 of 5 frames"]),
        ("missing sequence", ["two is missing", "1 of 2 sequences"]),
        ("wrong size", ["two/00002.png is 64x48 but the frame is 128x96"]),
        ("unknown object", ["two/00002.png holds ids [7]"]),
        ("no picture", ["two/00002.png"]),
    ],
)
def test_bad_results_are_one_line_that_names_the_file(davis, results, followspot, damage, parts, contents):
    path = results / "two/00002.png"
    match damage:
        case "missing frame":
            path.unlink()
        case "missing sequence":
            path.parent.rename(results / "three")
        case "wrong size":
            write_mask(path, np.ones((48, 64), np.uint8))
        case "unknown object":
            write_mask(path, np.full((96, 128), 7, np.uint8))
        case "no picture":
            path.write_text("<html>")
    before = contents(results)
    said = followspot("score", "davis", results, "--data", davis, "--workers", "1")
    assert said.code == 2
    assert len(said.complaints) == 1, said.err
    assert said.complaints[0].startswith("error: ")
    assert all(part in said.complaints[0] for part in parts), said.complaints
    assert contents(results) == before


@pytest.mark.parametrize(("options", "parts"), [(["--split", "vla"], ["vla", "val"]), (["--year", "2016"], ["2016", "val"])])
def test_unknown_splits(davis, followspot, options, parts):
    said = followspot("evaluate", "davis", "--data", davis, "--baseline", "identity", *options)
    assert said.code == 2
    assert len(said.complaints) == 1
    assert all(part in said.complaints[0] for part in parts)
