"""What several training processes have together: sums and joined rows through which gradients flow, on any backend."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, distributed

T = TypeVar("T")


def several_processes() -> bool:
    """Whether this process trains together with others."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def sum_over_processes(values: Tensor) -> Tensor:
    """The sum of a tensor over all processes, the same in each; the tensor itself where there is one process.

    Args:
        values: of the same shape in every process.
    """
    return cast(Callable[[Tensor], Tensor], _Sum.apply)(values) if several_processes() else values


def mean_over_processes(values: Tensor) -> Tensor:
    """The mean of a tensor over all processes, the same in each; the tensor itself where there is one process.

    Args:
        values: of the same shape in every process.
    """
    return sum_over_processes(values) / distributed.get_world_size() if several_processes() else values


def join_rows(rows: Tensor) -> Tensor:
    """The rows of all processes, in the order of ranks.

    Args:
        rows: ``(B, ...)``, of the same shape in every process.

    Returns:
        ``(B * processes, ...)``, the same in each; gradients flow back to where a row came from.
    """
    return cast(Callable[[Tensor], Tensor], _Joined.apply)(rows) if several_processes() else rows


def collect_states(state: T, group: "distributed.ProcessGroup | None" = None) -> list[T]:
    """What every process holds, in the order of ranks, in the first process; the others get an empty list.

    Args:
        state: whatever can be pickled; tensors on the CPU.
        group: the processes, on a backend for the CPU; None: there is only this one.
    """
    if group is None:
        return [state]
    states: list[Any] | None = [None] * distributed.get_world_size(group) if distributed.get_rank(group) == 0 else None
    distributed.gather_object(state, states, dst=0, group=group)
    return states or []


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:  # noqa: ANN401 -- torch gives it
        total = values.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ANN401
        # The losses of all processes depend on this process's values.
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total


class _Joined(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:  # noqa: ANN401
        rows = rows.contiguous()
        parts = [torch.empty_like(rows) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, rows)
        ctx.count = len(rows)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ANN401
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        first = distributed.get_rank() * ctx.count
        return total[first : first + ctx.count]
