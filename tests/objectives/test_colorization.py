"""Colorization against loops in float64, on degenerate clips, and its parts F033, F035, F043, F060 and F062."""

import itertools
import math

import pytest
import torch
from torch import nn

from followspot.errors import SettingError
from followspot.models.gray import GrayInput
from followspot.objectives.base import ClipBatch
from followspot.objectives.colorization import Colorization, ColorizationSettings, consistency_weight
from followspot.ops.color import rgb_to_lab

SIDE, STRIDE = 16, 4
CENTRES = ((-40.0, -30.0), (0.0, 0.0), (35.0, 20.0), (10.0, -60.0))


class Tiny(nn.Module):
    """The smallest thing that is an encoder: a strided convolution of the picture, in double precision."""

    name, dim, stride, receives = "tiny", 5, STRIDE, "rgb"

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.layer = nn.Conv2d(3, self.dim, STRIDE, STRIDE)

    def forward(self, frames):
        return self.layer(frames.to(self.layer.weight.dtype))


def clips(count=3, frames=4, seed=0):
    pixels = torch.rand(count, frames, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    return ClipBatch(frames=pixels, clean=pixels)


def build(**settings):
    return Colorization(ColorizationSettings(**{"clusters": 4, "centres": CENTRES, **settings}), dim=Tiny.dim)


def slow_loss(batch, encoder, settings):
    """The formula, one cell after the other."""
    cells = SIDE // STRIDE
    places = list(itertools.product(range(cells), range(cells)))
    total = []
    for frames in batch.frames:
        features = encoder(frames).double()
        if settings.normalize:
            features = features / features.norm(dim=1, keepdim=True)
        ab = rgb_to_lab(frames.double())[:, 1:] if settings.color == "ab" else frames.double()
        means = {
            (t, y, x): ab[t, :, y * STRIDE : (y + 1) * STRIDE, x * STRIDE : (x + 1) * STRIDE].mean((1, 2))
            for t in range(len(frames))
            for y, x in places
        }
        centres = torch.tensor(settings.centres, dtype=torch.float64)
        labels = {place: int((centres - color).square().sum(1).argmin()) for place, color in means.items()}
        unit = 110 if settings.color == "ab" else 1
        sources = [(t, y, x) for t in range(settings.num_ref) for y, x in places]
        weighted = []
        for target in range(settings.num_ref, settings.num_ref + settings.num_target):
            losses = []
            for y, x in places:
                scores = torch.stack([features[target, :, y, x] @ features[t, :, v, u] for t, v, u in sources])
                affinity = (scores / settings.temperature).softmax(0)
                if settings.loss == "ce":
                    hit = sum(a for a, source in zip(affinity, sources, strict=True) if labels[source] == labels[target, y, x])
                    losses.append(-torch.log(hit + 1e-8))
                    continue
                guess = sum(a * means[source] for a, source in zip(affinity, sources, strict=True)) / unit
                gap = guess - means[target, y, x] / unit
                if settings.loss == "l1":
                    losses.append(gap.abs().mean())
                elif settings.loss == "l2":
                    losses.append((gap**2).mean())
                else:
                    delta = settings.huber_delta
                    losses.append(torch.where(gap.abs() < delta, gap**2 / 2, delta * (gap.abs() - delta / 2)).mean())
            weight = 1.0
            if settings.consistency is not None:
                beta = settings.consistency
                p = [sum(labels[target, y, x] == k for y, x in places) / len(places) for k in range(4)]
                q = [sum(labels[source] == k for source in sources) / len(sources) for k in range(4)]
                weight = sum(a ** (1 - beta) * b**beta for a, b in zip(p, q, strict=True))
            weighted.append(weight * sum(losses) / len(losses))
        total.append(sum(weighted) / len(weighted))
    return sum(total) / len(total)


RGB_CENTRES = ((0.2, 0.2, 0.2), (0.8, 0.3, 0.3), (0.3, 0.8, 0.4), (0.5, 0.5, 0.9))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"num_ref": 2, "num_target": 2, "consistency": 0.3},
        {"consistency": None, "normalize": True, "temperature": 0.1},
        {"loss": "l1"},
        {"loss": "l2", "temperature": 0.5},
        {"loss": "huber", "huber_delta": 0.05},
        {"color": "rgb", "centres": RGB_CENTRES},
        {"color": "rgb", "centres": RGB_CENTRES, "loss": "huber"},
    ],
)
def test_b1_f060_f035_loss_and_gradients_equal_the_slow_reference(settings):
    objective, encoder, batch = build(**settings), Tiny().double(), clips()
    ours, theirs = objective(batch, encoder).loss, slow_loss(batch, encoder, objective.settings)
    assert abs(ours.item() - theirs.item()) < 1e-5
    weights = list(encoder.parameters())
    for fast, slow in zip(torch.autograd.grad(ours, weights), torch.autograd.grad(theirs, weights), strict=True):
        torch.testing.assert_close(fast, slow, atol=1e-5, rtol=0)


