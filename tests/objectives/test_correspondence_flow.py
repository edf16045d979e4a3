"""Correspondence flow against loops in float64, on degenerate clips, and its parts F063, F064 and F070."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from followspot.errors import SettingError
from followspot.objectives.base import ClipBatch
from followspot.objectives.correspondence_flow import CorrespondenceFlow, CorrespondenceFlowSettings
from followspot.ops.color import rgb_to_lab
from followspot.ops.schedule import Schedule

HEIGHT, WIDTH, STRIDE = 16, 24, 4
CENTRES = ((-40.0, -30.0), (0.0, 0.0), (35.0, 20.0), (10.0, -60.0))
ALWAYS, NEVER = Schedule.constant(1), Schedule.constant(0)


class Tiny(nn.Module):
    name, dim, stride, receives = "tiny", 5, STRIDE, "rgb"

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv2d(3, self.dim, STRIDE, STRIDE)
        self.seen = []

    def forward(self, frames):
        self.seen.append(frames.detach())
        return self.layer(frames.to(self.layer.weight.dtype))


def clips(count=2, frames=3, seed=0):
    pixels = torch.rand(count, frames, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed))
    return ClipBatch(frames=pixels, clean=pixels)


def build(**settings):
    chosen = {"clusters": 4, "centres": CENTRES, "bottleneck": "none", "radius": 1, **settings}
    return CorrespondenceFlow(CorrespondenceFlowSettings(**chosen), dim=Tiny.dim)


def copy(query, key, labels, *, settings):
    """Labels of `key`'s frame seen from `query`'s, a cell at a time."""
    _, height, width = query.shape
    out = torch.zeros(labels.shape, dtype=torch.float64)
    for y in range(height):
        for x in range(width):
            near = [(v, u) for v in range(height) for u in range(width) if abs(v - y) <= settings.radius and abs(u - x) <= settings.radius]
            weights = torch.stack([query[:, y, x] @ key[:, v, u] / settings.temperature for v, u in near]).softmax(0)
            out[:, y, x] = sum(weight * labels[:, v, u] for weight, (v, u) in zip(weights, near, strict=True))
    return out


def slow_loss(batch, encoder, settings, *, taught):
    centres = torch.tensor(settings.centres, dtype=torch.float64)
    losses = []
    for frames in batch.frames:
        features = encoder(frames).double()
        if settings.normalize:
            features = features / features.norm(dim=1, keepdim=True)
        ab = rgb_to_lab(frames.double())[:, 1:]
        if settings.compare == "cells":
            ab = F.avg_pool2d(ab, STRIDE)
        wanted = (ab[:, None] - centres[None, :, :, None, None]).square().sum(2).argmin(1)
        shares = torch.stack([(wanted == k).double() for k in range(4)], dim=1)
        grid = F.avg_pool2d(shares, STRIDE) if settings.compare == "pixels" else shares

        def cost(guess, frame, wanted=wanted):
            guess = F.interpolate(guess[None], size=wanted.shape[1:], mode="bilinear", align_corners=False)[0]
            return -torch.log(guess.gather(0, wanted[frame][None]) + 1e-8).mean()

        guess, forward = grid[0], []
        for start in range(settings.num_frames - 1):
            known = grid[start] if start == 0 or taught else guess
            guess = copy(features[start + 1], features[start], known, settings=settings)
            forward.append(cost(guess, start + 1))
        cycles = []
        for far in settings.cycles:
            labels = grid[0]
            for step in range(far):
                labels = copy(features[step + 1], features[step], labels, settings=settings)
            for step in reversed(range(far)):
                labels = copy(features[step], features[step + 1], labels, settings=settings)
            cycles.append(cost(labels, 0))
        losses.append(sum(forward) / len(forward) + settings.cycle_weight * sum(cycles) / len(cycles))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("taught", [True, False])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"compare": "cells", "temperature": 0.4},
        {"normalize": True, "temperature": 0.1, "cycle_weight": 0.5},
        {"num_frames": 4, "cycles": (1, 3), "radius": 2, "compare": "cells"},
    ],
)
def test_b1_loss_and_gradients_equal_the_slow_reference(settings, taught):
    objective = build(**settings, teacher=ALWAYS if taught else NEVER)
    encoder, batch = Tiny().double(), clips(1, frames=objective.num_frames)
    objective.advance(0, 10)
    ours, theirs = objective(batch, encoder).loss, slow_loss(batch, encoder, objective.settings, taught=taught)
    assert abs(ours.item() - theirs.item()) < 1e-5
    weights = list(encoder.parameters())
    for fast, slow in zip(torch.autograd.grad(ours, weights), torch.autograd.grad(theirs, weights), strict=True):
        torch.testing.assert_close(fast, slow, atol=1e-5, rtol=0)


def test_f064_on_a_still_clip_with_sharp_features_the_cycle_costs_what_the_way_there_costs():
    still = clips(frames=1).frames.expand(-1, 3, -1, -1, -1).contiguous()
    objective = build(normalize=True, temperature=1e-3, compare="cells", teacher=ALWAYS)
    output = objective(ClipBatch(frames=still, clean=still), Tiny())
    torch.testing.assert_close(output.logs["cycle"], output.logs["forward"], atol=1e-4, rtol=0)
    assert output.logs["forward"] < 0.2


def test_f063_the_teachers_rate_falls_from_90_to_60_percent():
    objective = CorrespondenceFlow(CorrespondenceFlowSettings(clusters=4, centres=CENTRES, radius=0, compare="cells", cycles=()), dim=1)
    still = torch.zeros(4000, 3, 3, 1, 1)

    def rate(step):
        objective.advance(step, 1000)
        torch.manual_seed(step)
        return objective(ClipBatch(frames=still, clean=still), nn.Conv2d(3, 1, 1)).logs["taught"].item()

    for step, wanted in ((0, 0.9), (500, 0.75), (1000, 0.6)):
        assert rate(step) == pytest.approx(wanted, abs=0.02)


def test_f063_resume_needs_no_state_but_the_step():
    def losses(steps):
        objective = build(bottleneck="rgb")
        found = []
        for step in steps:
            objective.advance(step, 10)
            torch.manual_seed(step)
            found.append(objective(clips(), Tiny()).loss.item())
        return found

    assert losses([0, 5, 9])[1:] == losses([5, 9])


def test_f070_channels_are_dropped_in_training_only_and_labels_stay_clean():
    objective, encoder = build(bottleneck="rgb", keep=0.0), Tiny()
    batch = clips(8)
    objective(batch, encoder)
    seen = encoder.seen.pop().unflatten(0, (8, 3))
    gone = seen.abs().amax((3, 4)) == 0
    assert (gone.sum(2) >= 1).all()
    assert (gone.sum(2) <= 2).all()
    assert (gone == gone[:, :1]).all()
    objective.eval()
    objective(batch, encoder)
    assert torch.equal(encoder.seen.pop().unflatten(0, (8, 3)), batch.frames)


def test_a_split_batch_draws_what_the_whole_would():
    objective, whole, encoder = build(bottleneck="lab", teacher=Schedule.constant(0.5)), clips(4), Tiny()
    torch.manual_seed(3)
    together = objective(whole, encoder).per_sample
    parts = []
    for first in (0, 2):
        torch.manual_seed(3)
        part = ClipBatch(frames=whole.frames[first : first + 2], clean=whole.clean[first : first + 2], first=first, total=4)
        parts.append(objective(part, encoder).per_sample)
    torch.testing.assert_close(together, torch.cat(parts))


@pytest.mark.parametrize("color", [(0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.5, 0.5, 0.5), (1.0, 0.0, 0.0)])
@pytest.mark.parametrize("settings", [{}, {"bottleneck": "lab"}, {"normalize": True, "compare": "cells"}, {"color": "rgb"}])
def test_b1_degenerate_clips_give_finite_loss_and_gradients(color, settings):
    frames = torch.tensor(color).view(3, 1, 1).expand(2, 3, 3, HEIGHT, WIDTH).clone()
    objective = CorrespondenceFlow(CorrespondenceFlowSettings(clusters=4, **settings), dim=Tiny.dim)
    encoder = Tiny()
    output = objective(ClipBatch(frames=frames, clean=frames), encoder)
    output.loss.backward()
    assert output.loss.isfinite()
    assert all(parameter.grad.isfinite().all() for parameter in encoder.parameters())
    assert output.loss < 1e-3, "one colour is no question"


def test_bf16_autocast_changes_little():
    objective, batch, encoder = build(), clips(), Tiny()
    torch.manual_seed(0)
    plain = objective(batch, encoder).loss
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = objective(batch, encoder).loss
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(plain, rounded, atol=0.02, rtol=0)


@pytest.mark.parametrize("settings", [{}, {"color": "rgb", "centres": None}])
def test_f095_pictures(settings):
    objective = build(**settings).eval()
    shown = objective.pictures(clips(), Tiny())
    assert set(shown) == {"target", "prediction", "labels", "references"} | ({"clusters"} if not settings else set())
    for picture in shown.values():
        assert picture.shape[0] == 3
        assert picture.min() >= 0
        assert picture.max() <= 1


def test_clusters_are_found_on_the_way():
    objective = CorrespondenceFlow(CorrespondenceFlowSettings(clusters=6), dim=Tiny.dim)
    torch.manual_seed(0)
    objective(clips(), Tiny())
    assert objective.palette.ready
    assert torch.pdist(objective.palette.centres).min() > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_frames": 1}, "num_frames = 1"),
        ({"radius": -1}, "radius = -1"),
        ({"temperature": 0.0}, "temperature = 0.0"),
        ({"cycle_weight": -0.1}, "cycle_weight = -0.1"),
        ({"keep": 1.5}, "keep = 1.5"),
        ({"cycles": (1, 3)}, r"must go 1..2 frames far"),
        ({"bottleneck": "hsv"}, "use rgb, lab or none"),
        ({"compare": "all"}, "pixels or cells"),
        ({"clusters": 1}, "clusters = 1"),
    ],
)
def test_bad_settings_say_what_is_wrong(settings, message):
    with pytest.raises(SettingError, match=message):
        CorrespondenceFlowSettings(**settings)
