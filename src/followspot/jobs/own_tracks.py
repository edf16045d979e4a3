"""Things found in one frame of a clip, carried both ways in time, and of that only what the tracker is sure of."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from followspot.errors import SettingError
from followspot.jobs.moving_objects import MovingSettings, choose_things, find_moving
from followspot.jobs.pseudo_objects import draw_objects
from followspot.metrics.region import region_similarity
from followspot.models.encoder import Encoder
from followspot.ops.mask_edges import snap_mask
from followspot.tracking.confidence import LOST_BELOW
from followspot.tracking.presets import PRESETS, Preset, Resolution
from followspot.tracking.propagation import PropagationTracker
from followspot.types import Frame, Masks, TrackedFrame

_STILL = 4
"""Regions that are drawn for each thing wanted where nothing moves: most have too little contrast."""
Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class TrackSettings:
    """What is kept of what is carried.

    Raises:
        SettingError: a value is outside its range.
    """

    moving: MovingSettings = field(default_factory=MovingSettings)
    """What counts as a thing."""
    objects: int = 2
    """Things of one frame, 1..20: those with most motion. On the development sequences of DAVIS the first is the labelled object in 40 of
    the 65 frames in which something is found, the others never are; but one object is labelled there, and trees and shadows move too."""
    sure: float = 0.7
    """Expected overlap (`followspot.tracking.confidence`) from which a frame is kept, 0..1; docs/targets.md has what it selects."""
    growth: float = 2.0
    """Factor, above 1, by which the area may have changed: more within a second is an error far oftener than an approach."""
    stays: float = 0.6
    """Overlap of a carried mask with itself after its outline has moved to the edges; else it has left its object's colours."""
    fewest: int = 3
    """Frames of a track, the first included, at least 1: what cannot be followed for two steps is no thing."""
    pixels: int = 240
    """Short side that frames are encoded at, at least 32: a sixth of the time that 480 take."""
    context: int = 2
    """Frames remembered besides the first, at least 1; see `radius`."""
    radius: int = 8
    """Cells that a thing may have moved, at least 1. With the 8 frames and 12 cells of the default preset a step takes twice as long, as
    much is kept, and its overlap is 0.79 in place of 0.78 (docs/targets.md)."""

    def __post_init__(self) -> None:
        for name, least in (("objects", 1), ("fewest", 1), ("pixels", 32), ("context", 1), ("radius", 1)):
            if getattr(self, name) < least:
                raise SettingError(f"{name} = {getattr(self, name)} is too small; use {least} or more")
        if self.objects > 20 or not (self.growth > 1 and 0 <= self.sure <= 1 and 0 <= self.stays <= 1):
            said = f"objects {self.objects}, growth {self.growth:g}, sure {self.sure:g}, stays {self.stays:g}"
            raise SettingError(f"{said}: at most 20 objects, a factor above 1, and shares from 0 to 1 are expected")


@dataclass(frozen=True, kw_only=True)
class OwnTrack:
    """One thing in some frames of a window."""

    masks: Mapping[int, Mask]
    """``(H, W)`` each, by position in the window; none is empty."""


def make_tracker(settings: TrackSettings, encoder: Encoder | str | None = "descriptor", *, device: str = "auto") -> PropagationTracker:
    """The tracker that carries; with the descriptor nothing in it was learnt.

    Args:
        settings: resolution and memory.
        encoder: as for :class:`followspot.tracking.propagation.PropagationTracker`.
        device: likewise.
    """
    default = PRESETS["default"]
    preset = Preset(
        name="own targets",
        source=default.source,
        affinity=replace(default.affinity, radius=settings.radius, radius_first=settings.radius),
        context_frames=settings.context,
        resolution=Resolution(pixels=settings.pixels),
    )
    return PropagationTracker(encoder, preset, confidence=True, device=device)


def find_things(image: Image, around: Sequence[tuple[Image, Image]], *, settings: TrackSettings, rng: np.random.Generator) -> list[Mask]:
    """What to follow from a frame: what moves, or where nothing does, regions with texture.

    Args:
        image: RGB ``(H, W, 3)``.
        around: pictures before and after it, nearest first; farther ones are asked where the nearer show no motion.
        settings: what counts, and how many.
        rng: what is random comes from it.

    Returns:
        Masks ``(H, W)`` that do not overlap, best first.
    """
    for before, after in around:
        found = find_moving(before, image, after, count=settings.objects, settings=settings.moving, rng=rng)
        if found:
            return found
    ids = draw_objects(image, _STILL * settings.objects, rng=rng)
    regions = (np.asarray(ids == region) for region in range(1, int(ids.max()) + 1))
    return choose_things(image, regions, count=settings.objects, settings=settings.moving)


def carry(
    tracker: PropagationTracker, window: Sequence[Image], start: int, *, things: Sequence[Mask], settings: TrackSettings
) -> list[OwnTrack]:
    """Carry things from one frame of a window to its others, and keep what is sure.

    Args:
        tracker: of `make_tracker`.
        window: RGB ``(H, W, 3)`` each, in order of time.
        start: which of them shows the things.
        things: masks ``(H, W)`` that do not overlap, at most 255.
        settings: what is kept.

    Returns:
        A track for each thing that was followed through enough frames.
    """
    if not things:
        return []
    kept: list[dict[int, Mask]] = [{start: thing} for thing in things]
    for way in (range(start + 1, len(window)), range(start - 1, -1, -1)):
        for position, found in _one_way(tracker, window, [start, *way], things=things, settings=settings):
            for number, mask in found.items():
                kept[number][position] = mask
    return [OwnTrack(masks=track) for track in kept if len(track) >= settings.fewest]


def _one_way(
    tracker: PropagationTracker, window: Sequence[Image], order: Sequence[int], *, things: Sequence[Mask], settings: TrackSettings
) -> Iterator[tuple[int, dict[int, Mask]]]:
    """What is kept of each frame after the first, until all is lost."""
    ids = np.zeros(things[0].shape, np.uint8)
    for number, thing in enumerate(things, start=1):
        ids[thing] = number
    tracker.start(_frame(window, order[0]), [Masks(ids=ids)])
    followed = set(range(len(things)))
    for position in order[1:]:
        if not followed:
            return
        answer = tracker.step(_frame(window, position))
        found: dict[int, Mask] = {}
        for number in sorted(followed):
            mask, sure = _of(answer, number + 1)
            if mask is None or sure < LOST_BELOW or not _alike(mask, things[number], settings.growth):
                followed.discard(number)
            elif sure >= settings.sure:
                snapped = snap_mask(window[position], mask)
                if float(region_similarity(snapped, mask)) >= settings.stays:
                    found[number] = snapped
        yield position, found


def _of(answer: TrackedFrame, mask_id: int) -> tuple[Mask | None, float]:
    """Where a thing is, and how sure that is."""
    item = next(item for item in answer.objects if item.mask_id == mask_id)
    if answer.masks is None or item.box is None:
        return None, 0.0
    return np.asarray(answer.masks == mask_id), item.confidence or 0.0


def _alike(mask: Mask, first: Mask, growth: float) -> bool:
    now, then = np.count_nonzero(mask), np.count_nonzero(first)
    return bool(then <= growth * now and now <= growth * then)


def _frame(window: Sequence[Image], position: int) -> Frame:
    return Frame(image=window[position], index=position, time_seconds=float(position), name=f"{position:05d}")
