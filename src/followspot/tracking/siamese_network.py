"""What the siamese tracker asks of a network; SiamMask and its twins offer it."""

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor


class Proposals(Protocol):
    """What a network found in search crops: K anchors at each place of a ``g x g`` grid."""

    @property
    def probabilities(self) -> Tensor:
        """``(B, K, g, g)`` in 0..1: that an anchor is on the object."""
        ...

    @property
    def deltas(self) -> Tensor:
        """``(B, 4, K, g, g)``: boxes relative to the anchors, see :func:`followspot.ops.anchors.decode_boxes`."""
        ...


class AnchorBoxes(Protocol):
    """Where the anchors are."""

    def boxes(self) -> Tensor:
        """``(4, K, g, g)`` xyxy in pixels of the search crop."""
        ...


class SiameseNetwork(Protocol):
    """Shown an object once, it finds it in later crops. Crops are RGB in 0..1."""

    @property
    def exemplar_size(self) -> int:
        """Side of template crops in pixels; a mask covers as many pixels of the search crop."""
        ...

    @property
    def instance_size(self) -> int:
        """Side of search crops in pixels."""
        ...

    @property
    def stride(self) -> int:
        """Pixels between places."""
        ...

    @property
    def anchors(self) -> AnchorBoxes:
        """Where its anchors are."""
        ...

    @property
    def mask_side(self) -> int:
        """Pixels a side of the masks it draws; 0: it draws none."""
        ...

    def template(self, crop: Tensor, /) -> Any:  # noqa: ANN401 - only the network looks into it
        """Looks at an object once: ``(1, 3, exemplar_size, exemplar_size)``."""
        ...

    def search(self, template: Any, crop: Tensor, /) -> Any:  # noqa: ANN401 - Proposals, and what it needs to draw masks
        """Looks for it: ``(1, 3, instance_size, instance_size)``."""
        ...

    def masks(self, proposals: Any, positions: Sequence[tuple[int, int]], /) -> Tensor:  # noqa: ANN401
        """Draws it as seen from places (row, column): ``(N, mask_side, mask_side)`` logits."""
        ...
