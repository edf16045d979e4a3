"""Batch normalisation over the batch of all processes together, on any device and any backend of torch.distributed."""

import torch
from torch import Tensor, nn

from followspot.errors import SettingError
from followspot.ops.collective import several_processes, sum_over_processes


def joined_moments(maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance a channel over the batches of all processes; the processes need not hold equally many samples.

    Two passes, since the difference of squares loses digits where the mean is large. Gradients flow to the samples of every process.

    Args:
        maps: ``(B, C, ...)``, this process's samples.

    Returns:
        Mean ``(C,)``, biased variance ``(C,)``, both at least float32, and how many values a channel they are of (a scalar).

    >>> mean, variance, count = joined_moments(torch.tensor([[1.0], [3.0]]))
    >>> mean.item(), variance.item(), count.item()
    (2.0, 1.0, 2.0)
    """
    values = maps.to(torch.promote_types(maps.dtype, torch.float32)).transpose(0, 1).flatten(1)
    own = values.new_tensor([values.shape[1]])
    joined = sum_over_processes(torch.cat([values.sum(1), own]))
    count = joined[-1].detach()
    mean = joined[:-1] / count
    squares = sum_over_processes((values - mean[:, None]).square().sum(1))
    return mean, squares / count, count


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """:class:`torch.nn.BatchNorm2d` that in training normalises by the batch of all processes (Ioffe & Szegedy 2015, algorithm 1).

    So that training with a batch split over processes is training with the whole batch. In one process, and in evaluation, it is
    :class:`torch.nn.BatchNorm2d`. Its state dict is the same. Unlike :class:`torch.nn.SyncBatchNorm` it also runs on CPUs.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise ``(B, C, H, W)``.

        Raises:
            SettingError: training with one value a channel in all, which has no variance.
        """
        if not (self.training and several_processes()):
            return super().forward(input)
        self._check_input_dim(input)
        mean, variance, count = joined_moments(input)
        if input.numel() <= input.shape[1] and count < 2:  # only then is the count worth waiting for on a GPU
            raise SettingError("batch normalisation got one value a channel, which has no variance; use more clips a step or larger crops")
        self._remember(mean.detach(), variance.detach() * (count / (count - 1)))
        scale = torch.rsqrt(variance + self.eps)
        if self.weight is not None:
            scale = scale * self.weight
        shift = -mean * scale
        if self.bias is not None:
            shift = shift + self.bias
        return (input * scale[:, None, None] + shift[:, None, None]).to(input.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        if not self.track_running_stats or self.running_mean is None or self.running_var is None:
            return
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        # Without a momentum torch averages all batches alike.
        share = self.momentum if self.momentum is not None else 1 / int(self.num_batches_tracked or 1)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(variance.to(self.running_var.dtype), share)


def synchronize_batch_norm(module: nn.Module) -> nn.Module:
    """Replace each :class:`torch.nn.BatchNorm2d` in a module by a :class:`SyncedBatchNorm2d` with the same parameters and statistics.

    Args:
        module: changed in place, subclasses of BatchNorm2d excepted, which know themselves what they do.

    Returns:
        The module, or its replacement where it is such a layer itself.
    """
    done: dict[nn.Module, nn.Module] = {}
    for parent in list(module.modules()):
        for name, child in list(parent._modules.items()):
            if type(child) is nn.BatchNorm2d:
                if child not in done:
                    done[child] = _synced(child)
                setattr(parent, name, done[child])
    return _synced(module) if type(module) is nn.BatchNorm2d else module


def _synced(layer: nn.BatchNorm2d) -> SyncedBatchNorm2d:
    new = SyncedBatchNorm2d(
        layer.num_features, eps=layer.eps, momentum=layer.momentum, affine=layer.affine, track_running_stats=layer.track_running_stats
    )
    new._parameters.update(layer._parameters)  # the same tensors, so that an optimiser made before keeps training them
    new._buffers.update(layer._buffers)
    return new.train(layer.training)
