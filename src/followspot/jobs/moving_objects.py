"""Things that move by themselves, found in three pictures without any label: where training without labels begins.

Small regions between edges vote with the median of their own motion; neighbours of like motion are joined. What comes out is a guess:
on the development sequences of DAVIS the first of a frame overlaps the labelled object by about one half (docs/targets.md).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse import csgraph

from followspot.errors import SettingError
from followspot.jobs.pseudo_objects import grow_regions
from followspot.ops.camera import own_motion
from followspot.ops.flow import Flow
from followspot.ops.mask_edges import color_contrast, snap_mask

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]

_SPACING = 1 / 20
"""Short sides between the seeds of small regions: 12 pixels at 240, about the smallest part that DIS sees moving on its own."""
_SLACK = 0.5
"""Pixels by which motions may differ in any case: what DIS is wrong by."""
_HALO = 12.0
"""Pixels of pictures of 240 that an outline may move in: flow carries some of the background along with whatever moves before it."""
_ROUND = 2
"""Pixels, radius of what is smoothed away of an outline: the teeth of the small regions."""


@dataclass(frozen=True, kw_only=True)
class MovingSettings:
    """What counts as a thing that moves.

    Raises:
        SettingError: a value is outside its range.
    """

    slowest: float = 0.75
    """Pixels between two pictures, above 0: DIS finds less where nothing moves."""
    beyond: float = 4.0
    """And so many times the median motion of the picture, which is what the camera's homography left over: near things, errors."""
    like: float = 0.5
    """Neighbours are one thing if their motions differ by less than this share of the larger; limbs swing against bodies."""
    smallest: float = 0.005
    """Share of the picture: 24x24 pixels at 256x454, three cells of stride 8 across; smaller ones are lost at once."""
    largest: float = 0.35
    """Share of the picture: what is larger is mostly a background that the homography did not describe."""
    border: float = 0.25
    """Share of the outline that may lie on the picture's border: of a half-visible thing nobody knows the extent."""
    stays: float = 0.5
    """Overlap of a region with itself after its outline has moved to the edges: what changes more has no edges of its own."""
    contrast: float = 0.3
    """Colours that a thing does not share with what is around it (`color_contrast`): a shadow on a wall has 0.1. On the development
    sequences of DAVIS 0.3 keeps 95 of 100 regions that are objects, 0.4 half of them."""

    def __post_init__(self) -> None:
        if not (self.slowest > 0 and self.beyond >= 0):
            raise SettingError(f"slowest {self.slowest:g} and beyond {self.beyond:g} must be above 0; they are 0.75 pixels and 4 medians")
        for name in ("like", "smallest", "largest", "border", "stays", "contrast"):
            if not 0 <= getattr(self, name) <= 1:
                raise SettingError(f"{name} = {getattr(self, name):g} is no share; give a number from 0 to 1")


def find_moving(before: Image, image: Image, after: Image, *, count: int, settings: MovingSettings, rng: np.random.Generator) -> list[Mask]:
    """Find what moves by itself.

    Args:
        before: RGB ``(H, W, 3)``, a little earlier.
        image: where things are looked for.
        after: as much later.
        count: how many, at least 1.
        settings: what counts.
        rng: what is random comes from it.

    Returns:
        Masks ``(H, W)``, that with most motion (speed times area) first; they do not overlap. Fewer than asked for where there are no more.

    Raises:
        SettingError: the pictures differ in size.
    """
    motion = own_motion(before, image, after)
    speed = np.hypot(*motion)
    regions = [region for region in _alike(image, motion, settings, rng=rng) if region.mean() >= settings.smallest]
    return choose_things(image, sorted(regions, key=lambda region: -float(speed[region].sum())), count=count, settings=settings)


