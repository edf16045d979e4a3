"""Cycle-consistency in time against a float64 reference, one sample and one cell at a time, and on footage where nothing can be learnt."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from followspot.errors import SettingError
from followspot.objectives.base import ClipBatch
from followspot.objectives.cycle_time import CycleTime, CycleTimeSettings, Localizer, inlier_share
from followspot.ops.geometry import on_cells, similarity_theta, warp

DIM = 5


def tiny_encoder(stride=4, *, dim=DIM):
    return nn.Sequential(nn.Conv2d(3, 8, stride, stride), nn.Tanh(), nn.Conv2d(8, dim, 3, padding=1))


def tiny(**changes):
    """A small objective whose localiser says something other than "the middle"."""
    settings = CycleTimeSettings(**{"image_size": 36, "stride": 4, "base_frames": 2, "temperature": 0.3} | changes)
    torch.manual_seed(1)
    objective = CycleTime(settings, dim=DIM)
    for name, parameter in objective.named_parameters():
        nn.init.normal_(parameter, std=0.3 if name.endswith("weight") else 0.05)
    objective.localizer.linear.weight.data.mul_(0.3)
    return objective


def clips_of(frames, **where):
    return ClipBatch(frames=frames, clean=frames, **where)


# -- the slow reference ------------------------------------------------------------------------------------------------------------------


def slow_theta(pose):
    x, y, angle = pose
    return [[angle.cos() / 3, -angle.sin() / 3, x], [angle.sin() / 3, angle.cos() / 3, y]]


def slow_places(theta, count, *, inside_crop, inside_source, side):
    """Where each cell of a count x count crop lies in a source of side x side cells, in cells."""
    for row in range(count):
        for column in range(count):
            u, v = ((2 * at / (count - 1) - 1) * inside_crop for at in (column, row))
            x, y = ((line[0] * u + line[1] * v + line[2]) / inside_source for line in theta)
            yield row, column, (x + 1) / 2 * (side - 1), (y + 1) / 2 * (side - 1)


def slow_look(grid, x, y):
    """Bilinear value of a (C, n, n) grid, zero outside."""
    total = torch.zeros(len(grid), dtype=torch.float64)
    left, top = math.floor(x.item()), math.floor(y.item())
    for at_y in (top, top + 1):
        for at_x in (left, left + 1):
            if 0 <= at_y < grid.shape[1] and 0 <= at_x < grid.shape[2]:
                total = total + grid[:, at_y, at_x] * (1 - (x - at_x).abs()) * (1 - (y - at_y).abs())
    return total


def slow_crop(grid, theta, count, **inside):
    crop = torch.zeros(len(grid), count, count, dtype=torch.float64)
    for row, column, x, y in slow_places(theta, count, side=grid.shape[1], **inside):
        crop[:, row, column] = slow_look(grid, x, y)
    return crop


def slow_unit(grid):
    return grid / grid.square().sum(0).sqrt()


def slow_pose(first, second, draws, max_angle):
    """The pose of the patch of one clip, by the words of the paper's supplement and our two deviations (half the strength, inside)."""
    change = (first - second).abs().mean(0)
    box = change.shape[0] // 9
    strengths = {}
    for row in range(7):
        for column in range(7):
            window = change[row * change.shape[0] // 9 :, column * change.shape[0] // 9 :]
            strengths[row, column] = float(window[: 3 * box, : 3 * box].mean())
    best = max(strengths.values())
    eligible = sorted((place for place in strengths if strengths[place] >= best / 2), key=lambda place: -strengths[place])[:10]
    row, column = eligible[int(draws[0] * len(eligible))]
    angle = (2 * draws[3] - 1) * math.radians(max_angle)
    furthest = 1 - (abs(math.cos(angle)) + abs(math.sin(angle))) / 3
    shift = []
    for window, draw in ((column, draws[1]), (row, draws[2])):
        corner = min(max(window / 6 + (2 * draw - 1) / 12, 0), 1)
        shift.append(min(max((2 * corner - 1) * 2 / 3, -furthest), furthest))
    return torch.tensor([*shift, angle], dtype=torch.float64)


class Slow:
    """The loss of one clip, with the objective's settings and weights."""

    def __init__(self, objective):
        self.settings = objective.settings
        self.localizer = copy.deepcopy(objective.localizer).double()
        self.temperature = objective.temperature
        side, patch, stride = self.settings.image_size, self.settings.patch_size, self.settings.stride
        self.count = patch // stride
        self.inside = {"inside_crop": (patch - stride) / (patch - 1), "inside_source": (side - stride) / (side - 1)}

    def locate(self, query, features):
        cells, places = features.flatten(1), query.flatten(1)
        matches = torch.zeros(cells.shape[1], places.shape[1], dtype=torch.float64)
        for j in range(places.shape[1]):
            scores = torch.stack([cells[:, i] @ places[:, j] / self.temperature for i in range(cells.shape[1])])
            matches[:, j] = scores.exp() / scores.exp().sum()
        maps = matches.view(-1, self.count, self.count)
        return slow_theta(self.localizer(maps[None])[0]), maps

    def crop(self, features, theta):
        return slow_unit(slow_crop(features, theta, self.count, **self.inside))

    def follow(self, patch, path):
        queries = [patch]
        for features in path:
            recent = queries[-self.settings.history :]
            theta, _ = self.locate(slow_unit(sum(recent) / len(recent)), features)
            queries.append(self.crop(features, theta))
        return theta

    def apart(self, first, second):
        total = 0
        for v in np.linspace(-1, 1, 20):
            for u in np.linspace(-1, 1, 20):
                for a, b in zip(first, second, strict=True):
                    total = total + ((a[0] - b[0]) * u + (a[1] - b[1]) * v + a[2] - b[2]) ** 2
        return total / 400

    def inliers(self, maps, theta):
        side = self.settings.image_size // self.settings.stride
        total = 0
        for row, column, x, y in slow_places(theta, self.count, side=side, **self.inside):
            total = total + slow_look(maps[:, row, column].view(1, side, side), x, y)[0]
        return total / self.count**2

    def loss(self, frames, encoder, draws):
        settings, last = self.settings, self.settings.base_frames
        cut = slow_theta(slow_pose(frames[last], frames[last + 1], draws, settings.max_angle))
        whole = {"inside_crop": 1, "inside_source": 1}
        image = slow_crop(frames[last], cut, settings.patch_size, **whole)
        patch = slow_unit(encoder(image[None])[0])
        base = [slow_unit(encoder(frames[t][None])[0]) for t in range(last)]
        end = slow_unit(encoder(frames[last][None])[0])
        long = 0
        for length in range(1, last + 1):
            back = [base[last - hop] for hop in range(1, length + 1)]
            forth = [base[t] for t in range(last - length + 1, last)]
            long = long + self.apart(self.follow(patch, [*back, *forth, end]), cut) / last
        skip = inliers = 0
        for t in range(last):
            theta, maps = self.locate(patch, base[t])
            inliers = inliers + self.inliers(maps, theta) / last
            home, _ = self.locate(self.crop(base[t], theta), end)
            skip = skip + self.apart(home, cut) / last
        return settings.long_weight * long + settings.skip_weight * skip - settings.inlier_weight * inliers


@pytest.mark.parametrize(
    ("dtype", "tolerance", "changes"),
    [(torch.float32, 1e-5, {}), (torch.float64, 1e-9, {"base_frames": 3, "history": 2, "long_weight": 3.0, "inlier_weight": 0.5})],
)
def test_f065_f066_f069_loss_and_gradients_equal_the_slow_reference(dtype, tolerance, changes):
    objective, encoder = tiny(**changes).to(dtype), tiny_encoder().to(dtype)
    frames = torch.rand(2, objective.num_frames, 3, 36, 36).to(dtype)
    torch.manual_seed(11)
    draws = torch.rand(2, 4).double().tolist()
    slow, slow_encoder = Slow(objective), copy.deepcopy(encoder).double()
    rows = [slow.loss(frames[b].double(), slow_encoder, draws[b]) for b in range(2)]
    expected = (rows[0] + rows[1]) / 2
    expected.backward()

    torch.manual_seed(11)
    output = objective(clips_of(frames), encoder)
    output.loss.backward()
    assert output.loss.item() == pytest.approx(expected.item(), abs=tolerance)
    offset = objective.settings.inlier_weight
    assert output.per_sample.tolist() == pytest.approx([row.item() + offset for row in rows], abs=tolerance)
    ours = [*encoder.parameters(), *objective.localizer.parameters()]
    theirs = [*slow_encoder.parameters(), *slow.localizer.parameters()]
    assert max(theirs[0].grad.abs().max(), theirs[-1].grad.abs().max()) > 1e-4
    for mine, reference in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad.double(), reference.grad, atol=tolerance, rtol=tolerance)


