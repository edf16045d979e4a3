"""Dense optical flow between two pictures, and what can be carried along it: maps, points, boxes.

A flow is ``(2, H, W)`` float32: the pixel ``(x, y)`` of the first picture is at ``(x + flow[0, y, x], y + flow[1, y, x])`` in the second.
"""

from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from followspot.errors import SettingError

Image = NDArray[np.uint8]
Flow = NDArray[np.float32]
FlowFunction = Callable[[Image, Image], Flow]
"""Takes two pictures, RGB ``(H, W, 3)``, and gives the flow from the first to the second."""

_SMALLEST = 16
"""Pixels of the shorter side of the coarsest level: the window of the derivatives there still sees structure, and DIS needs 12."""
_SHRINK = 0.7
"""From one level to the next. Measured on a texture moved by (12, 7) pixels: 0.7 finds it with three warps a level, 0.5 does not."""
_WARPS = 3
_RELAXATIONS = 30
"""Steps of successive over-relaxation; OpenCV's 5 leave the same texture 13 pixels off, 30 bring it to 0.01."""
_SMOOTHNESS = 5.0
"""OpenCV's default of 20 holds moving limbs back. Of nine settings tried, mean J after ten chained frames was 0.59 to 0.61 with 20 (other
warps and pyramids) and 0.69 with 5, on the DAVIS training videos bear, dance-jump, dog-agility and flamingo at 427x240: scores of the
coarse-to-fine flow on these videos are optimistic. A baseline should be as strong as it can be."""
_GRID = 10
"""Points along each side of a box: Kalal et al., "Forward-Backward Error" (ICPR 2010), section 4."""

_MOST_GROWTH = 2.0
"""From one frame to the next: whatever doubles or halves in between is an error of the flow, which must not leave an empty box."""


def dis(first: Image, second: Image) -> Flow:
    """Dense inverse search (Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016), OpenCV's "medium" preset.

    Args:
        first: RGB ``(H, W, 3)``.
        second: of the same size.

    Returns:
        The flow ``(2, H, W)`` in pixels.

    Raises:
        SettingError: the pictures do not fit each other.
    """
    one, two = _gray(first, second)
    height, width = one.shape
    more = max(0, _SMALLEST - height), max(0, _SMALLEST - width)
    one, two = (np.pad(image, ((0, more[0]), (0, more[1])), "edge") for image in (one, two))
    found = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(one, two, _still(one))
    return _channels_first(found[:height, :width])


def farneback(first: Image, second: Image) -> Flow:
    """Polynomial expansion (Farneback, "Two-Frame Motion Estimation Based on Polynomial Expansion", SCIA 2003), set as OpenCV does.

    The values are those of its tutorial on dense flow.

    Args:
        first: RGB ``(H, W, 3)``.
        second: of the same size.

    Returns:
        The flow ``(2, H, W)`` in pixels.

    Raises:
        SettingError: the pictures do not fit each other.
    """
    one, two = _gray(first, second)
    found = cv2.calcOpticalFlowFarneback(
        one, two, _still(one), pyr_scale=0.5, levels=3, winsize=15, iterations=3, poly_n=5, poly_sigma=1.2, flags=0
    )
    return _channels_first(found)


def coarse_to_fine(first: Image, second: Image) -> Flow:
    """Variational flow, coarse to fine: brightness and gradient constancy under a robust penalty, warped and solved again at every level.

    The method of Brox et al., "High Accuracy Optical Flow Estimation Based on a Theory for Warping" (ECCV 2004), as is the coarse-to-fine
    flow (Liu 2009) that the papers of the field compare with. The pyramid is ours; OpenCV's ``VariationalRefinement`` solves each warp.

    Args:
        first: RGB ``(H, W, 3)``.
        second: of the same size.

    Returns:
        The flow ``(2, H, W)`` in pixels.

    Raises:
        SettingError: the pictures do not fit each other.
    """
    one, two = (image.astype(np.float32) for image in _gray(first, second))
    solver = cv2.VariationalRefinement.create()
    solver.setSorIterations(_RELAXATIONS)
    solver.setAlpha(_SMOOTHNESS)
    sizes = _pyramid(one.shape[1], one.shape[0])
    flow = np.zeros((sizes[-1][1], sizes[-1][0], 2), np.float32)
    for size in reversed(sizes):
        scale = np.array([size[0] / flow.shape[1], size[1] / flow.shape[0]], np.float32)
        flow = cv2.resize(flow, size, interpolation=cv2.INTER_LINEAR).astype(np.float32) * scale
        here, there = (cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in (one, two))
        for _ in range(_WARPS):
            flow = solver.calc(here, there, flow).astype(np.float32, copy=False)
    return _channels_first(flow)


FLOWS: Mapping[str, FlowFunction] = {"dis": dis, "farneback": farneback, "coarse-to-fine": coarse_to_fine}
"""The flows by name."""


