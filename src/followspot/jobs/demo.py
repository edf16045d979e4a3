"""The demonstration: a synthetic video with known truth, followed from its first frame, and how well that went."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from followspot.datasets.davis import read_ids
from followspot.datasets.synthetic import SyntheticVideo
from followspot.errors import OutputError
from followspot.io.export import read_tracks
from followspot.io.video import VideoWriter, open_video
from followspot.jobs.track import Progress, TrackResult, track_video
from followspot.metrics.summary import score_sequence, summarize
from followspot.tracking.propagation import PropagationTracker
from followspot.types import Annotation, Boxes, Masks, Points, TrackedObject

FPS = 24.0
SAME_PICTURE = 16
"""Mean difference, of 255, below which a decoded picture is the one that was made: compression costs 5, another seed 40 and more."""


@dataclass(frozen=True, kw_only=True)
class DemoScore:
    """How well the demo was followed; the first frame, which was given, does not count."""

    j: float
    """Region similarity, mean over objects and frames."""
    f: float
    """Boundary accuracy, likewise."""
    box_iou: float
    """Overlap of the followed box with the true one, mean over frames in which the object is visible."""
    point_error: float
    """Median distance of the followed points from the true ones where visible, in pixels."""


def run_demo(
    out: Path,
    tracker: PropagationTracker,
    *,
    seed: int,
    num_frames: int,
    overwrite: bool,
    progress: Progress = lambda stage, done, total: None,
) -> tuple[TrackResult, DemoScore]:
    """Makes a video, follows two masks, a box and points through it, and scores the answers.

    Args:
        out: output folder; gets ``video.mp4`` besides what every run leaves.
        tracker: does the following.
        seed: of the video.
        num_frames: of the video, at least 2.
        overwrite: replace an earlier demo with other settings.
        progress: called after every frame of every stage.

    Returns:
        The run and its scores.

    Raises:
        OutputError: the folder cannot be written, or holds another run.
    """
    truth = SyntheticVideo(seed, num_frames=num_frames)
    video = out / "video.mp4"
    if not overwrite and video.exists() and not _same_video(video, truth):
        raise OutputError(f"{video} is another demo; choose another --out, or add --overwrite to replace it")
    if overwrite or not video.exists():
        with VideoWriter(video, height=truth.height, width=truth.width, fps=FPS) as writer:
            for i in range(num_frames):
                writer.write(truth.frame(i))
                progress("making", i + 1, num_frames)
    with open_video(video) as source:
        result = track_video(source, {0: _annotations(truth)}, tracker, out, overwrite=overwrite, progress=progress)
    return result, score_demo(out, truth)


def _same_video(path: Path, truth: SyntheticVideo) -> bool:
    with open_video(path) as video:
        if (video.num_frames, video.height, video.width) != (len(truth), truth.height, truth.width):
            return False
        difference = np.abs(video.frame(0).image.astype(int) - truth.frame(0)).mean()
    return bool(difference < SAME_PICTURE)


def _annotations(truth: SyntheticVideo) -> list[Annotation]:
    xy, visible = truth.points(0)
    chosen = np.flatnonzero(visible)
    return [
        Masks(ids=truth.masks(0)),
        Boxes(xyxy=truth.boxes(0)[-1:], names=("box",)),
        Points(xy=xy[chosen], names=tuple(f"point {i}" for i in chosen)),
    ]


def score_demo(out: Path, truth: SyntheticVideo) -> DemoScore:
    """Compares what a run left in a folder with the truth.

    Args:
        out: output folder of the run.
        truth: the video.

    Returns:
        The scores.
    """
    frames = read_tracks(out / "tracks.json")
    later = range(1, len(truth))
    predicted = np.stack([read_ids(out / "masks" / f"{frames[i].name}.png") for i in later])
    actual = np.stack([truth.masks(i) for i in later])
    j, f = score_sequence(actual, predicted, list(range(1, len(truth.names) + 1)))
    overlaps: list[float] = []
    errors: list[float] = []
    for i in later:
        objects = {(o.kind, o.name): o for o in frames[i].objects}
        box = truth.boxes(i)[-1]
        if np.isfinite(box).all():
            overlaps.append(_box_iou(objects[("box", "box")].box, box))
        xy, visible = truth.points(i)
        errors += _point_errors(objects.values(), xy, visible)
    means = [np.mean([summarize(row).mean for row in scores]) for scores in (j, f)]
    return DemoScore(j=float(means[0]), f=float(means[1]), box_iou=float(np.mean(overlaps)), point_error=float(np.median(errors)))


def _box_iou(predicted: Sequence[float] | None, truth: NDArray[np.float64]) -> float:
    if predicted is None:
        return 0.0
    low, high = np.maximum(predicted[:2], truth[:2]), np.minimum(predicted[2:], truth[2:])
    shared = np.prod(np.clip(high - low, 0, None))
    both = np.prod(np.subtract(predicted[2:], predicted[:2])) + np.prod(truth[2:] - truth[:2]) - shared
    return float(shared / both)


def _point_errors(objects: Iterable[TrackedObject], xy: NDArray[np.float64], visible: NDArray[np.bool_]) -> list[float]:
    errors = []
    for item in objects:
        if item.kind == "point":
            i = int(item.name.split()[1])
            if visible[i]:
                spot = item.points[0]
                errors.append(float(np.hypot(spot.x - xy[i, 0], spot.y - xy[i, 1])) if np.isfinite(spot.x) else float("inf"))
    return errors
