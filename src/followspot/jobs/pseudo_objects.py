"""Regions of a frame that stand in for objects, where nobody has annotated any."""

import cv2
import numpy as np
from numpy.typing import NDArray

from followspot.errors import SettingError

SPACINGS = (1 / 7, 1 / 4)
"""Distance of the seeds that regions grow from, in short sides: at 240 pixels regions of about 4 and 7 cells of stride 8 across."""
_MOTION = 2.0
"""How much a grey level of change to the next frame counts, beside one of texture: what moves is what people follow."""


def draw_objects(
    image: NDArray[np.uint8], count: int, *, rng: np.random.Generator, following: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Draw regions between edges, of two sizes, rather where there is texture and motion.

    Args:
        image: RGB ``(H, W, 3)`` uint8.
        count: how many, 1..255; fewer where there is not so much room.
        rng: what is random comes from it.
        following: the next frame, to see what moves; None: texture alone counts.

    Returns:
        Id map ``(H, W)`` uint8, 0 = none; ids from 1 without gaps.

    Raises:
        SettingError: the count is outside its range.

    >>> ids = draw_objects(np.zeros((70, 70, 3), np.uint8), 4, rng=np.random.default_rng(0))
    >>> np.unique(ids).tolist()
    [0, 1, 2, 3, 4]
    """
    if not 1 <= count <= 255:
        raise SettingError(f"{count} regions cannot be drawn; ask for 1 to 255")
    interest = _interest(image, following)
    ids = np.zeros(image.shape[:2], np.uint8)
    for number, spacing in enumerate(SPACINGS):
        wanted = count // 2 if number == 0 else count - int(ids.max())
        if wanted:
            _add(ids, grow_regions(image, spacing, rng=rng), interest, wanted, rng=rng)
    return ids


def _add(
    ids: NDArray[np.uint8], regions: NDArray[np.int32], interest: NDArray[np.float32], wanted: int, *, rng: np.random.Generator
) -> None:
    """Give the next ids to some regions that are free."""
    flat = regions.ravel()
    size = np.bincount(flat)
    taken = np.bincount(flat, weights=ids.ravel() > 0)
    mean = np.bincount(flat, weights=interest.ravel()) / np.maximum(size, 1)
    free = np.flatnonzero((size > 0) & (taken == 0) & (np.arange(len(size)) > 0))
    if not len(free):
        return
    share = mean[free] + 1e-3
    chosen = rng.choice(free, size=min(wanted, max(1, len(free) // 2)), replace=False, p=share / share.sum())
    for region in chosen:
        ids[regions == region] = ids.max() + 1


def grow_regions(image: NDArray[np.uint8], spacing: float, *, rng: np.random.Generator) -> NDArray[np.int32]:
    """Watershed (Meyer 1994) from a jittered grid of seeds.

    Args:
        image: RGB ``(H, W, 3)`` uint8.
        spacing: of the seeds, in short sides; never below 4 pixels.
        rng: what is random comes from it.

    Returns:
        ``(H, W)``: regions from 1; 0 is the line between two of them.
    """
    height, width = image.shape[:2]
    step = max(4.0, spacing * min(height, width))
    rows, columns = (np.arange(step / 2, side, step) for side in (height, width))
    grid = np.stack(np.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2)
    places = np.clip(grid + rng.uniform(-step / 4, step / 4, grid.shape), 0, (height - 1, width - 1)).astype(int)
    markers = np.zeros((height, width), np.int32)
    markers[places[:, 0], places[:, 1]] = np.arange(1, len(places) + 1)
    # Blurred, or grain would be taken for edges.
    found = cv2.watershed(cv2.GaussianBlur(np.ascontiguousarray(image), (5, 5), 0), markers)
    return np.maximum(found, 0).astype(np.int32)


def _interest(image: NDArray[np.uint8], following: NDArray[np.uint8] | None) -> NDArray[np.float32]:
    """``(H, W)``: grey levels of local texture and of motion."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    texture = np.abs(grey - cv2.GaussianBlur(grey, (0, 0), 4))
    if following is None:
        return np.asarray(texture, np.float32)
    change = np.abs(cv2.cvtColor(following, cv2.COLOR_RGB2GRAY).astype(np.float32) - grey)
    return np.asarray(texture + _MOTION * cv2.GaussianBlur(change, (0, 0), 2), np.float32)
