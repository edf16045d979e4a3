"""Clip patterns against the index lists that the published systems give, and lengths that break such code."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from followspot.datasets.clips import PUBLISHED_PATTERNS, ClipPattern
from followspot.errors import SettingError


def windows(pattern, frames, fps=30.0):
    rng = np.random.default_rng(0)
    return [pattern.indices(frames, fps=fps, rng=rng, window=window) for window in range(pattern.choices(frames, fps=fps))]


def skipping(frames, skips):
    """Slow reference: walk through the video, leave out so many frames before each kept one, drop what is left."""
    clips, clip, place = [], [], 0
    while True:
        place += skips[len(clip)]
        if place >= frames:
            return clips
        clip.append(place)
        place += 1
        if len(clip) == len(skips):
            clips.append(tuple(clip))
            clip = []


def test_f012_three_references_and_a_target_with_skip_4():
    pattern = PUBLISHED_PATTERNS["colorization"]
    assert windows(pattern, 16) == [(0, 5, 10, 15)]
    assert windows(pattern, 48) == [(0, 5, 10, 15), (16, 21, 26, 31), (32, 37, 42, 47)]
    assert windows(pattern, 47) == [(0, 5, 10, 15), (16, 21, 26, 31)]


@pytest.mark.parametrize("skips", [(0, 4, 4, 4), (0, 4, 4, 8), (2, 0, 1), (0,), (3, 3)])
@pytest.mark.parametrize("frames", [1, 5, 16, 20, 21, 97])
def test_f012_skips_equal_a_walk_through_the_video(skips, frames):
    # A skip before the first frame shifts the walk by it; a pattern starts at frame 0 of the video.
    expected = [tuple(index - skips[0] for index in clip) for clip in skipping(frames + skips[0], skips)]
    assert windows(ClipPattern.from_skips(skips), frames) == expected


def test_f012_wbaek_target_is_nine_frames_away():
    assert windows(PUBLISHED_PATTERNS["colorization-wbaek"], 20) == [(0, 5, 10, 19)]


@pytest.mark.parametrize("frames", [9, 10, 12, 13, 24, 100])
def test_f012_corrflow_triples_of_interval_4(frames):
    # Their indices are names that count from 1, and they never use the last frame.
    names = np.arange(1, frames + 1, 4)
    expected = [tuple(int(name) - 1 for name in names[at : at + 3]) for at in range(0, len(names) // 3 * 3, 3)]
    assert windows(PUBLISHED_PATTERNS["correspondence_flow"], frames) == expected


def test_f012_time_cycle_starts_anywhere_and_looks_ahead():
    pattern = PUBLISHED_PATTERNS["cycle_time"]
    rng = np.random.default_rng(0)
    drawn = {pattern.indices(20, fps=12, rng=rng) for _ in range(300)}
    assert drawn == {(s, s + 2, s + 4, s + 6, s + 15, min(s + 17, 19)) for s in range(20 - 16 + 1)}


def test_f013_fractional_gap_of_time_cycle():
    pattern = PUBLISHED_PATTERNS["cycle_time"]
    rng = np.random.default_rng(0)
    drawn = {pattern.indices(9, fps=12, rng=rng) for _ in range(200)}
    # 16 frames are wanted, two thirds of 9 are 6: every distance becomes 6/16 of itself.
    assert drawn == {tuple(min(s + int(d * 6 / 16), 8) for d in (0, 2, 4, 6, 15, 17)) for s in range(4)}


patterns = st.builds(
    lambda frames, gap, more, start, overhang, policy, rate, back: ClipPattern(
        frames=frames,
        gap=gap,
        gap_max=None if start == "back-to-back" or more is None else gap + more,
        start=start,
        overhang=overhang,
        short_video=policy,
        per_second=rate,
        reverse_probability=back,
    ),
    st.integers(1, 6),
    st.integers(1, 7),
    st.none() | st.integers(0, 5),
    st.sampled_from(["random", "back-to-back"]),
    st.integers(0, 3),
    st.sampled_from(["drop", "shrink", "clamp"]),
    st.none() | st.floats(0.5, 60),
    st.floats(0, 1),
)


@settings(deadline=None, max_examples=300)
@given(patterns, st.integers(1, 60), st.floats(1, 60), st.integers(0, 99))
def test_f013_no_length_raises_and_all_frames_exist(pattern, frames, fps, seed):
    count = pattern.choices(frames, fps=fps)
    assert (count > 0) or pattern.short_video == "drop"
    for window in range(count):
        kept = pattern.indices(frames, fps=fps, rng=np.random.default_rng(seed), window=window)
        assert len(kept) == pattern.frames
        assert all(0 <= index < frames for index in kept)
        assert list(kept) in (sorted(kept), sorted(kept, reverse=True))


@pytest.mark.parametrize("name", PUBLISHED_PATTERNS)
@pytest.mark.parametrize("frames", [1, 2, 9])
def test_f013_short_videos_are_left_out_or_used_but_never_raise(name, frames):
    for clip in windows(PUBLISHED_PATTERNS[name], frames):
        assert max(clip) < frames


def test_f013_clamp_repeats_the_last_frame():
    assert windows(ClipPattern(frames=4, gap=3, short_video="clamp"), 5) == [(0, 3, 4, 4)]


def test_drop_says_so():
    pattern = ClipPattern(frames=4, gap=3, short_video="drop")
    assert pattern.choices(9, fps=30) == 0
    with pytest.raises(SettingError, match="a video of 9 frames is shorter than the clip's 10"):
        pattern.indices(9, fps=30, rng=np.random.default_rng(0))


def test_gaps_are_drawn_evenly_and_only_those_that_fit():
    pattern = ClipPattern(frames=3, gap=1, gap_max=4)
    rng = np.random.default_rng(0)
    gaps = [kept[1] - kept[0] for kept in (pattern.indices(100, fps=30, rng=rng) for _ in range(4000))]
    assert np.allclose(np.bincount(gaps, minlength=5)[1:] / 4000, 0.25, atol=0.03)
    kept = [pattern.indices(6, fps=30, rng=rng) for _ in range(200)]
    assert {b - a for a, b, _ in kept} == {1, 2}
    assert all(b - a == c - b for a, b, c in kept)


def test_random_starts_reach_both_ends():
    pattern = ClipPattern(frames=2, gap=3)
    rng = np.random.default_rng(0)
    assert {pattern.indices(6, fps=30, rng=rng) for _ in range(100)} == {(0, 3), (1, 4), (2, 5)}


def test_reversed_share():
    pattern = ClipPattern(frames=2, reverse_probability=0.3)
    rng = np.random.default_rng(0)
    falling = [kept[0] > kept[1] for kept in (pattern.indices(50, fps=30, rng=rng) for _ in range(4000))]
    assert abs(np.mean(falling) - 0.3) < 0.03


def test_frames_are_counted_at_the_asked_rate():
    pattern = ClipPattern(frames=4, per_second=6, start="back-to-back")
    assert windows(pattern, 31, fps=30.0) == [(0, 5, 10, 15)]
    assert windows(pattern, 36, fps=30.0) == [(0, 5, 10, 15), (20, 25, 30, 35)]
    # 25 to 6 per second: the nearest stored frames of 0, 4.17, 8.33, 12.5
    assert windows(pattern, 14, fps=25.0) == [(0, 4, 8, 13)]
    # A slower video keeps its own frames: none is shown twice.
    assert windows(pattern, 4, fps=3.0) == [(0, 1, 2, 3)]


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ({"frames": 0}, "frames 0 must be 1 or more"),
        ({"gap": 0}, "gap 0 must be 1 or more"),
        ({"gap": 3, "gap_max": 2}, "gap_max 2 must be 3 or more"),
        ({"gaps": (1, 2)}, r"gaps \[1, 2\] must be 3 numbers"),
        ({"gaps": (1, 2, -1)}, r"gaps \[1, 2, -1\] must be 3 numbers"),
        ({"gaps": (1, 2, 3), "gap_max": 4}, "not both"),
        ({"gap_max": 3, "start": "back-to-back"}, "gap_max 3 needs start = 'random'"),
        ({"start": "anywhere"}, "start 'anywhere'"),
        ({"short_video": "loop"}, "short_video 'loop'"),
        ({"per_second": 0.0}, "per_second 0.0"),
        ({"between": 0}, "between 0"),
        ({"overhang": -1}, "overhang -1"),
        ({"reverse_probability": 1.5}, "reverse_probability 1.5"),
    ],
)
def test_bad_settings(bad, told):
    with pytest.raises(SettingError, match=told):
        ClipPattern(**bad)


@pytest.mark.parametrize("skips", [[], [0, -1]])
def test_bad_skips(skips):
    with pytest.raises(SettingError, match="skips"):
        ClipPattern.from_skips(skips)


def test_a_video_without_frames_is_an_error():
    with pytest.raises(SettingError, match="frames of the video 0"):
        ClipPattern().indices(0, fps=30, rng=np.random.default_rng(0))
