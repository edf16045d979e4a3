"""Dense contrast against a slow version written from the formula: float64, one cell, one anchor at a time."""

import copy
import importlib.util
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from followspot.errors import SettingError
from followspot.objectives.base import ClipBatch
from followspot.objectives.dense_contrast import DenseContrast, DenseContrastSettings

_RANK = Path(__file__).with_name("modern_rank.py")
_spec = importlib.util.spec_from_file_location("modern_rank", _RANK)
modern_rank = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(modern_rank)

EVERYTHING = {
    "frames": 3,
    "head_dim": 4,
    "anchors": 3,
    "cross_view_cells": 2,
    "view_extent": (0.7, 1.2),
    "view_rotation": 0.3,
    "equivariance_weight": 0.7,
    "equivariance_anchors": 11,
}


def tiny_encoder(dim=5):
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.Tanh(), nn.Conv2d(8, dim, 3, padding=1)).double()


def tiny(**changes):
    torch.manual_seed(2)
    return DenseContrast(DenseContrastSettings(**EVERYTHING | changes), dim=5).double()


def clips_of(frames, clean=None):
    return ClipBatch(frames=frames, clean=frames if clean is None else clean)


def random_clips(batch=2, count=3, *, size=(16, 24)):
    generator = torch.Generator().manual_seed(0)
    frames, clean = (torch.rand(batch, count, 3, *size, generator=generator, dtype=torch.float64) for _ in range(2))
    return clips_of(frames, clean)


# -- the slow reference ------------------------------------------------------------------------------------------------------------------


def slow_map(uniform, extent, aspect, rotation, flip, ratio):
    """``point -> point`` from a view to its picture, and back, from six uniform numbers."""
    u = [float(v) for v in uniform]
    size, wide = extent[0] * (extent[1] / extent[0]) ** u[0], aspect[0] * (aspect[1] / aspect[0]) ** u[1]
    angle = (2 * u[2] - 1) * rotation
    across, down = size * math.sqrt(wide) * (-1 if u[3] < flip else 1), size / math.sqrt(wide)
    a, b = math.cos(angle) * across, -math.sin(angle) * down / ratio
    c, d = math.sin(angle) * across * ratio, math.cos(angle) * down
    tx = (2 * u[4] - 1) * max(0.0, 1 - abs(a) - abs(b))
    ty = (2 * u[5] - 1) * max(0.0, 1 - abs(c) - abs(d))
    det = a * d - b * c
    return (
        lambda p: (a * p[0] + b * p[1] + tx, c * p[0] + d * p[1] + ty),
        lambda p: ((d * (p[0] - tx) - b * (p[1] - ty)) / det, (-c * (p[0] - tx) + a * (p[1] - ty)) / det),
    )


def slow_read(picture, point, *, mirror):
    """Bilinear value of ``(C, H, W)`` at a point."""
    height, width = picture.shape[1:]
    place = []
    for value, size in ((point[0], width), (point[1], height)):
        pixel = (value + 1) / 2 * size - 0.5
        if mirror:  # about the outer edges of the border pixels
            pixel = (pixel + 0.5) % (2 * size)
            pixel = (2 * size - pixel if pixel > size else pixel) - 0.5
        place.append(min(max(pixel, 0), size - 1))
    x, y = place
    x0, y0 = min(int(x), width - 2), min(int(y), height - 2)
    top = picture[:, y0, x0] * (1 - (x - x0)) + picture[:, y0, x0 + 1] * (x - x0)
    bottom = picture[:, y0 + 1, x0] * (1 - (x - x0)) + picture[:, y0 + 1, x0 + 1] * (x - x0)
    return top * (1 - (y - y0)) + bottom * (y - y0)


def slow_view(frame, mapping):
    height, width = frame.shape[1:]
    seen = torch.empty_like(frame)
    for j in range(height):
        for i in range(width):
            point = ((i + 0.5) / width * 2 - 1, (j + 0.5) / height * 2 - 1)
            seen[:, j, i] = slow_read(frame, mapping(point), mirror=True)
    return seen


def slow_unit(vector):
    return vector / (vector @ vector + 1e-6).sqrt()


def slow_cell(point, height, width):
    column = min(max(math.floor((point[0] + 1) / 2 * width), 0), width - 1)
    return min(max(math.floor((point[1] + 1) / 2 * height), 0), height - 1), column


