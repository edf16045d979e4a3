"""One search in several processes; each takes trials from the journal, so that they need not speak with each other."""

import multiprocessing
import os
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, cast

from followspot.benchmarks.parallel import cores
from followspot.errors import FollowspotError, SettingError

if TYPE_CHECKING:
    from followspot.jobs.tune import Budget, Search

_LOOK_SECONDS = 1.0


def work_in_processes(search: "Search", budget: "Budget", *, deadline: float | None, watch: Callable[[], None]) -> None:
    """Searches in several processes and waits for all of them.

    A process that is killed, for want of memory say, leaves its trial to the others. All end when this one does, however it ends.

    Args:
        search: what.
        budget: how many trials and processes.
        deadline: in seconds of `time.time`; None: none.
        watch: called about once a second.

    Raises:
        FollowspotError: the first that a process met.
        SettingError: all processes were killed.
    """
    context = multiprocessing.get_context("spawn")  # forking a process that has used torch or CUDA hangs
    threads = max(1, cores() // budget.processes)
    workers: dict[Connection, BaseProcess] = {}
    try:
        for _ in range(budget.processes):
            ours, theirs = context.Pipe(duplex=False)
            process: BaseProcess = context.Process(target=_serve, args=(theirs, search, budget.trials, deadline, threads), daemon=True)
            process.start()
            theirs.close()
            workers[ours] = process
        _wait_for(workers, watch)
    finally:
        for process in workers.values():
            process.kill()
            process.join()


def _wait_for(workers: dict[Connection, BaseProcess], watch: Callable[[], None]) -> None:
    listening, ended_well = set(workers), 0
    while listening:
        for connection in wait(list(listening), timeout=_LOOK_SECONDS):
            heard = cast(Connection, connection)
            listening.discard(heard)
            try:
                error: Exception | None = heard.recv()
            except EOFError:
                continue  # killed: what it left is taken up by the others
            if error is not None:
                raise error
            ended_well += 1
        watch()
    if not ended_well:
        raise SettingError("all processes of the search were killed; run the same command again with fewer --processes (is memory short?)")


def _serve(connection: Connection, search: "Search", limit: int | None, deadline: float | None, threads: int) -> None:
    import cv2
    import torch

    from followspot.jobs.tune import work

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    try:
        work(search, search.queue(), limit=limit, deadline=deadline, on_frame=_end_with_parent)
        connection.send(None)
    except KeyboardInterrupt:
        return  # the process that started this one was interrupted as well, and says so
    except FollowspotError as error:
        connection.send(type(error)(str(error)) if type(error) in FollowspotError.__subclasses__() else FollowspotError(str(error)))
    except Exception:
        connection.send(RuntimeError(f"in another process:\n{traceback.format_exc()}"))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        os._exit(1)  # nobody waits for what would be tidied up
