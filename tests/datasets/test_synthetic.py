"""Synthetic video: deterministic, textured like photographs, and its labels agree with its pixels and with each other."""

import cv2
import numpy as np
import pytest

from followspot.datasets.layers import Scene, Sprite
from followspot.datasets.motion import Wave, affine
from followspot.datasets.synthetic import Difficulty, SyntheticVideo
from followspot.datasets.textures import coat, dead_leaves, spectral_noise
from followspot.errors import SettingError

CALM = Difficulty(deformation=0, occlusion=0, lighting=0, camera=0, noise=0)
WILD = Difficulty(deformation=1, occlusion=1, lighting=1, camera=1, noise=1)


@pytest.fixture(scope="module")
def video():
    return SyntheticVideo(seed=1, num_frames=40)


@pytest.fixture(scope="module")
def wild():
    return SyntheticVideo(seed=5, num_frames=40, height=121, width=163, objects=3, difficulty=WILD)


def test_shapes_and_types(video):
    assert len(video) == 40
    frame = video.frame(3)
    assert frame.shape == (240, 320, 3)
    assert frame.dtype == np.uint8
    ids = video.masks(3)
    assert ids.shape == (240, 320)
    assert ids.dtype == np.uint8
    assert set(np.unique(ids)) == {0, 1, 2}
    assert video.boxes(3).shape == (2, 4)
    xy, seen = video.points(3)
    assert xy.shape == (10, 2)
    assert seen.shape == (10,)
    assert video.owners.tolist() == [1] * 5 + [2] * 5
    assert video.names == ("object 1", "object 2")


def test_same_seed_same_video_in_any_order(video):
    again = SyntheticVideo(seed=1, num_frames=40)
    last = again.frame(17)
    np.testing.assert_array_equal(again.frame(2), video.frame(2))
    np.testing.assert_array_equal(last, video.frame(17))
    np.testing.assert_array_equal(again.masks(17), video.masks(17))
    assert (SyntheticVideo(seed=2, num_frames=40).frame(2) != video.frame(2)).mean() > 0.5


def test_iterating_gives_named_frames():
    frames = list(SyntheticVideo(seed=0, num_frames=3, height=40, width=50))
    assert [frame.name for frame in frames] == ["00000", "00001", "00002"]
    assert frames[2].index == 2
    assert frames[2].time_seconds == pytest.approx(0.08)


def test_boxes_are_the_extent_of_the_masks(wild):
    for index in (0, 13, 39):
        ids, boxes = wild.masks(index), wild.boxes(index)
        for k, box in enumerate(boxes):
            rows, columns = np.nonzero(ids == k + 1)
            if len(rows):
                assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            else:
                assert np.isnan(box).all()


@pytest.mark.parametrize("index", [0, 11, 29])
def test_masks_are_the_filled_outlines(index):
    video = SyntheticVideo(seed=4, num_frames=30, objects=1, difficulty=Difficulty(deformation=1, occlusion=0))
    outline = video._sprites[0].place(video._sprites[0].outline, video._scene.camera(index), index)
    filled = np.zeros((240, 320), np.uint8)
    cv2.fillPoly(filled, [np.round(outline * 256).astype(np.int32)], 1, cv2.LINE_8, 8)
    ids = video.masks(index)
    assert (filled & ids).sum() / (filled | ids).sum() > 0.97


def test_points_are_carried_by_the_texture():
    """Where a point is visible in two frames, the patch around it looks the same."""
    calm = Difficulty(deformation=0.6, occlusion=0, lighting=0, camera=0.5, noise=0)
    video = SyntheticVideo(seed=6, num_frames=20, objects=2, points_per_object=8, difficulty=calm)
    right, wrong = [], []
    for index in range(0, 19, 3):
        (before, seen), (after, still) = video.points(index), video.points(index + 1)
        first, second = (video.frame(i).astype(np.float32) for i in (index, index + 1))
        for old, new, usable in zip(before, after, seen & still, strict=True):
            if usable:
                patch = cv2.getRectSubPix(first, (9, 9), old)
                right.append(np.abs(patch - cv2.getRectSubPix(second, (9, 9), new)).mean())
                wrong.append(np.abs(patch - cv2.getRectSubPix(second, (9, 9), np.add(new, (3, -3)))).mean())
    assert len(right) > 60
    assert np.median(right) < 0.35 * np.median(wrong)
    assert np.median(right) < 5


