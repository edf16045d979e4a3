"""Where a point looks: how the cells of one frame match a cell of another, as maps for people to click through."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from followspot.errors import SettingError

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ClickGrid:
    """Points of a frame that can be asked, each the centre of a feature cell, in rows and columns."""

    across: int
    down: int
    cells: NDArray[np.int64]
    """``(P, 2)`` row and column of each point's cell, row by row; P = across * down."""
    points: Floats
    """``(P, 2)`` x and y in pixels."""


def click_grid(grid: tuple[int, int], frame: tuple[int, int], *, across: int = 16) -> ClickGrid:
    """Points spread evenly over a frame.

    Args:
        grid: rows and columns of the feature map.
        frame: height and width in pixels.
        across: points a row; rows follow from the frame's shape.

    Raises:
        SettingError: fewer than one point a row.
    """
    if across < 1:
        raise SettingError(f"across is {across}, expected at least 1 point a row")
    columns = _spread(grid[1], min(across, grid[1]))
    rows = _spread(grid[0], min(max(1, round(len(columns) * frame[0] / frame[1])), grid[0]))
    cells = np.array([(row, column) for row in rows for column in columns], np.int64)
    return ClickGrid(across=len(columns), down=len(rows), cells=cells, points=cell_centres(cells, grid, frame))


def cell_centres(cells: NDArray[np.int64], grid: tuple[int, int], frame: tuple[int, int]) -> Floats:
    """Where cells lie in the picture.

    Args:
        cells: ``(P, 2)`` row and column.
        grid: rows and columns of the feature map.
        frame: height and width in pixels.

    Returns:
        ``(P, 2)`` x and y of their centres in pixels, the centre of the top-left pixel being 0.

    >>> cell_centres(np.array([[0, 1]]), (2, 2), (8, 8)).tolist()
    [[5.5, 1.5]]
    """
    scale = np.array([frame[0] / grid[0], frame[1] / grid[1]])
    yx: Floats = (cells + 0.5) * scale - 0.5
    return yx[:, ::-1].copy()


def attention(query: Tensor, key: Tensor, cells: NDArray[np.int64], *, temperature: float, normalize: bool = True) -> Tensor:
    """What some cells of one frame attend to in another: a softmax over all of its cells.

    Args:
        query: features ``(C, h, w)`` of the frame that is asked.
        key: features ``(C, h', w')`` of the frame that answers.
        cells: ``(P, 2)`` row and column in the query.
        temperature: above 0; smaller trusts the best match more.
        normalize: compare directions of features (cosine), or raw products.

    Returns:
        ``(P, h', w')`` float32 weights that sum to 1 over each map.

    Raises:
        SettingError: features of different widths, or a temperature that is not above 0.
    """
    if query.ndim != 3 or key.ndim != 3 or len(query) != len(key) or not temperature > 0:
        shapes = f"{tuple(query.shape)} and {tuple(key.shape)}"
        raise SettingError(f"attention takes two (C, h, w) of one encoder and a temperature above 0, got {shapes} and {temperature}")
    asked = query[:, cells[:, 0], cells[:, 1]].T.float()
    answering = key.flatten(1).float()
    if normalize:
        asked, answering = (torch.nn.functional.normalize(part, dim=axis) for part, axis in ((asked, 1), (answering, 0)))
    weights = (asked @ answering / temperature).softmax(1)
    return weights.view(len(cells), *key.shape[1:])


def peaks(maps: Tensor, frame: tuple[int, int]) -> Floats:
    """Where maps are largest.

    Args:
        maps: ``(P, h, w)``.
        frame: height and width in pixels.

    Returns:
        ``(P, 2)`` x and y in pixels, of the centre of the cell.
    """
    best = maps.flatten(1).argmax(1).cpu().numpy()
    cells = np.stack(np.divmod(best, maps.shape[2]), axis=1)
    return cell_centres(cells, (maps.shape[1], maps.shape[2]), frame)


def atlas(maps: Tensor, *, across: int) -> NDArray[np.uint8]:
    """Maps side by side in one grey picture, each stretched to its own largest value.

    Square roots are kept, so that 8 bits also tell small weights apart.

    Args:
        maps: ``(P, h, w)``, not negative.
        across: maps a row.

    Returns:
        ``(rows * h, across * w)`` uint8.
    """
    number, height, width = maps.shape
    largest = maps.flatten(1).amax(1).clamp_min(torch.finfo(torch.float32).tiny)
    tiles = (255 * (maps / largest[:, None, None]).sqrt()).round().byte().cpu().numpy()
    down = -(-number // across)
    sheet = np.zeros((down * across, height, width), np.uint8)
    sheet[:number] = tiles
    picture: NDArray[np.uint8] = sheet.reshape(down, across, height, width).transpose(0, 2, 1, 3).reshape(down * height, across * width)
    return picture


def similarity_matrix(query: Tensor, key: Tensor, *, most: int = 24) -> Floats:
    """How every part of one frame resembles every part of another.

    Args:
        query: features ``(C, h, w)``.
        key: features ``(C, h, w)`` of the other frame.
        most: rows and columns that the maps are averaged down to, so that the matrix stays readable.

    Returns:
        ``(Q, K)`` cosine similarities in [-1, 1], cells in reading order.
    """
    rows = []
    for features in (query, key):
        size = (min(most, features.shape[1]), min(most, features.shape[2]))
        pooled = torch.nn.functional.adaptive_avg_pool2d(features[None].float(), size)[0]
        rows.append(torch.nn.functional.normalize(pooled.flatten(1), dim=0))
    matrix: Floats = (rows[0].T @ rows[1]).double().cpu().numpy()
    return matrix


def draw_heat(image: NDArray[np.uint8], weights: NDArray[np.float32], *, point: tuple[float, float] | None = None) -> NDArray[np.uint8]:
    """A map of weights laid over a picture, for sheets and papers.

    Args:
        image: RGB ``(H, W, 3)``; left as it is.
        weights: ``(h, w)``, not negative; stretched to its largest value.
        point: x and y that are ringed.

    Returns:
        A new RGB picture.
    """
    height, width = image.shape[:2]
    share = np.sqrt(weights / max(float(weights.max()), 1e-30))
    wide = np.clip(cv2.resize(share.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR), 0, 1)
    heat = cv2.applyColorMap((255 * wide).astype(np.uint8), cv2.COLORMAP_INFERNO)[:, :, ::-1]
    alpha = (0.2 + 0.7 * wide)[:, :, None]
    mixed: NDArray[np.uint8] = np.round(image * (1 - alpha) + heat * alpha).astype(np.uint8)
    if point is not None:
        line = max(1, round(min(height, width) / 200))
        for ink, thick in (((0, 0, 0), 3 * line), ((255, 255, 255), line)):
            cv2.circle(mixed, (round(point[0]), round(point[1])), 5 * line, ink, thick, cv2.LINE_AA)
    return mixed


def _spread(length: int, count: int) -> list[int]:
    """Indices spread evenly over a length, away from both ends."""
    return [int((index + 0.5) * length / count) for index in range(count)]
