"""One process of two: its half of a batch through an objective, its gradients averaged over both; for test_dense_contrast.py."""

import torch
from torch import Tensor, distributed, nn

from followspot.objectives.base import ClipBatch, Objective
from followspot.objectives.dense_contrast import DenseContrast, DenseContrastSettings
from followspot.objectives.mixture import Mixture
from followspot.objectives.random_walk import RandomWalk, RandomWalkSettings

SEED = 11


def build() -> tuple[nn.Module, Objective]:
    """A tiny encoder and both objectives with everything on, always the same."""
    torch.manual_seed(SEED)
    encoder = nn.Sequential(nn.Conv2d(3, 6, 4, 4), nn.Tanh(), nn.Conv2d(6, 5, 3, padding=1))
    dense = DenseContrastSettings(frames=2, head_dim=4, anchors=2, cross_view_cells=2, equivariance_weight=1.0, equivariance_anchors=9)
    walk = RandomWalkSettings(frames=3, head_dim=4, cell_stride=2, view_extent=(0.5, 1.0), view_flip=0.5)
    return encoder.double(), Mixture([DenseContrast(dense, dim=5), RandomWalk(walk, dim=5)], [1.0, 0.5]).double()


def frames() -> Tensor:
    """The whole batch: ``(4, 3, 3, 24, 32)``."""
    return torch.rand(4, 3, 3, 24, 32, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def gradients(clips: ClipBatch) -> list[Tensor]:
    """Loss, losses a clip, and the gradients of every parameter."""
    encoder, objective = build()
    torch.manual_seed(SEED)
    output = objective(clips, encoder)
    output.loss.backward()
    grads = [parameter.grad for module in (encoder, objective) for parameter in module.parameters()]
    return [output.loss.detach(), output.per_sample, *[grad for grad in grads if grad is not None]]


def be_one_of_two() -> list[Tensor]:
    rank, whole = distributed.get_rank(), frames()
    half = whole[2 * rank : 2 * rank + 2]
    loss, per_sample, *grads = gradients(ClipBatch(frames=half, clean=half, first=2 * rank, total=4))
    for value in (loss, *grads):
        distributed.all_reduce(value)
        value /= 2
    return [loss, per_sample, *grads]
