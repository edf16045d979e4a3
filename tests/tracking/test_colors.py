"""F111: colours carried like labels; the lightness stays."""

import math

import numpy as np
import pytest
import torch

from followspot.errors import AnnotationError, SettingError
from followspot.metrics.color import color_accuracy, color_psnr
from followspot.ops.color import join_lightness, lab_to_rgb, recolor, rgb_to_lab, to_lab
from followspot.tracking.colors import carried_ab, color_maps, gray_frame
from followspot.tracking.identity import IdentityTracker
from followspot.types import Frame


def picture(seed=0, size=(20, 30)):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def frame(image):
    return Frame(image=image, index=0, time_seconds=0, name="0")


def test_gray_has_the_lightness_and_no_colour():
    gray = gray_frame(frame(picture()))
    assert (gray.image == gray.image[..., :1]).all()
    before, after = to_lab(picture()), to_lab(gray.image)
    assert (before[0] - after[0]).abs().max() < 0.3  # half a step of 8 bits, near black a step is larger
    assert after[1:].abs().max() < 0.02
    again = gray_frame(gray)
    np.testing.assert_array_equal(again.image, gray.image)


def test_colours_survive_the_maps():
    maps = color_maps(picture())
    assert maps.weights.shape == (3, 20, 30)
    torch.testing.assert_close(carried_ab(maps.weights), to_lab(picture())[1:], atol=1e-3, rtol=0)
    faded = carried_ab(maps.weights * np.float32(0.25))
    torch.testing.assert_close(faded, to_lab(picture())[1:], atol=1e-2, rtol=0)
    assert (carried_ab(np.zeros((3, 4, 4), np.float32)) == 0).all()
    for wrong in (None, np.zeros((2, 4, 4), np.float32)):
        with pytest.raises(AnnotationError, match="the three maps that color_maps gives"):
            carried_ab(wrong)


def test_extreme_colours_fit_the_maps():
    corners = np.array([[[r, g, b] for r in (0, 255) for g in (0, 255) for b in (0, 255)]], np.uint8)
    torch.testing.assert_close(carried_ab(color_maps(corners).weights), to_lab(corners)[1:], atol=1e-3, rtol=0)


def test_f111_f164_the_lightness_is_unchanged_whatever_the_colours():
    image = picture()
    wild = torch.empty(2, 20, 30).uniform_(-110, 110, generator=torch.Generator().manual_seed(0))
    lightness = to_lab(recolor(image, wild))[0]
    assert (lightness - to_lab(image)[0]).abs().max() < 0.6  # rounding to 8 bits
    exact = join_lightness(to_lab(image)[:1].double(), wild.double())
    assert (rgb_to_lab(exact)[0] - to_lab(image)[0]).abs().max() < 0.15
    own = recolor(image, to_lab(image)[1:])
    assert np.abs(own.astype(int) - image).max() <= 1, "its own colours give the picture back"


def test_colours_that_fit_are_kept_and_others_greyed_not_turned():
    lightness = torch.full((1, 1, 3), 50.0)
    ab = torch.tensor([[[20.0, 90, 0]], [[-10.0, -90, 0]]])
    found = rgb_to_lab(join_lightness(lightness, ab))
    torch.testing.assert_close(found[1:, 0, 0], ab[:, 0, 0], atol=0.01, rtol=0)
    a, b = found[1:, 0, 1].tolist()
    assert a / b == pytest.approx(-1, abs=0.05)
    assert 20 < a < 90
    more = lab_to_rgb(torch.tensor([50.0, 1.05 * a, 1.05 * b]).view(3, 1, 1))
    assert more.min() < 0 or more.max() > 1, "it is at the edge of what sRGB shows"


def test_identity_carries_colours_in_place():
    tracker = IdentityTracker()
    tracker.start(gray_frame(frame(picture())), [color_maps(picture())])
    answer = tracker.step(gray_frame(frame(picture(1))))
    torch.testing.assert_close(carried_ab(answer.maps), to_lab(picture())[1:], atol=1e-3, rtol=0)


def test_f153_accuracy_and_psnr_agree_with_the_formulas():
    rng = np.random.default_rng(0)
    predicted, truth, centres = rng.uniform(-60, 60, (2, 6, 7)), rng.uniform(-60, 60, (2, 6, 7)), rng.uniform(-60, 60, (9, 2))
    predicted[:, :3] = truth[:, :3] + rng.normal(0, 1, (2, 3, 7))
    nearest = [
        [min(range(9), key=lambda k: ((ab[:, y, x] - centres[k]) ** 2).sum()) for y in range(6) for x in range(7)]
        for ab in (predicted, truth)
    ]
    expected = np.mean([a == b for a, b in zip(*nearest, strict=True)])
    assert 0.4 < expected < 1
    tensors = [torch.from_numpy(x) for x in (predicted, truth, centres)]
    assert color_accuracy(*tensors) == pytest.approx(expected, abs=1e-12)
    assert color_psnr(*tensors[:2]) == pytest.approx(10 * math.log10(255**2 / ((predicted - truth) ** 2).mean()))
    assert color_psnr(tensors[0], tensors[0]) == math.inf
    with pytest.raises(SettingError, match=r"colours must be \(2, H, W\)"):
        color_psnr(tensors[0], tensors[1][:, 1:])
