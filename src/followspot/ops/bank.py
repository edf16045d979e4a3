"""What propagation remembers: a few permanent reference frames and a ring of the latest ones."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from followspot.errors import SettingError

EPSILON = 1e-12
"""Feature vectors shorter than this stay (almost) zero when normalised; the value that ``torch.nn.functional.normalize`` uses."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Entry:
    """One remembered frame, packed for matching."""

    features: Tensor
    """``(h, w, C)`` float32, unit vectors, contiguous; a zero vector stays zero."""
    norms: Tensor
    """``(h, w)`` float32: the lengths that were divided out, so that raw dot products can be had back."""
    labels: Tensor
    """``(h * w, L)`` float32, contiguous, cells in row-major order."""
    permanent: bool
    """True for references, False for frames of the ring."""
    packed: dict[tuple[str, bool], tuple[Tensor, float]] = field(default_factory=dict, repr=False)
    """The features as a backend packed them for itself, kept while the frame is; copies with other labels share it."""


def pack(features: Tensor) -> tuple[Tensor, Tensor]:
    """Split features into directions and lengths, channels last.

    Args:
        features: ``(C, h, w)`` of any floating type.

    Returns:
        Unit vectors ``(h, w, C)`` and their former lengths ``(h, w)``, float32, on the features' device.

    Raises:
        SettingError: the shape is wrong, or a feature is NaN, infinite or too large for float32.

    >>> unit, norms = pack(torch.tensor([3.0, 4.0]).view(2, 1, 1))
    >>> norms.item(), [round(value, 3) for value in unit.flatten().tolist()]
    (5.0, [0.6, 0.8])
    """
    if features.ndim != 3 or not features.is_floating_point() or 0 in features.shape:
        raise SettingError(f"features must be floating (C, h, w) with no empty axis, got {tuple(features.shape)} {features.dtype}")
    cells = features.detach().permute(1, 2, 0).to(torch.float32).contiguous()
    norms = torch.linalg.vector_norm(cells, dim=2)
    # A norm is finite only if all of its vector is, and there are C times fewer norms to look at.
    if not bool(torch.isfinite(norms).all()):
        raise SettingError("features hold NaN, infinite or overflowing values; check the encoder's weights and precision")
    return cells / norms.clamp(min=EPSILON)[:, :, None], norms


