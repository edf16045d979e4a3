"""Geometry of training clips: where each output pixel of each frame lies in the source, drawn once a clip.

A crop, flip, zoom or turn is one ``(2, 3)`` affine matrix that maps an output pixel ``(u, v, 1)`` to a source pixel ``(x, y)``; both count
from the centre of the top-left pixel. How pixels are then taken is in :mod:`followspot.datasets.warp`.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from followspot.errors import SettingError

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class CropSettings:
    """Which part of the frames a clip shows, and at what size. One draw serves all frames of a clip."""

    size: int = 256
    """Side S of the square output in pixels (256 in the TensorFlow colorization tracker, CorrFlow and DUL; 240 in TimeCycle)."""
    resize: Literal["crop", "squash", "native"] = "crop"
    """``crop``: a square of ``zoom`` times the short side. ``squash``: ``zoom`` times each side, pressed square (as the TensorFlow
    colorization tracker and CorrFlow do).
    ``native``: a square of ``size`` source pixels, nothing resized (the whole short side where the video is smaller)."""
    zoom: tuple[float, float] = (1.0, 1.0)
    """Smallest and largest share of the short side that the crop covers, in (0, 1]; drawn uniformly. DUL has (0.5, 1)."""
    place: Literal["random", "centre"] = "random"
    """Where the crop lies."""
    aspect: float = 1.0
    """Largest ratio of the crop's sides, >= 1; drawn log-uniformly from ``1 / aspect .. aspect``. 1 = not distorted."""
    rotation_degrees: float = 0.0
    """Largest turn to either side, 0..180; the crop shrinks until it lies in the image."""
    flip_probability: float = 0.0
    """Share of the clips that are mirrored left to right (0.5 in TimeCycle and DUL)."""

    def __post_init__(self) -> None:
        if self.size < 1:
            raise SettingError(f"size {self.size} must be 1 or more pixels")
        if self.resize not in ("crop", "squash", "native"):
            raise SettingError(f"resize {self.resize!r} must be 'crop', 'squash' or 'native'")
        if self.place not in ("random", "centre"):
            raise SettingError(f"place {self.place!r} must be 'random' or 'centre'")
        _check_share_range("zoom", self.zoom)
        if not 1 <= self.aspect < math.inf:
            raise SettingError(f"aspect {self.aspect:g} must be 1 or more")
        if not 0 <= self.rotation_degrees <= 180:
            raise SettingError(f"rotation_degrees {self.rotation_degrees:g} must be in 0..180")
        if not 0 <= self.flip_probability <= 1:
            raise SettingError(f"flip_probability {self.flip_probability:g} must be in 0..1")


@dataclass(frozen=True, kw_only=True)
class StillMotion:
    """How a camera moves over a still picture, to make a clip of it. Every path is a smooth curve that starts anywhere on it.

    With the defaults a point of a four-frame clip of 256 pixels moves by 25 pixels from frame to frame (median; 64 at the 95th percentile,
    over 2000 drawn paths): about three cells of stride 8, and within the radius of 12 cells that propagation looks in.
    """

    zoom: tuple[float, float] = (0.5, 0.85)
    """Smallest and largest share of the short side that the first frame covers; what is left is room to move."""
    shift: float = 0.3
    """How far the view may wander over the whole clip, in sides of the view, 0..1."""
    rotation_degrees: float = 15.0
    """How far it may turn to either side, 0..180."""
    scale: float = 1.25
    """How much nearer or farther it may get, >= 1."""

    def __post_init__(self) -> None:
        _check_share_range("zoom", self.zoom)
        if not 0 <= self.shift <= 1:
            raise SettingError(f"shift {self.shift:g} must be in 0..1 sides of the view")
        if not 0 <= self.rotation_degrees <= 180:
            raise SettingError(f"rotation_degrees {self.rotation_degrees:g} must be in 0..180")
        if not 1 <= self.scale < math.inf:
            raise SettingError(f"scale {self.scale:g} must be 1 or more")


def _check_share_range(name: str, shares: tuple[float, float]) -> None:
    if len(shares) != 2 or not 0 < shares[0] <= shares[1] <= 1:
        raise SettingError(f"{name} {list(shares)} must be two shares, smaller first, in (0, 1]")


@dataclass(frozen=True, kw_only=True)
class _View:
    """A turned rectangle in the source: side lengths in pixels, turn in radians."""

    width: float
    height: float
    turn: float

    def reach(self) -> tuple[float, float]:
        """Half the width and height of the upright box around it."""
        cos, sin = abs(math.cos(self.turn)), abs(math.sin(self.turn))
        return (cos * self.width + sin * self.height) / 2, (sin * self.width + cos * self.height) / 2

    def fitted(self, size: tuple[int, int]) -> "_View":
        """The same, shrunk until it can lie in an image of ``(height, width)``."""
        reach_x, reach_y = self.reach()
        shrink = min(1.0, size[1] / (2 * reach_x), size[0] / (2 * reach_y))
        return _View(width=self.width * shrink, height=self.height * shrink, turn=self.turn)


