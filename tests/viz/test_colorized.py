"""F164: predicted colours over the picture's own lightness, and arrows to where they came from."""

import numpy as np
import pytest
import torch

from followspot.errors import SettingError
from followspot.ops.color import to_lab
from followspot.viz.colorized import colorization_panel, colorize, copy_arrows


def picture(seed=0, size=(40, 60)):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def test_f164_the_lightness_is_unchanged():
    ab = torch.empty(2, 5, 8).uniform_(-100, 100, generator=torch.Generator().manual_seed(0))
    shown = colorize(picture(), ab)
    assert shown.dtype == np.uint8
    assert (to_lab(shown)[0] - to_lab(picture())[0]).abs().max() < 0.6
    assert np.abs(colorize(picture(), to_lab(picture())[1:]).astype(int) - picture()).max() <= 1
    mild = np.full((40, 60, 3), 128, np.uint8)
    torch.testing.assert_close(
        to_lab(colorize(mild, torch.tensor([20.0, -10]).view(2, 1, 1)))[1:, 3, 3], torch.tensor([20.0, -10]), atol=0.6, rtol=0
    )
    with pytest.raises(SettingError, match=r"must be \(2, h, w\) ab, got \(3, 4, 4\)"):
        colorize(picture(), torch.zeros(3, 4, 4))


def test_f164_the_panel_shows_reference_grey_prediction_and_truth():
    ab = torch.zeros(2, 4, 6)
    panel = colorization_panel(picture(), ab, reference=picture(1))
    assert panel.shape == (40, 4 * 60 + 3 * 6, 3)
    parts = [panel[:, i * 66 : i * 66 + 60] for i in range(4)]
    np.testing.assert_array_equal(parts[0], picture(1))
    np.testing.assert_array_equal(parts[3], picture())
    assert np.abs(parts[1].astype(int) - parts[2]).max() <= 1, "no colour predicted is grey"
    assert (to_lab(parts[1])[1:].abs() < 0.8).all()
    assert colorization_panel(picture(), ab).shape == (40, 3 * 60 + 2 * 6, 3)
    with pytest.raises(SettingError, match="must have one height"):
        colorization_panel(picture(), ab, reference=picture(size=(41, 60)))


def test_arrows_begin_where_the_flow_says():
    reference, target = np.zeros((40, 60, 3), np.uint8), np.zeros((40, 60, 3), np.uint8)
    flow = np.full((2, 40, 60), np.nan)
    flow[:, 20, 30] = -10, 7  # the middle of the target came from (20, 27)
    shown = copy_arrows(reference, target, flow, across=1)
    assert shown.shape == (40, 126, 3)
    drawn = shown.copy()
    drawn[:, 60:66] = 0
    rows, columns = np.nonzero(drawn.max(2))
    assert (columns.min(), columns.max()) == (pytest.approx(17, abs=2), pytest.approx(96, abs=2))
    assert shown[27, 20].max() > 100
    assert shown[20, 95].max() > 50
    assert rows.min() >= 13
    assert rows.max() <= 33
    assert (reference == 0).all(), "the pictures themselves stay as they are"


def test_a_dozen_arrows_a_row_stand_apart_and_nan_draws_none():
    black = np.zeros((60, 120, 3), np.uint8)
    none = copy_arrows(black, black, np.full((2, 60, 120), np.nan))
    assert none[:, :120].max() == 0
    many = copy_arrows(black, black, np.zeros((2, 60, 120)), across=12)
    colours = {tuple(many[5 + 10 * i, 5 + 10 * j].tolist()) for i in range(6) for j in range(12)}
    assert len(colours) > 40
    for wrong in ({"across": 0}, {}):
        with pytest.raises(SettingError):
            copy_arrows(black, black if wrong else black[:-1], np.zeros((2, 60, 120)), **wrong)
