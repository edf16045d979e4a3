"""``followspot experiment suggestion`` from the command line."""

import numpy as np
import pytest
from PIL import Image

from followspot.datasets.synthetic import SyntheticVideo
from followspot.io.masks import write_mask


@pytest.fixture
def davis(tmp_path):
    root = tmp_path / "DAVIS"
    for name, seed in (("one", 1), ("two", 2)):
        video = SyntheticVideo(seed, num_frames=6, height=64, width=80)
        for index in range(len(video)):
            write_mask(root / "Annotations/480p" / name / f"{index:05d}.png", np.minimum(video.masks(index), 1))
            image = root / "JPEGImages/480p" / name / f"{index:05d}.jpg"
            image.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(video.frame(index)).save(image, quality=95)
    path = root / "ImageSets/2016/val.txt"
    path.parent.mkdir(parents=True)
    path.write_text("one\ntwo\n")
    return root


def test_two_tables_and_a_figure(davis, followspot, tmp_path):
    options = ("--draws", "1", "--every", "2", "--resolution", "32", "--device", "cpu", "--encoder", "descriptor")
    out = tmp_path / "out"
    said = followspot("experiment", "suggestion", "--data", davis, "--out", out, "--sequences", "two", *options)
    assert said.code == 0, said.err
    assert "DAVIS 2016 val, descriptor" in said.out
    assert "one frame in 2" in said.out
    assert {path.name for path in out.iterdir() if path.is_dir()} == {"two"}
    for name in ("suggestion.md", "suggestion.csv", "suggestion.png", "suggestion-sequences.md", "suggestion-sequences.csv"):
        assert (out / name).is_file()
        assert name in said.out
    assert followspot("experiment", "suggestion", "--data", davis, "--out", out, "--every", "0").refuses("every is 0, expected at least 1")
    assert followspot("experiment", "suggestion", "--data", davis, "--out", out, "--sequences", "tow").refuses("did you mean 'two'")