class Lookup(nn.Module):
    """Features that point: each cell's is its mean colour, sharpened, so equal colours find each other."""

    dim, stride = 3, STRIDE

    def forward(self, frames):
        return nn.functional.avg_pool2d(frames, STRIDE)


def test_f060_a_perfect_copy_costs_nothing():
    generator = torch.Generator().manual_seed(0)
    colours = torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]])
    cells = colours[torch.randint(3, (2, 4, SIDE // STRIDE, SIDE // STRIDE), generator=generator)].permute(0, 1, 4, 2, 3)
    frames = cells.repeat_interleave(STRIDE, 3).repeat_interleave(STRIDE, 4)
    objective = Colorization(ColorizationSettings(clusters=3, temperature=0.01, num_ref=3), dim=3).train()
    output = objective(ClipBatch(frames=frames, clean=frames), Lookup())
    assert output.loss.item() == pytest.approx(0, abs=1e-6)
    assert output.logs["color_accuracy"] == 1
    assert output.logs["clusters_used"] == 3


def test_f062_the_weight_is_one_for_equal_zero_for_disjoint_and_bounds_the_divergence():
    p, q = torch.rand(2, 50, 8, dtype=torch.float64)
    p, q = p / p.sum(1, keepdim=True), q / q.sum(1, keepdim=True)
    for beta in (0.1, 0.3, 0.5):
        weight = consistency_weight(p, q, beta=beta)
        assert (weight >= torch.exp(-beta * (p * (p / q).log()).sum(1)) - 1e-12).all()
        assert (weight <= 1 + 1e-12).all()
        torch.testing.assert_close(consistency_weight(p, p, beta=beta), torch.ones(50, dtype=torch.float64))
    assert consistency_weight(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), beta=0.5) == 0


def test_f062_the_weight_multiplies_each_clips_own_loss():
    objective, encoder, batch = build(), Tiny(), clips(2)
    # The second clip's target has colours that its references lack.
    batch.clean[1, 3] = torch.tensor([0.0, 0.0, 1.0])[:, None, None]
    batch.clean[1, :3] = torch.tensor([0.5, 0.5, 0.5])[:, None, None]
    output = objective(batch, encoder)
    alone = objective(ClipBatch(frames=batch.frames[:1], clean=batch.clean[:1]), encoder)
    assert output.per_sample[1] > 5, "unweighted: the priority in replay"
    torch.testing.assert_close(output.loss, alone.loss / 2)


def test_f033_soft_labels_are_shares_of_pixels():
    batch = clips(1)
    objective = build(labels="soft", consistency=None)
    labels, _ = objective._colours(batch, grid=(4, 4))
    ab = rgb_to_lab(batch.clean[0, 0, :, :4, :4])[1:]
    nearest = (torch.tensor(CENTRES)[:, :, None, None] - ab[None]).square().sum(1).argmin(0)
    wanted = torch.stack([(nearest == k).float().mean() for k in range(4)])
    torch.testing.assert_close(labels[0, 0, :, 0, 0], wanted)
    assert objective(batch, Tiny()).loss.isfinite()


DEGENERATE = {
    "black": torch.zeros(3, 1, 1),
    "white": torch.ones(3, 1, 1),
    "grey": torch.full((3, 1, 1), 0.5),
    "red": torch.tensor([1.0, 0, 0]).view(3, 1, 1),
}


@pytest.mark.parametrize("name", DEGENERATE)
@pytest.mark.parametrize("settings", [{}, {"loss": "huber"}, {"normalize": True}, {"color": "rgb"}, {"labels": "soft"}, {"head": "paper"}])
def test_b1_degenerate_clips_give_finite_loss_and_gradients(name, settings):
    frames = DEGENERATE[name].expand(2, 4, 3, SIDE, SIDE).clone()
    objective, encoder = Colorization(ColorizationSettings(clusters=4, **settings), dim=Tiny.dim), Tiny()
    output = objective(ClipBatch(frames=frames, clean=frames), encoder)
    output.loss.backward()
    assert output.loss.isfinite()
    assert output.per_sample.isfinite().all()
    assert objective.palette.centres.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in [*encoder.parameters(), *objective.parameters()])


@pytest.mark.parametrize("head", ["none", "linear", "conv3d", "paper"])
def test_f043_heads_train_with_the_objective(head):
    objective, encoder = Colorization(ColorizationSettings(clusters=4, head=head, feature_dim=7), dim=Tiny.dim), Tiny()
    objective(clips(), encoder).loss.backward()
    assert all(parameter.grad is not None for parameter in objective.parameters())
    assert bool(list(objective.parameters())) == (head != "none")


def test_f032_centres_move_in_training_only_and_are_in_the_checkpoint():
    objective = Colorization(ColorizationSettings(clusters=4, kmeans_interval=2), dim=Tiny.dim)
    torch.manual_seed(0)
    seen = []
    for step in range(4):
        objective.advance(step, 10)
        objective(clips(seed=step), Tiny())
        seen.append(objective.palette.centres.clone())
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[1], seen[2])
    assert "palette.centres" in objective.state_dict()
    objective.eval()
    objective(clips(seed=9), Tiny())
    assert torch.equal(objective.palette.centres, seen[3])


