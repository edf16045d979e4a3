"""Many videos at once: what one process does with one of them, and the pool that survives what a decoder does not.

Workers start fresh (spawn) and never import torch. They end at once when the process that started them does, however it ends.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Self

from followspot.errors import OutputError, VideoError
from followspot.io.clip_format import MadeClip, TranscodeSettings
from followspot.io.clip_sources import ClipSource
from followspot.io.transcode import transcode


@dataclass(frozen=True, kw_only=True)
class Job:
    """One source to make clips of."""

    source: ClipSource
    folder: Path
    """Where the clips are put until they are taken into the store."""
    name: str
    """How their files begin; no two jobs share it."""
    settings: TranscodeSettings
    static_below: float | None
    """Clips that move less than this are dropped; None keeps all."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a job."""

    clips: tuple[MadeClip, ...] = ()
    static: tuple[float, ...] = ()
    """Motion of each clip that was dropped as static."""
    reason: str = ""
    """Why there is no clip."""


def make_clips(job: Job) -> Outcome:
    """Do a job.

    Returns:
        The clips, or why there is none: whatever is wrong with one video must not stop the others.

    Raises:
        OutputError: the clips cannot be written, which would stop the others too.
    """
    original = job.source.path if job.source.kind == "video" else None
    try:
        with job.source.open() as video:
            made = transcode(video, job.folder, name=job.name, settings=job.settings, original=original)
    except OutputError:
        raise
    except VideoError as error:
        return Outcome(reason=_without_name(str(error), job.source.path))
    except Exception as error:  # a reader's bug on a strange file; the report names it
        return Outcome(reason=f"unexpected {type(error).__name__}: {error}")
    moving = tuple(clip for clip in made if job.static_below is None or clip.motion >= job.static_below)
    still = tuple(clip for clip in made if clip not in moving)
    for clip in still:
        clip.file.unlink(missing_ok=True)
    return Outcome(clips=moving, static=tuple(clip.motion for clip in still))


def _without_name(reason: str, path: Path) -> str:
    """Reports name the source already."""
    for name in (f"{path}: ", f"{path} ", f"{path.stem} "):
        reason = reason.removeprefix(name)
    return reason


def run_jobs(jobs: Iterable[Job], *, workers: int) -> Iterator[tuple[Job, Outcome]]:
    """Do all jobs, in whatever order they end.

    Args:
        jobs: taken a few at a time.
        workers: how many processes; with 1 it happens in this one.

    Raises:
        OutputError: the clips cannot be written.
    """
    if workers == 1:
        for job in jobs:
            yield job, make_clips(job)
        return
    remaining = iter(jobs)
    while True:
        broken: list[Job] = []
        with _Pool(workers) as pool:
            yield from pool.run(remaining, broken)
        if not broken:
            return
        for job in broken:
            yield job, _alone(job)


def _alone(job: Job) -> Outcome:
    """A job that may be the one that brought a process down."""
    broken: list[Job] = []
    with _Pool(1) as pool:
        for _, outcome in pool.run(iter([job]), broken):
            return outcome
    return Outcome(reason="the decoder crashed on it, or ran out of memory")


class _Pool:
    """Processes that end with this one."""

    def __init__(self, workers: int) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._leash, self._held = spawn.Pipe(duplex=False)
        self._workers = workers
        self._executor = ProcessPoolExecutor(workers, mp_context=spawn, initializer=_begin, initargs=(self._leash,))

    def run(self, jobs: Iterator[Job], broken: list[Job]) -> Iterator[tuple[Job, Outcome]]:
        """Outcomes as they come; where a process dies, the jobs that were under way are put into ``broken`` and it ends."""
        running: dict[Future[Outcome], Job] = {}
        while True:
            # Two for each worker, so that none waits for the next; not more, since all of them are suspects after a crash.
            for job in islice(jobs, 2 * self._workers - len(running)):
                try:
                    running[self._executor.submit(make_clips, job)] = job
                except BrokenProcessPool:
                    broken.append(job)
                    break
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                job = running.pop(future)
                try:
                    yield job, future.result()
                except BrokenProcessPool:
                    broken.append(job)
            if broken:
                broken.extend(running.values())
                return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is not None:
            self._held.close()
        self._executor.shutdown(wait=True, cancel_futures=True)
        self._held.close()
        self._leash.close()


def _begin(leash: Connection) -> None:
    """First thing in a worker."""
    import cv2

    cv2.setNumThreads(1)
    # Ctrl-C reaches every process of the terminal; the parent decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(leash,), daemon=True).start()


def _end_with_parent(leash: Connection) -> None:
    # The other end is held by the parent alone: it closes when the parent dies, even by kill -9.
    leash.poll(None)
    os._exit(1)
