"""The tables of a report: scores beside what was published, sequence by sequence, attribute by attribute, joint thresholds."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from followspot.benchmarks.published import PublishedRow, plain_name, published_for, read_published
from followspot.benchmarks.report import Report, Row
from followspot.jobs.report_page import Cell, Markup, Section, Table, downloads, figure, heading, paragraph, slug, table
from followspot.jobs.report_runs import EvaluationRun, Group, group_heading
from followspot.jobs.report_text import to_csv, to_latex, to_markdown
from followspot.viz.plots import Course, plot_courses

_WORDY = frozenset({"source", "note"})


def results_section(groups: Sequence[Group]) -> Section:
    """Scores of all runs beside the published rows of the same benchmark, and then all published rows."""
    body: list[Markup] = []
    files: dict[str, bytes] = {}
    for group in groups:
        content = results_table(group)
        own = as_files(content, f"tables/results-{slug(group.title)}")
        body += [
            *group_heading(group, groups),
            paragraph(_comparable(group)),
            table(content, caption=f"Results, {group.title}"),
            downloads(own),
        ]
        files |= own
    everything = published_table(read_published())
    own = as_files(everything, "tables/published")
    body += [
        heading("Everything published by the five systems"),
        paragraph(
            "Quoted as it stands in the sources. First-hand: read in the source named. Second-hand: read where others quote it. "
            "Recalled: from memory, to be checked before it is quoted."
        ),
        table(everything, caption="All published rows"),
        downloads(own),
    ]
    intro = paragraph(
        "A row is either published (quoted), reproduced (a published method run here with its own settings) or measured here."
    )
    return Section(id="results", title="Results", body=(intro, *body), files=files | own)


def results_table(group: Group) -> Table:
    """Runs and published rows of one benchmark, one kind a row.

    Args:
        group: runs that can be compared.

    Returns:
        Columns kind, method, one a score, split, protocol, labels used, reading, source, note.
    """
    published = published_for(group.report.benchmark)
    scores = _score_names([run.report.scores for run in group.runs], published)
    rows: list[tuple[Cell, ...]] = [
        (
            run.kind,
            run.name,
            *_values(run.report.scores, scores),
            run.report.split,
            run.report.protocol,
            "",
            "",
            _shown(run),
            "",
        )
        for run in group.runs
    ]
    rows += [
        ("published", row.method, *_values(row.scores, scores), row.split, row.protocol, row.supervision, row.reading, row.source, row.note)
        for row in published
    ]
    columns = ("kind", "method", *scores, "split", "protocol", "labels used", "reading", "source", "note")
    return Table(columns=columns, rows=tuple(rows), wordy=_WORDY, own=frozenset(range(len(group.runs)))).without_empty_columns()


def published_table(rows: Sequence[PublishedRow]) -> Table:
    """Published rows of any benchmarks, scores as text, since they have no columns in common."""
    return Table(
        columns=("kind", "benchmark", "split", "protocol", "method", "scores", "labels used", "reading", "source", "note"),
        rows=tuple(
            (
                "published",
                row.benchmark,
                row.split,
                row.protocol,
                row.method,
                ", ".join(f"{name} {value:g}" for name, value in row.scores.items()) or "–",
                row.supervision,
                row.reading,
                row.source,
                row.note,
            )
            for row in rows
        ),
        wordy=_WORDY | {"scores"},
    )


def sequences_section(groups: Sequence[Group]) -> Section:
    """Every sequence of every run: its means, and in how many frames the object was lost."""
    body: list[Markup] = [paragraph("Means over the objects of a sequence. A frame is lost where the measure is 0, as in VOT.")]
    files: dict[str, bytes] = {}
    for group in groups:
        content = sequences_table(group)
        own = {f"tables/sequences-{slug(group.title)}.csv": to_csv(content).encode()}
        body += [*group_heading(group, groups), table(content, caption=f"Sequences, {group.title}"), downloads(own)]
        files |= own
    return Section(id="sequences", title="Sequence by sequence", body=tuple(body), files=files)


def sequences_table(group: Group) -> Table:
    """One row a method and sequence, with the number of frames lost."""
    keys = list(dict.fromkeys(key for run in group.runs for row in run.report.rows for key in row.values))
    rows: list[tuple[Cell, ...]] = []
    for run in group.runs:
        for name, means in run.report.sequences.items():
            parts = [row for row in run.report.rows if row.sequence == name]
            values = (means.get(key) for key in keys)
            rows.append((run.name, name, len(parts), sum(row.frames for row in parts), *values, _lost(run.report, parts)))
    return Table(columns=("method", "sequence", "objects", "frames", *keys, "frames lost"), rows=tuple(rows))


def pck_section(groups: Sequence[Group]) -> Section | None:
    """Correct keypoints at each threshold, beside the published rows; None without a benchmark of keypoints."""
    body: list[Markup] = []
    files: dict[str, bytes] = {}
    for group in groups:
        thresholds = pck_thresholds(group.report)
        if not thresholds:
            continue
        content = pck_table(group, thresholds)
        alphas = np.array(list(thresholds), np.float64)
        none = np.full(len(alphas), np.nan)
        courses = [
            Course(
                name=run.name,
                x=alphas,
                mean=np.array([run.report.scores.get(name, np.nan) for name in thresholds.values()]),
                low=none,
                high=none,
            )
            for run in group.runs
        ]
        drawing = plot_courses(courses, xlabel="threshold", ylabel="correct keypoints", name=f"PCK {group.title}")
        own = as_files(content, f"tables/pck-{slug(group.title)}")
        body += [*group_heading(group, groups), table(content, caption=f"PCK, {group.title}"), downloads(own)]
        body += [figure(drawing, "Share of keypoints that are within the threshold, which is a share of the size of the person or thing.")]
        files |= own | {f"figures/pck-{slug(group.title)}.png": drawing.png}
    return Section(id="pck", title="Keypoints", body=tuple(body), files=files) if body else None


def pck_thresholds(report: Report) -> dict[float, str]:
    """Thresholds of the report's PCK scores, ascending, and what each score is called."""
    found = {name: re.fullmatch(r"pck(?:@)?(0?\.\d+)", name.lower().replace(" ", "")) for name in report.scores}
    return dict(sorted((float(match[1]), name) for name, match in found.items() if match))


