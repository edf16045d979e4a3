"""Score masks on DAVIS exactly as davis2017-evaluation does (semi-supervised), and run a tracker over a split.

Results are a folder a sequence with an indexed PNG for every frame: ``<results>/<sequence>/<frame>.png``, the index is the object's id.
This module needs no torch, so worker processes start quickly.
"""

import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from followspot.benchmarks.report import ObjectScore, Protocol, Report
from followspot.datasets.davis import DavisDataset, DavisSequence, read_ids
from followspot.errors import DatasetError, OutputError, SettingError
from followspot.io.files import output_error, write_atomic
from followspot.metrics.summary import score_frame, summarize

Run = Callable[[DavisSequence, Path], None]
"""Follows the objects of a sequence from its first annotation and writes ``<frame>.png`` for every frame into the folder."""

Progress = Callable[[int, int], None]
"""Called with the number of sequences done and their total."""

NOTES: Mapping[Protocol, str] = {
    "official": "davis2017-evaluation, semi-supervised: first and last frame not scored, objects of the first frame, mean over objects",
    "preliminary": "all frames after the first one scored and pooled over objects; not comparable with published numbers",
}


def score(
    results: Path,
    dataset: DavisDataset,
    *,
    workers: int | None = None,
    protocol: Protocol = "official",
    progress: Progress | None = None,
) -> Report:
    """Score a folder of masks against the annotations of a split.

    A mask is required for every frame, the first and the last included, although these are not scored. In DAVIS 2016 whatever
    is not 0 is the object, so black and white masks are welcome. A script that scores with several workers must call this
    under ``if __name__ == "__main__":``, because workers import it.

    Args:
        results: folder with ``<sequence>/<frame>.png``.
        dataset: the split, with annotations of every frame.
        workers: how many processes; None for one a core. The numbers do not depend on it.
        protocol: ``"official"``, or ``"preliminary"`` for a quick look: all frames but the first one, each weighing the same.
        progress: told about every finished sequence.

    Returns:
        The report; fractions, not percent.

    Raises:
        DatasetError: masks are missing, unreadable, of the wrong size or hold other ids than the first annotation, or the split
            has no annotations to score against.
        SettingError: ``workers`` is below 1, or they could not start.
    """
    results = Path(results)
    if workers is not None and workers < 1:
        raise SettingError(f"workers is {workers}, expected at least 1; leave it out to use every core")
    _require_folders(results, dataset)
    tasks = [(sequence, results / sequence.name, protocol) for sequence in dataset.sequences]
    count = min(workers or _cores(), len(tasks))
    scored = _serially(tasks) if count == 1 else _in_parallel(tasks, count)
    rows: dict[int, tuple[ObjectScore, ...]] = {}
    for index, objects in scored:
        rows[index] = objects
        if progress is not None:
            progress(len(rows), len(tasks))
    return Report(
        benchmark=dataset.name,
        split=dataset.split,
        protocol=protocol,
        note=NOTES[protocol],
        rows=tuple(row for index in range(len(tasks)) for row in rows[index]),
    )


def evaluate(
    dataset: DavisDataset,
    run: Run,
    results: Path,
    *,
    settings: Mapping[str, object] | None = None,
    workers: int | None = None,
    protocol: Protocol = "official",
    progress: Progress | None = None,
) -> Report:
    """Run a tracker over every sequence of a split, then score what it wrote.

    Sequences whose masks are complete are not run again, so a killed evaluation goes on where it was. A sequence's masks appear
    in ``results`` only when ``run`` has finished with it.

    Args:
        dataset: the split.
        run: called with a sequence and the folder to write its masks into.
        results: folder for ``<sequence>/<frame>.png``; made if it does not exist.
        settings: what makes results the same (tracker, weights, preset). Kept in ``results/settings.json``; a folder with other
            or unknown settings is refused. None does not check.
        workers: as in :func:`score`, which is the only part that runs in parallel.
        protocol: as in :func:`score`.
        progress: as in :func:`score`.

    Returns:
        The report; fractions, not percent.

    Raises:
        DatasetError: ``run`` left out a frame, or as in :func:`score`.
        OutputError: the folder holds results of other settings, or cannot be written.
    """
    results = Path(results)
    if settings is not None:
        _require_same_settings(results / "settings.json", settings)
    for sequence in dataset.sequences:
        if _missing_frames(sequence, results / sequence.name):
            _run_one(sequence, run, results)
    return score(results, dataset, workers=workers, protocol=protocol, progress=progress)


def score_one(sequence: DavisSequence, folder: Path, *, protocol: Protocol = "official") -> tuple[ObjectScore, ...]:
    """Score the masks of one sequence, one frame in memory at a time.

    Args:
        sequence: with annotations of every frame.
        folder: with ``<frame>.png`` for every frame.
        protocol: as in :func:`score`.

    Returns:
        One entry an object, by ascending id.

    Raises:
        DatasetError: as in :func:`score`.
    """
    _require_truth(sequence)
    missing = _missing_frames(sequence, folder)
    if missing:
        raise DatasetError(
            f"{folder / missing[0]} is missing ({len(missing)} of {len(sequence)} frames are); "
            "write a mask for every frame of the sequence, the first and the last included"
        )
    scored = range(1, len(sequence) - 1) if protocol == "official" else range(1, len(sequence))
    values = []
    for index in range(len(sequence)):
        predicted = _read_prediction(sequence, index, folder)
        if index in scored:
            values.append(score_frame(sequence.read_mask(index), predicted, sequence.object_ids))
    regions, contours = np.array(values).transpose(1, 2, 0)
    return tuple(
        ObjectScore(sequence=sequence.name, object_id=object_id, frames=len(scored), j=summarize(j), f=summarize(f))
        for object_id, j, f in zip(sequence.object_ids, regions, contours, strict=True)
    )


