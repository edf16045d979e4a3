"""Which of a siamese network's proposals is the object: penalties, the cosine window, and overlap with where it was.

The rules of SiamRPN (Li et al., "High performance visual tracking with siamese region proposal network", CVPR 2018, section 4.3).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from followspot.tracking.siamese_settings import SiameseSettings

Floats = NDArray[np.float64]

SMALLEST = 10.0
"""Pixels: no side of a followed box becomes smaller (SiamRPN's and SiamMask's published code)."""


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """The proposals of one search crop, n = anchors x places."""

    boxes: Floats
    """``(n, 4)`` xyxy in pixels of the crop."""
    scores: Floats
    """``(n,)`` in [0, 1]: the network's, 0 for a proposal that is no box."""
    penalties: Floats
    """``(n,)`` in [0, 1]."""
    ranks: Floats
    """``(n,)``: penalised scores mixed with the window."""
    places: NDArray[np.intp]
    """``(n, 2)``: row and column in the grid."""

    def most(self, count: int, *, last: Floats | None, ratio: float, pixels: int) -> NDArray[np.intp]:
        """The voters: the best by rank and by overlap with where the object was.

        Args:
            count: how many.
            last: ``(V, 2)`` corners of the last rotated box in pixels of the crop; None: ranks alone decide.
            ratio: weight of the rank beside the overlap.
            pixels: side of the crop.

        Returns:
            Up to `count` positions, best first.
        """
        fused = self.ranks if last is None else ratio * self.ranks + (1 - ratio) * overlaps(self.boxes, last, pixels=pixels)
        fused = np.where(self.scores > 0, fused, -np.inf)
        order = np.argsort(-fused, kind="stable")[:count]
        return order[np.isfinite(fused[order])]


def rate(probabilities: Floats, boxes: Floats, *, size: Floats, settings: SiameseSettings, window: float) -> Candidates:
    """Rates all proposals of a crop.

    Args:
        probabilities: ``(K, g, g)`` in [0, 1].
        boxes: ``(4, K, g, g)`` xyxy in pixels of the crop.
        size: ``(2,)`` width and height of the object, in pixels of the crop, where it was last.
        settings: for `penalty_k`.
        window: in [0, 1], the influence of the cosine window.
    """
    anchors, side = probabilities.shape[:2]
    flat = boxes.reshape(4, -1).T
    finite = np.asarray(np.isfinite(flat).all(1))
    flat = np.where(finite[:, None], flat, 0)
    sides = flat[:, 2:] - flat[:, :2]
    whole = finite & np.asarray((sides > 0).all(1))
    scores = np.where(whole & np.isfinite(probabilities.ravel()), probabilities.ravel(), 0)
    penalties = np.where(whole, change_penalties(np.where(whole[:, None], sides, 1), size, penalty_k=settings.penalty_k), 0)
    hann = np.tile(np.outer(np.hanning(side), np.hanning(side)).ravel(), anchors)
    rows, columns = np.divmod(np.tile(np.arange(side * side), anchors), side)
    ranks = np.where(whole, penalties * scores * (1 - window) + hann * window, 0)
    return Candidates(boxes=flat, scores=scores, penalties=penalties, ranks=ranks, places=np.stack([rows, columns], 1))


def change_penalties(sides: Floats, size: Floats, *, penalty_k: float) -> Floats:
    """``exp(-penalty_k (r s - 1))``: r is by what factor the shape changes, s by what factor the size does; both at least 1.

    Args:
        sides: ``(n, 2)`` widths and heights, above 0.
        size: ``(2,)`` of the object before.
        penalty_k: 0 or more.

    Returns:
        ``(n,)`` in [0, 1]; 1 where nothing changes.

    >>> change_penalties(np.array([[40.0, 40.0], [80.0, 80.0]]), np.array([40.0, 40.0]), penalty_k=1).round(4).tolist()
    [1.0, 0.3679]
    """
    shape = _factor((sides[:, 0] / sides[:, 1]) / (size[0] / size[1]))
    area = _factor(_with_context(sides) / _with_context(size[None]))
    penalties: Floats = np.exp(-(shape * area - 1) * penalty_k)
    return penalties


