"""Every kind of bad input to ``followspot track``: one line that says what to do, exit code 2, nothing half written."""

import numpy as np
import pytest
from PIL import Image

from followspot.io.export import read_tracks
from followspot.io.video import open_video

FRAMES = 24


def test_a_cut_video_is_saved_up_to_the_cut(quick, whole, footage, followspot, tmp_path, contents):
    data = (footage / "clip.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) * 6 // 10])
    command = ["track", tmp_path / "cut.mp4", "--mask", footage / "first.png", *quick, "--out", tmp_path / "out"]
    first = followspot(*command)
    files = contents(tmp_path / "out")
    count = sum(name.startswith("masks/") for name in files)
    assert 5 < count < FRAMES
    assert first.refuses(f"ends after {count} of 24 frames", "re-copy or re-download")
    assert f"{count} frames, {count} computed now" in first.out
    assert set(files) == {f"masks/{i:05d}.png" for i in range(count)} | {"tracks.json", "tracks.csv", "overlay.mp4"}
    for index in range(count):
        assert files[f"masks/{index:05d}.png"] == (whole / f"one/masks/{index:05d}.png").read_bytes()
    with open_video(tmp_path / "out/overlay.mp4") as overlay:
        assert overlay.num_frames == count
    assert len(read_tracks(tmp_path / "out/tracks.json")) == count
    again = followspot(*command)
    assert again.refuses(f"ends after {count} of 24 frames")
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
def test_bad_files_are_one_line_and_leave_no_trace(quick, footage, followspot, tmp_path, what):
    command, parts = what(footage, tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert followspot(*command, *quick, "--out", tmp_path / "out").refuses(*parts)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("what", COMMANDS)
def test_bad_commands_are_one_line_and_leave_no_trace(footage, followspot, tmp_path, monkeypatch, what):
    monkeypatch.chdir(tmp_path)
    options, parts = COMMANDS[what]
    assert followspot("track", footage / "clip.mp4", "--out", tmp_path / "out", *options).refuses(*parts)
    assert not list(tmp_path.iterdir())


def test_a_mended_command_meets_no_other_run(one_reference, footage, followspot, tmp_path):
    command = [*one_reference, "--no-confidence", "--no-overlay", "--out", tmp_path / "out"]
    assert followspot(*command, "--mask", footage / "later.png", "--at", "300").refuses("frame 300")
    assert followspot(*command).code == 0


def test_the_folder_of_another_run(two_references, whole, followspot, contents):
    before = contents(whole / "one")
    assert followspot(*two_references, "--out", whole / "one").refuses("results of another run", "--overwrite")
    assert contents(whole / "one") == before


def test_a_missing_encoder(one_reference, whole, followspot, tmp_path, monkeypatch, contents):
    command = [*one_reference, "--out", tmp_path / "out"]
    monkeypatch.setattr("followspot.io.writer._ENCODERS", {"h264": "libnothing"})
    assert followspot(*command).refuses("has no h264 encoder", "overlay.mp4", "pip install")
    assert len(list((tmp_path / "out/masks").iterdir())) == FRAMES
    assert not list((tmp_path / "out").glob("*overlay*"))
    monkeypatch.undo()
    said = followspot(*command)
    assert "24 frames, 8 computed now" in said.out
    assert contents(tmp_path / "out") == contents(whole / "one")


def test_an_output_folder_that_is_a_file(one_reference, followspot, tmp_path):
    (tmp_path / "out").write_text("mine")
    assert followspot(*one_reference, "--out", tmp_path / "out").refuses("a file stands where a folder is needed")
    assert (tmp_path / "out").read_text() == "mine"
