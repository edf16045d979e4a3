"""The contrastive random walk against a slow version written from the formula: float64, one path at a time."""

import pytest
import torch
from torch import nn

from followspot.errors import SettingError
from followspot.objectives.base import ClipBatch
from followspot.objectives.random_walk import RandomWalk, RandomWalkSettings, home_probabilities
from followspot.ops import views

VIEW = {"view_extent": (0.6, 1.2), "view_aspect": (0.8, 1.2), "view_rotation": 0.4, "view_flip": 0.5}


def tiny_encoder(dim=5):
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.Tanh(), nn.Conv2d(8, dim, 3, padding=1)).double()


def tiny(**changes):
    torch.manual_seed(2)
    return RandomWalk(RandomWalkSettings(**{"head_dim": 4, "temperature": 0.1, "edge_dropout": 0.3} | changes), dim=5).double()


def clips_of(frames):
    return ClipBatch(frames=frames, clean=frames)


def random_clips(batch=2, count=4, *, size=(12, 16)):
    return clips_of(torch.rand(batch, count, 3, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64))


class Blocks(nn.Module):
    """The pixels of a cell are its features."""

    def forward(self, frames):
        return nn.functional.pixel_unshuffle(frames - 0.5, 4)


def slow_steps(origin, goal, temperature, kept):
    """Probabilities from each node to each, as nested lists of scalars."""
    rows = []
    for p, node in enumerate(origin):
        weights = [(node @ other / temperature).exp() * float(kept[p, q]) for q, other in enumerate(goal)]
        rows.append([weight / sum(weights) for weight in weights])
    return rows


def slow_goals(view, rows, columns, height, width):
    """Which node of the view each node should end at, for those whose place it shows."""
    if view is None:
        return {p: p for p in range(len(rows) * len(columns))}
    goals, inverse = {}, torch.linalg.inv(view[:, :2])
    for p, (y, x) in enumerate((y, x) for y in rows for x in columns):
        place = torch.tensor([(x + 0.5) / width * 2 - 1, (y + 0.5) / height * 2 - 1], dtype=torch.float64)
        u, v = (inverse @ (place - view[:, 2])).tolist()
        if max(abs(u), abs(v)) <= 1:
            i = min(range(len(columns)), key=lambda i, u=u: abs((columns[i] + 0.5) / width * 2 - 1 - u))
            j = min(range(len(rows)), key=lambda j, v=v: abs((rows[j] + 0.5) / height * 2 - 1 - v))
            goals[p] = j * len(columns) + i
    return goals