def follow_size(size: Floats, found: Floats, *, rate: float) -> Floats:
    """The size after a frame: a mixture of the last and the proposed one.

    Args:
        size: ``(2,)`` before.
        found: ``(2,)`` proposed.
        rate: share of the proposed one, ``penalty * score * lr``.
    """
    return size * (1 - rate) + found * rate


def keep_inside(centre: Floats, size: Floats, *, image: tuple[int, int]) -> tuple[Floats, Floats]:
    """The centre stays in the image, the size between `SMALLEST` pixels and the image.

    Args:
        centre: ``(2,)`` x and y, edges.
        size: ``(2,)`` width and height.
        image: ``(H, W)``.
    """
    limit = np.array([image[1], image[0]], np.float64)
    return centre.clip(0, limit), np.minimum(np.maximum(size, SMALLEST), limit)


def overlaps(boxes: Floats, polygon: Floats, *, pixels: int) -> Floats:
    """Intersection over union of many upright boxes with one polygon, inside the crop, by counting its pixels.

    Args:
        boxes: ``(n, 4)`` xyxy in pixels of the crop.
        polygon: ``(V, 2)`` corners of a convex polygon in pixels of the crop.
        pixels: side of the crop.

    Returns:
        ``(n,)`` in [0, 1]. All at once, from sums over the polygon's pixels: what lies left of and above each of them.
    """
    sums = np.pad(_covered(polygon, pixels).cumsum(0, dtype=np.float64).cumsum(1), ((1, 0), (1, 0)))
    inside = boxes.clip(0, pixels)
    left, top, right, bottom = inside.T
    both = _sum_to(sums, right, bottom) - _sum_to(sums, left, bottom) - _sum_to(sums, right, top) + _sum_to(sums, left, top)
    union = (right - left) * (bottom - top) + sums[-1, -1] - both
    shares: Floats = both / np.maximum(union, 1e-9)
    return shares


def enlarge(boxes: Floats, share: float, *, pixels: int) -> Floats:
    """Boxes that grew on each side by a share of their width or height, as far as the crop goes.

    >>> enlarge(np.array([[10.0, 10, 20, 30]]), 0.4, pixels=255).tolist()
    [[6.0, 2.0, 24.0, 38.0]]
    """
    margin = share * (boxes[:, 2:] - boxes[:, :2])
    return np.concatenate([boxes[:, :2] - margin, boxes[:, 2:] + margin], 1).clip(0, pixels)


def _covered(polygon: Floats, pixels: int) -> NDArray[np.bool_]:
    """Pixels whose centres lie in a convex polygon: on the same side of all its edges."""
    at = np.arange(pixels) + 0.5
    left = right = np.ones((pixels, pixels), np.bool_)
    for (x1, y1), (x2, y2) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        side = np.subtract.outer((x2 - x1) * (at - y1), (y2 - y1) * (at - x1))
        left, right = left & (side >= 0), right & (side <= 0)
    return left | right


def _factor(ratio: Floats) -> Floats:
    return np.maximum(ratio, 1 / ratio)


def _with_context(sides: Floats) -> Floats:
    margin = sides.sum(1) / 2
    padded: Floats = np.sqrt((sides[:, 0] + margin) * (sides[:, 1] + margin))
    return padded


def _sum_to(sums: Floats, x: Floats, y: Floats) -> Floats:
    """Sums over the rectangle from the corner to ``(x, y)``, between whole pixels in proportion."""
    left, top = (np.minimum(np.floor(value), len(sums) - 2).astype(np.intp) for value in (x, y))
    right, down = x - left, y - top
    upper = sums[top, left] * (1 - right) + sums[top, left + 1] * right
    lower = sums[top + 1, left] * (1 - right) + sums[top + 1, left + 1] * right
    total: Floats = upper * (1 - down) + lower * down
    return total
