import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from followspot.benchmarks import davis
from followspot.benchmarks.baselines import identity
from followspot.benchmarks.davis import evaluate, score
from followspot.datasets.davis import DavisDataset
from followspot.errors import DatasetError, OutputError, SettingError
from followspot.io.masks import write_mask
from followspot.metrics.summary import score_sequence, summarize


@pytest.fixture
def val(davis_folder):
    return DavisDataset(davis_folder, split="val")


@pytest.fixture
def train_2016(davis_folder):
    return DavisDataset(davis_folder, split="train")


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
        assert 100 * row.j.mean == pytest.approx(regions[row.object_id], abs=1e-6)
        assert 100 * row.f.mean == pytest.approx(contours[row.object_id], abs=1e-6)
    assert len(report.rows) == sum(len(regions) for regions, _ in objects.values())
    scores = report.scores
    assert [100 * scores[name] for name in ("J&F-Mean", "J-Mean", "F-Mean")] == pytest.approx([jf, j, f], abs=1e-6)


def test_first_and_last_frame_are_not_scored(val, results):
    report = score(results, val, workers=1)
    slow = val["slow"]
    j, f = score_sequence(truth_of(slow)[1:-1], read(results / "slow")[1:-1], [1, 2])
    for row, object_j, object_f in zip(report.rows[:2], j, f, strict=True):
        assert (row.sequence, row.frames) == ("slow", 9)
        assert (row.j, row.f) == (summarize(object_j), summarize(object_f))
    for index in (0, 6):
        write_mask(results / f"fast/{index:05d}.png", np.zeros((60, 80), np.uint8))
    assert score(results, val, workers=1) == report
    write_mask(results / "fast/00005.png", np.zeros((60, 80), np.uint8))
    assert score(results, val, workers=1) != report


def test_rows_are_the_objects_in_the_order_of_the_list(val, results):
    rows = score(results, val, workers=1).rows
    assert [(row.sequence, row.object_id) for row in rows] == [("slow", 1), ("slow", 2), ("fast", 1), ("fast", 2)]


def test_processes_do_not_change_the_numbers(val, results):
    calls = []
    serial = score(results, val, workers=1)
    parallel = score(results, val, workers=2, progress=lambda done, total: calls.append((done, total)))
    assert parallel == serial
    assert calls == [(1, 2), (2, 2)]


def test_the_order_of_finishing_does_not_matter(val, results, monkeypatch):
    expected = score(results, val, workers=1)
    in_order = davis._serially
    monkeypatch.setattr(davis, "_serially", lambda tasks: reversed(list(in_order(tasks))))
    assert score(results, val, workers=1) == expected


def test_errors_of_processes_arrive_whole(val, results):
    (results / "fast/00003.png").unlink()
    with pytest.raises(DatasetError, match=r"fast.00003\.png is missing \(1 of 7 frames are\)"):
        score(results, val, workers=2)