def slow_grid(uniform, side):
    return [(2 * (i + float(uniform[0])) / side - 1, 2 * (j + float(uniform[1])) / side - 1) for j in range(side) for i in range(side)]


def within(point):
    return abs(point[0]) <= 1 and abs(point[1]) <= 1


def slow_entropy(query, keys, target, temperature):
    exponents = torch.stack([query @ key / temperature for key in keys])
    return -(exponents[target] - exponents.logsumexp(0))


def slow_pairs(queries, keys, temperature):
    """Dicts ``(clip, number) -> vector`` of what is valid; the mean over each clip's queries."""
    order = list(keys)
    sums, counts = {}, {}
    for pair, query in queries.items():
        loss = slow_entropy(query, [keys[other] for other in order], order.index(pair), temperature)
        sums[pair[0]] = sums.get(pair[0], 0) + loss
        counts[pair[0]] = counts.get(pair[0], 0) + 1
    return {clip: sums[clip] / counts[clip] for clip in sums}


class SlowViews:
    """Every view of every frame, encoded one by one."""

    def __init__(self, settings, clips, encoder, head):
        batch, count = clips.frames.shape[:2]
        ratio = clips.frames.shape[-1] / clips.frames.shape[-2]
        view_draws, turn_draws = torch.rand(batch, 6), torch.rand(batch, 6)
        shown = clips.frames if settings.jittered else clips.clean
        self.first, self.second, self.turned, self.to_clip, self.to_turned = [], [], [], [], []
        s = settings
        for b in range(batch):
            mapping, _ = slow_map(view_draws[b], s.view_extent, s.view_aspect, s.view_rotation, s.view_flip, ratio)
            ranges = s.equivariance_extent, s.equivariance_aspect, s.equivariance_rotation, s.equivariance_flip
            turn, back = slow_map(turn_draws[b], *ranges, ratio)
            again = slow_view(clips.frames[b, 0], lambda point, outer=mapping, inner=turn: outer(inner(point)))
            self.first.append([head(encoder(slow_view(shown[b, t], mapping)[None]))[0] for t in range(count)])
            self.second.append([head(encoder(clips.frames[b, t][None]))[0].detach() for t in range(count)])
            self.turned.append(head(encoder(again[None]))[0])
            self.to_clip.append(mapping)
            self.to_turned.append(back)
        self.height, self.width = self.first[0][0].shape[1:]
        self.centers = slow_centers(self.height, self.width)

    def at(self, features, point):
        y, x = slow_cell(point, self.height, self.width)
        return slow_unit(features[:, y, x])


def slow_centers(height, width):
    return [((i + 0.5) / width * 2 - 1, (j + 0.5) / height * 2 - 1) for j in range(height) for i in range(width)]


def slow_contrast(s, seen):
    batch, count = len(seen.first), len(seen.first[0])
    draws, losses = torch.rand(batch, 2), []
    anchors = [[seen.at(seen.first[b][0], point) for point in slow_grid(draws[b], s.anchors)] for b in range(batch)]
    everywhere = [anchor for group in anchors for anchor in group]
    for b in range(batch):
        terms = []
        for t in range(1, count):
            for center in seen.centers:
                source = seen.to_clip[b](center)
                if not within(source):
                    continue
                place = seen.at(seen.second[b][t], source)
                label = max(range(len(anchors[b])), key=lambda k, place=place, own=anchors[b]: (place @ own[k]).item())
                query = seen.at(seen.first[b][t], center)
                terms.append(slow_entropy(query, everywhere, b * len(anchors[b]) + label, s.temperature))
        losses.append(torch.stack(terms).mean())
    return dict(enumerate(losses))


def slow_cross_view(s, seen):
    draws, queries, keys = torch.rand(len(seen.first), 2), {}, {}
    for b, to_clip in enumerate(seen.to_clip):
        for k, point in enumerate(slow_grid(draws[b], s.cross_view_cells)):
            if within(to_clip(point)):
                queries[b, k] = seen.at(seen.first[b][0], point)
                keys[b, k] = seen.at(seen.second[b][0], to_clip(point))
    return slow_pairs(queries, keys, s.temperature)


