"""A run whose steps overlap is the same as one step after the other, however it ends."""

import _thread
import json
import signal
import threading
import traceback
from dataclasses import replace

import numpy as np
import pytest

from followspot.datasets.davis import read_ids
from followspot.errors import EncoderError, OutputError, VideoError
from followspot.io.export import read_tracks, write_tracks_csv
from followspot.io.masks import write_mask
from followspot.io.video import VideoWriter, open_video
from followspot.jobs import track as module
from followspot.jobs.track import track_video
from followspot.tracking.both_ways import follow
from followspot.types import Masks, Points
from followspot.viz.overlay import draw


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    own = ("followspot-ahead", "followspot-behind")  # other tests of the process may have left others
    assert [thread.name for thread in threading.enumerate() if thread.name in own] == []


@pytest.fixture
def _heeds_control_c():
    """Also where whoever started the tests ignores it, as shells do for what runs in their background."""
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, earlier)


def annotations(truth, marks):
    spots = Points(xy=truth.points(0)[0][:2], names=("nose", "tail"))
    return {index: [Masks(ids=truth.masks(index)), *([spots] if index == 0 else [])] for index in marks}


def one_after_the_other(video, given, tracker, out):
    """The same files, written plainly."""
    out.mkdir()
    frames = []
    with VideoWriter(out / "overlay.mp4", height=video.height, width=video.width, fps=video.fps) as writer:
        for frame, answer in follow(tracker, video, given):
            write_mask(out / f"masks/{answer.name}.png", answer.masks)
            writer.write(draw(frame.image, answer), time_seconds=frame.time_seconds)
            frames.append(answer)
    write_tracks_csv(out / "tracks.csv", frames)
    return frames


@pytest.mark.parametrize("marks", [(0,), (3,), (0, 11)])
@pytest.mark.parametrize("confidence", [True, False])
def test_overlapping_changes_nothing(clip, truth, make_tracker, tmp_path, contents, marks, confidence):
    given, told = annotations(truth, marks), []
    with open_video(clip) as video:
        plain = one_after_the_other(video, given, make_tracker(confidence=confidence), tmp_path / "plain")
    with open_video(clip) as video:
        track_video(
            video, given, make_tracker(confidence=confidence), tmp_path / "out", progress=lambda stage, done, _: told.append((stage, done))
        )
    ours = contents(tmp_path / "out")
    header = json.loads(ours.pop("tracks.json"))
    assert ours == contents(tmp_path / "plain")
    assert header["annotated_frames"] == list(marks)
    for a, b in zip(read_tracks(tmp_path / "out/tracks.json"), plain, strict=True):
        assert repr(a) == repr(replace(b, masks=None))
    assert [count for stage, count in told if stage == "tracking"] == list(range(1, 21))
    assert [count for stage, count in told if stage == "overlay"] == list(range(1, 21))
    if marks == (0, 11):
        assert [count for stage, count in told if stage == "backward"] == list(range(1, 13))


def test_frames_that_are_not_followed_are_not_encoded(clip, truth, make_tracker, tmp_path):
    tracker, encoded = make_tracker(), []
    inner = tracker.encode
    tracker.encode = lambda frame: (encoded.append(frame.index), inner(frame))[1]
    with open_video(clip) as video:
        track_video(video, annotations(truth, (7,)), tracker, tmp_path / "out", both_ways=False, overlay=False)
    ahead = [index for index in encoded if encoded.count(index) == 1]
    assert set(encoded) == set(range(7, 20))
    assert ahead == []  # once ahead, and once by the tracker, which takes what is there


def test_each_frame_goes_through_the_encoder_once(clip, truth, make_tracker, tmp_path):
    tracker, calls = make_tracker(), []
    tracker.encoder.register_forward_hook(lambda *_: calls.append(threading.current_thread().name))
    with open_video(clip) as video:
        track_video(video, annotations(truth, (0,)), tracker, tmp_path / "out")
    assert calls == ["followspot-ahead"] * 20


