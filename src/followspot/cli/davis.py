"""``followspot evaluate davis`` and ``followspot score davis``."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from followspot.cli.options import EncoderOptions, PropagationOptions, build_preset, build_tracker
from followspot.cli.progress import Stages

if TYPE_CHECKING:
    from followspot.benchmarks.report import Report

Year = Literal["2016", "2017"]


def evaluate(
    *,
    data: Path,
    split: str = "val",
    year: Year | None = None,
    out: Path | None = None,
    baseline: Literal["identity"] | None = None,
    workers: int | None = None,
    encoder: EncoderOptions = EncoderOptions(),
    propagation: PropagationOptions = PropagationOptions(),
) -> None:
    """Run a tracker on DAVIS and score its masks.

    Sequences that are complete in the output folder are not run again.

    Args:
        data: Folder of DAVIS (with ImageSets, JPEGImages and Annotations).
        split: Name of a list in ImageSets: val, train, or your own.
        year: 2016 (one object) or 2017 (many); default: the year that has the split.
        out: Folder for masks and CSVs; default out/davis-SPLIT-ENCODER-PRESET.
        baseline: Score a baseline instead of the tracker: identity copies the first mask.
        workers: Processes for scoring; default one a core.
    """
    from followspot.benchmarks import baselines, davis
    from followspot.datasets.davis import DavisDataset

    dataset = DavisDataset(data, year=year, split=split)
    run: davis.Run = baselines.identity
    name, settings = "identity", {"baseline": "identity"}
    with Stages() as frames:
        if baseline is None:
            from followspot.jobs.davis import davis_run
            from followspot.models.weights import weights_id

            preset, tracker = build_preset(propagation), build_tracker(encoder, propagation, confidence=False)
            settings = {"encoder": tracker.encoder.name, "weights": weights_id(tracker.encoder), "preset": str(preset)}
            name = re.sub(r"[:/ ]", "-", f"{encoder.encoder or tracker.encoder.name}-{preset.name}")
            run = davis_run(tracker, on_frame=frames)
        folder = out if out is not None else Path("out") / f"davis-{split}-{name}"
        report = davis.evaluate(dataset, run, folder, settings=settings, workers=workers)
    _publish(report, folder)


def score(
    results: Annotated[Path, Parameter(help="Folder with SEQUENCE/FRAME.png for every frame.")],
    /,
    *,
    data: Path,
    split: str = "val",
    year: Year | None = None,
    out: Path | None = None,
    protocol: Literal["official", "preliminary"] = "official",
    workers: int | None = None,
) -> None:
    """Score a folder of DAVIS masks by the official protocol.

    Args:
        data: Folder of DAVIS (with ImageSets and Annotations).
        split: Name of a list in ImageSets: val, train, or your own.
        year: 2016 (one object) or 2017 (many); default: the year that has the split.
        out: Folder for the CSVs; default: the folder of results.
        protocol: preliminary pools all frames: quick, and not comparable with published numbers.
        workers: Processes; default one a core.
    """
    from followspot.benchmarks import davis
    from followspot.datasets.davis import DavisDataset

    dataset = DavisDataset(data, year=year, split=split)
    with Stages("sequences") as progress:
        report = davis.score(
            results, dataset, workers=workers, protocol=protocol, progress=lambda done, total: progress("scoring", done, total)
        )
    _publish(report, out if out is not None else results)


def _publish(report: "Report", folder: Path) -> None:
    report.save(folder)
    print(report.table())
    prefix = "" if report.protocol == "official" else f"{report.protocol}_"
    names = (f"global_results-{report.split}.csv", f"per-sequence_results-{report.split}.csv", "report.json")
    print(f"saved to {folder}: {', '.join(prefix + name for name in names)}")
