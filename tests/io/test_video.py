"""Reading videos: exact frames and times, every damage told, every bad input one line."""

import functools
import http.server
import random
import struct
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from followspot.errors import SettingError, TruncatedVideoError, VideoError
from followspot.io import stream, structure
from followspot.io.frame_index import scan, video_stream
from followspot.io.images import natural_key, read_image
from followspot.io.source import OneWayVideo
from followspot.io.video import open_video

WIDTH, HEIGHT, COUNT = 96, 64, 48


def picture(number, width=WIDTH, height=HEIGHT):
    """The frame number as a bar code in the top 16 rows, noise that costs bits below."""
    image = np.full((height, width, 3), 60, np.uint8)
    image[16:] = np.random.default_rng(number).integers(0, 255, (height - 16, width, 1), np.uint8)
    for bit in range(8):
        image[:16, bit * 8 : bit * 8 + 8] = 255 * (number >> bit & 1)
    return image


def number_of(image):
    return sum(1 << bit for bit in range(8) if image[4:12, bit * 8 + 2 : bit * 8 + 6].mean() > 127)


def make(path, *, count=COUNT, size=(WIDTH, HEIGHT), codec="libx264", pix_fmt="yuv420p", ticks=None, rate=30, options=None, muxer=None):
    """A clip whose frames say their number; ``ticks`` are their times in 1/3000 s."""
    with av.open(str(path), "w", options=muxer or {}) as container:
        # Without its macroblock tree x264 writes the same bytes on every run.
        steady = {"mbtree": "0"} if codec == "libx264" else {}
        track = container.add_stream(codec, rate=rate, options=steady | (options or {}))
        track.width, track.height, track.pix_fmt = *size, pix_fmt
        base = Fraction(1, 3000)
        if ticks is not None:
            track.codec_context.time_base = base
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(picture(number, *size), format="rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = (ticks[number], base) if ticks is not None else (number, Fraction(1, rate))
            container.mux(track.encode(frame))
        container.mux(track.encode(None))
    return path


FASTSTART = {"movflags": "+faststart"}
OPEN_GOP = {"x264-params": "open-gop=1:keyint=12:min-keyint=12:bframes=3:scenecut=0:b-adapt=0"}
KINDS = {
    "plain.mp4": {},
    "long_gop.mp4": {"options": {"g": "250", "bf": "3"}},
    "open_gop.mp4": {"options": OPEN_GOP},
    "short_gop.mp4": {"options": {"g": "8"}, "muxer": FASTSTART},
    "fragments.mp4": {"options": {"g": "12"}, "muxer": {"movflags": "frag_keyframe+empty_moov"}},
    "clip.mov": {},
    "clip.mkv": {},
    "clip.ts": {},
    "vp9.webm": {"codec": "libvpx-vp9"},
    "vp8.webm": {"codec": "libvpx", "options": {"auto-alt-ref": "1", "lag-in-frames": "16", "b": "300k"}},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"bf": "2"}},
    "h264.avi": {"options": {"g": "8"}},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "mpeg4.mp4": {"codec": "mpeg4", "options": {"bf": "2"}},
    "ten_bit.mp4": {"pix_fmt": "yuv420p10le"},
    "hevc.mp4": {"codec": "libx265", "pix_fmt": "yuv420p10le", "options": {"x265-params": "log-level=none"}},
    "gray.mkv": {"codec": "ffv1", "pix_fmt": "gray"},
    "odd.mkv": {"codec": "ffv1", "pix_fmt": "yuv420p", "size": (97, 65)},
    "alpha.mkv": {"codec": "ffv1", "pix_fmt": "bgra"},
    "clip.gif": {"codec": "gif", "pix_fmt": "rgb8", "rate": 10},
}


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    return functools.cache(lambda name: make(folder / name, **KINDS[name]))


@pytest.mark.parametrize("name", KINDS)
def test_every_container_gives_every_frame_once_and_the_same_one_by_index(clip, name):
    with open_video(clip(name)) as video:
        frames = list(video.frames())
        assert [number_of(frame.image) for frame in frames] == list(range(COUNT))
        assert [frame.index for frame in frames] == list(range(COUNT))
        assert [frame.name for frame in frames[:2]] == ["00000", "00001"]
        rate = KINDS[name].get("rate", 30)
        # Matroska rounds to milliseconds.
        assert np.allclose([frame.time_seconds for frame in frames], np.arange(COUNT) / rate, atol=6e-4)
        assert video.fps == pytest.approx(rate)
        assert video.num_frames == len(video) == COUNT
        assert (video.height, video.width) == frames[0].image.shape[:2] == KINDS[name].get("size", (WIDTH, HEIGHT))[::-1]
        assert all(frame.image.flags.c_contiguous and frame.image.dtype == np.uint8 for frame in frames)
        assert video.name == Path(name).stem
        for index in (0, 1, 11, 12, 13, 30, COUNT - 1):
            again = video.frame(index)
            assert np.array_equal(again.image, frames[index].image)
            assert again.time_seconds == frames[index].time_seconds
        assert [number_of(frame.image) for frame in video.frames(21, 27)] == list(range(21, 27))
        assert list(video.frames(COUNT)) == []
        assert [frame.index for frame in video.frames(46, 400)] == [46, 47]


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_variable_frame_rate_times_are_exact(tmp_path, ending):
    steps = np.random.default_rng(3).integers(40, 400, COUNT)
    ticks = [int(tick) for tick in np.cumsum(steps) - steps[0]]
    with open_video(make(tmp_path / f"vfr.{ending}", ticks=ticks, options={"bf": "3"})) as video:
        frames = list(video)
        assert [number_of(frame.image) for frame in frames] == list(range(COUNT))
        assert np.allclose([frame.time_seconds for frame in frames], np.array(ticks) / 3000, atol=6e-4 if ending == "mkv" else 1e-9)
        for index in random.Random(1).sample(range(COUNT), 12):
            assert number_of(video.frame(index).image) == index
    with open_video(tmp_path / f"vfr.{ending}", fps=10) as video:
        assert [frame.time_seconds for frame in video.frames(3, 5)] == [0.3, 0.4]
        assert video.fps == 10


