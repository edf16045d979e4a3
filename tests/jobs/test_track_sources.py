"""Runs over every kind of source: folders, arrays, GIFs, cameras that are stopped, files that are cut."""

from dataclasses import replace

import numpy as np
import pytest

from followspot.datasets.davis import read_ids
from followspot.errors import AnnotationError, OutputError, SettingError, TruncatedVideoError, VideoError
from followspot.io.export import read_tracks
from followspot.io.source import OneWayVideo
from followspot.io.video import VideoWriter, open_video
from followspot.jobs.track import track_video
from followspot.types import Masks


def masks(truth, index=0):
    return Masks(ids=truth.masks(index))


def test_image_folders_give_their_names(truth, make_tracker, tmp_path):
    from PIL import Image

    frames = tmp_path / "frames"
    frames.mkdir()
    for index in (8, 9, 10):
        Image.fromarray(truth.frame(index)).save(frames / f"shot_{index}.png")
    with open_video(frames) as video:
        track_video(video, {0: [masks(truth, 8)]}, make_tracker(), tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out/masks").iterdir()) == ["shot_10.png", "shot_8.png", "shot_9.png"]
    assert [f.name for f in read_tracks(tmp_path / "out/tracks.json")] == ["shot_8", "shot_9", "shot_10"]


def test_arrays_and_gifs(truth, make_tracker, tmp_path):
    from PIL import Image

    pictures = np.stack([truth.frame(index) for index in range(4)])
    with open_video(pictures, fps=5) as video:
        track_video(video, {0: [masks(truth)]}, make_tracker(confidence=False), tmp_path / "array")
    Image.fromarray(pictures[0]).save(
        tmp_path / "clip.gif", save_all=True, append_images=[Image.fromarray(p) for p in pictures[1:]], duration=200
    )
    with open_video(tmp_path / "clip.gif") as video:
        track_video(video, {0: [masks(truth)]}, make_tracker(confidence=False), tmp_path / "gif")
    for out in ("array", "gif"):
        assert sorted(path.name for path in (tmp_path / out / "masks").iterdir()) == [f"{i:05d}.png" for i in range(4)]
        frames = read_tracks(tmp_path / out / "tracks.json")
        assert [f.time_seconds for f in frames] == pytest.approx([0, 0.2, 0.4, 0.6])
        with open_video(tmp_path / out / "overlay.mp4") as overlay:
            assert overlay.num_frames == 4
            assert overlay.frame(3).time_seconds == pytest.approx(0.6)


def once(truth, count=6):
    return open_video(truth.frame(index) for index in range(count))


def test_a_live_source_has_its_overlay_written_along(truth, make_tracker, tmp_path, contents):
    stages = []
    with once(truth) as video:
        result = track_video(
            video, {0: [masks(truth)]}, make_tracker(), tmp_path / "out", progress=lambda stage, *count: stages.append((stage, *count))
        )
    assert stages == [("tracking", i, None) for i in range(1, 7)]
    assert (result.frames, result.computed) == (6, 6)
    files = contents(tmp_path / "out")
    assert set(files) == {f"masks/{i:05d}.png" for i in range(6)} | {"tracks.json", "tracks.csv", "overlay.mp4"}
    with open_video(tmp_path / "out/overlay.mp4") as overlay:
        assert overlay.num_frames == 6
    with once(truth) as video, pytest.raises(OutputError, match="another run"):
        track_video(video, {0: [masks(truth)]}, make_tracker(), tmp_path / "out")


def test_a_live_source_goes_forward_only(truth, make_tracker, tmp_path):
    with once(truth) as video, pytest.raises(SettingError, match="cannot be rewound"):
        track_video(video, {2: [masks(truth, 2)]}, make_tracker(), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with once(truth) as video:
        track_video(video, {2: [masks(truth, 2)]}, make_tracker(), tmp_path / "out", both_ways=False, overlay=False)
    assert not read_ids(tmp_path / "out/masks/00001.png").any()
    assert read_ids(tmp_path / "out/masks/00005.png").any()


def test_a_live_source_that_ends_before_the_annotation(truth, make_tracker, tmp_path):
    with once(truth) as video, pytest.raises(AnnotationError, match="frame 9 is annotated but iterator ended before it"):
        track_video(video, {0: [masks(truth)], 9: [masks(truth)]}, make_tracker(), tmp_path / "out", both_ways=False)


@pytest.mark.parametrize("end", [KeyboardInterrupt(), TruncatedVideoError("the cable is out", decoded=4, expected=None)])
def test_a_camera_that_is_stopped_keeps_what_it_saw(truth, make_tracker, tmp_path, contents, end):
    def pictures():
        for index in range(4):
            yield truth.frame(index), index / 10
        raise end

    with OneWayVideo("camera", pictures(), fps=10) as video:
        result = track_video(video, {0: [masks(truth)]}, make_tracker(), tmp_path / "out")
    assert result.frames == 4
    assert result.truncated is (end if isinstance(end, TruncatedVideoError) else None)
    assert set(contents(tmp_path / "out")) == {f"masks/{i:05d}.png" for i in range(4)} | {"tracks.json", "tracks.csv", "overlay.mp4"}
    with open_video(tmp_path / "out/overlay.mp4") as overlay:
        assert overlay.num_frames == 4


@pytest.mark.parametrize("marks", [(0,), (0, 4), (3,)])
def test_a_cut_video_is_followed_to_the_cut(clip, truth, make_tracker, tmp_path, marks):
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(clip.read_bytes()[: clip.stat().st_size * 7 // 10])
    for computed_now in (True, False):
        with open_video(cut) as video:
            result = track_video(video, {mark: [masks(truth, mark)] for mark in marks}, make_tracker(), tmp_path / "out")
        assert 5 < result.frames < 20
        assert (result.computed > 0) == computed_now
        assert isinstance(result.truncated, TruncatedVideoError)
        assert f"{result.frames} of 20 frames" in str(result.truncated)
    assert len(list((tmp_path / "out/masks").iterdir())) == result.frames
    with open_video(tmp_path / "out/overlay.mp4") as overlay:
        assert overlay.num_frames == result.frames


def test_annotating_beyond_the_cut_of_a_video_saves_nothing(clip, truth, make_tracker, tmp_path):
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    with open_video(cut) as video, pytest.raises(VideoError, match="of 20 frames"):
        track_video(video, {19: [masks(truth, 19)]}, make_tracker(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_variable_times_reach_the_tracks_and_the_overlay(truth, make_tracker, tmp_path):
    times = [0, 0.1, 0.15, 0.5]
    with VideoWriter(tmp_path / "v.mp4", height=96, width=128, fps=20) as writer:
        for index, moment in enumerate(times):
            writer.write(truth.frame(index), time_seconds=moment)
    tracker = make_tracker(confidence=False)
    tracker.preset = replace(tracker.preset, context_frames=1)
    with open_video(tmp_path / "v.mp4") as video:
        track_video(video, {0: [masks(truth)]}, tracker, tmp_path / "out")
    assert [f.time_seconds for f in read_tracks(tmp_path / "out/tracks.json")] == pytest.approx(times, abs=1e-4)
    with open_video(tmp_path / "out/overlay.mp4") as overlay:
        assert [f.time_seconds for f in overlay] == pytest.approx(times, abs=1e-4)
