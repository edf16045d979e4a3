"""The descriptor behind a learnt linear map: what to compare is described by hand, how to compare it is learnt.

A linear map ``W`` in front of a cosine is a metric: cells are compared by ``x' W'W y``. Learning one for local descriptors is an idea of
Hua, Brown and Winder, "Discriminant Embedding for Local Image Descriptors" (ICCV 2007), and of Simonyan et al., "Learning Local Feature
Descriptors Using Convex Optimisation" (TPAMI 2014), from labelled pairs of patches; here it is learnt from video (objective
``motion_segments``). It starts as the descriptor itself, costs one 1x1 convolution, and is trained in minutes on a CPU.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from followspot.errors import SettingError
from followspot.models.descriptor import Descriptor
from followspot.models.encoder import check_frames


class ProjectedDescriptor(nn.Module):
    """Edges and colours around each cell, compared in a learnt way.

    Args:
        stride: 8 or 4 pixels a cell, as the descriptor.
        dim: channels; None: as many as the descriptor, and untrained it then gives the descriptor's own cosines.

    Raises:
        SettingError: another stride, or more channels than the descriptor has.

    >>> frames = torch.rand(1, 3, 48, 64)
    >>> network = ProjectedDescriptor()
    >>> bool(torch.allclose(network(frames), network.descriptor(frames), atol=1e-6))
    True
    """

    def __init__(self, *, stride: int = 8, dim: int | None = None) -> None:
        super().__init__()
        self.descriptor = Descriptor(stride=stride)
        self.name = "projected-descriptor"
        self.stride = stride
        self.receives: Literal["rgb", "lab", "L"] = "lab"
        self.dim = self.descriptor.dim if dim is None else dim
        if not 1 <= self.dim <= self.descriptor.dim:
            raise SettingError(f"dim = {dim} is not possible for {self.name!r}; use 1 to {self.descriptor.dim}, or leave it out")
        self.projection = nn.Conv2d(self.descriptor.dim, self.dim, 1, bias=False)
        if self.dim == self.descriptor.dim:
            nn.init.dirac_(self.projection.weight)
        else:
            nn.init.orthogonal_(self.projection.weight)

    def forward(self, frames: Tensor) -> Tensor:
        """Describe ``(B, 3, H, W)`` RGB in 0..1 by unit vectors ``(B, dim, H/stride, W/stride)``.

        Raises:
            SettingError: see :func:`followspot.models.encoder.check_frames`.
        """
        check_frames(frames, stride=self.stride, name=self.name)
        with torch.autocast(frames.device.type, enabled=False):
            with torch.no_grad():
                described = self.descriptor(frames.to(self.projection.weight.dtype))
            return functional.normalize(self.projection(described), dim=1)