def warp(layer: NDArray[np.float32], flow: Flow) -> NDArray[np.float32]:
    """Takes each pixel of the first picture from where it is in the second.

    Args:
        layer: ``(H, W)`` or ``(H, W, C)`` of the second picture; C up to 4.
        flow: ``(2, H, W)`` from the first to the second.

    Returns:
        The layer of the first picture, interpolated bilinearly; what comes from beyond a border is what lies at that border.

    >>> left = np.full((2, 1, 3), -1, np.float32) * np.float32([[[1]], [[0]]])
    >>> warp(np.float32([[1, 2, 3]]), left)
    array([[1., 1., 2.]], dtype=float32)
    """
    height, width = flow.shape[1:]
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    moved = cv2.remap(layer, columns + flow[0], rows + flow[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return moved.astype(np.float32, copy=False)


def chain(near: Flow, far: Flow) -> Flow:
    """One flow after another.

    Only what the second flow adds is interpolated, so chains of hundreds of flows stay sharp.

    Args:
        near: ``(2, H, W)`` from the first picture to the second.
        far: from the second to the third.

    Returns:
        ``(2, H, W)`` from the first to the third; beyond the second picture the border of ``far`` repeats.

    >>> right = np.zeros((2, 4, 6), np.float32); right[0] = 1
    >>> float(chain(right, right)[0, 2, 2])
    2.0
    """
    ahead = warp(np.ascontiguousarray(far.transpose(1, 2, 0)), near)
    return near + ahead.transpose(2, 0, 1)


def move_points(xy: NDArray[np.float64], flow: Flow) -> NDArray[np.float64]:
    """Points of the first picture in the second, by the flow between the four pixels around each.

    Args:
        xy: ``(N, 2)`` in pixels, origin at the centre of the top-left pixel; NaN stays NaN. Beyond the picture the border's flow holds.
        flow: ``(2, H, W)``.

    Returns:
        ``(N, 2)`` in pixels, perhaps outside the picture.
    """
    height, width = flow.shape[1:]
    x, y = np.clip(np.nan_to_num(xy), 0, (width - 1, height - 1)).T
    left, top = np.minimum(x.astype(int), max(width - 2, 0)), np.minimum(y.astype(int), max(height - 2, 0))
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    across, down = x - left, y - top
    above = flow[:, top, left] * (1 - across) + flow[:, top, right] * across
    below = flow[:, bottom, left] * (1 - across) + flow[:, bottom, right] * across
    moved: NDArray[np.float64] = xy + (above * (1 - down) + below * down).T
    return moved


def move_box(xyxy: NDArray[np.float64], flow: Flow) -> NDArray[np.float64]:
    """A box of the first picture in the second: shifted and scaled as most of the flow inside it says.

    The shift is the median of the flow on a grid of points, the scale the median of how much the distances between these grow, so that some
    of the points may be wrong ("Median Flow", Kalal et al., "Forward-Backward Error: Automatic Detection of Tracking Failures", ICPR 2010).

    Args:
        xyxy: ``(4,)`` edges in pixels, from the corner of the top-left pixel.
        flow: ``(2, H, W)``.

    Returns:
        ``(4,)``; unchanged where the box lies wholly outside the picture.
    """
    height, width = flow.shape[1:]
    left, top, right, bottom = np.clip(xyxy, 0, (width, height, width, height))
    if right <= left or bottom <= top:
        return xyxy
    steps = (np.arange(_GRID) + 0.5) / _GRID
    columns, rows = left + steps * (right - left) - 0.5, top + steps * (bottom - top) - 0.5
    before = np.stack(np.meshgrid(columns, rows), 2).reshape(-1, 2)
    after = move_points(before, flow)
    one, two = np.triu_indices(len(before), 1)
    growth = np.linalg.norm(after[one] - after[two], axis=1) / np.linalg.norm(before[one] - before[two], axis=1)
    scale = np.clip(np.median(growth), 1 / _MOST_GROWTH, _MOST_GROWTH)
    shift = np.median(after - before - (scale - 1) * (before - before.mean(0)), axis=0)
    # The visible part grows about its own centre; the whole box grows with it.
    centre = np.tile(before.mean(0) + 0.5, 2)
    moved: NDArray[np.float64] = centre + scale * (xyxy - centre) + np.tile(shift, 2)
    return moved


def gray(image: Image) -> Image:
    """Grey values ``(H, W)`` of an RGB picture ``(H, W, 3)``, weighted as in ITU-R BT.601."""
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)


def check_flow(flow: object, size: tuple[int, int], name: str) -> Flow:
    """What came from elsewhere, if it is a flow.

    Args:
        flow: anything.
        size: ``(H, W)`` that it should have.
        name: for the error.

    Returns:
        ``(2, H, W)`` float32.

    Raises:
        SettingError: it is not ``(2, H, W)`` of finite numbers.
    """
    array = np.asarray(flow)
    if array.shape != (2, *size) or array.dtype.kind not in "fiu" or not np.isfinite(array).all():
        kind = f"{array.shape} {array.dtype}"
        raise SettingError(f"flow {name!r} gave {kind}, expected finite numbers (2, {size[0]}, {size[1]}): dx and dy in pixels")
    return array.astype(np.float32)


def _gray(first: Image, second: Image) -> tuple[Image, Image]:
    if first.shape != second.shape or first.ndim != 3 or first.shape[2] != 3:
        raise SettingError(f"flow needs two RGB pictures of one size, got {first.shape} and {second.shape}")
    return gray(first), gray(second)


def _still(image: Image) -> NDArray[np.float32]:
    """Where a search begins: nothing moves."""
    return np.zeros((*image.shape, 2), np.float32)


def _pyramid(width: int, height: int) -> list[tuple[int, int]]:
    sizes = [(width, height)]
    while min(sizes[-1]) * _SHRINK >= _SMALLEST:
        sizes.append((round(sizes[-1][0] * _SHRINK), round(sizes[-1][1] * _SHRINK)))
    return sizes


def _channels_first(flow: NDArray[Any]) -> Flow:
    return np.ascontiguousarray(flow.transpose(2, 0, 1), np.float32)
