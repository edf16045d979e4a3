"""Convolutions with fewer multiplications equal plain ones."""

import numpy as np
import pytest
import torch
from torch import nn

from followspot.models.winograd import WinogradConv2d, transforms

POINTS = [(0.0, 1.0, -1.0), (0.0, 1.0, -1.0, 0.5, -2.0), (0.25, -3.0, 2.0)]


@pytest.mark.parametrize("points", POINTS)
def test_products_at_points_are_inner_products(points):
    """The formula of Lavin and Gray against the sums written out."""
    of_input, of_weights, of_output = transforms(points)
    random = np.random.default_rng(0)
    values, weights = random.normal(size=len(points) + 1), random.normal(size=3)
    expected = [sum(weights[j] * values[i + j] for j in range(3)) for i in range(len(points) - 1)]
    np.testing.assert_allclose(of_output @ ((of_weights @ weights) * (of_input @ values)), expected, atol=1e-12)


@pytest.mark.parametrize("tile", [2, 4])
@pytest.mark.parametrize(
    ("batch", "size", "padding", "dilation"),
    [(1, (31, 31), 1, 1), (3, (15, 22), 2, 2), (2, (7, 9), 0, 1), (1, (13, 12), 0, 3), (1, (3, 3), 0, 1), (1, (5, 4), 4, 2)],
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_equals_the_plain_convolution(tile, batch, size, padding, dilation, layout):
    torch.manual_seed(0)
    conv = nn.Conv2d(5, 7, 3, padding=padding, dilation=dilation).double()
    maps = torch.randn(batch, 5, *size, dtype=torch.float64).to(memory_format=layout)
    with torch.inference_mode():
        expected = conv(maps)
        found = WinogradConv2d(conv, tile=tile)(maps)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


def test_without_bias_and_in_single_precision():
    torch.manual_seed(0)
    conv = nn.Conv2d(64, 32, 3, padding=2, dilation=2, bias=False)
    maps = torch.randn(1, 64, 31, 31)
    with torch.inference_mode():
        for tile in (2, 4):
            torch.testing.assert_close(WinogradConv2d(conv, tile=tile)(maps), conv(maps), atol=1e-5, rtol=0)


def test_in_bfloat16_rounding_is_at_most_twice_that_of_the_plain_convolution():
    torch.manual_seed(0)
    conv = nn.Conv2d(128, 64, 3, padding=1)
    maps = torch.randn(1, 128, 31, 31).relu()
    with torch.inference_mode():
        exact = conv(maps)
        small = maps.bfloat16()
        ours = WinogradConv2d(conv, tile=2).to(torch.bfloat16)(small).float()
        plain = conv.to(torch.bfloat16)(small).float()
    assert (ours - exact).square().mean() <= 4 * (plain - exact).square().mean()
    assert (ours - exact).std() < 0.01 * exact.std()