def test_placing_inverts_the_map_that_renders(wild):
    sprite, camera = wild._sprites[0], wild._scene.camera(9)
    own = sprite.marks
    placed = sprite.place(own, camera, 9)
    inverse = np.linalg.inv(camera @ sprite._pose(9))
    unbent = placed @ inverse[:2, :2].T + inverse[:2, 2]
    back = unbent + sprite._warp(unbent[:, 0], unbent[:, 1], 9).T
    np.testing.assert_allclose(back, own, atol=1e-8)


def test_the_warp_never_folds():
    rng = np.random.default_rng(0)
    for _ in range(5):
        sprite = Sprite(rng, (240, 320), WILD, hue=0.3, order=0, count=1, points=3)
        x, y = np.meshgrid(np.linspace(-1.7, 1.7, 80), np.linspace(-1.7, 1.7, 80))
        step = x[0, 1] - x[0, 0]
        dx, dy = sprite._warp(x, y, 12.0)
        slopes = np.stack([np.stack(np.gradient(part, step)) for part in (dx, dy)])
        assert np.linalg.norm(slopes, axis=(0, 1)).max() < 0.85


def test_visible_points_lie_on_their_object(wild):
    hidden = 0
    for index in range(0, 40, 5):
        (xy, seen), ids = wild.points(index), wild.masks(index)
        for (x, y), owner, visible in zip(xy, wild.owners, seen, strict=True):
            inside = 0 <= round(x) < 163 and 0 <= round(y) < 121
            assert visible == (inside and ids[round(y), round(x)] == owner)
            hidden += not visible
    assert hidden > 5


def test_what_stands_in_front_hides_objects(wild):
    hidden = 0
    for index in range(0, 40, 5):
        front = wild._scene.front_cover(index) >= 0.5
        behind = [sprite.cover((121, 163), wild._scene.camera(index), index).alpha >= 0.5 for sprite in wild._sprites]
        assert not wild.masks(index)[front].any()
        assert (wild.masks(index)[~front & np.any(behind, axis=0)] > 0).all()
        hidden += (front & np.any(behind, axis=0)).sum()
    assert hidden > 500


def test_visible_share():
    alone = SyntheticVideo(seed=3, num_frames=10, objects=1, difficulty=CALM)
    assert alone.visible(4)[0] > 0.97
    crowded = SyntheticVideo(seed=3, num_frames=60, objects=2, difficulty=Difficulty(occlusion=1))
    shares = np.array([crowded.visible(i) for i in range(0, 60, 4)])
    assert shares.min() < 0.8
    assert ((shares >= 0) & (shares <= 1)).all()


def test_an_object_outside_the_picture_has_no_mask():
    sprite = Sprite(np.random.default_rng(0), (64, 64), CALM, hue=0.1, order=0, count=1, points=1)
    away = affine(0, 1, (500, 0))
    cover = sprite.cover((64, 64), away, 0)
    assert not cover.alpha.any()
    picture = np.full((64, 64, 3), 0.5, np.float32)
    sprite.paint(picture, cover)
    assert (picture == 0.5).all()


@pytest.mark.parametrize("seed", range(4))
def test_without_occlusion_everything_stays_in_view(seed):
    video = SyntheticVideo(seed=seed, num_frames=60, objects=2, difficulty=Difficulty(occlusion=0, camera=0))
    assert min(video.visible(i).min() for i in range(0, 60, 6)) > 0.9


def test_objects_move_far_enough_for_standing_still_to_fail(video):
    first, later = video.masks(0), video.masks(25)
    overlap = [((first == k) & (later == k)).sum() / ((first == k) | (later == k)).sum() for k in (1, 2)]
    assert np.mean(overlap) < 0.6
    steps = np.array([video.points(i)[0] for i in range(40)])
    assert np.linalg.norm(np.diff(steps, axis=0), axis=2).max() < 24