# -- properties --------------------------------------------------------------------------------------------------------------------------


def record_poses(objective):
    calls = []
    objective.localizer.register_forward_hook(lambda module, given, pose: calls.append(pose))
    return calls


def test_f065_four_frames_make_20_calls_and_the_last_of_each_cycle_is_compared():
    objective = tiny(base_frames=4, skip_weight=0, inlier_weight=0, long_weight=1)
    calls = record_poses(objective)
    frames, encoder = torch.rand(3, 6, 3, 36, 36), tiny_encoder()
    torch.manual_seed(5)
    output = objective(clips_of(frames), encoder)
    assert len(calls) == 20
    ends, apart = [1, 5, 11, 19], 0
    torch.manual_seed(5)
    draws = torch.rand(3, 4).double().tolist()
    for b in range(3):
        cut = slow_theta(slow_pose(frames[b, 4], frames[b, 5], draws[b], 45))
        apart += sum(Slow(objective).apart(slow_theta(calls[end][b].double()), cut) for end in ends)
    assert output.loss.item() == pytest.approx(apart.item() / 12, rel=1e-4)


def test_f066_skip_cycles_look_at_each_frame_directly():
    objective = tiny(base_frames=3, long_weight=0, inlier_weight=0, skip_weight=1)
    calls, encoder, frames = record_poses(objective), tiny_encoder(), torch.rand(1, 5, 3, 36, 36)
    torch.manual_seed(0)
    before = objective(clips_of(frames), encoder)
    assert [len(pose) for pose in calls] == [3, 3]
    frames[:, 1] = torch.rand(3, 36, 36)
    torch.manual_seed(0)
    objective(clips_of(frames), encoder)
    changed = (calls[2] != calls[0]).any(1)
    assert changed.tolist() == [False, True, False]
    assert before.logs["skip"] > 0