def _read_prediction(sequence: DavisSequence, index: int, folder: Path) -> NDArray[np.uint8]:
    """The predicted ids of one frame, checked."""
    path = folder / f"{sequence.frame_names[index]}.png"
    ids = read_ids(path)
    expected = sequence.image_size(index)
    if ids.shape != expected:
        got, wanted = (f"{width}x{height}" for height, width in (ids.shape, expected))
        raise DatasetError(f"{path} is {got} but the frame is {wanted}; write masks in the size of the frames")
    if sequence.single_object:
        return (ids > 0).astype(np.uint8)
    extra = sorted(set(np.flatnonzero(np.bincount(ids.ravel())).tolist()) - {0, *sequence.object_ids})
    if extra:
        known = ", ".join(map(str, sequence.object_ids))
        raise DatasetError(f"{path} holds ids {extra} that are not in the first annotation (ids {known}); write only those, 0 elsewhere")
    return ids


def _require_folders(results: Path, dataset: DavisDataset) -> None:
    """Refuse a results folder without a folder for every sequence, before any time is spent."""
    if not results.is_dir():
        raise DatasetError(f"{results} is not a folder; expected the results as <sequence>/<frame>.png")
    missing = [sequence.name for sequence in dataset.sequences if not (results / sequence.name).is_dir()]
    if missing:
        raise DatasetError(
            f"{results / missing[0]} is missing ({len(missing)} of {len(dataset)} sequences are); "
            f"run every sequence of {dataset.name} {dataset.split} before scoring"
        )


def _require_truth(sequence: DavisSequence) -> None:
    """Refuse a sequence that cannot be scored."""
    if len(sequence) < 3:
        raise DatasetError(
            f"{sequence.image_folder} has {len(sequence)} frames, expected at least 3; the first and the last are not scored"
        )
    hidden = [name for name in sequence.frame_names if name not in sequence.annotated]
    if hidden:
        raise DatasetError(
            f"{sequence.mask_folder / hidden[0]}.png is missing ({len(hidden)} annotations are), so {sequence.name!r} can be run "
            "but not scored; choose a split with annotations, or send the masks to the benchmark's server"
        )


def _missing_frames(sequence: DavisSequence, folder: Path) -> list[str]:
    """File names of masks that are not there."""
    return [f"{name}.png" for name in sequence.frame_names if not (folder / f"{name}.png").is_file()]


def _require_same_settings(path: Path, settings: Mapping[str, object]) -> None:
    """Note what made the results, or refuse to mix them with others."""
    wanted = json.dumps(settings, indent=2, sort_keys=True, default=str) + "\n"
    if not path.is_file():
        if path.parent.is_dir() and any(path.parent.iterdir()):
            raise OutputError(f"{path.parent} holds files but no {path.name}, so what made them is unknown; choose an empty results folder")
        write_atomic(path, wanted)
    elif path.read_text(encoding="utf-8") != wanted:
        raise OutputError(f"{path} names other settings than this run; choose another results folder, or delete this one to start again")


def _run_one(sequence: DavisSequence, run: Run, results: Path) -> None:
    """Run one sequence aside and move its masks into place when all are there."""
    aside = results / f".{sequence.name}.partial"
    folder = results / sequence.name
    with _writing(aside):
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
    run(sequence, aside)
    missing = _missing_frames(sequence, aside)
    if missing:
        raise DatasetError(f"the run of {sequence.name!r} wrote no {missing[0]} ({len(missing)} frames missing); it must write every frame")
    with _writing(folder):
        folder.mkdir(exist_ok=True)
        for file in sorted(aside.iterdir()):
            os.replace(file, folder / file.name)
        aside.rmdir()


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Tell what a user can mend where a folder cannot be written."""
    try:
        yield
    except OSError as error:
        told = output_error(error, path)
        if told is None:
            raise
        raise told from error


Task = tuple[DavisSequence, Path, Protocol]


def _serially(tasks: list[Task]) -> Iterator[tuple[int, tuple[ObjectScore, ...]]]:
    for index, task in enumerate(tasks):
        yield index, _work(task)


def _in_parallel(tasks: list[Task], count: int) -> Iterator[tuple[int, tuple[ObjectScore, ...]]]:
    """Scores as they come. Processes are spawned: forking a process that has used torch or CUDA hangs."""
    context = multiprocessing.get_context("spawn")
    longest_first = sorted(range(len(tasks)), key=lambda index: -len(tasks[index][0]))
    with ProcessPoolExecutor(count, mp_context=context, initializer=_take_one_core) as pool:
        futures = {pool.submit(_work, tasks[index]): index for index in longest_first}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise SettingError(
                f'{count} workers could not start or were killed; call this under if __name__ == "__main__":, or pass workers=1'
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _work(task: Task) -> tuple[ObjectScore, ...]:
    sequence, folder, protocol = task
    return score_one(sequence, folder, protocol=protocol)


def _take_one_core() -> None:
    """Keep OpenCV from starting its own threads in every worker."""
    cv2.setNumThreads(1)


def _cores() -> int:
    """Cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
