"""What a prepared clip is: the settings it is made to, and what is known of it once it is made."""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from followspot.errors import SettingError, VideoError

GOP = 16
"""Frames between key frames, at most."""

SMALLEST = 16
"""Pixels: the side of an H.264 macroblock (ITU-T H.264 §6.3). Below it there is nothing to learn from."""

SLACK = 1.01
"""A clip may be a hundredth longer than the limit: 20 s at a nominal 15 Hz are 20.02 s at the 14.985 Hz that files really have."""


@dataclass(frozen=True, kw_only=True)
class TranscodeSettings:
    """What clips are made to be.

    Raises:
        SettingError: a value is outside its range.
    """

    short_side: int | None = 256
    """Pixels of the shorter side, even; smaller videos keep their size, and None keeps every size. 256 is what the methods train at
    (TimeCycle's ``downscale_video``, the short side of Kinetics copies)."""
    fps_limit: float | None = None
    """Frames per second at most; None keeps the source's rate."""
    max_seconds: float = 20.0
    """Longer videos are cut into equal pieces of at most this length (and a hundredth more)."""
    min_frames: int = 4
    """Shorter clips are refused: three references and a target are the shortest pattern that trains (Vondrick et al., 2018)."""
    split_cuts: bool = False
    """Whether a new clip begins where the picture jumps."""
    crf: int = 23
    """Quality of what is encoded anew, 0 (best) to 51; 23 is x264's own default."""

    def __post_init__(self) -> None:
        if self.short_side is not None and (self.short_side < SMALLEST or self.short_side % 2):
            raise SettingError(f"short side {self.short_side} cannot be encoded; give an even number from {SMALLEST} on, such as 256")
        if self.fps_limit is not None and not (math.isfinite(self.fps_limit) and self.fps_limit > 0):
            raise SettingError(f"frame rate limit {self.fps_limit} is not a rate; give a number above 0, such as 15")
        if not (math.isfinite(self.max_seconds) and self.max_seconds > 0):
            raise SettingError(f"max seconds {self.max_seconds} is no length; give a number above 0, such as 20")
        if self.min_frames < 1:
            raise SettingError(f"min frames {self.min_frames} is no length; give 1 or more")
        if not 0 <= self.crf <= 51:
            raise SettingError(f"crf {self.crf} is not a quality; give 0 (best) to 51, such as 23")


@dataclass(frozen=True, kw_only=True)
class MadeClip:
    """A clip as it was written."""

    file: Path
    frames: int
    fps: float
    height: int
    width: int
    sha256: str
    """Of the pictures before they were encoded: the same for the same pictures in any container."""
    motion: float
    """Mean absolute difference between neighbouring frames in grey levels, 0..255, of thumbnails."""
    start_seconds: float
    """When it begins in its source."""
    copied: bool
    """Whether the packets were taken over as they were."""


def clip_size(height: int, width: int, *, short_side: int | None) -> tuple[int, int]:
    """The size of a clip: both sides even, never larger than the source.

    Raises:
        VideoError: a side is below 16 pixels.

    >>> clip_size(1080, 1920, short_side=256), clip_size(181, 321, short_side=256)
    ((256, 456), (180, 320))
    """
    if min(height, width) < SMALLEST:
        raise VideoError(f"{width}x{height} is too small; a clip has at least {SMALLEST} pixels a side")
    shorter = min(height, width)
    if short_side is None or shorter <= short_side:
        return height // 2 * 2, width // 2 * 2
    longer = 2 * round(max(height, width) * short_side / shorter / 2)
    return (short_side, longer) if height <= width else (longer, short_side)


class ClipFacts:
    """What is known of a clip once its pictures have passed.

    Attributes:
        count: how many pictures there were so far.
    """

    def __init__(self) -> None:
        self.count = 0
        self._size = (0, 0)
        self._digest = hashlib.sha256()
        self._change = 0.0

    def add(self, image: NDArray[np.uint8], difference: float) -> None:
        """The next picture.

        Args:
            image: RGB ``(H, W, 3)``.
            difference: from the picture before; not counted for the first, which has none in this clip.
        """
        if self.count == 0:
            self._size = (image.shape[0], image.shape[1])
            self._digest.update(str(self._size).encode())
        else:
            self._change += difference
        self._digest.update(np.ascontiguousarray(image).data)
        self.count += 1

    def clip(self, file: Path, *, fps: float, start_seconds: float, copied: bool) -> MadeClip:
        """What is known now that all pictures have passed; the arguments are fields of :class:`MadeClip`."""
        return MadeClip(
            file=file,
            frames=self.count,
            fps=fps,
            height=self._size[0],
            width=self._size[1],
            sha256=self._digest.hexdigest(),
            motion=self._change / max(1, self.count - 1),
            start_seconds=start_seconds,
            copied=copied,
        )