def test_f069_an_average_of_one_is_the_plain_cycle_and_of_more_is_not():
    frames, encoder, losses = torch.rand(2, 5, 3, 36, 36), tiny_encoder(), {}
    for history in (1, 3):
        objective = tiny(base_frames=3, history=history, long_weight=1)
        torch.manual_seed(0)
        losses[history] = objective(clips_of(frames), encoder).logs["cycle"].item()
    plain = tiny(base_frames=3, long_weight=1)
    torch.manual_seed(0)
    assert plain(clips_of(frames), encoder).logs["cycle"].item() == losses[1] != losses[3]


def test_f068_perfect_matches_score_one_random_and_misplaced_ones_less():
    side, patch = 9, 3
    # A third of the frame, a shift of two cells right and one up; every patch cell falls on a whole frame cell.
    theta = torch.tensor([[[0.25, 0.0, 0.5], [0.0, 0.25, -0.25]]])
    perfect = torch.zeros(1, side, side, patch, patch)
    for row in range(patch):
        for column in range(patch):
            perfect[0, row + 2, column + 5, row, column] = 1
    perfect = perfect.flatten(1, 2)
    random = torch.randn(1, side**2, patch, patch).softmax(1)
    shifted = theta + torch.tensor([[0, 0, 0.125], [0, 0, 0]])
    assert inlier_share(perfect, theta).item() == pytest.approx(1)
    assert inlier_share(perfect, shifted).item() == pytest.approx(0.5)
    assert inlier_share(random, theta).item() < 0.2
    assert inlier_share(perfect, theta + torch.tensor([0, 0, 5.0])).item() == 0


