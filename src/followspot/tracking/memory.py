"""What a tracker remembers: annotated frames for good, the last n for a while, and what each object was annotated as."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from followspot.ops.bank import Entry, FeatureBank
from followspot.tracking.confidence import Anchor


class Memory:
    """The frames that labels are carried from, and the annotated frames that answers are compared with.

    Args:
        context_frames: how many of the last frames are remembered.
        keep_references: whether annotated frames stay for good, or pass like any other.
    """

    def __init__(self, *, context_frames: int, keep_references: bool) -> None:
        self.bank = FeatureBank(capacity=context_frames)
        self._keep = keep_references
        self._anchors: dict[int, Anchor] = {}
        self._anchor_of: dict[str, int] = {}

    def push(self, features: Tensor, labels: Tensor) -> None:
        """Remembers a frame for a while.

        Args:
            features: ``(C, h, w)``.
            labels: ``(L, h, w)``.
        """
        self.bank.push(features, labels)

    def annotate(self, features: Tensor, labels: Tensor, *, index: int, names: Collection[str]) -> None:
        """Remembers an annotated frame, and forgets the last frames: they hold what the annotation corrects.

        Args:
            features: ``(C, h, w)``.
            labels: ``(L, h, w)``; L may have grown by channels of new objects, which older frames then hold as zeros.
            index: of the frame.
            names: the objects that were annotated.
        """
        new = len(labels) - (self.bank.label_count or len(labels))
        if new:
            self.bank.add_labels(new)
        self._anchors = {i: anchor.padded(len(labels)) for i, anchor in self._anchors.items()}
        self.bank.clear_ring()
        if self._keep:
            self.bank.add_reference(features, labels, key=index)
        else:
            self.bank.push(features, labels)
        self._anchors[index] = Anchor(index=index, features=features, labels=labels)
        self._anchor_of |= dict.fromkeys(names, index)
        used = set(self._anchor_of.values())
        self._anchors = {i: anchor for i, anchor in self._anchors.items() if i in used}

    def forget(self, name: str, without: Callable[[Tensor], Tensor]) -> None:
        """Forgets an object.

        Args:
            name: of the object.
            without: takes label maps ``(L, h, w)`` and gives them without its channels.
        """
        self._anchor_of.pop(name, None)
        self.bank.map_labels(without)
        self._anchors = {i: replace(anchor, labels=without(anchor.labels)) for i, anchor in self._anchors.items()}

    def anchors(self) -> dict[str, Anchor]:
        """For each object the frame it was last annotated on."""
        return {name: self._anchors[index] for name, index in self._anchor_of.items()}

    def state(self) -> dict[str, Any]:
        """Label maps of all remembered frames, float32 ``(L, h, w)``; features can be had again from the video."""
        entries = self.bank.entries
        return {
            "recent": [self._labels(entry) for entry in entries if not entry.permanent],
            "references": dict(zip(self.bank.reference_keys, [self._labels(e) for e in entries if e.permanent], strict=True)),
            "anchors": {index: anchor.labels.cpu().numpy() for index, anchor in self._anchors.items()},
            "anchor_of": dict(self._anchor_of),
        }

    def _labels(self, entry: Entry) -> NDArray[np.float32]:
        array: NDArray[np.float32] = entry.labels.t().reshape(-1, *entry.norms.shape).cpu().numpy()
        return array

    def restore(self, state: Mapping[str, Any], features_of: Callable[[int], Tensor], *, newest: int) -> None:
        """Remembers again what `state` described.

        Args:
            state: from `state`.
            features_of: gives the features of the frame of an index.
            newest: index of the latest frame when the state was taken.
        """

        def pair(index: int, array: NDArray[np.float32]) -> tuple[Tensor, Tensor]:
            features = features_of(index)
            return features, torch.from_numpy(array).to(features.device)

        for key, array in sorted(state["references"].items()):
            self.bank.add_reference(*pair(key, array), key=key)
        for ago, array in reversed(list(enumerate(state["recent"]))):
            self.bank.push(*pair(newest - ago, array))
        for index, array in state["anchors"].items():
            features, labels = pair(index, array)
            self._anchors[index] = Anchor(index=index, features=features, labels=labels)
        self._anchor_of = dict(state["anchor_of"])
