"""Local correlation: every cell compared with the cells around it, in plain torch, with an explicit mask at the border.

Windows are matched tile by tile with one matrix product each: a tile of ``t`` neighbouring columns shares the ``t + 2 R`` columns that its
windows reach, and ``t`` is about ``2R + 1``. So memory is about ``(2R + 1)(4R + 1)`` numbers a cell whatever the size of the map, twice
the window itself, and products run at the speed of the matrix library. What lies outside the map is masked by where it lies, never
by its value: a correlation that happens to be zero counts.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from followspot.errors import SettingError


@dataclass(frozen=True, kw_only=True)
class Window:
    """A square search window on a map, and how the map is cut into tiles.

    Args:
        height: h, cells.
        width: w, cells.
        radius: R, cells; the window is ``2R + 1`` cells wide.
    """

    height: int
    width: int
    radius: int

    def __post_init__(self) -> None:
        if self.radius < 0 or self.height < 1 or self.width < 1:
            got = f"radius {self.radius} on {self.height}x{self.width}"
            raise SettingError(f"a search window needs a radius of 0 or more and a map with cells, got {got}; check radius and crop")

    @property
    def tiles(self) -> int:
        """Tiles a row."""
        return max(1, round(self.width / (2 * self.radius + 1)))

    @property
    def tile(self) -> int:
        """Columns a tile; the last tile may reach past the map."""
        return -(-self.width // self.tiles)

    @property
    def side(self) -> int:
        """Cells a side of the window."""
        return 2 * self.radius + 1

    def mask(self, device: torch.device) -> Tensor:
        """Which keys of its tile a query may see: ``(h, tiles, tile, side, tile + 2R)`` bool."""
        y = torch.arange(self.height, device=device)[:, None] + torch.arange(-self.radius, self.radius + 1, device=device)
        query = torch.arange(self.tile, device=device)
        key = torch.arange(-self.radius, self.tile + self.radius, device=device)
        near = (key[None] - query[:, None]).abs() <= self.radius
        x = torch.arange(self.tiles, device=device)[:, None] * self.tile + key
        rows = (y >= 0) & (y < self.height)
        columns = (x >= 0) & (x < self.width)
        return rows[:, None, None, :, None] & (near[None] & columns[:, None])[None, :, :, None, :]

    def queries(self, maps: Tensor) -> Tensor:
        """``(B, C, h, w)`` as ``(B, h, tiles, tile, C)``, zeros past the right border."""
        maps = F.pad(maps, (0, self.tiles * self.tile - self.width))
        return maps.reshape(*maps.shape[:3], self.tiles, self.tile).permute(0, 2, 3, 4, 1)

    def keys(self, maps: Tensor) -> Tensor:
        """``(B, C, h, w)`` as ``(B, h, tiles, side * (tile + 2R), C)``: what each tile's windows reach, zeros outside."""
        right = self.radius + self.tiles * self.tile - self.width
        maps = F.pad(maps.permute(0, 2, 3, 1), (0, 0, self.radius, right, self.radius, self.radius))
        windows = maps.unfold(1, self.side, 1).unfold(2, self.tile + 2 * self.radius, self.tile)
        return windows.permute(0, 1, 2, 4, 5, 3).flatten(3, 4)

    def merge(self, tiles: Tensor) -> Tensor:
        """``(B, h, tiles, tile, C)`` back to ``(B, C, h, w)``; the inverse of :meth:`queries`."""
        return tiles.flatten(2, 3)[:, :, : self.width].permute(0, 3, 1, 2)


def local_affinity(query: Tensor, key: Tensor, *, radius: int, temperature: float) -> Tensor:
    """Where each cell looks: a softmax over the cells of its window.

    Args:
        query: ``(B, C, h, w)``.
        key: ``(B, C, h, w)``.
        radius: R in cells; only keys at most R rows and columns away are seen, and none outside the map.
        temperature: products are divided by it; above 0.

    Returns:
        ``(B, h, tiles, tile, side * (tile + 2R))`` weights that sum to 1 for each query, exactly 0 outside the window; pass them to
        :func:`local_copy`.

    Raises:
        SettingError: shapes differ, or radius or temperature is out of range.
    """
    if not temperature > 0:
        raise SettingError(f"temperature {temperature} must be above 0; 1 takes the products as they are")
    window = _window(query, key, radius)
    scores = window.queries(query) @ window.keys(key).transpose(-1, -2) / temperature
    # Queries past the right border see nothing real; a full mask would give them NaN, so they see everything and are cut off later.
    mask = window.mask(query.device)
    outside = ~(mask | ~mask.any(-1).any(-1)[..., None, None]).flatten(-2)
    return scores.masked_fill(outside, -torch.inf).softmax(-1)