def test_f053_the_localizer_learns_the_pose_of_shifted_patches():
    torch.manual_seed(0)
    stride, side, patch = 8, 120, 40
    localizer = Localizer(frame_cells=15, patch_cells=5)
    optimizer = torch.optim.Adam(localizer.parameters(), lr=2e-3)

    def example(rows):
        frames = functional.normalize(torch.randn(rows, 32, 15, 15), dim=1)
        pose = (torch.rand(rows, 3) * 2 - 1) * torch.tensor([0.6, 0.6, 0.0])
        cells = on_cells(similarity_theta(pose, scale=1 / 3), source=side, crop=patch, stride=stride)
        query = functional.normalize(warp(frames, cells, (5, 5)), dim=1)
        matches = (torch.einsum("bci,bcj->bij", frames.flatten(2), query.flatten(2)) / 0.07).softmax(1)
        return matches.view(rows, 225, 5, 5), pose

    for step in range(240):
        optimizer.param_groups[0]["lr"] = 2e-3 if step < 160 else 4e-4
        matches, pose = example(32)
        loss = (localizer(matches) - pose).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    matches, pose = example(200)
    assert (localizer(matches) - pose).abs().mean() < 0.05


@pytest.mark.parametrize("cells", [2, 3, 5, 7, 10])
def test_the_localizer_fits_every_patch(cells):
    localizer = Localizer(frame_cells=3 * cells, patch_cells=cells)
    assert localizer(torch.rand(2, 9 * cells**2, cells, cells)).shape == (2, 3)


def test_the_published_localizer_has_the_published_shapes_and_starts_in_the_middle():
    localizer = CycleTime(CycleTimeSettings(), dim=512).localizer
    assert localizer.conv1.weight.shape == (128, 900, 4, 4)
    assert localizer.linear.weight.shape == (3, 1024)
    assert localizer.conv1.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert all(not layer.bias.any() for layer in (localizer.conv1, localizer.conv2, localizer.linear))
    assert CycleTime(CycleTimeSettings(), dim=512).temperature == 512**-0.5


def flashing():
    return torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]]).view(1, 4, 3, 1, 1).expand(2, 4, 3, 36, 36)


@pytest.mark.parametrize(
    "frames",
    [
        torch.zeros(2, 4, 3, 36, 36),
        torch.ones(2, 4, 3, 36, 36),
        torch.full((2, 4, 3, 36, 36), 0.37),
        torch.tensor([0.9, 0.1, 0.0]).view(3, 1, 1).expand(2, 4, 3, 36, 36),
        flashing(),
        torch.rand(2, 1, 3, 36, 36).expand(2, 4, 3, 36, 36),
    ],
    ids=["black", "white", "constant", "one colour", "flashing", "still"],
)
@pytest.mark.parametrize("dead", [False, True], ids=["live", "dead features"])
def test_it_is_finite_where_nothing_can_be_learnt(frames, dead):
    objective, encoder = tiny(), nn.Sequential(*tiny_encoder(), nn.ReLU())
    if dead:
        nn.init.constant_(encoder[2].bias, -100)
    output = objective(clips_of(frames), encoder)
    output.loss.backward()
    assert output.loss.isfinite()
    assert output.per_sample.isfinite().all()
    assert (output.per_sample >= 0).all()
    for parameter in [*encoder.parameters(), *objective.parameters()]:
        assert parameter.grad.isfinite().all()


def test_a_batch_split_over_processes_gets_the_rows_of_the_whole():
    objective, encoder, frames = tiny(), tiny_encoder(), torch.rand(4, 4, 3, 36, 36)
    torch.manual_seed(2)
    whole = objective(clips_of(frames), encoder).per_sample
    halves = []
    for first in (0, 2):
        torch.manual_seed(2)
        halves.append(objective(clips_of(frames[first : first + 2], first=first, total=4), encoder).per_sample)
    torch.testing.assert_close(torch.cat(halves), whole, atol=1e-6, rtol=0)


