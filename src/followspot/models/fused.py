"""Several encoders side by side: their unit vectors, weighted and concatenated.

The inner product of two fused vectors is the weighted mean of the parts' cosines, so each part votes. Complementary parts gain: a
fine and a semantic network +3.3 J&F over the better one (SFC, Hu et al. 2022).
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from followspot.errors import SettingError
from followspot.models.encoder import Encoder


class Fused(nn.Module):
    """Encoders of one stride as one encoder.

    Args:
        parts: two or more encoders that are modules.
        weights: how much each part's cosine counts; positive, scaled to sum 1. None: all alike.

    Raises:
        SettingError: fewer than two parts, different strides, or weights that do not fit.

    >>> from followspot.models.descriptor import Descriptor
    >>> from followspot.models.resnet import ResNet
    >>> fused = Fused([Descriptor(), ResNet(18)], weights=[1, 3])
    >>> fused.name, fused.dim
    ('descriptor+resnet18', 510)
    >>> fused(torch.rand(1, 3, 32, 48)).shape
    torch.Size([1, 510, 4, 6])
    """

    weights: Tensor

    def __init__(self, parts: Sequence[Encoder], *, weights: Sequence[float] | None = None) -> None:
        super().__init__()
        if len(parts) < 2 or len({part.stride for part in parts}) != 1:
            given = ", ".join(f"{part.name} at stride {part.stride}" for part in parts)
            raise SettingError(f"fused encoders need two or more parts of one stride, got {given or 'none'}; choose parts that match")
        self.parts = nn.ModuleList(parts)  # type: ignore[arg-type]  # Encoder is a protocol; the concrete ones are modules
        # Persistent, so that a weight file says how its parts are weighted.
        self.register_buffer("weights", torch.full((len(parts),), 1 / len(parts)))
        if weights is not None:
            self.reweigh(weights)
        self.name = "+".join(part.name for part in parts)
        self.dim = sum(part.dim for part in parts)
        self.stride = parts[0].stride
        self.receives: Literal["rgb", "lab", "L"] = "rgb"

    def reweigh(self, weights: Sequence[float]) -> None:
        """Change how much each part counts.

        Args:
            weights: a positive number a part; scaled to sum 1.

        Raises:
            SettingError: another count, or a number that is not positive.
        """
        shares = torch.tensor(list(weights), dtype=torch.float32)
        if len(shares) != len(self.parts) or not bool(((shares > 0) & shares.isfinite()).all()):
            raise SettingError(f"{len(self.parts)} fused encoders need as many positive weights, got {list(weights)}; give one a part")
        self.weights.copy_(shares / shares.sum())

    def forward(self, frames: Tensor) -> Tensor:
        """Encode ``(B, 3, H, W)`` RGB in 0..1 to unit vectors ``(B, dim, H/stride, W/stride)``."""
        maps = [_unit(part, frames) for part in self.parts]
        return torch.cat([features * weight for features, weight in zip(maps, self.weights.sqrt(), strict=True)], dim=1)


def _unit(part: nn.Module, frames: Tensor) -> Tensor:
    """What a part sees, as unit vectors. Parts that learn nothing cost no gradients, and are exact under autocast."""
    if any(parameter.requires_grad for parameter in part.parameters()):
        return functional.normalize(part(frames).float(), dim=1)
    with torch.no_grad(), torch.autocast(frames.device.type, enabled=False):
        return functional.normalize(part(frames.float()), dim=1)
