"""``followspot track`` as a stranger meets it: every kind of annotation, every kind of bad input, and kill -9."""

import contextlib
import csv
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from followspot.cli.main import main
from followspot.cli.track import _folder_name
from followspot.datasets.davis import read_ids
from followspot.io.export import read_tracks
from followspot.io.video import open_video

QUICK = ("--resolution", "96", "--device", "cpu")
FRAMES = 24


def one_reference(footage):
    return ["track", footage / "clip.mp4", "--mask", footage / "first.png", *QUICK]


def two_references(footage):
    return [*one_reference(footage), "--mask", footage / "later.png", "--at", "18"]


MAIN = "import sys; from followspot.cli.main import main; main(sys.argv[1:])"


@pytest.fixture(scope="session")
def whole(footage, tmp_path_factory):
    """What uninterrupted runs leave."""
    folder = tmp_path_factory.mktemp("whole")
    for name, command in (("one", one_reference(footage)), ("two", two_references(footage))):
        with pytest.raises(SystemExit, match=r"^0$"):
            main([*map(str, command), "--out", str(folder / name)])
    return folder


def no_partial_files(folder):
    return not [path for path in folder.rglob("*") if "partial" in path.name]


def refuses(said, *parts):
    """It ended with 2 and one line that begins with error: and holds all the parts."""
    assert said.code == 2, said.err
    assert len(said.complaints) == 1, said.err
    assert "\u2501" in said.err or said.err.count("\n") == 1, said.err
    assert said.complaints[0].startswith("error: ")
    for part in parts:
        assert part in said.complaints[0]
    return True


# --- the main job


