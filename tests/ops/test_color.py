"""Lab against published values, an independent scalar reference, and its own inverse."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from followspot.errors import SettingError
from followspot.ops.color import lab_to_rgb, rgb_to_lab


def pixel(*values):
    return torch.tensor(values, dtype=torch.float64).view(3, 1, 1)


# CIE Lab (D65) of the sRGB primaries, as tabulated in textbooks.
@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((1, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 1, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 1), (32.30, 79.19, -107.86)),
        ((1, 1, 1), (100.0, 0.0, 0.0)),
        ((0, 0, 0), (0.0, 0.0, 0.0)),
        ((0.5, 0.5, 0.5), (53.39, 0.0, 0.0)),
    ],
)
def test_f030_known_colours(rgb, lab):
    torch.testing.assert_close(rgb_to_lab(pixel(*rgb)).flatten(), torch.tensor(lab, dtype=torch.float64), atol=0.02, rtol=0)


def scalar_lab(rgb):
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in rgb]
    rows = [(0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227)]
    xyz = [sum(m * v for m, v in zip(row, linear, strict=True)) for row in rows]
    x, y, z = (v / white for v, white in zip(xyz, (0.95047, 1.0, 1.08883), strict=True))
    fx, fy, fz = (v ** (1 / 3) if v > 216 / 24389 else (24389 / 27 * v + 16) / 116 for v in (x, y, z))
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


@given(st.tuples(*[st.floats(0, 1)] * 3))
@settings(deadline=None, max_examples=100)
def test_agrees_with_the_formula_and_inverts(rgb):
    lab = rgb_to_lab(pixel(*rgb))
    torch.testing.assert_close(lab.flatten(), torch.tensor(scalar_lab(rgb), dtype=torch.float64), atol=1e-9, rtol=0)
    # The two branches of the published sRGB curve meet with a step of about 1e-8 at the knee.
    torch.testing.assert_close(lab_to_rgb(lab), pixel(*rgb), atol=1e-6, rtol=0)


def test_leading_axes_and_float32():
    rgb = torch.rand(2, 4, 3, 5, 6)
    lab = rgb_to_lab(rgb)
    torch.testing.assert_close(lab[1, 2], rgb_to_lab(rgb[1, 2]))
    torch.testing.assert_close(lab_to_rgb(lab), rgb, atol=2e-5, rtol=0)


@pytest.mark.parametrize("value", [0.0, 1e-6, 0.02, 0.5, 1.0])
def test_gradients_are_finite_and_right(value):
    rgb = torch.full((3, 1, 1), value, dtype=torch.float64, requires_grad=True)
    rgb_to_lab(rgb).sum().backward()
    assert torch.isfinite(rgb.grad).all()
    lab = rgb_to_lab(rgb.detach()).requires_grad_()
    lab_to_rgb(lab).sum().backward()
    assert torch.isfinite(lab.grad).all()
    inside = (rgb.detach() * 0.9 + 0.05).requires_grad_()
    assert torch.autograd.gradcheck(rgb_to_lab, inside)


def test_out_of_gamut_is_not_clamped():
    assert lab_to_rgb(pixel(50.0, 120.0, 0.0)).min() < 0


@pytest.mark.parametrize("bad", [torch.zeros(3, 4, 4, dtype=torch.uint8), torch.zeros(4, 4), torch.zeros(4, 4, 3)])
def test_wrong_tensors_are_refused(bad):
    with pytest.raises(SettingError, match="divide uint8"):
        rgb_to_lab(bad)
    with pytest.raises(SettingError, match="lab must be float"):
        lab_to_rgb(bad)
