"""S2iamMask: SiamMask proposes boxes; a second stage looks at each box again and draws its mask.

Stage 1 is a SiamMask with base masks. Stage 2 cuts each box out of two maps of 31x31 cells, the correlation with the template (what it is)
and the search features (how it looks), 28x28 bins each; one fully convolutional head draws 28x28 logits from either, and their sum is the
mask.

Source: the description of S2iamMask's public repository (Spatial-aware SiamMask); its code does not run. Where the description contradicts
itself, the sizes that fit together are taken: its figure pools 14x14 bins, but head and output only match with 28x28.
"""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from followspot.models.siammask import Proposals, SiamMask, TemplateFeatures
from followspot.models.siammask_backbone import FIRST_CELL, STRIDE
from followspot.models.siammask_refine import FIRST_READOUT, keep_size
from followspot.ops.anchors import Anchors
from followspot.ops.regions import pool_regions

REGION: Final = 28
"""Bins a side of a region, and pixels a side of its mask."""
# Makes the correlation 31x31 cells, which lie where those of the search features lie: place p of the 25x25 is cell p + 3.
_PADDING: Final = 3


class S2iamMask(nn.Module):
    """The network of both stages.

    Args:
        depth: 50, or 18 for the ``-lite`` twin.
        anchors: None takes the published ones.

    Raises:
        SettingError: another depth.
    """

    exemplar_size: Final = SiamMask.exemplar_size
    instance_size: Final = SiamMask.instance_size
    stride: Final = SiamMask.stride
    mask_side: Final = REGION
    """Pixels a side of the masks of :meth:`masks`; each covers its box."""

    def __init__(self, depth: int = 50, *, anchors: Anchors | None = None) -> None:
        super().__init__()
        self.stage1 = SiamMask(depth, masks="base", anchors=anchors)
        self.fusion = FusionHead(self.stage1.width)
        self.name = self.stage1.name.replace("siammask", "s2iammask").removesuffix("-base")
        self.anchors = self.stage1.anchors

    def template(self, crop: Tensor) -> TemplateFeatures:
        """See :meth:`followspot.models.siammask.SiamMask.template`."""
        return self.stage1.template(crop)

    def search(self, template: TemplateFeatures, crop: Tensor) -> Proposals:
        """See :meth:`followspot.models.siammask.SiamMask.search`."""
        return self.stage1.search(template, crop)

    def masks(self, proposals: Proposals, boxes: Tensor, samples: Tensor | None = None) -> Tensor:
        """Draw the object inside boxes.

        Args:
            proposals: of :meth:`search`.
            boxes: ``(N, 4)`` xyxy edges in pixels of the search crop; parts may lie outside.
            samples: ``(N,)`` int: the crop each box is on; None: the first.

        Returns:
            ``(N, 28, 28)`` logits; pixel (i, j) covers that share of the box.

        Raises:
            SettingError: shapes do not fit, or a sample is not there.
        """
        if samples is None:
            samples = torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)
        search = proposals.features.map
        correlation = self.stage1.head("mask").correlate(proposals.template.kernels["mask"], search, padding=_PADDING)
        regions = torch.cat(
            [pool_regions(maps, boxes, samples, size=REGION, stride=STRIDE, first=FIRST_CELL) for maps in (correlation, search)]
        )
        drawn: Tensor = self.fusion(regions)
        return drawn[: len(boxes)] + drawn[len(boxes) :]


class FusionHead(nn.Module):
    """Draws a mask from a region: two steps down, two up, and what the steps saw added on the way.

    Args:
        width: channels of the region; 256 gives the described 64 and 16 on the way up.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        middle, fine = width // 4, width // 16
        self.down1, self.down2 = _step(width), _step(width)
        self.lateral1 = _lateral(width, middle, fine)
        self.lateral2 = _lateral(width, width // 2, middle)
        self.up2 = nn.ConvTranspose2d(width, middle, 2, 2)
        self.up1 = nn.ConvTranspose2d(middle, fine, 2, 2)
        self.readout = nn.Conv2d(fine, 1, 1)
        keep_size(self)
        with torch.no_grad():
            self.readout.weight.mul_(FIRST_READOUT)

    def forward(self, regions: Tensor) -> Tensor:
        """``(N, width, 28, 28)`` to ``(N, 28, 28)`` logits."""
        half = functional.max_pool2d(self.down1(regions), 2)
        quarter = functional.max_pool2d(self.down2(half), 2)
        x = self.up2(quarter) + self.lateral2(half)
        x = self.up1(x) + self.lateral1(regions)
        drawn: Tensor = self.readout(x)
        return drawn[:, 0]


def _step(width: int) -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(width, width, 3, padding=1), nn.ReLU(inplace=True)),
        *(nn.Conv2d(width, width, 3, padding=1), nn.ReLU(inplace=True)),
    )


def _lateral(width: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(width, hidden, 1), nn.ReLU(inplace=True), nn.Conv2d(hidden, outputs, 1))
