import pytest
import torch
from torch import nn

from followspot.errors import SettingError
from followspot.objectives.base import ClipBatch, Objective, ObjectiveOutput
from followspot.objectives.dense_contrast import DenseContrast, DenseContrastSettings
from followspot.objectives.mixture import Mixture
from followspot.objectives.random_walk import RandomWalk, RandomWalkSettings


class Brightness(Objective):
    """Mean of the clip, times a parameter."""

    def __init__(self, num_frames):
        super().__init__(num_frames=num_frames)
        self.scale = nn.Parameter(torch.ones(()))
        self.told = []

    def forward(self, clips, encoder):
        assert clips.frames.shape[1] == clips.clean.shape[1] == self.num_frames
        per_sample = self.scale * clips.frames.flatten(1).mean(1)
        return ObjectiveOutput(loss=per_sample.mean(), per_sample=per_sample.detach(), logs={"seen": per_sample.detach().max()})

    def advance(self, step, total_steps):
        self.told.append((step, total_steps))

    def pictures(self, clips, encoder):
        return {"frame": clips.frames[0, -1]}


def clips(count=4):
    frames = torch.rand(2, count, 3, 16, 16)
    return ClipBatch(frames=frames, clean=frames)


def test_losses_and_logs_are_the_weighted_sum_of_the_parts():
    """F073: several objectives train one encoder jointly."""
    parts = [Brightness(2), Brightness(4)]
    mixture, batch = Mixture(parts, [1.0, 0.25]), clips()
    assert mixture.num_frames == 4
    output = mixture(batch, nn.Identity())
    output.loss.backward()
    expected = batch.frames[:, :2].flatten(1).mean(1) + 0.25 * batch.frames.flatten(1).mean(1)
    assert torch.allclose(output.per_sample, expected)
    assert output.loss.item() == pytest.approx(expected.mean().item())
    assert parts[1].scale.grad.item() == pytest.approx(0.25 * batch.frames.mean().item())
    assert set(output.logs) == {"brightness/loss", "brightness/seen", "brightness_2/loss", "brightness_2/seen"}
    assert output.logs["brightness_2/loss"].item() == pytest.approx(batch.frames.mean().item())
    assert not output.per_sample.requires_grad
    assert not any(value.requires_grad for value in output.logs.values())


def test_all_parts_are_told_and_show_their_pictures():
    parts = [Brightness(2), Brightness(4)]
    mixture, batch = Mixture(parts, [1.0, 1.0]), clips()
    mixture.advance(3, 9)
    assert [part.told for part in parts] == [[(3, 9)], [(3, 9)]]
    pictures = mixture.pictures(batch, nn.Identity())
    assert torch.equal(pictures["brightness/frame"], batch.frames[0, 1])
    assert torch.equal(pictures["brightness_2/frame"], batch.frames[0, 3])


def test_heads_are_trained_and_saved_with_it():
    mixture = Mixture([DenseContrast(DenseContrastSettings(), dim=4), RandomWalk(RandomWalkSettings(), dim=4)], [1.0, 0.25])
    assert mixture.names == ("dense_contrast", "random_walk")
    assert set(mixture.state_dict()) == {f"objectives.{i}.head.{part}" for i in range(2) for part in ("weight", "bias")}


@pytest.mark.parametrize(("count", "weights"), [(0, []), (1, []), (1, [1.0, 1.0]), (2, [1.0, -1.0]), (1, [float("nan")])])
def test_impossible_mixtures_are_refused(count, weights):
    with pytest.raises(SettingError, match="expected"):
        Mixture([Brightness(2) for _ in range(count)], weights)
