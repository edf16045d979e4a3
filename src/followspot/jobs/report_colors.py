"""Colours that a tracker copies, in a report: panels, arrows to where they came from, and whether good colours mean good tracking."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from followspot.jobs.report_features import Seeing, why_not
from followspot.jobs.report_graph import Graph
from followspot.jobs.report_page import Markup, Section, Table, heading, missing, paragraph, photo, slug, webp
from followspot.jobs.report_pictures import narrowed
from followspot.jobs.report_runs import EvaluationRun, Group, group_heading
from followspot.ops.bank import FeatureBank
from followspot.ops.masks import area_resize
from followspot.ops.propagate import propagate
from followspot.tracking.colors import carried_ab, color_maps, gray_frame
from followspot.tracking.matching import match_frames
from followspot.tracking.propagation import PropagationTracker
from followspot.types import Frame
from followspot.viz.colorized import colorization_panel, copy_arrows
from followspot.viz.plots import Dots, plot_dots

Floats = NDArray[np.float64]

COLOURS = "Colour prediction"
"""Name of the benchmark of colours, whose results are compared with those of others."""

PREFERRED = "J-Mean"
"""What colour prediction is held against in Vondrick et al. 2018; other benchmarks have the first of their measures."""

_WIDTH = 400
"""Pixels of a picture in a panel of four."""
_ARROWS = 8
"""In a row: more cannot be told apart."""


def colours_section(groups: Sequence[Group], seen: Sequence[tuple[Group, list[Seeing], list[str]]]) -> Section:
    """Colourised predictions, copy arrows, and colour prediction against tracking."""
    body: list[Markup] = [
        paragraph(
            "The encoder is shown grey frames. Each place of the target takes the colours of the places of the reference that it looks at. "
            "From left to right: the reference, the grey target, the target with its own lightness and copied colours, the target in truth."
        )
    ]
    files: dict[str, bytes] = {}
    for group, found, reasons in seen:
        body += [*group_heading(group, groups), *why_not(found, reasons)]
        for one in found:
            body += _pictures(one, group, files)
    body.append(heading("Do good colours mean good tracking?"))
    graphs = [graph for group in groups for graph in [colours_against_tracking(groups, group)] if graph]
    body += [graph.markup for graph in graphs]
    if not graphs:
        body.append(
            missing(
                "Run the same trackers with followspot compare colors on the same videos, and report both folders, to see the two compared."
            )
        )
    for graph in graphs:
        files |= graph.files
    return Section(id="colours", title="Copied colours", body=tuple(body), files=files)


@torch.inference_mode()
def copied_ab(tracker: PropagationTracker, reference: Frame, target: Frame) -> Tensor:
    """Colours that each cell of a grey target takes from a reference, wherever they are in it.

    Args:
        tracker: whose encoder and affinity are used; its radius is not.
        reference: in colour; the encoder sees it in grey.
        target: of any colours.

    Returns:
        ``(2, h, w)`` ab on the grid of the features.
    """
    query, key = (tracker.encode(gray_frame(frame)) for frame in (target, reference))
    maps = torch.from_numpy(color_maps(reference.image).weights)
    bank = FeatureBank(capacity=0)
    bank.add_reference(key, area_resize(maps, (key.shape[1], key.shape[2])).to(key.device), key=0)
    affinity = replace(tracker.preset.affinity, radius=None, radius_first=None)
    return carried_ab(propagate(query, bank, affinity).labels.cpu().numpy())


def colours_against_tracking(groups: Sequence[Group], group: Group) -> Graph | None:
    """A scatter: a point a sequence and method, colour prediction to the right, tracking upwards.

    Args:
        groups: among which a group of colour prediction has runs of the same names.
        group: of tracking.

    Returns:
        None where the two have no method and sequence in common.
    """
    if group.report.benchmark == COLOURS:
        return None
    colours = {run.name: run for other in groups if other.report.benchmark == COLOURS for run in other.runs}
    values = group.report.rows[0].values
    measure = PREFERRED if PREFERRED in values else next(iter(values))
    pairs = {run.name: _pairs(colours[run.name], run, measure) for run in group.runs if run.name in colours}
    pairs = {name: found for name, found in pairs.items() if found}
    if not pairs:
        return None
    dots = [Dots(name=name, x=np.array([x for _, x, _ in found]), y=np.array([y for _, _, y in found])) for name, found in pairs.items()]
    x, y = (np.concatenate([getattr(each, side) for each in dots]) for side in "xy")
    rows = tuple((name, sequence, float(first), float(second)) for name, found in pairs.items() for sequence, first, second in found)
    return Graph(
        stem=f"colours-against-tracking-{slug(group.title)}",
        drawing=plot_dots(dots, xlabel="colour prediction accuracy", ylabel=measure, name=f"colours {group.title}"),
        table=Table(columns=("method", "sequence", "colour prediction accuracy", measure), rows=rows),
        caption=f"{group.title}: one point a sequence and method. {correlation(x, y)}",
    )


def correlation(x: Floats, y: Floats) -> str:
    """Pearson's and Spearman's coefficient as a sentence.

    Args:
        x: ``(N,)``.
        y: ``(N,)``.

    >>> correlation(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 9.0]))
    'Correlation over all 3 points: 0.92 (Pearson), 1.00 (Spearman).'
    """
    from scipy.stats import pearsonr, spearmanr

    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return "There are too few different points for a correlation."
    return f"Correlation over all {len(x)} points: {pearsonr(x, y)[0]:.2f} (Pearson), {spearmanr(x, y)[0]:.2f} (Spearman)."


def _pairs(colours: EvaluationRun, tracking: EvaluationRun, measure: str) -> list[tuple[str, float, float]]:
    """Sequence, colour prediction and tracking, of the sequences that both have."""
    first = {name: next(iter(means.values())) for name, means in colours.report.sequences.items()}
    second = {name: means.get(measure, float("nan")) for name, means in tracking.report.sequences.items()}
    both = [(name, first[name], second[name]) for name in second if name in first]
    return [(name, x, y) for name, x, y in both if x == x and y == y]


def _pictures(one: Seeing, group: Group, files: dict[str, bytes]) -> list[Markup]:
    small = [replace(frame, image=narrowed(frame.image, _WIDTH)) for frame in one.clip.frames]
    reference, near, far = small[0], small[min(1, len(small) - 1)], small[len(small) // 2]
    stem, shown = f"{slug(group.title)}-{slug(one.run.name)}", [heading(f"{one.run.name}, {one.clip.sequence}")]
    for target in (near, far):
        panel = colorization_panel(target.image, copied_ab(one.tracker, reference, target), reference=reference.image)
        files[f"pictures/colourised-{stem}-{target.index}.webp"] = webp(panel, widest=panel.shape[1])
        shown.append(photo(panel, f"Frame {target.index} in the colours of frame {reference.index}.", widest=panel.shape[1]))
    flow = match_frames(one.tracker, gray_frame(near), gray_frame(reference), top_k=1)
    arrows = copy_arrows(reference.image, near.image, flow, across=_ARROWS)
    files[f"pictures/arrows-{stem}.webp"] = webp(arrows)
    told = f"Where places of frame {near.index} (right) were copied from in frame {reference.index} (left): the best match of each."
    return [*shown, photo(arrows, told)]
