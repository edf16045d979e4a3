"""The nouns of the package: what goes into a tracker and what comes out.

Conventions everywhere: images are RGB uint8 ``(H, W, 3)``; points are ``(x, y)`` in pixels with the origin at the centre of
the top-left pixel; boxes are ``xyxy`` edges counted from the corner of the top-left pixel (the box of mask columns a..b is
``a``..``b + 1``, as in COCO); masks are integer id maps ``(H, W)`` with 0 = background;
frames are counted from 0; time is in seconds. Axis letters: T frames, H W pixels, h w grid cells, L label channels, N objects.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from followspot.errors import AnnotationError

Kind = Literal["mask", "box", "point", "keypoints", "map"]


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One picture of a video."""

    image: NDArray[np.uint8]
    """RGB, ``(H, W, 3)``."""
    index: int
    """Position in the video, from 0."""
    time_seconds: float
    """Presentation time; ``index / fps`` where the source has none."""
    name: str
    """What outputs for this frame are called: the image file's stem, or the zero-padded index for videos."""

    def __repr__(self) -> str:
        height, width = self.image.shape[:2]
        return f"Frame({self.name!r}, index={self.index}, {self.time_seconds:.3f} s, {width}x{height})"


@dataclass(frozen=True, kw_only=True)
class Masks:
    """Objects as one id map; objects of one id map exclude each other."""

    ids: NDArray[np.uint8]
    """``(H, W)``, 0 = background, 1..255 = objects."""
    names: Mapping[int, str] = field(default_factory=dict)
    """Names of ids; an id without one is called ``"object <id>"``."""

    def __post_init__(self) -> None:
        if self.ids.ndim != 2 or self.ids.dtype != np.uint8:
            got = f"{self.ids.shape} {self.ids.dtype}"
            raise AnnotationError(f"a mask must be an (H, W) uint8 id map, got {got}; read files with followspot.read_mask")

    def name_of(self, object_id: int) -> str:
        """The name of an id."""
        return self.names.get(object_id, f"object {object_id}")


@dataclass(frozen=True, kw_only=True)
class Boxes:
    """Axis-aligned boxes, each an object of its own (boxes may overlap)."""

    xyxy: NDArray[np.float64]
    """``(N, 4)``: left, top, right, bottom, in pixels; right > left and bottom > top."""
    names: tuple[str, ...]
    """One name a box."""

    def __post_init__(self) -> None:
        if self.xyxy.shape != (len(self.names), 4):
            raise AnnotationError(f"boxes must be (N, 4) with one name each, got {self.xyxy.shape} and {len(self.names)} names")
        for name, (x1, y1, x2, y2) in zip(self.names, self.xyxy, strict=True):
            if not (np.isfinite([x1, y1, x2, y2]).all() and x2 > x1 and y2 > y1):
                box = f"{x1:g},{y1:g},{x2:g},{y2:g}"
                raise AnnotationError(f"box {name!r} = {box} is empty; write left,top,right,bottom with right > left and bottom > top")


@dataclass(frozen=True, kw_only=True)
class Points:
    """Single points, each an object of its own."""

    xy: NDArray[np.float64]
    """``(N, 2)`` in pixels."""
    names: tuple[str, ...]
    """One name a point."""

    def __post_init__(self) -> None:
        if self.xy.shape != (len(self.names), 2) or not np.isfinite(self.xy).all():
            raise AnnotationError(f"points must be finite (N, 2) with one name each, got {self.xy.shape} and {len(self.names)} names")


@dataclass(frozen=True, kw_only=True)
class Keypoints:
    """The named joints of one object."""

    xy: NDArray[np.float64]
    """``(K, 2)`` in pixels; NaN where a joint is not annotated."""
    joints: tuple[str, ...]
    """One name a joint."""
    skeleton: tuple[tuple[int, int], ...] = ()
    """Pairs of joint indices that are drawn as limbs."""
    name: str = "keypoints"
    """The object's name."""

    def __post_init__(self) -> None:
        if self.xy.shape != (len(self.joints), 2):
            raise AnnotationError(f"keypoints must be (K, 2) with a name a joint, got {self.xy.shape} and {len(self.joints)} names")
        if len(set(self.joints)) != len(self.joints):
            raise AnnotationError(f"keypoints {self.name!r}: joint names repeat; give each joint its own name")
        if any(not 0 <= end < len(self.joints) for limb in self.skeleton for end in limb):
            raise AnnotationError(f"keypoints {self.name!r}: the skeleton names joint indices outside 0..{len(self.joints) - 1}")


@dataclass(frozen=True, kw_only=True)
class LabelMaps:
    """Soft label maps: any weights in [0, 1], each channel an object of its own."""

    weights: NDArray[np.float32]
    """``(L, H, W)`` in [0, 1]."""
    names: tuple[str, ...]
    """One name a channel."""

    def __post_init__(self) -> None:
        if self.weights.ndim != 3 or len(self.weights) != len(self.names):
            raise AnnotationError(f"label maps must be (L, H, W), a name a channel, got {self.weights.shape}, {len(self.names)} names")
        if not (np.isfinite(self.weights).all() and self.weights.min() >= 0 and self.weights.max() <= 1):
            raise AnnotationError("label maps must lie in [0, 1] and be finite; scale them before saving")


Annotation = Masks | Boxes | Points | Keypoints | LabelMaps


@dataclass(frozen=True, kw_only=True)
class TrackedPoint:
    """Where one point or joint is in one frame."""

    name: str
    x: float
    y: float
    confidence: float | None
    lost: bool


@dataclass(frozen=True, kw_only=True)
class TrackedObject:
    """Where one object is in one frame."""

    name: str
    kind: Kind
    mask_id: int | None
    """The object's id in the id map; None for objects of which no pixels are told."""
    box: tuple[float, float, float, float] | None
    """``xyxy`` in pixels: the box itself, or the extent of a mask; None where nothing is left of it."""
    points: tuple[TrackedPoint, ...]
    """One entry for a point, one a joint for keypoints, none for masks and boxes."""
    confidence: float | None
    """In [0, 1]: the expected overlap (masks, boxes, maps) or probability of being on the spot (points); None if not asked for."""
    lost: bool
    """True where the object is gone or the confidence says so."""
    polygon: tuple[tuple[float, float], ...] | None = None
    """Corners of a tighter outline than `box`, edges in pixels: the rotated box of an online tracker; None where only `box` is told."""


@dataclass(frozen=True, kw_only=True)
class TrackedFrame:
    """What a tracker says about one frame."""

    index: int
    name: str
    time_seconds: float
    masks: NDArray[np.uint8] | None
    """``(H, W)`` id map of the source's size; None when no object has pixels (or when read back without masks)."""
    maps: NDArray[np.float32] | None
    """``(L, H, W)`` soft maps in the order of the objects of kind ``"map"``; None without any."""
    objects: tuple[TrackedObject, ...]


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """The frame that would help most if it were annotated next."""

    index: int
    name: str
    objects: tuple[str, ...]
    """The objects that need it there, worst first."""
    reason: str
    """One sentence for people."""


@dataclass(frozen=True, kw_only=True)
class Track:
    """What a tracker says about a whole video."""

    frames: tuple[TrackedFrame, ...]
    suggestion: Suggestion | None

    def __len__(self) -> int:
        return len(self.frames)
