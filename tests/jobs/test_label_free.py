"""The check that needs no labels: regions, scenes, and who is called better."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from followspot.datasets.augment import StillMotion
from followspot.datasets.store import ClipStore
from followspot.datasets.synthetic import SyntheticVideo
from followspot.errors import DatasetError, SettingError
from followspot.io.video import VideoWriter
from followspot.jobs.label_free import Check, CheckSettings, Overlap, check, compare, paired
from followspot.jobs.prepare import PrepareSettings, prepare
from followspot.jobs.pseudo_objects import draw_objects
from followspot.jobs.pseudo_scenes import SceneSettings, moving_scene
from followspot.models.encoder import load_encoder

QUICK = CheckSettings(scenes=3, scene=SceneSettings(objects=6, frames=4, pixels=128), reach=3)


class PlaceEncoder(torch.nn.Module):
    """Knows where a cell is and nothing of what is in it."""

    name, dim, stride, receives = "place", None, 8, "rgb"

    def forward(self, frames):
        height, width = frames.shape[-2] // 8, frames.shape[-1] // 8
        return torch.eye(height * width).view(1, -1, height, width).expand(len(frames), -1, -1, -1)


class BlindEncoder(torch.nn.Module):
    """Nearly the same everywhere."""

    name, dim, stride, receives = "blind", 3, 8, "rgb"

    def forward(self, frames):
        means = torch.nn.functional.avg_pool2d(frames, 8)
        return 5 + 0.01 * means.mean((2, 3), keepdim=True) + 0.001 * means.roll(3, 2)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Two clips of twelve frames."""
    root = tmp_path_factory.mktemp("prepared")
    for seed in range(2):
        with VideoWriter(root / "videos" / f"{seed}.mp4", height=128, width=160, fps=24) as writer:
            for frame in SyntheticVideo(seed, num_frames=12, height=128, width=160):
                writer.write(frame.image)
    prepare([root / "videos"], root / "store", settings=PrepareSettings(), workers=1)
    return ClipStore(root / "store")


def of(*rows):
    return tuple(Overlap(scene=scene, region=region, value=value) for scene, region, value in rows)


def shifted(overlaps, *by):
    return tuple(replace(one, value=one.value + step) for one, step in zip(overlaps, by, strict=True))


