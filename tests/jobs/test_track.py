"""A run leaves everything on disk, and stopping it at any moment changes nothing of that."""

import csv
import json

import numpy as np
import pytest

from followspot.datasets.davis import read_ids
from followspot.errors import AnnotationError, OutputError
from followspot.io.export import read_tracks
from followspot.io.video import open_video
from followspot.jobs.track import track_video
from followspot.types import Boxes, Keypoints, LabelMaps, Masks, Points


def masks(truth, index=0):
    return Masks(ids=truth.masks(index))


@pytest.fixture(scope="session")
def everything(truth):
    """Every kind of annotation, on two frames."""
    xy, visible = truth.points(0)
    spots = xy[visible][:2]
    heat = (truth.masks(0) == 1).astype(np.float32) * 0.8
    first = [
        masks(truth),
        Boxes(xyxy=truth.boxes(0)[:1], names=("crate",)),
        Points(xy=spots[:1], names=("nose",)),
        Keypoints(xy=spots, joints=("a", "b"), skeleton=((0, 1),), name="dog"),
        LabelMaps(weights=heat[None], names=("heat",)),
    ]
    return {0: first, 14: [masks(truth, 14)]}


@pytest.fixture(scope="session")
def whole(clip, everything, make_tracker, tmp_path_factory):
    """What an uninterrupted run leaves."""
    out = tmp_path_factory.mktemp("whole")
    with open_video(clip) as video:
        result = track_video(video, everything, make_tracker(), out)
    assert (result.frames, result.computed) == (20, 20)
    return out


class StopError(Exception):
    """Stands for a kill: nobody catches it."""


def stop_at(stage, done):
    def progress(now, count, total):
        if (now, count) == (stage, done):
            raise StopError

    return progress


