"""The pictures of results in a report: what went wrong, and contact sheets; masks, boxes and skeletons as the benchmark draws them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from followspot.benchmarks.base import Benchmark
from followspot.benchmarks.report import Report, Row
from followspot.errors import FollowspotError
from followspot.jobs.report_clip import spread
from followspot.jobs.report_page import Markup, Section, heading, missing, pairs, paragraph, photo, slug, strips, webp
from followspot.jobs.report_runs import EvaluationRun, Group, group_heading
from followspot.viz.overlay import contact_sheet

Picture = NDArray[np.uint8]

_METHODS = 6
"""Rows of a sheet: more do not fit on a screen."""
_FAILING_METHODS = 3
_STILLS = 5
"""Predicted frames beside the first frame with its annotation."""
_STILL_WIDTH = 300
"""Pixels; six of them make a sheet that is still legible when enlarged."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """The worst frame of an object."""

    row: Row
    frame: int
    value: float


def failures_section(groups: Sequence[Group], *, worst: int) -> Section:
    """The worst frames of the best methods, the truth beside them."""
    body: list[Markup] = []
    files: dict[str, bytes] = {}
    for group in groups:
        body += group_heading(group, groups)
        try:
            benchmark = group.open()
        except FollowspotError as error:
            body.append(missing(f"The benchmark cannot be opened, so there are no pictures: {error}"))
            continue
        for run in group.runs[:_FAILING_METHODS]:
            found = worst_frames(run.report, count=worst)
            if not found:
                body.append(missing(f"{run.name} has no measure in every frame, so its worst frames are not known."))
                continue
            shown = [_failure(benchmark, run, failure, files) for failure in found]
            body += [paragraph(f"{run.name}: result on the left, truth on the right."), pairs(shown)]
    return Section(id="failures", title="Where it fails", body=tuple(body), files=files)


def worst_frames(report: Report, *, count: int) -> list[Failure]:
    """The worst frame of each object, the worst objects first; of equal frames the earliest.

    Args:
        report: with curves.
        count: at most so many.
    """
    found = []
    for row in report.rows:
        known = [(value, frame) for frame, value in enumerate(row.curve) if value is not None and value == value]
        if known:
            value, frame = min(known)
            found.append(Failure(row=row, frame=frame, value=value))
    return sorted(found, key=lambda failure: failure.value)[:count]


def sheets_section(groups: Sequence[Group], *, sequences: int) -> Section:
    """Contact sheets: the first frame with its annotation, then what each method predicted, and the truth."""
    body: list[Markup] = []
    files: dict[str, bytes] = {}
    for group in groups:
        body += group_heading(group, groups)
        try:
            benchmark = group.open()
        except FollowspotError as error:
            body.append(missing(f"The benchmark cannot be opened, so there are no pictures: {error}"))
            continue
        for name in representative(group.report, count=sequences):
            body += _sheets(benchmark, group, name, files)
    return Section(id="sheets", title="Contact sheets", body=tuple(body), files=files)


def representative(report: Report, *, count: int) -> list[str]:
    """Sequences from the best to the worst at even steps, by the first value of their rows.

    Args:
        report: of the method that decides.
        count: at most so many.
    """
    first = {name: next(iter(values.values()), float("nan")) for name, values in report.sequences.items()}
    ranked = sorted(first, key=lambda name: -first[name] if first[name] == first[name] else float("inf"))
    return [ranked[index] for index in spread(len(ranked), count)]


def strip(benchmark: Benchmark, sequence: str, frames: Sequence[int], run: EvaluationRun | None) -> Picture:
    """A row of frames of one sequence: the annotation first, then results.

    Args:
        benchmark: which draws.
        sequence: its name.
        frames: the first one is shown with its annotation.
        run: whose results; None for the truth.

    Raises:
        DatasetError: a frame, a result or the truth is not there.
    """
    results = None if run is None else run.folder
    pictures = [benchmark.picture(sequence, frame, None if index == 0 else results) for index, frame in enumerate(frames)]
    return beside([narrowed(picture, _STILL_WIDTH) for picture in pictures])


def beside(pictures: Sequence[Picture]) -> Picture:
    """Pictures in a row, small ones enlarged to the largest: some benchmarks keep results that are smaller than the frames.

    Args:
        pictures: of one shape of frame, at least one.
    """
    import cv2

    height, width = max((picture.shape[:2] for picture in pictures), key=lambda size: size[1])
    alike = [picture if picture.shape[1] == width else np.asarray(cv2.resize(picture, (width, height)), np.uint8) for picture in pictures]
    return contact_sheet(alike, columns=len(alike))


def narrowed(image: Picture, width: int) -> Picture:
    """A picture no wider than so many pixels."""
    import cv2

    if image.shape[1] <= width:
        return image
    return np.asarray(cv2.resize(image, (width, round(image.shape[0] * width / image.shape[1])), interpolation=cv2.INTER_AREA), np.uint8)


def _sheets(benchmark: Benchmark, group: Group, sequence: str, files: dict[str, bytes]) -> list[Markup]:
    frames = spread(benchmark.length(sequence), _STILLS + 1)
    shown: list[Markup] = []
    methods: list[EvaluationRun | None] = [*group.runs[:_METHODS], None]
    for run in methods:
        name = "truth" if run is None else run.name
        try:
            sheet = strip(benchmark, sequence, frames, run)
        except FollowspotError as error:
            shown.append(missing(f"{name}: {error}"))
            continue
        files[f"pictures/sheet-{slug(group.title)}-{slug(sequence)}-{slug(name)}.webp"] = webp(sheet, widest=sheet.shape[1])
        shown.append(photo(sheet, name, widest=sheet.shape[1]))
    told = paragraph(f"Frame {frames[0]} with its annotation, then frames {', '.join(map(str, frames[1:]))}.")
    return [heading(sequence), told, strips(shown)]


def _failure(benchmark: Benchmark, run: EvaluationRun, failure: Failure, files: dict[str, bytes]) -> Markup:
    row, measure = failure.row, run.report.curve
    thing = f", object {row.object}" if row.object.isdecimal() else f", {row.object}" if row.object else ""
    caption = f"{row.sequence}{thing}, frame {failure.frame}: {measure} {failure.value:.2f}"
    try:
        both = [narrowed(benchmark.picture(row.sequence, failure.frame, results), 480) for results in (run.folder, None)]
    except FollowspotError as error:
        return missing(f"{caption}: {error}")
    sheet = beside(both)
    files[f"pictures/failure-{slug(run.name)}-{slug(row.sequence)}-{slug(row.object)}-{failure.frame}.webp"] = webp(sheet)
    return photo(sheet, caption)
