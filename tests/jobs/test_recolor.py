"""F111: a grey video recoloured from a few frames, on drawn clips whose colours are known."""

from dataclasses import replace

import numpy as np
import pytest

from followspot.datasets.synthetic import SyntheticVideo
from followspot.errors import AnnotationError
from followspot.io.images import read_image
from followspot.io.source import ArrayVideo
from followspot.io.video import open_video
from followspot.jobs.recolor import GrayVideo, recolored, write_recolored
from followspot.metrics.color import color_psnr
from followspot.ops.color import to_lab
from followspot.tracking.colors import gray_frame
from followspot.tracking.presets import PRESETS, Resolution
from followspot.tracking.propagation import PropagationTracker

COUNT = 8


@pytest.fixture(scope="module")
def clip():
    return SyntheticVideo(seed=4, num_frames=COUNT, height=96, width=128, objects=2)


@pytest.fixture(scope="module")
def video(clip):
    """What the job is shown: no colours."""
    return ArrayVideo(np.stack([gray_frame(frame).image for frame in clip]))


@pytest.fixture(scope="module")
def tracker():
    preset = replace(PRESETS["default"], resolution=Resolution(mode="short", pixels=192))
    return PropagationTracker("descriptor", preset, confidence=False)


def psnr(image, truth):
    return color_psnr(to_lab(image)[1:], to_lab(truth)[1:])


def test_f111_recolouring_beats_identity_and_keeps_the_lightness(clip, video, tracker):
    found = {frame.index: image for frame, image in recolored(video, {0: clip.frame(0)}, tracker)}
    assert sorted(found) == list(range(COUNT))
    copied = [psnr(clip.frame(0), clip.frame(t)) for t in range(1, COUNT)]
    ours = [psnr(found[t], clip.frame(t)) for t in range(1, COUNT)]
    assert np.mean(ours) > np.mean(copied) + 1
    assert np.abs(found[0].astype(int) - clip.frame(0)).max() <= 3, "the coloured frame comes back"
    for t in found:
        assert (to_lab(found[t])[0] - to_lab(video.frame(t).image)[0]).abs().max() < 0.8


def test_f111_colours_of_a_later_frame_go_back_too(clip, video, tracker):
    found = {frame.index: image for frame, image in recolored(video, {5: clip.frame(5)}, tracker)}
    for t in (0, 1):
        assert psnr(found[t], clip.frame(t)) > psnr(clip.frame(5), clip.frame(t))
    forward = {frame.index: image for frame, image in recolored(video, {5: clip.frame(5)}, tracker, both_ways=False)}
    np.testing.assert_array_equal(forward[2], video.frame(2).image)
    assert psnr(forward[6], clip.frame(6)) > psnr(video.frame(6).image, clip.frame(6))


def test_what_is_recoloured_does_not_look_at_colours(clip, tracker):
    coloured = ArrayVideo(np.stack([frame.image for frame in clip][:3]))
    swapped = ArrayVideo(np.stack([gray_frame(frame).image for frame in clip][:3]))
    one, other = (list(recolored(shown, {0: clip.frame(0)}, tracker)) for shown in (coloured, swapped))
    for (_, first), (_, second) in zip(one, other, strict=True):
        np.testing.assert_array_equal(first, second)


def test_a_gray_video_is_that_video_otherwise(clip):
    gray = GrayVideo(ArrayVideo(np.stack([frame.image for frame in clip])))
    assert (gray.num_frames, gray.height, gray.width, gray.rewindable, len(gray.frame_names())) == (COUNT, 96, 128, True, COUNT)
    assert [frame.index for frame in gray.frames(3, 5)] == [3, 4]


def test_colours_that_do_not_fit_are_refused(video, tracker):
    with pytest.raises(AnnotationError, match="nothing to take colours from"):
        list(recolored(video, {}, tracker))
    with pytest.raises(AnnotationError, match="the colours of frame 2 are 10x20 but array is 128x96"):
        list(recolored(video, {2: np.zeros((20, 10, 3), np.uint8)}, tracker))
    with pytest.raises(AnnotationError, match="frame 99 is annotated"):
        list(recolored(video, {99: video.frame(0).image}, tracker))


def test_folders_and_videos_are_written(tmp_path, video):
    pictures = [(frame, np.full_like(frame.image, 10 * frame.index)) for frame in video]
    assert write_recolored(video, iter(pictures), tmp_path / "out") == COUNT
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"{t:05d}.png" for t in range(COUNT)]
    np.testing.assert_array_equal(read_image(tmp_path / "out" / "00003.png"), pictures[3][1])
    assert write_recolored(video, iter(pictures), tmp_path / "out.mp4") == COUNT
    with open_video(tmp_path / "out.mp4") as written:
        assert written.num_frames == COUNT
