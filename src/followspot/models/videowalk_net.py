"""The network of the contrastive random walk (videowalk): ResNet-18 at stride 8 whose convolutions mirror the picture at its border.

Layout (Jabri et al., NeurIPS 2020, as their published checkpoint is run): ResNet-18 through its third stage, which keeps the resolution of
the second (stride 1). Every convolution wider than one pixel pads by reflection instead of zeros, so that a zero border cannot tell cells
where they are. Frames are normalised with ImageNet's statistics inside.
"""

from typing import Final

from torch import Tensor, nn

from followspot.errors import SettingError
from followspot.models.resnet import ResNet

NAME: Final = "videowalk-resnet18"
"""What :func:`followspot.models.networks.build_network` and the card of a weight file call this network."""
# A reflection by one cell needs two of them, and at stride 8 the coarsest map has one for 8 pixels.
_SMALLEST: Final = 16


class VideowalkNet(ResNet):
    """The random walk's encoder: 256 channels at stride 8. Parameter names are those of ResNet-18.

    Args:
        stride: 8 pixels a cell as published, or 4.

    Raises:
        SettingError: another stride.

    >>> import torch
    >>> VideowalkNet()(torch.zeros(1, 3, 32, 48)).shape
    torch.Size([1, 256, 4, 6])
    """

    def __init__(self, *, stride: int = 8) -> None:
        super().__init__(18, stride=stride)
        self.name = NAME
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1):
                module.padding_mode = "reflect"

    def forward(self, frames: Tensor) -> Tensor:
        """Encode ``(B, 3, H, W)`` RGB in 0..1 to ``(B, 256, H/8, W/8)``.

        Raises:
            SettingError: a side is under 16 pixels, which cannot be mirrored; see also :func:`followspot.models.encoder.check_frames`.
        """
        if frames.ndim == 4 and 0 < min(frames.shape[-2:]) < _SMALLEST:
            height, width = frames.shape[-2:]
            raise SettingError(f"{NAME!r} takes frames of at least {_SMALLEST}x{_SMALLEST}, got {height}x{width}; enlarge them")
        return super().forward(frames)
