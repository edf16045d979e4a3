"""Geometric views of a frame whose correspondence is known exactly.

A view is an affine map ``(B, 2, 3)`` from the view's coordinates to those of the picture it was taken from. Both run from -1 to 1 between
the outer edges of the border pixels, x before y, so a map holds for pixels and for feature cells alike.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from followspot.errors import SettingError

DRAWS = 6
"""Uniform numbers that one random view takes."""


@dataclass(frozen=True, kw_only=True)
class ViewRange:
    """What random views may do.

    Raises:
        SettingError: a value is outside its range.

    >>> ViewRange(extent=(1.0, 1.0), flip=0.0).still
    True
    """

    extent: tuple[float, float] = (0.5, 1.0)
    """Side of the view as a share of the picture's, least and most, above 0; drawn evenly on a logarithmic scale."""
    aspect: tuple[float, float] = (1.0, 1.0)
    """Width over height of what the view shows, relative to the picture's, least and most, above 0; drawn likewise."""
    rotation: float = 0.0
    """Most that the view is turned, radians, either way."""
    flip: float = 0.5
    """Probability of a mirrored view, 0 to 1."""

    def __post_init__(self) -> None:
        for name, (least, most) in (("extent", self.extent), ("aspect", self.aspect)):
            if not 0 < least <= most < float("inf"):
                raise SettingError(f"{name} = ({least}, {most}): expected (least, most) with 0 < least <= most; 1 changes nothing")
        if not 0 <= self.rotation <= torch.pi:
            raise SettingError(f"rotation = {self.rotation}: expected radians in 0..pi; 0 turns nothing")
        if not 0 <= self.flip <= 1:
            raise SettingError(f"flip = {self.flip}: expected a probability in 0..1")

    @property
    def still(self) -> bool:
        """Whether every view is the picture itself."""
        return self.extent == self.aspect == (1.0, 1.0) and self.rotation == 0 and self.flip == 0


def random_views(uniform: Tensor, ranges: ViewRange, *, ratio: float) -> Tensor:
    """Views from uniform numbers.

    A view stays within the picture where its size and rotation allow that; otherwise it is centred.

    Args:
        uniform: ``(B, DRAWS)`` in [0, 1).
        ranges: what the views may do.
        ratio: width over height of the picture, so that rotations do not shear.

    Returns:
        ``(B, 2, 3)`` maps from view to picture.
    """
    extent, aspect = (_log_uniform(uniform[:, i], bounds) for i, bounds in enumerate((ranges.extent, ranges.aspect)))
    angle = (2 * uniform[:, 2] - 1) * ranges.rotation
    mirror = torch.where(uniform[:, 3] < ranges.flip, -1.0, 1.0).to(uniform)
    across, down = extent * aspect.sqrt() * mirror, extent / aspect.sqrt()
    linear = torch.stack(
        [
            torch.stack([angle.cos() * across, -angle.sin() * down / ratio], 1),
            torch.stack([angle.sin() * across * ratio, angle.cos() * down], 1),
        ],
        1,
    )
    room = (1 - linear.abs().sum(2)).clamp(min=0)
    shift = (2 * uniform[:, 4:DRAWS] - 1) * room
    return torch.cat([linear, shift[:, :, None]], 2)


def compose(outer: Tensor, inner: Tensor) -> Tensor:
    """The view that `inner` takes of what `outer` shows: ``(B, 2, 3)`` each and out."""
    linear = outer[:, :, :2] @ inner
    return torch.cat([linear[:, :, :2], linear[:, :, 2:] + outer[:, :, 2:]], 2)


def invert(view: Tensor) -> Tensor:
    """The map back, from picture to view: ``(B, 2, 3)`` to ``(B, 2, 3)``."""
    (a, b), (c, d) = view[:, 0, :2].unbind(1), view[:, 1, :2].unbind(1)
    adjoint = torch.stack([torch.stack([d, -b], 1), torch.stack([-c, a], 1)], 1)
    linear = adjoint / (a * d - b * c)[:, None, None]
    return torch.cat([linear, -linear @ view[:, :, 2:]], 2)


def move(points: Tensor, view: Tensor) -> Tensor:
    """Where points of a view lie in its picture: ``(B, K, 2)`` to ``(B, K, 2)``."""
    return points @ view[:, :, :2].transpose(1, 2) + view[:, None, :, 2]


def inside(points: Tensor) -> Tensor:
    """Whether points lie in the picture: ``(B, K, 2)`` to ``(B, K)`` booleans."""
    return (points.abs() <= 1).all(-1)


def cell_centers(height: int, width: int, *, like: Tensor) -> Tensor:
    """The centres of a grid's cells, row by row, ``(height * width, 2)``, of the type and device of `like`.

    >>> cell_centers(1, 2, like=torch.zeros(0))
    tensor([[-0.5000,  0.0000],
            [ 0.5000,  0.0000]])
    """
    y = (torch.arange(height, device=like.device, dtype=like.dtype) + 0.5) * (2 / height) - 1
    x = (torch.arange(width, device=like.device, dtype=like.dtype) + 0.5) * (2 / width) - 1
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).flatten(0, 1)


def offset_grid(uniform: Tensor, side: int) -> Tensor:
    """Regular grids, each moved as a whole by a random offset.

    Args:
        uniform: ``(B, 2)`` in [0, 1): the offsets in steps of the grid.
        side: points a row and a column.

    Returns:
        ``(B, side * side, 2)``.
    """
    steps = cell_centers(side, side, like=uniform) - 1 / side
    return steps + uniform[:, None] * (2 / side)


def nearest_cells(points: Tensor, height: int, width: int) -> Tensor:
    """The cells of a grid that points lie in, as indices row by row: ``(B, K, 2)`` to ``(B, K)``; points outside go to the border."""
    x = ((points[..., 0] + 1) * (width / 2)).long().clamp(0, width - 1)
    y = ((points[..., 1] + 1) * (height / 2)).long().clamp(0, height - 1)
    return y * width + x


def warp(frames: Tensor, view: Tensor) -> Tensor:
    """Take one view of all frames of each clip, bilinearly; what lies outside is mirrored in.

    Args:
        frames: ``(B, T, C, H, W)``.
        view: ``(B, 2, 3)``.

    Returns:
        ``(B, T, C, H, W)``.
    """
    batch, _, _, height, width = frames.shape
    grid = move(cell_centers(height, width, like=frames).expand(batch, -1, -1), view).view(batch, height, width, 2)
    # Frames ride along as channels, so that the grid is made once for all of them.
    warped = functional.grid_sample(frames.flatten(1, 2), grid, padding_mode="reflection", align_corners=False)
    return warped.view(frames.shape)


def sample(features: Tensor, points: Tensor) -> Tensor:
    """Read a feature map between its cells, bilinearly; the border goes on outside.

    Args:
        features: ``(B, C, h, w)``.
        points: ``(B, K, 2)``.

    Returns:
        ``(B, K, C)``.
    """
    read = functional.grid_sample(features, points[:, None], padding_mode="border", align_corners=False)
    return read[:, :, 0].transpose(1, 2)


def _log_uniform(uniform: Tensor, bounds: tuple[float, float]) -> Tensor:
    least, most = bounds
    drawn: Tensor = least * (most / least) ** uniform
    return drawn
