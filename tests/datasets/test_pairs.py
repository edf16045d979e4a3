"""F020: which pairs are drawn, and how they are shown."""

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from followspot.datasets.pair_views import Region, ViewSettings, draw_blur, draw_colour, draw_region, recolour, view_image, view_mask
from followspot.datasets.pairs import PairSettings, PairSource, is_held_out
from followspot.datasets.targets import CROP, Target, TargetCard, TargetFrame, TargetStore
from followspot.errors import DatasetError, SettingError

DRAWS = 10_000
BOX = (200.0, 190.0, 300.0, 330.0)


class Fake:
    """A store in memory: every crop is the same picture with one filled box."""

    def __init__(self, *, videos=5, frames=60, reach=7, masks=True, datasets=("a",)):
        self.root = "memory"
        self.cards = {
            name: TargetCard(dataset=name, labelled_by="people", still=False, frame_range=reach, licence="", source="") for name in datasets
        }
        shown = tuple(TargetFrame(frame=2 * number, box=BOX, has_mask=masks) for number in range(frames))
        self.targets = tuple(
            Target(dataset=name, video=f"{number:03d}", track=track, frames=shown)
            for name in datasets
            for number in range(videos if isinstance(videos, int) else videos[name])
            for track in range(2)
        )
        self.picture = np.full((CROP, CROP, 3), 40, np.uint8)
        self.picture[190:330, 200:300] = (200, 120, 60)
        self.filled = np.zeros((CROP, CROP), np.uint8)
        self.filled[190:330, 200:300] = 1

    def crop(self, target, frame):
        return self.picture

    def mask(self, target, frame):
        return self.filled if frame.has_mask else None


def source_of(store=None, *, seed=0, held_out=False, **settings):
    return PairSource(store or Fake(), PairSettings(**settings), seed=seed, held_out=held_out)


@pytest.fixture(scope="module")
def drawn():
    """Ten thousand draws with the published shares."""
    source = source_of(frame_range={"a": 7}, epoch=DRAWS)
    return [source.draw(0, position)[0] for position in range(DRAWS)]


def test_f020_negatives_are_as_frequent_as_configured_and_show_another_video(drawn):
    strangers = [draw for draw in drawn if not draw.present]
    assert abs(len(strangers) / DRAWS - 0.2) < 0.01
    assert all(draw.template[0].video != draw.search[0].video for draw in strangers)
    assert set(Counter(draw.search[0].video for draw in strangers)) == {f"{number:03d}" for number in range(5)}


