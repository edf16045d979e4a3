"""F153: colour prediction per sequence, for any tracker."""

import json
import math
import pickle

import numpy as np
import pytest
import torch

from followspot.benchmarks.base import Benchmark
from followspot.benchmarks.colors import ColorsBenchmark
from followspot.benchmarks.registry import open_benchmark
from followspot.benchmarks.report import Report
from followspot.benchmarks.selection import only
from followspot.errors import AnnotationError, DatasetError, SettingError
from followspot.io.images import read_image, write_image
from followspot.ops.clusters import kmeans
from followspot.ops.color import recolor, to_lab
from followspot.tracking.flow import FlowTracker
from followspot.tracking.identity import IdentityTracker
from followspot.tracking.template import TemplateTracker

STEP = 4


def world(seed, moves):
    """Flat patches of eight colours, large enough to be followed, that move to the right."""
    rng = np.random.default_rng(seed)
    patches = rng.integers(40, 220, (12, 30, 3), dtype=np.uint8).repeat(10, 0).repeat(10, 1)
    return [patches[:, 60 - STEP * t * moves :][:, :160].copy() for t in range(4)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    for name, moves in (("moving", 1), ("still", 0)):
        for t, image in enumerate(world(len(name), moves)):
            write_image(root / name / f"{t:05d}.png", image)
    (root / "notes").mkdir()
    return root


def run(benchmark, tracker, out):
    for name in benchmark.sequence_names:
        benchmark.run(name, tracker, out / name)
    return benchmark.score(out, workers=1)


def test_f153_identity_scores_the_formula(data, tmp_path):
    benchmark = ColorsBenchmark(data)
    assert isinstance(benchmark, Benchmark)
    assert benchmark.sequence_names == ("moving", "still")
    assert benchmark.length("moving") == 4
    report = run(benchmark, IdentityTracker(), tmp_path)
    moving, still = report.rows
    assert still.values["accuracy"] > 0.999
    assert still.values["PSNR"] > 45
    images = world(6, 1)  # 120 pixels high, so nothing is resized
    first, *later = [to_lab(image)[1:] for image in images]
    centres = kmeans(first.flatten(1).T.contiguous(), 16, restarts=1, iterations=50)

    def nearest(ab):
        return (ab.flatten(1).T[:, None] - centres).square().sum(2).argmin(1)

    shown = [to_lab(recolor(image, first))[1:] for image in images[1:]]  # as far as sRGB has them at the frame's lightness
    accuracies = [float((nearest(guess) == nearest(ab)).double().mean()) for guess, ab in zip(shown, later, strict=True)]
    ratios = [10 * math.log10(255**2 / float((guess - ab).square().mean())) for guess, ab in zip(shown, later, strict=True)]
    assert moving.frames == 3
    assert moving.curve[0] is None
    assert moving.curve[1:] == pytest.approx(accuracies, abs=1e-9)
    assert moving.values["PSNR"] == pytest.approx(np.mean(ratios), abs=1e-6)
    assert report.scores["Accuracy"] == pytest.approx((moving.values["accuracy"] + still.values["accuracy"]) / 2)


def test_f153_what_follows_predicts_colours_better(data, tmp_path):
    benchmark = only(ColorsBenchmark(data), ["moving"])
    assert benchmark.sequence_names == ("moving",)
    scores = [run(benchmark, tracker, tmp_path / str(i)).rows[0].values for i, tracker in enumerate((FlowTracker(), IdentityTracker()))]
    assert scores[0]["accuracy"] > scores[1]["accuracy"] + 0.1
    assert scores[0]["PSNR"] > scores[1]["PSNR"] + 3


def test_results_are_small_pictures_and_reports_are_saved(data, tmp_path):
    benchmark = pickle.loads(pickle.dumps(open_benchmark("colors", data)))
    assert (benchmark.split, benchmark.protocol) == ("all", "first-frame")
    told = []
    assert not benchmark.is_complete("still", tmp_path / "still")
    benchmark.run("still", IdentityTracker(), tmp_path / "still", on_frame=lambda *what: told.append(what))
    assert benchmark.is_complete("still", tmp_path / "still")
    assert told == [("still", t, 4) for t in (1, 2, 3, 4)]
    assert read_image(tmp_path / "still" / "00002.png").shape == (120, 160, 3)
    np.testing.assert_array_equal(benchmark.picture("still", 2, tmp_path), read_image(tmp_path / "still" / "00002.png"))
    np.testing.assert_array_equal(benchmark.picture("moving", 1, None), world(6, 1)[1])
    report = run(benchmark, IdentityTracker(), tmp_path)
    report.save(tmp_path / "report")
    assert Report.read(tmp_path / "report" / "report.json").rows == report.rows
    assert json.loads((tmp_path / "report" / "report.json").read_text())["curve"] == "accuracy"


def test_larger_frames_are_compared_at_120_pixels(tmp_path):
    for t in range(2):
        write_image(tmp_path / "data" / "big" / f"{t}.png", np.kron(world(0, 0)[0], np.ones((2, 2, 1), np.uint8)))
    benchmark = ColorsBenchmark(tmp_path / "data")
    assert run(benchmark, IdentityTracker(), tmp_path / "out").rows[0].values["accuracy"] > 0.99
    assert read_image(tmp_path / "out" / "big" / "1.png").shape == (120, 160, 3)


def test_davis_lists_and_its_folders_are_known(tmp_path):
    for name in ("a", "b"):
        write_image(tmp_path / "JPEGImages" / "480p" / name / "00000.png", world(0, 0)[0])
    assert ColorsBenchmark(tmp_path).sequence_names == ("a", "b")
    with pytest.raises(DatasetError):
        ColorsBenchmark(tmp_path, split="val")


def test_what_is_wrong_is_said(data, tmp_path):
    with pytest.raises(DatasetError, match="holds no folders of images"):
        ColorsBenchmark(tmp_path)
    with pytest.raises(DatasetError, match="holds no folders of images"):
        ColorsBenchmark(tmp_path / "absent")
    with pytest.raises(SettingError, match="the only one is first-frame"):
        ColorsBenchmark(data, protocol="all")
    benchmark = only(ColorsBenchmark(data), ["still"])
    with pytest.raises(AnnotationError, match="follows boxes only"):
        benchmark.run("still", TemplateTracker(), tmp_path / "still")
    with pytest.raises(DatasetError, match="has no frame 4; its frames are 0 to 3"):
        benchmark.picture("still", 4, None)
    with pytest.raises(DatasetError, match="has no video 'gone'"):
        benchmark.length("gone")
    benchmark.run("still", IdentityTracker(), tmp_path / "still")
    broken = tmp_path / "still" / "00002.png"
    write_image(broken, np.zeros((60, 80, 3), np.uint8))
    with pytest.raises(DatasetError, match="is 80x60, expected 160x120"):
        benchmark.score(tmp_path, workers=1)
    broken.write_bytes(b"nothing")
    with pytest.raises(DatasetError, match="or remove it and run"):
        benchmark.score(tmp_path, workers=1)
    broken.unlink()
    with pytest.raises(DatasetError, match=r"00002.png is missing; run followspot evaluate colors again"):
        benchmark.score(tmp_path, workers=1)


def test_a_gray_video_is_scored_too(tmp_path):
    for t in range(2):
        write_image(tmp_path / "data" / "gray" / f"{t}.png", np.full((40, 50, 3), 90 + t, np.uint8))
    report = run(ColorsBenchmark(tmp_path / "data"), IdentityTracker(), tmp_path / "out")
    assert report.rows[0].values["PSNR"] <= 100
    assert torch.tensor(report.rows[0].values["accuracy"]).isfinite()
