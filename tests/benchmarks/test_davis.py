import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from followspot.benchmarks import parallel
from followspot.benchmarks.base import Benchmark
from followspot.benchmarks.davis import DavisBenchmark
from followspot.benchmarks.davis_scoring import MEASURES
from followspot.benchmarks.registry import open_benchmark
from followspot.datasets.davis import DavisDataset
from followspot.errors import DatasetError, SettingError
from followspot.io.masks import write_mask
from followspot.io.video import open_video
from followspot.metrics.summary import score_sequence, summarize
from followspot.tracking.identity import IdentityTracker
from followspot.types import Boxes


@pytest.fixture
def val(davis_folder):
    return DavisBenchmark(davis_folder, split="val")


@pytest.fixture
def train_2016(davis_folder):
    return DavisBenchmark(davis_folder, split="train")


def run(benchmark, tracker, out):
    """Every sequence, as a runner does it."""
    for name in benchmark.sequence_names:
        (out / name).mkdir(parents=True)
        benchmark.run(name, tracker, out / name)


def copy_first(sequence, folder):
    """Identity by hand: the first mask is the answer for every frame."""
    for name in sequence.frame_names:
        write_mask(folder / f"{name}.png", sequence.read_mask(0))


def read(folder):
    return np.stack([np.array(Image.open(file)) for file in sorted(folder.glob("*.png"))])


def truth_of(sequence):
    return np.stack([sequence.read_mask(index) for index in range(len(sequence))])


def assert_equals_vos_benchmark(report, truth, predicted):
    """Compare every object with the reference package, which reports percent."""
    reference = pytest.importorskip("vos_benchmark.benchmark", exc_type=ImportError)
    (jf,), (j,), (f,), (objects,) = reference.benchmark([str(truth)], [str(predicted)], verbose=False, num_processes=1)
    for row in report.rows:
        regions, contours = objects[row.sequence]
        assert 100 * row.values["J-Mean"] == pytest.approx(regions[int(row.object)], abs=1e-6)
        assert 100 * row.values["F-Mean"] == pytest.approx(contours[int(row.object)], abs=1e-6)
    assert len(report.rows) == sum(len(regions) for regions, _ in objects.values())
    scores = report.scores
    assert [100 * scores[name] for name in ("J&F-Mean", "J-Mean", "F-Mean")] == pytest.approx([jf, j, f], abs=1e-6)


def by_hand(j, f):
    """A row's values from J and F of its scored frames."""
    region, contour = summarize(j), summarize(f)
    of_region, of_contour = (region.mean, region.recall, region.decay), (contour.mean, contour.recall, contour.decay)
    return dict(zip(MEASURES, ((region.mean + contour.mean) / 2, *of_region, *of_contour), strict=True))


def test_first_and_last_frame_are_not_scored(val, results):
    report = val.score(results, workers=1)
    slow = val.dataset["slow"]
    j, f = score_sequence(truth_of(slow)[1:-1], read(results / "slow")[1:-1], [1, 2])
    for row, object_j, object_f in zip(report.rows[:2], j, f, strict=True):
        assert (row.sequence, row.frames) == ("slow", 9)
        assert row.values == by_hand(object_j, object_f)
        assert row.curve == (None, *object_j, None)
    for index in (0, 6):
        write_mask(results / f"fast/{index:05d}.png", np.zeros((60, 80), np.uint8))
    assert val.score(results, workers=1) == report
    write_mask(results / "fast/00005.png", np.zeros((60, 80), np.uint8))
    assert val.score(results, workers=1) != report


def test_rows_are_the_objects_in_the_order_of_the_list(val, results):
    rows = val.score(results, workers=1).rows
    assert [(row.sequence, row.object) for row in rows] == [("slow", "1"), ("slow", "2"), ("fast", "1"), ("fast", "2")]


def test_processes_do_not_change_the_numbers(val, results):
    calls = []
    serial = val.score(results, workers=1)
    together = val.score(results, workers=2, progress=lambda done, total: calls.append((done, total)))
    assert together == serial
    assert calls == [(1, 2), (2, 2)]


def test_the_order_of_finishing_does_not_matter(val, results, monkeypatch):
    expected = val.score(results, workers=1)
    in_order = parallel._serially
    monkeypatch.setattr(parallel, "_serially", lambda work, tasks: reversed(list(in_order(work, tasks))))
    assert val.score(results, workers=1) == expected


def test_errors_of_processes_arrive_whole(val, results):
    (results / "fast/00003.png").unlink()
    with pytest.raises(DatasetError, match=r"fast.00003\.png is missing \(1 of 7 frames are\)"):
        val.score(results, workers=2)