def test_f020_both_frames_of_an_object_lie_within_the_range(drawn):
    """In places of the track's list, of which here every second frame is one; every distance comes up."""
    apart = Counter()
    for draw in drawn:
        if draw.present:
            assert draw.template[0] is draw.search[0]
            apart[(draw.search[1].frame - draw.template[1].frame) // 2] += 1
    assert sorted(apart) == list(range(-7, 8))
    assert max(apart.values()) < 1.3 * min(apart.values())


def test_the_range_is_the_cards_where_the_recipe_says_nothing_and_tracks_of_one_frame_are_pairs_too():
    draws = [source_of(epoch=50, negatives=0.0).draw(0, position)[0] for position in range(50)]
    assert max(abs(draw.search[1].frame - draw.template[1].frame) for draw in draws) <= 14
    still = source_of(Fake(frames=1), epoch=5, negatives=0.0).draw(0, 3)[0]
    assert still.template == still.search


def test_f020_shares_of_gray_flip_and_blur_are_as_configured(monkeypatch):
    """A pair without pictures: what is drawn for its views is counted."""
    counts, sides = Counter(), []
    source = source_of(epoch=DRAWS, negatives=0.0, gray=0.25, flip=0.4, search=ViewSettings(shift=64, scale=0.18, blur=0.18))

    def look(image, region, *, size):
        return np.zeros((size, size, 3), np.uint8)

    def tint(image, offset, *, gray):
        counts["gray"] += gray
        sides.append((gray, image.shape[0]))
        return image

    monkeypatch.setattr("followspot.datasets.pairs.view_image", look)
    monkeypatch.setattr("followspot.datasets.pairs.view_mask", lambda mask, region, *, size: np.zeros((1, 1), np.uint8))
    monkeypatch.setattr("followspot.datasets.pairs.recolour", tint)
    monkeypatch.setattr("followspot.datasets.pairs.draw_blur", lambda rng: counts.update(["blur"]))
    monkeypatch.setattr("followspot.datasets.pairs.cv2", SimpleNamespace(filter2D=lambda image, depth, kernel: image))
    monkeypatch.setattr("followspot.datasets.pairs.mirrored", lambda *seen: counts.update(["flip"]))
    for position in range(DRAWS):
        source.pair(0, position)
    assert abs(counts["gray"] / (2 * DRAWS) - 0.25) < 0.01
    assert abs(counts["flip"] / DRAWS - 0.4) < 0.01
    assert abs(counts["blur"] / DRAWS - 0.18) < 0.01
    assert all(one[0] == other[0] for one, other in zip(sides[::2], sides[1::2], strict=True)), "one view of a pair is gray, one is not"
    assert {one[1] for one in sides[::2]} == {127}
    assert {one[1] for one in sides[1::2]} == {255}


def test_f020_shift_and_stretch_fill_their_ranges_evenly():
    rng = np.random.default_rng(0)
    settings = ViewSettings(shift=64, scale=0.18)
    regions = [draw_region(settings, size=255, rng=rng) for _ in range(DRAWS)]
    for side, start in (("width", "left"), ("height", "top")):
        stretch = np.array([getattr(region, side) / 255 - 1 for region in regions])
        moved = np.array([getattr(region, start) + getattr(region, side) / 2 - CROP / 2 for region in regions])
        for values, limit in ((stretch, 0.18), (moved, 64)):
            assert np.abs(values).max() <= limit + 1e-9
            assert abs(values.mean()) < 0.02 * limit
            assert abs(np.abs(values).mean() - limit / 2) < 0.01 * limit
    far = draw_region(ViewSettings(shift=1000, scale=0.9), size=255, rng=rng)
    assert min(far.left, far.top) >= 0
    assert max(far.left + far.width, far.top + far.height) <= CROP + 1e-9


def box_of(mask):
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def overlap(one, two):
    width, height = (min(one[axis + 2], two[axis + 2]) - max(one[axis], two[axis]) for axis in (0, 1))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, two)]
    return width * height / (areas[0] + areas[1] - width * height)


def test_f020_the_box_is_where_the_image_and_the_mask_show_the_object():
    source = source_of(epoch=60, negatives=0.0, gray=0.0, colour=0.0, flip=0.5, search=ViewSettings(shift=24, scale=0.18))
    for position in range(60):
        pair = source.pair(0, position)
        inside = min(pair.box) >= 0 and max(pair.box) <= 255
        assert inside
        assert overlap(pair.box, box_of(pair.mask)) > 0.98
        assert overlap(pair.box, box_of(pair.search[..., 0] > 120)) > 0.98


def test_f020_the_box_follows_real_crops_of_drawn_rectangles(draw_targets, tmp_path):
    """Through cutting, JPEG and PNG; a mask knows its sides to a pixel, and none is off to one side."""
    store = TargetStore(draw_targets(tmp_path, videos=6))
    source = PairSource(store, PairSettings(epoch=24, negatives=0.0, search=ViewSettings(shift=20, scale=0.18)), seed=1)
    off = []
    for position in range(24):
        pair = source.pair(0, position)
        off.append(np.array(pair.box) - box_of(pair.mask))
    assert np.abs(off).max() <= 1.3
    assert np.abs(np.mean(off, axis=0)).max() < 0.4


