"""Heads of SiamMask: a template correlated with what is searched, channel by channel, and a vector at every place read out.

Layout (Wang et al., CVPR 2019): a 3x3 convolution without padding for template (7 to 5 cells) and search (31 to 29), their depthwise
correlation (25x25), and two 1x1 convolutions. Place p of the correlation lies at pixel 8p + 31 of a crop of 255.
"""

from torch import Tensor, nn

from followspot.ops.correlation import depthwise_correlation


class CorrelationHead(nn.Module):
    """One branch: class, box or mask.

    Args:
        width: channels of the maps.
        outputs: channels read out at every place.
    """

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.of_template = _unpadded(width)
        self.of_search = _unpadded(width)
        self.readout = nn.Sequential(
            nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.Conv2d(width, outputs, 1)
        )

    def kernel(self, template: Tensor) -> Tensor:
        """What is looked for: ``(B, width, 7, 7)`` to ``(B, width, 5, 5)``; the same for all frames."""
        kernel: Tensor = self.of_template(template)
        return kernel

    def correlate(self, kernel: Tensor, search: Tensor, *, padding: int = 0) -> Tensor:
        """Where it is: ``(B, width, 31, 31)`` to ``(B, width, 25 + 2 padding, 25 + 2 padding)``."""
        return depthwise_correlation(self.of_search(search), kernel, padding=padding)

    def forward(self, kernel: Tensor, search: Tensor) -> Tensor:
        """``(B, outputs, 25, 25)``."""
        found: Tensor = self.readout(self.correlate(kernel, search))
        return found


def _unpadded(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(width, width, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True))