def slow_equivariance(s, seen):
    draws, here, there = torch.rand(len(seen.first), len(seen.centers)), {}, {}
    for b, to_turned in enumerate(seen.to_turned):
        shown = [k for k, center in enumerate(seen.centers) if within(to_turned(center))]
        shown.sort(key=lambda k, row=draws[b]: row[k].item())
        for k in shown[: s.equivariance_anchors]:
            here[b, k] = seen.at(seen.first[b][0], seen.centers[k])
            there[b, k] = slow_unit(slow_read(seen.turned[b], to_turned(seen.centers[k]), mirror=False))
    onward, back = (slow_pairs(q, k, s.equivariance_temperature) for q, k in ((here, there), (there, here)))
    return {b: (onward[b] + back[b]) / 2 for b in onward}


def slow_dense_contrast(settings, clips, encoder, head):
    seen = SlowViews(settings, clips, encoder, head)
    terms = [
        (settings.contrast_weight, slow_contrast(settings, seen)),
        (settings.cross_view_weight, slow_cross_view(settings, seen)),
        (settings.equivariance_weight, slow_equivariance(settings, seen)),
    ]
    return torch.stack([sum(weight * losses.get(b, 0) for weight, losses in terms) for b in range(len(clips.frames))])


# -- tests -------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [3, 4])
@pytest.mark.parametrize("jittered", [False, True])
def test_loss_and_gradients_equal_the_slow_reference(seed, jittered):
    clips, answers = random_clips(), []
    for slow in (False, True):
        encoder, objective = tiny_encoder(), tiny(jittered=jittered)
        torch.manual_seed(seed)
        if slow:
            per_sample = slow_dense_contrast(objective.settings, clips, encoder, objective.head)
            loss = per_sample.mean()
        else:
            output = objective(clips, encoder)
            loss, per_sample = output.loss, output.per_sample
        loss.backward()
        answers.append([per_sample.detach(), *[p.grad for p in (*encoder.parameters(), *objective.parameters())]])
    for ours, reference in zip(*answers, strict=True):
        assert (ours - reference).abs().max() <= 1e-5