def test_f020_flip_mirrors_image_box_and_mask_alike():
    plain, mirror = (source_of(epoch=8, negatives=0.0, flip=share) for share in (0.0, 1.0))
    for position in range(8):
        one, other = plain.pair(0, position), mirror.pair(0, position)
        assert np.array_equal(one.template[:, ::-1], other.template)
        assert np.array_equal(one.search[:, ::-1], other.search)
        assert np.array_equal(one.mask[:, ::-1], other.mask)
        assert other.box == (255 - one.box[2], one.box[1], 255 - one.box[0], one.box[3])


def test_a_pair_of_strangers_has_neither_box_nor_mask_and_boxes_alone_no_mask():
    strange = source_of(epoch=4, negatives=1.0).pair(0, 0)
    assert strange.box is None
    assert strange.mask is None
    boxes = source_of(Fake(masks=False), epoch=4, negatives=0.0).pair(0, 0)
    assert boxes.box is not None
    assert boxes.mask is None


def test_one_video_alone_has_no_strangers():
    source = source_of(Fake(videos=1), epoch=20, negatives=1.0)
    assert all(source.draw(0, position)[0].present for position in range(20))


@pytest.mark.parametrize("epoch", [7, 10, 23])
def test_f021_an_epoch_has_its_length_and_every_video_is_drawn_floor_or_ceil_times(epoch):
    source = source_of(epoch=epoch)
    assert len(source) == epoch
    for number in range(3):
        counts = Counter(source.draw(number, position)[0].template[0].video for position in range(epoch))
        assert set(counts.values()) | ({0} if len(counts) < 5 else set()) <= {epoch // 5, -(-epoch // 5)}
        assert sum(counts.values()) == epoch


def test_f021_datasets_have_their_shares_among_templates_and_strangers():
    """Of three datasets of 2, 40 and 9 videos one is not used; a stranger's dataset gives nothing away."""
    store = Fake(videos={"few": 2, "many": 40, "unused": 9}, datasets=("few", "many", "unused"))
    source = source_of(store, epoch=6000, negatives=0.5, shares={"few": 1.0, "many": 3.0})
    draws = [source.draw(0, position)[0] for position in range(6000)]
    templates = Counter(draw.template[0].dataset for draw in draws)
    assert templates == {"few": 1500, "many": 4500}
    strangers = [draw for draw in draws if not draw.present]
    assert all((draw.template[0].dataset, draw.template[0].video) != (draw.search[0].dataset, draw.search[0].video) for draw in strangers)
    for shown in ("few", "many"):
        found = Counter(draw.search[0].dataset for draw in strangers if draw.template[0].dataset == shown)
        # One of the two videos of "few" cannot follow itself: (1/8) / (7/8) of the strangers are the other.
        expected = 1 / 7 if shown == "few" else 0.25 / (1 - 0.75 / 40)
        assert found["few"] / sum(found.values()) == pytest.approx(expected, abs=0.03)


def test_epochs_of_few_pairs_are_read_by_several_threads():
    """Neighbouring epochs are drawn from at once; each call has the order that it asked for, whoever comes between."""
    source = source_of(epoch=2)
    orders = [source._order(epoch).tolist() for epoch in range(6)]

    class Replaced(dict):
        """By another thread, after it was looked into."""

        def __contains__(self, key):
            return True

    for epoch in (5, 0, 3):
        source._orders = Replaced()
        assert source._order(epoch).tolist() == orders[epoch]


def test_pairs_are_a_function_of_seed_epoch_and_position():
    one, other = source_of(epoch=6, seed=3), source_of(epoch=6, seed=3)
    later = other.pair(1, 2)  # asked in another order
    assert np.array_equal(one.pair(0, 1).search, other.pair(0, 1).search)
    assert np.array_equal(one.pair(1, 2).search, later.search)
    assert not np.array_equal(one.pair(0, 1).search, source_of(epoch=6, seed=4).pair(0, 1).search)
    assert not np.array_equal(one.pair(0, 1).search, one.pair(1, 1).search)
    assert not np.array_equal(one.pair(0, 1).search, one.pair(0, 1, attempt=1).search)


def test_held_out_videos_are_a_share_that_does_not_depend_on_the_store():
    names = [f"{number:05d}" for number in range(4000)]
    kept = {share: {name for name in names if is_held_out("a", name, share=share)} for share in (0.08, 0.2)}
    assert abs(len(kept[0.08]) / 4000 - 0.08) < 0.015
    assert kept[0.08] < kept[0.2]
    store = Fake(videos=40)
    trained, judged = (
        {targets[0].video for targets in PairSource(store, PairSettings(held_out=0.3), seed=0, held_out=side).videos}
        for side in (False, True)
    )
    assert not trained & judged
    assert len(trained | judged) == 40


@pytest.mark.parametrize(
    ("share", "held_out", "said"), [(1.0, False, "to train on .* a smaller share"), (0.0, True, "or 0 for no judging")]
)
def test_an_empty_side_says_what_to_change(share, held_out, said):
    with pytest.raises(DatasetError, match=f"(?s)held_out = {share:g}.*{said}" if held_out else said):
        PairSource(Fake(), PairSettings(held_out=share), seed=0, held_out=held_out)


@pytest.mark.parametrize("settings", [{"shares": {"b": 1.0}}, {"frame_range": {"b": 3}}])
def test_datasets_that_are_not_there_are_told(settings):
    with pytest.raises(SettingError, match="has no dataset 'b'; there are a; add it"):
        source_of(**settings)


@pytest.mark.parametrize(("settings", "said"), [({"frame_range": {"a": -1}}, "0 or more"), ({"colour": float("inf")}, "0 or more")])
def test_wrong_numbers_are_told(settings, said):
    with pytest.raises(SettingError, match=said):
        PairSettings(**settings)


def test_a_view_that_is_the_middle_of_a_crop_is_cut_out_exactly():
    rng = np.random.default_rng(0)
    crop = rng.integers(0, 256, (CROP, CROP, 3), np.uint8)
    region = Region(192.0, 192.0, 127.0, 127.0)
    assert np.array_equal(view_image(crop, region, size=127), crop[192:319, 192:319])
    mask = rng.integers(0, 2, (CROP, CROP), np.uint8)
    assert np.array_equal(view_mask(mask, region, size=127), mask[192:319, 192:319])


def test_blur_kernels_keep_brightness_and_smear_both_ways():
    rng = np.random.default_rng(0)
    kernels = [draw_blur(rng) for _ in range(300)]
    assert {kernel.shape[0] for kernel in kernels} == set(range(3, 47, 2))
    for kernel in kernels:
        middle = kernel.shape[0] // 2
        assert kernel.sum() == pytest.approx(1, abs=1e-5)
        assert np.count_nonzero(np.delete(np.delete(kernel, middle, 0), middle, 1)) == 0


def test_colour_offsets_have_the_published_axes_and_gray_views_one_tint():
    """Their covariance is that of 0.1 times the principal axes of ImageNet's colours."""
    rng = np.random.default_rng(0)
    offsets = np.stack([draw_colour(1.0, rng) for _ in range(20_000)])
    axes = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
    expected = axes @ np.diag((25.5 * np.array([0.2175, 0.0188, 0.0045])) ** 2) @ axes.T
    assert np.allclose(np.cov(offsets.T), expected, atol=0.03 * expected.max())
    assert not draw_colour(0.0, rng).any()
    image = rng.integers(0, 256, (5, 6, 3), np.uint8)
    gray = recolour(image, np.zeros(3), gray=True).astype(int)
    assert np.abs(gray - gray[..., :1]).max() == 0
    assert np.abs(gray[..., 0] - image @ np.array([0.299, 0.587, 0.114])).max() <= 1
    assert recolour(image, np.full(3, 300.0), gray=False).min() == 255


def test_views_refuse_what_leaves_the_crop():
    with pytest.raises(SettingError, match=r"scale in 0\.\.0\.9"):
        replace(ViewSettings(shift=0, scale=0), scale=0.95)
    assert CROP >= 1.9 * 255
