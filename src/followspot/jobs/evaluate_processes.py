"""Several sequences of a benchmark at once, each process with a tracker of its own."""

import multiprocessing
import signal
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Literal, cast

import cv2
import torch

from followspot.benchmarks.base import Benchmark, OnFrame
from followspot.benchmarks.parallel import cores
from followspot.errors import DatasetError, FollowspotError, OutputError
from followspot.jobs.evaluate import Failure, follow_one
from followspot.jobs.results import ResultsFolder, Timing
from followspot.jobs.tracker_choice import TrackerChoice
from followspot.tracking.base import Tracker


@dataclass(frozen=True)
class _Done:
    timing: Timing


@dataclass(frozen=True)
class _Frame:
    done: int
    total: int


@dataclass(frozen=True)
class _Failed:
    # Text, as errors with arguments of their own do not survive the way between processes.
    kind: Literal["mendable", "output", "unexpected"]
    text: str

    def error(self) -> Exception:
        return DatasetError(self.text) if self.kind == "mendable" else RuntimeError(f"in another process:\n{self.text}")


_Message = _Done | _Frame | _Failed


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    sequence: str


def follow_in_processes(
    benchmark: Benchmark,
    spec: TrackerChoice,
    folder: ResultsFolder,
    sequences: Sequence[str],
    *,
    processes: int,
    on_frame: OnFrame,
) -> list[Failure]:
    """Runs sequences, the longest first, and moves each into place when it is complete.

    Processes end with this one, however it ends: what they say about each frame then reaches nobody, which they notice.

    Args:
        benchmark: what is run.
        spec: the tracker.
        folder: of results.
        sequences: those to run.
        processes: how many at once; they share the cores.
        on_frame: told about every frame.

    Returns:
        What failed.

    Raises:
        OutputError: a file cannot be written.
    """
    waiting = deque(sorted(sequences, key=lambda name: -benchmark.length(name)))
    count = min(processes, len(waiting))
    threads = max(1, min(torch.get_num_threads(), cores() // count))
    failures: list[Failure] = []
    with _ended_at_last() as workers:
        while waiting or workers:
            while waiting and len(workers) < count:
                workers.append(_start(benchmark, spec, threads))
                _give(workers[-1], waiting.popleft(), folder)
            ready = wait([worker.connection for worker in workers])
            for worker in [worker for worker in workers if worker.connection in ready]:
                failure, free = _hear(worker, folder, on_frame)
                failures += [failure] if failure is not None else []
                if free and waiting and worker.process.is_alive():
                    _give(worker, waiting.popleft(), folder)
                elif free:
                    workers.remove(worker)
                    worker.connection.close()  # after which the process ends by itself
    return failures


@contextmanager
def _ended_at_last() -> Iterator[list[_Worker]]:
    workers: list[_Worker] = []
    try:
        yield workers
    finally:
        for worker in workers:
            worker.process.kill()


def _start(benchmark: Benchmark, spec: TrackerChoice, threads: int) -> _Worker:
    # Spawned: forking a process that has used torch or CUDA hangs.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, benchmark, spec, threads), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours, "")


def _give(worker: _Worker, sequence: str, folder: ResultsFolder) -> None:
    worker.sequence = sequence
    worker.connection.send((sequence, folder.begin(sequence)))


def _hear(worker: _Worker, folder: ResultsFolder, on_frame: OnFrame) -> tuple[Failure | None, bool]:
    """One message: what failed, and whether the process has nothing to do now."""
    try:
        message = cast(_Message, worker.connection.recv())
    except (EOFError, OSError):
        worker.process.join()
        told = (
            f"its process ended (exit code {worker.process.exitcode}); use fewer processes if memory is short, "
            'and call this under if __name__ == "__main__":'
        )
        return Failure(worker.sequence, DatasetError(told)), True
    match message:
        case _Frame():
            on_frame(worker.sequence, message.done, message.total)
            return None, False
        case _Done():
            folder.keep(message.timing)
            return None, True
        case _Failed(kind="output"):
            raise OutputError(message.text)
        case _Failed():
            return Failure(worker.sequence, message.error()), True


def _serve(connection: Connection, benchmark: Benchmark, spec: TrackerChoice, threads: int) -> None:
    """What a process does: one sequence after another until nobody gives it one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C reaches all; the process that started this one ends it
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    tracker: Tracker | None = None
    while True:
        try:
            sequence, folder = cast(tuple[str, Path], connection.recv())
        except EOFError:
            return
        try:
            tracker = tracker or spec.build()
            connection.send(_Done(follow_one(benchmark, sequence, tracker, folder, on_frame=_teller(connection), apart=True)))
        except BrokenPipeError:  # nobody listens any more
            return
        except OutputError as error:
            connection.send(_Failed("output", str(error)))
        except FollowspotError as error:
            connection.send(_Failed("mendable", str(error)))
        except Exception:
            connection.send(_Failed("unexpected", traceback.format_exc()))


def _teller(connection: Connection) -> OnFrame:
    return lambda sequence, done, total: connection.send(_Frame(done, total))