def test_a_script_without_a_main_guard_is_told_so(davis_folder, results, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "from followspot.benchmarks.davis import score\n"
        "from followspot.datasets.davis import DavisDataset\n"
        f"score(Path({str(results)!r}), DavisDataset({str(davis_folder)!r}, split='val'), workers=2)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert 'SettingError: 2 workers could not start or were killed; call this under if __name__ == "__main__":' in done.stderr


def test_worker_processes_need_no_torch():
    code = (
        "import sys, followspot.benchmarks.davis, followspot.benchmarks.baselines; sys.exit('torch' in sys.modules or 'av' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_preliminary_scores_the_last_frame_and_says_so(val, results):
    official = score(results, val, workers=1)
    quick = score(results, val, workers=1, protocol="preliminary")
    assert [row.frames for row in quick.rows] == [10, 10, 6, 6]
    assert quick.scores["J-Mean"] != official.scores["J-Mean"]
    assert "not comparable with published numbers" in quick.table()
    j, _ = score_sequence(truth_of(val["fast"])[1:], read(results / "fast")[1:], [2])
    assert quick.rows[3].j == summarize(j[0])


def test_2016_accepts_ids_and_black_and_white_alike(train_2016, results, tmp_path):
    report = score(results, train_2016, workers=1)
    assert [(row.sequence, row.object_id) for row in report.rows] == [("slow", 1), ("fast", 1)]
    for name in ("slow", "fast"):
        (tmp_path / "white" / name).mkdir(parents=True)
        for file in (results / name).iterdir():
            Image.fromarray((np.array(Image.open(file)) > 0).astype(np.uint8) * 255).save(tmp_path / "white" / name / file.name)
    assert score(tmp_path / "white", train_2016, workers=1) == report
    j, _ = score_sequence(truth_of(train_2016["slow"])[1:-1], (read(results / "slow")[1:-1] > 0).astype(int), [1])
    assert report.rows[0].j == summarize(j[0])


def test_a_prediction_may_lose_an_object_but_not_invent_one(val, results):
    path = results / "fast/00002.png"
    ids = np.array(Image.open(path))
    write_mask(path, np.where(ids == 2, 0, ids).astype(np.uint8))
    score(results, val, workers=1)
    write_mask(path, np.where(ids == 2, 7, ids).astype(np.uint8))
    with pytest.raises(DatasetError, match=r"fast.00002\.png holds ids \[7\] that are not in the first annotation \(ids 1, 2\)"):
        score(results, val, workers=1)


def test_an_object_that_appears_later_is_not_scored(davis_folder, results, tmp_path):
    path = davis_folder / "Annotations/480p/fast/00003.png"
    ids = np.array(Image.open(path))
    before = score(results, DavisDataset(davis_folder, split="val"), workers=1)
    ids[50:, 70:] = 3
    write_mask(path, ids)
    assert score(results, DavisDataset(davis_folder, split="val"), workers=1) == before


@pytest.mark.parametrize("index", [0, 3, 6])
def test_every_frame_is_required(val, results, index):
    (results / f"fast/{index:05d}.png").unlink()
    with pytest.raises(DatasetError, match=rf"fast.{index:05d}\.png is missing .* the first and the last included"):
        score(results, val, workers=1)


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
        score(results, val, workers=1)


def test_a_renamed_jpeg_is_named(val, results):
    Image.new("L", (80, 60)).save(results / "slow/00004.png", format="JPEG")
    with pytest.raises(DatasetError, match=r"slow.00004\.png is a JPEG file"):
        score(results, val, workers=1)


def test_missing_folders_are_named(val, results):
    shutil.rmtree(results / "fast")
    with pytest.raises(DatasetError, match=r"fast is missing \(1 of 2 sequences are\); run every sequence of DAVIS 2017 val"):
        score(results, val, workers=1)
    with pytest.raises(DatasetError, match="nowhere is not a folder"):
        score(results / "nowhere", val)


def test_no_workers_are_refused(val, results):
    with pytest.raises(SettingError, match="workers is 0, expected at least 1"):
        score(results, val, workers=0)


def test_hidden_truth_can_be_run_but_not_scored(davis_folder, tmp_path):
    for file in (davis_folder / "Annotations/480p/fast").glob("*.png"):
        if file.stem != "00000":
            file.unlink()
    dataset = DavisDataset(davis_folder, split="val")
    with pytest.raises(DatasetError, match=r"fast.00001\.png is missing \(6 annotations are\), so 'fast' can be run but not scored"):
        evaluate(dataset, identity, tmp_path / "out", workers=1)
    assert len(read(tmp_path / "out/fast")) == 7


def test_two_frames_are_too_few(davis_folder, results):
    for index in range(2, 7):
        (davis_folder / f"JPEGImages/480p/fast/{index:05d}.jpg").unlink()
        (davis_folder / f"Annotations/480p/fast/{index:05d}.png").unlink()
    with pytest.raises(DatasetError, match="fast has 2 frames, expected at least 3"):
        score(results, DavisDataset(davis_folder, split="val"), workers=1)


def test_evaluate_goes_on_where_it_was_killed(val, tmp_path):
    ran = []

    def run(sequence, folder):
        ran.append(sequence.name)
        identity(sequence, folder)
        if ran == ["slow", "fast"]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(val, run, tmp_path / "out", workers=1)
    assert not (tmp_path / "out/fast").exists()
    report = evaluate(val, run, tmp_path / "out", workers=1)
    assert ran == ["slow", "fast", "fast"]
    assert sorted(entry.name for entry in (tmp_path / "out").iterdir()) == ["fast", "slow"]
    assert report == evaluate(val, identity, tmp_path / "again", workers=1)


def test_evaluate_runs_a_sequence_with_missing_masks_again(val, tmp_path):
    report = evaluate(val, identity, tmp_path, workers=1)
    (tmp_path / "slow/00004.png").unlink()
    assert evaluate(val, identity, tmp_path, workers=1) == report


def test_evaluate_refuses_a_run_that_leaves_out_frames(val, tmp_path):
    def run(sequence, folder):
        identity(sequence, folder)
        (folder / "00005.png").unlink()

    with pytest.raises(DatasetError, match=r"the run of 'slow' wrote no 00005\.png \(1 frames missing\)"):
        evaluate(val, run, tmp_path, workers=1)


def test_evaluate_never_mixes_results_of_different_settings(val, tmp_path):
    evaluate(val, identity, tmp_path / "out", settings={"top_k": 10, "radius": 12}, workers=1)
    assert json.loads((tmp_path / "out/settings.json").read_text()) == {"top_k": 10, "radius": 12}
    evaluate(val, identity, tmp_path / "out", settings={"radius": 12, "top_k": 10}, workers=1)
    with pytest.raises(OutputError, match=r"settings\.json names other settings than this run"):
        evaluate(val, identity, tmp_path / "out", settings={"top_k": 5, "radius": 12}, workers=1)
    evaluate(val, identity, tmp_path / "unknown", workers=1)
    with pytest.raises(OutputError, match="so what made them is unknown"):
        evaluate(val, identity, tmp_path / "unknown", settings={"top_k": 5}, workers=1)


def test_evaluate_says_where_it_cannot_write(val, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match="out"):
        evaluate(val, identity, tmp_path / "out", workers=1)


def test_errors_of_the_run_are_not_mistaken_for_errors_of_the_folder(val, tmp_path):
    def run(sequence, folder):
        raise PermissionError(13, "no camera")

    with pytest.raises(PermissionError, match="no camera"):
        evaluate(val, run, tmp_path, workers=1)


def test_equals_vos_benchmark_on_several_objects(val, results, davis_folder):
    assert_equals_vos_benchmark(score(results, val, workers=1), davis_folder / "Annotations/480p", results)


@pytest.fixture(scope="module")
def real_identity(shared_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("identity")
    return folder, evaluate(DavisDataset(shared_data / "davis", split="dev"), identity, folder, workers=1)


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

    report = evaluate(dataset, lag, tmp_path / "out", workers=1)
    assert len(report.rows) == 7
    assert 0.3 < report.scores["J-Mean"] < 0.95
    assert_equals_vos_benchmark(report, root / "Annotations/480p", tmp_path / "out")
