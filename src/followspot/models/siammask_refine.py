"""Refinement of SiamMask: the vector of one place becomes a mask of 127x127 pixels with the help of finer features around that place.

Layout (Wang et al., CVPR 2019): a transposed convolution to 15x15 with 32 channels, then three merges with the backbone's maps at
strides 8, 4 and 2, each followed by nearest upsampling and a 3x3 convolution: 15, 31, 61, 127. The window of place p starts at p, 2p and
4p cells of the maps padded by 4, 8 and 16 cells, and is 15, 31 and 61 cells wide: all of the same 127 pixels.
"""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from followspot.ops.regions import cut_windows

SIDE: Final = 127
"""Pixels a side of a refined mask, one for one in the search crop."""
_WIDTHS: Final = (4, 16, 32)
"""Channels of the merges, finest first, like everything here."""
_HIDDEN: Final = (16, 64, 128)
_WINDOWS: Final = (61, 31, 15)
_STEPS: Final = (4, 2, 1)
_PADDINGS: Final = (16, 8, 4)


# A sum over 25 products of rectified, normalised values; 10.8 in a trained first stage of the -lite twin.
_CORRELATION: Final = 10.0
"""Size of the correlation at a place."""
FIRST_READOUT: Final = 0.1
"""Share of their usual size that the last kernels begin with, so that first masks are neither right nor wrong and first steps small."""


class Refinement(nn.Module):
    """The refine module.

    Args:
        width: channels of the correlation.
        sides: channels of the backbone's side features, finest first.
    """

    def __init__(self, width: int, sides: Sequence[int]) -> None:
        super().__init__()
        self.start = nn.ConvTranspose2d(width, _WIDTHS[2], _WINDOWS[2], _WINDOWS[2])
        self.side = nn.ModuleList(_two(inputs, hidden, out) for inputs, hidden, out in zip(sides, _HIDDEN, _WIDTHS, strict=True))
        self.deep = nn.ModuleList(_two(channels, channels, channels) for channels in _WIDTHS)
        self.after = nn.ModuleList(nn.Conv2d(channels, out, 3, padding=1) for channels, out in zip(_WIDTHS, (1, *_WIDTHS[:2]), strict=True))
        keep_size(self)
        with torch.no_grad():
            self.start.weight.mul_(1 / _CORRELATION)
            self.after[0].get_parameter("weight").mul_(FIRST_READOUT)

    def forward(self, vectors: Tensor, sides: Sequence[Tensor], positions: Tensor) -> Tensor:
        """Draw masks at some places.

        Args:
            vectors: ``(N, width)``: the correlation at each place.
            sides: the backbone's side features ``(B, C, h, w)`` of whole crops, finest first.
            positions: ``(N, 3)`` int: sample, row and column of each place.

        Returns:
            ``(N, 127, 127)`` logits.
        """
        # The transposed convolution of a single cell, as the matrix product that it is.
        x = (vectors @ self.start.weight.flatten(1)).view(-1, *self.start.weight.shape[1:])
        if self.start.bias is not None:
            x = x + self.start.bias.view(-1, 1, 1)
        for level, size in ((2, 31), (1, 61), (0, SIDE)):
            x = self.deep[level](x) + self.side[level](side_windows(sides[level], positions, level=level))
            x = self.after[level](functional.interpolate(x, size=(size, size), mode="nearest"))
        return x[:, 0]


def side_windows(side: Tensor, positions: Tensor, *, level: int) -> Tensor:
    """What a side feature shows around places.

    Args:
        side: ``(B, C, h, w)`` of whole crops.
        positions: ``(N, 3)`` int: sample, row and column.
        level: 0, 1 or 2: which side feature it is, finest first.

    Returns:
        ``(N, C, s, s)``, s = 61, 31 or 15; zeros beyond the crop.
    """
    return cut_windows(side, positions, size=_WINDOWS[level], step=_STEPS[level], padding=_PADDINGS[level])


def keep_size(module: nn.Module) -> None:
    """Draw the kernels of a branch without norms so that what goes through keeps its size (He et al. 2015), and begin without offsets.

    With torch's own, smaller ones it fades from layer to layer, and hundreds of steps pass before anything is learnt.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            # A pixel of these transposed convolutions, whose windows do not overlap, is a sum over channels alone.
            inputs = part.in_channels * (part.kernel_size[0] * part.kernel_size[1] if isinstance(part, nn.Conv2d) else 1)
            nn.init.normal_(part.weight, std=(2 / inputs) ** 0.5)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def _two(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(inputs, hidden, 3, padding=1), nn.ReLU(inplace=True)),
        *(nn.Conv2d(hidden, outputs, 3, padding=1), nn.ReLU(inplace=True)),
    )
