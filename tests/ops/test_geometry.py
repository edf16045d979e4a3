"""Affine maps against numpy written from the formulas, and crops that go back to where they were cut."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

from followspot.errors import SettingError
from followspot.ops.geometry import (
    compose,
    invert,
    lattice,
    lattice_distance,
    on_cells,
    outline,
    similarity_theta,
    transform_points,
    warp,
)

IDENTITY = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])


def pose_theta(x, y, degrees, *, scale=1 / 3):
    return similarity_theta(torch.tensor([[x, y, math.radians(degrees)]], dtype=torch.float64), scale=scale)


def square(theta):
    return np.vstack([theta.numpy(), [0, 0, 1]])


def slow_warp(image, theta, size, *, border):
    """Bilinear sampling of an (H, W) array, one pixel at a time; -1 and +1 are centres of the outer pixels."""
    height, width = image.shape
    result = np.zeros(size)
    for row in range(size[0]):
        for column in range(size[1]):
            u = 2 * column / (size[1] - 1) - 1
            v = 2 * row / (size[0] - 1) - 1
            x = (theta[0, 0] * u + theta[0, 1] * v + theta[0, 2] + 1) / 2 * (width - 1)
            y = (theta[1, 0] * u + theta[1, 1] * v + theta[1, 2] + 1) / 2 * (height - 1)
            if border:
                x, y = min(max(x, 0), width - 1), min(max(y, 0), height - 1)
            for at_y in (math.floor(y), math.floor(y) + 1):
                for at_x in (math.floor(x), math.floor(x) + 1):
                    if 0 <= at_y < height and 0 <= at_x < width:
                        result[row, column] += image[at_y, at_x] * (1 - abs(x - at_x)) * (1 - abs(y - at_y))
    return result


poses = st.tuples(st.floats(-0.6, 0.6), st.floats(-0.6, 0.6), st.floats(-180, 180))


def test_f056_identity_returns_the_input():
    images = torch.rand(2, 3, 13, 9)
    torch.testing.assert_close(warp(images, IDENTITY.expand(2, 2, 3), (13, 9)), images, atol=1e-6, rtol=0)


@pytest.mark.parametrize("padding", ["zeros", "border"])
@settings(deadline=None, max_examples=15)
@given(poses, st.floats(0.1, 1.5))
def test_warp_is_bilinear_sampling_between_pixel_centres(padding, pose, scale):
    image = np.random.default_rng(3).random((11, 14))
    theta = pose_theta(*pose, scale=scale)
    warped = warp(torch.from_numpy(image)[None, None], theta, (6, 5), padding=padding)
    np.testing.assert_allclose(warped[0, 0], slow_warp(image, theta[0].numpy(), (6, 5), border=padding == "border"), atol=1e-9)


@settings(deadline=None, max_examples=25)
@given(poses, poses)
def test_composing_is_the_matrix_product_and_inverting_undoes_it(first, second):
    outer, inner = pose_theta(*first), pose_theta(*second, scale=0.8)
    np.testing.assert_allclose(square(compose(outer, inner)[0]), square(outer[0]) @ square(inner[0]), atol=1e-12)
    np.testing.assert_allclose(square(invert(outer)[0]), np.linalg.inv(square(outer[0])), atol=1e-9)
    for there_and_back in (compose(outer, invert(outer)), compose(invert(outer), outer)):
        torch.testing.assert_close(there_and_back, IDENTITY.double(), atol=1e-12, rtol=0)


def test_a_crop_of_a_crop_is_the_crop_of_the_composed_map():
    ramp = lattice((61, 61), torch.zeros(1, dtype=torch.float64)) @ torch.tensor([0.3, -0.7], dtype=torch.float64)
    images = ramp.view(1, 1, 61, 61)
    outer, inner = pose_theta(0.1, -0.2, 20, scale=0.5), pose_theta(-0.2, 0.1, -65, scale=0.4)
    twice = warp(warp(images, outer, (41, 41)), inner, (21, 21))
    torch.testing.assert_close(twice, warp(images, compose(outer, inner), (21, 21)), atol=1e-9, rtol=0)


@settings(deadline=None, max_examples=20)
@given(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5), st.floats(-45, 45))
def test_f018_sampling_with_the_returned_theta_reproduces_the_patch(x, y, degrees):
    def scene(points):
        return 0.5 + 0.25 * (2.0 * points[..., 0]).sin() * (1.5 * points[..., 1] + 0.3).cos()

    like = torch.zeros(1, dtype=torch.float64)
    image = scene(lattice((240, 240), like)).view(1, 1, 240, 240)
    theta = pose_theta(x, y, degrees)
    patch = warp(image, theta, (80, 80))
    expected = scene(transform_points(theta, lattice((80, 80), like))).view(80, 80)
    assert (patch[0, 0] - expected).abs().max() < 1e-3


def test_a_quarter_turn_on_whole_pixels_goes_there_and_back_without_loss():
    image = torch.rand(1, 3, 9, 9, dtype=torch.float64)
    theta = pose_theta(0.25, -0.5, 90, scale=0.5)
    patch = warp(image, theta, (5, 5))
    torch.testing.assert_close(patch, image[..., 0:5, 3:8].rot90(1, (2, 3)), atol=1e-12, rtol=0)
    back = warp(patch, invert(theta), (9, 9))
    torch.testing.assert_close(back[..., 0:5, 3:8], image[..., 0:5, 3:8], atol=1e-12, rtol=0)
    assert back.abs().sum() == pytest.approx(float(patch.abs().sum()))


def test_on_cells_looks_up_the_pixels_that_a_cell_averages():
    stride, source, crop = 8, 120, 40
    theta = pose_theta(0.23, -0.31, 33)
    cells = on_cells(theta, source=source, crop=crop, stride=stride)
    middle = (stride - 1) / 2
    for row in range(crop // stride):
        for column in range(crop // stride):
            in_crop = torch.tensor([stride * column + middle, stride * row + middle], dtype=torch.float64) / (crop - 1) * 2 - 1
            pixel = (transform_points(theta, in_crop[None])[0, 0] + 1) / 2 * (source - 1)
            on_grid = torch.tensor([column, row], dtype=torch.float64) / (crop // stride - 1) * 2 - 1
            cell = (transform_points(cells, on_grid[None])[0, 0] + 1) / 2 * (source // stride - 1)
            torch.testing.assert_close(stride * cell + middle, pixel, atol=1e-9, rtol=0)


def test_f067_the_distance_is_zero_for_equal_maps_and_grows_with_the_angle():
    theta = pose_theta(0.1, 0.2, 30)
    assert lattice_distance(theta, theta).item() == 0
    apart = [lattice_distance(theta, pose_theta(0.1, 0.2, 30 + turn)).item() for turn in (5, 20, 60, 120, 180)]
    assert apart == sorted(apart)
    assert apart[0] > 0


@settings(deadline=None, max_examples=15)
@given(poses, poses)
def test_f067_the_distance_is_the_mean_over_20_by_20_points(first, second):
    a, b = pose_theta(*first), pose_theta(*second)
    total = 0.0
    for v in np.linspace(-1, 1, 20):
        for u in np.linspace(-1, 1, 20):
            total += float((((a[0] - b[0]).numpy() @ (u, v, 1)) ** 2).sum())
    assert lattice_distance(a, b).item() == pytest.approx(total / 400, abs=1e-12)


def test_the_outline_is_a_closed_line_of_the_asked_width():
    lines = outline(torch.cat([pose_theta(0.2, -0.1, 0), pose_theta(0.0, 0.0, 45)]), (121, 121), width=2.2)
    assert lines.shape == (2, 121, 121)
    # x of the first crop's sides: (0.2 -+ 1/3 + 1) * 60 = 52 and 92; its middle row is 54.
    assert lines[0, 54].nonzero().squeeze(1).tolist() == [51, 52, 53, 91, 92, 93]
    assert not lines[1, 60, 60]
    assert lines[1, 60].sum() == pytest.approx(2 * 2 * math.sqrt(2), abs=2)


def test_warping_half_precision_keeps_places_in_full():
    image = lattice((240, 240), torch.zeros(1))[:, 0].view(1, 1, 240, 240)
    theta = pose_theta(0.613, 0, 0, scale=0.05).float()
    half = warp(image.bfloat16(), theta, (5, 5))
    assert half.dtype == torch.bfloat16
    assert (half.float() - warp(image, theta, (5, 5))).abs().max() < 4e-3


def test_points_keep_their_precision_under_autocast():
    theta, points = pose_theta(0.613, 0.2, 17).float(), torch.rand(7, 2)
    with torch.autocast("cpu", torch.bfloat16):
        under = transform_points(compose(theta, invert(theta)), points)
    torch.testing.assert_close(under[0], points, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: similarity_theta(torch.zeros(3), scale=0), "scale 0 must be above 0"),
        (lambda: similarity_theta(torch.zeros(2), scale=1), r"\(shift x, shift y, angle\), got shape \(2,\)"),
        (lambda: invert(torch.zeros(1, 2, 3)), "determinant of 0 has no inverse"),
        (lambda: invert(torch.eye(3)), r"must be floats \(..., 2, 3\), got torch.float32 \(3, 3\)"),
        (lambda: warp(torch.zeros(2, 3, 4, 4), IDENTITY, (2, 2)), "convert and batch them alike"),
        (lambda: warp(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), IDENTITY, (2, 2)), "got torch.uint8"),
        (lambda: lattice((0, 3), torch.zeros(1)), "0x3 has no pixels"),
        (lambda: on_cells(IDENTITY, source=241, crop=80, stride=8), "a side of 241 pixels"),
        (lambda: on_cells(IDENTITY, source=240, crop=8, stride=8), "at least two cells"),
    ],
)
def test_unusable_input_is_named(call, says):
    with pytest.raises(SettingError, match=says):
        call()


def test_a_grid_of_one_pixel_is_its_middle():
    assert lattice((1, 2), torch.zeros(1)).tolist() == [[-1, 0], [1, 0]]
