"""Making batches ahead of time, in a thread or in worker processes; in the order of their plans, whatever finishes first."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Literal

import torch
from torch.utils.data import DataLoader

from followspot.datasets.fetch import BatchPlan, Fetched, Fetcher

_AHEAD = 2
"""Batches that are made while the last one is used (per worker, where there are some): torch's own default."""


def fetch_in_thread(fetcher: Fetcher, plans: Iterator[BatchPlan]) -> Iterator[tuple[BatchPlan, Fetched]]:
    """One thread makes the next batches while the last one is used; decoding and warping leave Python free meanwhile."""
    waiting: deque[tuple[BatchPlan, Future[Fetched]]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="followspot-loader") as pool:
        try:
            while True:
                while len(waiting) <= _AHEAD:
                    plan = next(plans)
                    waiting.append((plan, pool.submit(fetcher.__getitem__, plan)))
                plan, future = waiting.popleft()
                yield plan, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


def fetch_in_workers(
    fetcher: Fetcher, plans: Iterator[BatchPlan], *, workers: int, start_method: Literal["fork", "spawn", "forkserver"] | None
) -> Iterator[tuple[BatchPlan, Fetched]]:
    """Worker processes make batches; they end with the iterator, and by themselves if this process dies."""
    sent: deque[BatchPlan] = deque()

    def remembered() -> Iterator[BatchPlan]:
        for plan in plans:
            sent.append(plan)
            yield plan

    batches: DataLoader[Any] = DataLoader(
        fetcher,  # type: ignore[arg-type] # a mapping from plans to batches is all that it asks for
        sampler=_Once(remembered()),
        batch_size=None,
        num_workers=workers,
        prefetch_factor=_AHEAD,
        generator=torch.Generator(),  # else torch draws from the global one, which belongs to the objective
        worker_init_fn=_lone_worker,
        multiprocessing_context=start_method,
    )
    for fetched in batches:
        yield sent.popleft(), fetched


class _Once:
    """An iterator as the sampler that torch asks for."""

    def __init__(self, plans: Iterator[BatchPlan]) -> None:
        self._plans = plans

    def __iter__(self) -> Iterator[BatchPlan]:
        return self._plans


def _lone_worker(_: int) -> None:
    """A worker is one of several: OpenCV must not start threads of its own in it."""
    import cv2

    cv2.setNumThreads(0)
