"""Which frame to annotate next: the one from which most can be mended."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from followspot.types import Suggestion, TrackedFrame

Floats = NDArray[np.float64]

REACH = 5
"""Doubt is averaged over this many frames to each side, so that a blink is no loss."""
SURE_ENOUGH = 0.75
"""Nothing is suggested when the least sure neighbourhood expects at least this overlap."""
HELP = 10
"""An annotation mends what is wrong around it: at a distance of d frames exp(-d / `HELP`) of it. Of 3 to 30, values from 5 to 15 choose
about equally good frames on six videos that were followed forth and back (results/suggestion_rule.py).
"""

NEARLY = 0.95
"""Of the doubtful frames from which this share of the most is mended, the surest is suggested: where an object is half hidden, an
annotation has little to go by and can spoil more than it mends. Values from 0.9 to 0.98 are alike (results/suggestion_rule.py)."""


def suggest(frames: Iterable[TrackedFrame], *, annotated: Sequence[int] = (), sure_enough: float = SURE_ENOUGH) -> Suggestion | None:
    """Picks the frame that would help most if it were annotated next.

    The doubt of a frame is 1 - confidence averaged over objects; every object counts alike. An annotation mends the frames around it
    (`mended`), so the best frame lies in the midst of a doubtful stretch, not where doubt is highest; there the surest is taken (`NEARLY`).

    Args:
        frames: answers of a whole run, with confidence (they may lack masks).
        annotated: frames that are annotated already; they are not suggested. Empty means the first one.
        sure_enough: nothing is suggested when all neighbourhoods expect at least this overlap; in [0, 1].

    Returns:
        The suggestion, or None if the run has no confidence or is sure everywhere.
    """
    rows = [(f.index, f.name, {o.name: o.confidence for o in f.objects if o.confidence is not None}) for f in frames]
    rows = [row for row in rows if row[2]]
    if not rows:
        return None
    doubt = np.array([1 - np.mean(list(sure.values())) for _, _, sure in rows])
    near = _around(doubt)
    marked = np.isin([index for index, _, _ in rows], list(annotated))
    if marked.all() or near[~marked].max() <= 1 - sure_enough:
        return None
    best = _best(doubt, np.where(marked, -1.0, mended(near, np.flatnonzero(marked))))
    index, name, sure = rows[best]
    worst = sorted((c, n) for n, c in sure.items() if c < SURE_ENOUGH) or sorted((c, n) for n, c in sure.items())[:1]
    objects = tuple(n for _, n in worst)
    where = f"around frame {name} the expected overlap is {1 - near[best]:.2f}, and most can be mended from it"
    return Suggestion(index=index, name=name, objects=objects, reason=f"{where}; least sure: {', '.join(objects[:3])}")


def mended(doubt: Floats, annotated: NDArray[np.intp]) -> Floats:
    """How much doubt an annotation would take away, for every frame.

    At a distance of d frames it takes away exp(-d / `HELP`); between it and the next annotated frame this counts as much as it does when a
    video is followed both ways: fully at the annotation, not at all at the other frame.

    Args:
        doubt: ``(T,)`` in [0, 1], 1 - confidence.
        annotated: positions of annotated frames; empty means the first one.

    Returns:
        ``(T,)`` sums over all frames; 0 for annotated ones.
    """
    count = len(doubt)
    marks = np.unique(annotated) if len(annotated) else np.zeros(1, np.intp)
    reach = 10 * HELP  # where less than a ten-thousandth is left
    gains = np.zeros(count)
    for frame in np.setdiff1d(np.arange(count), marks):
        near = np.arange(max(0, frame - reach), min(count, frame + reach + 1))
        share = np.exp(-np.abs(near - frame) / HELP)
        before, after = marks[marks < frame], marks[marks > frame]
        if len(before):
            share[near < frame] *= ((near[near < frame] - before[-1]) / (frame - before[-1])).clip(min=0)
        if len(after):
            share[near > frame] *= ((after[0] - near[near > frame]) / (after[0] - frame)).clip(min=0)
        gains[frame] = (doubt[near] * share).sum()
    return gains


def _best(doubt: Floats, gains: Floats) -> int:
    """The surest of the doubtful frames that mend nearly the most; of equals the one that mends more."""
    nearly = gains >= NEARLY * gains.max()
    doubtful = nearly & (doubt > 1 - SURE_ENOUGH)
    sure = np.where(doubtful if doubtful.any() else nearly, 1 - doubt, -1.0)
    return int(np.lexsort((-gains, -sure))[0])


def _around(doubt: Floats) -> Floats:
    """The mean over `REACH` frames to each side; over fewer in a video so short that nothing would be told apart."""
    kernel = np.ones(2 * min(REACH, (len(doubt) - 1) // 4) + 1)
    mean: Floats = np.convolve(doubt, kernel, mode="same") / np.convolve(np.ones_like(doubt), kernel, mode="same")
    return mean
