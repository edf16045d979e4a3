"""Everything there is to say about some runs, in one file for a browser and in files for papers.

out/
  report.html      one file that needs no other: figures, tables that sort, pictures, a video, points to click
  figures/*.png    its figures
  tables/*.csv     the numbers behind them; .md and .tex of the results
  pictures/        its pictures and videos
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from followspot.errors import SettingError
from followspot.io.files import write_atomic
from followspot.jobs.report_attributes import attributes_section
from followspot.jobs.report_colors import COLOURS, colours_section
from followspot.jobs.report_curves import calibration_section, over_time_section, training_section
from followspot.jobs.report_features import attention_section, embeddings_section, seeing
from followspot.jobs.report_page import Section, facts, heading, page
from followspot.jobs.report_pictures import failures_section, sheets_section
from followspot.jobs.report_results import pck_section, results_section, sequences_section
from followspot.jobs.report_runs import Runs, read_runs
from followspot.jobs.report_trackers import WeightFiles, with_kinds

PAGE = "report.html"

Show = Callable[[str, int, int | None], None]
"""Told the stage, how many sections are done and how many there are."""


@dataclass(frozen=True, kw_only=True)
class ReportFiles:
    """What was written."""

    page: Path
    files: tuple[Path, ...]
    """Beside the page."""
    size: int
    """Bytes of the page."""


def write_report(
    folders: Sequence[Path],
    out: Path,
    *,
    data: Path | None = None,
    weights: Sequence[Path] = (),
    worst: int = 4,
    sequences: int = 3,
    show: Show = lambda stage, done, total: None,
) -> ReportFiles:
    """Write a report.

    What cannot be shown, because a benchmark has no such thing or a file is not there, is said in its place.

    Args:
        folders: of ``evaluate``, ``score``, ``compare`` and ``train``, in any mixture.
        out: the report's folder; earlier files of the same names are replaced.
        data: folder of the benchmark, where it is not where the results say.
        weights: files of learnt encoders, for figures of what they see; those of the training runs among `folders` are known.
        worst: failures shown of a method.
        sequences: contact sheets of a benchmark.
        show: told about every section.

    Returns:
        The files.

    Raises:
        DatasetError: a folder holds no run.
        OutputError: a file cannot be written.
        SettingError: a number below 1.
    """
    if not folders or min(worst, sequences) < 1:
        raise SettingError(f"a report needs at least 1 run, 1 failure and 1 sequence, got {len(folders)}, {worst} and {sequences}")
    known = WeightFiles([*weights, *(run.folder for run in read_runs(folders).training)])
    runs = with_kinds(read_runs(folders, data=data), known)
    sections = tuple(_sections(runs, known, worst=worst, sequences=sequences, show=show))
    html = page(sections, title=_title(runs), lead=_lead(runs), footer=f"Made by followspot {version('followspot')}.")
    written = {name: content for section in sections for name, content in section.files.items()}
    for name, content in written.items():
        write_atomic(out / name, content)
    write_atomic(out / PAGE, html)
    return ReportFiles(page=out / PAGE, files=tuple(out / name for name in written), size=len(html.encode()))


def _sections(runs: Runs, weights: WeightFiles, *, worst: int, sequences: int, show: Show) -> list[Section]:
    """All sections that the runs can fill."""
    groups = runs.groups
    makers: list[Callable[[], Section | None]] = []
    if groups:
        # Colour prediction is of the same videos as what it is compared with, so what is seen there is shown once.
        shown = [group for group in groups if group.report.benchmark != COLOURS] or groups
        seen = [(group, *seeing(group, weights)) for group in shown]
        makers += [
            lambda: results_section(groups),
            lambda: over_time_section(groups),
            lambda: sequences_section(groups),
            lambda: attributes_section(groups),
            lambda: pck_section(groups),
            lambda: failures_section(groups, worst=worst),
            lambda: sheets_section(groups, sequences=sequences),
            lambda: embeddings_section(seen),
            lambda: attention_section(seen),
            lambda: colours_section(groups, seen),
            lambda: calibration_section(groups),
        ]
    if runs.training:
        makers.append(lambda: training_section(runs.training))
    makers.append(lambda: _how(runs))
    found = []
    for done, make in enumerate(makers, start=1):
        section = make()
        found += [section] if section is not None else []
        show("sections", done, len(makers))
    return found


def _how(runs: Runs) -> Section:
    """What made the runs."""
    body = []
    for group in runs.groups:
        for run in group.runs:
            settings = {key: str(value) for key, value in run.settings.items() if key != "tracker"}
            made = {f"tracker, {key}": str(value) for key, value in run.tracker.items()}
            body += [heading(run.name), facts({"folder": str(run.folder), **settings, **made})]
    for training in runs.training:
        body += [heading(training.name), facts({"folder": str(training.folder)})]
    return Section(id="how", title="How it was made", body=tuple(body))


def _title(runs: Runs) -> str:
    names = [f"{group.report.benchmark} {group.report.split}" for group in runs.groups]
    names += [f"training of {run.name}" for run in runs.training]
    return ", ".join(dict.fromkeys(names[:3])) + (" and more" if len(names) > 3 else "")


def _lead(runs: Runs) -> str:
    parts = []
    for group in runs.groups:
        name, value = next(iter(group.report.scores.items()))
        best = f"{group.runs[0].name} leads with {name} {value:.3f}" if len(group.runs) > 1 else f"{group.runs[0].name}: {name} {value:.3f}"
        parts.append(f"{group.title}: {best}.")
    parts += [f"{run.name}: {int(run.columns['step'][-1])} steps of training." for run in runs.training]
    return " ".join(parts)
