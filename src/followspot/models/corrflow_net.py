"""The network of CorrFlow: a ResNet-18 at stride 4 and a 3x3 convolution to 64 channels.

Layout (Lai and Xie, BMVC 2019; submodule.py of the released code): 7x7 convolution with stride 2 to 64 channels and no pooling after
it; four stages of two basic blocks with 64, 128, 256 and 256 channels, the second with stride 2; a 3x3 convolution to 64 channels with
nothing after it.
Frames are RGB in 0..1 as they are, and the features are not normalised: the paper compares them by plain inner products.
"""

from typing import Any, Final, Literal

from torch import Tensor, nn
from torch.nn import functional

from followspot.errors import SettingError
from followspot.models.encoder import check_frames
from followspot.models.resnet import BasicBlock

NAME: Final = "corrflow-resnet18"
"""What :func:`followspot.models.networks.build_network` and the card of a weight file call this network."""
_DIM: Final = 64


class CorrFlowNet(nn.Module):
    """CorrFlow's encoder: 64 channels at stride 4.

    Args:
        stride: 4 pixels a cell, the only one this network has.

    Raises:
        SettingError: another stride.

    >>> import torch
    >>> CorrFlowNet()(torch.zeros(1, 3, 32, 48)).shape
    torch.Size([1, 64, 8, 12])
    """

    def __init__(self, *, stride: int = 4) -> None:
        super().__init__()
        if stride != 4:
            raise SettingError(f"stride {stride} is not possible for {NAME!r}; use 4, or leave it out")
        self.name = NAME
        self.dim = _DIM
        self.stride = stride
        self.receives: Literal["rgb", "lab", "L"] = "rgb"
        self.unused_weights: tuple[str, ...] = ()
        self.card: dict[str, Any] = {}
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _stage(64, 64)
        self.layer2 = _stage(64, 128, stride=2)
        self.layer3 = _stage(128, 256)
        self.layer4 = _stage(256, 256)
        self.head = nn.Conv2d(256, _DIM, 3, 1, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module is not self.head:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, frames: Tensor) -> Tensor:
        """Encode ``(B, 3, H, W)`` RGB in 0..1 to ``(B, 64, H/4, W/4)``.

        Raises:
            SettingError: see :func:`followspot.models.encoder.check_frames`.
        """
        check_frames(frames, stride=self.stride, name=self.name)
        x = functional.relu(self.bn1(self.conv1(frames)))
        features: Tensor = self.head(self.layer4(self.layer3(self.layer2(self.layer1(x)))))
        return features


def _stage(inputs: int, width: int, *, stride: int = 1) -> nn.Sequential:
    # The shortcut is projected only where the channels change, which is also where the published checkpoints have weights for it.
    project = None if inputs == width else nn.Sequential(nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width))
    return nn.Sequential(BasicBlock(inputs, width, stride=stride, downsample=project), BasicBlock(width, width, stride=1, downsample=None))
