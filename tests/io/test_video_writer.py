"""Writing videos: what players need, times as given, whole or not at all."""

import errno
import os
import subprocess
import sys
import types
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from followspot.errors import OutputError, SettingError, VideoError
from followspot.io import structure
from followspot.io.video import VideoWriter, open_video


def picture(number, height=48, width=64):
    image = np.full((height, width, 3), (200, 60, 90), np.uint8)
    for bit in range(8):
        image[:16, bit * 8 : bit * 8 + 8] = 255 * (number >> bit & 1)
    return image


def number_of(image):
    return sum(1 << bit for bit in range(8) if image[4:12, bit * 8 + 2 : bit * 8 + 6].mean() > 127)


def noise(number, height=480, width=640):
    return np.random.default_rng(number).integers(0, 255, (height, width, 3), np.uint8)


def write(path, *, count=20, height=48, width=64, fps=25.0, times=None, **options):
    with VideoWriter(path, height=height, width=width, fps=fps, **options) as writer:
        for number in range(count):
            writer.write(picture(number, height, width), time_seconds=None if times is None else times[number])
    return path


def partials(folder):
    return sorted(path.name for path in Path(folder).iterdir() if "partial" in path.name)


@pytest.mark.parametrize("ending", ["mp4", "m4v", "mov", "mkv"])
def test_it_writes_h264_that_players_take(tmp_path, ending):
    path = write(tmp_path / f"out.{ending}")
    with av.open(str(path)) as container:
        track = container.streams.video[0]
        assert (track.codec_context.name, track.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert track.average_rate == 25
        frame = next(container.decode(track))
        assert (frame.colorspace, frame.color_range) == (1, 1)
    with open_video(path) as video:
        frames = list(video)
        assert [number_of(frame.image) for frame in frames] == list(range(20))
        assert np.allclose([frame.time_seconds for frame in frames], np.arange(20) / 25, atol=6e-4)
        assert np.abs(frames[3].image[20:44].astype(int) - (200, 60, 90)).max() <= 4
    assert partials(tmp_path) == []
    if ending == "mp4":
        kinds = [box.kind for box in structure.iso_boxes(path)]
        assert kinds.index(b"moov") < kinds.index(b"mdat")


def test_variable_frame_rate_is_kept_to_a_tick(tmp_path):
    times = 7.5 + np.cumsum(np.random.default_rng(0).uniform(0.005, 0.4, 20))
    with open_video(write(tmp_path / "out.mp4", times=[float(time) for time in times])) as video:
        assert np.allclose([frame.time_seconds for frame in video], times - times[0], atol=1 / 90000)
    with av.open(str(tmp_path / "out.mp4")) as container:
        # Otherwise players show 7.5 seconds of nothing.
        assert next(container.decode(video=0)).pts == 0


def test_a_broken_clock_never_goes_back(tmp_path):
    times = [0.0, 0.1, 0.1, 0.05, None, 0.5]
    with open_video(write(tmp_path / "out.mp4", count=6, times=times)) as video:
        ticks = [round(frame.time_seconds * 90000) for frame in video]
    assert ticks == [0, 9000, 9001, 9002, 9002 + 3600, 45000]


def test_fractional_rates_stay_exact(tmp_path):
    with open_video(write(tmp_path / "out.mp4", fps=30000 / 1001)) as video:
        assert [frame.time_seconds for frame in video] == pytest.approx([index * 1001 / 30000 for index in range(20)], abs=1e-9)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].average_rate == pytest.approx(Fraction(30000, 1001), abs=1e-3)
    write(tmp_path / "slow.mp4", count=3, fps=0.25)
    with open_video(tmp_path / "slow.mp4") as video:
        assert [frame.time_seconds for frame in video] == [0, 4, 8]


@pytest.mark.parametrize(("height", "width"), [(47, 65), (48, 65), (47, 64), (1, 1)])
def test_odd_sizes_get_a_copied_edge(tmp_path, height, width):
    image = np.zeros((height, width, 3), np.uint8)
    image[-1:] = image[:, -1:] = 220
    path = tmp_path / "out.mp4"
    with VideoWriter(path, height=height, width=width, fps=10, crf=5) as writer:
        writer.write(image)
    with open_video(path) as video:
        read = video.frame(0).image
        assert read.shape == (height + height % 2, width + width % 2, 3)
        assert np.abs(read[-1].astype(int) - 220).max() < 12
        assert np.abs(read[:, -1].astype(int) - 220).max() < 12