def draw_crop(settings: CropSettings, size: tuple[int, int], *, rng: np.random.Generator) -> Floats:
    """Draw the crop of a clip.

    Args:
        settings: what to draw from.
        size: ``(height, width)`` of the source frames in pixels.
        rng: what is random comes from it; the same numbers are drawn whatever the settings.

    Returns:
        ``(2, 3)``, output pixel to source pixel; all of the output lies in the image.

    >>> draw_crop(CropSettings(size=2, place="centre"), (4, 8), rng=np.random.default_rng(0)).round(3) + 0.0
    array([[2. , 0. , 2.5],
           [0. , 2. , 0.5]])
    """
    share, stretch, angle, mirror, across, down = rng.random(6)
    view = _base_view(settings, size, share=_between(settings.zoom, share))
    ratio = math.exp((2 * stretch - 1) * math.log(settings.aspect) / 2)
    turn = math.radians((2 * angle - 1) * settings.rotation_degrees)
    view = _View(width=view.width * ratio, height=view.height / ratio, turn=turn).fitted(size)
    if settings.place == "centre":
        across = down = 0.5
    reach_x, reach_y = view.reach()
    centre = (reach_x + across * (size[1] - 2 * reach_x), reach_y + down * (size[0] - 2 * reach_y))
    return _matrix(view, centre, size=settings.size, mirror=bool(mirror < settings.flip_probability))


def draw_still_path(crop: CropSettings, motion: StillMotion, *, size: tuple[int, int], frames: int, rng: np.random.Generator) -> Floats:
    """Draw a camera path over one picture.

    Args:
        crop: size, resize, aspect, turn and flip of the view; its ``zoom`` and ``place`` give way to those of ``motion``.
        motion: how far the view moves.
        size: ``(height, width)`` of the picture in pixels.
        frames: how many frames the path has, T.
        rng: what is random comes from it.

    Returns:
        ``(T, 2, 3)``, output pixel to source pixel for each frame; all of the output lies in the image.
    """
    share, stretch, angle, mirror, across, down = rng.random(6)
    paths = _smooth_paths(4, frames=frames, rng=rng)
    base = _base_view(crop, size, share=_between(motion.zoom, share))
    ratio = math.exp((2 * stretch - 1) * math.log(crop.aspect) / 2)
    turn = (2 * angle - 1) * crop.rotation_degrees
    matrices = []
    for nearer, turning, right, below in paths.T:
        grown = math.exp(nearer * math.log(motion.scale))
        turned = math.radians(turn + turning * motion.rotation_degrees)
        view = _View(width=base.width * ratio * grown, height=base.height / ratio * grown, turn=turned).fitted(size)
        reach_x, reach_y = view.reach()
        x = across * size[1] + right * motion.shift * base.width
        y = down * size[0] + below * motion.shift * base.height
        centre = (float(np.clip(x, reach_x, size[1] - reach_x)), float(np.clip(y, reach_y, size[0] - reach_y)))
        matrices.append(_matrix(view, centre, size=crop.size, mirror=bool(mirror < crop.flip_probability)))
    return np.stack(matrices)


def _smooth_paths(count: int, *, frames: int, rng: np.random.Generator) -> Floats:
    """``(count, T)`` curves in [-1, 1]: quadratic Bezier curves, which never leave the hull of their three random points."""
    points = rng.uniform(-1, 1, (count, 3))
    time = np.linspace(0, 1, frames) if frames > 1 else np.zeros(1)
    weights = np.stack([(1 - time) ** 2, 2 * time * (1 - time), time**2])
    return np.asarray(points @ weights)


def _between(ends: tuple[float, float], share: float) -> float:
    return ends[0] + share * (ends[1] - ends[0])


def _base_view(settings: CropSettings, size: tuple[int, int], *, share: float) -> _View:
    """The upright view that covers ``share`` of what the resize policy shows."""
    height, width = size
    if settings.resize == "squash":
        return _View(width=share * width, height=share * height, turn=0.0)
    side = min(height, width) * share if settings.resize == "crop" else min(settings.size, height, width)
    return _View(width=side, height=side, turn=0.0)


def _matrix(view: _View, centre: tuple[float, float], *, size: int, mirror: bool) -> Floats:
    """The map from output pixels to source pixels; ``centre`` counts from the corner of the image, as edges do."""
    across, down = view.width / size * (-1 if mirror else 1), view.height / size
    cos, sin = math.cos(view.turn), math.sin(view.turn)
    linear = np.array([[cos * across, -sin * down], [sin * across, cos * down]])
    middle = np.array([(size - 1) / 2, (size - 1) / 2])
    return np.hstack([linear, (np.array(centre) - 0.5 - linear @ middle)[:, None]])