def test_worker_processes_need_no_torch():
    code = "import sys, followspot.benchmarks.davis; sys.exit('torch' in sys.modules or 'av' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_f155_preliminary_scores_the_last_frame_and_says_so(val, results, davis_folder):
    official = val.score(results, workers=1)
    quick = DavisBenchmark(davis_folder, split="val", protocol="preliminary").score(results, workers=1)
    assert [row.frames for row in quick.rows] == [10, 10, 6, 6]
    assert quick.scores["J-Mean"] != official.scores["J-Mean"]
    assert "not comparable with published numbers" in quick.table()
    assert "preliminary" in quick.table()
    assert all(name.startswith("preliminary_") for name in quick.files)
    j, f = score_sequence(truth_of(val.dataset["fast"])[1:], read(results / "fast")[1:], [2])
    assert quick.rows[3].values == by_hand(j[0], f[0])
    assert quick.rows[3].curve == (None, *j[0])
    pooled = sum(row.frames * row.values["J-Mean"] for row in quick.rows) / sum(row.frames for row in quick.rows)
    assert quick.scores["J-Mean"] == pytest.approx(pooled, abs=1e-12)


def test_f141_2016_accepts_ids_and_black_and_white_alike(train_2016, results, tmp_path):
    report = train_2016.score(results, workers=1)
    assert [(row.sequence, row.object) for row in report.rows] == [("slow", "1"), ("fast", "1")]
    for name in ("slow", "fast"):
        (tmp_path / "white" / name).mkdir(parents=True)
        for file in (results / name).iterdir():
            Image.fromarray((np.array(Image.open(file)) > 0).astype(np.uint8) * 255).save(tmp_path / "white" / name / file.name)
    assert train_2016.score(tmp_path / "white", workers=1) == report
    j, f = score_sequence(truth_of(train_2016.dataset["slow"])[1:-1], (read(results / "slow")[1:-1] > 0).astype(int), [1])
    assert report.rows[0].values == by_hand(j[0], f[0])


def test_a_prediction_may_lose_an_object_but_not_invent_one(val, results):
    path = results / "fast/00002.png"
    ids = np.array(Image.open(path))
    write_mask(path, np.where(ids == 2, 0, ids).astype(np.uint8))
    val.score(results, workers=1)
    write_mask(path, np.where(ids == 2, 7, ids).astype(np.uint8))
    with pytest.raises(DatasetError, match=r"fast.00002\.png holds ids \[7\] that are not in the first annotation \(ids 1, 2\)"):
        val.score(results, workers=1)


def test_an_object_that_appears_later_is_not_scored(davis_folder, results, tmp_path):
    path = davis_folder / "Annotations/480p/fast/00003.png"
    ids = np.array(Image.open(path))
    before = DavisBenchmark(davis_folder, split="val").score(results, workers=1)
    ids[50:, 70:] = 3
    write_mask(path, ids)
    assert DavisBenchmark(davis_folder, split="val").score(results, workers=1) == before


@pytest.mark.parametrize("index", [0, 3, 6])
def test_every_frame_is_required(val, results, index):
    (results / f"fast/{index:05d}.png").unlink()
    with pytest.raises(DatasetError, match=rf"fast.{index:05d}\.png is missing .* the first and the last included"):
        val.score(results, workers=1)


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (Image.new("P", (80, 59)), r"is 80x59 but the frame is 80x60; write masks in the size of the frames"),
        (Image.new("RGB", (80, 60)), r"holds RGB pixels, expected an indexed PNG"),
        (Image.new("RGBA", (80, 60)), r"holds RGBA pixels, expected an indexed PNG"),
    ],
    ids=["size", "colour", "transparent"],
)
def test_unusable_masks_are_named(val, results, picture, message):
    picture.save(results / "slow/00004.png")
    with pytest.raises(DatasetError, match=r"slow.00004\.png " + message):
        val.score(results, workers=1)


def test_a_renamed_jpeg_is_named(val, results):
    Image.new("L", (80, 60)).save(results / "slow/00004.png", format="JPEG")
    with pytest.raises(DatasetError, match=r"slow.00004\.png is a JPEG file"):
        val.score(results, workers=1)


def test_missing_folders_are_named(val, results):
    shutil.rmtree(results / "fast")
    with pytest.raises(DatasetError, match=r"fast is missing \(1 of 2 sequences are\); run every sequence of DAVIS 2017 val"):
        val.score(results, workers=1)
    with pytest.raises(DatasetError, match="nowhere is not a folder"):
        val.score(results / "nowhere")


def test_no_workers_are_refused(val, results):
    with pytest.raises(SettingError, match="workers is 0, expected at least 1"):
        val.score(results, workers=0)


