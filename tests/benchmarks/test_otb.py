"""F152 on small trees in the layouts of OTB, TLD and VOT."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from followspot.benchmarks.otb import MEASURES, OtbBenchmark
from followspot.benchmarks.registry import open_benchmark
from followspot.datasets.otb import OtbDataset, format_boxes, parse_boxes
from followspot.errors import DatasetError, SettingError, VideoError
from followspot.tracking.identity import IdentityTracker

FRAMES = 6


def frames(folder, count=FRAMES, *, start=1):
    folder.mkdir(parents=True)
    for i in range(start, start + count):
        Image.new("RGB", (64, 48)).save(folder / f"{i:04d}.jpg")


def put(path, rows, separator=","):
    path.write_text("\n".join(separator.join(map(str, row)) for row in rows) + "\n")


@pytest.fixture
def otb(tmp_path):
    """Car: tabs; Jogging: two objects; walker: NaN, from 0; bag: polygons in color/."""
    root = tmp_path / "otb"
    for name in ("Car", "Jogging", "walker"):
        frames(root / name / "img")
    frames(root / "bag" / "color")
    put(root / "Car/groundtruth_rect.txt", [(11 + 2 * i, 6, 10, 20) for i in range(FRAMES)], "\t")
    put(root / "Jogging/groundtruth_rect.1.txt", [(5, 5, 8, 8)] * FRAMES)
    put(root / "Jogging/groundtruth_rect.2.txt", [(25, 5, 8, 8)] * FRAMES)
    put(root / "walker/groundtruth.txt", [(10.0, 5.0, 10.0, 20.0)] * 3 + [("NaN",) * 4] * (FRAMES - 3))
    put(root / "bag/groundtruth.txt", [(20, 10, 30, 20, 20, 30, 10, 20)] * FRAMES)
    return root


def run(benchmark, folder):
    for name in benchmark.sequence_names:
        (folder / name).mkdir(parents=True)
        benchmark.run(name, IdentityTracker(), folder / name)
        assert benchmark.is_complete(name, folder / name)
    return folder


def test_reads_every_layout(otb):
    dataset = OtbDataset(otb)
    assert list(dataset.sequences) == ["Car", "Jogging-1", "Jogging-2", "bag", "walker"]
    # OTB counts pixels from 1, our boxes from the corner of the first pixel.
    assert dataset.sequences["Car"].truth[1].tolist() == [12, 5, 22, 25]
    assert dataset.sequences["Jogging-2"].truth[0].tolist() == [24, 4, 32, 12]
    assert dataset.sequences["walker"].truth[0].tolist() == [10, 5, 20, 25]
    assert np.isnan(dataset.sequences["walker"].truth[3:]).all()
    assert dataset.sequences["bag"].truth[0].tolist() == [10, 10, 30, 30]


def test_sequences_with_more_frames_than_boxes_begin_where_the_toolkit_says(tmp_path):
    frames(tmp_path / "David" / "img", 10, start=295)
    put(tmp_path / "David/groundtruth_rect.txt", [(1, 1, 5, 5)] * 4)
    frames(tmp_path / "Freeman3" / "img", 7)
    put(tmp_path / "Freeman3/groundtruth_rect.txt", [(1, 1, 5, 5)] * 5)
    dataset = OtbDataset(tmp_path)
    assert [file.stem for file in dataset.sequences["David"].image_files] == ["0300", "0301", "0302", "0303"]
    assert [file.stem for file in dataset.sequences["Freeman3"].image_files] == ["0001", "0002", "0003", "0004", "0005"]


def test_f152_results_are_in_the_coordinates_of_the_truth(otb, tmp_path):
    benchmark = open_benchmark("otb", otb)
    results = run(benchmark, tmp_path / "out")
    assert (results / "Car/Car.txt").read_text() == "11.0000,6.0000,10.0000,20.0000\n" * FRAMES
    assert (results / "walker/walker.txt").read_text() == "10.0000,5.0000,10.0000,20.0000\n" * FRAMES
    report = benchmark.score(results, workers=1)
    assert list(report.scores) == list(MEASURES)
    rows = {row.sequence: row for row in report.rows}
    # The car moves 2 pixels a frame: overlap (10 - 2i) / (10 + 2i).
    overlaps = [(10 - 2 * i) / (10 + 2 * i) for i in range(FRAMES)]
    assert rows["Car"].curve == pytest.approx(overlaps, abs=1e-9)
    expected = np.mean([np.mean([o >= t and o > 0 for o in overlaps]) for t in np.linspace(0, 1, 21)])
    assert rows["Car"].values["Success AUC"] == pytest.approx(expected, abs=1e-12)
    assert rows["Car"].values["Precision at 20 px"] == 1
    assert (rows["walker"].frames, rows["walker"].curve[3:]) == (3, (None,) * 3)
    assert report.scores["Success AUC"] == pytest.approx(np.mean([row.values["Success AUC"] for row in report.rows]))
    assert benchmark.score(results, workers=2) == report


def test_f152_a_perfect_track_scores_one_and_20_of_21_in_the_toolkit(otb, tmp_path):
    for name in ("Car", "Jogging"):
        for path in (otb / name).glob("groundtruth_rect*"):
            suffix = path.name.split(".")[1] if path.name.count(".") == 2 else ""
            (tmp_path / f"{name}{'-' + suffix if suffix else ''}.txt").write_text(path.read_text())
    (otb / "some.txt").write_text("Car\nJogging-1\n")
    perfect = OtbBenchmark(otb, split="some").score(tmp_path, workers=1)
    assert set(perfect.scores.values()) == {1.0}
    toolkit = OtbBenchmark(otb, split="some", protocol="toolkit").score(tmp_path, workers=1)
    assert toolkit.scores["Success AUC"] == pytest.approx(20 / 21)
    assert "20/21" in toolkit.note
    lines = perfect.files["success.csv"].splitlines()
    assert lines[:2] == ["overlap,share", "0,1.000000"]
    assert len(lines) == 22


def test_a_tracker_that_loses_the_object_writes_nan(otb, tmp_path):
    class Lost(IdentityTracker):
        def step(self, frame, annotations=()):
            answer = super().step(frame, annotations)
            object.__setattr__(answer.objects[0], "box", None)
            return answer

    benchmark = OtbBenchmark(otb)
    benchmark.run("Car", Lost(), tmp_path)
    assert (tmp_path / "Car.txt").read_text().splitlines()[1:] == ["NaN,NaN,NaN,NaN"] * (FRAMES - 1)
    (otb / "some.txt").write_text("Car\n")
    report = OtbBenchmark(otb, split="some").score(tmp_path, workers=1)
    assert report.scores["Success AUC"] == pytest.approx(1 / FRAMES)


@given(
    st.lists(st.tuples(*[st.floats(1, 500)] * 4), min_size=1, max_size=5), st.sampled_from([",", "\t", " ", ", ", "  "]), st.integers(0, 1)
)
def test_boxes_are_read_with_any_separator(tmp_path_factory, rows, separator, origin):
    path = tmp_path_factory.mktemp("boxes") / "boxes.txt"
    put(path, rows, separator)
    boxes = parse_boxes(path, origin=origin)
    expected = [(x - origin, y - origin, x + w - origin, y + h - origin) for x, y, w, h in rows]
    np.testing.assert_allclose(boxes, expected, rtol=1e-12)
    path.write_text(format_boxes(boxes, origin=origin))
    np.testing.assert_allclose(parse_boxes(path, origin=origin), boxes, atol=2e-4)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda o: (o / "Car/img/0003.jpg").unlink(),
            r"groundtruth_rect\.txt has 6 lines but .*img has 5 frames; there must be a line a frame",
        ),
        (lambda o: put(o / "Car/groundtruth_rect.txt", [(1, 2, 3, 4), (1, 2, 3)]), r"line 2: '1,2,3' is neither x,y,width,height nor"),
        (lambda o: put(o / "Car/groundtruth_rect.txt", [(1, 2, 3, "four")]), r"line 1: '1,2,3,four' is neither"),
        (lambda o: put(o / "Car/groundtruth_rect.txt", [(0, 0, 0, 0)] * FRAMES), r"has no box at all, so there is nothing to follow"),
        (lambda o: (o / "Car/groundtruth_rect.txt").write_text(""), r"groundtruth_rect\.txt is empty; expected a box a line"),
        (lambda o: [f.unlink() for f in (o / "Car/img").iterdir()], r"Car.img holds no frame"),
    ],
    ids=["frame", "short line", "word", "no box", "empty", "no frames"],
)
def test_incomplete_trees_are_named(otb, spoil, message):
    spoil(otb)
    with pytest.raises(DatasetError, match=message):
        OtbDataset(otb)


def test_a_frame_of_another_size_is_named(otb, tmp_path):
    Image.new("RGB", (9, 7)).save(otb / "Car/img/0003.jpg")
    with pytest.raises(VideoError, match=r"0003\.jpg of Car is 9x7, the frames before it are 64x48; .*: resize or split it"):
        OtbBenchmark(otb).run("Car", IdentityTracker(), tmp_path)


def test_missing_folders_and_lists_are_named(otb, tmp_path):
    with pytest.raises(DatasetError, match="nowhere is not a folder"):
        OtbDataset(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="holds no sequence; expected <sequence>/groundtruth_rect"):
        OtbDataset(tmp_path / "empty")
    with pytest.raises(DatasetError, match=r"tb50\.txt is missing; write one sequence a line, or choose the split all"):
        OtbDataset(otb, split="tb50")
    (otb / "tb50.txt").write_text("Car\nJoging-1\n")
    with pytest.raises(DatasetError, match=r"tb50\.txt line 2 names 'Joging-1', which is not there; did you mean 'Jogging-1'\?"):
        OtbDataset(otb, split="tb50")
    with pytest.raises(SettingError, match='no protocol "tre"; choose from: ope, toolkit'):
        OtbBenchmark(otb, protocol="tre")


def test_unusable_results_are_named(otb, tmp_path):
    benchmark = OtbBenchmark(otb)
    results = run(benchmark, tmp_path / "out")
    put(results / "Car/Car.txt", [(1, 2, 3, 4)] * 5)
    with pytest.raises(DatasetError, match=r"Car\.txt has 5 lines but 'Car' has 6 frames; write a line a frame"):
        benchmark.score(results, workers=1)
    assert not benchmark.is_complete("Car", results / "Car")
    (results / "Car/Car.txt").unlink()
    with pytest.raises(DatasetError, match=r"Car.Car\.txt is missing, and so is .*Car\.txt; run the sequence again"):
        benchmark.score(results, workers=1)


def test_pictures_show_truth_or_result(otb, tmp_path):
    benchmark = OtbBenchmark(otb)
    results = run(benchmark, tmp_path / "out")
    assert (benchmark.picture("Car", 3, None) != benchmark.picture("Car", 3, results)).any()
    np.testing.assert_array_equal(benchmark.picture("walker", 4, None), np.array(Image.open(otb / "walker/img/0005.jpg")))
    with pytest.raises(DatasetError, match="has no frame 6"):
        benchmark.picture("Car", 6, None)


def test_f152_on_real_footage(shared_data, tmp_path):
    root = shared_data / "boxes"
    if not root.is_dir():
        pytest.skip("no boxes there")
    benchmark = OtbBenchmark(root)
    assert benchmark.sequence_names == ("otb_Crossing", "tld_pedestrian1", "vot2015_bag")
    report = benchmark.score(run(benchmark, tmp_path / "out"), workers=1)
    assert [row.frames for row in report.rows] == [
        120,
        int(np.isfinite(benchmark.dataset.sequences["tld_pedestrian1"].truth[:, 0]).sum()),
        196,
    ]
    assert 0 < report.scores["Success AUC"] < 0.5
