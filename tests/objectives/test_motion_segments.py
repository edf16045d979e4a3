"""Motion segments against a slow version written from the formulas: float64, one cell at a time."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from followspot.errors import SettingError
from followspot.models.projected_descriptor import ProjectedDescriptor
from followspot.objectives import motion_segments
from followspot.objectives.base import ClipBatch
from followspot.objectives.motion_segments import MotionSegments, MotionSegmentsSettings, _kmeans, cell_motion, near
from followspot.ops.color import rgb_to_lab

SMALL = {"frames": 3, "radius": 3, "queries": 30, "segments": (3, 6, 9), "temperature": 0.1}


def tiny_encoder(dim=5):
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.Tanh(), nn.Conv2d(8, dim, 3, padding=1)).double()


def objective_of(**changes):
    return MotionSegments(MotionSegmentsSettings(**SMALL | changes), dim=5)


def texture(dx, dy, *, seed=0, size=(32, 48)):
    """Waves of 8 to 40 pixels in every direction and their own in each colour, moved by (dx, dy) pixels; ``(3, H, W)``."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(*(torch.arange(side, dtype=torch.float64) for side in size), indexing="ij")
    waves = 2 * math.pi / (8 + 32 * torch.rand(3, 12, 1, 1, generator=generator, dtype=torch.float64))
    angles, phases = 2 * math.pi * torch.rand(2, 3, 12, 1, 1, generator=generator, dtype=torch.float64)
    light = (waves * (angles.cos() * (columns - dx) + angles.sin() * (rows - dy)) + phases).sin().sum(1)
    return (0.5 + 0.07 * light).clamp(0, 1)


def moving(dx, dy, *, count=3, batch=2, size=(32, 48)):
    """What is at (x, y) of the first frame is at (x + dx t, y + dy t) of frame t."""
    return torch.stack([torch.stack([texture(dx * t, dy * t, seed=b, size=size) for t in range(count)]) for b in range(batch)])