def test_bf16_autocast_changes_little():
    objective, encoder, batch = build(), GrayInput(Tiny()), clips()
    plain = objective(batch, encoder).loss
    with torch.autocast("cpu", torch.bfloat16):
        rounded = objective(batch, encoder).loss
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(plain, rounded, atol=0.02, rtol=0)


@pytest.mark.parametrize("settings", [{}, {"loss": "l2"}, {"color": "rgb", "centres": RGB_CENTRES}])
def test_f095_pictures(settings):
    objective = build(**settings).eval()
    before = {key: value.clone() for key, value in objective.state_dict().items()}
    shown = objective.pictures(clips(), Tiny())
    expected = {"target", "prediction", "labels", "references"} | ({"clusters"} if objective.settings.color == "ab" else set())
    expected |= {"likeliest"} if objective.settings.loss == "ce" else set()
    assert set(shown) == expected
    for picture in shown.values():
        assert picture.shape[0] == 3
        assert picture.min() >= 0
        assert picture.max() <= 1
        assert not picture.requires_grad
    assert shown["references"].shape == (3, SIDE, 3 * SIDE)
    assert all(torch.equal(before[key], value) for key, value in objective.state_dict().items())


def test_a_few_steps_learn_to_point():
    torch.manual_seed(0)
    objective = Colorization(ColorizationSettings(clusters=4, num_ref=1, normalize=True, temperature=0.1), dim=Tiny.dim)
    encoder = Tiny()
    # Brightness tells the colour, in patches that jump about: only looking finds the right one.
    generator = torch.Generator().manual_seed(0)
    palette = torch.tensor([[0.3, 0.05, 0.05], [0.2, 0.9, 0.2], [0.3, 0.3, 0.8]])
    cells = palette[torch.randint(3, (6, 2, 4, 4), generator=generator)].permute(0, 1, 4, 2, 3)
    frames = cells.repeat_interleave(STRIDE, 3).repeat_interleave(STRIDE, 4)
    optimiser = torch.optim.Adam(encoder.parameters(), lr=0.03)
    losses = []
    for step in range(40):
        objective.advance(step, 40)
        output = objective(ClipBatch(frames=frames.mean(2, keepdim=True).expand_as(frames), clean=frames), encoder)
        optimiser.zero_grad()
        output.loss.backward()
        optimiser.step()
        losses.append(output.loss.item())
    assert losses[-1] < 0.75 * losses[0]
    assert math.isfinite(losses[-1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_ref": 0}, "num_ref = 0 must be 1 or more"),
        ({"num_target": 0}, "num_target = 0"),
        ({"feature_dim": 0}, "feature_dim = 0"),
        ({"temperature": 0.0}, "temperature = 0.0 must be above 0"),
        ({"huber_delta": -1.0}, "huber_delta = -1.0"),
        ({"consistency": 0.6}, r"consistency = 0.6 must be in \(0, 0.5\]"),
        ({"loss": "mse"}, "use one of ce, l1, huber, l2"),
        ({"labels": "fuzzy"}, "use one of hard, soft"),
        ({"head": "mlp"}, "use one of none, linear, conv3d, paper"),
        ({"clusters": 0}, "clusters = 0"),
    ],
)
def test_bad_settings_say_what_is_wrong(settings, message):
    with pytest.raises(SettingError, match=message):
        ColorizationSettings(**settings)
