"""F023 (server archive), F027 and F147 on a small tree in YouTube-VOS' layout."""

import json
import pickle
import zipfile

import numpy as np
import pytest
from PIL import Image

from followspot.benchmarks.registry import open_benchmark
from followspot.benchmarks.youtube_vos import YoutubeVosBenchmark
from followspot.datasets.youtube_vos import YoutubeVosDataset
from followspot.errors import DatasetError, SettingError
from followspot.io.masks import davis_palette, write_mask
from followspot.metrics.summary import score_frame
from followspot.tracking.identity import IdentityTracker

FRAMES, LATE = 21, 10
SIZE = (40, 60)


def truth(frame):
    """Object 1 moves right from the start; object 2 stands still from frame 10 on."""
    ids = np.zeros(SIZE, np.uint8)
    if frame >= LATE:
        ids[25:38, 5:25] = 2
    ids[5:20, 2 + frame : 22 + frame] = 1
    return ids


def make(root, split, videos, *, later_masks, every=False):
    """``videos``: category of object 1 by name; object 2 is always a zebra."""
    meta = {}
    for name, category in videos.items():
        kept = range(0, FRAMES, 5)
        listed = {"1": [f"{i:05d}" for i in kept], "2": [f"{i:05d}" for i in kept if i >= LATE]}
        meta[name] = {
            "objects": {key: {"category": {"1": category, "2": "zebra"}[key], "frames": frames} for key, frames in listed.items()}
        }
        for folder, frames in ((split, kept), (f"{split}_all_frames", range(FRAMES) if every else ())):
            for i in frames:
                path = root / folder / "JPEGImages" / name / f"{i:05d}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", SIZE[::-1]).save(path)
        for i in kept:
            ids = truth(i)
            if later_masks or i in (0, LATE):
                write_mask(root / split / "Annotations" / name / f"{i:05d}.png", ids)
    (root / split / "meta.json").write_text(json.dumps({"videos": meta}))
    return root


@pytest.fixture
def valid(tmp_path):
    """Two videos as the split valid has them: masks only where objects begin."""
    return make(tmp_path / "yt", "valid", {"v1": "cat", "v2": "dog"}, later_masks=False, every=True)


@pytest.fixture
def train(tmp_path):
    return make(tmp_path / "yt", "train", {"v1": "cat", "v2": "dog", "v3": "cat"}, later_masks=True)


def run(benchmark, folder, tracker=None):
    for name in benchmark.sequence_names:
        (folder / name).mkdir(parents=True)
        benchmark.run(name, tracker or IdentityTracker(), folder / name)
        assert benchmark.is_complete(name, folder / name)
    return folder


def test_f027_late_objects_begin_where_they_are_annotated(valid):
    benchmark = open_benchmark("youtube-vos", valid)
    video = benchmark.dataset.videos["v1"]
    assert (benchmark.protocol, benchmark.length("v1"), benchmark.hidden) == ("all-frames", FRAMES, True)
    assert dict(video.begins) == {1: "00000", 2: "00010"}
    given = video.given()
    assert {index: set(np.unique(ids)) for index, ids in given.items()} == {0: {0, 1}, LATE: {0, 2}}
    assert pickle.loads(pickle.dumps(benchmark)).sequence_names == ("v1", "v2")


class Watched(IdentityTracker):
    """Notes what it is shown."""

    def __init__(self):
        self.shown = []
        super().__init__()

    def start(self, frame, annotations):
        self.shown.append((frame.name, [sorted(set(np.unique(given.ids)) - {0}) for given in annotations]))
        return super().start(frame, annotations)

    def step(self, frame, annotations=()):
        self.shown.append((frame.name, [sorted(set(np.unique(given.ids)) - {0}) for given in annotations]))
        return super().step(frame, annotations)


@pytest.mark.parametrize("split", ["valid", "train"])
def test_f027_the_tracker_sees_all_frames_and_no_later_truth(tmp_path, split):
    root = make(tmp_path / "yt", split, {"v1": "cat"}, later_masks=split == "train", every=True)
    benchmark = YoutubeVosBenchmark(root, split=split)
    tracker, calls = Watched(), []
    (tmp_path / "out").mkdir()
    benchmark.run("v1", tracker, tmp_path / "out", on_frame=lambda *call: calls.append(call))
    assert [name for name, _ in tracker.shown] == [f"{i:05d}" for i in range(FRAMES)]
    # Also where the truth of object 1 is there in frame 10, only the new object is shown.
    assert {name: given for name, given in tracker.shown if given} == {"00000": [[1]], "00010": [[2]]}
    assert calls[-1] == ("v1", FRAMES, FRAMES)
    written = sorted(file.name for file in (tmp_path / "out").iterdir())
    assert written == [f"{i:05d}.png" for i in range(0, FRAMES, 5)]
    ids = np.array(Image.open(tmp_path / "out/00010.png"))
    np.testing.assert_array_equal(ids, np.where(truth(LATE) == 2, 2, truth(0)))


