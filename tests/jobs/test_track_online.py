"""F135: a video, a camera or a stream is followed by the online tracker and leaves what propagation leaves, without a display."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from followspot.datasets.davis import read_ids
from followspot.errors import SettingError
from followspot.io.export import read_tracks
from followspot.io.video import open_video
from followspot.jobs.track import track_video
from followspot.models.online_networks import build_online_network
from followspot.tracking.base import Resumable
from followspot.tracking.identity import IdentityTracker
from followspot.tracking.siamese import SiameseTracker
from followspot.tracking.siamese_settings import SIAMESE_PRESETS
from followspot.types import Boxes, Frame, Masks

VOT = SIAMESE_PRESETS["vot"]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build_online_network("siammask-lite-base").eval()


@pytest.fixture(scope="module")
def given(truth):
    """A box and a mask, a correction and an object that comes late."""
    return {
        0: [Boxes(xyxy=truth.boxes(0)[:1], names=("crate",)), Masks(ids=(truth.masks(0) == 2).astype(np.uint8))],
        7: [Boxes(xyxy=truth.boxes(7)[:1], names=("crate",)), Boxes(xyxy=truth.boxes(7)[-1:], names=("late",))],
    }


@pytest.fixture(scope="module")
def whole(clip, given, network, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    with open_video(clip) as video:
        result = track_video(video, given, SiameseTracker(network, VOT), out)
    assert (result.frames, result.computed, result.suggestion) == (20, 20, None)
    assert min(result.pace.model, result.pace.reading, result.pace.writing) > 0
    return out


class StopError(Exception):
    """Stands for a kill: nobody catches it."""


def stop_at(stage, done):
    def progress(now, count, total):
        if (now, count) == (stage, done):
            raise StopError

    return progress


def test_f135_everything_is_on_disk(whole, truth, contents):
    assert set(contents(whole)) == {f"masks/{i:05d}.png" for i in range(20)} | {"tracks.json", "tracks.csv", "overlay.mp4"}
    header = json.loads((whole / "tracks.json").read_text())
    assert (header["network"], header["preset"], header["annotated_frames"]) == ("siammask-lite-base", "vot", [0, 7])
    frames = read_tracks(whole / "tracks.json")
    assert [[o.name for o in frames[i].objects] for i in (0, 6, 7)] == [["crate", "object 1"]] * 2 + [["crate", "object 1", "late"]]
    assert all(0 <= o.confidence <= 1 for f in frames for o in f.objects)
    corners = frames[3].objects[0].polygon
    assert len(corners) == 4
    with (whole / "tracks.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    row = next(row for row in rows if (row["frame"], row["object"]) == ("3", "crate"))
    np.testing.assert_allclose([float(edge) for edge in row["polygon"].split()], np.ravel(corners), atol=6e-4)
    assert rows[0]["polygon"] == ""  # the annotated box
    given = truth.masks(0) == 2
    np.testing.assert_array_equal(read_ids(whole / "masks/00000.png"), given)
    with open_video(whole / "overlay.mp4") as overlay:
        assert (overlay.num_frames, overlay.height, overlay.width) == (20, 96, 128)


@pytest.mark.parametrize(("stage", "done", "computed"), [("tracking", 5, 20), ("tracking", 17, 4), ("overlay", 3, 4)])
def test_a_killed_run_goes_on_with_the_same_result(clip, given, network, whole, contents, tmp_path, stage, done, computed):
    out = tmp_path / "out"
    with open_video(clip) as video, pytest.raises(StopError):
        track_video(video, given, SiameseTracker(network, VOT), out, progress=stop_at(stage, done))
    with open_video(clip) as video:
        result = track_video(video, given, SiameseTracker(network, VOT), out)
    assert (result.frames, result.computed) == (20, computed)
    assert contents(out) == contents(whole)


def test_other_weights_and_other_settings_are_another_run(clip, given, network, tmp_path):
    out = tmp_path / "out"
    with open_video(clip) as video, pytest.raises(StopError):
        track_video(video, given, SiameseTracker(network, VOT), out, progress=stop_at("tracking", 17))
    torch.manual_seed(1)
    others = SiameseTracker(build_online_network("siammask-lite-base").eval(), VOT), SiameseTracker(network, SIAMESE_PRESETS["davis"])
    for other in others:
        with open_video(clip) as video, pytest.raises(Exception, match="an unfinished run with other settings"):
            track_video(video, given, other, out)


@pytest.mark.parametrize("preset", [VOT, SIAMESE_PRESETS["vote"], replace(SIAMESE_PRESETS["long"], lost_below=0.87, lost_after=2)])
def test_the_state_of_a_tracker_survives_json(truth, network, given, preset):
    frames = [Frame(image=truth.frame(i), index=i, time_seconds=i / 20, name=str(i)) for i in range(12)]
    tracker, other = SiameseTracker(network, preset), SiameseTracker(network, preset)
    assert isinstance(tracker, Resumable)
    with pytest.raises(SettingError, match="no state before start"):
        tracker.state()
    tracker.start(frames[0], given[0])
    for frame in frames[1:9]:
        tracker.step(frame, given.get(frame.index, ()))
    other.restore(json.loads(json.dumps(tracker.state())), frames.__getitem__)
    for frame in frames[9:]:
        ours, theirs = tracker.step(frame), other.step(frame)
        assert ours.objects == theirs.objects
        np.testing.assert_array_equal(ours.masks, theirs.masks)


def test_a_lost_object_is_told_and_drawn_as_one(clip, truth, network, tmp_path):
    given = {0: [Boxes(xyxy=truth.boxes(0)[:1], names=("crate",))]}
    out = {}
    for name, preset in (("lost", replace(VOT, lost_below=1.0, found_above=1.0)), ("found", VOT)):
        with open_video(clip) as video:
            track_video(video, given, SiameseTracker(network, preset), tmp_path / name)
        out[name] = read_tracks(tmp_path / name / "tracks.json")
    late = out["lost"][5].objects[0]
    assert (late.lost, late.polygon, late.box) == (True, None, pytest.approx(tuple(truth.boxes(0)[0])))
    assert not out["found"][5].objects[0].lost
    assert not read_ids(tmp_path / "lost/masks/00005.png").any()
    with (tmp_path / "lost/tracks.csv").open(newline="") as file:
        assert [row["lost"] for row in csv.DictReader(file)] == ["0"] + ["1"] * 19
    pictures = {}
    for name in out:
        with open_video(tmp_path / name / "overlay.mp4") as overlay:
            pictures[name] = overlay.frame(5).image.astype(int)
    assert np.abs(pictures["lost"] - pictures["found"]).max() > 60


def test_f135_a_live_source_has_its_overlay_written_along(truth, network, tmp_path, contents):
    stages = []
    with open_video(truth.frame(index) for index in range(4)) as video:
        result = track_video(
            video,
            {1: [Boxes(xyxy=truth.boxes(1)[:1], names=("crate",))]},
            SiameseTracker(network, VOT),
            tmp_path,
            progress=lambda stage, *count: stages.append((stage, *count)),
        )
    assert stages == [("tracking", i, None) for i in range(1, 5)]
    assert (result.frames, result.computed) == (4, 4)
    assert {"tracks.json", "tracks.csv", "overlay.mp4"} <= set(contents(tmp_path))
    assert [len(frame.objects) for frame in read_tracks(tmp_path / "tracks.json")] == [0, 1, 1, 1]
    with open_video(tmp_path / "overlay.mp4") as overlay:
        assert overlay.num_frames == 4


def test_it_goes_forward_only(clip, truth, network, tmp_path):
    given = {3: [Boxes(xyxy=truth.boxes(3)[:1], names=("crate",))]}
    with open_video(clip) as video, pytest.raises(SettingError, match="frame 3 is annotated and this tracker goes forward only"):
        track_video(video, given, SiameseTracker(network, VOT), tmp_path / "out", both_ways=True)
    assert not (tmp_path / "out").exists()


def test_a_tracker_that_keeps_no_state_starts_again(clip, truth, tmp_path, contents):
    given = {0: [Masks(ids=truth.masks(0))]}
    with open_video(clip) as video:
        track_video(video, given, IdentityTracker(), tmp_path / "whole")
    with open_video(clip) as video, pytest.raises(StopError):
        track_video(video, given, IdentityTracker(), tmp_path / "out", progress=stop_at("tracking", 18))
    with open_video(clip) as video:
        assert track_video(video, given, IdentityTracker(), tmp_path / "out").computed == 20
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    header = json.loads((tmp_path / "out/tracks.json").read_text())
    assert (header["tracker"], header["preset"], header["annotate_next"]) == ("IdentityTracker", None, None)
