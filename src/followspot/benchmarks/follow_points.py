"""What the benchmarks of joints and points have in common: driving a tracker, and drawing what came of it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from followspot.errors import DatasetError, SettingError
from followspot.io.point_tracks import PointTracks
from followspot.tracking.base import Tracker
from followspot.types import Frame, Keypoints, Points, TrackedFrame, TrackedPoint
from followspot.viz.overlay import colour_of
from followspot.viz.skeleton import Limbs, draw_dot, draw_skeleton

Floats = NDArray[np.float64]

JOINTS_COLOUR = 2
"""Of the palette of `viz.overlay`: yellow, which is seen on most photographs."""


def follow(
    tracker: Tracker, frames: Iterable[Frame], given: Keypoints | Points, *, into: PointTracks, on_answer: Callable[[], None]
) -> None:
    """Gives a tracker points on the first frame and writes down where they are in that and all others.

    Args:
        tracker: started anew. It is told that the frames are 0, 1, 2 ..., whatever their place in the video.
        frames: in the order in which they are to be followed, which may be backwards.
        given: on the first of them. Joints that are not annotated there are not given.
        into: gets the answers, by the frames' own numbers and the names of the points; points that it does not have are passed over.
        on_answer: told about every frame.

    Raises:
        SettingError: the tracker gives no points.
    """
    columns = {name: place for place, name in enumerate(into.names)}
    for count, frame in enumerate(frames):
        shown = replace(frame, index=count)
        answer = tracker.step(shown) if count else tracker.start(shown, [given])
        points = _points(answer)
        if not points:
            raise SettingError(f"the tracker gave no point for frame {frame.name}; choose one that follows points and joints")
        for name, point in points:
            if name in columns:
                at = frame.index, columns[name]
                into.xy[at] = point.x, point.y
                into.lost[at] = point.lost or not np.isfinite((point.x, point.y)).all()
                into.confidence[at] = np.nan if point.confidence is None else point.confidence
        on_answer()


def known_joints(xy: Floats, joints: Sequence[str], *, skeleton: Limbs, name: str) -> Keypoints:
    """The joints that are annotated, as a tracker gets them.

    Args:
        xy: ``(K, 2)``; NaN where a joint is not annotated.
        joints: names of all K.
        skeleton: limbs between all K; those with an end that is not annotated are left out.
        name: of what has the joints.

    Raises:
        DatasetError: none is annotated.
    """
    known = np.flatnonzero(np.isfinite(xy).all(axis=1)).tolist()
    if not known:
        raise DatasetError(
            f"{name!r} has no visible joint in its first annotated frame, so there is nothing to follow; leave it out by --split"
        )
    limbs = tuple((known.index(one), known.index(other)) for one, other in skeleton if one in known and other in known)
    return Keypoints(xy=xy[known], joints=tuple(joints[k] for k in known), skeleton=limbs, name="joints")


def draw_joints(image: NDArray[np.uint8], xy: Floats, *, skeleton: Limbs) -> NDArray[np.uint8]:
    """A skeleton over a picture; joints without a position are left out.

    Args:
        image: RGB ``(H, W, 3)``.
        xy: ``(K, 2)`` in pixels; NaN where there is none.
        skeleton: limbs.

    Returns:
        A new picture.
    """
    canvas = image.copy()
    joints = [_spot(place, lost=bool(np.isnan(place).any())) for place in xy]
    draw_skeleton(canvas, joints, skeleton, colour=colour_of(JOINTS_COLOUR), thickness=_line(image) + 1)
    return canvas


def draw_points(image: NDArray[np.uint8], xy: Floats, shown: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Points over a picture, each in its own colour; those that are not shown are left out.

    Args:
        image: RGB ``(H, W, 3)``.
        xy: ``(N, 2)`` in pixels.
        shown: ``(N,)``.

    Returns:
        A new picture.
    """
    canvas = image.copy()
    for number in np.flatnonzero(shown & np.isfinite(xy).all(axis=1)).tolist():
        draw_dot(canvas, *xy[number], colour=colour_of(number), radius=2.2 * _line(image))
    return canvas


def check_frame(frame: int, *, length: int, sequence: str) -> None:
    """Refuses a frame that a sequence has not.

    Raises:
        DatasetError: it has not.
    """
    if not 0 <= frame < length:
        raise DatasetError(f"{sequence!r} has no frame {frame}; its frames are 0 to {length - 1}")


def _points(answer: TrackedFrame) -> list[tuple[str, TrackedPoint]]:
    """All points of an answer; a single point is called like its object."""
    return [(point.name if thing.kind == "keypoints" else thing.name, point) for thing in answer.objects for point in thing.points]


def _spot(place: Floats, *, lost: bool) -> TrackedPoint:
    return TrackedPoint(name="", x=float(place[0]), y=float(place[1]), confidence=None, lost=lost)


def _line(image: NDArray[np.uint8]) -> int:
    """As thick as `viz.overlay` draws."""
    return max(1, round(float(min(image.shape[:2])) / 300))
