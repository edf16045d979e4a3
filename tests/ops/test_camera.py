"""The camera's motion is taken off; what moves by itself is left."""

import cv2
import numpy as np
import pytest

from followspot.datasets.textures import dead_leaves
from followspot.errors import SettingError
from followspot.ops.camera import camera_motion, own_motion


def flow_of(plane, height, width):
    """Written out pixel by pixel."""
    flow = np.zeros((2, height, width), np.float32)
    for row in range(height):
        for column in range(width):
            x, y, depth = plane @ (column, row, 1)
            flow[:, row, column] = x / depth - column, y / depth - row
    return flow


@pytest.fixture(scope="module")
def scene():
    """A texture, and where a square of it lies."""
    rng = np.random.default_rng(0)
    image = (255 * dead_leaves(rng, (160, 200), hues=(0.1, 0.4, 0.7), leaves=400)).clip(0, 255).astype(np.uint8)
    return image, (slice(60, 100), slice(80, 120))


@pytest.mark.parametrize(
    "plane",
    [
        np.array([[1.02, 0.01, -3], [-0.02, 0.99, 2], [1e-4, -5e-5, 1]]),
        np.array([[1.0, 0, 5], [0, 1.0, -4], [0, 0, 1]]),
    ],
    ids=["perspective", "shift"],
)
def test_the_camera_is_what_most_of_the_picture_does(plane):
    flow = flow_of(plane, 96, 128)
    flow[:, 30:60, 20:60] += np.float32([[[6]], [[-2]]])
    left = flow - camera_motion(flow)
    inside = np.zeros((96, 128), bool)
    inside[30:60, 20:60] = True
    assert np.abs(left[:, ~inside]).max() < 0.1
    assert np.abs(left[:, inside] - [[6], [-2]]).max() < 0.1


def test_a_picture_too_small_to_vote_has_the_median():
    flow = np.full((2, 6, 6), 2.0, np.float32)
    assert (camera_motion(flow) == 2).all()


def moved(image, area, *, by, camera):
    """The square moved on a picture that the camera moved."""
    picture = np.roll(image, camera, (1, 0))
    rows, columns = (slice(part.start + step, part.stop + step) for part, step in zip(area, by[::-1], strict=True))
    picture = picture.copy()
    picture[rows, columns] = image[area][::-1]
    return picture


def test_a_square_moves_by_itself_though_the_camera_moves(scene):
    image, area = scene
    before, now, after = (moved(image, area, by=(4 * t, 2 * t), camera=(-3 * t, 0)) for t in (-1, 0, 1))
    motion = own_motion(before, now, after)
    inner = motion[:, 68:92, 88:112]
    assert np.median(inner[0]) == pytest.approx(7, abs=0.5)
    assert np.median(inner[1]) == pytest.approx(2, abs=0.5)
    speed = np.hypot(*motion)
    away = np.ones(speed.shape, bool)
    away[45:115, 60:140] = away[:, :12] = away[:, -12:] = False
    assert np.quantile(speed[away], 0.95) < 0.5


def test_what_is_hidden_on_one_side_is_judged_by_the_other(scene):
    """Behind the square the flow ahead is wrong, before it that back; the smaller of both is right."""
    image, area = scene
    before, now, after = (moved(image, area, by=(8 * t, 0), camera=(0, 0)) for t in (-1, 0, 1))
    calls = []

    def said(first, second):
        calls.append(second is after)
        flow = np.zeros((2, 160, 200), np.float32)
        flow[0, 60:100, 80:120] = 8 if second is after else -8
        flow[0, 60:100, 120:128] = 8 if second is after else 0
        return flow

    motion = own_motion(before, now, after, method=said)
    assert calls == [True, False]
    assert motion[0, 60:100, 80:120] == pytest.approx(8, abs=0.01)
    assert np.abs(motion[0, 60:100, 120:128]).max() < 0.01


def test_pictures_must_fit(scene):
    with pytest.raises(SettingError, match="one size"):
        own_motion(scene[0], scene[0], scene[0][:50])


def test_it_does_not_depend_on_the_state_of_opencv(scene):
    image, area = scene
    shown = [moved(image, area, by=(4 * t, 0), camera=(2 * t, 0)) for t in (-1, 0, 1)]
    cv2.setRNGSeed(3)
    first = own_motion(*shown)
    cv2.setRNGSeed(77)
    assert (own_motion(*shown) == first).all()
