"""Points and joints on something that moves are found within a cell (F101)."""

from dataclasses import replace

import numpy as np
import pytest

from followspot.io.source import ArrayVideo
from followspot.tracking.presets import Resolution, find_preset
from followspot.tracking.propagation import PropagationTracker
from followspot.types import Keypoints, Points

FRAMES, H, W, SIDE = 8, 96, 128, 40


def corner(index):
    return np.array([10 + 6 * index, 12 + 4 * index])


@pytest.fixture(scope="module")
def video():
    """A textured square on a textured ground; it moves 6 pixels right and 4 down a frame."""
    rng = np.random.default_rng(5)
    ground = np.kron(rng.integers(60, 120, (H // 4, W // 4, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    square = np.kron(rng.integers(0, 255, (SIDE // 4, SIDE // 4, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    frames = np.repeat(ground[None], FRAMES, axis=0)
    for index in range(FRAMES):
        x, y = corner(index)
        frames[index, y : y + SIDE, x : x + SIDE] = square
    return ArrayVideo(frames)


SPOTS = np.array([[12.0, 12], [28, 14], [20, 28]])


@pytest.mark.parametrize("preset", ["default", "crw"])
def test_f101_joints_and_points_stay_within_a_cell(video, preset):
    tracker = PropagationTracker("descriptor", replace(find_preset(preset), resolution=Resolution(mode="native")), confidence=False)
    xy = SPOTS + corner(0)
    given = [Keypoints(xy=xy, joints=("a", "b", "c")), Points(xy=xy[:1], names=("dot",))]
    for answer in tracker.stream(video, {0: given}):
        joints, dot = answer.objects
        for point, spot in zip((*joints.points, *dot.points), (*SPOTS, SPOTS[0]), strict=True):
            apart = np.hypot(*(np.array([point.x, point.y]) - spot - corner(answer.index)))
            assert apart <= tracker.encoder.stride, (answer.index, point)
