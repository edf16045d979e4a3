"""How much a picture differs from the one before it: motion, and cuts between shots."""

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_THUMBNAIL = 64
"""Long side, in pixels, at which pictures are compared: averages away sensor noise and compression, keeps what moves."""

_BINS = 4
"""Colour histogram: 4 levels a channel, 64 colours; coarse enough that a change of exposure stays in most bins."""

_MEMORY = 8
"""How many differences before a picture say what is usual there: half a second of a 15 Hz clip."""

_CUT_COLORS = 0.25
"""Share of the picture whose colour changes at a cut; with the two below measured by ``speed/cuts.py`` on joins of real clips."""

_CUT_PEAK = 3.0
"""A cut's difference is this many times the usual one: fast motion is fast in the frames before, too."""

_CUT_FLOOR = 8.0
"""Grey levels that a cut changes at least, so that a still scene does not make a peak of a flicker."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """What changed since the picture before."""

    difference: float
    """Mean absolute difference in grey levels, 0..255."""
    is_cut: bool
    """Whether another shot begins here."""


class ChangeMeter:
    """Compares each picture with the one before.

    A cut is a peak: a difference of several times what it was in the frames before, together with other colours.

    >>> meter = ChangeMeter()
    >>> black, white = np.zeros((32, 48, 3), np.uint8), np.full((32, 48, 3), 255, np.uint8)
    >>> [meter.add(image).is_cut for image in (black, black, white, white)]
    [False, False, True, False]
    """

    def __init__(self) -> None:
        self._gray: NDArray[np.float32] | None = None
        self._colors: NDArray[np.float64] | None = None
        self._recent: deque[float] = deque(maxlen=_MEMORY)

    def add(self, image: NDArray[np.uint8]) -> Change:
        """The next picture.

        Args:
            image: RGB ``(H, W, 3)``, the same size every time.

        Returns:
            How it differs from the one before; no difference for the first.
        """
        import cv2

        scale = min(1.0, _THUMBNAIL / max(image.shape[:2]))
        height, width = (max(1, round(side * scale)) for side in image.shape[:2])
        small = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        gray = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.float32)
        colors = _histogram(small)
        before, colors_before = self._gray, self._colors
        self._gray, self._colors = gray, colors
        if before is None or colors_before is None:
            return Change(difference=0.0, is_cut=False)
        difference = float(np.abs(gray - before).mean())
        usual = float(np.median(self._recent)) if self._recent else 0.0
        other_colors = 0.5 * float(np.abs(colors - colors_before).sum())
        is_cut = difference > max(_CUT_FLOOR, _CUT_PEAK * usual) and other_colors > _CUT_COLORS
        if is_cut:
            self._recent.clear()
        else:
            self._recent.append(difference)
        return Change(difference=difference, is_cut=is_cut)


def _histogram(small: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Shares of the 64 coarse colours, summing to 1."""
    levels = (small // (256 // _BINS)).astype(np.int64)
    codes = (levels[..., 0] * _BINS + levels[..., 1]) * _BINS + levels[..., 2]
    counts = np.bincount(codes.ravel(), minlength=_BINS**3)
    return np.asarray(counts / counts.sum(), np.float64)