def local_copy(affinity: Tensor, values: Tensor, *, radius: int) -> Tensor:
    """Fetch values through an affinity.

    Args:
        affinity: of :func:`local_affinity` with the same radius.
        values: ``(B, L, h, w)`` on the grid of the keys.
        radius: R in cells.

    Returns:
        ``(B, L, h, w)``: each cell's weighted mean of the values in its window.
    """
    window = Window(height=values.shape[2], width=values.shape[3], radius=radius)
    return window.merge(affinity @ window.keys(values))


def local_correlation(query: Tensor, key: Tensor, *, radius: int) -> tuple[Tensor, Tensor]:
    """Products of each cell with every cell of its window.

    Args:
        query: ``(B, C, h, w)``.
        key: ``(B, C, h, w)``.
        radius: R in cells.

    Returns:
        ``(B, (2R + 1)^2, h, w)`` products, offset ``(dy, dx)`` in row-major order from ``(-R, -R)``, zero outside the map; and
        ``((2R + 1)^2, h, w)`` bool, False outside the map.

    Raises:
        SettingError: shapes differ or the radius is negative.

    >>> products, valid = local_correlation(torch.ones(1, 2, 1, 3), torch.ones(1, 2, 1, 3), radius=1)
    >>> products[0, 3:6, 0].tolist(), valid[3:6, 0].tolist()
    ([[0.0, 2.0, 2.0], [2.0, 2.0, 2.0], [2.0, 2.0, 0.0]], [[False, True, True], [True, True, True], [True, True, False]])
    """
    window = _window(query, key, radius)
    scores = window.queries(query) @ window.keys(key).transpose(-1, -2)
    inside = window.mask(query.device).expand(1, -1, -1, -1, -1, -1)
    products = _diagonals(scores.view(*scores.shape[:-1], window.side, -1), window)
    return products, _diagonals(inside, window)[0]


def depthwise_correlation(search: Tensor, template: Tensor, *, padding: int = 0) -> Tensor:
    """A map of each image searched for a pattern of its own, channel by channel (Bertinetto et al. 2016, by channel as in SiamRPN++).

    Args:
        search: ``(B, C, h, w)``.
        template: ``(B, C, a, b)``, or ``(1, C, a, b)``: the same for all.
        padding: zeros put around ``search`` on every side, cells.

    Returns:
        ``(B, C, h - a + 1 + 2 padding, w - b + 1 + 2 padding)`` inner products, unnormalised.

    Raises:
        SettingError: batches or channels differ, or the template is larger than what is searched.

    >>> depthwise_correlation(torch.ones(2, 3, 31, 31), torch.ones(2, 3, 7, 7)).shape
    torch.Size([2, 3, 25, 25])
    """
    fits = search.ndim == template.ndim == 4 and search.shape[1] == template.shape[1] and len(template) in (1, len(search))
    if not fits or any(inner > outer + 2 * padding for inner, outer in zip(template.shape[2:], search.shape[2:], strict=True)):
        got = f"{tuple(search.shape)} and {tuple(template.shape)}"
        raise SettingError(f"maps (B, C, h, w) are searched for patterns (B, C, a, b) or (1, C, a, b) no larger, got {got}; match them")
    batch, channels = search.shape[:2]
    if len(template) == 1:
        return F.conv2d(search, template.transpose(0, 1), padding=padding, groups=channels)
    found = F.conv2d(
        search.reshape(1, -1, *search.shape[2:]), template.reshape(-1, 1, *template.shape[2:]), padding=padding, groups=batch * channels
    )
    return found.view(batch, channels, *found.shape[2:])


def _diagonals(tiles: Tensor, window: Window) -> Tensor:
    """``(B, h, tiles, tile, side, tile + 2R)`` to ``(B, side^2, h, w)``: query x of a tile sees its columns x..x + 2R."""
    columns = torch.arange(window.tile, device=tiles.device)[:, None] + torch.arange(window.side, device=tiles.device)
    index = columns[:, None].expand(*tiles.shape[:-2], window.side, window.side)
    return window.merge(tiles.gather(-1, index).flatten(-2))


def _window(query: Tensor, key: Tensor, radius: int) -> Window:
    if query.ndim != 4 or query.shape != key.shape:
        raise SettingError(f"query and key must be (B, C, h, w) alike, got {tuple(query.shape)} and {tuple(key.shape)}; resize one of them")
    return Window(height=query.shape[2], width=query.shape[3], radius=radius)
