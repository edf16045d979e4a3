"""Boxes that are followed by the coordinates inside them, not only by what they cover.

How much of a cell a box covers says little once the map has shrunk to the part of the object that is easiest to tell from its
surroundings. So each cell also carries where in the box it lies: any part that is left can then tell where the whole box is.

    coverage         share of the cell that the box covers; propagation blurs and shrinks it
    weight           how much the cell has to say about the box: most in the middle at first, later how well it agreed with the others
    u, v             weight times the place of the cell's centre in the box: 0 at its left or top edge, 1 at its right or bottom edge
    width, height    weight times the size of the box, in shares of the image

All are linear in the weight, so propagation and blending may take weighted means of them. Each cell's u, v and size vote for a box; a
robust fit (Beaton and Tukey 1974) finds the box on which most agree. Large boxes are read from the coverage as well, which sees size and
shape change where the inside of an object looks alike everywhere.
"""

from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from followspot.errors import AnnotationError
from followspot.ops.boxes import FLOOR, decode_box, encode_boxes
from followspot.ops.masks import check_size

Floats = NDArray[np.float64]

PARTS = ("coverage", "weight", "u", "v", "width", "height")
"""The maps of one box, in order."""

# The constants below were chosen on seven videos at once (three with boxes, four of DAVIS 2016's train split). A video's mean overlap
# varies by about 0.05 around them; by 0.1 for _TOP on the smallest objects, and for _MAX_GROWTH and _LARGE where objects grow fast.
_SHARE = 0.05
"""Cells with less than this share of the largest weight have no vote."""
_TOLERANCE_CELLS, _TOLERANCE_SHARE = 1.5, 0.2
"""Votes further than twice (cells + share of the box's size) from the fit do not count: the grid's own error, and bending."""
_BIN = 0.5
_STEPS = 10
_SIZE_PRIOR = 15 / 12
"""The last size counts as much as 15 cells spread evenly over the box (whose u has the variance 1 / 12)."""
_MAX_GROWTH = 0.1
"""Largest change of the logarithm of the size that one fit may find."""
_LARGE = 24.0
"""Coverage and votes count alike where the box's short side has so many cells. Below, the rim of a cell or two in which descriptors mix
the object with its surroundings is too large a part of the box for its coverage to be believed: 24 cells are 4 times the widest pooling
of the default descriptor."""
_PULL = 0.25
"""How far u and v are moved towards their place in the fitted box: enough to keep a frame together, not to forget how it bends."""
_TOP = 0.8
"""Weights are scaled so that this quantile of them is 1: an object does not fade from being followed for long."""
_CENTRE = 0.25
"""Standard deviation, in boxes, of the first weights around the middle: corners of boxes are background more often than not."""
_TINY = 1e-4


class _Fit(NamedTuple):
    edges: Floats
    """``(4,)`` left, top, right, bottom in cells; may lie outside the grid."""
    trust: Floats
    """``(h, w)`` in [0, 1]: how well each cell's vote agrees."""


class _Votes(NamedTuple):
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    weight: Floats
    """``(n,)``"""
    inside: Floats
    """``(n, 2)``: u and v, less a half."""
    size: Floats
    """``(2,)``: width and height in cells on which most weight agrees."""


