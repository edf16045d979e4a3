"""How sure a tracker was, kept beside what was measured: `followspot evaluate --confidence`."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from followspot.benchmarks.davis import DavisBenchmark
from followspot.benchmarks.report import Report, Row
from followspot.datasets.davis import read_ids
from followspot.errors import DatasetError, SettingError
from followspot.io.video import open_video
from followspot.jobs.confidences import CONFIDENCE, RecordingTracker, save_beside_overlap, save_recording
from followspot.jobs.evaluate import evaluate
from followspot.jobs.trackers import find_tracker
from followspot.tracking.base import Tracker
from followspot.tracking.presets import PRESETS, Resolution
from followspot.types import Masks

QUICK = replace(PRESETS["default"], resolution=Resolution(pixels=64))


def spec(**changes):
    return replace(find_tracker("descriptor", preset=QUICK, device="cpu"), **changes)


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def kept(two_videos, tmp_path_factory):
    """Results with confidence."""
    out = tmp_path_factory.mktemp("kept")
    evaluate(DavisBenchmark(two_videos), spec(confidence=True), out, data=two_videos, workers=1)
    return out


def test_the_table_holds_what_the_tracker_says_and_what_the_masks_are_worth(two_videos, kept):
    dataset = DavisBenchmark(two_videos).dataset
    tracker = replace(spec(), confidence=True).build()
    expected = {}
    for sequence in dataset.sequences:
        with open_video(sequence.image_folder) as video:
            for answer in tracker.stream(video, {0: [Masks(ids=sequence.read_mask(0))]}):
                saved = read_ids(kept / sequence.name / f"{answer.name}.png")
                np.testing.assert_array_equal(saved, answer.masks)
                truth = sequence.read_mask(answer.index)
                for item in answer.objects:
                    there, true = saved == item.mask_id, truth == item.mask_id
                    scored = 0 < answer.index < len(sequence) - 1
                    j = (there & true).sum() / (there | true).sum() if scored else None
                    expected[sequence.name, str(item.mask_id), str(answer.index)] = (item.confidence, item.lost, j)
    rows = table(kept / CONFIDENCE)
    assert list(rows[0]) == ["sequence", "object", "frame", "confidence", "lost", "j"]
    assert len(rows) == len(expected)
    for row in rows:
        confidence, lost, j = expected[row["sequence"], row["object"], row["frame"]]
        assert float(row["confidence"]) == pytest.approx(confidence, abs=1e-6)
        assert row["lost"] == str(int(lost))
        assert row["j"] == "" if j is None else float(row["j"]) == pytest.approx(j, abs=1e-6)


def test_masks_and_scores_are_the_same_without_it_and_sequences_without_it_are_run_again(two_videos, kept, tmp_path):
    benchmark = DavisBenchmark(two_videos)
    plain = evaluate(benchmark, spec(), tmp_path, data=two_videos, workers=1)
    assert plain.report.rows == Report.read(kept / "report.json").rows
    assert not list(tmp_path.rglob(CONFIDENCE))
    assert evaluate(benchmark, spec(confidence=True), tmp_path, data=two_videos, workers=1).computed == 2
    assert (tmp_path / CONFIDENCE).read_bytes() == (kept / CONFIDENCE).read_bytes()
    assert evaluate(benchmark, spec(confidence=True), tmp_path, data=two_videos, workers=1).computed == 0
    assert evaluate(benchmark, spec(), tmp_path, data=two_videos, workers=1).computed == 0


@pytest.mark.parametrize("method", ["identity", "template", "flow:dis"])
def test_a_baseline_makes_no_such_claim(method):
    with pytest.raises(SettingError, match=f"{method} does not say how sure it is"):
        replace(find_tracker(method), confidence=True)


def report(curve, *, measure="J", name="1"):
    row = Row(sequence="bear", object=name, frames=1, values={"J": 0.5}, curve=curve)
    return Report(benchmark="B", split="s", protocol="p", note="n", scores={"J": 0.5}, rows=(row,), curve=measure)


@pytest.fixture
def results(tmp_path):
    path = tmp_path / "bear" / CONFIDENCE
    path.parent.mkdir()
    path.write_text("sequence,object,frame,confidence,lost\nbear,1,0,1.000000,0\nbear,1,1,0.250000,1\nbear,1,2,0.750000,0\n")
    return tmp_path


@pytest.mark.parametrize("name", ["1", ""])
def test_overlaps_stand_beside_frames_that_are_scored(results, name):
    assert save_beside_overlap(report((None, 0.5), name=name), results, results)
    assert [(row["frame"], row["confidence"], row["j"]) for row in table(results / CONFIDENCE)] == [
        ("0", "1.000000", ""),
        ("1", "0.250000", "0.500000"),
        ("2", "0.750000", ""),
    ]


def test_nothing_is_written_where_nothing_can_be_compared(results):
    assert not save_beside_overlap(report((None, 0.5), measure="PCK@0.1"), results, results)
    (results / "bear" / CONFIDENCE).rename(results / "bear" / "moved")
    assert not save_beside_overlap(report((None, 0.5)), results, results)
    assert not (results / CONFIDENCE).exists()


def test_a_broken_table_is_named(results):
    (results / "bear" / CONFIDENCE).write_text("sequence,object,frame,confidence,lost\nbear,1,zero,1,0\n")
    with pytest.raises(DatasetError, match=r"bear/confidence\.csv is no table of confidences"):
        save_beside_overlap(report((None, 0.5)), results, results)


def test_a_recorder_is_a_tracker_and_forgets_the_sequence_before(two_videos, tmp_path):
    tracker = spec(confidence=True).build()
    assert isinstance(tracker, RecordingTracker)
    assert isinstance(tracker, Tracker)
    sequence = DavisBenchmark(two_videos).dataset.sequences[0]
    with open_video(sequence.image_folder) as video:
        first, second = video.frame(0), video.frame(1)
    tracker.start(first, [Masks(ids=sequence.read_mask(0))])
    tracker.reset()
    tracker.start(first, [Masks(ids=sequence.read_mask(0))])
    answer = tracker.step(second)
    rows = tracker.rows("x")
    assert [(row.object, row.frame) for row in rows] == [(str(o.mask_id), t) for o in answer.objects for t in (0, 1)]
    tracker.add([Masks(ids=sequence.read_mask(1))])
    assert all(row.confidence == 1 for row in tracker.rows("x"))
    tracker.forget()
    with pytest.raises(SettingError, match="nothing said how sure it is"):
        save_recording(tracker, "x", tmp_path)
