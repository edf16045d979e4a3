"""A tracker on a benchmark: run what is not there yet, then score all of it."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from followspot.benchmarks.base import Benchmark, OnFrame, Submission
from followspot.benchmarks.parallel import require_workers
from followspot.benchmarks.report import Report
from followspot.errors import DatasetError, FollowspotError, OutputError, SettingError
from followspot.jobs.confidences import CONFIDENCE, begin_recording, save_beside_overlap, save_recording
from followspot.jobs.results import ResultsFolder, Timing, total_rate
from followspot.jobs.timing import Pace, TimedTracker, total_pace
from followspot.jobs.tracker_choice import TrackerChoice
from followspot.tracking.base import Tracker

Show = Callable[[str, int, int | None], None]
"""Told the stage (``"tracking"`` counts frames, ``"scoring"`` sequences), how much of it is done and how much there is."""

ARCHIVE = "submission.zip"
"""What the server of a benchmark takes, where a split has no public truth."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What a tracker came to."""

    out: Path
    report: Report | None
    """None where the split has no public truth."""
    archive: Path | None = None
    """For the benchmark's server, where it has one and the split has no public truth."""
    computed: int
    """Sequences that this call ran; the others were there already."""
    frames_per_second: float | None
    """Over all timed sequences, everything included; None if none was timed."""
    pace: Pace | None = None
    """What of it was the model, and what reading and writing; None if nothing tells."""

    def require_report(self) -> Report:
        """The report.

        Raises:
            DatasetError: the split has no public truth.
        """
        if self.report is None:
            raise DatasetError(f"the results in {self.out} cannot be scored here: the split has no public truth; choose another split")
        return self.report


@dataclass(frozen=True)
class Failure:
    """A sequence that could not be run."""

    sequence: str
    error: Exception


@dataclass
class Tally:
    """How many frames of several sequences are done."""

    total: int
    show: Show
    _done: dict[str, int] = field(default_factory=dict)

    def __call__(self, sequence: str, done: int, total: int) -> None:
        """`OnFrame`."""
        self._done[sequence] = done
        self.show("tracking", sum(self._done.values()), self.total)


def evaluate(
    benchmark: Benchmark,
    spec: TrackerChoice,
    out: Path,
    *,
    data: Path | None,
    processes: int = 1,
    workers: int | None = None,
    show: Show = lambda stage, done, total: None,
) -> Evaluation:
    """Runs a tracker over every sequence that is not complete yet, then scores all.

    Each sequence is run aside and moved into place when it is complete, so a killed evaluation goes on where it was. One that fails does
    not stop the others.

    Args:
        benchmark: what is run.
        spec: the tracker; each process builds its own. With `confidence`, sequences that were run without it are run again.
        out: folder of results (see `followspot.jobs.results`); gets the report's files too.
        data: where the benchmark's files are, noted with the settings; None for one without files.
        processes: how many sequences run at once. They share the cores; call it under ``if __name__ == "__main__":`` if more than one.
        workers: processes that score; None for one a core.
        show: told about every frame and every scored sequence.

    Returns:
        The report and how fast it went.

    Raises:
        OutputError: the folder holds results of other settings, or cannot be written.
        DatasetError: sequences could not be run, or results cannot be scored.
        SettingError: there is no process to run or to score them.
    """
    if processes < 1:
        raise SettingError(f"processes is {processes}, expected at least 1")
    require_workers(workers)  # now, not after an hour of tracking
    folder = ResultsFolder(Path(out), run_settings(benchmark, data, spec.settings()))
    todo = incomplete(benchmark, folder, files=(CONFIDENCE,) if spec.confidence else ())
    tally = Tally(sum(map(benchmark.length, todo)), show)
    with folder.tidied():
        if min(processes, len(todo)) > 1:
            from followspot.jobs.evaluate_processes import follow_in_processes

            failures = follow_in_processes(benchmark, spec, folder, todo, processes=processes, on_frame=tally)
        else:
            failures = follow_here(benchmark, spec.build(), folder, todo, on_frame=tally, apart=True) if todo else []
    raise_failures(failures, len(todo))
    return score(benchmark, folder, computed=len(todo), workers=workers, show=show)


def evaluate_tracker(
    benchmark: Benchmark,
    tracker: Tracker,
    out: Path,
    *,
    settings: Mapping[str, object],
    workers: int | None = None,
    show: Show = lambda stage, done, total: None,
) -> Evaluation:
    """The same with a tracker that is built already, in this process; only whole sequences are timed.

    Args:
        benchmark: what is run.
        tracker: started anew for each sequence.
        out: folder of results.
        settings: what makes results the same; a folder with others is refused.
        workers: processes that score; None for one a core.
        show: as in `evaluate`.

    Raises:
        OutputError: the folder holds results of other settings, or cannot be written.
        DatasetError: sequences could not be run, or results cannot be scored.
    """
    folder = ResultsFolder(out, settings)
    todo = incomplete(benchmark, folder)
    with folder.tidied():
        failures = follow_here(benchmark, tracker, folder, todo, on_frame=Tally(sum(map(benchmark.length, todo)), show))
    raise_failures(failures, len(todo))
    return score(benchmark, folder, computed=len(todo), workers=workers, show=show)


