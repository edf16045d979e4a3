"""Boxes to soft label maps and back, finer than a cell.

Boxes are outer edges ``(left, top, right, bottom)`` measured from the image's top-left corner: one that covers pixel columns a..b and
rows c..d is ``(a, c, b + 1, d + 1)``. The grid is that of `followspot.ops.masks`.
"""

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from followspot.errors import AnnotationError, SettingError
from followspot.ops.masks import check_size

Floats = NDArray[np.float64]

FLOOR = 0.02
"""A map whose peak is below this share of a whole label holds no box any more (chosen on synthetic decay, not from a paper)."""
_COMPONENT_LEVEL = 0.3
_MARGIN = 3
_SOFTNESS = np.array([0.02, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 1.0, 1.3])
_STEPS = 8
_PRIOR = 0.01
_MAX_MISSING = 4.0


def encode_boxes(xyxy: Floats, image_size: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """The exact share of each cell that each box covers.

    Args:
        xyxy: ``(N, 4)`` edges in pixels; parts outside the image are cut off.
        image_size: ``(H, W)`` in pixels.
        grid: ``(h, w)``.

    Returns:
        ``(N, h, w)`` float32 in [0, 1].

    Raises:
        AnnotationError: if ``xyxy`` is not ``(N, 4)``, not finite, or a box is empty.
        SettingError: if a size is not two positive numbers.

    >>> encode_boxes(np.array([[1.0, 0.0, 4.0, 2.0]]), (2, 6), (1, 3))
    tensor([[[0.5000, 1.0000, 0.0000]]])
    """
    check_size(image_size, "image size")
    check_size(grid, "grid")
    xyxy = np.asarray(xyxy, np.float64)
    if xyxy.ndim != 2 or xyxy.shape[1] != 4:
        raise AnnotationError(f"boxes must be (N, 4) edges in pixels, got {xyxy.shape}; pass left, top, right, bottom in four columns")
    for x1, y1, x2, y2 in xyxy:
        if not (np.isfinite([x1, y1, x2, y2]).all() and x2 > x1 and y2 > y1):
            raise AnnotationError(f"box {x1:g},{y1:g},{x2:g},{y2:g} is empty; write left,top,right,bottom in growing order")
    across = _coverage(xyxy[:, [0, 2]] * grid[1] / image_size[1], grid[1])
    down = _coverage(xyxy[:, [1, 3]] * grid[0] / image_size[0], grid[0])
    return torch.from_numpy((down[:, :, None] * across[:, None, :]).astype(np.float32))


def _coverage(edges: Floats, cells: int) -> Floats:
    """(N, 2) edges in cells to (N, cells) shares."""
    left = np.arange(cells)
    covered = np.minimum(edges[:, 1:], left + 1) - np.maximum(edges[:, :1], left)
    shares: Floats = np.clip(covered, 0, 1)
    return shares


def decode_box(weights: Tensor, image_size: tuple[int, int], *, floor: float = FLOOR) -> tuple[float, float, float, float] | None:
    """Read a box from a soft map.

    The part that is connected above 0.3 of the peak (of the map's 3 x 3 mean) and weighs most is kept, with a margin of three cells. Its
    row and column sums are fitted by a plateau with two equally soft edges, averaged over each cell as the encoding does. The result
    therefore inverts `encode_boxes` for boxes at least two cells wide, and does not grow when propagation has blurred or faded the map.
    Where a box is narrower, its width is read from how far the peak falls short of 1.

    Args:
        weights: ``(h, w)`` float, at least 0.
        image_size: ``(H, W)`` in pixels.
        floor: maps with a smaller peak hold no box, 0..1.

    Returns:
        ``(left, top, right, bottom)`` in pixels inside the image, or None where the peak is below the floor.

    Raises:
        AnnotationError: if the map is not ``(h, w)``.
        SettingError: if the floor is not in 0..1, or the size is not two positive numbers.

    >>> decode_box(encode_boxes(np.array([[3.0, 5.0, 17.0, 29.0]]), (32, 32), (8, 8))[0], (32, 32))
    (3.0, 5.0, 17.0, 29.0)
    """
    check_size(image_size, "image size")
    if weights.ndim != 2:
        raise AnnotationError(f"a box map must be (h, w), got {tuple(weights.shape)}; decode one box at a time")
    if not 0 <= floor <= 1:
        raise SettingError(f"floor {floor:g} must be in 0..1; {FLOOR:g} is the default")
    values = weights.detach().cpu().double().numpy()
    if not values.size or values.max() <= 0 or values.max() < floor:
        return None
    part, first_row, first_column = _main_part(values)
    across, down = part.sum(0), part.sum(1)
    # Rows and columns in which the box is well present carry the other axis; the skirts carry mostly noise.
    core_rows, core_columns = down >= down.max() / 2, across >= across.max() / 2
    # An axis of one or two cells may hold no full cell: what the peak lacks to a whole label is put down to such axes.
    narrow = int(core_rows.sum() <= 2) + int(core_columns.sum() <= 2)
    missing = float(np.clip(part.max(), 1 / _MAX_MISSING, 1)) ** (-1 / max(narrow, 1))
    x1, x2 = _fit_edges(part[core_rows].sum(0), missing if core_columns.sum() <= 2 else 1.0)
    y1, y2 = _fit_edges(part[:, core_columns].sum(1), missing if core_rows.sum() <= 2 else 1.0)
    h, w = values.shape
    x1, x2 = (float(np.clip(first_column + x, 0, w)) * image_size[1] / w for x in (x1, x2))
    y1, y2 = (float(np.clip(first_row + y, 0, h)) * image_size[0] / h for y in (y1, y2))
    return round(x1, 4), round(y1, 4), round(x2, 4), round(y2, 4)


def _main_part(values: Floats) -> tuple[Floats, int, int]:
    """Crop the connected part with the largest sum, others blanked, with a margin; also its first row and column."""
    # Smoothed, so that neither a single loud cell sets the level nor a hole cuts the box in two.
    smooth = cv2.blur(values, (3, 3), borderType=cv2.BORDER_REPLICATE)
    above = (smooth > _COMPONENT_LEVEL * smooth.max()).astype(np.uint8)
    count, labels = cv2.connectedComponents(above, connectivity=8)
    sums = np.bincount(labels.ravel(), weights=values.ravel(), minlength=count)
    main = labels == 1 + int(np.argmax(sums[1:]))
    rows, columns = np.flatnonzero(main.any(1)), np.flatnonzero(main.any(0))
    r1, r2 = max(rows[0] - _MARGIN, 0), rows[-1] + 1 + _MARGIN
    c1, c2 = max(columns[0] - _MARGIN, 0), columns[-1] + 1 + _MARGIN
    kept = np.where((above > 0) & ~main, 0.0, np.clip(values, 0, None))
    return kept[r1:r2, c1:c2], int(r1), int(c1)


def _fit_edges(profile: Floats, expected: float) -> tuple[float, float]:
    """Least-squares fit of a soft-edged plateau to an (M,) profile: its two edges in cells.

    Gauss-Newton over both edges and the height, for a ladder of edge softnesses at once; the best softness wins. ``expected`` is the
    height of the plateau over the largest cell, weighing in where the profile alone leaves it open.
    """
    profile = profile / profile.max()
    high = np.flatnonzero(profile >= 0.5)
    middle = (high[0] + high[-1] + 1) / 2
    cells = np.arange(len(profile))
    # The integral outwards from the middle is the exact edge of an undistorted box.
    share = np.clip(middle - cells, 0, 1)
    left = np.full(len(_SOFTNESS), middle - (profile * share).sum() / expected)
    right = np.full(len(_SOFTNESS), middle + (profile * (1 - share)).sum() / expected)
    height = np.full(len(_SOFTNESS), expected)
    for _ in range(_STEPS):
        shape, d_left, d_right = _plateau(left, right, len(profile))
        jacobian = np.stack([height[:, None] * d_left, height[:, None] * d_right, shape], 2)
        residual = (profile - height[:, None] * shape)[:, :, None]
        normal = np.swapaxes(jacobian, 1, 2) @ jacobian + np.diag([1e-6, 1e-6, _PRIOR])
        gradient = (np.swapaxes(jacobian, 1, 2) @ residual)[:, :, 0]
        gradient[:, 2] += _PRIOR * (expected - height)
        step = np.linalg.solve(normal, gradient[:, :, None])[:, :, 0]
        step = np.clip(step, -0.5, 0.5)
        left, right, height = left + step[:, 0], right + step[:, 1], np.clip(height + step[:, 2], 0.5, _MAX_MISSING)
        right = np.maximum(right, left + 0.1)
    shape, _, _ = _plateau(left, right, len(profile))
    error = ((profile - height[:, None] * shape) ** 2).sum(1) + _PRIOR * (height - expected) ** 2
    best = int(error.argmin())
    return float(left[best]), float(right[best])


def _plateau(left: Floats, right: Floats, cells: int) -> tuple[Floats, Floats, Floats]:
    """Cell averages (S, cells) of a plateau with logistic edges, and their derivatives by the left and the right edge."""
    border = np.arange(cells + 1)
    soft = _SOFTNESS[:, None]
    rise, fall = (border - left[:, None]) / soft, (border - right[:, None]) / soft
    area = soft * (np.logaddexp(0, rise) - np.logaddexp(0, fall))
    d_left, d_right = -0.5 * (1 + np.tanh(rise / 2)), 0.5 * (1 + np.tanh(fall / 2))
    return np.diff(area, axis=1), np.diff(d_left, axis=1), np.diff(d_right, axis=1)
