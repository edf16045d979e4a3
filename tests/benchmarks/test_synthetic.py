"""The benchmark of drawn clips: the truth scores 1, known errors score what they must, what is missing is named."""

import pickle
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from followspot.benchmarks.base import Benchmark
from followspot.benchmarks.registry import NAMES, open_benchmark
from followspot.benchmarks.synthetic import SPLITS, SyntheticBenchmark
from followspot.benchmarks.synthetic_scores import true_answer
from followspot.errors import DatasetError, SettingError
from followspot.io.masks import write_mask
from followspot.tracking.presets import PRESETS, Resolution
from followspot.tracking.propagation import PropagationTracker
from followspot.types import Boxes, Keypoints, Masks

PROTOCOLS = NAMES["synthetic"].protocols


class Told:
    """A tracker that is told the truth of frame ``when(index)``, which only a test may do."""

    def __init__(self, benchmark, sequence, *, when=lambda index: index, shift=0.0):
        self.video, self.kind = benchmark.video(sequence), benchmark.protocol
        self.when, self.shift, self.given = when, shift, None

    def stream(self, frames, annotations) -> Iterator:
        self.given = annotations
        for frame in frames:
            answer = true_answer(self.video, self.when(frame.index), kind=self.kind)
            things = tuple(
                replace(
                    thing,
                    box=None if thing.box is None else (thing.box[0] + self.shift, thing.box[1], thing.box[2] + self.shift, thing.box[3]),
                    points=tuple(replace(point, x=point.x + self.shift) for point in thing.points),
                )
                for thing in answer.objects
            )
            yield replace(answer, index=frame.index, name=frame.name, objects=things)


def one_clip(protocol, split="val"):
    names = SyntheticBenchmark(".", split=split).sequence_names[:1]
    return SyntheticBenchmark(".", split=split, protocol=protocol, clips=names)


def scored(benchmark, folder, **how):
    sequence = benchmark.sequence_names[0]
    (folder / sequence).mkdir()
    benchmark.run(sequence, Told(benchmark, sequence, **how), folder / sequence)
    assert benchmark.is_complete(sequence, folder / sequence)
    return benchmark.score(folder)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_f176_truth_scores_one_and_frozen_truth_less(tmp_path, protocol):
    benchmark = one_clip(protocol)
    (tmp_path / "truth").mkdir()
    (tmp_path / "first").mkdir()
    perfect, frozen = scored(benchmark, tmp_path / "truth"), scored(benchmark, tmp_path / "first", when=lambda index: 0)
    assert all(value == 1 for name, value in perfect.scores.items() if not np.isnan(value)), perfect.scores
    assert next(iter(frozen.scores.values())) < 0.5
    assert perfect.protocol == protocol
    assert {len(row.curve) for row in perfect.rows} == {benchmark.length(benchmark.sequence_names[0])}
    assert perfect.rows[0].curve[0] is None, "the first frame is given, so it is not scored"


def test_masks_count_pixels(tmp_path):
    """J of frozen masks, counted again from the pixels."""
    benchmark = one_clip("masks")
    report = scored(benchmark, tmp_path, when=lambda index: 0)
    video = benchmark.video(benchmark.sequence_names[0])
    for number, row in enumerate(report.rows, start=1):
        values, hidden = [], []
        for index in range(1, len(video)):
            said, true = video.masks(0) == number, video.masks(index) == number
            values.append((said & true).sum() / (said | true).sum())
            if video.visible(index)[number - 1] < 0.5:
                hidden.append(values[-1])
        assert row.values["J"] == pytest.approx(np.mean(values), abs=1e-12)
        assert row.curve[1:] == pytest.approx(values)
        assert np.isnan(row.values["J-Hidden"]) if not hidden else row.values["J-Hidden"] == pytest.approx(np.mean(hidden))
    assert report.scores["J-Mean"] == pytest.approx(np.mean([row.values["J"] for row in report.rows]))


def test_a_shifted_box_has_the_overlap_of_the_formula(tmp_path):
    benchmark = one_clip("boxes")
    report = scored(benchmark, tmp_path, shift=5.0)
    video = benchmark.video(benchmark.sequence_names[0])
    boxes = np.array([video.boxes(index)[0] for index in range(1, len(video))])
    widths = (boxes[:, 2] - boxes[:, 0])[np.isfinite(boxes).all(1)]
    assert report.rows[0].values["IoU"] == pytest.approx(np.mean(np.clip(widths - 5, 0, None) / (widths + 5)))