def run_settings(benchmark: Benchmark, data: Path | None, tracker: Mapping[str, object]) -> dict[str, object]:
    """What makes results the same: what ``settings.json`` holds."""
    return {
        "benchmark": benchmark.name,
        "data": None if data is None else str(data.resolve()),
        "split": benchmark.split,
        "protocol": benchmark.protocol,
        "tracker": dict(tracker),
    }


def incomplete(benchmark: Benchmark, folder: ResultsFolder, *, files: Sequence[str] = ()) -> list[str]:
    """The sequences that have to be run.

    Args:
        benchmark: what is run.
        folder: of results.
        files: what a sequence needs besides the benchmark's results.
    """

    def there(name: str) -> bool:
        return benchmark.is_complete(name, folder[name]) and all((folder[name] / file).is_file() for file in files)

    return [name for name in benchmark.sequence_names if not there(name)]


def follow_here(
    benchmark: Benchmark,
    tracker: Tracker,
    folder: ResultsFolder,
    sequences: Sequence[str],
    *,
    on_frame: OnFrame,
    apart: bool = False,
) -> list[Failure]:
    """Runs sequences one after the other, and moves each into place when it is complete.

    Args:
        benchmark: what is run.
        tracker: started anew for each sequence.
        folder: of results.
        sequences: those to run.
        on_frame: told about every frame.
        apart: as in `follow_one`.

    Returns:
        What failed.

    Raises:
        OutputError: a file cannot be written.
    """
    failures = []
    for sequence in sequences:
        try:
            folder.keep(follow_one(benchmark, sequence, tracker, folder.begin(sequence), on_frame=on_frame, apart=apart))
        except OutputError:  # which would meet the next sequence as well
            raise
        except Exception as error:
            failures.append(Failure(sequence, error))
    return failures


def follow_one(
    benchmark: Benchmark, sequence: str, tracker: Tracker, folder: Path, *, on_frame: OnFrame | None = None, apart: bool = False
) -> Timing:
    """Runs one sequence and checks that nothing is missing.

    Args:
        benchmark: what is run.
        sequence: its name.
        tracker: started anew.
        folder: empty; gets the results.
        on_frame: told about every frame.
        apart: whether the model is timed apart from reading and writing.

    Raises:
        DatasetError: the frames cannot be used, or results are missing afterwards.
    """
    began = time.perf_counter()
    begin_recording(tracker)
    timed = TimedTracker(tracker) if apart else None
    benchmark.run(sequence, timed or tracker, folder, on_frame=on_frame)
    save_recording(tracker, sequence, folder)
    seconds = time.perf_counter() - began
    if not benchmark.is_complete(sequence, folder):
        raise DatasetError(f"the run of {sequence!r} left results out; the tracker must answer for every frame")
    return Timing(sequence=sequence, frames=benchmark.length(sequence), seconds=seconds, pace=timed.pace() if timed else None)


def raise_failures(failures: Sequence[Failure], total: int) -> None:
    """Tells what went wrong, if anything did.

    Raises:
        DatasetError: all that failed is for the user to mend.
        Exception: the first one that is not.
    """
    if not failures:
        return
    kept = "run the same command again when that is mended, the other sequences are kept"
    for failure in failures:
        if not isinstance(failure.error, FollowspotError):
            failure.error.add_note(f"in sequence {failure.sequence!r}, {len(failures)} of {total} failed; {kept}")
            raise failure.error
    told = _grouped(failures)
    raise DatasetError(f"{len(failures)} of {total} sequences could not be run: {told}; {kept}") from failures[0].error


def _grouped(failures: Sequence[Failure]) -> str:
    """Each message once, with the sequence that met it first; three messages at most."""
    names: dict[str, list[str]] = {}
    for failure in failures:
        names.setdefault(str(failure.error), []).append(failure.sequence)
    told = [f"{met[0]}{f' and {len(met) - 1} more' if len(met) > 1 else ''}: {text}" for text, met in names.items()]
    return "; ".join(told[:3]) + (f" (and {len(told) - 3} other reasons)" if len(told) > 3 else "")


def score(benchmark: Benchmark, folder: ResultsFolder, *, computed: int, workers: int | None, show: Show) -> Evaluation:
    """Scores complete results and saves the report; packs them for the server where there is no public truth.

    Raises:
        DatasetError: results or truth are missing.
    """
    timings = list(folder.timings().values())
    rate = total_rate(timings)
    pace = total_pace([(timing.frames, timing.pace) for timing in timings if timing.pace is not None])
    if isinstance(benchmark, Submission) and benchmark.hidden:
        archive = folder.path / ARCHIVE
        benchmark.pack(folder.path, archive)
        return Evaluation(out=folder.path, report=None, archive=archive, computed=computed, frames_per_second=rate, pace=pace)
    report = benchmark.score(folder.path, workers=workers, progress=lambda done, total: show("scoring", done, total))
    report.save(folder.path)
    save_beside_overlap(report, folder.path, folder.path)
    return Evaluation(out=folder.path, report=report, computed=computed, frames_per_second=rate, pace=pace)
