"""ResNet-18 and ResNet-50 through their third stage, at stride 8 or 4.

Written by hand so that tracking needs neither torchvision nor timm. Parameter names are torchvision's (``layer1.0.conv1.weight`` ...),
so published checkpoints of that layout load as they are.

Layout (He et al. 2016; the 3x3 convolution of a bottleneck carries the stride, as in torchvision): 7x7/2, max pooling /2, stages of 64,
128 and 256 channels (times 4 for bottlenecks). The third stage keeps the second's resolution by stride 1 without dilation, as in
TimeCycle (Wang et al. 2019) and the contrastive random walk (Jabri et al. 2020): stride 8. At stride 4 the second stage does too.
The fourth stage does not exist here; both papers drop it for tracking.
"""

from collections.abc import Callable
from typing import Any, ClassVar, Final, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from followspot.errors import SettingError
from followspot.models.encoder import check_frames

# Statistics of ImageNet in sRGB, the normalisation that torchvision-layout checkpoints are trained with.
_MEAN: Final = (0.485, 0.456, 0.406)
_STD: Final = (0.229, 0.224, 0.225)
_BLOCKS: Final = {18: (2, 2, 2), 50: (3, 4, 6)}


class ResNet(nn.Module):
    """A residual network as an encoder.

    Args:
        depth: 18 (256 channels) or 50 (1024 channels).
        stride: 8 or 4 pixels a cell.

    Raises:
        SettingError: another depth or stride.

    >>> ResNet(18, stride=8)(torch.zeros(1, 3, 32, 48)).shape
    torch.Size([1, 256, 4, 6])
    """

    ignored_weights: ClassVar[tuple[str, ...]] = ("layer4.", "fc.")
    """Parts of full classification networks that this encoder has no place for."""
    mean: Tensor
    std: Tensor

    def __init__(self, depth: int, *, stride: int = 8) -> None:
        super().__init__()
        if depth not in _BLOCKS:
            raise SettingError(f"depth {depth} is not a ResNet of this package; use 18 or 50")
        if stride not in (4, 8):
            raise SettingError(f"stride {stride} is not possible for resnet{depth}; use 4 or 8")
        block: Callable[..., BasicBlock | Bottleneck] = BasicBlock if depth == 18 else Bottleneck
        expansion = 1 if depth == 18 else 4
        first, second, third = _BLOCKS[depth]
        self.name = f"resnet{depth}"
        self.dim = 256 * expansion
        self.stride = stride
        self.receives: Literal["rgb", "lab", "L"] = "rgb"
        self.unused_weights: tuple[str, ...] = ()
        self.card: dict[str, Any] = {}
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _stage(block, 64, 64, expansion=expansion, count=first, stride=1)
        self.layer2 = _stage(block, 64 * expansion, 128, expansion=expansion, count=second, stride=2 if stride == 8 else 1)
        self.layer3 = _stage(block, 128 * expansion, 256, expansion=expansion, count=third, stride=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.register_buffer("mean", torch.tensor(_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(3, 1, 1), persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """Encode ``(B, 3, H, W)`` RGB in 0..1 to ``(B, dim, H/stride, W/stride)``.

        Raises:
            SettingError: see :func:`followspot.models.encoder.check_frames`.
        """
        check_frames(frames, stride=self.stride, name=self.name)
        x = functional.relu(self.bn1(self.conv1((frames - self.mean) / self.std)))
        x = functional.max_pool2d(x, 3, 2, 1)
        features: Tensor = self.layer3(self.layer2(self.layer1(x)))
        return features


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, with torchvision's parameter names.

    ``padding`` is that of the convolution with the stride; ``dilation`` is of both.
    """

    def __init__(self, inputs: int, width: int, *, stride: int, downsample: nn.Module | None, padding: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, padding, dilation, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, h, w)`` to ``(B, width, h/stride, w/stride)``."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        return functional.relu(self.bn2(self.conv2(x)) + shortcut, inplace=True)


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride, the padding and the dilation) and 1x1 convolutions and a shortcut, with torchvision's parameter names."""

    def __init__(self, inputs: int, width: int, *, stride: int, downsample: nn.Module | None, padding: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width * 4, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width * 4)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, h, w)`` to ``(B, 4 width, h/stride, w/stride)``."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        x = functional.relu(self.bn2(self.conv2(x)), inplace=True)
        return functional.relu(self.bn3(self.conv3(x)) + shortcut, inplace=True)


def _stage(
    block: Callable[..., BasicBlock | Bottleneck], inputs: int, width: int, *, expansion: int, count: int, stride: int
) -> nn.Sequential:
    outputs = width * expansion
    # torchvision projects the shortcut by the layout of the full network, so stage 2 and 3 have it at any stride.
    downsample = None
    if inputs != outputs:
        downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
    blocks = [block(inputs, width, stride=stride, downsample=downsample)]
    blocks += [block(outputs, width, stride=1, downsample=None) for _ in range(count - 1)]
    return nn.Sequential(*blocks)
