"""The two networks of video colorization, at stride 8. Both see L of Lab only; see :mod:`followspot.models.gray`.

``colorizer-resnet-v2`` is that of the TensorFlow colorization tracker; ``colorizer-paper`` is that of Vondrick et al. 2018, whose five 3-D
layers and coordinates are the head ``paper`` of the objective: they mix frames, so a tracker that sees one at a time does without them.
"""

from typing import Any, Final, Literal

from torch import Tensor, nn
from torch.nn import functional

from followspot.errors import SettingError
from followspot.models.encoder import check_frames
from followspot.models.gray import lightness
from followspot.models.layers import BatchRenorm2d
from followspot.models.resnet import BasicBlock

# TensorFlow colorization tracker: a stage's bottleneck width (4 times as many channels come out), its units, the stride of the last.
_STAGES: Final = ((16, 3, 2), (32, 4, 2), (64, 6, 2), (128, 3, 1))
# Vondrick et al. 2018 as re-implemented in public: channels and stride of the four stages of basic blocks.
_PAPER_STAGES: Final = ((64, 1), (128, 2), (256, 1), (256, 2))


class ColorizerResNetV2(nn.Module):
    """A pre-activation bottleneck ResNet with batch renormalisation, stride 8.

    Stages of bottlenecks 16, 32, 64 and 128 wide with 3, 4, 6 and 3 units give 64, 128, 256 and 512 channels; the last unit of the first
    three halves the map. A 1x1 convolution ends it, with nothing after it. The original has no convolution before the first
    normalisation and rectification, which throws away all that is darker than the mean; this one begins with a 3x3 one to 64 channels.

    Args:
        dim: channels of the features; 128 as FEATURE_DIM there.
        stride: 8, the only one this network has.

    Raises:
        SettingError: another stride.

    >>> import torch
    >>> ColorizerResNetV2()(torch.zeros(1, 3, 32, 48)).shape
    torch.Size([1, 128, 4, 6])
    """

    def __init__(self, *, dim: int = 128, stride: int = 8) -> None:
        super().__init__()
        self.name = "colorizer-resnet-v2"
        _check_stride(stride, self.name)
        self.dim = dim
        self.stride = stride
        self.receives: Literal["rgb", "lab", "L"] = "L"
        self.card: dict[str, Any] = {}
        self.root = nn.Conv2d(1, 64, 3, 1, 1, bias=False)
        units: list[nn.Module] = []
        inputs = 64
        for width, count, stage_stride in _STAGES:
            for index in range(count):
                units.append(PreBottleneck(inputs, width, stride=stage_stride if index == count - 1 else 1))
                inputs = 4 * width
        self.units = nn.Sequential(*units)
        self.project = nn.Conv2d(inputs, dim, 1)
        _initialise(self)

    def forward(self, frames: Tensor) -> Tensor:
        """Encode ``(B, 3, H, W)`` RGB in 0..1 to ``(B, dim, H/8, W/8)``; equal for frames that differ in ab only.

        Raises:
            SettingError: see :func:`followspot.models.encoder.check_frames`.
        """
        check_frames(frames, stride=self.stride, name=self.name)
        # Centred, since nothing normalises before the root; [-1, 1] is the paper's range of intensities.
        features: Tensor = self.project(self.units(self.root(2 * lightness(frames) - 1)))
        return features


class PreBottleneck(nn.Module):
    """Normalise, rectify, 1x1; normalise, rectify, 3x3 (with the stride); normalise, rectify, 1x1; and a shortcut (He et al. 2016b).

    Args:
        inputs: channels in.
        width: of the bottleneck; 4 times as many channels come out.
        stride: 1 or 2.
    """

    def __init__(self, inputs: int, width: int, *, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.norm1 = BatchRenorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.norm2 = BatchRenorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.norm3 = BatchRenorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1)
        self.shortcut = nn.Conv2d(inputs, 4 * width, 1, stride) if inputs != 4 * width else None

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, h, w)`` to ``(B, 4 width, h/stride, w/stride)``."""
        active = functional.relu(self.norm1(x))
        shortcut = x[..., :: self.stride, :: self.stride] if self.shortcut is None else self.shortcut(active)
        inner = self.conv2(functional.relu(self.norm2(self.conv1(active))))
        result: Tensor = self.conv3(functional.relu(self.norm3(inner))) + shortcut
        return result


class ColorizerPaperNet(nn.Module):
    """The network of Vondrick et al. 2018 up to where frames meet: a ResNet-18 at stride 8 on intensities in [-1, 1].

    7x7 convolution with stride 2 to 64 channels, stages of two basic blocks with 64, 128, 256 and 256 channels and strides 1, 2, 1, 2,
    and a 1x1 convolution to 64 channels.

    Args:
        dim: channels of the features; 64 in the paper.
        stride: 8, the only one this network has.

    Raises:
        SettingError: another stride.

    >>> import torch
    >>> ColorizerPaperNet()(torch.zeros(1, 3, 32, 48)).shape
    torch.Size([1, 64, 4, 6])
    """

    def __init__(self, *, dim: int = 64, stride: int = 8) -> None:
        super().__init__()
        self.name = "colorizer-paper"
        _check_stride(stride, self.name)
        self.dim = dim
        self.stride = stride
        self.receives: Literal["rgb", "lab", "L"] = "L"
        self.card: dict[str, Any] = {}
        self.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        blocks: list[nn.Module] = []
        inputs = 64
        for width, stage_stride in _PAPER_STAGES:
            blocks += [_basic(inputs, width, stride=stage_stride), _basic(width, width, stride=1)]
            inputs = width
        self.blocks = nn.Sequential(*blocks)
        self.project = nn.Conv2d(inputs, dim, 1)
        _initialise(self)

    def forward(self, frames: Tensor) -> Tensor:
        """Encode ``(B, 3, H, W)`` RGB in 0..1 to ``(B, dim, H/8, W/8)``; equal for frames that differ in ab only.

        Raises:
            SettingError: see :func:`followspot.models.encoder.check_frames`.
        """
        check_frames(frames, stride=self.stride, name=self.name)
        root = functional.relu(self.bn1(self.conv1(2 * lightness(frames) - 1)))
        features: Tensor = self.project(self.blocks(root))
        return features


def _basic(inputs: int, width: int, *, stride: int) -> BasicBlock:
    same = inputs == width and stride == 1
    shortcut = None if same else nn.Sequential(nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width))
    return BasicBlock(inputs, width, stride=stride, downsample=shortcut)


def _initialise(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _check_stride(stride: int, name: str) -> None:
    if stride != 8:
        raise SettingError(f"stride {stride} is not possible for {name!r}; use 8, or leave it out")