def choose_things(image: Image, regions: Iterable[Mask], *, count: int, settings: MovingSettings) -> list[Mask]:
    """The first of some rough regions that are things, and do not overlap one before them.

    Args:
        image: RGB ``(H, W, 3)``.
        regions: ``(H, W)`` each, best first.
        count: how many, at least 1.
        settings: what counts.
    """
    kept: list[Mask] = []
    for region in regions:
        thing = thing_of(image, region, settings) if len(kept) < count else None
        if thing is not None and not any((thing & other).any() for other in kept):
            kept.append(thing)
    return kept


def thing_of(image: Image, region: Mask, settings: MovingSettings) -> Mask | None:
    """The thing that a rough region shows: one piece, without holes, with its outline at edges.

    Args:
        image: RGB ``(H, W, 3)``.
        region: ``(H, W)``.
        settings: what counts.

    Returns:
        ``(H, W)``; None if it is none: too small, too large, cut off by the border, or without edges and colours of its own.
    """
    rough = _one_piece(region)
    if not _fits(rough, settings):
        return None
    thing = _one_piece(snap_mask(image, rough, inward=_HALO))
    stays = np.count_nonzero(thing & rough) >= settings.stays * np.count_nonzero(thing | rough)
    return thing if stays and _fits(thing, settings) and color_contrast(image, thing) >= settings.contrast else None


def _alike(image: Image, motion: Flow, settings: MovingSettings, *, rng: np.random.Generator) -> list[Mask]:
    """Rough regions that move, each of one motion."""
    parts = _without_lines(grow_regions(image, _SPACING, rng=rng))
    count = int(parts.max()) + 1
    x, y = (np.nan_to_num(ndimage.median(layer, parts, np.arange(count))) for layer in motion)
    speed = np.hypot(x, y)
    moves = speed > max(settings.slowest, settings.beyond * float(np.median(np.hypot(*motion))))
    one, two = _neighbours(parts)
    apart = np.hypot(x[one] - x[two], y[one] - y[two])
    joined = moves[one] & moves[two] & (apart < settings.like * np.maximum(speed[one], speed[two]) + _SLACK)
    links = sparse.coo_matrix((np.ones(joined.sum()), (one[joined], two[joined])), shape=(count, count))
    groups = csgraph.connected_components(links, directed=False)[1]
    # Parts that do not move come out alone.
    return [np.asarray(((groups == group) & moves)[parts]) for group in np.unique(groups[moves])]


def _without_lines(regions: NDArray[np.int32]) -> NDArray[np.int32]:
    """The lines between regions go to the nearest."""
    nearest = ndimage.distance_transform_edt(regions == 0, return_distances=False, return_indices=True)
    return np.asarray(regions[tuple(nearest)], np.int32)


def _neighbours(parts: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Pairs of parts that touch."""
    across = np.stack([parts[:, :-1].ravel(), parts[:, 1:].ravel()])
    down = np.stack([parts[:-1].ravel(), parts[1:].ravel()])
    pairs = np.hstack([across, down])
    pairs = np.unique(pairs[:, pairs[0] != pairs[1]], axis=1)
    return pairs[0], pairs[1]


def _one_piece(region: Mask) -> Mask:
    """The largest piece, smoothed, its holes filled."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * _ROUND + 1, 2 * _ROUND + 1))
    closed = cv2.morphologyEx(region.astype(np.uint8), cv2.MORPH_CLOSE, disc)
    pieces, count = ndimage.label(cv2.morphologyEx(closed, cv2.MORPH_OPEN, disc))
    if not count:
        return np.zeros_like(region)
    largest = 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
    return np.asarray(ndimage.binary_fill_holes(pieces == largest))


def _fits(mask: Mask, settings: MovingSettings) -> bool:
    if not settings.smallest <= mask.mean() <= settings.largest:
        return False
    at_border = sum(np.count_nonzero(side) for side in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))
    inner = mask & ~ndimage.binary_erosion(mask, border_value=1)
    return bool(at_border <= settings.border * (at_border + np.count_nonzero(inner)))