def copied(source, target, *, from_key):
    """The packets of a clip from its n-th key frame on, not decoded: what a lossless cutter writes."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        track = new.add_stream_from_template(old.streams.video[0])
        keys = 0
        for packet in old.demux(video=0):
            keys += packet.is_keyframe
            if keys > from_key and packet.dts is not None:
                packet.stream = track
                new.mux(packet)
    return target


@pytest.mark.parametrize("ending", ["mkv", "mp4"])
def test_a_lossless_cut_at_an_open_key_frame_is_a_good_file(clip, tmp_path, ending):
    # The pictures shown before the key frame need some that were cut away; players skip them, and so must the index.
    with open_video(copied(clip("open_gop.mp4"), tmp_path / f"cut.{ending}", from_key=1)) as video:
        frames = list(video)
        assert [number_of(frame.image) for frame in frames] == list(range(12, COUNT))
        assert video.num_frames == len(frames)
        assert frames[0].time_seconds == 0.0
        assert all(np.array_equal(video.frame(index).image, frames[index].image) for index in (0, 5, 13, 35))


def test_an_edit_list_hides_frames_and_the_file_is_not_short(clip, tmp_path):
    data = bytearray(clip("plain.mp4").read_bytes())
    place = data.index(b"elst") + 16
    (media_time,) = struct.unpack_from(">i", data, place)
    with av.open(str(clip("plain.mp4"))) as container:
        frame_ticks = round(1 / 30 / container.streams.video[0].time_base)
    struct.pack_into(">i", data, place, media_time + 10 * frame_ticks)
    (tmp_path / "edited.mp4").write_bytes(data)
    with open_video(tmp_path / "edited.mp4") as video:
        frames = list(video)
        assert [number_of(frame.image) for frame in frames] == list(range(10, COUNT))
        assert video.num_frames == COUNT - 10
        assert number_of(video.frame(7).image) == 17
        assert frames[0].time_seconds == 0


@pytest.mark.parametrize(("matrix", "turns"), [((1, 0, 0, 1), 0), ((0, 1, -1, 0), -1), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1)])
def test_the_display_matrix_turns_the_picture(clip, tmp_path, matrix, turns):
    # tkhd version 0 (ISO/IEC 14496-12 §8.3.2): x' = a x + c y, y' = b x + d y; (0, 1, -1, 0) sends the top left to the top right.
    data = bytearray(clip("plain.mp4").read_bytes())
    place = data.index(b"tkhd") + 44
    a, b, c, d = (value << 16 for value in matrix)
    struct.pack_into(">9i", data, place, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    (tmp_path / "turned.mp4").write_bytes(data)
    with open_video(clip("plain.mp4")) as straight, open_video(tmp_path / "turned.mp4") as video:
        assert (video.height, video.width) == ((WIDTH, HEIGHT) if turns % 2 else (HEIGHT, WIDTH))
        for upright, frame in zip(straight.frames(3, 6), video.frames(3, 6), strict=True):
            assert np.array_equal(frame.image, np.rot90(upright.image, turns))
            assert frame.image.flags.c_contiguous


def test_gray_alpha_and_ten_bits_keep_their_values(clip):
    expected = picture(5)
    with open_video(clip("gray.mkv")) as video:
        assert np.abs(video.frame(5).image.astype(int) - expected).max() <= 1
    with open_video(clip("alpha.mkv")) as video:
        assert np.array_equal(video.frame(5).image, expected)
    with open_video(clip("ten_bit.mp4")) as video:
        assert np.abs(video.frame(5).image[:16].astype(int) - expected[:16]).mean() < 3


# --- damage -----------------------------------------------------------------------------------------------------------------


def delivered(video, start=0, stop=None):
    """The frames that came, and the error that ended them."""
    frames = []
    try:
        for frame in video.frames(start, stop):
            frames.append(frame)
    except TruncatedVideoError as error:
        return frames, error
    return frames, None


@pytest.mark.parametrize("name", ["short_gop.mp4", "clip.mkv", "vp9.webm", "mpeg4.avi", "h264.avi", "clip.gif", "vp8.webm"])
@pytest.mark.parametrize("part", [0.4, 0.65, 0.9])
def test_a_cut_file_gives_its_good_frames_then_says_so(clip, tmp_path, name, part):
    data = clip(name).read_bytes()
    cut = tmp_path / f"cut{Path(name).suffix}"
    cut.write_bytes(data[: int(len(data) * part)])
    with open_video(clip(name)) as whole, open_video(cut) as video:
        frames, error = delivered(video)
        assert error is not None
        assert error.decoded == len(frames)
        assert COUNT * part * 0.4 < len(frames) < COUNT
        # A GIF has no header that counts.
        assert error.expected == (len(frames) + 1 if name.endswith("gif") else COUNT)
        assert all(np.array_equal(frame.image, good.image) for frame, good in zip(frames, whole, strict=False))
        assert video.num_frames == error.expected
        message = f"ends after {len(frames)} of {error.expected} frames (truncated or damaged): the frames before that are fine; re-copy"
        assert message in str(error)
        assert "\n" not in str(error)
        few, none = delivered(video, 2, len(frames))
        assert none is None
        assert [frame.index for frame in few] == list(range(2, len(frames)))
        assert delivered(video, 2, len(frames) + 1)[1] is not None
        with pytest.raises(TruncatedVideoError):
            video.frame(len(frames))


def test_every_cut_of_an_mp4_is_told(clip, tmp_path):
    data = clip("short_gop.mp4").read_bytes()
    start = data.index(b"mdat") + 4
    cut = tmp_path / "cut.mp4"
    for end in np.linspace(start, len(data) - 1, 25).astype(int):
        cut.write_bytes(data[:end])
        try:
            video = open_video(cut)
        except VideoError:
            continue
        frames, error = delivered(video)
        assert error is not None
        assert [number_of(frame.image) for frame in frames] == list(range(len(frames)))


def test_a_half_written_download_is_told(tmp_path):
    # Download managers reserve the whole size first, so the length is right and the rest is zeros.
    whole = make(tmp_path / "whole.mkv", size=(320, 240))
    data = whole.read_bytes()
    half = tmp_path / "half.mkv"
    half.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
    with open_video(half) as video:
        frames, error = delivered(video)
    assert error is not None
    assert error.expected == COUNT
    assert [number_of(frame.image) for frame in frames] == list(range(len(frames)))


def test_a_recording_that_lost_power_in_a_fragment_is_told(clip, tmp_path):
    data = clip("fragments.mp4").read_bytes()
    boxes = structure.iso_boxes(clip("fragments.mp4"))
    third = [box for box in boxes if box.kind == b"mdat"][2]
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: (third.start + third.end) // 2])
    with open_video(cut) as video:
        frames, error = delivered(video)
        assert error is not None
        assert 24 <= len(frames) < 36
    cut.write_bytes(data[: third.start - 40])
    with pytest.raises(VideoError, match="is cut off: its headers speak of more bytes than are there"):
        open_video(cut)


@pytest.mark.parametrize("name", ["short_gop.mp4", "mpeg4.avi", "mjpeg.avi"])
def test_flipped_bytes_stop_the_video_before_it_shows_rubbish(clip, tmp_path, name):
    data = clip(name).read_bytes()
    broken = tmp_path / name
    with open_video(clip(name)) as whole:
        good = [frame.image for frame in whole]
    for seed in range(6):
        flipped = bytearray(data)
        choose = random.Random(seed)
        for _ in range(40):
            flipped[choose.randrange(len(data) // 2, len(data) * 9 // 10)] ^= 1 << choose.randrange(8)
        broken.write_bytes(flipped)
        with open_video(broken) as video:
            frames, error = delivered(video)
            assert error is not None
            assert (error.decoded, error.expected) == (len(frames), COUNT)
            assert COUNT // 5 <= len(frames) < COUNT
            wrong = [frame.index for frame in frames if not np.array_equal(frame.image, good[frame.index])]
            # A decoder may notice a broken bit only some pictures later; of 24 damaged ones a third may pass.
            assert len(wrong) <= 8


@pytest.mark.parametrize("damaged", [11, 12, 13, 14, 30])
def test_exactly_the_frames_that_do_not_need_the_damage_come(clip, tmp_path, damaged):
    with av.open(str(clip("long_gop.mp4"))) as container:
        packets = [(packet.pts, packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    shown = sorted(pts for pts, _, _ in packets)
    # Packets before the damaged one, in decoding order, can be decoded; the video goes on until the first gap in showing order.
    whole = {pts for pts, _, _ in packets[:damaged]}
    expected = next(index for index, pts in enumerate(shown) if pts not in whole)
    data = bytearray(clip("long_gop.mp4").read_bytes())
    _, place, size = packets[damaged]
    data[place + 8 : place + size] = random.Random(0).randbytes(size - 8)
    (tmp_path / "broken.mp4").write_bytes(data)
    with open_video(tmp_path / "broken.mp4") as video:
        frames, error = delivered(video)
    assert error is not None
    assert [number_of(frame.image) for frame in frames] == list(range(expected))


def test_frames_behind_damage_can_still_be_asked_for(clip, tmp_path):
    data = bytearray(clip("short_gop.mp4").read_bytes())
    with av.open(str(clip("short_gop.mp4"))) as container:
        packets = sorted((packet for packet in container.demux(video=0) if packet.size), key=lambda packet: packet.pts)
        place, size = packets[17].pos, packets[17].size
    data[place + 8 : place + size] = random.Random(0).randbytes(size - 8)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(data)
    with open_video(broken) as video:
        frames, error = delivered(video)
        assert error is not None
        assert 15 <= len(frames) <= 17
        assert [number_of(frame.image) for frame in frames] == list(range(len(frames)))
        assert number_of(video.frame(40).image) == 40
        assert [frame.index for frame in video.frames(26, 48)] == list(range(26, 48))


def test_a_damaged_first_frame_is_an_error_on_opening(clip, tmp_path):
    data = bytearray(clip("plain.mp4").read_bytes())
    place = data.index(b"mdat")
    data[place + 900 : place + 3000] = random.Random(0).randbytes(2100)
    (tmp_path / "broken.mp4").write_bytes(data)
    with pytest.raises(VideoError, match="not even its first frame can be decoded"):
        open_video(tmp_path / "broken.mp4")


# --- what is no video --------------------------------------------------------------------------------------------------------


def one_line(caught):
    assert "\n" not in str(caught.value)


def test_a_missing_file_names_its_neighbour(clip):
    with pytest.raises(VideoError, match=r"plian\.mp4 does not exist; did you mean .*plain\.mp4\?") as caught:
        open_video(clip("plain.mp4").with_name("plian.mp4"))
    one_line(caught)
    with pytest.raises(VideoError, match="no folder"):
        open_video("nowhere/at/all.mp4")


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("empty.mp4", b"", r"is empty \(0 bytes\)"),
        ("page.mp4", b"<!DOCTYPE html>\n<html><body>404</body></html>" * 9, r"starts with '<!DOCTYPE html> <html>.*download error page\?"),
        ("notes.txt", b"hello world\n" * 200, "it seems to be a text file"),
        ("umlauts.mp4", "Grüße aus Köln, ".encode() * 40, "it seems to be a text file"),
        ("noise.mp4", random.Random(5).randbytes(5000), r"is not a video PyAV can read \(.*ffmpeg -i noise\.mp4"),
    ],
)
def test_other_files_are_named_for_what_they_are(tmp_path, name, content, match):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(VideoError, match=match) as caught:
        open_video(tmp_path / name)
    one_line(caught)


def test_a_lost_index_and_a_missing_decoder_are_told(clip, tmp_path):
    data = clip("plain.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 2])
    with pytest.raises(VideoError, match=r"cut\.mp4 has no index \(moov\)"):
        open_video(tmp_path / "cut.mp4")
    place = data.index(b"avc1", data.index(b"stsd"))
    (tmp_path / "odd.mp4").write_bytes(data[:place] + b"zzzz" + data[place + 4 :])
    with pytest.raises(
        VideoError, match=r"needs a decoder for 'zzzz' that this build of PyAV lacks; convert it: ffmpeg -i odd\.mp4 -c:v libx264"
    ):
        open_video(tmp_path / "odd.mp4")


def make_song(path):
    with av.open(str(path), "w") as container:
        track = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        sound.rate = 8000
        container.mux(track.encode(sound))
        container.mux(track.encode(None))
    return path


def test_sound_without_pictures_is_no_video(tmp_path):
    make_song(tmp_path / "song.mka")
    with pytest.raises(VideoError, match=r"song\.mka has no video stream, only audio"):
        open_video(tmp_path / "song.mka")


def test_a_video_that_changes_its_size_is_told(tmp_path):
    joined = tmp_path / "joined.h264"
    parts = [make(tmp_path / "a.h264", count=6).read_bytes(), make(tmp_path / "b.h264", count=6, size=(128, 96)).read_bytes()]
    joined.write_bytes(b"".join(parts))
    with open_video(joined) as video, pytest.raises(VideoError, match="frame 6 of joined is 128x96, the frames before it are 96x64"):
        list(video)


@pytest.mark.parametrize("index", [-1, COUNT, COUNT + 50])
def test_an_index_outside_is_told(clip, index):
    with open_video(clip("plain.mp4")) as video, pytest.raises(VideoError, match=rf"frame {index} is outside plain, which has 48 frames"):
        video.frame(index)


def test_a_range_outside_is_told(clip):
    with open_video(clip("plain.mp4")) as video:
        with pytest.raises(VideoError, match="frame 49 is outside plain"):
            video.frames(49)
        with pytest.raises(VideoError, match="counted from 0"):
            video.frames(-3)


@pytest.mark.parametrize("source", [None, True, 3.5])
def test_what_is_no_source_is_told(source):
    with pytest.raises(VideoError, match="is not a video; give a file, a folder of images, an array or a camera"):
        open_video(source)


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf")])
def test_a_frame_rate_must_be_positive(clip, fps):
    with pytest.raises(SettingError, match="is not a frame rate"):
        open_video(clip("plain.mp4"), fps=fps)


# --- life of a source --------------------------------------------------------------------------------------------------------


def test_close_ends_iterators_and_may_be_called_twice(clip):
    video = open_video(clip("plain.mp4"))
    frames = video.frames()
    next(frames)
    video.close()
    video.close()
    with pytest.raises(VideoError, match="was closed while its frames were read"):
        next(frames)


def test_nothing_stays_open(clip):
    with open_video(clip("plain.mp4")) as video:
        for frame in video:
            if frame.index == 3:
                break
        del frame
        first, second = video.frames(), video.frames(10)
        assert [next(first).index, next(second).index, next(first).index] == [0, 10, 1]
        first.close()
        assert len(video._running) == 1
        second.close()
        assert video._running == []


def test_the_fingerprint_follows_the_content(clip, tmp_path):
    copy = tmp_path / "a.mp4"
    copy.write_bytes(clip("plain.mp4").read_bytes())
    with open_video(copy) as one, open_video(copy) as two:
        first = one.fingerprint()
        assert first == two.fingerprint()
        assert len(first) == 32
    copy.write_bytes(clip("short_gop.mp4").read_bytes())
    with open_video(copy) as changed:
        assert changed.fingerprint() != first


def test_importing_stays_cheap():
    program = "import sys, followspot.io.video; print(sorted({'av', 'cv2', 'PIL', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip() == "[]"


# --- images ------------------------------------------------------------------------------------------------------------------


def save(path, number=0, **options):
    Image.fromarray(picture(number)).save(path, **options)


def test_a_folder_is_read_in_natural_order(tmp_path):
    for number, name in enumerate(["f1.png", "f2.PNG", "f009.Jpeg", "f10.bmp", "f11.webp", "f100.tif", "f101.jpg"]):
        save(tmp_path / name, number)
    for other in (".hidden.png", "notes.txt", "Thumbs.db"):
        (tmp_path / other).write_bytes(b"no image")
    (tmp_path / "folder.png").mkdir()
    with open_video(tmp_path) as video:
        frames = list(video)
        assert [number_of(frame.image) for frame in frames] == list(range(7))
        assert [frame.name for frame in frames] == ["f1", "f2", "f009", "f10", "f11", "f100", "f101"]
        assert [frame.index for frame in video.frames(2, 4)] == [2, 3]
        assert (len(video), video.fps, video.rewindable, video.name) == (7, 24.0, True, tmp_path.name)
        assert frames[6].time_seconds == 6 / 24
        assert video.frame(5).name == "f100"
        before = video.fingerprint()
    save(tmp_path / "f102.png", 7)
    assert open_video(tmp_path, fps=10).fingerprint() != before
    assert open_video(tmp_path, fps=10).frame(3).time_seconds == 0.3


def test_a_pattern_and_a_single_image(tmp_path):
    for number in (1, 2, 10):
        save(tmp_path / f"view{number:05d}.png", number)
    save(tmp_path / "other7.png", 7)
    with open_video(tmp_path / "view%05d.png") as video:
        assert [number_of(frame.image) for frame in video] == [1, 2, 10]
    with open_video(str(tmp_path / "view00010.png")) as video:
        assert [(frame.name, number_of(frame.image)) for frame in video] == [("view00010", 10)]
    with pytest.raises(VideoError, match=r"no file fits .*nix%d\.png"):
        open_video(tmp_path / "nix%d.png")


def test_natural_order_holds_for_awkward_names():
    names = ["10", "9", "a", "A2", "a10", "1-2", "1-10", "²"]
    assert sorted(names, key=natural_key) == ["1-2", "1-10", "9", "10", "a", "A2", "a10", "²"]


def test_bad_folders_are_told(tmp_path):
    (tmp_path / "readme.txt").write_text("x")
    with pytest.raises(VideoError, match=r"holds no images \(\.bmp, .*give the folder that holds the frames"):
        open_video(tmp_path)
    (tmp_path / "bear").mkdir()
    save(tmp_path / "bear" / "0.png")
    with pytest.raises(VideoError, match=r"give one of its folders, such as .*bear"):
        open_video(tmp_path)
    save(tmp_path / "bear" / "0.jpg")
    with pytest.raises(VideoError, match=r"holds 0\.jpg and 0\.png, two frames of one name"):
        open_video(tmp_path / "bear")


def test_a_mixture_of_sizes_names_the_file(tmp_path):
    save(tmp_path / "0.png")
    Image.new("RGB", (50, 40)).save(tmp_path / "1.png")
    with open_video(tmp_path) as video, pytest.raises(VideoError, match=r"1\.png of .* is 50x40, the frames before it are 96x64"):
        list(video)


def test_damaged_and_vanished_images_are_told(tmp_path):
    save(tmp_path / "0.jpg")
    save(tmp_path / "1.jpg")
    save(tmp_path / "2.jpg")
    data = (tmp_path / "1.jpg").read_bytes()
    (tmp_path / "1.jpg").write_bytes(data[: len(data) // 2])
    with open_video(tmp_path) as video:
        with pytest.raises(VideoError, match=r"1\.jpg cannot be read as an image \(.*truncated"):
            list(video)
        (tmp_path / "2.jpg").unlink()
        with pytest.raises(VideoError, match=r"2\.jpg is gone"):
            video.frame(2)
    (tmp_path / "0.jpg").write_bytes(b"nothing")
    with pytest.raises(VideoError, match=r"0\.jpg cannot be read as an image"):
        open_video(tmp_path)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation):
    # EXIF 2.3 §4.6.4 A: where row 0 and column 0 of the file belong in the picture.
    stored = picture(5)
    undo = {1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1], 5: lambda a: a.transpose(1, 0, 2)}
    undo |= {6: lambda a: np.rot90(a, -1), 7: lambda a: a[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90}
    exif = Image.Exif()
    exif[0x0112] = orientation
    save(tmp_path / "a.png", 5, exif=exif)
    assert np.array_equal(read_image(tmp_path / "a.png"), undo[orientation](stored))


def test_deep_palette_and_print_images_become_rgb(tmp_path):
    ramp = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    ramp[0, 0] = 65535
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    image = read_image(tmp_path / "deep.png")
    assert np.array_equal(image[..., 0], np.round(ramp / 257).astype(np.uint8))
    assert np.array_equal(image[..., 0], image[..., 2])
    colours = Image.fromarray(picture(3)).quantize(16)
    colours.save(tmp_path / "palette.png")
    assert np.array_equal(read_image(tmp_path / "palette.png"), np.asarray(colours.convert("RGB")))
    alpha = np.dstack([picture(3), np.zeros((HEIGHT, WIDTH), np.uint8)])
    Image.fromarray(alpha).save(tmp_path / "alpha.png")
    assert np.array_equal(read_image(tmp_path / "alpha.png"), picture(3))
    Image.fromarray(picture(3)).convert("CMYK").save(tmp_path / "print.tif")
    assert np.abs(read_image(tmp_path / "print.tif").astype(int) - picture(3)).max() <= 2
    Image.fromarray(picture(3)).convert("1").save(tmp_path / "bits.png")
    assert set(np.unique(read_image(tmp_path / "bits.png"))) <= {0, 255}
    Image.fromarray(np.full((4, 4), 0.5, np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(VideoError, match=r"float\.tif holds float32 values"):
        read_image(tmp_path / "float.tif")


def test_an_animated_image_is_not_cut_to_its_first_picture(tmp_path):
    first, *rest = (Image.fromarray(picture(number)) for number in range(3))
    first.save(tmp_path / "moving.webp", save_all=True, append_images=rest)
    with pytest.raises(VideoError, match=r"moving\.webp holds 3 pictures; make it a video first"):
        open_video(tmp_path / "moving.webp")


# --- arrays and iterators ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 8, 10), (3, 8, 10, 1), (3, 8, 10, 3), (3, 8, 10, 4)])
def test_arrays_are_videos(shape):
    values = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    expected = (
        np.repeat(values.reshape(3, 8, 10, 1), 3, axis=3) if values[..., :1].size == values.size or len(shape) == 3 else values[..., :3]
    )
    for source in (values, list(values)):
        with open_video(source, fps=5) as video:
            assert np.array_equal(np.stack([frame.image for frame in video]), expected)
            assert (video.num_frames, video.height, video.width) == (3, 8, 10)
            assert [frame.time_seconds for frame in video.frames(1)] == [0.2, 0.4]
            assert all(frame.image.flags.c_contiguous for frame in video)
            assert video.fingerprint() == open_video(values).fingerprint()
            changed = values.copy()
            changed.reshape(3, 8, 10, -1)[1, 2, 3, 0] ^= 1
            assert open_video(changed).fingerprint() != video.fingerprint()


@pytest.mark.parametrize(
    ("source", "match"),
    [
        (np.zeros((2, 4, 4, 3), np.float32), r"frame 0 is float32, not uint8 in 0\.\.255; convert to uint8: \(255 \* x\)"),
        (np.zeros((2, 4, 4, 3), np.int64), "frame 0 is int64"),
        (np.zeros((480, 640, 3), np.uint8), "looks like one picture"),
        (np.zeros((4, 4), np.uint8), r"\(4, 4\) is not a video"),
        (np.zeros((2, 4, 4, 2), np.uint8), "frame 0 has shape"),
        (np.zeros((0, 4, 4, 3), np.uint8), "holds no frames"),
        ([], "holds no frames"),
        (["a.png"], "frame 0 is a str, not a numpy array"),
        ([np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5, 3), np.uint8)], "frame 1 of array is 5x4"),
    ],
)
def test_bad_arrays_are_told(source, match):
    with pytest.raises(VideoError, match=match):
        list(open_video(source))


def test_an_iterator_is_read_once_and_only_as_far_as_asked():
    taken = []

    def produce():
        buffer = np.zeros((4, 6, 3), np.uint8)
        for number in range(10):
            taken.append(number)
            buffer[:] = number
            yield buffer

    with open_video(produce(), fps=2) as video:
        assert taken == [0]
        assert (video.num_frames, video.rewindable, video.width, bool(video)) == (None, False, 6, True)
        frames = list(video.frames(0, 3))
        assert [frame.image[0, 0, 0] for frame in frames] == [0, 1, 2]
        assert taken == [0, 1, 2]
        assert video.frame(4).time_seconds == 2.0
        with pytest.raises(VideoError, match=r"frame 0 of iterator is gone.*go on with frames\(5\)"):
            video.frames()
        assert [frame.index for frame in video.frames(6)] == [6, 7, 8, 9]
        with pytest.raises(VideoError, match="frame 20 is outside iterator, which ends before it"):
            video.frame(20)
        with pytest.raises(VideoError, match="can be read only once, so a run over it cannot be resumed"):
            video.fingerprint()
        with pytest.raises(TypeError, match="not known"):
            len(video)
    with pytest.raises(VideoError, match="iterator gave no frame"):
        open_video(iter([]))


# --- cameras and streams -----------------------------------------------------------------------------------------------------


@pytest.fixture
def address(clip):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            return

    make_song(clip("clip.ts").with_name("song.mka"))
    handler = functools.partial(Quiet, directory=str(clip("clip.ts").parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_stream_is_read_once_as_it_comes(address):
    with open_video(f"{address}/clip.ts") as video:
        assert (video.num_frames, video.rewindable, video.height) == (None, False, HEIGHT)
        first = list(video.frames(0, 5))
        rest = list(video.frames(5))
        assert [number_of(frame.image) for frame in first + rest] == list(range(COUNT))
        assert rest[0].time_seconds == pytest.approx(5 / 30)
    video.close()
    with open_video(f"{address}/clip.ts", fps=5) as video:
        assert video.frame(10).time_seconds == 2.0


def test_an_address_without_pictures_is_told(address):
    with pytest.raises(VideoError, match="has no video stream that can be decoded"):
        open_video(f"{address}/song.mka")
    with pytest.raises(VideoError, match=r"nothing\.ts cannot be opened \(.*check the address"):
        open_video(f"{address}/nothing.ts")


def test_a_camera_that_is_not_there_is_told(monkeypatch):
    with pytest.raises(VideoError, match=r"/dev/video987 cannot be opened \(.*check the address, the cable"):
        open_video("/dev/video987")
    monkeypatch.setattr(stream.sys, "platform", "linux")
    for source in (987, "987"):
        with pytest.raises(VideoError, match="/dev/video987 cannot be opened"):
            open_video(source)
    with pytest.raises(VideoError, match="camera -1 is not a camera number"):
        open_video(-1)
    monkeypatch.setattr(stream.sys, "platform", "win32")
    with pytest.raises(VideoError, match="cannot be opened by number on win32"):
        open_video(0)


class _Broken:
    """A container whose connection breaks after two frames."""

    def decode(self, *, video):
        for number in range(2):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            frame.pts, frame.time_base = 30 * number + 90, Fraction(1, 30)
            yield frame
        raise av.error.ConnectionResetError(104, "Connection reset by peer")


def test_a_stream_that_breaks_off_gives_what_came_and_says_so():
    frames = OneWayVideo("rtsp://camera", stream._pictures(_Broken(), "rtsp://camera", keep_clock=True), fps=30).frames()
    assert [next(frames).time_seconds, next(frames).time_seconds] == [0.0, 1.0]
    with pytest.raises(VideoError, match=r"rtsp://camera broke off after 2 frames \(Connection reset by peer\)"):
        next(frames)


# --- the index ---------------------------------------------------------------------------------------------------------------


class _Torn:
    """A container that cannot be read on after 20 packets."""

    def __init__(self, container):
        self._container = container

    def __getattr__(self, name):
        return getattr(self._container, name)

    def demux(self, track):
        for number, packet in enumerate(self._container.demux(track)):
            if number == 20:
                raise av.error.OSError(5, "Input/output error")
            yield packet


def test_a_scan_that_cannot_be_finished_believes_the_header(clip):
    with av.open(str(clip("short_gop.mp4"))) as container:
        index = scan(_Torn(container), video_stream(container, clip("short_gop.mp4")), first_pts=None, cut=False)
    assert (index.count, index.promised) == (20, COUNT)


def test_frame_names_are_known_before_reading(clip, tmp_path):
    for number in (9, 10):
        save(tmp_path / f"view{number}.png", number)
    for source in (tmp_path, clip("plain.mp4"), np.zeros((3, 4, 5), np.uint8)):
        with open_video(source) as video:
            assert video.frame_names() == [frame.name for frame in video]
    assert open_video(iter(np.zeros((3, 4, 4), np.uint8))).frame_names() is None


def test_the_packet_scan_agrees_with_decoding(clip):
    for name in ("long_gop.mp4", "open_gop.mp4", "clip.mkv", "hevc.mp4", "vp9.webm"):
        with av.open(str(clip(name))) as container:
            decoded = [(frame.pts, frame.key_frame) for frame in container.decode(video=0)]
        with av.open(str(clip(name))) as container:
            index = scan(container, video_stream(container, clip(name)), first_pts=None, cut=False)
        assert list(index.pts) == [pts for pts, _ in decoded]
        assert index.count == index.promised == COUNT
        assert index.position(decoded[7][0]) == 7
        assert index.position(decoded[7][0] + 1) is None
        assert index.position(None) is None
        assert index.anchors(COUNT - 1)[-1] == 0


def box(kind, length, *, large=None):
    return struct.pack(">I4s", length, kind) + (b"" if large is None else struct.pack(">Q", large))


@pytest.mark.parametrize(
    ("content", "early"),
    [
        (box(b"ftyp", 16) + bytes(8) + box(b"mdat", 1, large=116) + b"x" * 100, False),
        (box(b"ftyp", 16) + bytes(8) + box(b"mdat", 1, large=117) + b"x" * 100, True),
        (box(b"ftyp", 16) + bytes(8) + box(b"mdat", 0) + b"x" * 100, False),  # 0: to the end of the file
        (box(b"ftyp", 16) + bytes(8) + box(b"mdat", 5) + b"x" * 100, False),  # no box at all: not evidence
        (b"nothing that is known" * 9, False),
        (b"RIFF" + struct.pack("<I", 100) + b"AVI " + b"x" * 96, False),
        (b"RIFF" + struct.pack("<I", 101) + b"AVI " + b"x" * 96, True),
        (b"\x1a\x45\xdf\xa3\x82ab\x18\x53\x80\x67\x90" + b"x" * 16, False),
        (b"\x1a\x45\xdf\xa3\x82ab\x18\x53\x80\x67\x40\x11" + b"x" * 16, True),
        (b"\x1a\x45\xdf\xa3\x82ab\x18\x53\x80\x67\xff" + b"x" * 16, False),  # all ones: a live recording
        (b"\x1a\x45\xdf\xa3\x00ab", False),
        (b"\x1a\x45\xdf\xa3\x82abxxxxxxx", False),
        (b"GIF89a" + bytes(7) + b"!\xf9\x04" + bytes(4) + b"\0;", False),
        (b"GIF89a" + bytes(7) + b"!\xf9\x04" + bytes(2), True),
        (b"GIF89a" + bytes(7) + b"!\xf9", True),
        (b"GIF89a" + bytes(4) + b"\x80\0\0" + bytes(6) + b"," + bytes(8) + b"\x80" + bytes(6) + b"\x02\x01x\0;", False),
        (b"GIF89a" + bytes(4) + b"\x80\0\0" + bytes(6) + b"," + bytes(8) + b"\x80" + bytes(6) + b"\x02\x01x", True),
    ],
)
def test_the_length_in_the_header_decides(tmp_path, content, early):
    (tmp_path / "file").write_bytes(content)
    assert structure.ends_early(tmp_path / "file") == early


def test_the_codec_is_named_only_where_a_table_names_it(clip, tmp_path):
    assert structure.codec_code(clip("plain.mp4")) == "avc1"
    assert structure.codec_code(clip("clip.mkv")) is None
    (tmp_path / "bare.mp4").write_bytes(box(b"ftyp", 8) + box(b"moov", 8))
    assert structure.codec_code(tmp_path / "bare.mp4") is None


def test_whole_files_do_not_end_early_and_cut_ones_do(clip, tmp_path):
    for name in ("plain.mp4", "short_gop.mp4", "fragments.mp4", "clip.mkv", "vp9.webm", "mpeg4.avi", "clip.gif", "clip.ts"):
        data = clip(name).read_bytes()
        assert not structure.ends_early(clip(name))
        cut = tmp_path / name
        cut.write_bytes(data[:-40])
        assert structure.ends_early(cut) == (name != "clip.ts")
    gif = clip("clip.gif").read_bytes()
    # Only the trailer is missing: every picture is there.
    (tmp_path / "clip.gif").write_bytes(gif[:-1])
    assert not structure.ends_early(tmp_path / "clip.gif")
    with open_video(tmp_path / "clip.gif") as video:
        assert len(list(video)) == COUNT


# --- real footage ------------------------------------------------------------------------------------------------------------


def test_davis_folders_keep_their_names(shared_data):
    folder = next(iter(sorted((shared_data / "davis" / "JPEGImages" / "480p").iterdir())))
    with open_video(folder) as video:
        first, second = video.frames(0, 2)
        assert (first.name, second.name) == ("00000", "00001")
        assert first.image.shape == (480, 854, 3)
        assert len(video) == len(list(folder.glob("*.jpg")))


def test_real_clips_decode_whole_and_by_index(shared_data):
    clips = sorted((shared_data / "clips" / "main").glob("*.mp4"))[::64]
    with open_video(shared_data / "multi" / "schoolgirls" / "schoolgirls.mp4") as video:
        assert (len(video), video.height, video.width) == (80, 240, 432)
    for path in [shared_data / "multi" / "schoolgirls" / "schoolgirls.mp4", *clips]:
        with open_video(path) as video:
            frames = list(video.frames(0, 60))
            times = [frame.time_seconds for frame in frames]
            assert times[0] == 0
            assert (np.diff(times) > 0).all()
            for index in (0, len(frames) // 2, len(frames) - 1):
                assert np.array_equal(video.frame(index).image, frames[index].image)
