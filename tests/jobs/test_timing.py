"""F134: the model, reading and writing are timed apart, medians over frames, with the device."""

import time

import numpy as np
import pytest

from followspot.benchmarks.otb import OtbBenchmark
from followspot.benchmarks.tapvid import Confident
from followspot.errors import DatasetError
from followspot.jobs import timing
from followspot.jobs.evaluate import evaluate
from followspot.jobs.results import ResultsFolder, Timing
from followspot.jobs.timing import Pace, Stopwatch, TimedTracker, device_of, total_pace
from followspot.jobs.trackers import find_tracker
from followspot.tracking.base import Tracker
from followspot.types import Frame, TrackedFrame


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on only when it is told to."""

    class Clock:
        now = 100.0

        def wait(self, seconds):
            self.now += seconds

    made = Clock()
    monkeypatch.setattr(timing.time, "perf_counter", lambda: made.now)
    return made


def frame(index):
    return Frame(image=np.zeros((4, 6, 3), np.uint8), index=index, time_seconds=float(index), name=str(index))


def answer(index):
    return TrackedFrame(index=index, name=str(index), time_seconds=0.0, masks=None, maps=None, objects=())


class Slow:
    """A tracker that takes its time: 1 s for the first frame, then 0.1 s, once 5 s."""

    method = "slow"

    def __init__(self, clock):
        self.clock = clock

    def start(self, frame, annotations):
        self.clock.wait(1)
        return answer(frame.index)

    def step(self, frame, annotations=()):
        self.clock.wait(5 if frame.index == 3 else 0.1)
        return answer(frame.index)

    def add(self, annotations):
        return answer(0)

    def remove(self, name):
        self.clock.wait(7)

    def reset(self):
        self.clock.wait(7)

    def stream(self, frames, annotations):
        for frame in frames:
            yield self.step(frame) if frame.index else self.start(frame, annotations[0])


def read(clock, count):
    for index in range(count):
        clock.wait(0.02)
        yield frame(index)


def test_f134_a_stream_is_taken_apart(clock):
    timed = TimedTracker(Slow(clock))
    for index, got in enumerate(timed.stream(read(clock, 9), {0: ["box"]})):
        assert got.index == index
        clock.wait(0.005)
    pace = timed.pace()
    assert (pace.model, pace.reading, pace.writing) == pytest.approx((0.1, 0.02, 0.005))
    threads = device_of(object()).removeprefix("cpu (").split()[0]
    plural = "" if threads == "1" else "s"
    told = f"model 10.0 frames/s (median), reading 50.0 frames/s, writing 200 frames/s, on cpu ({threads} thread{plural})"
    assert str(pace) == told


def test_f134_frame_by_frame_what_lies_between_is_reading_and_writing(clock):
    timed = TimedTracker(Slow(clock))
    assert timed.pace() is None
    timed.start(frame(0), ["box"])
    for index in range(1, 9):
        clock.wait(0.05)
        timed.step(frame(index))
    pace = timed.pace()
    assert (pace.model, pace.reading, pace.writing) == pytest.approx((0.1, 0.05, None))
    assert "reading and writing 20.0 frames/s, on" in str(pace)


def test_a_timed_tracker_is_the_tracker(clock):
    timed = TimedTracker(Slow(clock))
    assert isinstance(timed, Tracker)
    assert timed.method == "slow"
    assert timed.add([]).index == 0
    with pytest.raises(AttributeError, match="settings"):
        timed.settings  # noqa: B018
    spec = find_tracker("descriptor", device="cpu")
    inner = spec.build()
    timed = TimedTracker(inner)
    assert isinstance(timed, Confident)
    timed.confidence = True
    assert inner.confidence
    bare = Slow(clock)
    TimedTracker(bare).confidence = True
    assert not hasattr(bare, "confidence")


def test_where_steps_overlap_each_is_timed_by_itself(clock):
    """Frames are read and encoded ahead: waiting for them is nobody's work, and both parts of the model's are added."""
    watch = Stopwatch()

    def encoded():
        for taken in watch.read_ahead(read(clock, 9)):
            with watch.looking():
                clock.wait(0.3)
            yield taken

    def tracked():
        for seen in watch.waited(encoded()):
            clock.wait(0.1)
            yield seen.index

    for index in watch.computed(tracked()):
        with watch.writing():
            clock.wait(0.005)
        clock.wait(50)
        assert index < 9
    pace = watch.pace("cpu")
    assert (pace.model, pace.reading, pace.writing) == pytest.approx((0.4, 0.02, 0.005))
    assert Stopwatch().pace("cpu") is None


def test_errors_of_a_source_come_through(clock):
    def broken():
        yield frame(0)
        raise DatasetError("gone")

    timed = TimedTracker(Slow(clock))
    with pytest.raises(DatasetError, match="gone"):
        list(timed.stream(broken(), {0: ["box"]}))
    assert timed.pace().model == pytest.approx(1.0)


def test_no_more_frames_are_remembered_than_a_median_needs(clock, monkeypatch):
    monkeypatch.setattr(timing, "_REMEMBERED", 3)
    watch = Stopwatch()
    for seconds in (9, 9, 9, 9, 1, 2, 3):
        began = watch.begin()
        clock.wait(seconds)
        watch.end(began)
        clock.wait(0.1)
    assert watch.pace("cpu").model == 2


def test_sequences_count_by_their_frames():
    def pace(model, writing=1.0, device="cpu"):
        return Pace(model=model, reading=0.5, writing=writing, device=device)

    assert total_pace([]) is None
    assert total_pace([(10, pace(0.3))]) == pace(0.3)
    together = total_pace([(10, pace(0.3)), (100, pace(0.1)), (50, pace(0.2, device="cuda:0"))])
    assert together == pace(0.1, device="cpu and cuda:0")
    assert total_pace([(1, pace(0.3)), (1, pace(0.1, writing=None))]).writing is None
    rng = np.random.default_rng(0)
    values = [(int(rng.integers(1, 9)), float(value)) for value in rng.random(15)]
    slow = np.sort(np.concatenate([[value] * weight for weight, value in values]))
    assert total_pace([(weight, pace(value)) for weight, value in values]).model == slow[(len(slow) - 1) // 2]


def test_times_are_kept_in_a_table_and_those_of_earlier_versions_are_read(tmp_path):
    pace = Pace(model=0.0125, reading=0.001, writing=None, device="cpu (2 threads)")
    folder = ResultsFolder(tmp_path, {})
    for name, apart in (("a", pace), ("b", None)):
        (folder.begin(name) / "x").touch()
        folder.keep(Timing(sequence=name, frames=10, seconds=2.0, pace=apart))
    header, first, _ = (tmp_path / "timing.csv").read_text().splitlines()
    assert header == "sequence,frames,seconds,frames_per_second,model_ms,reading_ms,writing_ms,device"
    assert first == "a,10,2.000,5.00,12.5000,1.0000,,cpu (2 threads)"
    times = folder.timings()
    assert (times["a"].pace, times["b"].pace) == (pace, None)
    (tmp_path / "timing.csv").write_text("sequence,frames,seconds,frames_per_second\na,10,2.000,5.00\n")
    assert folder.timings() == {"a": Timing(sequence="a", frames=10, seconds=2.0)}
    (tmp_path / "timing.csv").write_text("sequence,frames,seconds,model_ms,reading_ms\na,10,2.000,x,1\n")
    with pytest.raises(DatasetError, match="not a table of times"):
        folder.timings()


@pytest.fixture
def otb(truth, tmp_path):
    from PIL import Image

    folder = tmp_path / "OTB/Walk"
    (folder / "img").mkdir(parents=True)
    for index in range(6):
        Image.fromarray(truth.frame(index)).save(folder / f"img/{index + 1:04d}.jpg")
    boxes = [truth.boxes(index)[0] for index in range(6)]
    lines = [f"{x1 + 1:.2f},{y1 + 1:.2f},{x2 - x1:.2f},{y2 - y1:.2f}" for x1, y1, x2, y2 in boxes]
    (folder / "groundtruth_rect.txt").write_text("\n".join(lines) + "\n")
    return tmp_path / "OTB"


def test_f134_an_evaluation_tells_the_model_apart(otb, tmp_path):
    began = time.perf_counter()
    done = evaluate(OtbBenchmark(otb), find_tracker("template"), tmp_path / "out", data=otb, workers=1)
    seconds = time.perf_counter() - began
    assert 0 < done.pace.model < seconds
    assert 0 < done.pace.reading < seconds
    assert 0 < done.pace.writing < seconds
    assert done.pace.device.startswith("cpu (")
    again = evaluate(OtbBenchmark(otb), find_tracker("template"), tmp_path / "out", data=otb, workers=1)
    assert again.pace == done.pace
