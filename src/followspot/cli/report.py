"""``followspot report``."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from followspot.cli.progress import Stages


def report(
    *runs: Annotated[Path, Parameter(help="Folders that evaluate, score, compare or train wrote.")],
    out: Path = Path("out/report"),
    data: Path | None = None,
    weights: Annotated[list[Path] | None, Parameter(negative=())] = None,
    worst: int = 4,
    sequences: int = 3,
) -> None:
    """Write everything there is to say about some runs into one HTML file, with figures, tables and pictures beside it.

    Args:
        out: Folder for report.html and the files beside it.
        data: Folder of the benchmark, if it is not where it was when the results were made.
        weights: Files or training runs of learnt encoders, so that the report can show what they see.
        worst: Failures shown of a method.
        sequences: Contact sheets of a benchmark.
    """
    from followspot.jobs.report import write_report

    with Stages("sections") as progress:
        made = write_report(runs, out, data=data, weights=weights or (), worst=worst, sequences=sequences, show=progress)
    print(f"{made.page} ({made.size / 1e6:.1f} MB) and {len(made.files)} files beside it")
