"""Overlap of rectangles and polygons, exact or by counting pixels as the two tools of the VOT challenge do.

Only pixels of the image count, as in both tools.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from followspot.errors import AnnotationError
from followspot.io.regions import Region

Measure = Literal["exact", "toolkit", "pysot"]
"""How areas are measured.

exact: the true areas. toolkit: pixels as vot-toolkit 0.7.4 counts them; corners of polygons are rounded and their border belongs to
them, so that a polygon around 10x10 pixels covers 11x11, while a rectangle covers 10x10. pysot: the same, with rectangles as polygons.
"""


def overlap(one: Region, other: Region, *, size: tuple[int, int], measure: Measure = "exact") -> float:
    """Intersection over union of two regions inside the image.

    Args:
        one: four numbers, or the corners of a polygon (its inside by the even-odd rule, where it crosses itself).
        other: the same.
        size: height and width of the image in pixels.
        measure: how areas are measured.

    Returns:
        In [0, 1]; 0 where nothing of either is in the image.

    Raises:
        AnnotationError: a region is not four or an even number of finite numbers from six on.

    >>> square, right_half = np.array([0.0, 0, 10, 10]), np.array([5.0, 0, 10, 0, 10, 10, 5, 10])
    >>> overlap(square, right_half, size=(20, 20))
    0.5
    >>> overlap(square, right_half, size=(20, 20), measure="pysot").__round__(3)  # 6 of 11 columns
    0.545
    """
    for region in (one, other):
        check_region(region)
    if measure == "exact":
        both, first, second = _exact_areas(corners(one), corners(other), size)
    else:
        both, first, second = _pixel_areas(one, other, size, measure=measure)
    union = first + second - both
    return min(1.0, both / union) if union > 0 else 0.0


def corners(region: Region) -> NDArray[np.float64]:
    """Corners of a region, ``(n, 2)`` x and y; a rectangle's from the top left, clockwise on the screen.

    >>> corners(np.array([1.0, 2, 10, 20])).tolist()
    [[1.0, 2.0], [11.0, 2.0], [11.0, 22.0], [1.0, 22.0]]
    """
    if len(region) > 4:
        return region.reshape(-1, 2)
    x, y, width, height = region
    return np.array([(x, y), (x + width, y), (x + width, y + height), (x, y + height)])


def check_region(region: Region) -> None:
    """Refuse what is no region.

    Raises:
        AnnotationError: it is not four or an even number of finite numbers from six on, or a rectangle of negative size.
    """
    count = region.size if region.ndim == 1 else 0
    if count < 4 or count % 2 or not np.isfinite(region).all():
        raise AnnotationError(f"region {region.tolist()} is neither x,y,width,height nor the finite x1,y1,x2,y2,x3,y3 ... of a polygon")
    if count == 4 and region[2:].min() < 0:
        raise AnnotationError(f"region {region.tolist()} has a negative width or height; write x,y,width,height")


def _exact_areas(one: NDArray[np.float64], other: NDArray[np.float64], size: tuple[int, int]) -> tuple[float, float, float]:
    """Areas in the image of the intersection and of each.

    The image is cut into horizontal slabs at every corner and crossing of edges. No two edges cross within a slab, so the length of any
    cross-section is linear there, and its value in the middle times the slab's height is the area.
    """
    cuts = [one[:, 1], other[:, 1], _crossings(one, other, width=size[1]), np.array([0, size[0]])]
    heights = np.unique(np.clip(np.concatenate(cuts), 0, size[0]))
    middle, thickness = (heights[:-1] + heights[1:]) / 2, np.diff(heights)
    here, there = (_spans(polygon, middle, width=size[1]) for polygon in (one, other))
    shared = np.minimum(here[:, :, None, 1], there[:, None, :, 1]) - np.maximum(here[:, :, None, 0], there[:, None, :, 0])
    lengths = [np.maximum(shared, 0).sum((1, 2)), np.diff(here)[..., 0].sum(1), np.diff(there)[..., 0].sum(1)]
    both, first, second = (float(length @ thickness) for length in lengths)
    return both, first, second


def _crossings(one: NDArray[np.float64], other: NDArray[np.float64], *, width: int) -> NDArray[np.float64]:
    """Heights at which edges cross each other or the sides of the image."""
    sides = np.array([[(0.0, -1e9), (0.0, 1e9)], [(width, -1e9), (width, 1e9)]])
    edges = np.concatenate([np.stack([polygon, np.roll(polygon, -1, 0)], 1) for polygon in (one, other)] + [sides])
    start, along = edges[:, 0], edges[:, 1] - edges[:, 0]
    across = along[:, None, 0] * along[None, :, 1] - along[:, None, 1] * along[None, :, 0]
    apart = start[None] - start[:, None]
    parallel = across == 0
    place = (apart[..., 0] * along[None, :, 1] - apart[..., 1] * along[None, :, 0]) / np.where(parallel, 1, across)
    # Points beyond the end of the other edge only cut a slab in two, which changes nothing.
    found = ~parallel & (place >= 0) & (place <= 1) & (np.arange(len(edges)) < len(edges) - 2)[:, None]
    return np.asarray((start[:, None, 1] + place * along[:, None, 1])[found])


def _spans(polygon: NDArray[np.float64], heights: NDArray[np.float64], *, width: int) -> NDArray[np.float64]:
    """Where level lines are inside the polygon and the image: ``(heights, n, 2)`` left and right ends; spans beyond the last are empty."""
    ends = np.roll(polygon, -1, 0)
    y = heights[:, None]
    hit = (polygon[:, 1] > y) != (ends[:, 1] > y)
    rise = np.where(ends[:, 1] == polygon[:, 1], 1, ends[:, 1] - polygon[:, 1])
    x = np.where(hit, polygon[:, 0] + (y - polygon[:, 1]) * (ends[:, 0] - polygon[:, 0]) / rise, np.inf)
    pairs = len(polygon) // 2  # a line crosses the border an even number of times
    return np.asarray(np.clip(np.sort(x, axis=1)[:, : 2 * pairs], 0, width)).reshape(len(heights), pairs, 2)


def _pixel_areas(one: Region, other: Region, size: tuple[int, int], *, measure: Measure) -> tuple[float, float, float]:
    """Numbers of pixels of the intersection and of each, in the smallest window that holds both."""
    points = np.concatenate([corners(one), corners(other)])
    low = np.clip(np.floor(points.min(0)) - 1, 0, size[::-1]).astype(int)
    high = np.clip(np.ceil(points.max(0)) + 2, 0, size[::-1]).astype(int)
    window = (slice(low[1], high[1]), slice(low[0], high[0]))
    first, second = (_pixels(region, window, as_polygon=measure == "pysot") for region in (one, other))
    return float(np.count_nonzero(first & second)), float(np.count_nonzero(first)), float(np.count_nonzero(second))


def _pixels(region: Region, window: tuple[slice, slice], *, as_polygon: bool) -> NDArray[np.bool_]:
    """The pixels of a window that belong to a region; observed on vot-toolkit 0.7.4 and TraX 4.0.2 (docs/vot.md)."""
    rows = np.arange(window[0].start, window[0].stop)[:, None]
    columns = np.arange(window[1].start, window[1].stop)[None]
    rounded = np.round(region.astype(np.float32))
    if len(region) == 4 and not as_polygon:
        x, y, width, height = rounded
        return np.asarray((columns >= x) & (columns < x + width) & (rows >= y) & (rows < y + height))
    return _polygon_pixels(np.round(corners(region).astype(np.float32)).astype(np.float64), rows, columns)


def _polygon_pixels(polygon: NDArray[np.float64], rows: NDArray[np.signedinteger], columns: NDArray[np.signedinteger]) -> NDArray[np.bool_]:
    """Pixels between the edges, both ends included, and those on level edges and corners; corners are whole numbers."""
    ends = np.roll(polygon, -1, 0)
    hit = (polygon[:, 1] > rows) != (ends[:, 1] > rows)
    rise = np.where(ends[:, 1] == polygon[:, 1], 1, ends[:, 1] - polygon[:, 1])
    x = np.trunc(polygon[:, 0] + (rows - polygon[:, 1]) * (ends[:, 0] - polygon[:, 0]) / rise)
    x = np.sort(np.where(hit, x, np.inf), axis=1)
    inside = np.zeros((rows.size, columns.size), bool)
    for left, right in zip(x[:, 0:-1:2].T, x[:, 1::2].T, strict=True):
        inside |= (columns >= left[:, None]) & (columns <= right[:, None])
    for (x1, y1), (x2, y2) in zip(polygon, ends, strict=True):
        if y1 == y2:
            inside |= (rows == y1) & (columns >= min(x1, x2)) & (columns <= max(x1, x2))
        inside |= (rows == y1) & (columns == x1)
    return inside
