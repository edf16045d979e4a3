"""F111 and F114 from the command line."""

import numpy as np
import pytest

from followspot.datasets.synthetic import SyntheticVideo
from followspot.io.flow import read_flow
from followspot.io.images import read_image, write_image
from followspot.tracking.colors import gray_frame

SMALL = ["--resolution", "64"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("clip")
    for frame in SyntheticVideo(seed=2, num_frames=4, height=64, width=80):
        write_image(root / "gray" / f"{frame.name}.png", gray_frame(frame).image)
        write_image(root / "colour" / f"{frame.name}.png", frame.image)
    return root


def test_f111_recolor(folder, tmp_path, followspot):
    first, last = folder / "colour" / "00000.png", folder / "colour" / "00003.png"
    given = ["--colors", first, "--colors", last, "--at", 3]
    said = followspot("recolor", folder / "gray", *given, "--out", tmp_path / "out", *SMALL)
    assert said.code == 0, said.err
    assert "4 frames, colours from 2" in said.out
    assert np.abs(read_image(tmp_path / "out" / "00003.png").astype(int) - read_image(last)).max() <= 3
    middle = read_image(tmp_path / "out" / "00001.png")
    assert np.ptp(middle.astype(int), axis=2).max() > 20, "it has colours"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--colors", "a.png", "--colors", "b.png"], "give each frame once"),
        (["--at", "3"], "--at"),
        (["--colors", "absent.png"], "absent.png does not exist; check the path"),
        ([], "--colors"),
    ],
)
def test_recolor_says_what_is_wrong(folder, tmp_path, followspot, arguments, message):
    assert followspot("recolor", folder / "gray", *arguments, "--out", tmp_path / "out").refuses(message)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("method", ["affinity", "dis"])
def test_f114_flow(folder, tmp_path, followspot, method):
    target = tmp_path / "a.flo"
    said = followspot("flow", folder / "colour", 0, 2, "--out", target, "--method", method, *SMALL)
    assert "80x64" in said.out
    flow = read_flow(target)
    assert flow.shape == (2, 64, 80)
    assert np.isfinite(flow).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["0", "9"], "frame 9 is outside"),
        (["0", "1", "--out", "flow.png"], "name it flow.flo"),
        (["0", "1", "--method", "raft"], "flow 'raft' is unknown"),
    ],
)
def test_flow_says_what_is_wrong(folder, followspot, arguments, message):
    assert followspot("flow", folder / "colour", *arguments).refuses(message)
