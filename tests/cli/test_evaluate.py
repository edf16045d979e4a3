"""``evaluate``, ``score`` and ``compare`` on a tiny DAVIS whose numbers can be computed by hand."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from followspot.datasets.davis import read_ids
from followspot.datasets.synthetic import SyntheticVideo
from followspot.io.masks import write_mask
from followspot.models.networks import build_network
from followspot.models.weights import save_weights
from followspot.tracking.presets import PRESETS, Resolution

FRAMES = 5
SEEDS = {"one": 1, "two": 2}
QUICK = ("--resolution", "64", "--device", "cpu", "--workers", "1", "--tracker", "descriptor")


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
    said = followspot("evaluate", "davis", "--data", davis, "--tracker", "identity", "--out", out, "--workers", "1")
    assert said.code == 0, said.err
    header, values = table(out / "global_results-val.csv")
    assert header == ["J&F-Mean", "J-Mean", "J-Recall", "J-Decay", "F-Mean", "F-Recall", "F-Decay"]
    j = identity_j(videos, SEEDS, single=False)
    assert float(values[1]) == pytest.approx(j, abs=1e-3)
    assert f"{j:.3f}" in said.out or f"{100 * j:.1f}" in said.out
    header, *rows = table(out / "per-sequence_results-val.csv")
    assert header == ["Sequence", "J-Mean", "F-Mean"]
    assert [row[0] for row in rows] == ["one_1", "one_2", "two_1", "two_2"]
    assert f"saved to {out}: global_results-val.csv, per-sequence_results-val.csv, rows.csv, report.txt, report.json" in said.out
    assert json.loads((out / "report.json").read_text())
    for name in SEEDS:
        for index in range(FRAMES):
            np.testing.assert_array_equal(read_ids(out / name / f"{index:05d}.png"), videos[name].masks(0))


def test_the_year_follows_from_the_split(davis, videos, followspot, tmp_path):
    out = tmp_path / "out"
    said = followspot("evaluate", "davis", "--data", davis, "--split", "dev", "--tracker", "identity", "--out", out, "--workers", "1")
    assert said.code == 0, said.err
    assert "2016" in said.out
    assert float(table(out / "global_results-dev.csv")[1][1]) == pytest.approx(identity_j(videos, ["two"], single=True), abs=1e-3)
    both = ("--data", davis, "--split", "both", "--tracker", "identity", "--workers", "1", "--out", tmp_path / "both")
    assert followspot("evaluate", "davis", *both).refuses("name the benchmark davis-2016 or davis-2017")
    assert followspot("evaluate", "davis-2017", *both).code == 0


def test_a_tracker_beats_nothing_moves_and_goes_on_where_it_was(davis, videos, followspot, tmp_path, monkeypatch, contents):
    monkeypatch.chdir(tmp_path)
    command = ("evaluate", "davis", "--data", davis, *QUICK)
    first = followspot(*command)
    assert first.code == 0, first.err
    out = tmp_path / "out/davis-val-descriptor-changed"
    before = contents(out)
    assert float(table(out / "global_results-val.csv")[1][1]) > 0.4
    assert "tracking" in first.err
    assert "10/10" in first.err  # one bar over the frames of both sequences
    again = followspot(*command)
    assert "tracking" not in again.err
    assert again.out == first.out
    assert contents(out) == before
    (out / "two/00003.png").unlink()
    resumed = followspot(*command)
    assert "5/5" in resumed.err
    timeless = {name: data for name, data in contents(out).items() if name != "timing.csv"}
    assert timeless == {name: data for name, data in before.items() if name != "timing.csv"}
    before = contents(out)
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
    _, values = table(results / "preliminary/preliminary_global_results-val.csv")
    assert [float(v) for v in values[:3]] == [1, 1, 1]
    assert followspot("score", "davis", results, "--data", davis, "--workers", "2").code == 0
    assert json.loads((results / "report.json").read_text())["protocol"] == "official"
    assert json.loads((results / "preliminary/report.json").read_text())["protocol"] == "preliminary"


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


def test_unknown_splits(davis, followspot):
    command = ("--data", davis, "--tracker", "identity")
    assert followspot("evaluate", "davis", *command, "--split", "vla").refuses("vla", "val")
    assert followspot("evaluate", "davis-2016", *command).refuses("2016", "val")


def test_f174_weights_and_runs_are_scored_like_results(davis, followspot, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(PRESETS, "default", replace(PRESETS["default"], resolution=Resolution(pixels=64)))
    torch.manual_seed(0)
    save_weights(tmp_path / "run/encoder.safetensors", build_network("resnet18"), {"encoder": "resnet18"})
    said = followspot("score", "davis", "run", "--data", davis, "--workers", "1")
    assert said.code == 0, said.err
    masks = tmp_path / "out/davis-val-run"
    assert f"saved to {masks.relative_to(tmp_path)}" in said.out
    again = followspot("score", "davis", masks, "--data", davis, "--workers", "1", "--out", "scores")
    assert again.code == 0, again.err
    assert again.out.splitlines()[:9] == said.out.splitlines()[:9]
    direct = followspot("score", "davis", "run/encoder.safetensors", "--data", davis, "--workers", "1")
    assert direct.out == said.out
    assert "tracking" not in direct.err


def test_f112_one_table_of_all_that_are_compared(davis, videos, followspot, tmp_path):
    options = ("--data", davis, "--workers", "1", "--device", "cpu", "--out", tmp_path / "cmp")
    trackers = "identity, flow:dis, small=descriptor, random:resnet18@crw"
    said = followspot("compare", "davis", "--trackers", trackers, "--resolution", "64", *options)
    assert said.code == 0, said.err
    header, *rows = table(tmp_path / "cmp/compare.csv")
    assert header == ["tracker", "J&F-Mean", "J-Mean", "J-Recall", "J-Decay", "F-Mean", "F-Recall", "F-Decay", "frames_per_second"]
    first = [float(row[1]) for row in rows]
    assert first == sorted(first, reverse=True)
    by_name = {row[0]: [float(value) for value in row[1:]] for row in rows}
    assert by_name.keys() == {"identity", "flow:dis", "small", "random:resnet18@crw (changed)"}
    assert by_name["identity"][1] == pytest.approx(identity_j(videos, SEEDS, single=False), abs=1e-6)
    assert all(values[-1] > 0 for values in by_name.values())
    folders = {path.name for path in (tmp_path / "cmp").iterdir() if path.is_dir()}
    assert folders == {"identity", "flow-dis", "small", "random-resnet18-crw-changed"}
    preset = json.loads((tmp_path / "cmp/random-resnet18-crw-changed/settings.json").read_text())["tracker"]["preset"]
    assert (preset["context_frames"], preset["resolution"]) == (PRESETS["crw"].context_frames, "short:64")
    for row in rows:
        assert row[0] in said.out
    assert (tmp_path / "cmp/compare.md").read_text().count("\n| ") == 6
    again = followspot("compare", "davis", "--trackers", trackers, "--resolution", "64", *options)
    assert again.out == said.out
    assert "identity" not in again.err


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("evaluate davis --tracker identity --preset crw", ["--tracker identity propagates nothing"]),
        ("evaluate davis --tracker identity@crw", ["identity propagates nothing, so it takes no preset; leave @crw out"]),
        ("evaluate davis --tracker descriptor --encoder resnet18", ["--tracker descriptor and --encoder or --weights both say"]),
        ("evaluate davis --tracker descriptor@crww", ['unknown preset "crww"; did you mean "crw"']),
        ("evaluate davis --tracker descripter", ['did you mean "descriptor"']),
        ("evaluate davis --tracker identity --processes 0", ["processes is 0, expected at least 1"]),
        ("evaluate davis --tracker identity --workers 0", ["workers is 0, expected at least 1"]),
        ("score davis nowhere", ["nowhere is no folder of results; check the path"]),
        ("compare davis --trackers , --out o", ["there is no tracker to compare"]),
        ("compare davis --trackers identity,identiy --out o", ['did you mean "identity"']),
        ("compare davis --trackers identity,identity --out o", ['two trackers would be called "identity"']),
    ],
)
def test_what_does_not_go_together(davis, followspot, line, parts, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert followspot(*line.split(), "--data", davis).refuses(*parts)
    assert not list((tmp_path / "here").iterdir())


def test_the_table_is_printed_although_a_tracker_fails(davis, followspot, tmp_path):
    command = ("compare", "davis", "--trackers", "identity,template", "--data", davis, "--workers", "1", "--out", tmp_path / "cmp")
    said = followspot(*command)
    assert said.refuses("1 of 2 trackers could not be compared (template: 2 of 2 sequences", "follows boxes only")
    assert "official protocol, 1 tracker" in said.out
    assert "saved to" in said.out


def test_a_benchmark_that_needs_no_data_asks_for_none(followspot):
    assert followspot("evaluate", "synthetic", "--tracker", "identity", "--processes", "0").refuses("processes is 0")
    assert followspot("evaluate", "synthetic", "--tracker", "identity", "--workers", "0").refuses("workers is 0")