def test_every_fifth_frame_alone_is_another_protocol(valid, tmp_path):
    benchmark = YoutubeVosBenchmark(valid, protocol="every-fifth")
    assert (benchmark.protocol, benchmark.length("v1")) == ("every-fifth", 5)
    tracker = Watched()
    benchmark.run("v1", tracker, tmp_path)
    assert [name for name, _ in tracker.shown] == ["00000", "00005", "00010", "00015", "00020"]
    with pytest.raises(SettingError, match='no protocol "all"; choose from: all-frames, every-fifth'):
        YoutubeVosBenchmark(valid, protocol="all")


def test_all_frames_that_are_not_there_are_asked_for_in_vain(train):
    assert YoutubeVosBenchmark(train, split="train").protocol == "every-fifth"
    with pytest.raises(DatasetError, match=r"train_all_frames.JPEGImages is missing.*choose the protocol every-fifth"):
        YoutubeVosBenchmark(train, split="train", protocol="all-frames")


def test_f147_the_archive_holds_only_required_frames_with_ids_and_palette(valid, tmp_path):
    benchmark = YoutubeVosBenchmark(valid)
    results = run(benchmark, tmp_path / "out")
    # Masks of others may be grey and may be there for every frame.
    Image.fromarray(np.array(Image.open(results / "v1/00005.png"))).convert("L").save(results / "v1/00005.png")
    Image.fromarray(np.full(SIZE, 2, np.uint8)).save(results / "v1/00005.png")
    write_mask(results / "v1/00007.png", truth(7))
    benchmark.pack(results, tmp_path / "submission.zip")
    with zipfile.ZipFile(tmp_path / "submission.zip") as archive:
        assert archive.namelist() == [f"Annotations/{name}/{i:05d}.png" for name in ("v1", "v2") for i in range(0, FRAMES, 5)]
        for name in archive.namelist():
            with Image.open(archive.open(name)) as picture:
                assert picture.mode == "P"
                assert picture.getpalette()[:30] == davis_palette()[:30]
                source = np.array(Image.open(results / name.removeprefix("Annotations/")))
                np.testing.assert_array_equal(np.array(picture), source)
    first = (tmp_path / "submission.zip").read_bytes()
    benchmark.pack(results, tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == first


def test_an_archive_is_whole_or_absent(valid, tmp_path):
    benchmark = YoutubeVosBenchmark(valid)
    results = run(benchmark, tmp_path / "out")
    write_mask(results / "v2/00020.png", np.full(SIZE, 7, np.uint8))
    with pytest.raises(DatasetError, match=r"v2.00020\.png holds ids \[7\] that nobody asked for \(known are 1, 2\)"):
        benchmark.pack(results, tmp_path / "submission.zip")
    assert not (tmp_path / "submission.zip").exists()
    (results / "v2/00020.png").unlink()
    with pytest.raises(DatasetError, match=r"v2.00020\.png is missing \(1 of 5 masks of 'v2' are\); run the sequence again"):
        benchmark.pack(results, tmp_path / "submission.zip")


def test_f027_hidden_truth_is_said_and_not_scored(valid, tmp_path):
    benchmark = YoutubeVosBenchmark(valid)
    results = run(benchmark, tmp_path / "out")
    with pytest.raises(DatasetError, match=r"v1.00005\.png is missing \(2 of 2 videos lack truth\), so valid cannot be scored here; send"):
        benchmark.score(results, workers=1)


def test_scores_are_means_over_seen_and_unseen_objects(train, tmp_path):
    (train / "holdout.txt").write_text("v1\nv2\n")
    benchmark = YoutubeVosBenchmark(train, split="holdout")
    assert benchmark.sequence_names == ("v1", "v2")
    results = run(benchmark, tmp_path / "out")
    report = benchmark.score(results, workers=1)
    # Slow: identity against the truth, object 1 in frames 5 to 20, object 2 in 15 and 20, where it is where it was.
    j, f = np.transpose([score_frame(truth(i), truth(0), [1]) for i in (5, 10, 15, 20)], (1, 0, 2))
    expected = {"Js": (j.mean() + 1 + 1) / 3, "Fs": (f.mean() + 1 + 1) / 3, "Ju": j.mean(), "Fu": f.mean()}
    # v3, the rest of train, has cats and zebras; dogs are unseen. Zebras stand still.
    assert [report.scores[name] for name in expected] == pytest.approx(list(expected.values()), abs=1e-12)
    assert report.scores["Overall"] == pytest.approx(np.mean(list(expected.values())))
    assert list(report.scores) == ["Overall", "Js", "Ju", "Fs", "Fu"]
    assert "Seen categories: videos of train that holdout.txt leaves out." in report.note
    assert [(row.sequence, row.object, row.frames, row.values["seen"]) for row in report.rows] == [
        ("v1", "1", 4, 1.0),
        ("v1", "2", 2, 1.0),
        ("v2", "1", 4, 0.0),
        ("v2", "2", 2, 1.0),
    ]
    assert report.rows[1].curve == (None, None, None, 1.0, 1.0)
    assert benchmark.score(results, workers=2) == report


def test_categories_may_be_listed_or_unknown(tmp_path):
    root = make(tmp_path / "yt", "check", {"v1": "cat"}, later_masks=True)
    benchmark = YoutubeVosBenchmark(root, split="check")
    results = run(benchmark, tmp_path / "out")
    unknown = benchmark.score(results, workers=1)
    assert list(unknown.scores) == ["J&F-Mean", "J-Mean", "F-Mean"]
    assert "not known here" in unknown.note
    (root / "seen_categories.txt").write_text("giant panda\ncat\n")
    assert benchmark.dataset.seen().categories == {"giant panda", "cat"}
    listed = benchmark.score(results, workers=1)
    assert [row.values["seen"] for row in listed.rows] == [1.0, 0.0]
    (root / "seen_categories.txt").write_text("cat\nzebra\n")
    one_group = benchmark.score(results, workers=1)
    assert one_group.scores["Overall"] == pytest.approx((one_group.scores["Js"] + one_group.scores["Fs"]) / 2)
    assert "No object is unseen, Overall is the mean of the rest" in one_group.note


def test_truth_against_itself_is_perfect(train, tmp_path):
    report = YoutubeVosBenchmark(train, split="train").score(train / "train/Annotations", workers=1)
    assert report.scores["Js"] == report.scores["Fs"] == 1


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda v: (v / "JPEGImages/v1/00015.jpg").unlink(), r"v1.00015\.jpg is missing but meta\.json lists it \(1 frames are missing\)"),
        (lambda v: (v / "meta.json").unlink(), r"train.meta\.json is missing; expected the folder that holds train, valid or test"),
        (lambda v: (v / "meta.json").write_text("{"), r"meta\.json"),
        (
            lambda v: (v / "meta.json").write_text('{"videos": {"v1": {"objects": {"cat": {}}}}}'),
            r"v1\.objects\.cat: 'cat' is no object id",
        ),
        (lambda v: (v / "meta.json").write_text('{"videos": {"v1": {"objects": {"1": {}}}}}'), r"objects\.1\.frames: expected a list"),
        (lambda v: (v / "meta.json").write_text('{"videos": {}}'), r"meta\.json lists no video; unpack it again"),
        (lambda v: [f.unlink() for f in (v / "Annotations/v1").iterdir()], r"Annotations.v1 holds no annotation; unpack the annotations"),
    ],
    ids=["frame", "no meta", "broken meta", "bad id", "no frames", "no video", "no masks"],
)
def test_incomplete_trees_are_named(train, spoil, message):
    spoil(train / "train")
    with pytest.raises(DatasetError, match=message):
        YoutubeVosDataset(train, split="train")


