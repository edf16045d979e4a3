"""``followspot track`` as a stranger meets it: every kind of annotation, and real footage."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from followspot.cli.track import _folder_name
from followspot.datasets.davis import read_ids
from followspot.io.export import read_tracks
from followspot.io.video import open_video

FRAMES = 24


def test_everything_in_one_call(one_reference, truth, followspot, tmp_path):
    xy, visible = truth.points(0)
    (x1, y1, x2, y2), (x, y), (u, v) = truth.boxes(0)[0], *xy[visible][:2]
    joints = {"objects": [{"name": "dog", "joints": {"a": [x, y], "b": [u, v], "gone": None}, "skeleton": [["a", "b"]]}]}
    (tmp_path / "joints.json").write_text(json.dumps(joints))
    np.save(tmp_path / "heat.npy", (truth.masks(0) == 1).astype(np.float32) * 0.5)
    said = followspot(
        *one_reference, "--box", f"crate={x1},{y1},{x2},{y2}", "--box", f"{x1},{y1},{x2},{y2}", "--point", f"nose={x},{y}",
        "--keypoints", tmp_path / "joints.json", "--labels", tmp_path / "heat.npy", "--point", f"late={x},{y}", "--at", "12",
        "--out", tmp_path / "out", "--top-k", "5",
    )  # fmt: skip
    assert said.code == 0, said.err
    assert not said.complaints
    assert "24 frames, 24 computed now at" in said.out
    out = tmp_path / "out"
    for index in range(FRAMES):
        ids = read_ids(out / f"masks/{index:05d}.png")
        assert ids.shape == (120, 160)
        assert set(np.unique(ids)) <= {0, 1, 2}
        assert np.load(out / f"maps/{index:05d}.npy").shape == (1, 120, 160)
    np.testing.assert_array_equal(read_ids(out / "masks/00000.png"), truth.masks(0))
    with Image.open(out / "masks/00007.png") as picture:
        assert picture.mode == "P"
        assert picture.getpalette()[:6] == [0, 0, 0, 128, 0, 0]
    frames = read_tracks(out / "tracks.json")
    kinds = {o.name: o.kind for o in frames[15].objects}
    assert kinds == {
        "object 1": "mask",
        "object 2": "mask",
        "crate": "box",
        "box 2": "box",
        "nose": "point",
        "late": "point",
        "dog": "keypoints",
        "map 1": "map",
    }
    start = {o.name: o for o in frames[0].objects}
    assert start["crate"].box == pytest.approx((x1, y1, x2, y2))
    assert (start["nose"].points[0].x, start["nose"].points[0].y) == pytest.approx((x, y))
    assert [p.name for p in start["dog"].points] == ["a", "b", "gone"]
    late = next(o for o in frames[12].objects if o.name == "late")
    assert (late.points[0].x, late.points[0].y) == pytest.approx((x, y))
    with (out / "tracks.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == FRAMES * 10
    with open_video(out / "overlay.mp4") as overlay:
        assert (overlay.num_frames, overlay.height, overlay.width, overlay.fps) == (FRAMES, 120, 160, 20)


def test_the_masks_follow_the_objects(whole, truth):
    for index, least in ((5, 0.5), (17, 0.5), (18, 1)):
        ids, actual = read_ids(whole / f"two/masks/{index:05d}.png"), truth.masks(index)
        assert ((ids > 0) & (actual > 0)).sum() / ((ids > 0) | (actual > 0)).sum() >= least


def test_a_second_run_finds_everything_there(one_reference, whole, followspot, contents):
    before = contents(whole / "one")
    said = followspot(*one_reference, "--out", whole / "one")
    assert said.code == 0
    assert "all 24 frames are there already; add --overwrite to compute them again" in said.out
    assert contents(whole / "one") == before


def test_less_is_quicker(one_reference, footage, followspot, tmp_path, contents):
    out = tmp_path / "out"
    command = [*one_reference, "--mask", footage / "later.png", "--at=18", "--out", out]
    said = followspot(*command, "--no-overlay", "--no-confidence", "--no-both-ways")
    assert said.code == 0, said.err
    assert "overlay" not in said.err
    assert "backward" not in said.err
    assert "annotate next" not in said.out
    assert set(contents(out)) == {f"masks/{i:05d}.png" for i in range(FRAMES)} | {"tracks.json", "tracks.csv"}
    assert all(o.confidence is None for f in read_tracks(out / "tracks.json") for o in f.objects)
    before = contents(out)
    assert followspot(*command).refuses("results of another run", "choose another --out, or add --overwrite")
    assert contents(out) == before
    assert followspot(*command, "--overwrite").code == 0
    assert (out / "overlay.mp4").exists()
    assert read_tracks(out / "tracks.json")[15].objects[0].confidence is not None


def test_default_folder_and_a_folder_of_frames(quick, truth, footage, followspot, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("holiday").mkdir()
    for index in range(3):
        Image.fromarray(truth.frame(index)).save(f"holiday/{index + 98:03d}.jpg")
    said = followspot("track", "holiday", "--mask", footage / "first.png", *quick)
    assert said.code == 0, said.err
    assert sorted(path.name for path in Path("out/holiday/masks").iterdir()) == ["098.png", "099.png", "100.png"]


def test_a_mask_named_like_a_frame_belongs_to_that_frame(quick, truth, footage, followspot, tmp_path):
    shutil.copy(footage / "later.png", tmp_path / "00018.png")
    command = ["track", footage / "clip.mp4", "--mask", tmp_path / "00018.png", *quick, "--no-overlay", "--no-confidence"]
    assert followspot(*command, "--out", tmp_path / "out").code == 0
    np.testing.assert_array_equal(read_ids(tmp_path / "out/masks/00018.png"), truth.masks(18))


def test_addresses_make_one_folder():
    assert _folder_name("rtsp://10.0.0.7:554/live?ch=1") == "rtsp-10.0.0.7-554-live-ch=1"
    assert _folder_name("/dev/video0") == "dev-video0"
    assert _folder_name("tennis") == "tennis"
    assert _folder_name("..") == "video"


@pytest.fixture
def tennis(shared_data, tmp_path):
    folder = tmp_path / "tennis"
    folder.mkdir()
    for frame in sorted((shared_data / "davis/JPEGImages/480p/tennis").iterdir())[:12]:
        (folder / frame.name).symlink_to(frame)
    return folder


def test_tennis(tennis, shared_data, followspot, tmp_path):
    truth = shared_data / "davis/Annotations/480p/tennis"
    said = followspot("track", tennis, "--mask", truth / "00000.png", "--resolution", "240", "--out", tmp_path / "out", "--no-overlay")
    assert said.code == 0, said.err
    found = sorted(path.name for path in (tmp_path / "out/masks").iterdir())
    assert found == [f"{index:05d}.png" for index in range(12)]
    first = read_ids(truth / "00000.png")
    np.testing.assert_array_equal(read_ids(tmp_path / "out/masks/00000.png"), first)
    overlaps = []
    for index in range(1, 12):
        ids, actual = read_ids(tmp_path / "out/masks" / f"{index:05d}.png"), read_ids(truth / f"{index:05d}.png")
        assert ids.shape == (480, 854)
        assert set(np.unique(ids)) <= set(np.unique(first))
        overlaps.append(((ids > 0) & (actual > 0)).sum() / ((ids > 0) | (actual > 0)).sum())
    assert np.mean(overlaps) > 0.5, overlaps


def test_a_box_on_a_pedestrian(shared_data, followspot, tmp_path):
    folder = tmp_path / "crossing"
    folder.mkdir()
    for frame in sorted((shared_data / "boxes/otb_Crossing/img").iterdir())[:10]:
        (folder / frame.name).symlink_to(frame)
    rows = (shared_data / "boxes/otb_Crossing/groundtruth_rect.txt").read_text().splitlines()[:10]
    boxes = [(x - 1, y - 1, x - 1 + w, y - 1 + h) for x, y, w, h in (map(float, row.split()) for row in rows)]
    given = "walker=" + ",".join(f"{edge:g}" for edge in boxes[0])
    said = followspot("track", folder, "--box", given, "--resolution", "240", "--out", tmp_path / "out", "--no-overlay")
    assert said.code == 0, said.err
    frames = read_tracks(tmp_path / "out/tracks.json")
    assert [f.name for f in frames] == [f"{index:04d}" for index in range(1, 11)]
    assert frames[0].objects[0].box == boxes[0]
    for frame, (x1, y1, x2, y2) in zip(frames, boxes, strict=True):
        left, top, right, bottom = frame.objects[0].box
        shared = max(0, min(right, x2) - max(left, x1)) * max(0, min(bottom, y2) - max(top, y1))
        assert shared / ((right - left) * (bottom - top) + (x2 - x1) * (y2 - y1) - shared) > 0.4


def test_the_joints_of_a_bear(shared_data, followspot, tmp_path):
    folder = tmp_path / "bear"
    folder.mkdir()
    for frame in sorted((shared_data / "davis/JPEGImages/480p/bear").iterdir())[2:10]:
        (folder / frame.name).symlink_to(frame)
    badja = json.loads((shared_data / "keypoints/bear.json").read_text())
    assert badja["frames"][:2] == [2, 7]
    kept = {"frames": [0], "xy": badja["xy"][:1], "visible": badja["visible"][:1]}
    (tmp_path / "bear.json").write_text(json.dumps(badja | kept))
    joints = tmp_path / "bear.json"
    said = followspot("track", folder, "--keypoints", joints, "--resolution", "240", "--out", tmp_path / "out", "--no-overlay")
    assert said.code == 0, said.err
    frames = read_tracks(tmp_path / "out/tracks.json")
    assert [p.name for p in frames[0].objects[0].points] == badja["joint_names"]
    errors = [
        np.hypot(p.x - xy[0], p.y - xy[1])
        for p, xy, seen in zip(frames[5].objects[0].points, badja["xy"][1], badja["visible"][1], strict=True)
        if xy is not None and seen
    ]
    assert np.median(errors) < 30
