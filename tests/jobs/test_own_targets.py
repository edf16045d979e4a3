"""Targets without labels: found by motion, carried, kept where that is sure."""

from dataclasses import replace

import numpy as np
import pytest

from followspot.datasets.sources.base import LeftOut
from followspot.datasets.store import ClipStore
from followspot.datasets.targets import TargetStore
from followspot.datasets.twins import TwinVideo
from followspot.errors import DatasetError, SettingError
from followspot.io.video import VideoWriter
from followspot.jobs.moving_objects import MovingSettings, choose_things, find_moving
from followspot.jobs.own_targets import OwnTargetSettings, own_source, own_targets
from followspot.jobs.own_tracks import TrackSettings, carry, find_things, make_tracker
from followspot.jobs.prepare import PrepareSettings, prepare
from followspot.ops.masks import mask_box
from followspot.types import TrackedFrame, TrackedObject

SMALL = TrackSettings(pixels=128)
"""The discs are 4 cells across."""
ONE = OwnTargetSettings(windows=1, tracks=SMALL)
SIZE = (128, 192)


def discs(seed):
    """Two discs of 16 pixels radius that pass each other."""
    return TwinVideo(seed, look="hue", meeting="pass", height=SIZE[0], width=SIZE[1])


def stored(root, videos, *, fps=12):
    for name, frames in videos.items():
        with VideoWriter(root / "videos" / f"{name}.mp4", height=SIZE[0], width=SIZE[1], fps=fps) as writer:
            for image in frames:
                writer.write(image)
    prepare([root / "videos"], root / "store", settings=PrepareSettings(), workers=1)
    return ClipStore(root / "store")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Three clips of discs."""
    return stored(tmp_path_factory.mktemp("discs"), {str(seed): [frame.image for frame in discs(seed)] for seed in range(3)})


@pytest.fixture(scope="module")
def made(store, tmp_path_factory):
    """Their targets, what was told on the way, and the report."""
    root, told = tmp_path_factory.mktemp("made"), []
    report = own_targets(store, root, settings=ONE, show=lambda *said: told.append(said))
    return root, told, report


def files(root):
    return {path.relative_to(root): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def overlap(one, two):
    return np.count_nonzero(one & two) / np.count_nonzero(one | two)


def truth(store, clip):
    return discs(int(store.entries[clip].origin.removesuffix(".mp4")))


def test_moving_discs_are_found_and_carried(store):
    """Every mask that is kept is one of the discs, whole."""
    for clip, video in enumerate(own_source(store, ONE, seed=0).videos):
        clip = next(number for number, entry in enumerate(store.entries) if video.name in entry.path)
        seen = list(video.read())
        assert len(seen) >= 5
        for frame in seen:
            ids = truth(store, clip).masks(frame.number)
            assert {thing.track for thing in frame.objects} <= {0, 1}
            for thing in frame.objects:
                assert max(overlap(thing.mask, ids == disc) for disc in (1, 2)) > 0.75
        assert any(len(frame.objects) == 2 for frame in seen)


def test_a_track_stays_on_its_disc(store):
    video = own_source(store, ONE, seed=0).videos[0]
    clip = next(number for number, entry in enumerate(store.entries) if video.name in entry.path)
    on = {0: set(), 1: set()}
    for frame in video.read():
        ids = truth(store, clip).masks(frame.number)
        for thing in frame.objects:
            on[thing.track].add(1 + int(overlap(thing.mask, ids == 2) > overlap(thing.mask, ids == 1)))
    assert sorted(map(sorted, on.values())) == [[1], [2]]


def test_the_store_says_who_labelled_it(made):
    root, told, report = made
    targets = TargetStore(root)
    assert told[-1] == ("cutting", 3, 3)
    assert targets.cards["video"].labelled_by == "propagation"
    assert len(targets) >= 4
    assert sum(len(target.frames) for target in targets.targets) == report.crops
    assert all(target.frames[-1].frame - target.frames[0].frame <= targets.cards["video"].frame_range for target in targets.targets)


def test_crops_show_what_was_found(made):
    """A disc in the middle, half as wide as the 127 pixels of its square, where the index says that the box is."""
    targets = TargetStore(made[0])
    for target in targets.targets:
        for frame in target.frames:
            mask = targets.mask(target, frame)
            assert mask.sum() == pytest.approx(np.pi / 4 * 63.5**2, rel=0.3)
            rows, columns = np.nonzero(mask)
            got = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
            assert np.abs(np.subtract(got, frame.box)).max() <= 3


def test_it_goes_on_after_a_kill_with_the_same_bytes(store, made, tmp_path):
    def stop(stage, done, total):
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        own_targets(store, tmp_path, settings=ONE, show=stop)
    assert not (tmp_path / "video.json").exists()
    assert own_targets(store, tmp_path, settings=ONE).new == 2
    assert files(tmp_path) == files(made[0])


def test_neither_the_order_of_the_clips_nor_threads_matter(store, made, tmp_path):
    other = ClipStore(store.root)
    other.entries = other.entries[::-1]
    own_targets(other, tmp_path, settings=ONE, workers=2)
    assert files(tmp_path) == files(made[0])


def test_nothing_is_kept_of_which_nobody_is_sure(store, tmp_path):
    doubtful = replace(ONE, tracks=replace(SMALL, sure=1.0))
    with pytest.raises(DatasetError, match="no object can be used"):
        own_targets(store, tmp_path, settings=doubtful)


def test_a_thing_that_is_gone_has_no_track():
    """From the next frame on all is noise: neither the confidence nor the colours can hold on to anything."""
    video, rng = discs(0), np.random.default_rng(0)
    noise = [rng.integers(0, 255, (*SIZE, 3)).astype(np.uint8) for _ in range(3)]
    settings = replace(SMALL, fewest=2)
    assert carry(make_tracker(settings), [video.frame(0), *noise], 0, things=[video.masks(0) == 1], settings=settings) == []


class Told:
    """A tracker that says what it was told to: the radius of a disc, and how sure it is."""

    def __init__(self, answers):
        self.answers = answers

    def start(self, frame, annotations):
        pass

    def step(self, frame):
        radius, sure = self.answers[frame.index]
        disc = round_mask(radius)
        thing = TrackedObject(name="1", kind="mask", mask_id=1, box=mask_box(disc), points=(), confidence=sure, lost=sure < 0.5)
        rest = {"index": frame.index, "name": frame.name, "time_seconds": 0.0}
        return TrackedFrame(masks=disc.astype(np.uint8), maps=None, objects=(thing,), **rest)


def round_mask(radius):
    rows, columns = np.ogrid[: SIZE[0], : SIZE[1]]
    return np.hypot(columns - 96, rows - 64) <= radius


@pytest.mark.parametrize(
    ("answers", "kept"),
    [
        ([(20, 1), (20, 0.9), (20, 0.9), (20, 0.9)], {0, 1, 2, 3}),
        ([(20, 1), (20, 0.9), (20, 0.6), (20, 0.9)], {0, 1, 3}),
        ([(20, 1), (20, 0.9), (20, 0.4), (20, 0.9)], {0, 1}),
        ([(20, 1), (20, 0.9), (30, 0.9), (20, 0.9)], {0, 1}),
        ([(20, 1), (20, 0.9), (13, 0.9), (20, 0.9)], {0, 1}),
        ([(20, 1), (28, 0.9), (15, 0.9), (20, 0.9)], {0, 1, 2, 3}),
    ],
    ids=["all", "one unsure", "lost", "doubled", "halved", "nearly doubled and halved"],
)
def test_what_is_kept_of_a_track(answers, kept):
    grain = np.random.default_rng(0).normal(0, 8, (*SIZE, 3))
    shown = [np.where(round_mask(radius)[:, :, None], (220, 120, 30), (30, 90, 60)) + grain for radius, _ in answers]
    window = [image.clip(0, 255).astype(np.uint8) for image in shown]
    settings = replace(SMALL, fewest=1)
    (track,) = carry(Told(answers), window, 0, things=[round_mask(20)], settings=settings)
    assert set(track.masks) == kept
    assert carry(Told(answers), window, 0, things=[round_mask(20)], settings=replace(settings, fewest=len(kept) + 1)) == []


def test_a_thing_has_colours_of_its_own():
    """A square 60 levels lighter than what is around it, with grain of 30, shares more than a tenth of its colours and not most."""
    image = np.random.default_rng(0).normal(90, 30, (*SIZE, 1)).repeat(3, 2)
    region = np.zeros(SIZE, bool)
    region[40:80, 40:80] = True
    image[region] += 60
    image = image.clip(0, 255).astype(np.uint8)
    assert len(choose_things(image, [region], count=1, settings=MovingSettings())) == 1
    assert choose_things(image, [region], count=1, settings=MovingSettings(contrast=0.95)) == []


def test_a_damaged_clip_is_counted_and_left_out(store, tmp_path):
    own = stored(tmp_path, {str(seed): [frame.image for frame in discs(seed)] for seed in (0, 1)})
    victim = own.root / own.entries[0].path
    victim.write_bytes(victim.read_bytes()[:400])
    report = own_targets(own, tmp_path / "out", settings=ONE)
    assert report.left_out == {"clips that cannot be read to the end": 1}
    assert {target.video for target in TargetStore(tmp_path / "out").targets} == {(own.root / own.entries[1].path).stem}


def test_where_no_clip_can_be_read_that_is_said(store, tmp_path):
    own = stored(tmp_path, {"0": [frame.image for frame in discs(0)]})
    (own.root / own.entries[0].path).unlink()
    with pytest.raises(DatasetError, match="1 clips that cannot be read"):
        own_targets(own, tmp_path / "out", settings=ONE)


def test_where_nothing_moves_regions_with_contrast_serve():
    tiles = np.random.default_rng(5).integers(0, 255, (4, 6, 3)).astype(np.uint8)
    still = tiles.repeat(32, 0).repeat(32, 1)
    settings = TrackSettings()
    rng = np.random.default_rng(0)
    assert find_moving(still, still, still, count=3, settings=MovingSettings(), rng=rng) == []
    found = find_things(still, [(still, still)], settings=settings, rng=rng)
    assert 1 <= len(found) <= settings.objects
    assert np.sum(found, axis=0).max() == 1


def test_what_crawls_is_found_in_pictures_farther_apart():
    video = discs(1)
    now = video.frame(12)
    far = video.frame(10), video.frame(14)
    found = find_things(now, [(now, now), far], settings=TrackSettings(), rng=np.random.default_rng(0))
    assert max(overlap(found[0], video.masks(12) == disc) for disc in (1, 2)) > 0.75


def test_bounds_of_a_thing():
    image = np.random.default_rng(0).normal(60, 10, (*SIZE, 3)).clip(0, 255).astype(np.uint8)
    regions = {name: np.zeros(SIZE, bool) for name in ("thing", "small", "large", "cut off", "pale")}
    regions["thing"][40:80, 40:80] = True
    regions["small"][100:106, 100:106] = True
    regions["large"][10:120, 10:150] = True
    regions["cut off"][:8, 20:170] = True
    regions["pale"][90:120, 30:60] = True
    for name, region in regions.items():
        shown = image.copy()
        shown[region] = shown[region] // 4 + (0 if name == "pale" else 150) + 40 * (name == "pale")
        if name == "pale":
            shown = image
        hollow = region.copy()
        hollow[55:65, 55:65] = False
        found = choose_things(shown, [hollow], count=1, settings=MovingSettings())
        assert len(found) == (name == "thing"), name
        if found:
            assert overlap(found[0], region) > 0.95


def test_no_clip_is_too_short(tmp_path):
    """Four frames have room for one window, and for fewer steps."""
    own = stored(tmp_path, {"0": [frame.image for frame in discs(0)][10:14]})
    settings = OwnTargetSettings(tracks=replace(SMALL, fewest=2), step_seconds=0.08)
    numbers = {frame.number for frame in own_source(own, settings, seed=0).videos[0].read() if not isinstance(frame, LeftOut)}
    assert numbers
    assert numbers <= {0, 1, 2, 3}


def test_windows_share_no_track(store):
    source = own_source(store, OwnTargetSettings(windows=2, reach=1, tracks=SMALL), seed=0)
    tracks = {}
    for frame in source.videos[0].read():
        for thing in frame.objects:
            tracks.setdefault(thing.track, []).append(frame.number)
    assert sorted(tracks) == list(range(len(tracks)))
    assert len(tracks) >= 3
    assert max(max(seen) - min(seen) for seen in tracks.values()) <= source.card.frame_range


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (TrackSettings, {"objects": 0}),
        (TrackSettings, {"sure": 1.5}),
        (TrackSettings, {"growth": 1.0}),
        (OwnTargetSettings, {"windows": 0}),
        (OwnTargetSettings, {"step_seconds": 0.0}),
        (MovingSettings, {"slowest": 0.0}),
        (MovingSettings, {"border": 2.0}),
    ],
)
def test_settings_that_cannot_be_are_told(kind, wrong):
    with pytest.raises(SettingError, match=next(iter(wrong))):
        kind(**wrong)
