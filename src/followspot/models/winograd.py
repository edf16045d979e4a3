"""3x3 convolutions with fewer multiplications (Winograd's minimal filtering; Lavin and Gray, "Fast algorithms for convolutional neural
networks", CVPR 2016).

Squares of ``m x m`` outputs are read from ``m + 2`` x ``m + 2`` inputs. Both these and the 3x3 weights are the coefficients of polynomials;
polynomials are multiplied point by point where they are evaluated, so that ``(m + 2)^2`` products do for ``9 m^2``: 2.25 times fewer for
m = 2, 4 times fewer for m = 4. The products of all channels are one matrix product a point. The result is the same but for rounding, which
grows with m: 1.5 times that of a plain convolution for m = 2, about 3 times for m = 4.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

# Where polynomials are evaluated, besides infinity; small and with small inverses, so that little is lost to rounding (Barabasz et al.,
# "Error analysis and improving the accuracy of Winograd convolution for deep neural networks", ACM TOMS 2020, table 3).
_POINTS: Final = {2: (0.0, 1.0, -1.0), 4: (0.0, 1.0, -1.0, 0.5, -2.0)}


class WinogradConv2d(nn.Module):
    """A convolution for inference on CPUs, in the place of an `nn.Conv2d`.

    Args:
        conv: 3x3, stride 1, one group, zeros around the map; of any dilation.
        tile: m, 2 or 4.
    """

    weights: Tensor
    from_input: Tensor
    to_output: Tensor
    bias: Tensor

    def __init__(self, conv: nn.Conv2d, *, tile: int) -> None:
        super().__init__()
        self.tile = tile
        self.padding, self.dilation = int(conv.padding[0]), conv.dilation[0]
        outputs, inputs = conv.weight.shape[:2]
        of_input, of_weights, of_output = (torch.from_numpy(np.kron(one, one)) for one in transforms(_POINTS[tile]))
        columns = conv.weight.detach().double().permute(2, 3, 1, 0).reshape(9, -1)
        dtype = conv.weight.dtype
        self.register_buffer("weights", (of_weights @ columns).view(-1, inputs, outputs).to(dtype), persistent=False)
        self.register_buffer("from_input", of_input.to(dtype), persistent=False)
        self.register_buffer("to_output", of_output.to(dtype), persistent=False)
        self.register_buffer("bias", torch.zeros(outputs, dtype=dtype) if conv.bias is None else conv.bias.detach(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, h, w)`` to ``(B, outputs, h', w')``, channels last; fastest where they are so in `x`."""
        batch, channels, *sizes = x.shape
        height, width = (size + 2 * self.padding - 2 * self.dilation for size in sizes)
        # With dilation d every d-th cell is a map of its own: cell p + d q is cell q of map p.
        down, across = (-(-size // (self.tile * self.dilation)) for size in (height, width))
        tiles = self._tiles(x, down, across)
        points = torch.bmm((self.from_input @ tiles).view(len(tiles), -1, channels), self.weights)
        parts = (self.to_output @ points.view(len(points), -1)).view(
            self.tile, self.tile, batch, self.dilation, down, self.dilation, across, -1
        )
        # Row p + d (m t + i) is row i of tile t of map p.
        whole = parts.permute(2, 4, 0, 3, 6, 1, 5, 7).reshape(
            batch, down * self.tile * self.dilation, across * self.tile * self.dilation, -1
        )
        return (whole[:, :height, :width] + self.bias).permute(0, 3, 1, 2)

    def _tiles(self, x: Tensor, down: int, across: int) -> Tensor:
        """What each tile reads: ``((m + 2)^2, B d down d across C)``."""
        side, reach = self.tile + 2, (self.dilation * (self.tile * tiles + 2) for tiles in (across, down))
        right, below = (cells - size - self.padding for cells, size in zip(reach, (x.shape[3], x.shape[2]), strict=True))
        padded = functional.pad(x.permute(0, 2, 3, 1), (0, 0, self.padding, right, self.padding, below))
        image, row, column, channel = padded.stride()
        step, d = self.tile * self.dilation, self.dilation
        shape = (side, side, len(x), d, down, d, across, x.shape[1])
        return padded.as_strided(shape, (d * row, d * column, image, row, step * row, column, step * column, channel)).reshape(side**2, -1)


def transforms(points: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Matrices B', G and A' with ``A' ((G g) * (B' d))`` = the m inner products of three weights g along m + 2 values d.

    Args:
        points: m + 1 different numbers.

    Returns:
        ``(m + 2, m + 2)``, ``(m + 2, 3)`` and ``(m, m + 2)``.
    """
    whole = _evaluate(points, len(points) + 1)
    # Each point may carry any factor: these keep the inputs' matrix whole, if the points are.
    factors = np.array([*(np.prod([p - q for q in points if q != p]) for p in points), 1.0])[:, None]
    return np.linalg.inv(whole).T * factors, _evaluate(points, 3) / factors, _evaluate(points, len(points) - 1).T


def _evaluate(points: Sequence[float], count: int) -> NDArray[np.float64]:
    """``(points + 1, count)``: powers of each point, and the highest one alone for infinity."""
    return np.vstack([np.vander(points, count, increasing=True), np.eye(count)[-1:]])
