"""Id maps to soft label maps and back.

A grid of ``(h, w)`` cells covers an image of ``(H, W)`` pixels exactly: cell ``(i, j)`` is the rectangle of rows ``[i H/h, (i+1) H/h)``
and columns ``[j W/w, (j+1) W/w)``, measured from the image's top-left corner, whether or not the sizes divide each other.
Ids are never interpolated: each becomes a map of its own whose cells hold the share of the cell that the object covers.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from followspot.errors import AnnotationError, SettingError

MAX_OBJECTS = 255
"""Ids are uint8 and 0 is the background."""


def check_size(size: tuple[int, int], name: str) -> None:
    """Refuse a size that is not ``(rows, columns)``, both at least 1.

    Raises:
        SettingError: naming the size.
    """
    if len(size) != 2 or min(size) < 1:
        raise SettingError(f"{name} {tuple(size)} must be (rows, columns) with both at least 1; pass the image's or the feature map's size")


def overlap_matrix(cells: int, pixels: int, *, dtype: torch.dtype = torch.float32, device: torch.device | None = None) -> Tensor:
    """How much of each cell each pixel covers, along one axis.

    Args:
        cells: number of cells, at least 1; more cells than pixels is fine.
        pixels: number of pixels along the same length.
        dtype: of the result.
        device: of the result.

    Returns:
        ``(cells, pixels)``; rows sum to 1.

    >>> overlap_matrix(2, 3)
    tensor([[0.6667, 0.3333, 0.0000],
            [0.0000, 0.3333, 0.6667]])
    """
    # Scaled by cells * pixels, all edges are integers, so equal edges compare equal.
    cell_edge = torch.arange(cells + 1, device=device, dtype=torch.float64) * pixels
    pixel_edge = torch.arange(pixels + 1, device=device, dtype=torch.float64) * cells
    right = torch.minimum(cell_edge[1:, None], pixel_edge[None, 1:])
    left = torch.maximum(cell_edge[:-1, None], pixel_edge[None, :-1])
    return ((right - left).clamp_(min=0) / pixels).to(dtype)


def area_resize(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """Mean of each map over each cell of a grid, fractional pixels weighted exactly.

    Args:
        maps: ``(L, H, W)`` float.
        grid: ``(h, w)``, smaller or larger than the maps.

    Returns:
        ``(L, h, w)``, same dtype and device; the mean of every map is preserved.

    Raises:
        AnnotationError: if ``maps`` is not ``(L, H, W)`` of floats.
        SettingError: if the grid is not two positive numbers.
    """
    check_size(grid, "grid")
    if maps.ndim != 3 or not maps.is_floating_point():
        raise AnnotationError(f"label maps must be float (L, H, W), got {tuple(maps.shape)} {maps.dtype}; add the channel axis or convert")
    rows = overlap_matrix(grid[0], maps.shape[1], dtype=maps.dtype, device=maps.device)
    columns = overlap_matrix(grid[1], maps.shape[2], dtype=maps.dtype, device=maps.device)
    return rows @ maps @ columns.T


def encode_ids(ids: NDArray[np.uint8], object_ids: Sequence[int], grid: tuple[int, int]) -> Tensor:
    """Turn an id map into one soft map an object: one-hot, then exact area resize.

    Args:
        ids: ``(H, W)`` uint8, 0 = background.
        object_ids: the ids to encode, in the order of the channels; an id that is nowhere in ``ids`` gives a map of zeros.
        grid: ``(h, w)``.

    Returns:
        ``(N, h, w)`` float32 in [0, 1], on the CPU.

    Raises:
        AnnotationError: if ``ids`` is not an ``(H, W)`` uint8 array, or an object id is not in 1..255 or repeats.
        SettingError: if the grid is not two positive numbers.

    >>> encode_ids(np.array([[0, 7], [7, 7]], np.uint8), [7], (1, 1))
    tensor([[[0.7500]]])
    """
    check_size(grid, "grid")
    _check_object_ids(object_ids)
    if ids.ndim != 2 or ids.dtype != np.uint8 or not ids.size:
        raise AnnotationError(f"a mask must be a non-empty (H, W) uint8 id map, got {ids.shape} {ids.dtype}; read files with read_mask")
    rows = overlap_matrix(grid[0], ids.shape[0])
    columns = overlap_matrix(grid[1], ids.shape[1]).T.contiguous()
    source = torch.from_numpy(np.ascontiguousarray(ids))
    maps = torch.zeros(len(object_ids), *grid)
    for channel, object_id in enumerate(object_ids):
        torch.mm(rows @ (source == object_id).float(), columns, out=maps[channel])
    return maps.clamp_(0, 1)


def upsample(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resize with half-pixel centres: the centre of a cell keeps its value, borders are held constant.

    Args:
        maps: ``(L, h, w)`` float.
        size: ``(H, W)`` in pixels.

    Returns:
        ``(L, H, W)``, same dtype and device.

    Raises:
        AnnotationError: if ``maps`` is not ``(L, h, w)``.
        SettingError: if the size is not two positive numbers.
    """
    check_size(size, "size")
    if maps.ndim != 3:
        raise AnnotationError(f"label maps must be (L, h, w), got {tuple(maps.shape)}; add the channel axis")
    return F.interpolate(maps[None], size=size, mode="bilinear", align_corners=False)[0]


