"""The online tracker from the command line: one video, benchmarks, tables, searches and reports."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

from followspot.datasets.davis import read_ids
from followspot.datasets.synthetic import SyntheticVideo
from followspot.io.export import read_tracks
from followspot.io.masks import write_mask
from followspot.io.video import open_video
from followspot.jobs.report_runs import read_runs
from followspot.jobs.report_trackers import WeightFiles, with_kinds
from followspot.models.online_networks import build_online_network, save_online_network
from followspot.tracking.siamese_settings import choose_siamese_preset

FRAMES = 6


@pytest.fixture(scope="module")
def lite(tmp_path_factory):
    """Untrained weights."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "lite.safetensors"
    save_online_network(path, build_online_network("siammask-lite-base"), {})
    return path


@pytest.fixture(scope="module")
def videos():
    return {"one": SyntheticVideo(1, num_frames=FRAMES, height=96, width=128), "two": SyntheticVideo(2, num_frames=5, height=96, width=128)}


@pytest.fixture(scope="module")
def davis(videos, tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "DAVIS"
    for name, video in videos.items():
        images = root / "JPEGImages/480p" / name
        images.mkdir(parents=True)
        for index in range(len(video)):
            Image.fromarray(video.frame(index)).save(images / f"{index:05d}.jpg", quality=95)
            write_mask(root / "Annotations/480p" / name / f"{index:05d}.png", video.masks(index))
    path = root / "ImageSets/2017/val.txt"
    path.parent.mkdir(parents=True)
    path.write_text("one\ntwo\n")
    return root


@pytest.fixture(scope="module")
def vot(videos, tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "VOT2018"
    for name, video in videos.items():
        (root / name / "color").mkdir(parents=True)
        regions = []
        for index in range(len(video)):
            Image.fromarray(video.frame(index)).save(root / name / f"color/{index + 1:08d}.jpg")
            x1, y1, x2, y2 = video.boxes(index)[0]
            regions.append(f"{x1:.2f},{y1:.2f},{x2:.2f},{y1:.2f},{x2:.2f},{y2:.2f},{x1:.2f},{y2:.2f}")
        (root / name / "groundtruth.txt").write_text("\n".join(regions) + "\n")
    (root / "list.txt").write_text("one\ntwo\n")
    return root


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def settings(out):
    return json.loads((out / "settings.json").read_text())["tracker"]


def box_of(truth, index=0):
    return ",".join(f"{edge:.1f}" for edge in truth.boxes(index)[0])


def test_f135_a_box_on_a_video_makes_an_overlay_without_a_display(footage, truth, lite, followspot, tmp_path, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    out = tmp_path / "out"
    command = ("track", footage / "clip.mp4", "--tracker", lite, "--box", f"crate={box_of(truth)}", "--device", "cpu", "--out", out)
    said = followspot(*command)
    assert said.code == 0, said.err
    first, second, *rest = said.out.splitlines()
    assert f"{out}: 24 frames, 24 computed now at" in first
    assert second.startswith("model ")
    assert "frames/s (median), reading" in second
    assert "on cpu (" in second
    assert not rest
    with open_video(out / "overlay.mp4") as overlay:
        assert (overlay.num_frames, overlay.height, overlay.width) == (24, 120, 160)
    frames = read_tracks(out / "tracks.json")
    assert [o.name for o in frames[9].objects] == ["crate"]
    assert any(frame.objects[0].polygon for frame in frames)
    assert sum(bool(row["polygon"]) for row in table(out / "tracks.csv")) > 10
    assert followspot(*command).out.startswith(f"{out}: all 24 frames are there already")


def test_f135_masks_folders_presets_and_corrections(footage, truth, lite, followspot, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for index in range(4):
        Image.fromarray(truth.frame(index)).save(folder / f"IMG_{index}.png")
    out = tmp_path / "out"
    command = ("track", folder, "--mask", footage / "first.png", "--box", f"late={box_of(truth, 2)}", "--at", "2")
    said = followspot(*command, "--tracker", f"{lite}@davis", "--out", out)
    assert said.code == 0, said.err
    np.testing.assert_array_equal(read_ids(out / "masks/IMG_0.png"), truth.masks(0))
    assert [len(frame.objects) for frame in read_tracks(out / "tracks.json")] == [2, 2, 3, 3]
    assert json.loads((out / "tracks.json").read_text())["preset"] == "davis"
    both = (*command, "--tracker", lite, "--out", tmp_path / "both")
    assert followspot(*both, "--both-ways").refuses("frame 2 is annotated and this tracker goes forward only")
    point = ("track", folder, "--point", "3,4", "--tracker", lite, "--out", tmp_path / "point")
    assert followspot(*point).refuses("a siamese tracker follows boxes and masks, got points; use a propagation tracker")


def test_other_trackers_follow_a_video_by_name(footage, truth, one_reference, followspot, tmp_path, contents):
    mask = ("--mask", footage / "first.png")
    command = ("track", footage / "clip.mp4", *mask, "--tracker", "identity", "--out", tmp_path / "identity", "--no-overlay")
    assert followspot(*command).code == 0
    np.testing.assert_array_equal(read_ids(tmp_path / "identity/masks/00023.png"), truth.masks(0))
    named = ("track", footage / "clip.mp4", *mask, "--tracker", "descriptor", "--resolution", "96", "--device", "cpu")
    assert followspot(*named, "--out", tmp_path / "named", "--no-overlay").code == 0
    assert followspot(*one_reference, "--out", tmp_path / "usual", "--no-overlay").code == 0
    assert contents(tmp_path / "named") == contents(tmp_path / "usual")


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("evaluate davis --tracker LITE --resolution 120", ["is an online tracker", "--resolution, --top-k", "LITE@davis"]),
        ("evaluate davis --tracker LITE --preset davis", ["takes neither --preset", "LITE@davis"]),
        ("evaluate davis --tracker LITE --stride 4", ["nor --stride"]),
        ("evaluate davis --tracker LITE --encoder resnet18", ["and --encoder or --weights both say"]),
        ("evaluate davis --tracker LITE@crw", ['unknown preset "crw" of a siamese tracker']),
        ("evaluate davis --tracker LITE@dvis", ['did you mean "davis"']),
        ("evaluate davis --tracker LITE@none.yaml", ["there is no preset file none.yaml"]),
        ("evaluate davis --tracker descriptor@davis", ['unknown preset "davis"']),
        ("evaluate davis --tracker siammask", ["no weights come with siammask;", "followspot train siammask"]),
        ("compare davis --trackers identity,LITE,LITE@lite --out o", ['two trackers would be called "lite"']),
        ("track x.mp4 --box 1,2,3,4 --tracker LITE --top-k 3", ["is an online tracker"]),
        ("track x.mp4 --box 1,2,3,4 --tracker LITE --no-confidence", ["tells its score with every answer"]),
    ],
)
def test_what_does_not_go_together(davis, footage, lite, followspot, line, parts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [str(footage / "clip.mp4") if word == "x.mp4" else word.replace("LITE", str(lite)) for word in line.split()]
    data = () if words[0] == "track" else ("--data", davis)
    assert followspot(*words, *data).refuses(*(part.replace("LITE", str(lite)) for part in parts))
    assert not list(tmp_path.iterdir())


def test_masks_are_followed_with_the_usual_settings_unless_told_otherwise(davis, videos, lite, followspot, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = followspot("evaluate", "davis", "--data", davis, "--tracker", lite, "--workers", "1", "--device", "cpu", "--confidence")
    assert said.code == 0, said.err
    out = tmp_path / "out/davis-val-lite"
    assert (settings(out)["name"], settings(out)["method"], settings(out)["network"]) == ("lite", "siamese", "siammask-lite-base")
    assert (settings(out)["preset"]["name"], settings(out)["preset"]["lr"]) == ("lite", 0.3)
    last = said.out.splitlines()[-1]
    assert "frames/s: model " in last
    assert "writing" in last
    assert last.endswith("; by sequence in timing.csv")
    assert all(float(row["model_ms"]) > 0 and float(row["reading_ms"]) > 0 for row in table(out / "timing.csv"))
    sure = table(out / "confidence.csv")
    assert len(sure) == sum(2 * len(video) for video in videos.values())
    assert all(0 <= float(row["confidence"]) <= 1 for row in sure)
    assert sum(bool(row["j"]) for row in sure) == sum(2 * (len(video) - 2) for video in videos.values())
    scored = followspot("score", "davis", lite, "--data", davis, "--workers", "1")  # the same results are there already
    assert scored.code == 0, scored.err
    assert "tracking" not in scored.err
    other = followspot("evaluate", "davis", "--data", davis, "--tracker", f"ours={lite}@vot", "--workers", "1", "--device", "cpu")
    assert other.code == 0, other.err
    assert settings(tmp_path / "out/davis-val-ours")["preset"]["name"] == "vot"


def test_turned_boxes_are_the_answers_on_vot(vot, lite, followspot, tmp_path):
    out = tmp_path / "out"
    said = followspot("evaluate", "vot2018", "--data", vot, "--tracker", lite, "--workers", "1", "--device", "cpu", "--out", out)
    assert said.code == 0, said.err
    assert settings(out)["preset"]["name"] == "lite"
    assert "reading and writing" in said.out
    lines = (out / "one/one_001.txt").read_text().splitlines()
    assert lines[0] == "1"
    answers = [line.split(",") for line in lines if "," in line]
    assert any(len(answer) == 8 for answer in answers)
    assert all(len(answer) in (4, 8) for answer in answers)


def test_one_table_and_one_report_of_all_kinds_of_trackers(davis, lite, followspot, tmp_path):
    out = tmp_path / "cmp"
    command = ("compare", "davis", "--data", davis, "--trackers", f"identity,{lite},descriptor", "--resolution", "64", "--workers", "1")
    said = followspot(*command, "--out", out, "--device", "cpu")
    assert said.code == 0, said.err
    assert {row["tracker"] for row in table(out / "compare.csv")} == {"identity", "lite", "descriptor (changed)"}
    assert settings(out / "lite")["preset"]["name"] == "lite"
    told = followspot("report", out, "--out", tmp_path / "report", "--weights", lite)
    assert told.code == 0, told.err
    page = (tmp_path / "report/report.html").read_text()
    assert "lite" in page
    (group,) = with_kinds(read_runs([out]), WeightFiles([lite])).groups
    assert {run.name: run.kind for run in group.runs}["lite"] == "measured"


def test_f173_a_search_ends_in_a_preset_that_the_tracker_takes(davis, footage, truth, lite, followspot, tmp_path):
    out = tmp_path / "tuned"
    command = ("tune", "davis", "--data", davis, "--sequences", "two", "--tracker", lite, "--set", "lr=0.3|0.9", "--sampler", "grid")
    said = followspot(*command, "--device", "cpu", "--out", out)
    assert said.code == 0, said.err
    assert f"--tracker {lite}@{out / 'best.yaml'}" in said.out
    best = choose_siamese_preset(str(out / "best.yaml"))
    assert best.lr in (0.3, 0.9)
    assert (best.name, best.seg_thr) == ("tuned", 0.34)  # the rest is that of lite
    folder = tmp_path / "frames"
    folder.mkdir()
    for index in range(2):
        Image.fromarray(truth.frame(index)).save(folder / f"{index}.png")
    used = ("track", folder, "--box", box_of(truth), "--tracker", f"{lite}@{out / 'best.yaml'}", "--out", tmp_path / "out")
    assert followspot(*used).code == 0
    assert json.loads((tmp_path / "out/tracks.json").read_text())["preset"] == "tuned"
