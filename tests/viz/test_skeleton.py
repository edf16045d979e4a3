"""Skeletons: limbs between joints that are there."""

import numpy as np
import pytest

from followspot.datasets.jhmdb import JOINTS, LIMBS
from followspot.errors import AnnotationError
from followspot.types import TrackedPoint
from followspot.viz.skeleton import draw_dot, draw_skeleton, to_fixed

RED = (255, 0, 0)


def joints(*places):
    return [TrackedPoint(name=str(k), x=x, y=y, confidence=None, lost=lost) for k, (x, y, lost) in enumerate(places)]


def canvas():
    return np.zeros((60, 80, 3), np.uint8)


def test_f162_jhmdb_is_a_tree_of_15_joints_and_14_limbs():
    assert len(JOINTS) == len(set(JOINTS)) == 15
    assert len(LIMBS) == 14
    group = {0}
    for _ in range(14):
        group |= {end for limb in LIMBS if group & set(limb) for end in limb}
    assert group == set(range(15))


def test_limbs_run_between_their_joints():
    image = canvas()
    draw_skeleton(image, joints((10, 30, False), (60, 30, False), (60, 10, False)), ((0, 1),), colour=RED, thickness=2)
    assert image[30, 35, 0] > 200
    assert not image[20, 60].any()
    assert image[10, 60, 0] > 100


@pytest.mark.parametrize("gone", [(60, 30, True), (np.nan, np.nan, False)])
def test_f162_lost_joints_and_their_limbs_are_left_out(gone):
    image = canvas()
    draw_skeleton(image, joints((10, 30, False), gone, (10, 50, False)), ((0, 1), (0, 2)), colour=RED, thickness=2)
    assert not image[:, 30:].any()
    assert image[40, 10, 0] > 200


def test_dots_are_placed_between_pixels():
    image = canvas()
    draw_dot(image, 20.5, 10.0, colour=RED, radius=3)
    reds = image[..., 0].astype(float)
    columns = (reds * np.arange(80)).sum() / reds.sum()
    assert columns == pytest.approx(20.5, abs=0.15)


def test_places_far_away_do_not_overflow():
    assert to_fixed(1e9, -1e9) == (32_000 * 16, -32_000 * 16)
    draw_dot(canvas(), 1e9, 5, colour=RED, radius=3)


def test_a_skeleton_that_does_not_fit_is_refused():
    with pytest.raises(AnnotationError, match=r"limb \(0, 5\).*0\.\.1"):
        draw_skeleton(canvas(), joints((1, 1, False), (2, 2, False)), ((0, 5),), colour=RED, thickness=1)