def slow_random_walk(settings, clips, encoder, head):
    batch, count = clips.frames.shape[:2]
    stride = settings.cell_stride
    frames, view = clips.frames, None
    if not settings.view().still:
        view = views.random_views(torch.rand(batch, views.DRAWS).double(), settings.view(), ratio=frames.shape[-1] / frames.shape[-2])
        frames = torch.cat([frames, views.warp(frames[:, :1], view)], 1)
    starts = (torch.rand(batch, 2) * stride).long().tolist() if stride > 1 else [[0, 0]] * batch
    nodes, goals = [], []
    for b in range(batch):
        nodes.append([])
        for t in range(frames.shape[1]):
            cells = head(encoder(frames[b, t][None]))[0]
            height, width = cells.shape[1:]
            rows = [starts[b][0] + stride * j for j in range(height // stride)]
            columns = [starts[b][1] + stride * i for i in range(width // stride)]
            nodes[b].append([cells[:, y, x] / (cells[:, y, x].square().sum() + 1e-6).sqrt() for y in rows for x in columns])
        goals.append(slow_goals(None if view is None else view[b], rows, columns, height, width))
    size = len(nodes[0][0])
    there_draws, back_draws = torch.rand(batch, count - 1, size, size), torch.rand(batch, count - 1, size, size)
    losses = []
    for b in range(batch):
        kept = there_draws[b] >= settings.edge_dropout, back_draws[b] >= settings.edge_dropout
        there = [slow_steps(nodes[b][t], nodes[b][t + 1], settings.temperature, kept[0][t]) for t in range(count - 1)]
        last = nodes[b][0 if view is None else -1]
        back = [slow_steps(nodes[b][t + 1], nodes[b][t] if t else last, settings.temperature, kept[1][t]) for t in range(count - 1)]
        terms = []
        for turn in range(1, count):
            for home, goal in goals[b].items():
                chance = [torch.ones((), dtype=torch.float64) if q == home else 0 for q in range(size)]
                for step in there[:turn] + back[:turn][::-1]:
                    chance = [sum(chance[p] * step[p][q] for p in range(size)) for q in range(size)]
                # Cross-entropy of the logarithms of a row, which sums to 1.
                terms.append(-(chance[goal] + 1e-20).log())
        losses.append(torch.stack(terms).mean())
    return torch.stack(losses)


@pytest.mark.parametrize("changes", [{}, {"cell_stride": 2}, {"frames": 3, **VIEW}, {"frames": 2, "cell_stride": 2, **VIEW}])
def test_loss_and_gradients_equal_the_slow_reference(changes):
    size = (8, 12) if changes.get("cell_stride", 1) == 1 else (20, 24)
    clips, answers = random_clips(size=size, count=changes.get("frames", 4)), []
    for slow in (False, True):
        encoder, objective = tiny_encoder(), tiny(**changes)
        torch.manual_seed(3)
        if slow:
            per_sample = slow_random_walk(objective.settings, clips, encoder, objective.head)
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
        losses.append(tiny().to(dtype)(clips_of(clips.frames.to(dtype)), tiny_encoder().to(dtype)).loss.item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("amp", [False, True])
def test_nothing_to_see_gives_finite_losses_and_gradients(level, amp):
    encoder, objective = tiny_encoder().float(), tiny(edge_dropout=0.9).float()
    if level == 0.0:  # a network that says nothing at all about such a clip
        for bias in (encoder[0].bias, encoder[2].bias, objective.head.bias):
            nn.init.zeros_(bias)
    with torch.autocast("cpu", torch.bfloat16, enabled=amp):
        output = objective(clips_of(torch.full((2, 4, 3, 12, 16), level)), encoder)
    output.loss.backward()
    assert torch.isfinite(output.loss)
    for parameter in (*encoder.parameters(), *objective.parameters()):
        assert torch.isfinite(parameter.grad).all()


def test_nodes_that_lose_every_edge_walk_anywhere():
    clips = clips_of(torch.rand(1, 2, 3, 4, 4, dtype=torch.float64))
    torch.manual_seed(0)
    output = tiny(frames=2, edge_dropout=0.99)(clips, tiny_encoder())
    assert output.loss.item() == pytest.approx(0)  # one node: home is the only place there is


def test_sure_steps_lead_home_and_lost_ones_do_not():
    there = torch.eye(6, dtype=torch.float64)[torch.randperm(6, generator=torch.Generator().manual_seed(0))].expand(1, 3, 6, 6)
    assert torch.equal(home_probabilities(there, there.transpose(2, 3)), torch.ones(1, 3, 6, dtype=torch.float64))
    lost = torch.full((2, 3, 6, 6), 1 / 6)
    assert torch.allclose(home_probabilities(lost, lost), torch.full((2, 3, 6), 1 / 6))


def test_home_probabilities_are_the_diagonal_of_the_products():
    torch.manual_seed(0)
    there, back = (torch.randn(2, 3, 5, 5, dtype=torch.float64).softmax(-1) for _ in range(2))
    home = home_probabilities(there, back)
    for b in range(2):
        for turn in range(1, 4):
            whole = torch.linalg.multi_dot([*there[b, :turn], *back[b, :turn].flip(0)])
            assert torch.allclose(home[b, turn - 1], whole.diagonal())


def test_a_still_clip_of_unlike_cells_is_walked_without_loss():
    still = torch.rand(2, 1, 3, 16, 16, dtype=torch.float64).expand(-1, 4, -1, -1, -1)
    settings = RandomWalkSettings(head_dim=None, edge_dropout=0.0, temperature=0.01)
    output = RandomWalk(settings, dim=48)(clips_of(still), Blocks())
    assert output.loss < 1e-6
    assert output.logs["home_3"] == pytest.approx(1)
    assert output.logs["node_usage"] == pytest.approx(1)
    (picture,) = RandomWalk(settings, dim=48).pictures(clips_of(still), Blocks()).values()
    assert picture.shape == (3, 16, 3 * 16)
    assert torch.allclose(picture, torch.ones_like(picture))


def test_knowing_the_place_in_the_frame_helps_only_without_a_view():
    class Place(nn.Module):  # sees nothing but where a cell lies
        def forward(self, frames):
            places = views.cell_centers(4, 4, like=frames)
            return torch.cdist(places, places).mul(-9).exp().T.reshape(16, 4, 4).expand(len(frames), -1, -1, -1)

    clips = clips_of(torch.rand(8, 3, 3, 16, 16, dtype=torch.float64))
    torch.manual_seed(0)
    easy, hard = (
        RandomWalk(RandomWalkSettings(frames=3, head_dim=None, edge_dropout=0.0, **changes), dim=16)(clips, Place())
        for changes in ({}, {"view_extent": (0.5, 0.8), "view_flip": 0.5})
    )
    assert easy.logs["home_1"] > 0.99
    assert hard.logs["home_1"] < 0.5


def test_subsampled_nodes_lie_on_one_grid_in_all_frames():
    objective = RandomWalk(RandomWalkSettings(head_dim=None, cell_stride=2), dim=1)
    maps = torch.arange(35.0).view(1, 1, 1, 5, 7).expand(8, 4, 1, -1, -1)
    torch.manual_seed(0)
    nodes, index, start = objective._nodes(clips_of(torch.zeros(8, 4, 3, 5, 7)), maps)
    assert (nodes[..., 0] == index[:, None]).all()
    assert len(start.unique(dim=0)) > 1
    for (y, x), grid in zip(start.tolist(), index.tolist(), strict=True):
        assert max(y, x) < 2
        assert grid == [(y + 2 * j) * 7 + x + 2 * i for j in range(2) for i in range(3)]


def test_a_map_smaller_than_the_stride_is_refused():
    with pytest.raises(SettingError, match="cell_stride = 5 skips a map of 3x4"):
        tiny(cell_stride=5)(random_clips(), tiny_encoder())


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"frames": 1}, "frames = 1"),
        ({"head_dim": 0}, "head_dim = 0"),
        ({"cell_stride": 0}, "cell_stride = 0"),
        ({"temperature": -1.0}, "temperature = -1.0"),
        ({"edge_dropout": 1.0}, "edge_dropout = 1.0"),
        ({"view_extent": (0.0, 1.0)}, r"extent = \(0.0, 1.0\)"),
    ],
)
def test_impossible_settings_are_refused(wrong, said):
    with pytest.raises(SettingError, match=said):
        RandomWalkSettings(**wrong)
