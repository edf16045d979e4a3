"""What the synthetic benchmark measures: J and F of masks, overlap of boxes, PCK of joints.

The first frame, which is given, is not scored; all others are, and frames weigh the same.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal, cast

import numpy as np

from followspot.benchmarks.report import Row
from followspot.datasets.synthetic import SyntheticVideo
from followspot.metrics.summary import score_frame
from followspot.types import TrackedFrame, TrackedObject, TrackedPoint

Kind = Literal["masks", "boxes", "keypoints"]
Values = dict[str, float]

HIDDEN = 0.5
"""A frame counts as hidden for an object of which less than this share is visible."""
REACHES = (0.1, 0.2)
"""A joint is right within these shares of the longer side of the object's true box: PCK of Yang and Ramanan 2013."""
_SUCCESS = 0.5
"""Overlap at which a box is a success (Everingham et al. 2010, Pascal VOC)."""

NOTES: Mapping[Kind, str] = MappingProxyType(
    {
        "masks": "Drawn clips; all frames but the first one scored; J-Hidden: frames in which less than half of an object is visible.",
        "boxes": "Drawn clips; overlap with the box of what is visible, in all frames but the first one in which something is.",
        "keypoints": "Drawn clips; visible joints of all frames but the first one, within a share of the longer side of the visible box.",
    }
)
_MEASURES: Mapping[Kind, tuple[str, ...]] = MappingProxyType(
    {"masks": ("J", "F", "J-Hidden"), "boxes": ("IoU", "Success@0.5"), "keypoints": tuple(f"PCK@{reach}" for reach in REACHES)}
)
CURVES: Mapping[Kind, str] = MappingProxyType({"masks": "J", "boxes": "IoU", "keypoints": "PCK@0.1"})


def true_answer(video: SyntheticVideo, index: int, *, kind: Kind) -> TrackedFrame:
    """The truth of a frame as a perfect tracker would say it.

    Args:
        video: the clip.
        index: the frame.
        kind: what is followed.

    Returns:
        One object each with the box of what is visible (None: nothing is) and, for keypoints, its joints, hidden ones lost.
    """
    things = []
    xy, seen = video.points(index)
    for number, (name, box) in enumerate(zip(video.names, video.boxes(index), strict=True), start=1):
        visible = bool(np.isfinite(box).all())
        own = np.flatnonzero(video.owners == number) if kind == "keypoints" else ()
        points = tuple(_point(f"point {order}", xy[i, 0], xy[i, 1], lost=not seen[i]) for order, i in enumerate(own, start=1))
        things.append(
            TrackedObject(
                name=name,
                kind={"masks": "mask", "boxes": "box", "keypoints": "keypoints"}[kind],  # type: ignore[arg-type]
                mask_id=number if kind == "masks" else None,
                box=cast(tuple[float, float, float, float], tuple(float(edge) for edge in box)) if visible else None,
                points=points,
                confidence=None,
                lost=not visible,
            )
        )
    masks = video.masks(index) if kind == "masks" else None
    return TrackedFrame(index=index, name=f"{index:05d}", time_seconds=index / 25, masks=masks, maps=None, objects=tuple(things))


def score_clip(clip: str, video: SyntheticVideo, answers: Callable[[int], TrackedFrame], *, kind: Kind) -> list[Row]:
    """The rows of a clip, one an object.

    Args:
        clip: its name.
        video: with the truth.
        answers: of the tracker, by frame.
        kind: what was followed.
    """
    score = {"masks": _mask_values, "boxes": _box_values, "keypoints": _joint_values}[kind]
    frames = [score(video, answers(index)) for index in range(1, len(video))]
    return [_row(clip, name, [frame[order] for frame in frames], kind=kind) for order, name in enumerate(video.names)]


def totals(rows: Sequence[Row], *, kind: Kind) -> dict[str, float]:
    """The benchmark's numbers: means over objects of what each has; the first one ranks."""

    def mean(name: str) -> float:
        known = [row.values[name] for row in rows if not np.isnan(row.values[name])]
        return float(np.mean(known)) if known else float("nan")

    if kind == "masks":
        j, f = mean("J"), mean("F")
        return {"J&F-Mean": (j + f) / 2, "J-Mean": j, "F-Mean": f, "J-Hidden": mean("J-Hidden")}
    return {f"{name}-Mean" if name == "IoU" else name: mean(name) for name in rows[0].values}


def _row(clip: str, name: str, frames: Sequence[Values], *, kind: Kind) -> Row:
    values = {key: _mean([frame[key] for frame in frames if key in frame]) for key in _MEASURES[kind]}
    curve = (None, *(frame.get(CURVES[kind]) for frame in frames))
    return Row(sequence=clip, object=name, frames=sum(bool(frame) for frame in frames), values=values, curve=curve)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def _mask_values(video: SyntheticVideo, answer: TrackedFrame) -> list[Values]:
    truth, shares = video.masks(answer.index), video.visible(answer.index)
    predicted = answer.masks if answer.masks is not None else np.zeros_like(truth)
    j, f = score_frame(truth, predicted, range(1, len(video.names) + 1))
    return [
        {"J": float(j[k]), "F": float(f[k]), **({"J-Hidden": float(j[k])} if shares[k] < HIDDEN else {})} for k in range(len(video.names))
    ]


def _box_values(video: SyntheticVideo, answer: TrackedFrame) -> list[Values]:
    said = {thing.name: thing.box for thing in answer.objects}
    values = []
    for thing in true_answer(video, answer.index, kind="boxes").objects:
        overlap = 0.0 if thing.box is None else _overlap(said.get(thing.name), thing.box)
        values.append({} if thing.box is None else {"IoU": overlap, "Success@0.5": float(overlap > _SUCCESS)})
    return values


def _joint_values(video: SyntheticVideo, answer: TrackedFrame) -> list[Values]:
    said = {thing.name: {point.name: point for point in thing.points} for thing in answer.objects}
    values: list[Values] = []
    for thing in true_answer(video, answer.index, kind="keypoints").objects:
        seen = [point for point in thing.points if not point.lost]
        if thing.box is None or not seen:
            values.append({})
            continue
        size = max(thing.box[2] - thing.box[0], thing.box[3] - thing.box[1])
        found = [said.get(thing.name, {}).get(point.name) for point in seen]
        far = [np.inf if spot is None else np.hypot(spot.x - p.x, spot.y - p.y) for spot, p in zip(found, seen, strict=True)]
        # A spot that is NaN is nowhere, and so is not within reach.
        values.append({f"PCK@{reach}": float(np.mean(np.asarray(far) <= reach * size)) for reach in REACHES})
    return values


def _overlap(a: Sequence[float] | None, b: Sequence[float]) -> float:
    """Intersection over union of two boxes; 0 without the first."""
    if a is None:
        return 0.0
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0.0) * max(height, 0.0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def _point(name: str, x: float, y: float, *, lost: bool) -> TrackedPoint:
    return TrackedPoint(name=name, x=float(x), y=float(y), confidence=None, lost=lost)
