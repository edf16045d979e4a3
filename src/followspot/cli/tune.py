"""``followspot tune`` and ``followspot sweep``: the settings, and the checkpoint, that track best."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from followspot.benchmarks.registry import open_benchmark
from followspot.cli.evaluate import Name
from followspot.cli.options import EncoderOptions, PropagationOptions
from followspot.cli.progress import Stages
from followspot.cli.trackers import chosen_tracker, named_tracker
from followspot.errors import SettingError

if TYPE_CHECKING:
    from followspot.benchmarks.base import Benchmark
    from followspot.jobs.tracker_choice import TrackerChoice

DEFAULT_TRIALS = 40
"""Where nothing says how long: enough for the estimator to learn from its first ten, and half an hour where a trial takes 45 s."""


def tune(
    benchmark: Name,
    /,
    *,
    out: Path,
    data: Path | None = None,
    split: str | None = None,
    protocol: str | None = None,
    sequences: str | None = None,
    tracker: str | None = None,
    ranges: Annotated[tuple[str, ...], Parameter(name="--set", negative=())] = (),
    sampler: Literal["random", "grid", "tpe"] = "tpe",
    trials: int | None = None,
    minutes: float | None = None,
    processes: int = 1,
    seed: int = 0,
    encoder: EncoderOptions = EncoderOptions(),
    propagation: PropagationOptions = PropagationOptions(),
) -> None:
    """Search a tracker's settings on a benchmark.

    A stopped search goes on when the same command is given again; several machines that share the folder may take part. Search on other
    videos than those that you report.

    Args:
        out: Folder for trials.md, trials.csv and best.yaml, which --preset of every command takes (NAME@best.yaml for an online tracker).
        data: Folder of the benchmark as it unpacks.
        split: Name of a list of sequences; default: the usual one.
        protocol: Where a benchmark has several; default: the official one.
        sequences: Names of sequences in that list, with commas between; default all.
        tracker: As for evaluate: an encoder by name, a weights file, a training run, an online tracker. Or use the options of the encoder
            below.
        ranges: What to search: NAME=low:high, NAME=low:high:log, NAME=start,stop,step or NAME=a|b|c; NAME alone takes the usual range.
            May be given several times; default: top_k, temperature, radius and context_frames; of an online tracker penalty_k,
            window_influence, lr and seg_thr.
        sampler: tpe learns from what was tried; random does not; grid tries all combinations in random order.
        trials: Settings to try in all, earlier runs included; default: the whole grid, otherwise 40 unless --minutes says how long.
        minutes: No trial begins later than this.
        processes: Trials that run at once.
        seed: Another number tries other settings.
    """
    from followspot.jobs.search_space import parse_range, parse_space
    from followspot.jobs.siamese import SiameseSpec
    from followspot.jobs.trackers import read_name
    from followspot.jobs.tune import Budget, Search
    from followspot.jobs.tune import tune as run

    spec = chosen_tracker(tracker, encoder, propagation, benchmark=benchmark)
    usual = {name: parse_range(text) for name, text in spec.tunable().items()}
    opened = cut(open_benchmark(benchmark, data, split=split, protocol=protocol), sequences)
    search = Search(benchmark=opened, tracker=spec, space=parse_space(ranges, usual), out=out, data=data, sampler=sampler, seed=seed)
    if trials is None and minutes is None and sampler != "grid":
        trials = DEFAULT_TRIALS
    with Stages("trials") as progress:
        budget = Budget(trials=trials, minutes=minutes, processes=processes)
        report = run(search, budget, progress=lambda done, total: progress("tuning", done, total))
    print(report.table().text(most=10))
    best = out / "best.yaml"
    how = f"--tracker {read_name(tracker or '')[1]}@{best}" if isinstance(spec, SiameseSpec) else f"--preset {best}"
    print(f"saved to {out}: trials.md, trials.csv, best.yaml; use it: followspot track VIDEO ... {how}")


def sweep(
    run: Annotated[str, Parameter(help="Folder of a training run; RUN@PRESET chooses a preset.")],
    /,
    *,
    benchmark: str,
    out: Path,
    data: Path | None = None,
    split: str | None = None,
    protocol: str | None = None,
    sequences: str | None = None,
    steps: str | None = None,
    processes: int = 1,
    workers: int | None = None,
    device: str = "auto",
    propagation: PropagationOptions = PropagationOptions(),
) -> None:
    """Score every checkpoint of a training run and keep the best.

    Checkpoints that are done are not run again, so a stopped sweep goes on when the same command is given again. Train with
    --set log.keep=1000 to have more checkpoints than the last two.

    Args:
        benchmark: Name of the benchmark, as for evaluate; its first score ranks.
        out: Folder for sweep.md, sweep.csv, best.safetensors, and the results of each checkpoint.
        data: Folder of the benchmark as it unpacks.
        split: Name of a list of sequences; default: the usual one.
        protocol: Where a benchmark has several; default: the official one.
        sequences: Names of sequences in that list, with commas between; default all.
        steps: Only checkpoints of these steps, such as 100-2000.
        processes: Sequences that run at once.
        workers: Processes for scoring; default one a core.
        device: auto, cpu, cuda, cuda:1 ...
    """
    from followspot.jobs.sweep import parse_steps
    from followspot.jobs.sweep import sweep as start
    from followspot.jobs.trackers import read_name

    _, folder, preset = read_name(run)
    opened = cut(open_benchmark(benchmark, data, split=split, protocol=protocol), sequences)

    def tracker(weights: Path, name: str) -> "TrackerChoice":
        text = f"{name}={weights}" if preset is None else f"{name}={weights}@{preset}"
        return named_tracker(text, propagation, benchmark=benchmark, device=device)

    with Stages(units={"scoring": "sequences"}) as progress:
        report = start(
            Path(folder),
            opened,
            out,
            data=data,
            tracker=tracker,
            steps=None if steps is None else parse_steps(steps),
            processes=processes,
            workers=workers,
            show_for=lambda name: lambda stage, done, total: progress(name if stage == "tracking" else stage, done, total),
        )
    print(report.table.text())
    print(f"best: step {report.best_step}, saved to {report.best}; use it: followspot track VIDEO ... --weights {report.best}")


def cut(benchmark: "Benchmark", sequences: str | None) -> "Benchmark":
    """A benchmark with the sequences that ``--sequences`` names.

    Raises:
        SettingError: it names none.
        DatasetError: there is no such sequence.
    """
    from followspot.benchmarks.selection import only

    if sequences is None:
        return benchmark
    names = [name.strip() for name in sequences.split(",") if name.strip()]
    if not names:
        raise SettingError("--sequences names none; give names with commas between, or leave it out")
    return only(benchmark, names)