def encode_box_frames(xyxy: Floats, image_size: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """The maps of boxes, one for each of `PARTS`.

    Args:
        xyxy: ``(N, 4)`` outer edges in pixels; boxes may reach out of the image.
        image_size: ``(H, W)`` in pixels.
        grid: ``(h, w)``.

    Returns:
        ``(N, 6, h, w)`` float32, zero where the box does not reach.

    Raises:
        AnnotationError: if ``xyxy`` is not ``(N, 4)``, not finite, or a box is empty.
        SettingError: if a size is not two positive numbers.

    >>> encode_box_frames(np.array([[1.0, 0.0, 4.0, 2.0]]), (2, 6), (1, 3))[0, :3, 0]
    tensor([[0.5000, 1.0000, 0.0000],
            [0.0845, 1.0000, 0.0000],
            [0.0000, 0.6667, 0.0000]])
    """
    coverage = encode_boxes(xyxy, image_size, grid).numpy().astype(np.float64)
    scale = np.array([grid[1] / image_size[1], grid[0] / image_size[0]] * 2)
    maps = np.zeros((len(coverage), len(PARTS), *grid), np.float32)
    for frame, cover, edges in zip(maps, coverage, np.asarray(xyxy, np.float64) * scale, strict=True):
        u, v = _places(edges, grid)
        weight = cover * np.exp(-((u - 0.5) ** 2 + (v - 0.5) ** 2) / (2 * _CENTRE**2))
        # The best cell counts in full, even if the box is smaller than a cell or its middle lies outside the image.
        frame[:] = _drawn(cover, weight / max(weight.max(), np.finfo(float).tiny), u, v, edges)
    return torch.from_numpy(maps)


def decode_box_frame(maps: Tensor, image_size: tuple[int, int]) -> tuple[float, float, float, float] | None:
    """Reads a box from its maps, even if only part of them is left.

    Args:
        maps: ``(6, h, w)``: one for each of `PARTS`.
        image_size: ``(H, W)`` in pixels.

    Returns:
        ``(left, top, right, bottom)`` in pixels, cut off at the image; None where nothing is left or the box has left the image.

    Raises:
        AnnotationError: if the maps are not ``(6, h, w)``.
        SettingError: if the size is not two positive numbers.

    >>> decode_box_frame(encode_box_frames(np.array([[3.0, 5.0, 17.0, 29.0]]), (32, 32), (8, 8))[0], (32, 32))
    (3.0, 5.0, 17.0, 29.0)
    """
    check_size(image_size, "image size")
    fit = _fit(_checked(maps))
    if fit is None:
        return None
    h, w = maps.shape[1:]
    x1, y1, x2, y2 = np.clip(fit.edges, 0, [w, h, w, h]) * np.tile([image_size[1] / w, image_size[0] / h], 2)
    if x2 <= x1 or y2 <= y1:
        return None
    return round(float(x1), 4), round(float(y1), 4), round(float(x2), 4), round(float(y2), 4)


def redraw_box_frame(maps: Tensor) -> Tensor:
    """Maps as they should be remembered after propagation.

    u and v are pulled towards their place in the fitted box and get its size, so that errors do not add up. Cells whose vote disagreed,
    be it background that was annotated with the object or a wrong match, lose weight; the others get theirs back. The coverage stays.

    Args:
        maps: ``(6, h, w)`` straight from propagation.

    Returns:
        ``(6, h, w)``, on the same device; unchanged where no box is left.

    Raises:
        AnnotationError: if the maps are not ``(6, h, w)``.
    """
    values = _checked(maps)
    fit = _fit(values)
    if fit is None:
        return maps
    coverage, weight = values[:2]
    agreed = np.minimum(weight, 1) * cv2.blur(fit.trust, (3, 3), borderType=cv2.BORDER_REPLICATE)
    if agreed.max() <= 0:
        return maps
    strong = float(np.quantile(agreed[agreed > 0.3 * agreed.max()], _TOP))
    known = weight > _TINY
    soft = values[2:4] / np.where(known, weight, 1)
    exact = _places(fit.edges, maps.shape[1:])
    u, v = (np.where(known, _PULL * e + (1 - _PULL) * s, e) for e, s in zip(exact, soft, strict=True))
    return torch.from_numpy(_drawn(coverage, np.minimum(agreed / strong, 1), u, v, fit.edges)).to(maps.device)


def _checked(maps: Tensor) -> Floats:
    if maps.ndim != 3 or len(maps) != len(PARTS):
        raise AnnotationError(
            f"the maps of a box must be ({len(PARTS)}, h, w), got {tuple(maps.shape)}; pass {', '.join(PARTS)} of one box"
        )
    return maps.detach().cpu().double().numpy()


def _places(edges: Floats, grid: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Places ``(h, w)``, u and v, of all cell centres in a box whose edges are in cells."""
    u = (np.arange(grid[1]) + 0.5 - edges[0]) / (edges[2] - edges[0])
    v = (np.arange(grid[0]) + 0.5 - edges[1]) / (edges[3] - edges[1])
    across, down = np.meshgrid(u, v)
    return across, down


def _drawn(coverage: Floats, weight: Floats, u: Floats, v: Floats, edges: Floats) -> NDArray[np.float32]:
    h, w = weight.shape
    width, height = (edges[2] - edges[0]) / w, (edges[3] - edges[1]) / h
    return np.stack([coverage, weight, weight * u, weight * v, weight * width, weight * height]).astype(np.float32)


def _fit(maps: Floats) -> _Fit | None:
    if maps[1].max(initial=0) < FLOOR:
        return None
    votes = _votes(maps)
    edges, agreement = _agree(votes)
    trust = np.zeros(maps.shape[1:])
    trust[votes.rows, votes.columns] = agreement
    return _Fit(_with_coverage(edges, maps[0]), trust)


def _votes(maps: Floats) -> _Votes:
    rows, columns = np.nonzero(maps[1] > _SHARE * maps[1].max())
    weight = maps[1, rows, columns]
    u, v, width, height = maps[2:, rows, columns] / weight
    h, w = maps.shape[1:]
    size = np.array([_median(width, weight) * w, _median(height, weight) * h])
    return _Votes(rows, columns, weight, np.stack([u, v], 1) - 0.5, size)


def _median(values: Floats, weight: Floats) -> float:
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weight[order])
    return float(values[order][np.searchsorted(below, below[-1] / 2)])


def _agree(votes: _Votes) -> tuple[Floats, Floats]:
    """Edges in cells, and how well each vote agrees: iteratively reweighted least squares for the middle and one scale."""
    at = np.stack([votes.columns, votes.rows], 1) + 0.5
    tolerance = _TOLERANCE_CELLS + _TOLERANCE_SHARE * votes.size
    offset = votes.inside * votes.size
    middle, scale = _mode(at - offset, votes.weight, tolerance), 1.0
    prior = _SIZE_PRIOR * float((votes.size**2).sum())
    agreement = np.ones(len(at))
    for _ in range(_STEPS):
        distance = (((at - middle - scale * offset) / (2 * tolerance)) ** 2).sum(1)
        agreement = np.clip(1 - distance, 0, None) ** 2
        weight = votes.weight * agreement
        total = float(weight.sum())
        if total <= 0:
            break
        mean_at, mean_offset = weight @ at / total, weight @ offset / total
        from_mean = offset - mean_offset
        slope = (weight @ (from_mean * (at - mean_at)).sum(1) + prior) / (weight @ (from_mean**2).sum(1) + prior)
        scale = float(np.clip(slope, np.exp(-_MAX_GROWTH), np.exp(_MAX_GROWTH)))
        middle = mean_at - scale * mean_offset
    half = votes.size * scale / 2
    return np.concatenate([middle - half, middle + half]), agreement


def _mode(points: Floats, weight: Floats, spread: Floats) -> Floats:
    """Where most weight of the points (n, 2) is, within a Gaussian of half the spread: a start that outliers do not move."""
    low = points.min(0)
    bins = ((points - low) / _BIN).astype(int)
    count = np.zeros(bins.max(0) + 1)
    np.add.at(count, (bins[:, 0], bins[:, 1]), weight)
    sigma = spread / 2 / _BIN
    smooth = cv2.GaussianBlur(count, (0, 0), sigmaX=float(sigma[1]), sigmaY=float(sigma[0]), borderType=cv2.BORDER_CONSTANT)
    best = np.unravel_index(int(smooth.argmax()), count.shape)
    start: Floats = low + (np.array(best) + 0.5) * _BIN
    return start


def _with_coverage(edges: Floats, coverage: Floats) -> Floats:
    """Edges in cells, moved towards what the coverage says by as much as a box of that size deserves."""
    h, w = coverage.shape
    seen = decode_box(torch.from_numpy(coverage), (h, w))
    if seen is None:
        return edges
    short = min(edges[2] - edges[0], edges[3] - edges[1])
    share = 1 / (1 + (_LARGE / short) ** 4)
    covered, end = np.array(seen), np.array([w, h])
    # What lies beyond the image's border is not covered by any cell.
    beyond = np.concatenate([(covered[:2] <= _BIN) & (edges[:2] < 0), (covered[2:] >= end - _BIN) & (edges[2:] > end)])
    moved: Floats = np.where(beyond, edges, (1 - share) * edges + share * covered)
    return moved