def test_f160_everything_is_on_disk(whole, truth, contents):
    files = contents(whole)
    names = {f"masks/{i:05d}.png" for i in range(20)} | {f"maps/{i:05d}.npy" for i in range(20)}
    assert set(files) == names | {"tracks.json", "tracks.csv", "overlay.mp4"}
    np.testing.assert_array_equal(read_ids(whole / "masks/00000.png"), truth.masks(0))
    np.testing.assert_array_equal(read_ids(whole / "masks/00014.png"), truth.masks(14))
    heat = np.load(whole / "maps/00000.npy")
    assert heat.shape == (1, 96, 128)
    assert heat.dtype == np.float16
    assert heat.max() == np.float16(0.8)
    frames = read_tracks(whole / "tracks.json")
    assert [f.index for f in frames] == list(range(20))
    assert [o.name for o in frames[7].objects] == ["object 1", "object 2", "crate", "nose", "dog", "heat"]
    assert all(o.confidence is not None for f in frames for o in f.objects)
    with (whole / "tracks.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 20 * 7  # two masks, a box, a point, two joints, a map
    assert {row["kind"] for row in rows} == {"mask", "box", "point", "keypoints", "map"}
    header = json.loads((whole / "tracks.json").read_text())
    assert (header["height"], header["width"], header["fps"], header["annotated_frames"]) == (96, 128, 20.0, [0, 14])
    with open_video(whole / "overlay.mp4") as overlay:
        assert (overlay.num_frames, overlay.height, overlay.width) == (20, 96, 128)
        picture = overlay.frame(0).image
    inside = truth.masks(0) > 0
    difference = np.abs(picture.astype(int) - truth.frame(0)).mean(2)
    assert np.median(difference[inside]) > 5 * np.median(difference[~inside])


@pytest.mark.parametrize(
    ("stage", "done"), [("backward", 6), ("tracking", 5), ("tracking", 16), ("tracking", 19), ("overlay", 1), ("overlay", 20)]
)
def test_stopped_and_gone_on_is_the_same_as_never_stopped(clip, everything, make_tracker, whole, tmp_path, contents, stage, done):
    out = tmp_path / "out"
    with open_video(clip) as video, pytest.raises(StopError):
        track_video(video, everything, make_tracker(), out, progress=stop_at(stage, done))
    assert not (out / "tracks.json").exists()
    seen = []
    with open_video(clip) as video:
        result = track_video(video, everything, make_tracker(), out, progress=lambda stage, done, total: seen.append(stage))
    assert result.frames == 20
    assert result.computed == (20 if stage == "backward" or done == 5 else 4)
    assert ("backward" in seen) == (stage == "backward")  # the finished backward pass is used again
    assert contents(out) == contents(whole)


def test_stopped_again_and_again(clip, truth, make_tracker, tmp_path, contents):
    """A correction and a late object in the middle, colorization's forgetful memory, forward only, stopped at every stage."""
    given = {2: [masks(truth, 2)], 6: [Points(xy=truth.points(6)[0][:1], names=("late",))], 11: [masks(truth, 11)]}

    def go(out, progress=lambda *_: None):
        with open_video(clip) as video:
            return track_video(video, given, make_tracker(keep_references=False), out, both_ways=False, progress=progress)

    go(tmp_path / "whole")
    for stop in (stop_at("tracking", 9), stop_at("tracking", 17), stop_at("tracking", 18), stop_at("overlay", 3)):
        with pytest.raises(StopError):
            go(tmp_path / "out", stop)
    assert go(tmp_path / "out").computed == 4
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    frames = read_tracks(tmp_path / "out" / "tracks.json")
    assert [len(f.objects) for f in (frames[0], frames[2], frames[6])] == [0, 2, 3]
    assert not read_ids(tmp_path / "out" / "masks/00001.png").any()


def test_stopped_before_the_first_annotation(clip, truth, make_tracker, tmp_path, contents):
    given = {18: [masks(truth, 18)]}

    def go(out, progress=lambda *_: None):
        with open_video(clip) as video:
            return track_video(video, given, make_tracker(), out, progress=progress)

    go(tmp_path / "whole")
    with pytest.raises(StopError):
        go(tmp_path / "out", stop_at("tracking", 17))
    assert go(tmp_path / "out").computed == 4
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_the_second_time_it_is_there_already(clip, everything, make_tracker, whole, contents):
    before = contents(whole)
    with open_video(clip) as video:
        result = track_video(video, everything, make_tracker(), whole)
    assert (result.frames, result.computed, result.truncated) == (20, 0, None)
    assert contents(whole) == before
    told = json.loads((whole / "tracks.json").read_text())["annotate_next"]
    assert (told is None) == (result.suggestion is None)
    if told is not None:
        assert (told["index"], tuple(told["objects"])) == (result.suggestion.index, result.suggestion.objects)


@pytest.mark.parametrize("difference", ["annotation", "preset", "confidence", "source", "direction", "encoder"])
def test_other_settings_are_another_run(clip, truth, everything, make_tracker, whole, tmp_path, difference):
    given = dict(everything)
    if difference == "annotation":
        given[14] = [masks(truth, 13)]
    tracker = make_tracker(confidence=difference != "confidence", **({"context_frames": 3} if difference == "preset" else {}))
    if difference == "encoder":
        tracker.encoder.name = "another"
    source = clip
    if difference == "source":
        source = tmp_path / "clip.mp4"
        source.write_bytes(clip.read_bytes())
    with open_video(source) as video, pytest.raises(OutputError, match="results of another run"):
        track_video(video, given, tracker, whole, both_ways=difference != "direction")


def test_overwrite_replaces(clip, truth, make_tracker, tmp_path):
    for index, overwrite in ((0, False), (14, True)):
        with open_video(clip) as video:
            result = track_video(
                video, {index: [masks(truth, index)]}, make_tracker(confidence=False), tmp_path / "out", overlay=False, overwrite=overwrite
            )
        assert result.computed == 20
    np.testing.assert_array_equal(read_ids(tmp_path / "out/masks/00014.png"), truth.masks(14))
    assert not (tmp_path / "out/overlay.mp4").exists()


def test_only_boxes_and_points_leave_no_masks(clip, truth, make_tracker, tmp_path, contents):
    given = [Boxes(xyxy=truth.boxes(0)[:1], names=("crate",)), Points(xy=truth.points(0)[0][:1], names=("nose",))]
    with open_video(clip) as video:
        track_video(video, {0: given}, make_tracker(confidence=False), tmp_path / "out")
    assert set(contents(tmp_path / "out")) == {"tracks.json", "tracks.csv", "overlay.mp4"}


def test_interrupting_a_file_raises_and_it_goes_on_later(clip, truth, make_tracker, tmp_path):
    def interrupt(stage, done, total):
        if done == 18:
            raise KeyboardInterrupt

    given = {0: [masks(truth)]}
    with open_video(clip) as video, pytest.raises(KeyboardInterrupt):
        track_video(video, given, make_tracker(), tmp_path / "out", progress=interrupt)
    with open_video(clip) as video:
        assert track_video(video, given, make_tracker(), tmp_path / "out").computed == 4


@pytest.mark.parametrize(
    ("annotations", "message"),
    [
        ({}, "nothing to follow"),
        ({20: "mask"}, "frame 20 is annotated but clip has frames 0 to 19"),
        ({0: "small"}, "the mask is 8x8 but the video is 128x96"),
    ],
)
def test_wrong_annotations_leave_no_trace(clip, truth, make_tracker, tmp_path, annotations, message):
    kinds = {"mask": masks(truth), "small": Masks(ids=np.ones((8, 8), np.uint8))}
    given = {index: [kinds[kind]] for index, kind in annotations.items()}
    with open_video(clip) as video, pytest.raises(AnnotationError, match=message):
        track_video(video, given, make_tracker(), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
