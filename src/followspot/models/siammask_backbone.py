"""The backbone of SiamMask: a residual network through its third stage at stride 8, without padding where that would move the grid.

Layout (Wang et al., CVPR 2019, after SiamRPN++): the first convolution and the convolution and shortcut that open the second stage have no
padding; the third stage keeps the resolution and is dilated by 2 from its second block on; shortcuts of the second and third stage are 3x3.
So cell k of the map of a crop lies at pixel 8k + 7 (counted from 0), whatever the crop's size, and a crop of 127 or 255 pixels is covered
symmetrically: 15x15 or 31x31 cells.
"""

from dataclasses import dataclass
from typing import Final

from torch import Tensor, nn
from torch.nn import functional

from followspot.errors import SettingError
from followspot.models.resnet import BasicBlock, Bottleneck

STRIDE: Final = 8
"""Pixels a cell."""
FIRST_CELL: Final = 7.5
"""Edge coordinate of the centre of cell 0, in pixels."""
_BLOCKS: Final = {18: (2, 2, 2), 50: (3, 4, 6)}


@dataclass(frozen=True, kw_only=True)
class Features:
    """What the backbone says about crops; sizes are for crops of 255 pixels (127)."""

    map: Tensor
    """``(B, width, 31, 31)``: the adjusted map (15, before the template is cut)."""
    sides: tuple[Tensor, Tensor, Tensor]
    """What refinement looks at, finest first: ``(B, 64, 125, 125)``, ``(B, C1, 63, 63)``, ``(B, C2, 31, 31)``."""


class SiamMaskBackbone(nn.Module):
    """A dilated ResNet and a 1x1 projection.

    Args:
        depth: 50 as published, or 18.
        width: channels of the map.

    Raises:
        SettingError: another depth.
    """

    def __init__(self, depth: int, *, width: int) -> None:
        super().__init__()
        if depth not in _BLOCKS:
            raise SettingError(f"depth {depth} is not a backbone of SiamMask; use 50 or 18")
        expansion = 4 if depth == 50 else 1
        first, second, third = _BLOCKS[depth]
        self.side_widths = (64, 64 * expansion, 128 * expansion)
        """Channels of the side features, finest first."""
        self.conv1 = nn.Conv2d(3, 64, 7, 2, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _stage(depth, 64, 64, count=first)
        self.layer2 = _stage(depth, 64 * expansion, 128, count=second, stride=2)
        self.layer3 = _stage(depth, 128 * expansion, 256, count=third, dilation=2)
        self.adjust = nn.Sequential(nn.Conv2d(256 * expansion, width, 1, bias=False), nn.BatchNorm2d(width))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, crops: Tensor) -> Features:
        """Encode ``(B, 3, H, W)`` crops, RGB in 0..1."""
        fine = functional.relu(self.bn1(self.conv1(crops)), inplace=True)
        middle = self.layer1(functional.max_pool2d(fine, 3, 2, 1))
        coarse = self.layer2(middle)
        return Features(map=self.adjust(self.layer3(coarse)), sides=(fine, middle, coarse))


def _stage(depth: int, inputs: int, width: int, *, count: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    block = Bottleneck if depth == 50 else BasicBlock
    outputs = width * (4 if depth == 50 else 1)
    # A strided 3x3 without padding keeps cells where the module says; the block that opens a dilated stage is not dilated yet.
    padding = 0 if stride == 2 else 1
    blocks: list[nn.Module] = [
        block(
            inputs,
            width,
            stride=stride,
            padding=padding,
            downsample=_shortcut(inputs, outputs, stride=stride, side=1 if width == 64 else 3),
        )
    ]
    blocks += [block(outputs, width, stride=1, padding=dilation, dilation=dilation, downsample=None) for _ in range(count - 1)]
    return nn.Sequential(*blocks)


def _shortcut(inputs: int, outputs: int, *, stride: int, side: int) -> nn.Module | None:
    if inputs == outputs:
        return None
    padding = side // 2 if stride == 1 else 0
    return nn.Sequential(nn.Conv2d(inputs, outputs, side, stride, padding, bias=False), nn.BatchNorm2d(outputs))