def test_under_autocast_only_the_encoder_is_less_precise():
    objective, encoder, frames = tiny(temperature=1.0), tiny_encoder(), torch.rand(4, 4, 3, 36, 36)
    outputs = []
    for enabled in (False, True):
        torch.manual_seed(2)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            outputs.append(objective(clips_of(frames), encoder))
    outputs[1].loss.backward()
    assert outputs[1].loss.dtype == torch.float32
    torch.testing.assert_close(outputs[1].per_sample, outputs[0].per_sample, atol=2e-3, rtol=0)


def test_motion_is_read_from_clean_frames_and_the_patch_cut_from_what_the_encoder_sees():
    objective, encoder = tiny(), tiny_encoder()
    clean = torch.rand(1, 4, 3, 36, 36)
    frames = clean.clone()
    frames[:, 3] = torch.rand(3, 36, 36)
    torch.manual_seed(3)
    noisy_end = objective(ClipBatch(frames=frames, clean=clean), encoder).loss
    torch.manual_seed(3)
    assert objective(clips_of(clean), encoder).loss == noisy_end
    frames[:, 2] = torch.rand(3, 36, 36)
    torch.manual_seed(3)
    assert objective(ClipBatch(frames=frames, clean=clean), encoder).loss != noisy_end


def test_pictures_show_the_cut_and_where_the_patch_was_found():
    objective, frames = tiny(base_frames=3, max_angle=0), torch.full((2, 5, 3, 36, 36), 0.5)
    frames[:, 4, :, :12, :12] = 1.0  # the only motion is in the top-left corner
    with torch.no_grad():
        for parameter in objective.parameters():
            parameter.zero_()
        pictures = objective.pictures(clips_of(frames), tiny_encoder())
    assert pictures["target"].shape == (3, 36, 36)
    assert pictures["way"].shape == (3, 36, 3 * 36)
    green = (pictures["target"] == torch.tensor([0.0, 1, 0])[:, None, None]).all(0).nonzero()
    red = (pictures["target"] == torch.tensor([1.0, 0, 0])[:, None, None]).all(0).nonzero()
    assert green.float().mean(0).max() < 13
    # A localiser of zeros says: the middle.
    assert red.float().mean(0).tolist() == pytest.approx([17.5, 17.5], abs=1.5)
    assert (pictures["way"] == torch.tensor([1.0, 0, 0])[:, None, None]).all(0).view(36, 3, 36).any(2).any(0).all()


def test_the_loss_of_paper_settings_at_paper_size():
    objective = CycleTime(CycleTimeSettings(base_frames=1), dim=DIM)
    output = objective(clips_of(torch.rand(1, 3, 3, 240, 240)), tiny_encoder(8))
    assert objective.num_frames == 3
    assert output.loss.isfinite()
    assert set(output.logs) == {"cycle", "skip", "inliers"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"image_size": 250}, "image_size 250 must be a multiple of 3 x stride = 24 from 48 on; use 240"),
        ({"image_size": 24}, "use 48"),
        ({"base_frames": 0}, "base_frames 0 must be at least 1"),
        ({"history": 0}, "history 0 must be at least 1"),
        ({"stride": 0}, "stride 0 must be at least 1"),
        ({"temperature": 0.0}, "temperature 0 must be above 0"),
        ({"skip_weight": -1.0}, "skip_weight -1 must be 0 or more"),
        ({"long_weight": math.nan}, "long_weight nan"),
        ({"max_angle": 200.0}, r"max_angle 200 must be in 0\.\.180"),
    ],
)
def test_settings_out_of_range_are_named(changes, says):
    with pytest.raises(SettingError, match=says):
        CycleTimeSettings(**changes)


def test_clips_and_encoders_that_do_not_fit_are_named():
    objective = tiny()
    with pytest.raises(SettingError, match=r"takes clips \(B, 4, 3, 36, 36\), got \(1, 4, 3, 36, 64\)"):
        objective(clips_of(torch.rand(1, 4, 3, 36, 64)), tiny_encoder())
    with pytest.raises(SettingError, match="stride 4 does not fit the encoder, whose maps have 4 cells a side, not 9"):
        objective(clips_of(torch.rand(1, 4, 3, 36, 36)), tiny_encoder(8))
