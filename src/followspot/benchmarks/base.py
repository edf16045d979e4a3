"""What every benchmark can do, so that one runner, one table and one report serve them all."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from followspot.benchmarks.report import Report
from followspot.errors import SettingError
from followspot.tracking.base import Tracker

OnFrame = Callable[[str, int, int], None]
"""Called with the name of a sequence, how many of its frames are done, and how many there are."""

Progress = Callable[[int, int], None]
"""Called with the number of sequences done and their total."""


@runtime_checkable
class Benchmark(Protocol):
    """A frozen protocol over labelled videos.

    Opening one reads lists and headers, no pictures. It can be pickled, so that each process has its own. Results are one folder a
    sequence, ``<results>/<sequence>/``, in the file format of the benchmark's own judge where there is one.
    """

    @property
    def name(self) -> str:
        """For people and for the report: ``"DAVIS 2017"``."""
        ...

    @property
    def split(self) -> str:
        """Which list of sequences: ``"val"``; ``"all"`` where there is only one."""
        ...

    @property
    def protocol(self) -> str:
        """Which of the protocols that differ in their numbers: ``"official"``, ``"strict"``, ``"query-first"`` ..."""
        ...

    @property
    def sequence_names(self) -> tuple[str, ...]:
        """The videos in the order of the list; names are unique and may hold ``/``."""
        ...

    def length(self, sequence: str) -> int:
        """How many frames a sequence has."""
        ...

    def is_complete(self, sequence: str, folder: Path) -> bool:
        """Whether a folder holds all results of a sequence, so that it need not be run again."""
        ...

    def run(self, sequence: str, tracker: Tracker, folder: Path, *, on_frame: OnFrame | None = None) -> None:
        """Follows the objects of one sequence and writes the results.

        The tracker is shown the first annotations and the frames, and by no way the truth of later frames (a reset, where the protocol
        has one, excepted).

        Args:
            sequence: its name.
            tracker: started anew for the sequence.
            folder: exists and is empty; a killed run may leave it half full, since the runner moves it into place only when complete.
            on_frame: told about every frame.

        Raises:
            DatasetError: a frame or an annotation is missing or unusable.
        """
        ...

    def score(self, results: Path, *, workers: int | None = None, progress: Progress | None = None) -> Report:
        """Scores the results of all sequences.

        Args:
            results: with a folder for each sequence, whoever wrote it.
            workers: how many processes; None for one a core. The numbers do not depend on it.
            progress: told about every finished sequence.

        Raises:
            DatasetError: results are missing or unusable, or there is no truth to score against; names the file and what to do.
        """
        ...

    def picture(self, sequence: str, frame: int, results: Path | None) -> NDArray[np.uint8]:
        """A frame with the result drawn on it, or the truth where ``results`` is None; RGB ``(H, W, 3)``.

        Raises:
            DatasetError: the frame, its result or its truth is not there.
        """
        ...


@runtime_checkable
class Submission(Protocol):
    """What a benchmark also has if a server scores some of its splits."""

    @property
    def hidden(self) -> bool:
        """Whether this split has no public truth, so that results can be sent but not scored here."""
        ...

    def pack(self, results: Path, archive: Path) -> None:
        """Writes what the server takes.

        Args:
            results: with the complete folder of each sequence.
            archive: the file to write; appears only when complete.

        Raises:
            DatasetError: results are missing or unusable.
            OutputError: the archive cannot be written.
        """
        ...


def require_protocol(benchmark: str, protocol: str | None, known: Iterable[str]) -> None:
    """Refuses a protocol that a benchmark has not.

    Args:
        benchmark: for the message.
        protocol: what was asked for; None, for the usual one, is fine.
        known: those that it has.

    Raises:
        SettingError: it has no such protocol; names those that it has.
    """
    names = tuple(known)
    if protocol not in (None, *names):
        raise SettingError(f'{benchmark} has no protocol "{protocol}"; choose from: {", ".join(names)}')