def test_hidden_truth_can_be_run_but_not_scored(davis_folder, tmp_path):
    for file in (davis_folder / "Annotations/480p/fast").glob("*.png"):
        if file.stem != "00000":
            file.unlink()
    benchmark = DavisBenchmark(davis_folder, split="val")
    run(benchmark, IdentityTracker(), tmp_path)
    assert len(read(tmp_path / "fast")) == 7
    with pytest.raises(DatasetError, match=r"fast.00001\.png is missing \(6 annotations are\), so 'fast' can be run but not scored"):
        benchmark.score(tmp_path, workers=1)


def test_two_frames_are_too_few(davis_folder, results):
    for index in range(2, 7):
        (davis_folder / f"JPEGImages/480p/fast/{index:05d}.jpg").unlink()
        (davis_folder / f"Annotations/480p/fast/{index:05d}.png").unlink()
    with pytest.raises(DatasetError, match="fast has 2 frames, expected at least 3"):
        DavisBenchmark(davis_folder, split="val").score(results, workers=1)


def test_f140_csv_files_are_the_official_ones(val, results):
    report = val.score(results, workers=1)
    assert list(report.files) == ["global_results-val.csv", "per-sequence_results-val.csv"]
    header, numbers, *rest = report.files["global_results-val.csv"].splitlines()
    assert header == "J&F-Mean,J-Mean,J-Recall,J-Decay,F-Mean,F-Recall,F-Decay"
    assert numbers == ",".join(f"{report.scores[name]:.3f}" for name in MEASURES)
    assert not rest
    header, first, *rest = report.files["per-sequence_results-val.csv"].splitlines()
    assert header == "Sequence,J-Mean,F-Mean"
    assert first == f"slow_1,{report.rows[0].values['J-Mean']:.3f},{report.rows[0].values['F-Mean']:.3f}"
    assert [line.split(",")[0] for line in rest] == ["slow_2", "fast_1", "fast_2"]


def test_official_numbers_are_means_over_objects_not_frames(val, results):
    report = val.score(results, workers=1)
    for name in MEASURES:
        assert report.scores[name] == pytest.approx(np.mean([row.values[name] for row in report.rows]), abs=1e-12)
    assert report.scores["J-Mean"] != pytest.approx(np.average([r.values["J-Mean"] for r in report.rows], weights=[9, 9, 5, 5]), abs=1e-6)


def test_f112_identity_equals_the_formula_of_a_moving_square(val, tmp_path):
    # Object 1 of "slow" is 25 pixels wide and moves one pixel a frame, so J of frame t is (25 - t) / (25 + t).
    run(val, IdentityTracker(), tmp_path)
    row = val.score(tmp_path, workers=1).rows[0]
    expected = [(25 - t) / (25 + t) for t in range(1, 10)]
    assert (row.sequence, row.object, row.frames) == ("slow", "1", 9)
    assert row.values["J-Mean"] == pytest.approx(sum(expected) / 9, abs=1e-12)
    assert row.curve[1:-1] == pytest.approx(expected, abs=1e-12)


def test_a_run_writes_what_the_tracker_says_and_tells_about_every_frame(val, tmp_path):
    told = []
    assert isinstance(val, Benchmark)
    assert val.sequence_names == ("slow", "fast")
    assert not val.is_complete("fast", tmp_path)
    val.run("fast", IdentityTracker(), tmp_path, on_frame=lambda *what: told.append(what))
    assert told == [("fast", done, 7) for done in range(1, 8)]
    assert val.length("fast") == 7
    assert val.is_complete("fast", tmp_path)
    assert (read(tmp_path) == val.dataset["fast"].read_mask(0)).all()
    (tmp_path / "00006.png").unlink()
    assert not val.is_complete("fast", tmp_path)


def test_a_run_shows_the_tracker_no_later_truth(val, davis_folder, tmp_path):
    for file in (davis_folder / "Annotations/480p/fast").glob("*.png"):
        if file.stem != "00000":
            file.write_text("nobody may look here")
    DavisBenchmark(davis_folder, split="val").run("fast", IdentityTracker(), tmp_path)
    assert len(read(tmp_path)) == 7


def test_an_annotation_without_objects_and_a_tracker_without_masks(val, tmp_path):
    class Boxed(IdentityTracker):
        def stream(self, frames, annotations):
            box = Boxes(xyxy=np.array([[1.0, 2.0, 9.0, 9.0]]), names=("b",))
            return super().stream(frames, {0: [box]})

    with pytest.raises(SettingError, match="gave no mask for frame 00000 of 'fast'; choose one that follows masks"):
        val.run("fast", Boxed(), tmp_path)
    write_mask(val.dataset["fast"].mask_path(0), np.zeros((60, 80), np.uint8))
    with pytest.raises(DatasetError, match=r"fast.00000.png has no object in it"):
        val.run("fast", IdentityTracker(), tmp_path)


