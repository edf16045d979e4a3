"""Two discs that meet: copies are copies, hues differ in hue alone, and the masks are where the pixels are."""

import numpy as np
import pytest
import torch

from followspot.datasets.twins import TwinVideo
from followspot.errors import SettingError
from followspot.ops.color import rgb_to_lab


def lab(image):
    return rgb_to_lab(torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 255).numpy()


def on_disc(video, index, number):
    """Lab of the middle of a disc."""
    x, y = np.round(video.centres(index)[number - 1]).astype(int)
    half = int(video.radius * 0.5)
    return lab(video.frame(index))[:, y - half : y + half + 1, x - half : x + half + 1]


def test_f177_copies_look_the_same_and_hues_differ_in_hue_alone():
    same, hue = TwinVideo(3, look="same"), TwinVideo(3, look="hue")
    for video, differ in ((same, False), (hue, True)):
        one, two = on_disc(video, 0, 1), on_disc(video, 0, 2)
        assert one[0].mean() == pytest.approx(two[0].mean(), abs=1.0), "lightness tells nothing"
        assert one[0].std() == pytest.approx(two[0].std(), rel=0.15)
        apart = np.linalg.norm(one[1:].mean((1, 2)) - two[1:].mean((1, 2)))
        assert (apart > 50) if differ else (apart < 1)


@pytest.mark.parametrize("meeting", ["cross", "pass"])
def test_f177_they_meet_and_part(meeting):
    video = TwinVideo(1, meeting=meeting)
    nearest = min(np.linalg.norm(np.subtract(*video.centres(index))) for index in range(len(video)))
    assert (nearest < video.radius) if meeting == "cross" else (2 * video.radius < nearest < 4 * video.radius)
    parted = [index for index in range(len(video)) if video.is_parted(index)]
    assert parted
    assert parted[-1] == len(video) - 1
    assert parted == list(range(parted[0], len(video))), "once parted they stay so"
    assert parted[0] > len(video) / 2
    sizes = np.array([np.bincount(video.masks(index).ravel(), minlength=3)[1:] for index in range(len(video))])
    whole = np.pi * video.radius**2
    assert sizes[0] == pytest.approx([whole, whole], rel=0.05)
    assert sizes[-1] == pytest.approx([whole, whole], rel=0.05)
    assert sizes[:, 1].min() > 0.95 * whole, "the second one is in front"
    assert (sizes[:, 0].min() < 0.5 * whole) == (meeting == "cross")


def test_neither_ends_where_the_other_began():
    for seed in range(4):
        video = TwinVideo(seed)
        first, last = video.centres(0), video.centres(len(video) - 1)
        assert np.linalg.norm(first - last[::-1], axis=1).min() > 2 * video.radius


def test_masks_are_where_the_pixels_change():
    """Of two clips that differ in the look of the second disc alone, only its pixels differ."""
    same, hue = TwinVideo(2, look="same"), TwinVideo(2, look="hue")
    changed = (same.frame(5) != hue.frame(5)).any(2)
    second = same.masks(5) == 2
    assert (changed & second).sum() > 0.95 * second.sum()
    assert (changed & ~second).sum() < 0.1 * second.sum(), "but for the soft edge"


def test_frames_repeat_and_seeds_differ():
    assert (TwinVideo(4).frame(7) == TwinVideo(4).frame(7)).all()
    assert (TwinVideo(4).frame(7) != TwinVideo(5).frame(7)).any()
    assert [frame.name for frame in TwinVideo(0, num_frames=4)] == ["00000", "00001", "00002", "00003"]


@pytest.mark.parametrize("size", [{"height": 32}, {"num_frames": 2}, {"height": 192, "width": 96}])
def test_clips_that_show_no_meeting_are_refused(size):
    with pytest.raises(SettingError, match=r"take|use"):
        TwinVideo(0, **size)
    with pytest.raises(SettingError, match="frame 24 does not exist"):
        TwinVideo(0).centres(24)