@pytest.mark.parametrize(("share", "expected"), [(0.09, (1, 1)), (0.11, (0, 1)), (0.21, (0, 0))])
def test_joints_are_right_within_a_share_of_the_box(tmp_path, monkeypatch, share, expected):
    benchmark = one_clip("keypoints")
    sides = []
    original = Told.stream

    def by_share(self, frames, annotations):
        for frame, answer in zip(frames, original(self, self.video, annotations), strict=True):
            things = []
            for thing in answer.objects:
                far = 0.0 if thing.box is None else share * max(thing.box[2] - thing.box[0], thing.box[3] - thing.box[1])
                sides.append(far)
                things.append(replace(thing, points=tuple(replace(point, y=point.y - far) for point in thing.points)))
            yield replace(answer, index=frame.index, objects=tuple(things))

    monkeypatch.setattr(Told, "stream", by_share)
    scores = scored(benchmark, tmp_path).scores
    assert tuple(scores.values()) == expected
    assert max(sides) > 2


@pytest.mark.parametrize(("protocol", "kind"), list(zip(PROTOCOLS, (Masks, Boxes, Keypoints), strict=True)))
def test_a_tracker_is_told_the_first_frame_only(tmp_path, protocol, kind):
    benchmark = one_clip(protocol)
    sequence = benchmark.sequence_names[0]
    tracker = Told(benchmark, sequence)
    benchmark.run(sequence, tracker, tmp_path)
    assert list(tracker.given) == [0]
    assert all(isinstance(annotation, kind) for annotation in tracker.given[0])


def test_f176_our_tracker_runs_it_and_beats_standing_still(tmp_path):
    benchmark = one_clip("masks", split="easy")
    sequence = benchmark.sequence_names[0]
    tracker = PropagationTracker("descriptor", replace(PRESETS["default"], resolution=Resolution(pixels=120)), confidence=False)
    (tmp_path / "still").mkdir()
    (tmp_path / sequence).mkdir()
    still = scored(benchmark, tmp_path / "still", when=lambda index: 0).scores["J-Mean"]
    benchmark.run(sequence, tracker, tmp_path / sequence)
    assert benchmark.score(tmp_path).scores["J-Mean"] > still + 0.1


def test_splits_are_as_they_are_named():
    """Harder splits hide more, and no clip is one that training draws."""

    def hidden(split):
        benchmark = SyntheticBenchmark(".", split=split)
        video = benchmark.video(benchmark.sequence_names[0])
        return np.mean([video.visible(index) < 0.9 for index in range(0, len(video), 4)])

    assert hidden("easy") < hidden("val") < hidden("hard")
    assert min(min(clips.seeds) for clips in SPLITS.values()) >= 1000
    assert len({seed for clips in SPLITS.values() for seed in clips.seeds}) == sum(len(clips.seeds) for clips in SPLITS.values())


def test_it_is_a_benchmark_that_pickles_and_is_cut_to_some_clips():
    benchmark = open_benchmark("synthetic", ".", split="hard", protocol="boxes")
    assert isinstance(benchmark, Benchmark)
    some = pickle.loads(pickle.dumps(benchmark.only(benchmark.sequence_names[2:0:-1])))
    assert some.sequence_names == ("clip-3002", "clip-3001")
    assert (some.split, some.protocol) == ("hard", "boxes")


def test_wrong_names_are_told():
    with pytest.raises(SettingError, match='no split "vall"'):
        SyntheticBenchmark(".", split="vall")
    with pytest.raises(SettingError, match='no protocol "mask"'):
        SyntheticBenchmark(".", protocol="mask")
    with pytest.raises(SettingError, match='no clip "clip-100"; did you mean "clip-100'):
        SyntheticBenchmark(".", clips=["clip-100"])


def test_missing_and_misshapen_results_are_named(tmp_path):
    benchmark = one_clip("masks")
    sequence = benchmark.sequence_names[0]
    with pytest.raises(DatasetError, match=rf"{sequence}.tracks\.json is missing"):
        benchmark.score(tmp_path)
    scored(benchmark, tmp_path)
    mask = tmp_path / sequence / "masks" / "00007.png"
    mask.unlink()
    assert not benchmark.is_complete(sequence, tmp_path / sequence)
    write_mask(mask, np.zeros((5, 5), np.uint8))
    with pytest.raises(DatasetError, match="5x5, expected 160x120"):
        benchmark.score(tmp_path)


def test_pictures_show_truth_and_results(tmp_path):
    benchmark = one_clip("masks")
    sequence = benchmark.sequence_names[0]
    scored(benchmark, tmp_path, when=lambda index: 0)
    bare, true, said = benchmark.video(sequence).frame(20), *(benchmark.picture(sequence, 20, folder) for folder in (None, tmp_path))
    assert bare.shape == true.shape == said.shape
    assert (bare != true).any()
    assert (true != said).any()
    with pytest.raises(DatasetError, match="no frame 40"):
        benchmark.picture(sequence, 40, None)
