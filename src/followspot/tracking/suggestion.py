"""Which frame to annotate next: the one whose neighbourhood is least sure."""

from collections.abc import Iterable, Sequence

import numpy as np

from followspot.types import Suggestion, TrackedFrame

REACH = 5
"""A correction helps the frames around it: doubt is averaged over this many frames to each side."""
SURE_ENOUGH = 0.75
"""Nothing is suggested when the least sure neighbourhood expects at least this overlap."""


def suggest(frames: Iterable[TrackedFrame], *, annotated: Sequence[int] = ()) -> Suggestion | None:
    """Picks the frame that would help most if it were annotated next.

    Every object counts alike. The doubt of a frame is 1 - confidence averaged over objects and over the frames near it, so a
    single blink does not win against a stretch where the track is gone; the frame where such a stretch is worst is named.

    Args:
        frames: answers of a whole run, with confidence (they may lack masks).
        annotated: frames that are annotated already; they are not suggested.

    Returns:
        The suggestion, or None if the run has no confidence or is sure everywhere.
    """
    rows = [(f.index, f.name, {o.name: o.confidence for o in f.objects if o.confidence is not None}) for f in frames]
    rows = [row for row in rows if row[2]]
    if not rows:
        return None
    doubt = np.array([1 - np.mean([c for c in sure.values() if c is not None]) for _, _, sure in rows])
    kernel = np.ones(2 * min(REACH, (len(rows) - 1) // 2) + 1)
    near = np.convolve(doubt, kernel, mode="same") / np.convolve(np.ones_like(doubt), kernel, mode="same")
    taken = set(annotated)
    order = [i for i in np.lexsort((np.arange(len(rows)), -near)) if rows[i][0] not in taken]
    if not order or near[order[0]] <= 1 - SURE_ENOUGH:
        return None
    index, name, sure = rows[order[0]]
    worst = (
        sorted((c, n) for n, c in sure.items() if c is not None and c < SURE_ENOUGH) or sorted((c or 0.0, n) for n, c in sure.items())[:1]
    )
    objects = tuple(n for _, n in worst)
    where = f"around frame {name} the expected overlap is {1 - near[order[0]]:.2f}, the lowest of the video"
    reason = f"{where}; worst there: {', '.join(objects[:3])}"
    return Suggestion(index=index, name=name, objects=objects, reason=reason)