def test_a_bad_line_of_a_list_is_named(train):
    (train / "holdout.txt").write_text("v1\n\nv9\n")
    with pytest.raises(DatasetError, match=r"holdout\.txt line 3 names 'v9', which is not there; correct the line"):
        YoutubeVosDataset(train, split="holdout")


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (np.full(SIZE, 9, np.uint8), r"00000\.png holds ids \[9\] but meta\.json lists the objects 1, 2 for 'v1'; unpack both"),
        (np.ones((40, 61), np.uint8), r"00000\.png is 61x40 but its frame is 60x40; use annotations and frames of one release"),
    ],
    ids=["extra id", "size"],
)
def test_unusable_annotations_are_named(valid, tmp_path, ids, message):
    write_mask(valid / "valid/Annotations/v1/00000.png", ids)
    with pytest.raises(DatasetError, match=message):
        YoutubeVosBenchmark(valid).run("v1", IdentityTracker(), tmp_path)


def test_an_object_without_a_mask_is_named(valid, tmp_path):
    (valid / "valid/Annotations/v1/00010.png").unlink()
    with pytest.raises(DatasetError, match=r"Annotations.v1 has no mask of object 2, which meta\.json lists"):
        YoutubeVosBenchmark(valid).run("v1", IdentityTracker(), tmp_path)


def test_frames_before_the_first_object_get_empty_masks(valid, tmp_path):
    for name in ("v1", "v2"):
        (valid / f"valid/Annotations/{name}/00000.png").unlink()
        write_mask(valid / f"valid/Annotations/{name}/00010.png", truth(LATE))
    YoutubeVosBenchmark(valid).run("v1", IdentityTracker(), tmp_path)
    assert not np.array(Image.open(tmp_path / "00005.png")).any()
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "00010.png")), truth(LATE))


def test_pictures_show_truth_or_result(train, tmp_path):
    benchmark = YoutubeVosBenchmark(train, split="train")
    shown = benchmark.picture("v1", 2, None)
    assert shown.shape == (*SIZE, 3)
    assert shown.any()
    np.testing.assert_array_equal(benchmark.picture("v1", 2, train / "train/Annotations"), shown)
    with pytest.raises(DatasetError, match="has no frame 5; its frames are 0 to 4"):
        benchmark.picture("v1", 5, None)
    with pytest.raises(DatasetError, match="no video 'v9'"):
        benchmark.length("v9")
