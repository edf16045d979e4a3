"""The patch to follow is where something moves."""

import math

import numpy as np
import pytest
import torch

from followspot.errors import SettingError
from followspot.ops.geometry import similarity_theta, transform_points
from followspot.ops.motion_patches import DRAWS, choose_windows, draw_patches, motion_strength, place_patches


def moving_square(rows, *, side=90, size=14, step=6, noise=0.01):
    """Two frames each of a bright square on a noisy ground, and the square's middle in the first, as (x, y) in pixels."""
    rng = np.random.default_rng(0)
    pair = rng.normal(0.3, noise, (2, rows, 3, side, side)).astype(np.float32)
    corners = rng.integers(0, side - size - step, (rows, 2))
    for row, (x, y) in enumerate(corners):
        for frame in (0, 1):
            at = x + frame * step
            pair[frame, row, :, y : y + size, at : at + size] = 0.9
    return torch.from_numpy(pair[0]), torch.from_numpy(pair[1]), torch.from_numpy(corners + (size - 1) / 2)


@pytest.mark.parametrize("flip", [False, True])
def test_f017_the_chosen_window_covers_a_moving_square_also_when_flipped(flip):
    side, size = 90, 14
    first, second, middle = moving_square(400, side=side, size=size)
    if flip:
        first, second = first.flip(-1), second.flip(-1)
        middle = torch.stack([side - 1 - middle[:, 0], middle[:, 1]], 1)
    window = choose_windows(motion_strength(first, second), torch.rand(400))
    corner = window.flip(1) * (side / 9)
    reach = (size - 1) / 2
    covered = ((middle + reach >= corner) & (middle - reach <= corner + side / 3)).all(1)
    assert covered.float().mean() >= 0.95


@pytest.mark.parametrize("flip", [False, True])
def test_f017_the_patch_itself_shows_the_moving_square(flip):
    side = 90
    first, second, middle = moving_square(400, side=side)
    if flip:
        first, second = first.flip(-1), second.flip(-1)
        middle = torch.stack([side - 1 - middle[:, 0], middle[:, 1]], 1)
    theta = similarity_theta(draw_patches(first, second, torch.rand(400, DRAWS)), scale=1 / 3)
    points = torch.stack([(middle + torch.tensor(shift)) / (side - 1) * 2 - 1 for shift in ((0, 0), (6, 6), (6, -6), (-6, 6), (-6, -6))], 1)
    theta = theta.double()
    apart = points - theta[:, None, :, 2]
    inside = torch.einsum("bki,bij->bkj", apart, theta[:, :, :2] * 9).abs().amax(-1) <= 1.0
    assert inside.any(1).float().mean() >= 0.95


def test_strength_is_the_mean_change_of_each_of_7x7_windows_of_a_third():
    first, second = torch.rand(2, 3, 45, 45), torch.rand(2, 3, 45, 45)
    change = (first - second).abs().mean(1)
    expected = torch.stack([change[:, 5 * r : 5 * r + 15, 5 * c : 5 * c + 15].mean((1, 2)) for r in range(7) for c in range(7)], 1)
    torch.testing.assert_close(motion_strength(first, second).flatten(1), expected)


def test_the_ten_strongest_are_chosen_alike():
    strength = (1 + torch.randperm(49).float() / 49).view(1, 7, 7)
    draws = (torch.arange(1000) + 0.5) / 1000
    window = choose_windows(strength.expand(1000, 7, 7), draws)
    chosen, counts = (7 * window[:, 0] + window[:, 1]).unique(return_counts=True)
    assert set(chosen.tolist()) == set(strength.flatten().topk(10).indices.tolist())
    assert set(counts.tolist()) == {100}


def test_windows_with_little_of_the_motion_are_left_out():
    strength = torch.full((1, 7, 7), 0.1)
    strength[0, 2, 5], strength[0, 3, 5] = 1.0, 0.6
    window = choose_windows(strength.expand(64, 7, 7), torch.rand(64))
    assert {tuple(place) for place in window.tolist()} == {(2, 5), (3, 5)}


def test_a_still_clip_gives_any_window():
    still = torch.full((4900, 3, 18, 18), 0.5)
    window = choose_windows(motion_strength(still, still), (torch.arange(4900) + 0.5) / 4900)
    assert len(window.unique(dim=0)) == 49


def test_f018_a_patch_is_jittered_by_a_twelfth_and_turned_by_45_degrees():
    window = torch.tensor([[3, 2]]).expand(4000, 2)
    pose = place_patches(window, torch.rand(4000, 3))
    corner = (pose[:, :2] / (2 / 3) + 1) / 2
    for axis, middle in ((0, 2 / 6), (1, 3 / 6)):
        assert corner[:, axis].min() == pytest.approx(middle - 1 / 12, abs=2e-3)
        assert corner[:, axis].max() == pytest.approx(middle + 1 / 12, abs=2e-3)
    assert pose[:, 2].abs().max() <= math.pi / 4
    assert pose[:, 2].abs().max() > 0.78
    assert abs(pose[:, 2].mean()) < 0.03


def test_no_corner_of_a_patch_lies_outside_the_frame():
    windows = torch.randint(0, 7, (3000, 2))
    theta = similarity_theta(place_patches(windows, torch.rand(3000, 3), max_angle=180), scale=1 / 3)
    corners = transform_points(theta, torch.tensor([[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]]))
    assert corners.abs().max() <= 1 + 1e-6


def test_an_unturned_patch_reaches_the_very_corner_of_the_frame():
    pose = place_patches(torch.tensor([[0, 6]]), torch.full((1, 3), 0.5), max_angle=0)
    torch.testing.assert_close(pose, torch.tensor([[2 / 3, -2 / 3, 0]]))


def test_f017_on_real_footage_the_patch_shows_more_motion_than_the_frame(shared_data):
    cv2 = pytest.importorskip("cv2")
    folder = shared_data / "davis" / "JPEGImages" / "480p" / "bmx-bumps"
    if not folder.is_dir():
        folder = sorted((shared_data / "davis" / "JPEGImages" / "480p").iterdir())[0]
    files = sorted(folder.glob("*.jpg"))[:2]
    first, second = (torch.from_numpy(cv2.resize(cv2.imread(str(file)), (240, 240))).permute(2, 0, 1)[None].float() / 255 for file in files)
    strength = motion_strength(first, second)
    window = choose_windows(strength.expand(50, 7, 7), torch.rand(50))
    assert strength[0, window[:, 0], window[:, 1]].mean() > 1.3 * strength.mean()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: motion_strength(torch.zeros(1, 3, 8, 9), torch.zeros(1, 3, 8, 9)), "at least 9 pixels a side"),
        (lambda: motion_strength(torch.zeros(1, 3, 9, 9), torch.zeros(2, 3, 9, 9)), "two equal batches"),
        (lambda: place_patches(torch.zeros(1, 2), torch.zeros(1, 3), max_angle=181), r"max_angle 181 must be in 0\.\.180"),
    ],
)
def test_unusable_input_is_named(call, says):
    with pytest.raises(SettingError, match=says):
        call()
