"""F028 on a small tree in the layout of VIP."""

import numpy as np
import pytest
from PIL import Image

from followspot.benchmarks.registry import open_benchmark
from followspot.benchmarks.vip import VipBenchmark
from followspot.datasets.vip import CLASSES, VipDataset
from followspot.errors import DatasetError, SettingError
from followspot.metrics.classes import class_scores, confusion
from followspot.tracking.identity import IdentityTracker

SIZE, FRAMES, EVERY = (30, 40), 51, 25
ANNOTATED = [f"{i:012d}" for i in range(1, FRAMES + 1, EVERY)]


def truth(frame):
    """A person of a face and a coat that walks right; some void."""
    classes = np.zeros(SIZE, np.uint8)
    step = frame // 5
    classes[5:10, 5 + step : 10 + step] = CLASSES.index("face")
    classes[10:20, 3 + step : 12 + step] = CLASSES.index("coat")
    classes[28:] = 255
    return classes


@pytest.fixture
def vip(tmp_path):
    """Two videos of 51 frames, annotated in 1, 26 and 51."""
    root = tmp_path / "VIP" / "VIP_Fine"
    for name in ("videos2", "videos11"):
        for folder in (root / "Images" / name, root / "Annotations/Category_ids" / name):
            folder.mkdir(parents=True)
        for i in range(FRAMES):
            Image.new("RGB", SIZE[::-1]).save(root / "Images" / name / f"{i + 1:012d}.jpg")
        for i in range(0, FRAMES, EVERY):
            Image.fromarray(truth(i)).save(root / "Annotations/Category_ids" / name / f"{i + 1:012d}.png")
    (root / "lists").mkdir()
    (root / "lists/val_videos.txt").write_text("videos11\nvideos2\n")
    return root


def run(benchmark, folder):
    for name in benchmark.sequence_names:
        (folder / name).mkdir(parents=True)
        benchmark.run(name, IdentityTracker(), folder / name)
        assert benchmark.is_complete(name, folder / name)
    return folder


def test_f028_twenty_classes_in_the_order_of_their_numbers():
    assert len(CLASSES) == len(set(CLASSES)) == 20
    assert [CLASSES[i] for i in (0, 13, 19)] == ["background", "face", "right-shoe"]


def test_f028_sparse_annotations_are_followed_through_all_frames(vip, tmp_path):
    benchmark = open_benchmark("vip", vip.parent)
    assert (benchmark.sequence_names, benchmark.length("videos2"), benchmark.protocol) == (("videos11", "videos2"), FRAMES, "later-frames")
    calls = []
    (tmp_path / "out").mkdir()
    benchmark.run("videos2", IdentityTracker(), tmp_path / "out", on_frame=lambda *call: calls.append(call))
    assert len(calls) == FRAMES
    assert sorted(file.stem for file in (tmp_path / "out").iterdir()) == ANNOTATED


def test_f028_truth_against_itself_is_one(vip, tmp_path):
    results = tmp_path / "truth"
    for name in ("videos2", "videos11"):
        (results / name).mkdir(parents=True)
        for i in range(0, FRAMES, EVERY):
            Image.fromarray(np.where(truth(i) == 255, 0, truth(i)).astype(np.uint8)).save(results / name / f"{i + 1:012d}.png")
    for protocol in ("later-frames", "annotated-frames"):
        report = VipBenchmark(vip, protocol=protocol).score(results, workers=1)
        assert set(report.scores.values()) == {1.0}
        assert all(set(row.values.values()) == {1.0} for row in report.rows)


@pytest.mark.parametrize(("protocol", "frames"), [("later-frames", (25, 50)), ("annotated-frames", (0, 25, 50))])
def test_one_matrix_over_all_scored_frames(vip, tmp_path, protocol, frames):
    benchmark = VipBenchmark(vip, protocol=protocol)
    report = benchmark.score(run(benchmark, tmp_path / "out"), workers=1)
    first = np.where(truth(0) == 255, 0, truth(0))
    matrix = sum(confusion(truth(i), first, classes=20) for i in frames)
    expected = class_scores(matrix)
    assert report.scores["mIoU"] == pytest.approx(expected.mean_iou, abs=1e-12)
    assert report.scores["Overall accuracy"] == pytest.approx(expected.overall_accuracy, abs=1e-12)
    assert report.scores["Mean accuracy"] == pytest.approx(expected.mean_accuracy, abs=1e-12)
    assert report.scores["Frequency-weighted IoU"] == pytest.approx(expected.weighted_iou, abs=1e-12)
    assert [row.frames for row in report.rows] == [len(frames)] * 2
    scored = [index for index, value in enumerate(report.rows[0].curve) if value is not None]
    assert scored == list(frames)
    lines = report.files["classes.csv"].splitlines()
    assert lines[0] == "number,class,IoU"
    assert lines[8] == f"7,coat,{expected.iou[7]:.6f}"
    assert benchmark.score(tmp_path / "out", workers=2) == report