def coordinates(height=80, width=100):
    """Red says the column, green the row; a few blocks of blue make edges."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, :, 0], image[:, :, 1] = np.arange(width), np.arange(height)[:, None]
    image[20:60:2, 30:70:2, 2] = 255
    return image


@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(20, 60), st.integers(20, 60))
@settings(deadline=None, max_examples=20)
def test_regions_are_numbered_and_leave_half_the_frame(seed, count, height, width):
    image = np.random.default_rng(seed).integers(0, 255, (height, width, 3)).astype(np.uint8)
    ids = draw_objects(image, count, rng=np.random.default_rng(seed))
    assert ids.shape == (height, width)
    assert np.unique(ids).tolist() == list(range(ids.max() + 1))
    assert 1 <= ids.max() <= count
    assert np.array_equal(ids, draw_objects(image, count, rng=np.random.default_rng(seed)))
    assert (ids > 0).mean() < 0.8


def test_regions_lie_where_there_is_texture_or_motion():
    rng = np.random.default_rng(0)
    image = np.full((120, 160, 3), 90, np.uint8)
    image[:, 80:] = np.kron(rng.integers(0, 255, (12, 8, 3)), np.ones((10, 10, 1)))
    ids = draw_objects(image, 5, rng=np.random.default_rng(1))
    assert (ids[:, 80:] > 0).sum() > 5 * (ids[:, :70] > 0).sum()
    flat = np.full((120, 160, 3), 90, np.uint8)
    changed = flat.copy()
    changed[:, :80] = 120
    ids = draw_objects(flat, 5, rng=np.random.default_rng(1), following=changed)
    assert (ids[:, :80] > 0).sum() > 5 * (ids[:, 90:] > 0).sum()


def test_regions_end_at_edges():
    image = np.zeros((120, 160, 3), np.uint8)
    image[:, 77:] = 255
    ids = draw_objects(image, 30, rng=np.random.default_rng(0))
    left, right = set(np.unique(ids[:, :75])), set(np.unique(ids[:, 79:]))
    assert len(left & right - {0}) <= 1
    assert len(left | right) > 6


def test_too_many_regions_are_refused():
    with pytest.raises(SettingError, match="256 regions cannot be drawn"):
        draw_objects(coordinates(), 256, rng=np.random.default_rng(0))


@pytest.mark.parametrize("seed", range(3))
def test_what_a_region_shows_comes_from_that_region(seed):
    """Colours say where a pixel came from: what a moved mask covers must all come from one place, the same in every frame."""
    image = coordinates(100, 100)
    frames, truth = moving_scene(image, SceneSettings(objects=4, frames=4, pixels=100), rng=np.random.default_rng(seed))
    assert frames.shape == (4, 100, 100, 3)
    assert np.unique(truth).size > 2
    ids = draw_objects(image, 4, rng=_after_the_square(seed))
    moved = 0
    for frame, labels in zip(frames, truth, strict=True):
        for region in np.unique(labels)[1:]:
            x, y = frame[labels == region][:, :2].astype(int).T
            assert np.mean([_near(ids == region, a, b) for a, b in zip(y, x, strict=True)]) > 0.97
    for region in np.unique(truth[0])[1:]:
        places = [np.argwhere(labels == region).mean(0) for labels in truth if (labels == region).any()]
        moved = max(moved, np.abs(np.ptp(places, axis=0)).max())
    assert moved > 5


def _after_the_square(seed):
    rng = np.random.default_rng(seed)
    rng.integers(1), rng.integers(1)
    return rng


def _near(mask, row, column):
    return mask[max(0, row - 2) : row + 3, max(0, column - 2) : column + 3].any()


def test_without_motion_nothing_moves_and_colour_comes_on_top():
    still = StillMotion(zoom=(0.9, 0.9), shift=0.0, rotation_degrees=0.0, scale=1.0)
    settings = SceneSettings(objects=3, frames=3, pixels=64, camera=still, motion=still)
    frames, truth = moving_scene(coordinates(), settings, rng=np.random.default_rng(0))
    assert (frames == frames[0]).all()
    assert (truth == truth[0]).all()
    colored, same = moving_scene(coordinates(), settings, rng=np.random.default_rng(0), color_seed=4)
    assert np.array_equal(same, truth)
    assert np.abs(colored.astype(int) - frames).mean() > 1
    assert not np.array_equal(colored[0], colored[1])


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: SceneSettings(frames=1), "frames = 1 is too small"),
        (lambda: SceneSettings(objects=101), "objects = 101 are too many"),
        (lambda: CheckSettings(scenes=1), "scenes = 1 is too small"),
        (lambda: CheckSettings(per_second=0), "per_second = 0 is no rate"),
    ],
)
def test_settings_that_cannot_be_are_refused(make, problem):
    with pytest.raises(SettingError, match=problem):
        make()


def test_a_check_repeats_and_says_how_far_it_is(store):
    told = []
    descriptor = load_encoder("descriptor")
    first = check(descriptor, store, settings=QUICK, device="cpu", progress=lambda *state: told.append(state))
    assert first == check(descriptor, store, settings=QUICK, device="cpu")
    assert told == [("checking", done, 3) for done in (1, 2, 3)]
    assert {one.scene // 2 for one in first.moved} == {one.scene for one in first.returned} == {0, 1, 2}
    assert all(0 <= one.value <= 1 for one in first.moved + first.returned)
    other = check(descriptor, store, settings=replace(QUICK, seed=5), device="cpu")
    assert other != first


def test_an_encoder_that_only_knows_places_returns_perfectly_and_does_not_win(store):
    """The weakness of going there and back, and what the scenes with known motion are for."""
    descriptor, places = (check(one, store, settings=QUICK, device="cpu") for one in (load_encoder("descriptor"), PlaceEncoder()))
    verdict = compare(descriptor, places)
    assert verdict.returned.after > 1.5 * verdict.returned.before
    assert verdict.returned.difference > verdict.returned.error
    assert verdict.moved.difference < -verdict.moved.error
    assert not verdict.better
    assert "moved by a known amount are followed worse" in verdict.reason


def test_a_seeing_encoder_wins_against_a_blind_one(store):
    blind, descriptor = (check(one, store, settings=QUICK, device="cpu") for one in (BlindEncoder(), load_encoder("descriptor")))
    assert compare(blind, descriptor).better
    assert not compare(descriptor, blind).better
    assert not compare(descriptor, descriptor).better


MOVED = of((0, 1, 0.5), (0, 2, 0.4), (1, 1, 0.6))
RETURNED = of((0, 1, 0.8), (1, 1, 0.7), (2, 1, 0.75))


@pytest.mark.parametrize(
    ("moved", "returned", "better", "reason"),
    [
        ((0.1, 0.11, 0.1), (0.0, 0.0, 0.0), True, "followed better by more than chance, and neither kind of region worse"),
        ((0.0, 0.0, 0.0), (0.1, 0.11, 0.1), True, "followed better"),
        ((0.2, 0.2, 0.2), (-0.1, 0.1, -0.01), True, "followed better"),
        ((0.2, 0.2, 0.2), (-0.1, -0.1, -0.11), False, "in the real frames regions return worse by more than chance"),
        ((-0.1, -0.11, -0.1), (0.2, 0.2, 0.2), False, "regions moved by a known amount are followed worse by more than chance"),
        ((0.2, 0.2, -0.3), (0.0, 0.0, 0.0), False, "within chance"),
        ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), False, "within chance"),
    ],
)
def test_better_is_more_than_chance_and_nothing_worse(moved, returned, better, reason):
    before = Check(moved=MOVED, returned=RETURNED)
    verdict = compare(before, Check(moved=shifted(MOVED, *moved), returned=shifted(RETURNED, *returned)))
    assert verdict.better is better
    assert reason in verdict.reason
    assert verdict.gain == pytest.approx(np.mean(moved) / 2 + np.mean(returned) / 2)
    assert verdict.error == pytest.approx(math.sqrt(verdict.moved.error**2 + verdict.returned.error**2) / 2)


@given(st.lists(st.tuples(st.integers(0, 4), st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=12))
@settings(deadline=None, max_examples=50)
def test_the_error_counts_scenes_as_a_loop_would(rows):
    before = of(*((scene, number, first) for number, (scene, first, _) in enumerate(rows)))
    after = of(*((scene, number, second) for number, (scene, _, second) in enumerate(rows)))
    pair = paired(before, after)
    gains = [second - first for _, first, second in rows]
    mean = sum(gains) / len(gains)
    assert pair.difference == pytest.approx(mean, abs=1e-12)
    scenes = sorted({scene for scene, _, _ in rows})
    if len(scenes) == 1:
        assert pair.error == math.inf
        return
    total = 0.0
    for wanted in scenes:
        total += sum(gain - mean for (scene, _, _), gain in zip(rows, gains, strict=True) if scene == wanted) ** 2
    assert pair.error == pytest.approx(math.sqrt(total * len(scenes) / (len(scenes) - 1)) / len(rows), abs=1e-12)


def test_regions_of_one_scene_count_as_one():
    """Ten regions that all gain because of one scene prove less than ten scenes."""
    spread = of(*((scene, 1, 0.5) for scene in range(10)))
    lumped = of(*((scene // 5, scene, 0.5) for scene in range(10)))
    gains = (0.2,) * 5 + (0.0,) * 5
    assert paired(lumped, shifted(lumped, *gains)).error > 2 * paired(spread, shifted(spread, *gains)).error


def test_different_regions_cannot_be_compared():
    with pytest.raises(SettingError, match="not of the same regions"):
        paired(of((0, 1, 0.5)), of((0, 2, 0.5)))
    with pytest.raises(SettingError, match="0 and 0 overlaps"):
        paired((), ())


def test_clips_without_anything_to_follow_say_so(store, monkeypatch):
    monkeypatch.setattr("followspot.jobs.label_free.draw_objects", lambda image, *given, **settings: np.zeros(image.shape[:2], np.uint8))
    monkeypatch.setattr("followspot.jobs.pseudo_scenes.draw_objects", lambda image, *given, **settings: np.zeros(image.shape[:2], np.uint8))
    with pytest.raises((DatasetError, SettingError), match="nothing that could be followed"):
        check(load_encoder("descriptor"), store, settings=QUICK, device="cpu")
