"""Scoring in several processes: the numbers do not depend on how many. Needs no torch, so that processes start quickly."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import cv2

from followspot.benchmarks.base import Progress
from followspot.errors import SettingError

Task = TypeVar("Task")
Result = TypeVar("Result")


def score_each(
    work: Callable[[Task], Result],
    tasks: Sequence[Task],
    *,
    workers: int | None = None,
    sizes: Sequence[int] = (),
    progress: Progress | None = None,
) -> list[Result]:
    """What a function says about each task, in the order of the tasks.

    Processes are spawned, so a script that uses several must call this under ``if __name__ == "__main__":``. The first error ends it.

    Args:
        work: a function of a module, which can be pickled as its name.
        tasks: what it is called with; pickled as well.
        workers: how many processes; None for one a core.
        sizes: of the tasks, in any unit: the largest begin first, so that the last one is not waited for alone.
        progress: told the number of finished tasks and their total.

    Raises:
        SettingError: ``workers`` is below 1, or they could not start.
    """
    require_workers(workers)
    count = min(workers or cores(), len(tasks))
    found = _serially(work, tasks) if count <= 1 else _in_parallel(work, tasks, count, sizes)
    results: dict[int, Result] = {}
    for index, result in found:
        results[index] = result
        if progress is not None:
            progress(len(results), len(tasks))
    return [results[index] for index in range(len(tasks))]


def require_workers(workers: int | None) -> None:
    """Checks a number of processes that score.

    Raises:
        SettingError: it is below 1.
    """
    if workers is not None and workers < 1:
        raise SettingError(f"workers is {workers}, expected at least 1; leave it out to use every core")


def cores() -> int:
    """Cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _serially(work: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[tuple[int, Result]]:
    for index, task in enumerate(tasks):
        yield index, work(task)


def _in_parallel(work: Callable[[Task], Result], tasks: Sequence[Task], count: int, sizes: Sequence[int]) -> Iterator[tuple[int, Result]]:
    """Results as they come. Processes are spawned: forking a process that has used torch or CUDA hangs."""
    context = multiprocessing.get_context("spawn")
    order = sorted(range(len(tasks)), key=lambda index: -sizes[index]) if sizes else range(len(tasks))
    with ProcessPoolExecutor(count, mp_context=context, initializer=_take_one_core) as pool:
        futures = {pool.submit(work, tasks[index]): index for index in order}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise SettingError(
                f'{count} workers could not start or were killed; call this under if __name__ == "__main__":, or pass workers=1'
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _take_one_core() -> None:
    """Keep OpenCV from starting its own threads in every worker."""
    cv2.setNumThreads(1)