def test_single_precision_gives_the_same_to_1e_5():
    clips, losses = random_clips(), []
    for dtype in (torch.float32, torch.float64):
        torch.manual_seed(3)
        part = clips_of(clips.frames.to(dtype), clips.clean.to(dtype))
        losses.append(tiny().to(dtype)(part, tiny_encoder().to(dtype)).loss.item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("amp", [False, True])
def test_nothing_to_see_gives_finite_losses_and_gradients(level, amp):
    encoder, objective = tiny_encoder().float(), tiny().float()
    for module in encoder:  # a network that says nothing at all about such a clip
        if level == 0.0 and isinstance(module, nn.Conv2d):
            nn.init.zeros_(module.bias)
    if level == 0.0:
        nn.init.zeros_(objective.head.bias)
    with torch.autocast("cpu", torch.bfloat16, enabled=amp):
        output = objective(clips_of(torch.full((2, 3, 3, 16, 24), level)), encoder)
    output.loss.backward()
    assert torch.isfinite(output.loss)
    assert torch.isfinite(output.per_sample).all()
    for parameter in (*encoder.parameters(), *objective.parameters()):
        assert torch.isfinite(parameter.grad).all()


def test_no_gradient_flows_through_view_2():
    clips = random_clips()
    encoder, objective = tiny_encoder(), tiny(equivariance_weight=0.0)
    frames = clips.frames.clone().requires_grad_()
    objective(clips_of(frames, clips.clean), encoder).loss.backward()
    assert frames.grad is None or not frames.grad.any()


def test_terms_without_weight_cost_no_passes():
    seen = []
    encoder = tiny_encoder()
    encoder.register_forward_hook(lambda _, inputs, __: seen.append((len(inputs[0]), torch.is_grad_enabled())))
    clips = random_clips()
    for changes, passes in (
        ({}, [(8, True), (6, False)]),
        ({"equivariance_weight": 0.0}, [(6, True), (6, False)]),
        ({"contrast_weight": 0.0}, [(4, True), (2, False)]),
        ({"contrast_weight": 0.0, "cross_view_weight": 0.0}, [(4, True)]),
    ):
        seen.clear()
        output = tiny(**changes)(clips, encoder)
        assert seen == passes
        assert torch.isfinite(output.loss)


def test_anchor_usage_sounds_the_alarm_when_all_cells_look_alike():
    class Constant(nn.Module):
        def forward(self, frames):
            return torch.ones(len(frames), 5, 4, 6, dtype=frames.dtype)

    settings = DenseContrastSettings(frames=2, head_dim=None)
    clips = clips_of(torch.rand(2, 2, 3, 16, 24, dtype=torch.float64))
    logs = DenseContrast(settings, dim=5)(clips, Constant()).logs
    assert logs["anchor_usage"] == 0
    assert logs["max_probability"] == pytest.approx(1 / 128)
    torch.manual_seed(0)
    assert DenseContrast(settings, dim=5)(clips, tiny_encoder()).logs["anchor_usage"] > 0.3


def test_the_clip_own_anchor_is_the_label_where_nothing_moves():
    """With the clip itself as both views and an anchor at every cell, each cell's label is itself, whatever the frame."""
    settings = DenseContrastSettings(
        frames=3, head_dim=None, anchors=4, cross_view_weight=0.0, view_extent=(1.0, 1.0), view_flip=0.0, temperature=0.01
    )
    still = torch.rand(2, 1, 3, 16, 16, dtype=torch.float64).expand(-1, 3, -1, -1, -1)

    class Blocks(nn.Module):  # the pixels of a cell are its features
        def forward(self, frames):
            return nn.functional.pixel_unshuffle(frames - 0.5, 4)

    output = DenseContrast(settings, dim=48)(clips_of(still), Blocks())
    assert output.loss < 1e-6
    assert output.logs["anchor_usage"] == pytest.approx(1)


def test_training_tells_cells_apart():
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Conv2d(3, 16, 5, 4, 2), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1))
    objective = DenseContrast(DenseContrastSettings(frames=2, head_dim=8, anchors=4, equivariance_weight=1.0), dim=16)
    small = torch.rand(4, 1, 3, 6, 6)
    frames = nn.functional.interpolate(small.flatten(0, 1), size=(32, 32), mode="bicubic").clamp(0, 1)[:, None].expand(-1, 2, -1, -1, -1)
    optimiser = torch.optim.Adam([*encoder.parameters(), *objective.parameters()], lr=1e-2)
    losses = []
    for step in range(30):
        torch.manual_seed(step)
        output = objective(clips_of(frames), encoder)
        optimiser.zero_grad()
        output.loss.backward()
        optimiser.step()
        losses.append(float(output.loss.detach()))
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_two_processes_give_the_gradients_of_the_joined_batch(in_two_processes):
    """B3, for this objective, the random walk and their mixture."""
    halves_of_two = in_two_processes(_RANK, "be_one_of_two")
    whole = modern_rank.frames()
    loss, per_sample, *grads = modern_rank.gradients(clips_of(whole))
    halves = halves_of_two()
    assert (torch.cat([half[1] for half in halves]) - per_sample).abs().max() <= 1e-6
    for half in halves:
        for got, expected in zip([half[0], *half[2:]], [loss, *grads], strict=True):
            assert (got - expected).abs().max() <= 1e-6


def test_pictures_colour_cells_by_their_anchor():
    clips = random_clips()
    (picture,) = tiny().pictures(clips, tiny_encoder()).values()
    assert picture.shape == (3, 16, 3 * 24)
    assert picture.min() >= 0
    assert picture.max() <= 1
    assert len(picture.flatten(1).unique(dim=1).T) <= 9


def test_the_head_is_left_behind():
    objective = tiny()
    assert [name for name, _ in objective.named_parameters()] == ["head.weight", "head.bias"]
    bare = tiny(head_dim=None)
    assert not list(bare.parameters())
    assert torch.isfinite(copy.deepcopy(bare)(random_clips(), tiny_encoder()).loss)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"frames": 1}, "frames = 1: expected 2"),
        ({"contrast_weight": -1.0}, "contrast_weight = -1.0"),
        ({"contrast_weight": 0.0, "cross_view_weight": 0.0}, "all 0"),
        ({"temperature": 0.0}, "temperature = 0.0"),
        ({"equivariance_temperature": float("nan")}, "equivariance_temperature = nan"),
        ({"anchors": 1}, "anchors = 1"),
        ({"head_dim": 0}, "head_dim = 0"),
        ({"view_flip": 2.0}, "flip = 2.0"),
        ({"equivariance_extent": (1.0, 0.5)}, r"extent = \(1.0, 0.5\)"),
    ],
)
def test_impossible_settings_are_refused(wrong, said):
    with pytest.raises(SettingError, match=said):
        DenseContrastSettings(**wrong)
