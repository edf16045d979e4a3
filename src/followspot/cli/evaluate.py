"""``followspot evaluate``, ``followspot score`` and ``followspot compare``: every benchmark, every tracker."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from followspot.benchmarks.registry import NAMES, find_entry, open_benchmark
from followspot.cli.options import EncoderOptions, PropagationOptions
from followspot.cli.progress import Stages
from followspot.cli.trackers import chosen_tracker, named_tracker
from followspot.errors import DatasetError

if TYPE_CHECKING:
    from followspot.benchmarks.base import Benchmark
    from followspot.benchmarks.report import Report
    from followspot.jobs.compare import Comparison
    from followspot.jobs.evaluate import Evaluation
    from followspot.jobs.tracker_choice import TrackerChoice

_UNITS = {"scoring": "sequences"}
Name = Annotated[str, Parameter(help=f"Benchmark: {', '.join(NAMES)}.")]


def evaluate(
    benchmark: Name,
    /,
    *,
    data: Path | None = None,
    split: str | None = None,
    protocol: str | None = None,
    tracker: str | None = None,
    out: Path | None = None,
    processes: int = 1,
    workers: int | None = None,
    confidence: Annotated[bool, Parameter(negative=())] = False,
    encoder: EncoderOptions = EncoderOptions(),
    propagation: PropagationOptions = PropagationOptions(),
) -> None:
    """Run a tracker on a benchmark and score it.

    Sequences that are complete in the output folder are not run again, so a stopped run goes on when the same command is given again.

    Args:
        data: Folder of the benchmark as it unpacks.
        split: Name of a list of sequences; default: the usual one.
        protocol: Where a benchmark has several; default: the official one.
        tracker: default, an encoder by name, a weights file, a training run, an online tracker (siammask-lite), or a baseline: identity,
            template, flow:dis, flow:farneback, flow:coarse-to-fine. NAME@PRESET chooses a preset. Or use the options of the encoder below.
        out: Folder for results and scores; default out/BENCHMARK-SPLIT-TRACKER.
        processes: Sequences that run at once, each with a tracker of its own.
        workers: Processes for scoring; default one a core.
        confidence: Also keep how sure the tracker was of each frame, beside its measured overlap (confidence.csv); a tenth slower.
    """
    from followspot.jobs.evaluate import evaluate as run

    opened = open_benchmark(benchmark, data, split=split, protocol=protocol)
    spec = chosen_tracker(tracker, encoder, propagation, benchmark=benchmark)
    spec = spec.with_confidence() if confidence else spec
    folder = out if out is not None else _default_folder(benchmark, opened, spec)
    with Stages(units=_UNITS) as progress:
        done = run(opened, spec, folder, data=data, processes=processes, workers=workers, show=progress)
    _tell(done)


def score(
    benchmark: Name,
    results: Annotated[Path, Parameter(help="Folder with a folder for each sequence. Or weights, or a training run: they are run first.")],
    /,
    *,
    data: Path | None = None,
    split: str | None = None,
    protocol: str | None = None,
    out: Path | None = None,
    workers: int | None = None,
) -> None:
    """Score a folder of results, whoever made them.

    Args:
        data: Folder of the benchmark as it unpacks.
        split: Name of a list of sequences; default: the usual one.
        protocol: Where a benchmark has several; default: the official one.
        out: Folder for the scores; default: the folder of results, and in it a folder PROTOCOL for another than it was made with.
        workers: Processes; default one a core.
    """
    from followspot.jobs.confidences import save_beside_overlap
    from followspot.jobs.evaluate import evaluate as run
    from followspot.jobs.trackers import is_weights

    opened = open_benchmark(benchmark, data, split=split, protocol=protocol)
    if is_weights(results):
        spec = named_tracker(str(results), PropagationOptions(), benchmark=benchmark)
        with Stages(units=_UNITS) as progress:
            done = run(opened, spec, out or _default_folder(benchmark, opened, spec), data=data, workers=workers, show=progress)
        _tell(done)
        return
    if not results.is_dir():
        raise DatasetError(f"{results} is no folder of results; check the path, or make one with followspot evaluate {benchmark}")
    with Stages("sequences") as progress:
        report = opened.score(results, workers=workers, progress=lambda finished, total: progress("scoring", finished, total))
    folder = out if out is not None else _folder_of_scores(benchmark, opened, results)
    report.save(folder)
    save_beside_overlap(report, results, folder)
    _print(report, folder)


def compare(
    benchmark: Name,
    /,
    *,
    trackers: str,
    out: Path,
    data: Path | None = None,
    split: str | None = None,
    protocol: str | None = None,
    processes: int = 1,
    workers: int | None = None,
    stride: int | None = None,
    device: str = "auto",
    propagation: PropagationOptions = PropagationOptions(),
) -> None:
    """Run several trackers on a benchmark and print one table, the best first.

    What is complete in the output folder is not run again.

    Args:
        trackers: Names as --tracker of evaluate takes them, with commas between: identity,flow:dis,random:resnet18,ours=run/@crw
        data: Folder of the benchmark as it unpacks.
        out: Folder for compare.csv, compare.json and compare.md; results of each tracker go into a folder in it.
        split: Name of a list of sequences; default: the usual one.
        protocol: Where a benchmark has several; default: the official one.
        processes: Sequences that run at once, each with a tracker of its own.
        workers: Processes for scoring; default one a core.
        stride: Pixels a feature cell, where encoders offer a choice (4 or 8).
        device: auto, cpu, cuda, cuda:1 ...
    """
    from followspot.jobs.compare import compare as run

    opened = open_benchmark(benchmark, data, split=split, protocol=protocol)
    names = [name.strip() for name in trackers.split(",") if name.strip()]
    specs = [named_tracker(name, propagation, benchmark=benchmark, stride=stride, device=device) for name in names]
    tables: list[Comparison] = []
    try:
        with Stages(units=_UNITS) as progress:
            run(
                opened,
                specs,
                out,
                data=data,
                processes=processes,
                workers=workers,
                show_for=lambda name: lambda stage, done, total: progress(name if stage == "tracking" else stage, done, total),
                on_table=tables.append,
            )
    finally:
        for comparison in tables:  # also of those that did not fail, where others did
            print(comparison.table())
            print(f"saved to {out}: compare.csv, compare.json, compare.md")


def _default_folder(name: str, benchmark: "Benchmark", spec: "TrackerChoice") -> Path:
    variant = "" if benchmark.protocol == find_entry(name).protocols[0] else f"-{benchmark.protocol}"
    return Path("out") / f"{name}-{benchmark.split}{variant}-{spec.slug}"


def _folder_of_scores(name: str, benchmark: "Benchmark", results: Path) -> Path:
    """Beside the results; scores of another protocol than that of the results have a folder of their own, so that neither is lost."""
    from followspot.jobs.results import protocol_of

    usual = protocol_of(results) or find_entry(name).protocols[0]
    return results if benchmark.protocol == usual else results / benchmark.protocol


def _tell(done: "Evaluation") -> None:
    if done.report is not None:
        _print(done.report, done.out)
    if done.archive is not None:
        print(f"no public truth to score against; send {done.archive} to the benchmark's server")
    if done.frames_per_second is not None:
        apart = "" if done.pace is None else f": {done.pace}"
        print(f"{done.frames_per_second:.1f} frames/s{apart}; by sequence in timing.csv")


def _print(report: "Report", folder: Path) -> None:
    print(report.table())
    print(f"saved to {folder}: {', '.join([*report.files, 'rows.csv', 'report.txt', 'report.json'])}")
