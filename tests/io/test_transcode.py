"""Small clips: size, rate, length, key frames; what fits is copied without loss; nothing is left behind."""

import hashlib
import json
import os

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from followspot.errors import OutputError, SettingError, TruncatedVideoError, VideoError
from followspot.io import clip_copy
from followspot.io.change import ChangeMeter
from followspot.io.clip_format import TranscodeSettings, clip_size
from followspot.io.source import ArrayVideo, iterator_video
from followspot.io.transcode import fit, limited, transcode
from followspot.io.video import VideoWriter, open_video


def pictures(count=40, height=64, width=96, seed=0):
    """A smooth texture that moves two pixels a frame, with the number as a barcode on top."""
    rng = np.random.default_rng(seed)
    canvas = np.kron(rng.integers(30, 220, (height // 8 + 2, (width + 2 * count) // 8 + 2, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    out = []
    for number in range(count):
        image = canvas[:height, 2 * number : 2 * number + width].copy()
        for bit in range(8):
            image[:16, bit * 8 : bit * 8 + 8] = 255 * (number >> bit & 1)
        out.append(image)
    return np.stack(out)


def number_of(image):
    return sum(1 << bit for bit in range(8) if image[4:12, bit * 8 + 2 : bit * 8 + 6].mean() > 127)


def write(path, frames, fps=20.0, **options):
    with VideoWriter(path, height=frames.shape[1], width=frames.shape[2], fps=fps, **options) as writer:
        for image in frames:
            writer.write(image)
    return path


def facts(path):
    """Codec, picture format, size, stream kinds and largest distance between key frames, by demuxing alone."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = sorted((packet.pts, packet.is_keyframe) for packet in container.demux(stream) if packet.size)
        keys = [place for place, (_, key) in enumerate(packets) if key] + [len(packets)]
        context = stream.codec_context
        kinds = [other.type for other in container.streams]
        return context.name, context.pix_fmt, (context.height, context.width), kinds, int(np.diff(keys).max())


def run(source, folder, original=None, **options):
    return transcode(source, folder, name="clip", settings=TranscodeSettings(**options), original=original)


def test_f011_short_side_even_width_and_frame_rate(tmp_path):
    frames = pictures(90, height=300, width=539)
    [clip] = run(ArrayVideo(frames, fps=30), tmp_path, fps_limit=12)
    assert (clip.height, clip.width) == (256, 460)
    assert abs(clip.frames - 36) <= 1
    assert clip.fps == 12
    assert facts(clip.file) == ("h264", "yuv420p", (256, 460), ["video"], 16)
    with open_video(clip.file) as video:
        assert len(video) == clip.frames
        assert video.fps == pytest.approx(12)


@given(
    rate=st.sampled_from([5.0, 12.5, 23.976, 24.0, 25.0, 29.97, 30.0, 50.0, 60.0]),
    limit=st.sampled_from([4.0, 6.0, 12.0, 15.0, 29.97, 30.0]),
    count=st.integers(1, 130),
)
@settings(deadline=None, max_examples=60)
def test_f011_the_rate_limit_gives_a_frame_for_each_tick(rate, limit, count):
    video = ArrayVideo(np.zeros((count, 2, 2), np.uint8), fps=rate)
    kept = [frame.index for frame in limited(video, limit)]
    ticks = min(count, int(np.ceil((count - 1) / rate * limit + 1e-9)) + (0 if count > 1 else 1))
    assert abs(len(kept) - ticks) <= 1
    assert kept[0] == 0
    assert len(set(kept)) == len(kept)
    if rate <= limit:
        assert kept == list(range(count))
    assert [frame.index for frame in limited(video, None)] == list(range(count))


def test_the_right_frames_stay_in_order(tmp_path):
    [clip] = run(ArrayVideo(pictures(60), fps=30), tmp_path, fps_limit=10)
    with open_video(clip.file) as video:
        assert [number_of(frame.image) for frame in video] == list(range(0, 60, 3))


@given(height=st.integers(16, 3000), width=st.integers(16, 3000), short=st.sampled_from([64, 256, None]))
@settings(deadline=None, max_examples=200)
def test_f015_aspect_is_kept_sides_are_even_and_nothing_is_enlarged(height, width, short):
    clip = clip_size(height, width, short_side=short)
    assert clip[0] % 2 == clip[1] % 2 == 0
    assert clip[0] <= height
    assert clip[1] <= width
    if short is not None and min(height, width) > short:
        assert min(clip) == short
        assert abs(max(clip) - max(height, width) * short / min(height, width)) <= 1
    else:
        assert (height - clip[0], width - clip[1]) == (height % 2, width % 2)


def test_odd_sides_lose_a_line_rather_than_sharpness():
    image = np.random.default_rng(0).integers(0, 255, (65, 97, 3), np.uint8)
    assert np.array_equal(fit(image, clip_size(65, 97, short_side=256)), image[:64, :96])
    assert np.array_equal(fit(np.full((300, 400, 3), 9, np.uint8), (256, 342)), np.full((256, 342, 3), 9))


def test_long_videos_are_cut_into_equal_pieces(tmp_path):
    clips = run(ArrayVideo(pictures(50), fps=10), tmp_path, max_seconds=2)
    assert [clip.frames for clip in clips] == [17, 17, 16]
    assert [clip.start_seconds for clip in clips] == pytest.approx([0, 1.7, 3.4])
    with open_video(clips[1].file) as video:
        assert [number_of(frame.image) for frame in video] == list(range(17, 34))


def test_a_rounded_rate_does_not_halve_a_clip(tmp_path):
    assert len(run(ArrayVideo(pictures(60), fps=29.97), tmp_path, max_seconds=2)) == 1
    assert len(run(ArrayVideo(pictures(62), fps=29.97), tmp_path, max_seconds=2)) == 2


def test_a_source_of_unknown_length_is_cut_where_it_is_full(tmp_path):
    clips = run(iterator_video(iter(pictures(25)), fps=10), tmp_path, max_seconds=1)
    assert [clip.frames for clip in clips] == [10, 10, 5]
    assert [clip.frames for clip in run(iterator_video(iter(pictures(22)), fps=10), tmp_path, max_seconds=1)] == [10, 10]


def test_cuts_begin_a_new_clip_when_asked(tmp_path):
    joined = np.concatenate([pictures(20, seed=1), 255 - pictures(20, seed=2) // 3])
    assert [clip.frames for clip in run(ArrayVideo(joined, fps=10), tmp_path, split_cuts=True)] == [20, 20]
    assert [clip.frames for clip in run(ArrayVideo(joined, fps=10), tmp_path)] == [40]
    shots = np.concatenate([np.full((3, 32, 32), 20 + 200 * (shot % 2), np.uint8) for shot in range(4)])
    with pytest.raises(VideoError, match=r"12 frames, but no shot of 4"):
        run(ArrayVideo(shots, fps=10), tmp_path, split_cuts=True)


def test_motion_is_the_mean_difference_of_neighbours_within_a_clip(tmp_path):
    values = [10, 14, 12, 12, 200, 201, 201, 205]
    frames = np.stack([np.full((32, 32), value, np.uint8) for value in values])
    [clip] = run(ArrayVideo(frames, fps=4), tmp_path)
    assert clip.motion == pytest.approx(np.abs(np.diff(values)).mean(), abs=1e-5)
    first, second = run(ArrayVideo(frames, fps=4), tmp_path, max_seconds=1)
    assert (first.motion, second.motion) == pytest.approx((2.0, 5 / 3), abs=1e-5)


def test_small_pictures_are_not_enlarged_to_be_compared():
    meter = ChangeMeter()
    assert meter.add(np.zeros((2, 3, 3), np.uint8)).difference == 0
    assert meter.add(np.full((2, 3, 3), 7, np.uint8)).difference == 7


def test_the_hash_is_of_the_pictures_whatever_the_container(tmp_path):
    path = write(tmp_path / "a.mp4", pictures(20), crf=0)
    other = write(tmp_path / "b.mkv", pictures(20), crf=0)
    with open_video(path) as one, open_video(other) as two:
        reference = hashlib.sha256(b"(64, 96)" + b"".join(frame.image.tobytes() for frame in one)).hexdigest()
        hashes = {run(video, tmp_path)[0].sha256 for video in (one, two)}
    assert hashes == {reference}
    assert run(ArrayVideo(pictures(20, seed=1)), tmp_path)[0].sha256 != reference


def test_what_fits_is_copied_without_loss(tmp_path):
    [made] = run(ArrayVideo(pictures(40), fps=20), tmp_path)
    path = made.file.rename(tmp_path / "made.mp4")
    with open_video(path) as video:
        [clip] = run(video, tmp_path, path)
        assert clip.copied
        with open_video(clip.file) as copy:
            assert all(np.array_equal(a.image, b.image) for a, b in zip(video, copy, strict=True))
            assert copy.fps == pytest.approx(20)
    assert facts(clip.file)[3:] == (["video"], 16)
    assert (clip.fps, clip.frames) == (pytest.approx(20), 40)


@pytest.mark.parametrize(
    "options",
    [{"short_side": 32}, {"fps_limit": 15}, {"max_seconds": 1}, {"split_cuts": True}, {"min_frames": 41}],
    ids=lambda options: next(iter(options)),
)
def test_what_does_not_fit_is_not_copied(tmp_path, options):
    joined = np.concatenate([pictures(20), 255 - pictures(20, seed=2) // 3])
    [made] = run(ArrayVideo(joined, fps=20), tmp_path)
    path = made.file.rename(tmp_path / "made.mp4")
    with open_video(path) as video:
        target = tmp_path / "copy.mp4"
        assert clip_copy.copy_clip(video, path, target=target, settings=TranscodeSettings()).copied
        target.unlink()
        assert clip_copy.copy_clip(video, path, target=target, settings=TranscodeSettings(**options)) is None
        assert not target.exists()


def made_of(path, count=14, codec="h264", times=None):
    """A file with one group of pictures, since it is short."""
    with VideoWriter(path, height=64, width=96, fps=20, codec=codec) as writer:
        for number, image in enumerate(pictures(count)):
            writer.write(image, time_seconds=None if times is None else times[number])
    return path


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov"])
def test_other_containers_are_copied_too(tmp_path, name):
    path = made_of(tmp_path / name)
    with open_video(path) as video:
        assert run(video, tmp_path, path)[0].copied


@pytest.mark.parametrize(
    "options",
    [{"count": 40}, {"times": [0.05 * number + 0.04 * (number % 3 == 0) for number in range(14)]}, {"codec": "hevc"}],
    ids=["rare key frames", "uneven clock", "another codec"],
)
def test_files_that_readers_would_stumble_over_are_encoded_anew(tmp_path, options):
    path = made_of(tmp_path / "source.mp4", **options)
    with open_video(path) as video:
        [clip] = run(video, tmp_path, path)
    assert not clip.copied
    assert facts(clip.file)[0] == "h264"
    assert facts(clip.file)[4] <= 16
    with open_video(clip.file) as video:
        assert np.ptp(np.diff([frame.time_seconds for frame in video])) < 1e-3


@pytest.mark.parametrize("failure", ["packets that mp4 refuses", "a copy that lost a frame", "no even clock in the copy"])
def test_a_copy_that_does_not_work_out_is_encoded_anew(tmp_path, monkeypatch, failure):
    path = made_of(tmp_path / "source.mp4")
    real = clip_copy._copy_packets

    def copy(original, target):
        real(made_of(tmp_path / "other.mp4", count=13) if failure == "a copy that lost a frame" else original, target)
        if failure == "no even clock in the copy":
            made_of(target, times=[0.05 * number + 0.04 * (number % 3 == 0) for number in range(14)])
        return True

    if failure == "packets that mp4 refuses":
        error = ValueError("no codec tag")
        monkeypatch.setattr(av.container.OutputContainer, "add_stream_from_template", lambda *_: (_ for _ in ()).throw(error), raising=True)
    else:
        monkeypatch.setattr(clip_copy, "_copy_packets", copy)
    with open_video(path) as video:
        [clip] = run(video, tmp_path, path)
    assert (clip.copied, clip.frames) == (False, 14)
    assert sorted(file.name for file in tmp_path.glob("clip*")) == ["clip-0.mp4"]


def test_open_groups_of_pictures_are_encoded_anew(tmp_path):
    """Key frames are close together, but frames shown before one are coded after it and need those before: seeking there gives rubbish."""

    class Writer(VideoWriter):
        def _start(self, codec, crf):
            container, stream = super()._start(codec, crf)
            stream.codec_context.options |= {"x264-params": "open-gop=1:keyint=12:bframes=3:b-adapt=0:scenecut=0"}
            return container, stream

    path = tmp_path / "open.mp4"
    with Writer(path, height=64, width=96, fps=20) as writer:
        for image in pictures(60):
            writer.write(image)
    with open_video(path) as video:
        assert not run(video, tmp_path, path)[0].copied


def test_turned_pictures_are_encoded_upright(tmp_path):
    data = bytearray(made_of(tmp_path / "a.mp4").read_bytes())
    place = data.index(b"tkhd") + 44  # tkhd version 0, ISO/IEC 14496-12 8.3.2: the matrix that turns by 180 degrees
    for offset in (0, 16):
        data[place + offset : place + offset + 4] = (-1 << 16).to_bytes(4, "big", signed=True)
    path = tmp_path / "turned.mp4"
    path.write_bytes(data)
    with open_video(path) as video:
        [clip] = run(video, tmp_path, path)
    assert not clip.copied
    with av.open(str(clip.file)) as container:
        image = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert np.abs(image.astype(float) - pictures(14)[0][::-1, ::-1]).mean() < 12


@pytest.mark.parametrize(("frames", "message"), [(pictures(2), "too short: 2 frames; a clip needs at least 4"), (pictures(1), "1 frame;")])
def test_short_videos_are_refused(tmp_path, frames, message):
    with pytest.raises(VideoError, match=message):
        run(ArrayVideo(frames), tmp_path)
    assert not list(tmp_path.iterdir())


def test_tiny_videos_are_refused(tmp_path):
    with pytest.raises(VideoError, match="8x20 is too small; a clip has at least 16 pixels"):
        run(ArrayVideo(np.zeros((9, 20, 8), np.uint8)), tmp_path)


def test_damage_leaves_nothing_behind(tmp_path):
    whole = write(tmp_path / "whole.mkv", pictures(120))
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    folder = tmp_path / "out"
    folder.mkdir()
    with open_video(cut) as video, pytest.raises(TruncatedVideoError, match="ends after"):
        run(video, folder, cut, max_seconds=1)
    assert not list(folder.iterdir())


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full, a device that is always full")
@pytest.mark.parametrize("copied", [False, True])
def test_a_full_disk_is_told_in_one_line(tmp_path, copied):
    [made] = run(ArrayVideo(pictures(40), fps=20), tmp_path)
    path = made.file.rename(tmp_path / "made.mp4")
    folder = tmp_path / "out"
    folder.mkdir()
    name = "clip-0.mp4" if copied else ".clip-0.mp4.partial"
    (folder / name).symlink_to("/dev/full")
    with open_video(path) as video, pytest.raises(OutputError, match="no space left on the device while writing"):
        run(video, folder, path if copied else None)
    assert not os.path.lexists(folder / name)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("short_side", 255, "even number"),
        ("short_side", 8, "even number"),
        ("fps_limit", 0, "rate limit 0"),
        ("fps_limit", float("nan"), "rate limit nan"),
        ("max_seconds", -1, "max seconds -1"),
        ("min_frames", 0, "min frames 0"),
        ("crf", 60, "crf 60"),
    ],
)
def test_settings_outside_their_range(option, value, message):
    with pytest.raises(SettingError, match=message):
        TranscodeSettings(**{option: value})


def test_settings_survive_json():
    from dataclasses import asdict

    made = TranscodeSettings(short_side=None, fps_limit=12.5)
    assert TranscodeSettings(**json.loads(json.dumps(asdict(made)))) == made


def test_real_clips_are_copied(shared_data, tmp_path):
    folder = shared_data / "clips" / "main"
    paths = sorted(folder.iterdir(), key=lambda path: path.stat().st_size)[:5]
    for path in paths:
        with open_video(path) as video:
            [clip] = run(video, tmp_path, path)
            assert clip.copied
            assert clip.frames == len(video)
            with open_video(clip.file) as copy:
                assert np.array_equal(copy.frame(len(video) - 1).image, video.frame(len(video) - 1).image)
