"""The network of TimeCycle: a ResNet-50 at stride 8 and a 1x1 convolution to 512 channels.

Layout (Wang et al., CVPR 2019; model_simple.py of the released code): ResNet-50 through its third stage, which keeps the resolution
of the second (stride 1), then a 1x1 convolution without bias from 1024 to 512 channels and a ReLU. The paper trains it as a 3-D network
whose kernels span one frame, which is this network frame by frame. Frames are normalised with ImageNet's statistics inside; the features
are not scaled to unit length, which is the business of whoever compares them.
"""

from typing import Any, Final, Literal

from torch import Tensor, nn
from torch.nn import functional

from followspot.models.resnet import ResNet

NAME: Final = "timecycle-resnet50"
"""What :func:`followspot.models.networks.build_network` and the card of a weight file call this network."""
_DIM: Final = 512


class TimeCycleNet(nn.Module):
    """TimeCycle's encoder: 512 channels at stride 8, none negative.

    Args:
        stride: 8 pixels a cell as published, or 4.

    Raises:
        SettingError: another stride.

    >>> import torch
    >>> TimeCycleNet()(torch.zeros(1, 3, 32, 48)).shape
    torch.Size([1, 512, 4, 6])
    """

    def __init__(self, *, stride: int = 8) -> None:
        super().__init__()
        self.name = NAME
        self.dim = _DIM
        self.stride = stride
        self.receives: Literal["rgb", "lab", "L"] = "rgb"
        self.unused_weights: tuple[str, ...] = ()
        self.card: dict[str, Any] = {}
        self.backbone = ResNet(50, stride=stride)
        self.backbone.name = NAME
        self.head = nn.Conv2d(self.backbone.dim, _DIM, 1, bias=False)
        nn.init.kaiming_normal_(self.head.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, frames: Tensor) -> Tensor:
        """Encode ``(B, 3, H, W)`` RGB in 0..1 to ``(B, 512, H/8, W/8)``.

        Raises:
            SettingError: see :func:`followspot.models.encoder.check_frames`.
        """
        return functional.relu(self.head(self.backbone(frames)))