def two_motions(*, count=3, size=(32, 48)):
    """The left half stands still, the right half moves, some of it out of the frame."""
    still, moved = moving(0, 0, count=count, size=size), moving(3.5, -2.5, count=count, size=size)
    return torch.cat([still[..., : size[1] // 2], moved[..., size[1] // 2 :]], 4)


def clips_of(clean, *, jitter=0.05):
    noise = torch.rand(clean.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    return ClipBatch(frames=(clean + jitter * (noise - 0.5)).clamp(0, 1).to(clean), clean=clean)


class Colours(nn.Module):
    """The mean colour of each cell of four pixels, and a constant, so that grey is something too."""

    def forward(self, frames):
        cells = nn.functional.avg_pool2d(frames, 4) - 0.5
        return torch.cat([cells, torch.full_like(cells[:, :1], 0.1)], 1)


class Blind(nn.Module):
    """The same everywhere."""

    def forward(self, frames):
        return torch.ones_like(frames[:, :, ::4, ::4])


# -- the slow reference ------------------------------------------------------------------------------------------------------------------


def slow_segments(lab, was, share, grid, segments, draws, order):
    """The segment of each cell of one clip, from loops over cells and centres."""
    places = [(y, x) for y in range(grid[0]) for x in range(grid[1])]
    moved = [[was[i][axis] - place[axis] for axis in range(2)] for i, place in enumerate(places)]
    spread = []
    for axis in range(2):
        values = [moved[i][axis] if share[i] > 0 else 0.0 for i in range(len(places))]
        mean = sum(values) / len(values)
        spread.append(math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1)))
    u = [float(draw) for draw in draws]
    points = []
    for i in range(len(places)):
        colour = [(0.5 + u[0]) * value / 30 for value in lab[i]]
        place = [(0.3 + u[1]) * value / 8 for value in places[i]]
        motions = [(0.5 + 1.5 * u[2]) * moved[i][axis] / (spread[axis] + 0.3) for axis in range(2)]
        points.append(colour + place + motions)
    return slow_kmeans(points, [value > 0 for value in share], segments[int(u[3] * len(segments))], order.tolist())


def slow_kmeans(points, valid, count, order):
    count = min(count, max(1, sum(valid) // 2), len(points))
    first = sorted(range(len(points)), key=lambda i: (not valid[i], -order[i]))[:count]
    centres = [points[i] for i in first]

    def nearest(point):
        return min(range(count), key=lambda k: math.dist(point, centres[k]))

    for _ in range(6):
        members = [[] for _ in range(count)]
        for point, counts in zip(points, valid, strict=True):
            if counts:
                members[nearest(point)].append(point)
        centres = [
            [sum(values) / len(mine) for values in zip(*mine, strict=True)] if mine else old
            for mine, old in zip(members, centres, strict=True)
        ]
    return [nearest(point) for point in points]


def gaussian(one, other, sigma):
    return math.exp(-sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) / (2 * sigma**2))


def slow_labels(was, share, segment, places, sigma):
    """L(j, s) as a list over j of lists over s."""
    labels = []
    for place in places:
        row = [0.0] * (max(segment) + 1)
        for i, s in enumerate(segment):
            if share[i] > 0:
                row[s] += gaussian(was[i], place, sigma)
        whole = max(sum(row), 0.3)
        labels.append([value / whole for value in row])
    return labels


def slow_clip(settings, was, share, segment, maps, order):
    """Loss of one clip: ``maps`` ``(2, h, w, d)`` of the first frame and of the last."""
    places = [(y, x) for y in range(maps.shape[1]) for x in range(maps.shape[2])]
    first, last = ([cell / (cell.square().sum() + 1e-6).sqrt() for cell in frame.flatten(0, 1)] for frame in maps)
    labels = slow_labels(was, share, segment, places, settings.sigma)
    chosen = sorted(range(len(places)), key=lambda i: (share[i] == 0, -order[i]))[: settings.queries]
    total, weight = 0.0, 0.0
    for i in (i for i in chosen if share[i] > 0):
        around = [j for j, place in enumerate(places) if max(abs(place[a] - places[i][a]) for a in (0, 1)) <= settings.radius]
        scores = torch.stack([first[j] @ last[i] for j in around]) / settings.temperature
        p = (scores.exp() / scores.exp().sum()).unbind()
        found = sum(p[k] * labels[j][segment[i]] for k, j in enumerate(around))
        goal = [gaussian(was[i], places[j], settings.sigma) for j in around]
        goal = [value / sum(goal) for value in goal]
        astray = sum(g * (math.log(g + 1e-9) - p[k].log()) for k, g in enumerate(goal))
        loss = -settings.segment_weight * (found + 1e-3).log() + settings.point_weight * astray
        total, weight = total + share[i] * loss, weight + share[i]
    return total / weight


def slow_motion_segments(settings, clips, encoder):
    batch, frames = len(clips.frames), settings.frames
    maps = [encoder(clips.frames[b, [0, frames - 1]]).permute(0, 2, 3, 1) for b in range(batch)]
    grid = tuple(maps[0].shape[1:3])
    motion = cell_motion(clips.clean[:, :frames], grid=grid, radius=settings.radius)
    cells = grid[0] * grid[1]
    draws, seeds, order = torch.rand(batch, 4), torch.rand(batch, cells), torch.rand(batch, cells)
    losses = []
    for b in range(batch):
        was, share = motion.place[b].tolist(), motion.share[b].tolist()
        tiles = rgb_to_lab(clips.clean[b, frames - 1]).unflatten(2, (grid[1], -1)).unflatten(1, (grid[0], -1))
        lab = [tiles[:, y, :, x].mean((1, 2)).tolist() for y in range(grid[0]) for x in range(grid[1])]
        segment = slow_segments(lab, was, share, grid, settings.segments, draws[b], seeds[b])
        losses.append(slow_clip(settings, was, share, segment, maps[b], order[b].tolist()))
    return torch.stack(losses)


CASES = [
    {},
    {"segment_weight": 0.0, "point_weight": 1.0},
    {"segment_weight": 0.7, "point_weight": 0.0, "sigma": 0.6},
    {"radius": 1, "queries": 500, "temperature": 0.5},
    {"frames": 2, "radius": 50, "queries": 12, "segments": (40,), "sigma": 2.0},
]


@pytest.mark.parametrize("changes", CASES)
def test_loss_and_gradients_equal_the_slow_reference(changes):
    clips, answers = clips_of(two_motions()), []
    for slow in (False, True):
        encoder, objective = tiny_encoder(), objective_of(**changes)
        torch.manual_seed(3)
        if slow:
            per_sample = slow_motion_segments(objective.settings, clips, encoder)
            loss = per_sample.mean()
        else:
            output = objective(clips, encoder)
            loss, per_sample = output.loss, output.per_sample
        loss.backward()
        answers.append([per_sample.detach(), *[p.grad for p in encoder.parameters()]])
    assert answers[0][0].dtype == torch.float64
    assert answers[0][0].min() > 0.1
    for ours, reference in zip(*answers, strict=True):
        assert (ours - reference).abs().max() <= 1e-5


def test_single_precision_gives_the_same_to_1e_4():
    clips, losses = clips_of(two_motions()), []
    for dtype in (torch.float32, torch.float64):
        torch.manual_seed(3)
        same = ClipBatch(frames=clips.frames.to(dtype), clean=clips.clean.to(dtype))
        losses.append(objective_of(segments=(2,))(same, tiny_encoder().to(dtype)).loss.item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


# -- where cells were --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [(4.0, -2.0), (-2.6, 1.3), (0.0, 0.0)])
@pytest.mark.parametrize(("size", "grid"), [((64, 96), (8, 12)), ((64, 96), (16, 24))])
def test_cells_come_from_where_the_texture_moved_them(step, size, grid):
    """To a twentieth of a cell, also between cells: 5.2 pixels are 0.65 cells of 8."""
    motion = cell_motion(moving(*step, size=size), grid=grid, radius=12)
    assert motion.place.shape == (2, grid[0] * grid[1], 2)
    assert motion.share.shape == (2, grid[0] * grid[1])
    stride = size[0] // grid[0]
    expected = torch.tensor([(y - 2 * step[1] / stride, x - 2 * step[0] / stride) for y in range(grid[0]) for x in range(grid[1])])
    edge = 16 // stride
    inside = torch.zeros(grid, dtype=torch.bool)
    inside[edge:-edge, edge:-edge] = True
    away = (motion.place - expected).norm(dim=2)[:, inside.flatten()]
    assert away.median() < 0.05
    assert away.max() < 0.15
    assert (motion.share[:, inside.flatten()] > 0.95).all()


def test_cells_that_came_into_the_frame_take_no_part():
    share = cell_motion(moving(8.0, 0.0, size=(64, 96)), grid=(8, 12), radius=12).share.view(2, 8, 12)
    assert (share[..., :2] == 0).all()
    assert (share[:, 1:-1, 4:-1] > 0.9).all()


def test_cells_that_moved_beyond_the_radius_take_no_part():
    clean = moving(0.0, 5.0, size=(64, 96))
    near_enough, too_far = (cell_motion(clean, grid=(16, 24), radius=radius) for radius in (3, 2))  # ten pixels are 2.5 cells
    assert (near_enough.share[:, 8 * 24 : 12 * 24] > 0).all()
    assert (too_far.share == 0).float().mean() > 0.99
    assert torch.equal(near_enough.place, too_far.place)


def test_a_cell_moves_as_most_of_its_pixels_that_are_believed(monkeypatch):
    flow, believed = np.zeros((2, 8, 12), np.float32), np.ones((8, 12), bool)
    flow[:, :4, :4] = [[[2]], [[-3]]]
    believed[:3, 4:8] = False  # a quarter of the second cell is left, and half of the third: too little
    believed[:2, 8:12] = False
    flow[0, 4], flow[0, 5:, :2], believed[4, :4] = 99, 6, False  # half of what is left of the fourth moves by six
    flow[0, 4, 4:] = 0
    monkeypatch.setattr(motion_segments, "chained_flow", lambda *_: (flow, believed))
    motion = motion_segments.cell_motion(torch.zeros(1, 2, 3, 8, 12), grid=(2, 3), radius=5)
    torch.testing.assert_close(motion.share, torch.tensor([[1, 0.0, 0, 0.75, 1, 1]]))
    torch.testing.assert_close(motion.place[0, [0, 3, 4]], torch.tensor([[-0.75, 0.5], [1, 0.75], [1, 1]]))


def test_motion_is_as_precise_as_the_clips_are():
    clean = moving(1.0, 0.0)
    for dtype in (torch.float32, torch.float64):
        motion = cell_motion(clean.to(dtype), grid=(8, 12), radius=3)
        assert motion.place.dtype == motion.share.dtype == dtype


def test_cells_within_a_square_window_are_near():
    window = near((4, 5), radius=2, like=torch.zeros(()))
    for i in range(20):
        for j in range(20):
            assert window[i, j] == (max(abs(i // 5 - j // 5), abs(i % 5 - j % 5)) <= 2)


# -- segments ----------------------------------------------------------------------------------------------------------------------------


def test_clusters_are_those_of_loops():
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(4, 60, 7, generator=generator, dtype=torch.float64)
    valid, draws = torch.rand(4, 60, generator=generator) < 0.7, torch.rand(4, 60, generator=generator)
    valid[3, 5:] = False  # at most five: at most two clusters
    count = torch.tensor([2, 9, 80, 9])
    found = _kmeans(points, valid, count, draws)
    for b in range(4):
        assert found[b].tolist() == slow_kmeans(points[b].tolist(), valid[b].tolist(), int(count[b]), draws[b].tolist())
    assert found[3].max() < 2


def test_points_that_take_no_part_do_not_move_centres():
    points = torch.tensor([0.0, 1.0, 10.0, 11.0, 1000.0, -500.0]).view(1, 6, 1)
    valid, draws = torch.tensor([[True] * 4 + [False] * 2]), torch.tensor([[0.3, 0.2, 0.9, 0.1, 0.99, 0.98]])
    assert _kmeans(points, valid, torch.tensor([2]), draws).tolist() == [[1, 1, 0, 0, 0, 1]]


def test_what_moves_alone_is_a_segment_of_its_own():
    """One colour throughout each clip would leave only motion; of two segments, one is then the half that moves."""
    clean = two_motions(size=(64, 96)).mean(2, keepdim=True).expand(-1, -1, 3, -1, -1).contiguous()
    objective, clips = objective_of(segments=(2,), radius=12), clips_of(clean)
    motion = cell_motion(clean, grid=(8, 12), radius=12)
    torch.manual_seed(0)
    segment = objective._segments(clips, motion, grid=(8, 12)).view(2, 8, 12)[:, 1:-1]
    left, right = segment[..., 1:5].float().mean((1, 2)), segment[..., 7:11].float().mean((1, 2))
    assert ((left - right).abs() > 0.5).all()


# -- what the loss wants -----------------------------------------------------------------------------------------------------------------


def tiles(*, size=(64, 64)):
    """Tiles of many colours that move as one."""
    colours = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    wide = colours.repeat_interleave(16, 2).repeat_interleave(16, 3)
    frames = [wide[:, :, 10 - 3 * t : 10 - 3 * t + size[0], 10 - 2 * t : 10 - 2 * t + size[1]] for t in range(3)]
    return torch.stack(frames, 1) * 0.9 + 0.1 * moving(2.0, 3.0, batch=1, size=size)


def test_features_that_tell_segments_apart_cost_less_than_those_that_do_not():
    outputs = []
    for encoder in (Colours(), Blind()):
        torch.manual_seed(0)
        objective = objective_of(radius=8, queries=200, segments=(10,), temperature=0.02, point_weight=0.0)
        outputs.append(objective(clips_of(tiles(), jitter=0.0), encoder))
    sees, blind = outputs
    assert sees.loss < 0.6 * blind.loss
    assert sees.logs["found"] > 0.6
    assert blind.logs["found"] < 0.35
    assert sees.logs["believed"] == blind.logs["believed"] > 0.5


@pytest.mark.parametrize("step", [0.0, 2.0, 4.0])
def test_the_divergence_is_half_the_squared_way_for_features_that_stay_behind(step):
    """Places alone, as features: their weights are a Gaussian around where a cell is, and the goal is one around where it was."""

    class Places(nn.Module):
        def forward(self, frames):
            y, x = torch.meshgrid(*(0.2 * torch.arange(side, dtype=frames.dtype) for side in (16, 16)), indexing="ij")
            return torch.stack([y.cos(), y.sin(), x.cos(), x.sin()]).expand(len(frames), -1, -1, -1)

    # The cosine of two cells d apart is about 1 - 0.2² d² / 4, which over 0.02 is a Gaussian of one cell.
    objective = objective_of(radius=15, queries=256, temperature=0.02, segment_weight=0.0, point_weight=1.0)
    output = objective(clips_of(moving(0.0, step, size=(64, 64))), Places())
    assert output.loss.item() == pytest.approx((2 * step / 4) ** 2 / 2, rel=0.25, abs=0.05)


def test_features_that_do_not_see_are_as_good_as_chance():
    """Blind features take from everywhere near alike: what is found is the mean of the labels there, by hand on a whole still frame."""
    clean = moving(0.0, 0.0, batch=1)
    objective = objective_of(radius=50, queries=96, segment_weight=1.0, point_weight=0.0, segments=(2,))
    torch.manual_seed(0)
    found = objective(clips_of(clean), Blind()).logs["found"]
    torch.manual_seed(0)
    motion = cell_motion(clean, grid=(8, 12), radius=50)
    share = nn.functional.one_hot(objective._segments(clips_of(clean), motion, grid=(8, 12))[0]).double().mean(0)
    assert float(found) == pytest.approx(float(share.square().sum()), abs=0.02)


def test_ten_steps_lower_the_loss_of_the_projected_descriptor():
    clean = moving(2.3, -1.4, size=(64, 96)).float()
    clips, objective, encoder = clips_of(clean, jitter=0.2), objective_of(radius=6, queries=96), ProjectedDescriptor()

    def loss():
        torch.manual_seed(0)
        return objective(clips, encoder).loss

    before, optimizer = loss().item(), torch.optim.Adam(encoder.parameters(), lr=2e-3)
    for _ in range(10):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert loss().item() < 0.9 * before


# -- clips of every kind -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("colour", [(0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.5, 0.5, 0.5), (1.0, 0.0, 0.0)])
@pytest.mark.parametrize("amp", [False, True])
def test_nothing_to_see_gives_finite_losses_and_gradients(colour, amp):
    encoder, objective = tiny_encoder().float(), objective_of()
    if not any(colour):  # a network that says nothing at all about such a clip
        for layer in (encoder[0], encoder[2]):
            nn.init.zeros_(layer.bias)
    clean = torch.tensor(colour).view(3, 1, 1).expand(2, 3, 3, 32, 48).contiguous()
    with torch.autocast("cpu", torch.bfloat16, enabled=amp):
        output = objective(ClipBatch(frames=clean, clean=clean), encoder)
    output.loss.backward()
    assert output.loss.isfinite()
    assert output.per_sample.shape == (2,)
    for parameter in encoder.parameters():
        assert parameter.grad.isfinite().all()


@pytest.mark.parametrize("clean", [moving(0.0, 0.0), torch.rand(2, 3, 3, 32, 48, dtype=torch.float64)], ids=["still", "noise"])
def test_a_still_and_noise_give_finite_losses_and_gradients(clean):
    encoder = tiny_encoder()
    output = objective_of()(clips_of(clean), encoder)
    output.loss.backward()
    assert output.loss.isfinite()
    assert all(parameter.grad.isfinite().all() for parameter in encoder.parameters())


def test_clips_without_flow_to_believe_cost_nothing_and_change_nothing():
    lost, good = moving(0.0, 8.0), moving(0.0, 1.0)
    torch.manual_seed(3)
    alone = objective_of()(clips_of(good[:1].repeat(2, 1, 1, 1, 1)), tiny_encoder())
    torch.manual_seed(3)
    mixed = objective_of()(clips_of(torch.cat([good[:1], lost[:1]])), tiny_encoder())
    assert mixed.per_sample[1] == 0
    assert mixed.per_sample[0] == pytest.approx(float(alone.per_sample[0]), rel=1e-9)
    assert mixed.loss.item() == pytest.approx(mixed.per_sample.mean().item())
    encoder = tiny_encoder()
    objective_of()(clips_of(lost), encoder).loss.backward()
    assert all((parameter.grad == 0).all() for parameter in encoder.parameters())


def test_frames_between_are_not_encoded_and_later_ones_not_looked_at():
    class Counting(nn.Module):
        seen = 0

        def forward(self, frames):
            self.seen += len(frames)
            return Colours()(frames)

    clean, encoder, losses = two_motions(count=5), Counting(), []
    for count in (3, 5):
        torch.manual_seed(3)
        losses.append(objective_of()(clips_of(clean[:, :count], jitter=0.0), encoder).loss.item())
    assert losses[0] == losses[1]
    assert encoder.seen == 2 * 2 * 2


def test_a_split_batch_draws_what_the_whole_would():
    clean, encoder = torch.cat([two_motions(), moving(1.0, 0.5)]), tiny_encoder()
    whole = clips_of(clean)
    torch.manual_seed(3)
    together = objective_of()(whole, encoder).per_sample
    parts = []
    for first in (0, 2):
        torch.manual_seed(3)
        part = ClipBatch(frames=whole.frames[first : first + 2], clean=whole.clean[first : first + 2], first=first, total=4)
        parts.append(objective_of()(part, encoder).per_sample)
    torch.testing.assert_close(together, torch.cat(parts))


def test_pictures_show_the_ends_beside_the_segments():
    clean = moving(0.0, 4.0, size=(64, 96))
    torch.manual_seed(0)
    (picture,) = objective_of().pictures(clips_of(clean), Colours()).values()
    assert picture.shape == (3, 64, 3 * 96)
    assert torch.equal(picture[..., :96].double(), clean[0, 0])
    assert torch.equal(picture[..., 96:192].double(), clean[0, -1])
    cells = picture[..., 192:].unflatten(2, (24, 4)).unflatten(1, (16, 4))
    assert (cells == cells[:, :, :1, :, :1]).all()
    colours = cells[:, :, 0, :, 0].flatten(1).T
    motion = cell_motion(clean[:1], grid=(16, 24), radius=3)
    assert torch.equal(colours.sum(1) > 0, motion.share[0] > 0)
    assert 2 < len(colours.unique(dim=0)) <= 1 + 9


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"frames": 1}, "frames = 1: expected 2 or more"),
        ({"radius": 0}, "radius = 0: expected 1 or more"),
        ({"queries": 0}, "queries = 0: expected 1 or more"),
        ({"temperature": 0.0}, "temperature = 0.0: expected a finite number above 0"),
        ({"temperature": float("nan")}, "temperature = nan"),
        ({"sigma": float("inf")}, "sigma = inf"),
        ({"segment_weight": -1.0}, "segment_weight = -1.0: expected 0 or more"),
        ({"point_weight": float("nan")}, "point_weight = nan"),
        ({"segments": ()}, r"segments = \[\]: expected one or more numbers"),
        ({"segments": (10, 1)}, r"segments = \[10, 1\]: expected one or more numbers, each 2 or more"),
    ],
)
def test_impossible_settings_are_refused(wrong, said):
    with pytest.raises(SettingError, match=said):
        MotionSegmentsSettings(**wrong)