def test_the_same_pictures_give_the_same_bytes(tmp_path):
    smooth = np.cumsum(np.random.default_rng(1).integers(-6, 7, (432, 600, 3)), axis=1)
    base = np.clip(smooth + 128, 0, 255).astype(np.uint8)
    contents = set()
    for run in range(4):
        with VideoWriter(tmp_path / f"{run}.mp4", height=432, width=598, fps=24) as writer:
            for number in range(12):
                writer.write(np.ascontiguousarray(np.roll(base, number * 3, axis=1)[:, :598]))
        contents.add((tmp_path / f"{run}.mp4").read_bytes())
    assert len(contents) == 1


def test_lower_crf_is_better_and_other_codecs_work(tmp_path):
    sizes = {}
    for crf in (10, 40):
        with VideoWriter(tmp_path / f"{crf}.mp4", height=96, width=96, fps=24, crf=crf) as writer:
            writer.write(noise(0, 96, 96))
        sizes[crf] = (tmp_path / f"{crf}.mp4").stat().st_size
    assert sizes[10] > 2 * sizes[40]
    with open_video(write(tmp_path / "hevc.mp4", codec="hevc", height=64)) as video:
        assert [number_of(frame.image) for frame in video] == list(range(20))


def test_an_exception_leaves_the_old_file(tmp_path):
    path = tmp_path / "out.mp4"
    path.write_bytes(b"old")
    writer = VideoWriter(path, height=48, width=64, fps=10)

    def fail_halfway():
        with writer:
            for number in range(60):
                writer.write(picture(number))
            assert partials(tmp_path) == [".out.mp4.partial"]
            assert path.read_bytes() == b"old"
            raise KeyError("boom")

    with pytest.raises(KeyError, match="boom"):
        fail_halfway()
    assert path.read_bytes() == b"old"
    assert partials(tmp_path) == []
    writer.abort()
    writer.close()
    assert path.read_bytes() == b"old"


def test_close_replaces_the_old_file_and_may_be_called_twice(tmp_path):
    path = tmp_path / "out.mp4"
    path.write_bytes(b"old")
    writer = VideoWriter(path, height=48, width=64, fps=10)
    writer.write(picture(9))
    writer.close()
    writer.close()
    with open_video(path) as video:
        assert number_of(video.frame(0).image) == 9
    with pytest.raises(VideoError, match="is finished; make a new VideoWriter"):
        writer.write(picture(0))