def test_everything_in_one_call(footage, truth, followspot, tmp_path):
    xy, visible = truth.points(0)
    (x1, y1, x2, y2), (x, y), (u, v) = truth.boxes(0)[0], *xy[visible][:2]
    joints = {"objects": [{"name": "dog", "joints": {"a": [x, y], "b": [u, v], "gone": None}, "skeleton": [["a", "b"]]}]}
    (tmp_path / "joints.json").write_text(json.dumps(joints))
    np.save(tmp_path / "heat.npy", (truth.masks(0) == 1).astype(np.float32) * 0.5)
    said = followspot(
        *one_reference(footage), "--box", f"crate={x1},{y1},{x2},{y2}", "--box", f"{x1},{y1},{x2},{y2}", "--point", f"nose={x},{y}",
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


def test_a_second_run_finds_everything_there(whole, footage, followspot, contents):
    before = contents(whole / "one")
    said = followspot(*one_reference(footage), "--out", whole / "one")
    assert said.code == 0
    assert "all 24 frames are there already; add --overwrite to compute them again" in said.out
    assert contents(whole / "one") == before


def test_less_is_quicker(footage, followspot, tmp_path, contents):
    out = tmp_path / "out"
    command = [*one_reference(footage), "--mask", footage / "later.png", "--at=18", "--out", out]
    said = followspot(*command, "--no-overlay", "--no-confidence", "--no-both-ways")
    assert said.code == 0, said.err
    assert "overlay" not in said.err
    assert "backward" not in said.err
    assert "annotate next" not in said.out
    assert set(contents(out)) == {f"masks/{i:05d}.png" for i in range(FRAMES)} | {"tracks.json", "tracks.csv"}
    assert all(o.confidence is None for f in read_tracks(out / "tracks.json") for o in f.objects)
    before = contents(out)
    assert refuses(followspot(*command), "results of another run", "choose another --out, or add --overwrite")
    assert contents(out) == before
    assert followspot(*command, "--overwrite").code == 0
    assert (out / "overlay.mp4").exists()
    assert read_tracks(out / "tracks.json")[15].objects[0].confidence is not None


def test_default_folder_and_a_folder_of_frames(truth, footage, followspot, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("holiday").mkdir()
    for index in range(3):
        Image.fromarray(truth.frame(index)).save(f"holiday/{index + 98:03d}.jpg")
    said = followspot("track", "holiday", "--mask", footage / "first.png", *QUICK)
    assert said.code == 0, said.err
    assert sorted(path.name for path in Path("out/holiday/masks").iterdir()) == ["098.png", "099.png", "100.png"]


def test_a_mask_named_like_a_frame_belongs_to_that_frame(truth, footage, followspot, tmp_path):
    shutil.copy(footage / "later.png", tmp_path / "00018.png")
    command = ["track", footage / "clip.mp4", "--mask", tmp_path / "00018.png", *QUICK, "--no-overlay", "--no-confidence"]
    assert followspot(*command, "--out", tmp_path / "out").code == 0
    np.testing.assert_array_equal(read_ids(tmp_path / "out/masks/00018.png"), truth.masks(18))


def test_addresses_make_one_folder():
    assert _folder_name("rtsp://10.0.0.7:554/live?ch=1") == "rtsp-10.0.0.7-554-live-ch=1"
    assert _folder_name("/dev/video0") == "dev-video0"
    assert _folder_name("tennis") == "tennis"
    assert _folder_name("..") == "video"


# --- kill -9

DIES = """
import os, signal, sys
import followspot.cli.progress as progress
from followspot.jobs import folder
stage, done, *arguments = sys.argv[1:]
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
show = progress.Stages.__call__
def call(self, now, count, total):
    show(self, now, count, total)
    if (now, count) == (stage, int(done)):
        die()
progress.Stages.__call__ = call
if stage == "finish":
    folder.shutil.rmtree = die
elif stage == "replace":
    replace, left = os.replace, [int(done)]
    def count_down(*paths):
        left[0] -= 1
        replace(*paths) if left[0] else die()
    os.replace = count_down
from followspot.cli.main import main
main(arguments)
"""


@pytest.mark.parametrize(
    ("run", "stage", "done", "computed"),
    [
        ("two", "backward", 11, 24),
        ("two", "tracking", 21, 8),
        ("two", "overlay", 17, 8),
        ("one", "replace", 21, 8),  # in the middle of writing a mask after the first checkpoint
        ("one", "finish", 0, 0),
    ],
)
def test_killed_and_run_again(whole, footage, followspot, fresh_process, tmp_path, contents, run, stage, done, computed):
    command = [*(one_reference if run == "one" else two_references)(footage), "--out", tmp_path / "out"]
    killed = fresh_process(DIES, stage, done, *command)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    said = followspot(*command)
    assert said.code == 0, said.err
    assert (f"24 frames, {computed} computed now" if computed else "all 24 frames are there already") in said.out
    assert contents(tmp_path / "out") == contents(whole / run)


def test_killed_from_outside(whole, footage, followspot, tmp_path, contents):
    out = tmp_path / "out"
    command = [str(part) for part in (*two_references(footage), "--out", out)]
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([sys.executable, "-m", "followspot", *command], env=environment, **quiet)
    try:
        until = time.monotonic() + 100
        while not (out / "masks/00017.png").exists() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.002)
    finally:
        process.kill()
        process.wait()
    if process.returncode == 0:
        pytest.skip("the machine finished the run before it could be killed")
    assert not (out / "tracks.json").exists()
    said = followspot(*command)
    assert "24 frames, " in said.out
    assert "24 computed" not in said.out
    assert contents(out) == contents(whole / "two")


# --- bad input


def test_a_cut_video_is_saved_up_to_the_cut(whole, footage, followspot, tmp_path, contents):
    data = (footage / "clip.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) * 6 // 10])
    command = ["track", tmp_path / "cut.mp4", "--mask", footage / "first.png", *QUICK, "--out", tmp_path / "out"]
    first = followspot(*command)
    files = contents(tmp_path / "out")
    count = sum(name.startswith("masks/") for name in files)
    assert 5 < count < FRAMES
    assert refuses(first, f"ends after {count} of 24 frames", "re-copy or re-download")
    assert f"{count} frames, {count} computed now" in first.out
    assert set(files) == {f"masks/{i:05d}.png" for i in range(count)} | {"tracks.json", "tracks.csv", "overlay.mp4"}
    for index in range(count):
        assert files[f"masks/{index:05d}.png"] == (whole / f"one/masks/{index:05d}.png").read_bytes()
    with open_video(tmp_path / "out/overlay.mp4") as overlay:
        assert overlay.num_frames == count
    assert len(read_tracks(tmp_path / "out/tracks.json")) == count
    again = followspot(*command)
    assert refuses(again, f"ends after {count} of 24 frames")
    assert f"all {count} frames are there already" in again.out


def html(footage, folder):
    (folder / "clip.mp4").write_text("<!DOCTYPE html><html><body>404 Not Found</body></html>")
    return ["track", folder / "clip.mp4", "--mask", footage / "first.png"], ("clip.mp4",)


def zero_bytes(footage, folder):
    (folder / "clip.mp4").write_bytes(b"")
    return ["track", folder / "clip.mp4", "--mask", footage / "first.png"], ("clip.mp4", "empty")


def missing_codec(footage, folder):
    (folder / "clip.mp4").write_bytes((footage / "clip.mp4").read_bytes().replace(b"avc1", b"zz91"))
    return ["track", folder / "clip.mp4", "--mask", footage / "first.png"], ("clip.mp4",)


def no_such_video(footage, folder):
    return ["track", footage / "clup.mp4", "--mask", footage / "first.png"], ("did you mean", "clip.mp4")


def small_mask(footage, folder):
    Image.fromarray(np.ones((60, 80), np.uint8) * 255).save(folder / "small.png")
    return ["track", footage / "clip.mp4", "--mask", folder / "small.png"], ("small.png", "80x60", "160x120")


def unknown_palette(footage, folder):
    pixels = np.zeros((120, 160, 3), np.uint8)
    pixels[20:40, 20:40] = (12, 200, 77)
    Image.fromarray(pixels).save(folder / "odd.png")
    return ["track", footage / "clip.mp4", "--mask", folder / "odd.png"], ("unknown palette (#0cc84d)", "--colour cat=#ff0000")


def empty_mask(footage, folder):
    Image.fromarray(np.zeros((120, 160), np.uint8)).save(folder / "none.png")
    return ["track", footage / "clip.mp4", "--mask", folder / "none.png"], ("none.png is empty",)


COMMANDS = {
    "box outside": (["--box", "cat=300,10,400,90"], ("--box cat=300,10,400,90", "outside the 160x120 image")),
    "box inside out": (["--box", "cat=90,10,20,60"], ("'cat=90,10,20,60' is empty",)),
    "half a box": (["--box", "cat=90,10,20"], ("'cat=90,10,20' is not understood", "cat=120,80,340,260")),
    "point outside": (["--point", "nose=160,3"], ("'nose' = 160,3 lies outside the 160x120 image",)),
    "no annotation": ([], ("nothing to follow: add --mask first.png",)),
    "at nothing": (["--at", "3", "--point", "1,2"], ("--at 3 follows no annotation",)),
    "at no number": (["--point", "1,2", "--at", "x"], ('--at "x" is not a frame number',)),
    "at the end of the line": (["--point", "1,2", "--at"], ("--at needs a frame number",)),
    "beyond the video": (["--point", "1,2", "--at", "24"], ("frame 24 is annotated but clip has frames 0 to 23",)),
    "same name twice": (["--point", "a=1,2", "--point", "a=5,6"], ("'a' is annotated twice",)),
    "no such mask": (["--mask", "nowhere/first.png"], ("nowhere/first.png does not exist",)),
    "unknown encoder": (["--point", "1,2", "--encoder", "descripter"], ("'descripter'", "did you mean 'descriptor'")),
    "unknown preset": (["--point", "1,2", "--preset", "timecyle"], ('did you mean "timecycle"',)),
    "unknown device": (["--point", "1,2", "--device", "gpu"], ('device "gpu" cannot be used here',)),
    "unknown option": (["--point", "1,2", "--overlai"], ("--overlai", "Did you mean --overlay?")),
    "unknown window": (["--point", "1,2", "--window", "sqare"], ('Did you mean "square"?',)),
    "no number of cells": (["--point", "1,2", "--radius", "al"], ('"al" is not a number of cells; write a whole number', "or all")),
    "temperature": (["--point", "1,2", "--temperature", "0"], ("temperature",)),
    "resolution": (["--point", "1,2", "--resolution", "96p"], ('resolution "96p" is not understood',)),
    "no value": (["--point"], ("--point requires an argument",)),
    "no colour": (["--mask", "first.png", "--colour", "cat=red"], ("cat=red", "#ff0000")),
    "no such weights": (["--point", "1,2", "--weights", "nowhere.safetensors"], ("nowhere.safetensors",)),
}  # fmt: skip


@pytest.mark.parametrize("what", [html, zero_bytes, missing_codec, no_such_video, small_mask, unknown_palette, empty_mask])
def test_bad_files_are_one_line_and_leave_no_trace(footage, followspot, tmp_path, what):
    command, parts = what(footage, tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert refuses(followspot(*command, *QUICK, "--out", tmp_path / "out"), *parts)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("what", COMMANDS)
def test_bad_commands_are_one_line_and_leave_no_trace(footage, followspot, tmp_path, monkeypatch, what):
    monkeypatch.chdir(tmp_path)
    options, parts = COMMANDS[what]
    assert refuses(followspot("track", footage / "clip.mp4", "--out", tmp_path / "out", *options), *parts)
    assert not list(tmp_path.iterdir())


def test_a_mended_command_meets_no_other_run(footage, followspot, tmp_path):
    command = [*one_reference(footage), "--no-confidence", "--no-overlay", "--out", tmp_path / "out"]
    assert refuses(followspot(*command, "--mask", footage / "later.png", "--at", "300"), "frame 300")
    assert followspot(*command).code == 0


def test_the_folder_of_another_run(whole, footage, followspot, contents):
    before = contents(whole / "one")
    assert refuses(followspot(*two_references(footage), "--out", whole / "one"), "results of another run", "--overwrite")
    assert contents(whole / "one") == before


def test_a_missing_encoder(whole, footage, followspot, tmp_path, monkeypatch, contents):
    command = [*one_reference(footage), "--out", tmp_path / "out"]
    monkeypatch.setattr("followspot.io.writer._ENCODERS", {"h264": "libnothing"})
    assert refuses(followspot(*command), "has no h264 encoder", "overlay.mp4", "pip install")
    assert len(list((tmp_path / "out/masks").iterdir())) == FRAMES
    assert not list((tmp_path / "out").glob("*overlay*"))
    monkeypatch.undo()
    said = followspot(*command)
    assert "24 frames, 8 computed now" in said.out
    assert contents(tmp_path / "out") == contents(whole / "one")


@pytest.fixture
def small_disk(tmp_path):
    """A real disk of 2 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk]
    mounted = shutil.which("mount") and subprocess.run(mount, capture_output=True, check=False)
    if not mounted or mounted.returncode:
        pytest.skip("mounting a small disk needs rights that this process has not")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.parametrize(
    ("run", "free_kb", "file", "computed"),
    [
        ("two", 0, ".followspot/run.json", 24),
        ("two", 8, ".followspot/backward.npy", 24),
        ("one", 130, "masks/000", 8),
        ("one", 180, "overlay.mp4", 8),
    ],
)
def test_a_full_disk(whole, footage, small_disk, fresh_process, followspot, said, contents, run, free_kb, file, computed):
    command = [*(one_reference if run == "one" else two_references)(footage), "--out", small_disk / "out"]
    size = os.statvfs(small_disk)
    (small_disk / "ballast").write_bytes(bytes(size.f_bavail * size.f_frsize - free_kb * 1024))
    # In a process of its own: writing to mapped memory on a full disk would end this one.
    full = fresh_process(MAIN, *command)
    parts = f"no space left on the device while writing {small_disk}/out/{file}", "free some space and run the same command again"
    assert refuses(said(full.returncode, full.stdout, full.stderr), *parts)
    assert no_partial_files(small_disk)
    assert (small_disk / "out").exists() == ("followspot" not in file)
    for path in small_disk.rglob("*.png"):
        assert read_ids(path).shape == (120, 160)
    (small_disk / "ballast").unlink()
    again = followspot(*command)
    assert again.code == 0, again.err
    assert f"24 frames, {computed} computed now" in again.out
    assert contents(small_disk / "out") == contents(whole / run)


def test_files_may_not_grow(whole, footage, followspot, tmp_path, contents):
    """A limit on the size of files stands for a full disk where no disk can be mounted: the overlay does not fit."""
    command = [*one_reference(footage), "--out", tmp_path / "out"]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with contextlib.ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_FSIZE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_FSIZE, (40 * 1024, hard))
        limited = followspot(*command)
    assert refuses(limited, "overlay.mp4", "run the same command again")
    assert no_partial_files(tmp_path)
    assert followspot(*command).code == 0
    assert contents(tmp_path / "out") == contents(whole / "one")


def test_an_output_folder_that_is_a_file(footage, followspot, tmp_path):
    (tmp_path / "out").write_text("mine")
    assert refuses(followspot(*one_reference(footage), "--out", tmp_path / "out"), "a file stands where a folder is needed")
    assert (tmp_path / "out").read_text() == "mine"


# --- real footage


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
