"""Boxes and windows cut out of feature maps, differentiably, each from the map of its own image."""

import torch
from torch import Tensor
from torch.nn import functional

from followspot.errors import SettingError


def pool_regions(maps: Tensor, boxes: Tensor, samples: Tensor, *, size: int, stride: float, first: float) -> Tensor:
    """Cut boxes out of maps by bilinear sampling at the centres of ``size`` x ``size`` bins (He et al. 2017).

    Args:
        maps: ``(B, C, h, w)`` floats.
        boxes: ``(N, 4)`` xyxy edges in pixels of the crop that the maps are of; gradients flow into them too.
        samples: ``(N,)`` int: which of the B maps each box is on.
        size: bins a side.
        stride: pixels between cells.
        first: the edge coordinate of the centre of cell 0, pixels; ``0.5`` and a stride of 1 are the pixels themselves.

    Returns:
        ``(N, C, size, size)``, gradients included; beyond the outer cells the border is repeated.

    Raises:
        SettingError: shapes do not fit, or a sample is not there.

    >>> pixels = torch.arange(16.0).view(1, 1, 4, 4)
    >>> pool_regions(pixels, torch.tensor([[1.0, 1.0, 3.0, 3.0]]), torch.tensor([0]), size=2, stride=1, first=0.5).tolist()
    [[[[5.0, 6.0], [9.0, 10.0]]]]
    """
    if maps.ndim != 4 or boxes.ndim != 2 or boxes.shape[1] != 4 or samples.shape != boxes.shape[:1] or size < 1:
        got = f"{tuple(maps.shape)}, {tuple(boxes.shape)}, {tuple(samples.shape)}, size {size}"
        raise SettingError(f"regions are cut from maps (B, C, h, w) by boxes (N, 4) with a sample each, got {got}; match them")
    if len(samples) and (int(samples.min()) < 0 or int(samples.max()) >= len(maps)):
        raise SettingError(f"samples of regions are {samples.tolist()}, but there are {len(maps)} maps; count them from 0")
    grid = _places(boxes, size=size, stride=stride, first=first, shape=(maps.shape[2], maps.shape[3]))
    # Coordinates keep their precision when maps are bfloat16, whose 8 bits cannot name a place.
    exact = torch.promote_types(maps.dtype, grid.dtype)
    pooled = maps.new_empty(0, maps.shape[1], size, size)
    order = []
    # One sampling an image, all its boxes below each other: no map is copied.
    for sample in sorted(set(samples.tolist())):
        mine = (samples == sample).nonzero().flatten()
        one, places = maps[sample : sample + 1].to(exact), grid[mine].view(1, -1, size, 2).to(exact)
        found = functional.grid_sample(one, places, padding_mode="border", align_corners=True)
        pooled = torch.cat([pooled, found.to(maps.dtype).view(maps.shape[1], -1, size, size).transpose(0, 1)])
        order.append(mine)
    return pooled[torch.cat(order).argsort()] if order else pooled


def cut_windows(maps: Tensor, positions: Tensor, *, size: int, step: int, padding: int) -> Tensor:
    """Cut out the windows of some places of a grid; those of all places are an unfold.

    Args:
        maps: ``(B, C, h, w)``.
        positions: ``(N, 3)`` int: sample, row and column of each place.
        size: cells a side of a window.
        step: cells between the windows of neighbouring places.
        padding: zeros put around the maps; the window of place (0, 0) begins with them.

    Returns:
        ``(N, C, size, size)``.

    >>> cut_windows(torch.arange(9.0).view(1, 1, 3, 3), torch.tensor([[0, 0, 1]]), size=2, step=1, padding=0).tolist()
    [[[[1.0, 2.0], [4.0, 5.0]]]]
    """
    if len(positions) == 0:
        return maps.new_zeros(0, maps.shape[1], size, size)
    starts = ((sample, step * row - padding, step * column - padding) for sample, row, column in positions.tolist())
    windows = [_window(maps[sample : sample + 1], top, left, size=size) for sample, top, left in starts]
    return windows[0] if len(windows) == 1 else torch.cat(windows)


def _window(one: Tensor, top: int, left: int, *, size: int) -> Tensor:
    """A square of one map ``(1, C, h, w)``, zeros outside; padding it alone is many times cheaper than padding the map."""
    height, width = one.shape[2:]
    above, before = max(-top, 0), max(-left, 0)
    below, after = max(top + size - height, 0), max(left + size - width, 0)
    inside = one[:, :, top + above : max(top + size - below, 0), left + before : max(left + size - after, 0)]
    return functional.pad(inside, (before, after, above, below)) if above or before or below or after else inside


def _places(boxes: Tensor, *, size: int, stride: float, first: float, shape: tuple[int, int]) -> Tensor:
    """Centres of bins as ``(N, size, size, 2)`` in the -1..1 of :func:`torch.nn.functional.grid_sample`."""
    bins = (torch.arange(size, device=boxes.device, dtype=boxes.dtype) + 0.5) / size
    axes = []
    for axis, cells in ((0, shape[1]), (1, shape[0])):
        low, high = boxes[:, axis, None], boxes[:, axis + 2, None]
        cell = (low + bins * (high - low) - first) / stride
        axes.append(2 * cell / max(cells - 1, 1) - 1)
    x, y = axes
    return torch.stack([x[:, None].expand(-1, size, -1), y[:, :, None].expand(-1, -1, size)], -1)
