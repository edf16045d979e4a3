"""Scores by what makes a sequence hard, where a benchmark says so."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from followspot.benchmarks.attributes import AttributeTable, by_attribute
from followspot.datasets.davis_attributes import find_attributes, read_attributes
from followspot.jobs.report_graph import Graph
from followspot.jobs.report_page import Cell, Markup, Section, Table, missing, paragraph, slug
from followspot.jobs.report_runs import Group, group_heading
from followspot.viz.plots import plot_bars

MEASURE = "J-Mean"
"""Of the rows; what the bars of CorrFlow's page show."""


def attributes_section(groups: Sequence[Group]) -> Section:
    """Bars of J by attribute, one colour a method; or why there are none."""
    body: list[Markup] = []
    files: dict[str, bytes] = {}
    for group in groups:
        body += group_heading(group, groups)
        path = _file_of(group)
        if not group.report.benchmark.startswith("DAVIS"):
            body.append(missing("Sequences of this benchmark have no attributes."))
            continue
        if path is None:
            body.append(missing("There is no db_info.yaml in the benchmark's folder, so the attributes of its sequences are not known."))
            continue
        attributes = read_attributes(path)
        found = {run.name: by_attribute(run.report, attributes, measure=MEASURE) for run in group.runs if _has_measure(group)}
        if not found or not next(iter(found.values())).rows:
            body.append(missing("None of these sequences has attributes."))
            continue
        table = next(iter(found.values()))
        body.append(paragraph(f"{table.labelled} of {table.total} sequences have attributes; those that are new in DAVIS 2017 have none."))
        graph = by_attribute_graph(found, group)
        body.append(graph.markup)
        files |= graph.files
    return Section(id="attributes", title="By attribute", body=tuple(body), files=files)


def by_attribute_graph(found: dict[str, AttributeTable], group: Group) -> Graph:
    """Bars, one group an attribute.

    Args:
        found: the table of every method, all of the same sequences.
        group: what they are of.
    """
    first = next(iter(found.values())).rows
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (row.attribute, row.meaning, row.sequences, *(table.rows[index].present for table in found.values()))
        for index, row in enumerate(first)
    )
    return Graph(
        stem=f"attributes-{slug(group.title)}",
        drawing=plot_bars(
            [f"{row.attribute}\n{row.sequences}" for row in first],
            {name: np.array([row.present for row in table.rows]) for name, table in found.items()},
            ylabel=MEASURE,
            name=f"attributes {group.title}",
        ),
        table=Table(columns=("attribute", "meaning", "sequences", *found), rows=rows),
        caption=f"{MEASURE} of the sequences that have an attribute; below each its number of sequences. "
        + ", ".join(f"{row.attribute} {row.meaning}" for row in first)
        + ".",
    )


def _file_of(group: Group) -> Path | None:
    """The benchmark's file of attributes, if it is there."""
    data = group.data or group.runs[0].settings.get("data")
    return find_attributes(Path(str(data))) if data else None


def _has_measure(group: Group) -> bool:
    return any(MEASURE in row.values for run in group.runs for row in run.report.rows)
