"""``followspot prepare`` as it is typed."""

import numpy as np
import pytest
from cyclopts import App
from PIL import Image

from followspot.datasets.store import ClipStore, read_index
from followspot.errors import DatasetError, SettingError
from followspot.io.video import VideoWriter

app = App(name="followspot")
app.command("followspot.cli.prepare:prepare", name="prepare")


def type_in(*tokens):
    app([str(token) for token in tokens], exit_on_error=False, print_error=False, result_action="return_value")


def write(path, *, moving=True, count=30, height=300):
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas = np.kron(np.random.default_rng(3).integers(0, 255, (height // 10, 80, 3)), np.ones((10, 10, 1))).astype(np.uint8)
    with VideoWriter(path, height=height, width=400, fps=30) as writer:
        for number in range(count):
            writer.write(canvas[:, 5 * number * moving :][:, :400])


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    write(folder / "a" / "moving.mp4")
    write(folder / "still.mp4", moving=False)
    (folder / "notes.txt").write_text("hello")
    return folder


def test_it_prepares_and_says_so(videos, tmp_path, capsys):
    type_in("prepare", videos, "--out", tmp_path / "s", "--workers", 1, "--licence", "CC0", "--fps-limit", 10, "--drop-static")
    said = capsys.readouterr().out
    assert "done 1" in said
    assert "static 1" in said
    assert "notes.txt: is no video but text: 'hello'" in said
    assert f"{tmp_path / 's'}: 1 clips" in said
    [entry] = ClipStore(tmp_path / "s").entries
    assert (entry.height, entry.width, entry.frames, entry.fps, entry.licence) == (256, 342, 10, 10, "CC0")
    type_in("prepare", videos, "--out", tmp_path / "s", "--workers", 1, "--fps-limit", 10, "--drop-static")
    said = capsys.readouterr().out
    assert "already there 1" in said
    assert "0 of 3 sources" in said


def test_native_size_pattern_and_shape_options(videos, tmp_path):
    options = ("--short-side", "native", "--only", "a/*", "--max-seconds", 0.5, "--split-cuts", "--crf", 30, "--min-frames", 2)
    type_in("prepare", videos, "--out", tmp_path / "s", "--workers", 1, *options)
    assert [(entry.height, entry.frames) for entry in read_index(tmp_path / "s")] == [(300, 15), (300, 15)]


@pytest.mark.parametrize(("name", "line"), [("index.csv", "{}/v,5"), ("index.txt", "{}/v/ 5")])
def test_f010_it_writes_the_index_of_frame_folders(tmp_path, capsys, name, line):
    folder = tmp_path / "frames" / "v"
    folder.mkdir(parents=True)
    for number in range(5):
        Image.fromarray(np.full((40, 60, 3), 40 * number, np.uint8)).save(folder / f"{number:05d}.png")
    type_in("prepare", tmp_path / "frames", "--list", tmp_path / name)
    assert (tmp_path / name).read_text() == line.format("frames") + "\n"
    assert "1 frame folders, 5 frames" in capsys.readouterr().out
    type_in("prepare", tmp_path / name, "--out", tmp_path / "s", "--workers", 1)
    assert [entry.frames for entry in read_index(tmp_path / "s")] == [5]


def test_what_cannot_be_meant(videos, tmp_path):
    with pytest.raises(SettingError, match="nothing to write: add --out STORE"):
        type_in("prepare", videos)
    with pytest.raises(SettingError, match="there are no frame folders"):
        type_in("prepare", videos, "--list", tmp_path / "list.csv")
    with pytest.raises(SettingError, match=r"--static-below 3.0 does nothing alone; add --drop-static"):
        type_in("prepare", videos, "--out", tmp_path / "s", "--static-below", 3)
    with pytest.raises(SettingError, match="short side 255 cannot be encoded"):
        type_in("prepare", videos, "--out", tmp_path / "s", "--short-side", 255)
    with pytest.raises(DatasetError, match="does not exist"):
        type_in("prepare", tmp_path / "nowhere", "--out", tmp_path / "s")


def test_nothing_heavy_is_imported(fresh_process, videos, tmp_path):
    code = "import sys; from followspot.cli.prepare import prepare, ClipOptions, ChoiceOptions; from pathlib import Path\n"
    code += "prepare([Path(sys.argv[1])], out=Path(sys.argv[2]), workers=1); assert 'torch' not in sys.modules"
    done = fresh_process(code, videos, tmp_path / "s")
    assert done.returncode == 0, done.stderr