class FeatureBank:
    """Permanent reference frames plus a ring of the last ``capacity`` frames.

    Every frame is normalised and packed once, when it comes in. All frames share one ``(C, h, w)``, one number of labels and
    one device (that of the features). Memory is ``(references + capacity) * h * w * (C + L + 1)`` floats, whatever the length
    of the video.

    Args:
        capacity: how many pushed frames are kept, at least 0; the oldest is forgotten first. 0 keeps references only.

    Raises:
        SettingError: the capacity is negative.

    >>> bank = FeatureBank(capacity=2)
    >>> bank.add_reference(torch.rand(8, 3, 4), torch.rand(2, 3, 4), key=0)
    >>> for _ in range(5):
    ...     bank.push(torch.rand(8, 3, 4), torch.rand(2, 3, 4))
    >>> len(bank), bank.shape, bank.label_count
    (3, (8, 3, 4), 2)
    """

    def __init__(self, *, capacity: int) -> None:
        if capacity < 0:
            raise SettingError(f"capacity = {capacity}: expected 0 or more remembered frames; use 0 to match with references only")
        self._references: dict[int, Entry] = {}
        self._ring: deque[Entry] = deque(maxlen=capacity)

    def __len__(self) -> int:
        return len(self._references) + len(self._ring)

    def __repr__(self) -> str:
        held = f"references={self.reference_keys}, ring={len(self._ring)}/{self.capacity}"
        return f"FeatureBank({held}, shape={self.shape}, labels={self.label_count})"

    @property
    def capacity(self) -> int:
        """How many pushed frames are kept at most."""
        return self._ring.maxlen or 0

    @property
    def entries(self) -> tuple[Entry, ...]:
        """References in the order of their keys' arrival, then the ring, newest first."""
        return (*self._references.values(), *self._ring)

    @property
    def reference_keys(self) -> tuple[int, ...]:
        """The keys of the permanent references, in order of arrival."""
        return tuple(self._references)

    @property
    def shape(self) -> tuple[int, int, int] | None:
        """``(C, h, w)`` of all frames; None while the bank is empty."""
        first = self._any()
        if first is None:
            return None
        height, width, channels = first.features.shape
        return channels, height, width

    @property
    def label_count(self) -> int | None:
        """L of all frames; None while the bank is empty."""
        first = self._any()
        return None if first is None else first.labels.shape[1]

    @property
    def device(self) -> torch.device | None:
        """Where all frames live; None while the bank is empty."""
        first = self._any()
        return None if first is None else first.features.device

    def add_reference(self, features: Tensor, labels: Tensor, *, key: int) -> None:
        """Keep a frame for good.

        Args:
            features: ``(C, h, w)``, floating.
            labels: ``(L, h, w)``, weights of any range, on the same device.
            key: the frame's name in the bank; a reference of the same key is replaced.

        Raises:
            SettingError: shapes, devices or label counts do not fit the frames already held.
        """
        self._references[key] = self._entry(features, labels, permanent=True)

    def push(self, features: Tensor, labels: Tensor) -> None:
        """Put the latest frame into the ring; with capacity 0 it is checked and forgotten.

        Args:
            features: ``(C, h, w)``, floating.
            labels: ``(L, h, w)``, weights of any range, on the same device.

        Raises:
            SettingError: shapes, devices or label counts do not fit the frames already held.
        """
        self._ring.appendleft(self._entry(features, labels, permanent=False))

    def set_labels(self, labels: Tensor) -> None:
        """Replace the labels of the newest ring frame, as a correction of the current frame does.

        Args:
            labels: ``(L, h, w)``.

        Raises:
            SettingError: the ring is empty, or the labels do not fit.
        """
        if not self._ring:
            raise SettingError("set_labels needs a frame in the ring, which is empty; push one first or use add_reference")
        newest = self._ring[0]
        self._ring[0] = replace(newest, labels=self._checked_labels(labels, newest.features))

    def add_labels(self, count: int) -> None:
        """Append zero label channels to all frames, for objects that appear late.

        Args:
            count: how many, at least 1.

        Raises:
            SettingError: the count is not positive.
        """
        if count < 1:
            raise SettingError(f"add_labels({count}): expected 1 or more new channels")
        self._map_labels(lambda labels: torch.nn.functional.pad(labels, (0, count)))

    def drop_labels(self, indices: Sequence[int]) -> None:
        """Remove label channels from all frames; the others move up and keep their order.

        Args:
            indices: channels in [0, L); repeats are harmless.

        Raises:
            SettingError: an index is outside, or no channel would be left.
        """
        count = self.label_count or 0
        if any(not 0 <= index < count for index in indices):
            raise SettingError(f"drop_labels({list(indices)}): expected channels in 0..{count - 1}")
        kept = [index for index in range(count) if index not in set(indices)]
        if not kept:
            raise SettingError(f"drop_labels({list(indices)}) would leave no label; use clear() to forget everything")
        self._map_labels(lambda labels: labels[:, kept].contiguous())

    def map_labels(self, change: Callable[[Tensor], Tensor]) -> None:
        """Change the labels of all frames alike, for example to hand a removed object's weight to the background.

        Args:
            change: takes ``(L, h, w)``, gives ``(L', h, w)``; L' is the same for all frames, at least 1.

        Raises:
            SettingError: no channel is left.
        """
        shape = self.shape
        if shape is None:
            return
        grid = shape[1:]

        def packed(labels: Tensor) -> Tensor:
            changed = change(labels.t().reshape(-1, *grid))
            if not len(changed):
                raise SettingError("map_labels would leave no label; use clear() to forget everything")
            return changed.flatten(1).t().contiguous()

        self._map_labels(packed)

    def clear_ring(self) -> None:
        """Forget the latest frames; references stay."""
        self._ring.clear()

    def clear(self) -> None:
        """Forget all frames; the next one may have any shape."""
        self._references.clear()
        self._ring.clear()

    def _any(self) -> Entry | None:
        return next(iter(self.entries), None)

    def _entry(self, features: Tensor, labels: Tensor, *, permanent: bool) -> Entry:
        unit, norms = pack(features)
        if self.shape is not None and (tuple(features.shape), features.device) != (self.shape, self.device):
            got = f"{tuple(features.shape)} on {features.device}"
            raise SettingError(f"features are {got}, the bank holds {self.shape} on {self.device}; clear() it before changing size")
        return Entry(features=unit, norms=norms, labels=self._checked_labels(labels, unit), permanent=permanent)

    def _checked_labels(self, labels: Tensor, features: Tensor) -> Tensor:
        height, width, _ = features.shape
        if labels.ndim != 3 or labels.shape[1:] != (height, width) or len(labels) == 0 or labels.device != features.device:
            got = f"{tuple(labels.shape)} on {labels.device}"
            raise SettingError(f"labels must be (L, {height}, {width}) with L >= 1 on {features.device}, got {got}")
        if self.label_count not in (None, len(labels)):
            raise SettingError(
                f"{len(labels)} label channels do not fit the bank's {self.label_count}; call add_labels or drop_labels first"
            )
        return labels.detach().flatten(1).t().to(torch.float32).contiguous()

    def _map_labels(self, change: Callable[[Tensor], Tensor]) -> None:
        self._references = {key: replace(entry, labels=change(entry.labels)) for key, entry in self._references.items()}
        self._ring = deque((replace(entry, labels=change(entry.labels)) for entry in self._ring), maxlen=self.capacity)
