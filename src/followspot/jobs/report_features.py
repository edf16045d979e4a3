"""What a tracker sees, in a report: learned embeddings over time, and where a point looks when it is clicked."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from followspot.errors import FollowspotError
from followspot.io.video import VideoWriter
from followspot.jobs.report_clip import Clip, spread, watch
from followspot.jobs.report_graph import Graph
from followspot.jobs.report_page import (
    Markup,
    Section,
    Table,
    data_uri,
    figure,
    film,
    heading,
    json_block,
    missing,
    paragraph,
    photo,
    slug,
    webp,
)
from followspot.jobs.report_pictures import narrowed, representative
from followspot.jobs.report_runs import EvaluationRun, Group, group_heading
from followspot.jobs.report_trackers import WeightFiles, build_tracker_of
from followspot.models.encoder import encode_image
from followspot.tracking.propagation import PropagationTracker
from followspot.types import Frame
from followspot.viz.attention import atlas, attention, click_grid, peaks, similarity_matrix
from followspot.viz.embeddings import as_pictures, pca_colors
from followspot.viz.overlay import contact_sheet
from followspot.viz.plots import plot_matrix

Picture = NDArray[np.uint8]

_ENCODERS = 3
"""Methods whose features are shown."""
_FILM_FRAMES = 24
_FILM_RATE = 8.0
_SHEET_FRAMES = 6
_FILM_WIDTH = 480
_FEATURE_SIDE = 240
"""Pixels of the short side at which embeddings are made: a principal component analysis holds all frames' features at once."""
_PANE_WIDTH = 640


@dataclass(frozen=True, kw_only=True)
class Seeing:
    """A tracker with an encoder, and frames of a video of its benchmark."""

    run: EvaluationRun
    tracker: PropagationTracker
    clip: Clip


def seeing(group: Group, weights: WeightFiles, *, count: int = _FILM_FRAMES) -> tuple[list[Seeing], list[str]]:
    """The best methods of a group that have an encoder, each with the same clip.

    Args:
        group: runs of one benchmark.
        weights: where learnt encoders are.
        count: frames of the clip, evenly spread over the video.

    Returns:
        At most three; and why others cannot be shown, a sentence each.
    """
    try:
        benchmark = group.open()
        sequence = representative(group.report, count=1)[0]
        clip = watch(benchmark, sequence, spread(benchmark.length(sequence), count))
    except FollowspotError as error:
        return [], [str(error)]
    found: list[Seeing] = []
    reasons: list[str] = []
    for run in group.runs:
        if len(found) == _ENCODERS:
            break
        try:
            found.append(Seeing(run=run, tracker=build_tracker_of(run, weights), clip=clip))
        except FollowspotError as error:
            reasons.append(str(error))
    return found, reasons


def embeddings_section(seen: Sequence[tuple[Group, list[Seeing], list[str]]]) -> Section:
    """The three main directions of a clip's features as colours, fitted to all of its frames together."""
    body: list[Markup] = [
        paragraph(
            "The three main directions of the features, fitted to all frames of the clip together, as red, green and blue: what keeps its "
            "colour over time looks the same to the encoder. Signs and scale are fixed."
        )
    ]
    files: dict[str, bytes] = {}
    for group, found, reasons in seen:
        body += [*group_heading(group, [each for each, _, _ in seen]), *why_not(found, reasons)]
        for one in found:
            sheet, mp4 = embedding_pictures(one)
            stem = f"embeddings-{slug(group.title)}-{slug(one.run.name)}"
            files |= {f"pictures/{stem}.webp": webp(sheet), f"pictures/{stem}.mp4": mp4}
            body += [photo(sheet, f"{one.run.name}, {one.clip.sequence}: frames above, features below."), film(mp4, "The same as a video.")]
    return Section(id="embeddings", title="Learned embeddings over time", body=tuple(body), files=files)


def embedding_pictures(one: Seeing) -> tuple[Picture, bytes]:
    """A sheet of some frames over their features, and a video of both side by side.

    Args:
        one: a tracker and a clip.

    Returns:
        RGB ``(H, W, 3)``, and an MP4 file.
    """
    frames = [narrowed(frame.image, _FILM_WIDTH) for frame in one.clip.frames]
    size = (frames[0].shape[0], frames[0].shape[1])
    features = torch.stack([features_of(one.tracker, frame, side=_FEATURE_SIDE) for frame in one.clip.frames])
    colours = as_pictures(pca_colors(features.cpu()), size)
    chosen = spread(len(frames), _SHEET_FRAMES)
    sheet = contact_sheet([narrowed(part[index], 240) for part in (frames, colours) for index in chosen], columns=len(chosen))
    return sheet, mp4_of([np.concatenate(pair, axis=1) for pair in zip(frames, colours, strict=True)])