@pytest.mark.parametrize("knob", ["deformation", "occlusion", "lighting", "camera", "noise"])
def test_each_knob_changes_only_its_own_thing(knob):
    rest = {name: 0.0 for name in ("deformation", "occlusion", "lighting", "camera", "noise")}
    small = {"num_frames": 12, "height": 96, "width": 128}
    base = SyntheticVideo(seed=8, difficulty=Difficulty(**rest), **small)
    changed = SyntheticVideo(seed=8, difficulty=Difficulty(**{**rest, knob: 1.0}), **small)
    assert (base.frame(11) != changed.frame(11)).mean() > 0.03
    same_masks = (base.masks(11) == changed.masks(11)).all()
    assert same_masks == (knob in ("lighting", "noise"))


def test_noise_has_the_promised_strength():
    small = {"seed": 8, "num_frames": 2, "height": 96, "width": 128}
    loud = SyntheticVideo(difficulty=Difficulty(deformation=0, occlusion=0, lighting=0, camera=0, noise=1), **small).frame(1)
    clean = SyntheticVideo(difficulty=CALM, **small).frame(1)
    middle = (clean > 50) & (clean < 200)
    assert (loud.astype(float) - clean)[middle].std() == pytest.approx(10, rel=0.1)


def test_textures_look_like_photographs():
    """Contrast, colour, edges at several sizes, and a spectrum that falls about as 1 / f^2."""
    picture = dead_leaves(np.random.default_rng(0), (256, 256), hues=(0.1, 0.3))
    assert picture.std() > 0.1
    assert np.abs(picture - picture.mean(2, keepdims=True)).mean() > 0.02
    power = np.abs(np.fft.fft2(picture.mean(2) - picture.mean())) ** 2
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(256) * 256, np.fft.fftfreq(256) * 256))
    rings = [power[(radius >= r) & (radius < 1.4 * r)].mean() for r in (4, 8, 16, 32, 64)]
    slope = np.polyfit(np.log([4, 8, 16, 32, 64]), np.log(rings), 1)[0]
    assert -3.5 < slope < -1.5


def test_spectral_noise_has_the_spectrum_it_promises():
    field = spectral_noise(np.random.default_rng(0), (128, 128), falloff=1.0)
    assert field.mean() == pytest.approx(0, abs=1e-4)
    assert field.std() == pytest.approx(1, abs=1e-4)
    power = np.abs(np.fft.fft2(field))[0]
    assert power[2] / power[16] == pytest.approx(8, rel=0.01)


def test_coat_has_patches():
    picture = coat(np.random.default_rng(1), (160, 160), hue=0.6)
    assert picture.shape == (160, 160, 3)
    assert picture.std() > 0.08


def test_waves_are_smooth_and_bounded():
    wave = Wave(np.random.default_rng(0), period=(30, 40))
    values = np.array([wave(t) for t in range(200)])
    assert np.abs(values).max() <= 1
    assert np.abs(np.diff(values)).max() < 0.35


def test_the_camera_stands_still_at_zero():
    scene = Scene(np.random.default_rng(0), (64, 80), CALM)
    np.testing.assert_allclose(scene.camera(13.0), np.eye(3), atol=1e-12)
    assert not scene.front_cover(3.0).any()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: Difficulty(noise=1.5), "noise 1.5"),
        (lambda: SyntheticVideo(height=20), "320x20"),
        (lambda: SyntheticVideo(objects=0), "objects 0"),
        (lambda: SyntheticVideo(objects=256), "objects 256"),
        (lambda: SyntheticVideo(num_frames=0), "num_frames 0"),
        (lambda: SyntheticVideo(num_frames=2, height=40, width=40).frame(2), r"frames 0\.\.1"),
        (lambda: SyntheticVideo(num_frames=2, height=40, width=40).masks(-1), "frame -1"),
    ],
)
def test_errors_say_what_to_do(call, says):
    with pytest.raises(SettingError, match=says):
        call()