def test_parts_that_appear_later_count_as_missed(vip, tmp_path):
    benchmark = VipBenchmark(vip)
    results = run(benchmark, tmp_path / "out")
    before = benchmark.score(results, workers=1).scores["mIoU"]
    for name in ("videos2", "videos11"):
        path = vip / f"Annotations/Category_ids/{name}/{ANNOTATED[1]}.png"
        classes = np.array(Image.open(path))
        classes[22:26, 5:10] = CLASSES.index("left-shoe")
        Image.fromarray(classes).save(path)
    assert benchmark.score(results, workers=1).scores["mIoU"] < before


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda v: (v / f"Images/videos2/{ANNOTATED[1]}.jpg").unlink(), r"000026\.png has no frame in .*videos2 \(1 have none\)"),
        (
            lambda v: (v / "lists/val_videos.txt").write_text("videos11\nvideo2\n"),
            r"line 2 names 'video2', which is not there; did you mean",
        ),
        (lambda v: (v / "lists/val_videos.txt").write_text("\n"), r"val_videos\.txt lists nothing; expected one name a line"),
        (lambda v: (v / "lists/val_videos.txt").rename(v / "lists/test.txt"), r"has no list val_videos\.txt; there are: test\.txt"),
        (lambda v: (v / "Images").rename(v / "Pictures"), r"Images is missing, expected the folder VIP_Fine with Images, Annotations"),
        (lambda v: [f.unlink() for f in (v / "Annotations/Category_ids/videos2").iterdir()], r"videos2 holds no annotation"),
    ],
    ids=["frame", "bad line", "empty list", "no list", "no images", "no masks"],
)
def test_incomplete_trees_are_named(vip, spoil, message):
    spoil(vip)
    with pytest.raises(DatasetError, match=message):
        VipDataset(vip)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (np.full(SIZE, 20, np.uint8), r"holds classes \[20\], expected 0 to 19; use the folder Category_ids"),
        (np.ones((30, 41), np.uint8), r"is 41x30 but its frame is 40x30; unpack"),
        (np.zeros(SIZE, np.uint8), r"has no part of a person, so there is nothing to follow"),
    ],
    ids=["extra class", "size", "empty"],
)
def test_unusable_annotations_are_named(vip, tmp_path, classes, message):
    Image.fromarray(classes).save(vip / f"Annotations/Category_ids/videos2/{ANNOTATED[0]}.png")
    with pytest.raises(DatasetError, match=message):
        VipBenchmark(vip).run("videos2", IdentityTracker(), tmp_path)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (np.full(SIZE, 20, np.uint8), r"holds ids \[20\] that nobody asked for"),
        (np.ones((31, 40), np.uint8), r"is 40x31 but the frame is 40x30; write masks in the size of the frames"),
        (None, r"is missing \(1 of 3 masks of 'videos2' are\); run the sequence again"),
    ],
    ids=["extra class", "size", "missing"],
)
def test_unusable_results_are_named(vip, tmp_path, classes, message):
    benchmark = VipBenchmark(vip)
    results = run(benchmark, tmp_path / "out")
    path = results / "videos2" / f"{ANNOTATED[2]}.png"
    path.unlink()
    if classes is not None:
        Image.fromarray(classes).save(path)
    with pytest.raises(DatasetError, match=rf"{ANNOTATED[2]}\.png " + message):
        benchmark.score(results, workers=1)


def test_pictures_and_unknown_names(vip):
    benchmark = VipBenchmark(vip)
    assert benchmark.picture("videos2", 25, None).any()
    with pytest.raises(DatasetError, match="has no frame 51"):
        benchmark.picture("videos2", 51, None)
    with pytest.raises(DatasetError, match="no video 'videos3'"):
        benchmark.length("videos3")
    with pytest.raises(SettingError, match='no protocol "strict"'):
        VipBenchmark(vip, protocol="strict")
