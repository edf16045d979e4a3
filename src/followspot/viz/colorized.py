"""Colours that were copied, and where from: a picture in predicted colours, and arrows to what each place was taken from."""

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from followspot.errors import SettingError
from followspot.ops.color import lab_to_rgb, recolor, to_image, to_lab
from followspot.ops.masks import upsample
from followspot.viz.skeleton import draw_dot, to_fixed

Picture = NDArray[np.uint8]

_GAP = 6
"""Pixels between pictures of a panel."""
_PAPER = 255
_TIP = 7.0
"""Pixels of an arrow's head."""


def colorize(image: Picture, ab: Tensor) -> Picture:
    """A picture with its own lightness and predicted colours.

    Args:
        image: RGB ``(H, W, 3)``; only its L is used.
        ab: ``(2, h, w)`` of any size, stretched over the picture.

    Returns:
        RGB ``(H, W, 3)`` whose L is that of the image up to rounding: colours that sRGB lacks at that L are greyed.

    Raises:
        SettingError: ``ab`` is not ``(2, h, w)``.
    """
    if ab.ndim != 3 or len(ab) != 2:
        raise SettingError(f"predicted colours must be (2, h, w) ab, got {tuple(ab.shape)}")
    return recolor(image, upsample(ab.detach().cpu().float(), image.shape[:2]))


def colorization_panel(image: Picture, ab: Tensor, *, reference: Picture | None = None) -> Picture:
    """Side by side: the reference, if given, the grey target, the target in predicted colours, and in its own.

    Args:
        image: the target, RGB ``(H, W, 3)``.
        ab: ``(2, h, w)`` predicted for it.
        reference: what the colours were copied from, RGB of the same height.

    Returns:
        RGB, 3 or 4 pictures wide.
    """
    lab = to_lab(image)
    gray = to_image(lab_to_rgb(lab * lab.new_tensor([1.0, 0.0, 0.0])[:, None, None]))
    return _beside(*([] if reference is None else [reference]), gray, colorize(image, ab), image)


def copy_arrows(reference: Picture, target: Picture, flow: NDArray[np.floating], *, across: int = 8) -> Picture:
    """Arrows from the places of a reference to the places of a target that were copied from them.

    Args:
        reference: RGB ``(H, W, 3)``, drawn on the left.
        target: RGB of the same size, drawn on the right.
        flow: ``(2, H, W)`` dx and dy in pixels from each place of the target to its match in the reference
            (`followspot.tracking.matching.match_frames` with ``top_k=1``); NaN draws no arrow.
        across: arrows in a row, at least 1; rows are as far apart.

    Returns:
        RGB ``(H, 2 W + 6, 3)``. Each arrow has the colour of the hue circle that belongs to its place in the target.

    Raises:
        SettingError: the sizes differ or `across` is below 1.
    """
    if reference.shape != target.shape or flow.shape != (2, *target.shape[:2]):
        raise SettingError(f"arrows need pictures and a flow of one size, got {reference.shape}, {target.shape} and {flow.shape}")
    if across < 1:
        raise SettingError(f"across = {across} must be 1 or more; up to 12 arrows in a row can be told apart")
    canvas = _beside(reference, target)
    height, width = target.shape[:2]
    step = width / across
    rows = max(1, round(height / step))
    for i in range(rows):
        for j in range(across):
            x, y = min(int((j + 0.5) * step), width - 1), min(int((i + 0.5) * height / rows), height - 1)
            dx, dy = float(flow[0, y, x]), float(flow[1, y, x])
            if np.isfinite(dx + dy):
                _arrow(canvas, (x + dx, y + dy), (x + width + _GAP, y), colour=_hue(i * across + j, rows * across))
    return canvas


def _arrow(canvas: Picture, start: tuple[float, float], end: tuple[float, float], *, colour: tuple[int, int, int]) -> None:
    draw_dot(canvas, *start, colour=colour, radius=2)
    tip = _TIP / max(float(np.hypot(end[0] - start[0], end[1] - start[1])), 1.0)
    cv2.arrowedLine(canvas, to_fixed(*start), to_fixed(*end), colour, 1, cv2.LINE_AA, 4, tip)


def _hue(index: int, count: int) -> tuple[int, int, int]:
    """Steps of the golden ratio, so that neighbours differ."""
    hue = int(180 * ((0.618034 * index) % 1))
    red, green, blue = cv2.cvtColor(np.array([[[hue, 220, 255]]], np.uint8), cv2.COLOR_HSV2RGB)[0, 0].tolist()
    return int(red), int(green), int(blue)


def _beside(*pictures: Picture) -> Picture:
    heights = {picture.shape[0] for picture in pictures}
    if len(heights) > 1:
        raise SettingError(f"pictures of a panel must have one height, got {sorted(heights)}; resize them")
    gap = np.full((heights.pop(), _GAP, 3), _PAPER, np.uint8)
    parts = [part for picture in pictures for part in (gap, picture)][1:]
    return np.ascontiguousarray(np.concatenate(parts, axis=1))