def features_of(tracker: PropagationTracker, frame: Frame, *, side: int | None = None) -> torch.Tensor:
    """Features of a frame as a tracker sees it, or smaller.

    Args:
        tracker: whose encoder it is.
        frame: of any size.
        side: pixels of the short side; None, or larger than what the tracker uses: as the tracker does.

    Returns:
        ``(C, h, w)``.
    """
    resolution, stride = tracker.preset.resolution, tracker.encoder.stride
    height, width = frame.image.shape[:2]
    if side is not None:
        used = min(height, width) if resolution.mode == "native" else resolution.pixels
        resolution = replace(resolution, mode="square" if resolution.mode == "square" else "short", pixels=min(side, used))
    rows, columns = resolution.grid(height, width, stride=stride)
    return encode_image(tracker.encoder, frame.image, size=(rows * stride, columns * stride))


def attention_section(seen: Sequence[tuple[Group, list[Seeing], list[str]]]) -> Section:
    """Click a point and see what it looks at; and how all parts of two frames resemble each other."""
    body: list[Markup] = [
        paragraph(
            "Choose a point in the first picture. The others show where the encoder finds it: the softmax over all of their cells at the "
            "tracker's temperature, with a ring at the largest. The tracker itself searches only nearby."
        )
    ]
    files: dict[str, bytes] = {}
    for group, found, reasons in seen:
        body += [*group_heading(group, [each for each, _, _ in seen]), *why_not(found, reasons)]
        for one in found[:2]:
            body.append(clickable(one))
        for one in found[:1]:
            graph = _similarity(one, group)
            body.append(figure(graph.drawing, graph.caption))
            files |= graph.files
    return Section(id="attention", title="Where a point looks", body=tuple(body), files=files)


def clickable(one: Seeing) -> Markup:
    """A frame whose points can be clicked, and maps of what they attend to in the first and the last frame.

    Args:
        one: a tracker and a clip of at least two frames.
    """
    frames = one.clip.frames
    asked, answering = frames[len(frames) // 2], [frames[0], frames[-1]]
    affinity = one.tracker.preset.affinity
    query = one.tracker.encode(asked)
    rows, columns = query.shape[1:]
    size = (asked.image.shape[0], asked.image.shape[1])
    grid = click_grid((rows, columns), size)
    maps = [
        attention(query, one.tracker.encode(frame), grid.cells, temperature=affinity.temperature, normalize=affinity.normalize)
        for frame in answering
    ]
    data = {
        "across": grid.across,
        "down": grid.down,
        "rows": rows,
        "columns": columns,
        "frame": size,
        "points": grid.points.round(1).tolist(),
        "first": grid.across * (grid.down // 2) + grid.across // 2,
        "maps": [data_uri(_png(atlas(part, across=grid.across)), "image/png") for part in maps],
        "peaks": [peaks(part, size).round(1).tolist() for part in maps],
    }
    panes = _pane(asked, f"Ask: frame {asked.index}", asked=True)
    panes += "".join(_pane(frame, f"Answer: frame {frame.index}", asked=False) for frame in answering)
    title = heading(f"{one.run.name}, {one.clip.sequence}")
    return Markup(f'<div>{title}<div class="attention">{panes}{json_block(data)}</div><p class="readout" aria-live="polite"></p></div>')


def mp4_of(pictures: Sequence[Picture]) -> bytes:
    """Pictures as a small video.

    Args:
        pictures: RGB, of one size.
    """
    height, width = pictures[0].shape[:2]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        with VideoWriter(path, height=height, width=width, fps=_FILM_RATE, crf=27) as writer:
            for picture in pictures:
                writer.write(picture)
        return path.read_bytes()


def _similarity(one: Seeing, group: Group) -> Graph:
    first, last = one.clip.frames[0], one.clip.frames[-1]
    matrix = similarity_matrix(*(features_of(one.tracker, frame, side=_FEATURE_SIDE) for frame in (last, first)), most=16)
    return Graph(
        stem=f"similarity-{slug(group.title)}",
        drawing=plot_matrix(
            matrix, xlabel=f"parts of frame {first.index}", ylabel=f"parts of frame {last.index}", name=f"similarity {group.title}"
        ),
        table=Table(columns=tuple(map(str, range(matrix.shape[1]))), rows=tuple(tuple(row) for row in matrix.round(4).tolist())),
        caption=f"{one.run.name}, {one.clip.sequence}: cosine similarity of every part of one frame with every part of another.",
    )


def _pane(frame: Frame, title: str, *, asked: bool) -> str:
    source = data_uri(webp(narrowed(frame.image, _PANE_WIDTH)), "image/webp")
    extra = ' tabindex="0" role="application" aria-label="Choose a point: click, or use the arrow keys"' if asked else ' aria-hidden="true"'
    return f'<div><h4>{title}</h4><div class="pane"><img src="{source}" alt="{title}"><canvas{extra}></canvas></div></div>'


def _png(picture: Picture) -> bytes:
    import cv2

    return bytes(cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1])


def why_not(found: Sequence[Seeing], reasons: Sequence[str]) -> list[Markup]:
    """Why nothing can be shown, if nothing can."""
    return [] if found else [missing(f"There is nothing to show: {reason}.") for reason in reasons[:3]]
