"""Colour jitter: against a slow version step by step, and what must not depend on how a batch is split."""

import colorsys

import numpy as np
import pytest
import torch

from followspot.datasets.jitter import LUMA, JitterSettings, jitter_colors
from followspot.errors import SettingError


def clips(rows=3, frames=4, size=6, *, seed=0):
    return torch.rand(rows, frames, 3, size, size, generator=torch.Generator().manual_seed(seed))


def gray(frames):
    return torch.einsum("...chw,c->...hw", frames, torch.tensor(LUMA))


def test_f016_nothing_asked_nothing_changed():
    frames = clips()
    assert jitter_colors(frames, JitterSettings(), seed=0, step=0) is frames
    assert jitter_colors(frames, JitterSettings(brightness=0.4, probability=0.0), seed=0, step=0) is frames


def test_f016_one_draw_serves_all_frames_of_a_clip():
    settings = JitterSettings(brightness=0.1, contrast=0.1, saturation=0.1, hue=0.1)
    frames = clips(size=4)[:, :1].expand(-1, 4, -1, -1, -1)
    out = jitter_colors(frames, settings, seed=1, step=5)
    assert torch.allclose(out, out[:, :1].expand_as(out), atol=1e-6)
    assert not torch.allclose(out[0], frames[0], atol=1e-3)
    # Also where the frames differ: what is the same colour before is the same colour after.
    moving = clips(rows=1)
    moving[0, :, :, 0, 0] = 0.4
    same = jitter_colors(moving, settings, seed=1, step=5)[0, :, :, 0, 0]
    assert torch.allclose(same, same[:1].expand_as(same), atol=1e-6)


def test_f016_per_frame_is_opt_in():
    frames = clips(rows=1, size=4)[:, :1].expand(-1, 4, -1, -1, -1)
    out = jitter_colors(frames, JitterSettings(brightness=0.3, per_frame=True), seed=1, step=5)
    assert len({round(float(frame.mean()), 5) for frame in out[0]}) == 4


def test_f016_strength_of_a_tenth_stays_a_tenth():
    frames = torch.full((400, 1, 3, 1, 1), 0.5)
    out = jitter_colors(frames, JitterSettings(brightness=0.1), seed=0, step=0)[:, 0, 0, 0, 0] / 0.5
    assert 0.9 <= out.min() < 0.905
    assert 1.095 < out.max() <= 1.1


def test_each_change_equals_its_formula():
    frames = 0.3 + 0.3 * clips(rows=1)
    for name, expected in {
        "brightness": lambda f: f * frames,
        "contrast": lambda f: f * frames + (1 - f) * gray(frames).mean(),
        "saturation": lambda f: f * frames + (1 - f) * gray(frames)[:, :, None],
    }.items():
        out = jitter_colors(frames, JitterSettings(**{name: 0.5}), seed=3, step=1)
        brightest, darkest = frames.flatten().argmax(), frames.flatten().argmin()
        slope = (out.flatten()[brightest] - out.flatten()[darkest]) / (frames.flatten()[brightest] - frames.flatten()[darkest])
        candidates = [slope] if name != "saturation" else torch.linspace(0.5, 1.5, 2001)
        error = min(float((out - expected(factor)).abs().max()) for factor in candidates)
        assert error < 1e-3, name


def test_hue_keeps_brightness_and_turns_colours():
    frames = 0.4 + 0.1 * clips(rows=40)
    out = jitter_colors(frames, JitterSettings(hue=0.5), seed=0, step=0)
    assert torch.allclose(gray(out), gray(frames), atol=1e-4)

    def hues(batch):
        return torch.tensor([colorsys.rgb_to_hsv(*pixel)[0] for pixel in batch[:, 0, :, 0, 0].tolist()])

    turn = (hues(out) - hues(frames)) % 1
    assert turn.min() < 0.2
    assert turn.max() > 0.8


def test_gray_and_its_share():
    out = jitter_colors(clips(rows=600, frames=1, size=2), JitterSettings(gray_probability=0.3), seed=0, step=0)
    colorless = (out.amax(2) - out.amin(2)).amax((1, 2, 3)) < 1e-5
    assert abs(colorless.double().mean() - 0.3) < 0.05


def test_the_share_of_clips_is_drawn_for_whole_clips():
    frames = clips(rows=600, frames=3, size=2)
    out = jitter_colors(frames, JitterSettings(brightness=0.5, probability=0.1, per_frame=True), seed=0, step=0)
    changed = (out - frames).abs().amax((2, 3, 4)) > 1e-4
    assert abs(changed.any(1).double().mean() - 0.1) < 0.03
    assert (changed.sum(1) != 1).all()


def test_blur_smooths_only_the_chosen_clips():
    frames = torch.zeros(40, 2, 3, 15, 15)
    frames[..., 7, 7] = 1
    out = jitter_colors(frames, JitterSettings(blur_probability=0.5, blur_pixels=(1.0, 1.0)), seed=0, step=0)
    peak = out[:, :, :, 7, 7]
    blurred = peak[:, 0, 0] < 0.9
    assert 10 < blurred.sum() < 30
    assert torch.equal(out[~blurred], frames[~blurred])
    line = torch.exp(-(torch.arange(-3.0, 4) ** 2) / 2)
    kernel = torch.outer(line, line) / line.sum() ** 2
    assert torch.allclose(out[blurred][:, :, :, 4:11, 4:11], kernel.expand(int(blurred.sum()), 2, 3, 7, 7), atol=1e-5)


def test_extremes_stay_in_range_and_finite():
    settings = JitterSettings(
        brightness=3.0, contrast=3.0, saturation=3.0, hue=0.5, gray_probability=0.2, blur_probability=0.5, per_frame=True
    )
    for value in (0.0, 1.0):
        out = jitter_colors(torch.full((8, 2, 3, 8, 8), value), settings, seed=0, step=0)
        assert out.isfinite().all()
        assert out.min() >= 0
        assert out.max() <= 1


def test_f014_rows_do_not_depend_on_how_the_batch_is_split():
    settings = JitterSettings(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, blur_probability=0.5, gray_probability=0.2)
    frames = clips(rows=6)
    whole = jitter_colors(frames, settings, seed=7, step=9)
    parts = [jitter_colors(frames[row : row + 2], settings, seed=7, step=9, first_row=row) for row in (0, 2, 4)]
    assert torch.allclose(torch.cat(parts), whole, atol=1e-6)
    assert not torch.allclose(jitter_colors(frames, settings, seed=7, step=10), whole, atol=1e-2)
    assert not torch.allclose(jitter_colors(frames, settings, seed=8, step=9), whole, atol=1e-2)


def test_half_precision_is_kept():
    out = jitter_colors(clips().to(torch.bfloat16), JitterSettings(brightness=0.2, hue=0.1), seed=0, step=0)
    assert out.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ({"brightness": -0.1}, "brightness -0.1"),
        ({"contrast": np.inf}, "contrast inf"),
        ({"hue": 0.6}, "hue 0.6"),
        ({"probability": 1.1}, "probability 1.1"),
        ({"gray_probability": -1.0}, "gray_probability -1"),
        ({"blur_pixels": (2.0, 1.0)}, r"blur_pixels \[2.0, 1.0\]"),
    ],
)
def test_bad_settings(bad, told):
    with pytest.raises(SettingError, match=told):
        JitterSettings(**bad)