def test_pictures_show_results_and_truth(val, results):
    with open_video(val.dataset["fast"].image_folder) as video:
        plain = video.frame(3).image
    truth, result = val.picture("fast", 3, None), val.picture("fast", 3, results)
    assert truth.shape == result.shape == plain.shape
    assert (truth != plain)[val.dataset["fast"].read_mask(3) > 0].any(axis=1).all()
    assert (truth != result).any()
    with pytest.raises(DatasetError, match="'fast' has no frame 7; its frames are 0 to 6"):
        val.picture("fast", 7, None)
    (results / "fast/00003.png").unlink()
    with pytest.raises(DatasetError, match=r"00003\.png is missing"):
        val.picture("fast", 3, results)


def test_names_choose_the_year_and_a_benchmark_can_be_sent(davis_folder, results):
    opened = open_benchmark("davis-2016", davis_folder, split="train", protocol="preliminary")
    sent = pickle.loads(pickle.dumps(opened))
    assert (sent.name, sent.split, sent.protocol) == ("DAVIS 2016", "train", "preliminary")
    assert sent.score(results, workers=1) == opened.score(results, workers=1)
    assert open_benchmark("davis", davis_folder).name == "DAVIS 2017"
    with pytest.raises(DatasetError, match="no split '2017/train'"):
        open_benchmark("davis-2017", davis_folder, split="train")


def test_names_and_protocols_that_do_not_exist(davis_folder):
    with pytest.raises(SettingError, match=r'unknown benchmark "davis-2018"; did you mean "davis-201[67]"'):
        open_benchmark("davis-2018", davis_folder)
    with pytest.raises(SettingError, match='davis has no protocol "offical"; did you mean "official"'):
        open_benchmark("davis", davis_folder, protocol="offical")
    with pytest.raises(SettingError, match="davis needs its data; add --data FOLDER"):
        open_benchmark("davis", None)
    with pytest.raises(SettingError, match='DAVIS has no protocol "strict"; choose from: official, preliminary'):
        DavisBenchmark(davis_folder, protocol="strict")


def test_f140_equals_vos_benchmark_on_several_objects(val, results, davis_folder):
    assert_equals_vos_benchmark(val.score(results, workers=1), davis_folder / "Annotations/480p", results)


@pytest.fixture(scope="module")
def real_identity(shared_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("identity")
    benchmark = DavisBenchmark(shared_data / "davis", split="dev")
    for sequence in benchmark.dataset.sequences:
        copy_first(sequence, folder / sequence.name)
    return folder, benchmark.score(folder, workers=1)


def test_identity_on_the_real_split_has_the_known_score(real_identity):
    _, report = real_identity
    assert len(report.rows) == 12
    assert report.scores["J-Mean"] == pytest.approx(0.243, abs=5e-4)


def test_identity_on_the_real_split_equals_vos_benchmark(real_identity, shared_data):
    folder, report = real_identity
    assert_equals_vos_benchmark(report, shared_data / "davis/Annotations/480p", folder)


def test_seven_real_objects_equal_vos_benchmark(shared_data, tmp_path):
    masks = shared_data / "multi/schoolgirls/schoolgirls_mask"
    root = tmp_path / "davis"
    (root / "Annotations/480p").mkdir(parents=True)
    (root / "Annotations/480p/schoolgirls").symlink_to(masks)
    images = root / "JPEGImages/480p/schoolgirls"
    images.mkdir(parents=True)
    for file in masks.glob("*.png"):
        # Frames are only asked for their size, so the masks stand in for them.
        (images / file.name).symlink_to(file)
    (root / "ImageSets/2017").mkdir(parents=True)
    (root / "ImageSets/2017/train.txt").write_text("schoolgirls\n")
    dataset = DavisDataset(root, split="train")
    assert dataset["schoolgirls"].object_ids == (1, 2, 3, 4, 5, 6, 7)

    def lag(sequence, folder):
        """Masks that are two frames late and three pixels off."""
        for index, name in enumerate(sequence.frame_names):
            write_mask(folder / f"{name}.png", np.roll(sequence.read_mask(max(index - 2, 0)), 3, axis=1))

    lag(dataset["schoolgirls"], tmp_path / "out/schoolgirls")
    report = DavisBenchmark(dataset).score(tmp_path / "out", workers=1)
    assert len(report.rows) == 7
    assert 0.3 < report.scores["J-Mean"] < 0.95
    assert_equals_vos_benchmark(report, root / "Annotations/480p", tmp_path / "out")