def test_nothing_written_is_an_error(tmp_path):
    with pytest.raises(VideoError, match="got no picture"), VideoWriter(tmp_path / "out.mp4", height=48, width=64, fps=10):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_made_and_left_overs_are_replaced(tmp_path):
    folder = tmp_path / "new" / "folder"
    folder.mkdir(parents=True)
    (folder / ".out.mp4.partial").write_bytes(b"x" * 100_000)
    with open_video(write(folder / "out.mp4")) as video:
        assert len(video) == 20
    assert len(open_video(write(tmp_path / "other" / "out.mp4"))) == 20


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("count", [1, 12])
def test_a_full_disk_is_told_and_tidied(tmp_path, count):
    # One picture fails when the file is closed, twelve while they are written.
    (tmp_path / ".out.mp4.partial").symlink_to("/dev/full")

    def fill():
        with VideoWriter(tmp_path / "out.mp4", height=480, width=640, fps=24, crf=1) as writer:
            for number in range(count):
                writer.write(noise(number))

    with pytest.raises(OutputError, match=r"no space left .*out\.mp4.*free some space and run") as caught:
        fill()
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_file_size_limit_is_told_and_tidied(tmp_path):
    program = """
import resource, sys, numpy as np
from followspot.errors import OutputError
from followspot.io.video import VideoWriter
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    with VideoWriter(sys.argv[1], height=480, width=640, fps=24, crf=1) as writer:
        for number in range(8):
            writer.write(np.random.default_rng(number).integers(0, 255, (480, 640, 3), np.uint8))
except OutputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "out.mp4")], capture_output=True, text=True, check=True)
    assert "larger than the file system or a limit allows" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_failed_rename_is_told_and_tidied(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "denied")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OutputError, match="permission denied"):
        write(tmp_path / "out.mp4", count=2)
    assert list(tmp_path.iterdir()) == []


def test_other_encoder_failures_are_told(tmp_path, monkeypatch):
    def fail(*_):
        raise av.error.ExternalError(1, "Generic error in an external library")

    writer = VideoWriter(tmp_path / "out.mp4", height=48, width=64, fps=10)
    monkeypatch.setattr(writer, "_stream", types.SimpleNamespace(encode=fail))
    with pytest.raises(OutputError, match=r"cannot be written \(Generic error in an external library\)"):
        writer.write(picture(0))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("codec", ["no_such_codec", "h266"])
def test_a_missing_encoder_is_told(tmp_path, codec):
    match = f"has no {codec} encoder, which out.mp4 needs; run: pip install --force-reinstall av"
    with pytest.raises(VideoError, match=match):
        VideoWriter(tmp_path / "out.mp4", height=48, width=64, fps=10, codec=codec)
    assert list(tmp_path.iterdir()) == []


def test_a_sound_encoder_and_a_mismatch_are_refused(tmp_path):
    with pytest.raises(VideoError, match=r"\.mp4 files cannot hold libvpx"):
        VideoWriter(tmp_path / "out.mp4", height=48, width=64, fps=10, codec="libvpx")
    with pytest.raises(VideoError, match="aac encodes audio, not pictures"):
        VideoWriter(tmp_path / "out.mp4", height=48, width=64, fps=10, codec="aac")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"fps": 0}, SettingError, "fps 0 is not a frame rate"),
        ({"fps": float("nan")}, SettingError, "fps nan"),
        ({"crf": 52}, SettingError, "crf 52 is not a quality"),
        ({"crf": -1}, SettingError, "crf -1"),
        ({"height": 0}, SettingError, "64x0 has no pixels"),
        ({"path": "out.avi"}, VideoError, r"out\.avi cannot be written: videos end in \.mp4.*rename it to out\.mp4"),
        ({"path": "folder.mp4"}, OutputError, "is a folder"),
        ({"path": "file/out.mp4"}, OutputError, "a file stands where a folder is needed"),
    ],
)
def test_bad_settings_are_told(tmp_path, change, error, match):
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "file").write_bytes(b"")
    settings = {"path": "out.mp4", "height": 48, "width": 64, "fps": 10.0} | change
    with pytest.raises(error, match=match):
        VideoWriter(tmp_path / settings.pop("path"), **settings)
    assert partials(tmp_path) == []


@pytest.mark.parametrize("image", [np.zeros((48, 65, 3), np.uint8), np.zeros((48, 64, 3), np.float32), np.zeros((48, 64), np.uint8)])
def test_a_picture_of_another_kind_is_told(tmp_path, image):
    with VideoWriter(tmp_path / "out.mp4", height=48, width=64, fps=10) as writer:
        with pytest.raises(VideoError, match=r"takes RGB uint8 \(48, 64, 3\), got"):
            writer.write(image)
        with pytest.raises(VideoError, match="time inf of frame 0 is not a number"):
            writer.write(picture(0), time_seconds=float("inf"))
        writer.write(picture(3))
    with open_video(tmp_path / "out.mp4") as video:
        assert [number_of(frame.image) for frame in video] == [3]


def test_real_footage_survives(tmp_path, shared_data):
    folder = shared_data / "davis" / "JPEGImages" / "480p" / "bear"
    with open_video(folder) as video, VideoWriter(tmp_path / "bear.mp4", height=video.height, width=video.width, fps=video.fps) as writer:
        for frame in video.frames(0, 6):
            writer.write(frame.image, time_seconds=frame.time_seconds)
    with open_video(folder) as video, open_video(tmp_path / "bear.mp4") as written:
        assert len(written) == 6
        for frame, copy in zip(video.frames(0, 6), written, strict=True):
            assert np.abs(frame.image.astype(int) - copy.image).mean() < 6
            assert frame.time_seconds == pytest.approx(copy.time_seconds, abs=1 / 90000)
