"""Boxes cut from maps: equal to a slow version, each from its own image, differentiable."""

import pytest
import torch

from followspot.errors import SettingError
from followspot.ops.regions import pool_regions

SETTINGS = {"size": 5, "stride": 8, "first": 7.5}


def slow(maps, boxes, samples, *, size, stride, first):
    """From the formula: bilinear at the centre of every bin, cells beyond the map take the nearest."""
    out = torch.zeros(len(boxes), maps.shape[1], size, size, dtype=maps.dtype)
    height, width = maps.shape[2:]
    for n, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
        for i in range(size):
            for j in range(size):
                x = min(max((x1 + (j + 0.5) / size * (x2 - x1) - first) / stride, 0), width - 1)
                y = min(max((y1 + (i + 0.5) / size * (y2 - y1) - first) / stride, 0), height - 1)
                left, top = min(int(x), width - 2), min(int(y), height - 2)
                fx, fy = x - left, y - top
                m = maps[samples[n]]
                above = m[:, top, left] * (1 - fx) + m[:, top, left + 1] * fx
                below = m[:, top + 1, left] * (1 - fx) + m[:, top + 1, left + 1] * fx
                out[n, :, i, j] = above * (1 - fy) + below * fy
    return out


@pytest.fixture(scope="module")
def case():
    generator = torch.Generator().manual_seed(3)
    maps = torch.randn(3, 4, 7, 9, generator=generator, dtype=torch.float64)
    corners = torch.rand(6, 2, generator=generator, dtype=torch.float64) * 40 - 5
    boxes = torch.cat([corners, corners + 3 + torch.rand(6, 2, generator=generator, dtype=torch.float64) * 50], 1)
    return maps, boxes, torch.tensor([2, 0, 2, 1, 0, 2])


def test_regions_equal_a_slow_version(case):
    torch.testing.assert_close(pool_regions(*case, **SETTINGS), slow(*case, **SETTINGS))


def test_each_region_is_from_its_own_image(case):
    """The published pooling took every region from the first image of the batch."""
    maps, boxes, samples = case
    told = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 1, 7, 9)
    assert torch.equal(pool_regions(told, boxes.float(), samples, **SETTINGS)[:, 0, 0, 0], samples.float())
    whole = pool_regions(maps, boxes, samples, **SETTINGS)
    changed = maps.clone()
    changed[1] += 1
    moved = (pool_regions(changed, boxes, samples, **SETTINGS) - whole).abs().amax((1, 2, 3)) > 0
    assert torch.equal(moved, samples == 1)


def test_gradients_of_maps_and_boxes(case):
    maps, _, samples = case
    inside = torch.tensor([[9.0, 11.0, 41.0, 39.5], [13.0, 9.2, 30.0, 47.0]], dtype=torch.float64, requires_grad=True)
    maps = maps.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda m, b: pool_regions(m, b, samples[:2], **SETTINGS), (maps, inside))


def test_half_precision_rounds_values_but_no_places():
    """Between columns that alternate, a place off by a share of a cell is off by that share in value."""
    columns = (torch.arange(128) % 2).expand(1, 1, 2, 128).to(torch.bfloat16)
    cells = torch.arange(90, 110, 0.3)
    left = cells * 8 + 4 - 8
    boxes = torch.stack([left, torch.full_like(left, 8), left + 16, torch.full_like(left, 12)], 1)
    found = pool_regions(columns, boxes, torch.zeros(len(boxes), dtype=torch.int64), size=1, stride=8, first=4)
    assert found.dtype == torch.bfloat16
    expected = 1 - (cells % 2 - 1).abs()
    torch.testing.assert_close(found.flatten().float(), expected, atol=0.01, rtol=0)


def test_no_regions_and_wrong_ones(case):
    maps, boxes, samples = case
    assert pool_regions(maps, boxes[:0], samples[:0], **SETTINGS).shape == (0, 4, 5, 5)
    with pytest.raises(SettingError, match="there are 3 maps"):
        pool_regions(maps, boxes, samples + 1, **SETTINGS)
    with pytest.raises(SettingError, match="a sample each"):
        pool_regions(maps, boxes, samples[:2], **SETTINGS)