class Broken:
    """Makes one step fail, or the user stop, when it comes to one frame."""

    def __init__(self, monkeypatch, video, tracker):
        self.patch, self.video, self.tracker = monkeypatch, video, tracker

    def reader(self, at, what):
        read = self.video._read

        def broken_reader(start, stop):
            for frame in read(start, stop):
                if frame.index == at:
                    what()
                yield frame

        self.patch.setattr(self.video, "_read", broken_reader)

    def encoder(self, at, what):
        encode = self.tracker.encode

        def broken_encoder(frame):
            if frame.index == at:
                what()
            return encode(frame)

        self.patch.setattr(self.tracker, "encode", broken_encoder)

    def tracker_step(self, at, what):
        step = self.tracker.step

        def broken_tracker_step(frame, given=()):
            if frame.index == at:
                what()
            return step(frame, given)

        self.patch.setattr(self.tracker, "step", broken_tracker_step)

    def writer(self, at, what):
        def broken_writer(path, ids):
            if path.stem == f"{at:05d}":
                what()
            write_mask(path, ids)

        self.patch.setattr(module, "write_mask", broken_writer)

    def overlay(self, at, what):
        def broken_overlay(image, answer, **settings):
            if answer.index == at:
                what()
            return draw(image, answer, **settings)

        self.patch.setattr(module, "draw", broken_overlay)


@pytest.fixture(scope="session")
def whole(clip, truth, make_tracker, tmp_path_factory):
    out = tmp_path_factory.mktemp("overlap") / "whole"
    with open_video(clip) as video:
        track_video(video, annotations(truth, (0,)), make_tracker(), out)
    return out


def run(clip, truth, tracker, out, *, broken):
    with open_video(clip) as video:
        broken(video)
        return track_video(video, annotations(truth, (0,)), tracker, out)


def goes_on(clip, truth, make_tracker, out, whole, contents, *, computed):
    assert not [path for path in out.rglob("*") if "partial" in path.name]
    assert not (out / "tracks.json").exists()
    for path in out.rglob("*.png"):
        np.testing.assert_array_equal(read_ids(path), read_ids(whole / "masks" / path.name))
    result = run(clip, truth, make_tracker(), out, broken=lambda video: None)
    assert (result.frames, result.computed) == (20, computed)
    assert contents(out) == contents(whole)


@pytest.mark.parametrize(
    ("step", "error"),
    [("reader", VideoError), ("encoder", EncoderError), ("tracker_step", RuntimeError), ("writer", OutputError), ("overlay", MemoryError)],
)
def test_an_error_anywhere_is_told_as_it_is_and_the_run_goes_on(
    clip, truth, make_tracker, tmp_path, monkeypatch, contents, whole, step, error
):
    def fail():
        raise error(f"the {step} broke")

    tracker = make_tracker()

    def broken(video):
        getattr(Broken(monkeypatch, video, tracker), step)(18, fail)

    with pytest.raises(error, match=f"the {step} broke") as caught:
        run(clip, truth, tracker, tmp_path / "out", broken=broken)
    assert f"broken_{step}" in [entry.name for entry in traceback.extract_tb(caught.value.__traceback__)]
    monkeypatch.undo()
    goes_on(clip, truth, make_tracker, tmp_path / "out", whole, contents, computed=4)


def interrupt():
    """Ctrl-C: the signal comes to the main thread, whichever one is at work."""
    if threading.current_thread() is threading.main_thread():
        signal.raise_signal(signal.SIGINT)
    else:
        _thread.interrupt_main()


@pytest.mark.usefixtures("_heeds_control_c")
@pytest.mark.parametrize(("step", "at"), [("reader", 10), ("encoder", 18), ("tracker_step", 18), ("writer", 12), ("overlay", 5)])
def test_control_c_leaves_a_folder_that_goes_on_to_the_same_result(
    clip, truth, make_tracker, tmp_path, monkeypatch, contents, whole, step, at
):
    tracker = make_tracker()

    def broken(video):
        getattr(Broken(monkeypatch, video, tracker), step)(at, interrupt)

    with pytest.raises(KeyboardInterrupt):
        run(clip, truth, tracker, tmp_path / "out", broken=broken)
    monkeypatch.undo()
    goes_on(clip, truth, make_tracker, tmp_path / "out", whole, contents, computed=20 if at < 16 and step != "overlay" else 4)


def test_an_error_before_the_first_answer_leaves_no_trace(clip, truth, make_tracker, tmp_path, monkeypatch):
    def fail():
        raise OutputError("the writer broke")

    with pytest.raises(OutputError, match="the writer broke"):
        run(clip, truth, make_tracker(), tmp_path / "out", broken=lambda video: Broken(monkeypatch, video, None).writer(0, fail))
    assert list(tmp_path.iterdir()) == []