def decode_ids(maps: Tensor, object_ids: Sequence[int], size: tuple[int, int], *, background: Tensor | None = None) -> NDArray[np.uint8]:
    """Turn soft maps back into an id map at the size of the image.

    Every map is upsampled bilinearly; a pixel goes to the object with the largest weight, or to the background, whose weight is what the
    objects leave over (one minus their sum, at least 0). Ties go to the background, then to the earlier channel. Memory does not grow
    with the number of objects, because one channel is upsampled at a time.

    Args:
        maps: ``(N, h, w)`` float weights, at least 0; N up to 255.
        object_ids: the id of each channel.
        size: ``(H, W)`` in pixels.
        background: ``(h, w)`` weight of the background, where it is known; None takes what the objects leave over.

    Returns:
        ``(H, W)`` uint8.

    Raises:
        AnnotationError: if maps and ids do not fit, or an object id is not in 1..255 or repeats.
        SettingError: if the size is not two positive numbers.

    >>> decode_ids(torch.tensor([[[0.9, 0.1]]]), [3], (1, 4))
    array([[3, 3, 0, 0]], dtype=uint8)
    """
    check_size(size, "size")
    _check_object_ids(object_ids)
    if maps.ndim != 3 or len(maps) != len(object_ids):
        raise AnnotationError(f"label maps must be (N, h, w) with one id each, got {tuple(maps.shape)} and {len(object_ids)} ids")
    if not len(maps):
        return np.zeros(size, np.uint8)
    maps = maps.detach().float()
    best = upsample(maps[:1], size)[0]
    ids = torch.full(size, object_ids[0], dtype=torch.uint8, device=maps.device)
    # A running maximum: argmax over the channel axis is several times slower on the CPU.
    for channel in range(1, len(maps)):
        weight = upsample(maps[channel : channel + 1], size)[0]
        ids.masked_fill_(weight > best, object_ids[channel])
        torch.maximum(best, weight, out=best)
    rest = (1 - maps.sum(0)).clamp(min=0) if background is None else background.detach().float()
    result: NDArray[np.uint8] = ids.masked_fill_(best <= upsample(rest[None], size)[0], 0).cpu().numpy()
    return result


def mask_box(mask: NDArray[np.bool_]) -> tuple[float, float, float, float] | None:
    """The extent of a mask as outer edges, measured from the image's top-left corner.

    Args:
        mask: ``(H, W)`` bool.

    Returns:
        ``(left, top, right, bottom)``: columns a..b and rows c..d give ``(a, c, b + 1, d + 1)``. None for an empty mask.

    Raises:
        AnnotationError: if the mask is not ``(H, W)``.

    >>> mask_box(np.array([[False, False, False], [False, True, True]]))
    (1.0, 1.0, 3.0, 2.0)
    """
    if mask.ndim != 2:
        raise AnnotationError(f"a mask must be (H, W), got {mask.shape}; pass one object's mask at a time")
    rows = np.flatnonzero(mask.any(axis=1))
    if not rows.size:
        return None
    columns = np.flatnonzero(mask[rows[0] : rows[-1] + 1].any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def mask_boxes(ids: NDArray[np.uint8]) -> dict[int, tuple[float, float, float, float]]:
    """The extents of all objects of an id map.

    Args:
        ids: ``(H, W)`` uint8, 0 = background.

    Returns:
        Id -> outer edges as in `mask_box`, for the ids that occur.

    >>> mask_boxes(np.array([[0, 7, 7], [3, 0, 0]], np.uint8))
    {3: (0.0, 1.0, 1.0, 2.0), 7: (1.0, 0.0, 3.0, 1.0)}
    """
    present = [int(i) for i in np.flatnonzero(np.bincount(ids.ravel(), minlength=256)) if i]
    boxes = {i: mask_box(ids == i) for i in present}
    return {i: box for i, box in boxes.items() if box is not None}


def _check_object_ids(object_ids: Sequence[int]) -> None:
    if len(set(object_ids)) != len(object_ids):
        raise AnnotationError(f"object ids {list(object_ids)} repeat; give each object its own id")
    for object_id in object_ids:
        if not 1 <= object_id <= MAX_OBJECTS:
            raise AnnotationError(f"object id {object_id} must be in 1..{MAX_OBJECTS} (0 is the background); renumber the objects")
