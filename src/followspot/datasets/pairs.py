"""Pairs for siamese networks: an object as it is shown, and a place where it is, or is not, looked for.

Protocol of SiamMask's public training data (Wang et al., CVPR 2019). Nothing is random but through (seed, epoch, position in the epoch), so
a pair does not depend on how many processes make it.
"""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from followspot.datasets.pair_views import (
    Box,
    Region,
    ViewSettings,
    draw_blur,
    draw_colour,
    draw_region,
    recolour,
    view_image,
    view_mask,
)
from followspot.datasets.picks import Choices, epoch_order
from followspot.datasets.targets import Target, TargetFrame, TargetStore
from followspot.errors import DatasetError, SettingError

log = logging.getLogger(__name__)

T = TypeVar("T")

EXEMPLAR: Final = 127
"""Side of template views, pixels."""
SEARCH: Final = 255
"""Side of search views, pixels."""
_PAIR: Final = 7_411
"""Tells the draws of pairs from others that have the same seed."""
_ATTEMPTS: Final = 20
"""So many pairs in a row that cannot be read are no accident."""


@dataclass(frozen=True, kw_only=True)
class PairSettings:
    """Which pairs, and how they are shown; values of SiamMask's public settings."""

    negatives: float = 0.2
    """Share of pairs whose search view shows another video's object; none where there is only one video."""
    gray: float = 0.25
    """Share of pairs without colours."""
    flip: float = 0.0
    """Share of pairs that are mirrored, both views alike; SiamMask mirrors none."""
    colour: float = 1.0
    """Size of the offsets of colour, as a multiple of that of Krizhevsky et al. 2012."""
    template: ViewSettings = field(default_factory=lambda: ViewSettings(shift=4, scale=0.05))
    search: ViewSettings = field(default_factory=lambda: ViewSettings(shift=64, scale=0.18, blur=0.18))
    frame_range: Mapping[str, int] = field(default_factory=dict)
    """By dataset: how many places of a track's list of frames the two lie apart at most, 0 or more; others as their card says."""
    shares: Mapping[str, float] = field(default_factory=dict)
    """By dataset: its share of the pairs, relative to the others; empty: each video counts the same. Datasets not named are not used."""
    epoch: int = 600_000
    """Pairs that an epoch has; every video of a dataset is drawn equally often in it, one more or less."""
    held_out: float = 0.0
    """Share of the videos that are not trained on; on them training is judged."""

    def __post_init__(self) -> None:
        for name in ("negatives", "gray", "flip", "held_out"):
            if not 0 <= getattr(self, name) <= 1:
                raise SettingError(f"{name} = {getattr(self, name):g} must be a share in 0..1")
        if self.epoch < 1 or not 0 <= self.colour < float("inf"):
            raise SettingError(f"epoch = {self.epoch} must be 1 or more, and colour = {self.colour:g} 0 or more")
        for name, reach in self.frame_range.items():
            if reach < 0:
                raise SettingError(f"frame_range.{name} = {reach} must be 0 or more, such as 20")
        for name, share in self.shares.items():
            if not 0 <= share < float("inf"):
                raise SettingError(f"shares.{name} = {share:g} must be 0 or more")
        if self.shares and not any(self.shares.values()):
            raise SettingError("all shares are 0; give one dataset more")


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two views, in pixels."""

    template: NDArray[np.uint8]
    """``(127, 127, 3)`` RGB."""
    search: NDArray[np.uint8]
    """``(255, 255, 3)`` RGB."""
    box: Box | None
    """The object in the search view, xyxy edges; parts may lie outside. None: it is not there."""
    mask: NDArray[np.uint8] | None
    """``(255, 255)`` in {0, 1}; None where only boxes are known, or the object is not there."""


@dataclass(frozen=True)
class Draw:
    """Which frames make a pair."""

    template: tuple[Target, TargetFrame]
    search: tuple[Target, TargetFrame]
    present: bool
    """Whether both show the same object."""


class PairSource:
    """All pairs of a store.

    Args:
        store: the targets.
        settings: what is drawn.
        seed: >= 0.
        held_out: the videos kept for judging, instead of those to train on.

    Raises:
        DatasetError: nothing is left to draw from.
        SettingError: a share or a range is for a dataset that the store has not.
    """

    def __init__(self, store: TargetStore, settings: PairSettings, *, seed: int, held_out: bool = False) -> None:
        known = sorted(store.cards)
        for name in [*settings.shares, *settings.frame_range]:
            if name not in known:
                raise SettingError(
                    f"the store {store.root} has no dataset {name!r}; there are {', '.join(known)}; add it with followspot targets"
                )
        self._store, self._settings, self._seed = store, settings, seed
        used = [name for name in known if not settings.shares or settings.shares.get(name, 0) > 0]
        grouped: dict[tuple[str, str], list[Target]] = {}
        for target in store.targets:
            kept = is_held_out(target.dataset, target.video, share=settings.held_out) == held_out
            if target.dataset in used and kept:
                grouped.setdefault((target.dataset, target.video), []).append(target)
        self.videos: tuple[tuple[Target, ...], ...] = tuple(tuple(targets) for targets in grouped.values())
        """The targets of each video."""
        if not self.videos:
            which, remedy = ("to judge by", "a larger share, or 0 for no judging") if held_out else ("to train on", "a smaller share")
            said = f"{store.root} has no targets {which} in {', '.join(used)} with data.held_out = {settings.held_out:g}"
            raise DatasetError(f"{said}; add videos with followspot targets, or choose {remedy}")
        weights = _weights([targets[0].dataset for targets in self.videos], settings.shares)
        self._edges = None if weights.min() == weights.max() else np.cumsum(weights) / weights.sum()
        self._choices = Choices(np.arange(len(weights)), np.zeros(len(weights), np.int64), weights)
        self._orders: dict[int, NDArray[np.int64]] = {}

    def __len__(self) -> int:
        """Pairs of an epoch."""
        return self._settings.epoch

    def draw(self, epoch: int, position: int, *, attempt: int = 0) -> tuple[Draw, np.random.Generator]:
        """Which frames stand at a position of an epoch, and what the views are drawn from."""
        rng = np.random.default_rng((self._seed, _PAIR, epoch, position, attempt))
        order = self._order(epoch)
        video = int(order[(position + attempt) % len(order)])
        target = _one(self.videos[video], rng)
        first = int(rng.integers(len(target.frames)))
        if rng.random() < self._settings.negatives and len(self.videos) > 1:
            stranger = _one(self.videos[self._other(video, rng)], rng)
            return Draw((target, target.frames[first]), (stranger, _one(stranger.frames, rng)), present=False), rng
        reach = self._settings.frame_range.get(target.dataset, self._store.cards[target.dataset].frame_range)
        low, high = max(first - reach, 0), min(first + reach, len(target.frames) - 1)
        second = int(rng.integers(low, high + 1))
        return Draw((target, target.frames[first]), (target, target.frames[second]), present=True), rng

    def pair(self, epoch: int, position: int, *, attempt: int = 0) -> Pair:
        """The pair at a position of an epoch.

        Args:
            epoch: from 0.
            position: in the epoch.
            attempt: 0; higher numbers are other pairs, for where files cannot be read.

        Raises:
            DatasetError: a file of it cannot be read.
        """
        drawn, rng = self.draw(epoch, position, attempt=attempt)
        settings = self._settings
        gray, flip = rng.random() < settings.gray, rng.random() < settings.flip
        template = self._image(drawn.template, settings.template, size=EXEMPLAR, gray=gray, rng=rng)[0]
        search, region = self._image(drawn.search, settings.search, size=SEARCH, gray=gray, rng=rng)
        box = region.box(drawn.search[1].box, size=SEARCH) if drawn.present else None
        mask = self._store.mask(*drawn.search) if drawn.present else None
        seen = None if mask is None else view_mask(mask, region, size=SEARCH)
        return Pair(template=template, search=search, box=box, mask=seen) if not flip else mirrored(template, search, box, seen)

    def readable(self, epoch: int, position: int) -> Pair:
        """The pair at a position, or another where its files cannot be read.

        Raises:
            DatasetError: that happens too often.
        """
        for attempt in range(_ATTEMPTS):
            try:
                return self.pair(epoch, position, attempt=attempt)
            except (DatasetError, OSError) as error:
                log.warning("left out: %s", error)
                last = error
        raise DatasetError(f"{_ATTEMPTS} pairs in a row cannot be read (the last: {last}); make the store of targets again")

    def _other(self, video: int, rng: np.random.Generator) -> int:
        """Another video, drawn as the shares say, so that which dataset is shown does not give a pair away."""
        if self._edges is None:
            other = int(rng.integers(len(self.videos) - 1))
            return other + (other >= video)
        low, high = (float(self._edges[video - 1]) if video else 0.0), float(self._edges[video])
        place = rng.random() * (1 - (high - low))
        drawn = int(np.searchsorted(self._edges, place if place < low else place + (high - low), side="right"))
        # Rounding at its very edges must not bring the video itself back.
        return drawn % len(self.videos) if drawn != video else (drawn + 1) % len(self.videos)

    def _image(
        self, shown: tuple[Target, TargetFrame], view: ViewSettings, *, size: int, gray: bool, rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], Region]:
        region = draw_region(view, size=size, rng=rng)
        image = view_image(self._store.crop(*shown), region, size=size)
        if rng.random() < view.blur:
            image = np.asarray(cv2.filter2D(image, -1, draw_blur(rng)), np.uint8)
        return recolour(image, draw_colour(self._settings.colour, rng), gray=gray), region

    def _order(self, epoch: int) -> NDArray[np.int64]:
        order = self._orders.get(epoch)
        if order is None:  # several threads may come here at once: each has its own, and they are the same
            order = epoch_order(self._choices, length=self._settings.epoch, seed=self._seed, epoch=epoch)
            self._orders = {**dict(list(self._orders.items())[-1:]), epoch: order}
        return order


def mirrored(template: NDArray[np.uint8], search: NDArray[np.uint8], box: Box | None, mask: NDArray[np.uint8] | None) -> Pair:
    """The same pair, left and right exchanged."""
    return Pair(
        template=np.ascontiguousarray(template[:, ::-1]),
        search=np.ascontiguousarray(search[:, ::-1]),
        box=None if box is None else (SEARCH - box[2], box[1], SEARCH - box[0], box[3]),
        mask=None if mask is None else np.ascontiguousarray(mask[:, ::-1]),
    )


def is_held_out(dataset: str, video: str, *, share: float) -> bool:
    """Whether a video belongs to those that are not trained on; always the same ones, whatever else the store holds.

    >>> [is_held_out("yolo", "000000000009", share=share) for share in (0.0, 1.0)]
    [False, True]
    """
    digest = hashlib.sha256(f"{dataset}/{video}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def _weights(datasets: Sequence[str], shares: Mapping[str, float]) -> NDArray[np.float64]:
    """By video; a dataset's share is spread evenly over its videos."""
    counts = {name: datasets.count(name) for name in datasets}
    return np.array([shares[name] / counts[name] if shares else 1.0 for name in datasets])


def _one(values: Sequence[T], rng: np.random.Generator) -> T:
    return values[int(rng.integers(len(values)))]
