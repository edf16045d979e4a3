"""F112: single-image colorization against loops in float64, on degenerate clips, and its parts."""

import math

import pytest
import torch
from torch import nn

from followspot.errors import SettingError
from followspot.models.gray import GrayInput
from followspot.objectives.base import ClipBatch
from followspot.objectives.single_image_colorization import SingleImageColorization, SingleImageColorizationSettings
from followspot.ops.clusters import soft_labels
from followspot.ops.color import gamut_bins, lab_to_rgb, rgb_to_lab

SIDE, STRIDE = 12, 4


class Tiny(nn.Module):
    """A strided convolution, in double precision if asked."""

    name, dim, stride, receives = "tiny", 5, STRIDE, "rgb"

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.layer = nn.Conv2d(3, self.dim, STRIDE, STRIDE)

    def forward(self, frames):
        return self.layer(frames.to(self.layer.weight.dtype))


def clips(count=3, frames=2, seed=0):
    pixels = torch.rand(count, frames, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    return ClipBatch(frames=pixels, clean=pixels)


def build(**settings):
    torch.manual_seed(1)
    return SingleImageColorization(SingleImageColorizationSettings(**{"frames": 2, "spacing": 25.0, **settings}), dim=Tiny.dim)


def slow_labels(color, bins, *, neighbours, sigma):
    squares = [float(((color - centre) ** 2).sum()) for centre in bins]
    nearest = sorted(range(len(bins)), key=squares.__getitem__)[:neighbours]
    shares = {q: math.exp(-squares[q] / (2 * sigma**2)) for q in nearest}
    return {q: share / sum(shares.values()) for q, share in shares.items()}


def slow_loss(batch, encoder, objective):
    """The formula, one cell after the other; the shares of classes are those of this batch."""
    settings, bins = objective.settings, gamut_bins(objective.settings.spacing).double()
    cells = []
    for frames in batch.frames:
        ab = rgb_to_lab(frames.double())[:, 1:]
        scores = objective.head(encoder(frames)[None])[0]
        for t in range(len(frames)):
            for y in range(SIDE // STRIDE):
                for x in range(SIDE // STRIDE):
                    color = ab[t, :, y * STRIDE : (y + 1) * STRIDE, x * STRIDE : (x + 1) * STRIDE].mean((1, 2))
                    wanted = slow_labels(color, bins, neighbours=settings.neighbours, sigma=settings.spacing / 2)
                    cells.append((wanted, scores[t, :, y, x].log_softmax(0)))
    share = [sum(wanted.get(q, 0) for wanted, _ in cells) / len(cells) for q in range(len(bins))]
    weight = [1.0] * len(bins)
    if settings.rebalance is not None:
        weight = [1 / ((1 - settings.rebalance) * p + settings.rebalance / len(bins)) for p in share]
        mean = sum(w * p for w, p in zip(weight, share, strict=True))
        weight = [w / mean for w in weight]
    losses = [-weight[max(wanted, key=wanted.get)] * sum(y * log[q] for q, y in wanted.items()) for wanted, log in cells]
    return sum(losses) / len(losses)


@pytest.mark.parametrize("settings", [{}, {"rebalance": None}, {"rebalance": 0.1, "neighbours": 3}, {"spacing": 40.0, "neighbours": 1}])
def test_f112_loss_and_gradients_equal_the_slow_reference(settings):
    objective, encoder, batch = build(**settings).double(), Tiny().double(), clips()
    objective.head.float()
    encoder.float()
    ours = objective(batch, encoder).loss
    theirs = slow_loss(batch, encoder, objective)
    assert abs(ours.item() - theirs.item()) < 1e-4
    weights = [*encoder.parameters(), *objective.head.parameters()]
    for fast, slow in zip(torch.autograd.grad(ours, weights), torch.autograd.grad(theirs, weights), strict=True):
        torch.testing.assert_close(fast, slow, atol=1e-4, rtol=1e-3)


def test_the_bins_are_what_srgb_shows():
    bins = gamut_bins(10)
    assert len(bins) == 225
    assert [0, 0] in bins.tolist()
    assert torch.equal(bins, bins[torch.argsort(bins[:, 0] * 1000 + bins[:, 1])])
    inside = {tuple(place) for place in bins.long().tolist()}
    for a, b in ((-110, 0), (0, 100), (90, -90), (-40, -60)):
        assert (a, b) not in inside
    lights = torch.arange(101.0).double()
    for a, b in inside:  # each is shown at some lightness
        lab = torch.stack([lights, torch.full_like(lights, a), torch.full_like(lights, b)], 1)
        rgb = lab_to_rgb(lab[:, :, None, None])
        assert ((rgb > -1e-6) & (rgb < 1 + 1e-6)).all(1).any()
    with pytest.raises(SettingError, match="spacing = 0"):
        gamut_bins(0)


def test_soft_labels_agree_with_the_formula_and_far_colours_have_one():
    bins = gamut_bins(20)
    colours = torch.rand(2, 2, 3, 4, generator=torch.Generator().manual_seed(0)) * 100 - 50
    labels = soft_labels(colours, bins, neighbours=5, sigma=10.0)
    assert labels.shape == (2, len(bins), 3, 4)
    torch.testing.assert_close(labels.sum(1), torch.ones(2, 3, 4))
    expected = slow_labels(colours[1, :, 2, 3].double(), bins.double(), neighbours=5, sigma=10.0)
    for q, share in expected.items():
        assert labels[1, q, 2, 3].item() == pytest.approx(share, abs=1e-5)
    far = soft_labels(torch.full((2, 1, 1), 1e4), bins, neighbours=5, sigma=1.0)
    assert far.isfinite().all()
    assert far.sum().item() == pytest.approx(1)


def test_rare_colours_weigh_more_and_the_mean_weight_is_one():
    objective = build(memory=0.5)
    grey = torch.full((2, 2, 3, SIDE, SIDE), 0.5)
    grey[0, 0, :, :STRIDE, :STRIDE] = torch.tensor([0.9, 0.1, 0.1])[:, None, None]
    objective(ClipBatch(frames=grey, clean=grey), Tiny())
    weights = objective._weights()
    common, rare = objective.shares.argmax(), weights[objective.shares > 0].argmax()
    assert weights[objective.shares > 0][rare] > 10 * weights[common]
    assert (weights * objective.shares).sum().item() == pytest.approx(1)
    before = objective.shares.clone()
    blue = torch.zeros(1, 2, 3, SIDE, SIDE)
    blue[:, :, 2] = 1
    objective(ClipBatch(frames=blue, clean=blue), Tiny())
    assert (objective.shares - before).abs().max() > 0.3, "half of the past is forgotten"
    assert objective.shares.sum().item() == pytest.approx(1)
    assert "shares" in objective.state_dict()
    kept = objective.shares.clone()
    objective.eval()
    objective(ClipBatch(frames=grey, clean=grey), Tiny())
    assert torch.equal(objective.shares, kept)


DEGENERATE = {"black": (0.0, 0, 0), "white": (1.0, 1, 1), "grey": (0.5, 0.5, 0.5), "red": (1.0, 0, 0)}


@pytest.mark.parametrize("name", DEGENERATE)
@pytest.mark.parametrize("settings", [{}, {"rebalance": 1.0}, {"rebalance": None}])
def test_degenerate_clips_give_finite_loss_and_gradients(name, settings):
    frames = torch.tensor(DEGENERATE[name]).view(3, 1, 1).expand(2, 2, 3, SIDE, SIDE).clone()
    objective, encoder = build(**settings), Tiny()
    output = objective(ClipBatch(frames=frames, clean=frames), encoder)
    output.loss.backward()
    assert output.loss.isfinite()
    assert output.per_sample.shape == (2,)
    assert output.per_sample.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in [*encoder.parameters(), *objective.parameters()])


def test_colours_are_taken_from_the_clean_frames_and_no_frame_sees_another():
    objective, encoder, batch = build(rebalance=None), Tiny(), clips()
    other = ClipBatch(frames=batch.frames, clean=1 - batch.clean)
    assert objective(batch, encoder).loss != objective(other, encoder).loss
    swapped = ClipBatch(frames=batch.frames.flip(1), clean=batch.clean.flip(1))
    torch.testing.assert_close(objective(batch, encoder).per_sample, objective(swapped, encoder).per_sample)


def test_bf16_autocast_changes_little():
    objective, encoder, batch = build(), GrayInput(Tiny()), clips()
    plain = objective(batch, encoder).loss
    with torch.autocast("cpu", torch.bfloat16):
        rounded = objective(batch, encoder).loss
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(plain, rounded, atol=0.02, rtol=0)


def test_a_few_steps_learn_what_is_coloured_how():
    """Dark is blue, bright is yellow: grey tells the colour, and it is learnt."""
    generator = torch.Generator().manual_seed(0)
    dark = torch.randint(2, (8, 2, 1, 3, 3), generator=generator).float()
    colours = dark * torch.tensor([0.1, 0.1, 0.6]).view(3, 1, 1) + (1 - dark) * torch.tensor([0.9, 0.9, 0.2]).view(3, 1, 1)
    clean = colours.repeat_interleave(STRIDE, 3).repeat_interleave(STRIDE, 4)
    batch = ClipBatch(frames=clean.mean(2, keepdim=True).expand_as(clean), clean=clean)
    objective, encoder = build(), Tiny()
    optimiser = torch.optim.Adam([*encoder.parameters(), *objective.parameters()], lr=0.05)
    for _ in range(60):
        output = objective(batch, encoder)
        optimiser.zero_grad()
        output.loss.backward()
        optimiser.step()
    assert output.logs["color_accuracy"] > 0.95


def test_pictures_keep_the_lightness():
    objective = build().eval()
    shown = objective.pictures(clips(), Tiny())
    assert set(shown) == {"target", "prediction", "labels"}
    for picture in shown.values():
        assert picture.shape == (3, SIDE, SIDE)
        assert 0 <= picture.min() <= picture.max() <= 1
        assert not picture.requires_grad


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"frames": 0}, "frames = 0 must be 1 or more"),
        ({"spacing": 0.0}, "spacing = 0 of colours"),
        ({"neighbours": 0}, "neighbours = 0 must be in 1..225"),
        ({"spacing": 50.0, "neighbours": 50}, "the colours of spacing 50"),
        ({"rebalance": 0.0}, r"rebalance = 0.0 must be in \(0, 1\]"),
        ({"memory": 1.0}, r"memory = 1.0 must be in \[0, 1\)"),
    ],
)
def test_bad_settings_say_what_is_wrong(settings, message):
    with pytest.raises(SettingError, match=message):
        SingleImageColorizationSettings(**settings)