def pck_table(group: Group, thresholds: Mapping[float, str]) -> Table:
    """One row a method, one column a threshold."""
    published = [row for row in published_for(group.report.benchmark) if any(plain_name(name).startswith("pck") for name in row.scores)]
    names = list(thresholds.values())
    rows: list[tuple[Cell, ...]] = [(run.kind, run.name, *_values(run.report.scores, names), _shown(run)) for run in group.runs]
    rows += [("published", row.method, *_values(row.scores, names), f"{row.source} ({row.reading})") for row in published]
    columns = ("kind", "method", *names, "source")
    return Table(columns=columns, rows=tuple(rows), wordy=_WORDY, own=frozenset(range(len(group.runs))))


def as_files(content: Table, stem: str) -> dict[str, bytes]:
    """A table as CSV, Markdown and LaTeX."""
    return {
        f"{stem}.csv": to_csv(content).encode(),
        f"{stem}.md": to_markdown(content).encode(),
        f"{stem}.tex": to_latex(content).encode(),
    }


def _comparable(group: Group) -> str:
    """What the numbers are, and which published ones they can be compared with."""
    report, published = group.report, published_for(group.report.benchmark)
    same = [row for row in published if row.split == report.split]
    alike = sum(row.protocol == report.protocol for row in same)
    unknown = sum(not row.protocol for row in same)
    if not published:
        told = f"None of the five systems published numbers on {report.benchmark}."
    elif not same:
        others = " and ".join(dict.fromkeys(row.split or "one not stated" for row in published))
        told = f"The published rows are of another split ({others}), so they cannot be compared with these."
    else:
        told = f"Published rows of the same split and protocol: {alike}."
        told += f" Of {unknown} the source does not say by which protocol." if unknown else ""
    return f"{report.note.rstrip('.')}. {told}"


def _score_names(own: Sequence[Mapping[str, float]], published: Sequence[PublishedRow]) -> list[str]:
    """Names of all scores, ours first, each thing once however it is spelled."""
    names: dict[str, str] = {}
    for scores in [*own, *(row.scores for row in published)]:
        for name in scores:
            names.setdefault(plain_name(name), name)
    return list(names.values())


def _values(scores: Mapping[str, float], names: Sequence[str]) -> list[float | None]:
    known = {plain_name(name): value for name, value in scores.items()}
    return [known.get(plain_name(name)) for name in names]


def _shown(run: EvaluationRun) -> str:
    done = "run and scored here" if run.tracker else "scored here"
    return f"{done}, {run.report.protocol} protocol, folder {run.folder.resolve().name}"


def _lost(report: Report, rows: Sequence[Row]) -> int | None:
    """Frames of a sequence in which an object is not hit at all; None where no measure says so."""
    if not report.curve or not any(row.curve for row in rows):
        return None
    return sum(value == 0 for row in rows for value in row.curve)
