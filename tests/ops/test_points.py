"""Points <-> soft maps: the sub-cell position survives, also at borders and after blur."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from followspot.errors import AnnotationError, SettingError
from followspot.ops.points import decode_points, encode_points

SIZE, GRID = (97, 131), (25, 33)


def anywhere(count=300, *, seed=0, size=SIZE):
    rng = np.random.default_rng(seed)
    return np.stack([rng.uniform(-0.5, size[1] - 0.5, count), rng.uniform(-0.5, size[0] - 0.5, count)], 1)


def cell_error(found, truth, size=SIZE, grid=GRID):
    return np.linalg.norm((found - truth) * (grid[1] / size[1], grid[0] / size[0]), axis=1)


@pytest.mark.parametrize(("size", "grid"), [(SIZE, GRID), ((480, 854), (60, 107)), ((20, 30), (3, 4)), ((20, 20), (40, 40))])
@pytest.mark.parametrize("sigma", [0.4, 0.5, 1.0])
def test_points_come_back_exactly(size, grid, sigma):
    xy = anywhere(size=size)
    found, peak = decode_points(encode_points(xy, size, grid, sigma=sigma), size)
    assert cell_error(found, xy, size, grid).max() <= 0.02
    np.testing.assert_allclose(peak, 1, atol=1e-6)


@settings(deadline=None, max_examples=20)
@given(x=st.sampled_from([-0.5, 0.0, 64.0, 130.0, 130.5]), y=st.sampled_from([-0.5, 0.0, 48.0, 96.0, 96.5]))
def test_borders_and_corners_are_exact_too(x, y):
    xy = np.array([[x, y]])
    assert cell_error(decode_points(encode_points(xy, SIZE, GRID), SIZE)[0], xy).max() <= 0.02


def test_one_pixel_marker_survives_any_stride_within_a_pixel():
    xy = np.round(anywhere(100))
    for stride in (2, 4, 8):
        grid = (-(-SIZE[0] // stride), -(-SIZE[1] // stride))
        assert np.abs(decode_points(encode_points(xy, SIZE, grid), SIZE)[0] - xy).max() <= 1


def test_map_is_the_formula():
    found = encode_points(np.array([[10.0, 7.0]]), (16, 24), (4, 6), sigma=0.8)[0].numpy()
    x, y = 10.5 / 4, 7.5 / 4
    rows, columns = np.mgrid[:4, :6] + 0.5
    expected = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 0.8**2))
    np.testing.assert_allclose(found, expected / expected.max(), rtol=1e-4, atol=1e-7)


def test_fit_beats_the_published_readout_on_blurred_noisy_maps():
    generator = torch.Generator().manual_seed(0)
    xy = 12 + anywhere(200) * 0.8
    maps = encode_points(xy, SIZE, GRID)
    blurred = torch.from_numpy(np.stack([cv2.GaussianBlur(m, (0, 0), 1.0) for m in maps.numpy()]))
    noisy = blurred * (1 + 0.15 * torch.randn(blurred.shape, generator=generator)).clamp(min=0)
    ours, published = (cell_error(decode_points(noisy, SIZE, readout=r)[0], xy) for r in ("fit", "top_k"))
    assert np.median(ours) < 0.1 < 0.6 * np.median(published) + 0.05
    assert np.median(ours) < 0.7 * np.median(published)


def test_a_broken_map_peaks_where_most_of_it_lies():
    """A spike from one wrong match does not take the point away from a wide hump."""
    hump = encode_points(np.array([[40.0, 50.0]]), SIZE, GRID, sigma=1.5) * 0.5
    spike = encode_points(np.array([[110.0, 20.0]]), SIZE, GRID, sigma=0.3)
    found, peak = decode_points(hump + spike, SIZE)
    assert cell_error(found, np.array([[40.0, 50.0]])) < 0.1
    np.testing.assert_allclose(peak, 1, atol=1e-3)


def test_a_ring_is_read_at_its_centre():
    rows, columns = np.mgrid[:25, :33]
    distance = np.hypot(rows - 12, columns - 16)
    ring = torch.from_numpy(((distance > 2.9) & (distance < 3.3)).astype(np.float32))[None]
    found, _ = decode_points(ring * 1e-20, (25, 33))
    np.testing.assert_allclose(found, [[16, 12]], atol=2)


@pytest.mark.parametrize("top_k", [1, 3, 5, 10_000])
def test_top_k_is_the_published_mean(top_k):
    maps = torch.rand(4, 6, 9, generator=torch.Generator().manual_seed(1))
    found, _ = decode_points(maps, (48, 72), readout="top_k", top_k=top_k)
    for values, xy in zip(maps.numpy(), found, strict=True):
        ranked = sorted(((v, r, c) for (r, c), v in np.ndenumerate(values)), reverse=True)[:top_k]
        weight = sum(v for v, _, _ in ranked)
        x = sum(v * (c + 0.5) for v, _, c in ranked) / weight * 8 - 0.5
        y = sum(v * (r + 0.5) for v, r, _ in ranked) / weight * 8 - 0.5
        np.testing.assert_allclose(xy, (x, y), atol=1e-5)


def test_unknown_and_vanished_points():
    maps = encode_points(np.array([[np.nan, np.nan], [3.0, np.nan], [5.0, 5.0]]), SIZE, GRID)
    assert not maps[:2].any()
    for readout in ("fit", "top_k"):
        xy, peak = decode_points(maps, SIZE, readout=readout)
        assert np.isnan(xy[:2]).all()
        assert np.isfinite(xy[2]).all()
        assert peak.tolist() == [0, 0, 1]


def test_points_outside_fade_instead_of_sticking_to_the_border():
    maps = encode_points(np.array([[-7.0, 50.0], [-500.0, 50.0]]), SIZE, GRID)
    assert 0 < maps[0].max() < 0.2
    assert maps[1].max() == 0


@pytest.mark.parametrize("grid", [(1, 1), (1, 8), (2, 2)])
def test_tiny_grids_stay_finite_and_inside(grid):
    found, _ = decode_points(encode_points(np.array([[4.0, 2.0]]), (8, 16), grid), (8, 16))
    assert np.isfinite(found).all()
    assert (found >= -0.5).all()
    assert (found <= (15.5, 7.5)).all()


def test_flat_and_single_cell_maps_fall_back_to_the_mean():
    flat = torch.ones(1, 5, 5)
    np.testing.assert_allclose(decode_points(flat, (50, 50))[0], [[24.5, 24.5]])
    single = torch.zeros(1, 9, 9)
    single[0, 3, 6] = 0.2
    found, peak = decode_points(single, (9, 9))
    np.testing.assert_allclose(found, [[6, 3]], atol=1e-6)
    np.testing.assert_allclose(peak, [0.2])


def test_no_points():
    xy, peak = decode_points(encode_points(np.zeros((0, 2)), SIZE, GRID), SIZE)
    assert xy.shape == (0, 2)
    assert peak.shape == (0,)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: encode_points(np.zeros((2, 3)), SIZE, GRID), AnnotationError, r"\(2, 3\)"),
        (lambda: encode_points(np.zeros((2, 2)), SIZE, GRID, sigma=0), SettingError, "sigma 0"),
        (lambda: encode_points(np.zeros((2, 2)), SIZE, (0, 3)), SettingError, "grid"),
        (lambda: decode_points(torch.zeros(3, 3), SIZE), AnnotationError, "channel axis"),
        (lambda: decode_points(torch.zeros(1, 3, 3), SIZE, readout="mean"), SettingError, "readout 'mean'"),
        (lambda: decode_points(torch.zeros(1, 3, 3), SIZE, top_k=0), SettingError, "top_k 0"),
    ],
)
def test_errors_say_what_to_do(call, error, says):
    with pytest.raises(error, match=says):
        call()
