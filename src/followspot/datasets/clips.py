"""Which frames of a video make a training clip: every pattern of the published systems, as data.

Indices are positions in the stored clip, from 0. A *gap* is the distance from one kept frame to the next (1 = neighbours). The papers' code
sometimes counts *skips* instead, the frames that are left out (gap = skip + 1), see :meth:`ClipPattern.from_skips`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal, Self

import numpy as np

from followspot.errors import SettingError

SHRINK_SHARE = 2 / 3
"""Share of a too short video that a shrunken clip covers (vlog_train.py of TimeCycle)."""


@dataclass(frozen=True, kw_only=True)
class ClipPattern:
    """Which frames of a video are kept for one training clip."""

    frames: int = 4
    """Frames of a clip, T >= 1; 3 references and 1 target are 4 (Vondrick et al. 2018)."""
    gap: int = 1
    """From one kept frame to the next, in frames of the stored clip (or of ``per_second``)."""
    gap_max: int | None = None
    """Each clip draws one gap from ``gap..gap_max`` for all its frames, as far as its video is long enough; None: always ``gap``."""
    gaps: tuple[int, ...] | None = None
    """All ``frames - 1`` gaps one by one, instead of ``gap``."""
    per_second: float | None = None
    """Count in frames of a video of this rate instead of the stored one's, which differs between videos; a slower video stays as it is."""
    start: Literal["random", "back-to-back"] = "random"
    """``random``: a uniform start, one clip a video and epoch. ``back-to-back``: all clips of a video that follow each other without
    overlap, each once an epoch; what is left at the end is dropped."""
    between: int = 1
    """``back-to-back``: from the last frame of a clip to the first of the next (1 in the TensorFlow colorization tracker, the gap itself in
    CorrFlow)."""
    overhang: int = 0
    """The last frames of a clip may lie this far past the end and are then the last frame of the video (2 in TimeCycle)."""
    short_video: Literal["drop", "shrink", "clamp"] = "shrink"
    """A video shorter than the clip: leave it out; shrink the gaps so that the clip covers two thirds of it (TimeCycle); or repeat its last
    frame."""
    reverse_probability: float = 0.0
    """Share of the clips that run backwards."""

    def __post_init__(self) -> None:
        _at_least("frames", self.frames, 1)
        _at_least("gap", self.gap, 1)
        _at_least("between", self.between, 1)
        _at_least("overhang", self.overhang, 0)
        if self.gap_max is not None:
            _at_least("gap_max", self.gap_max, self.gap)
        if self.gaps is not None:
            self._check_gaps(self.gaps)
        if self.start == "back-to-back" and self.gap_max is not None:
            raise SettingError(f"gap_max {self.gap_max} needs start = 'random': clips back to back have one fixed length")
        if self.start not in ("random", "back-to-back"):
            raise SettingError(f"start {self.start!r} must be 'random' or 'back-to-back'")
        if self.short_video not in ("drop", "shrink", "clamp"):
            raise SettingError(f"short_video {self.short_video!r} must be 'drop', 'shrink' or 'clamp'")
        if self.per_second is not None and not 0 < self.per_second < np.inf:
            raise SettingError(f"per_second {self.per_second!r} must be a positive number of frames, or none for the stored rate")
        if not 0 <= self.reverse_probability <= 1:
            raise SettingError(f"reverse_probability {self.reverse_probability:g} must be in 0..1")

    def _check_gaps(self, gaps: tuple[int, ...]) -> None:
        if len(gaps) != self.frames - 1 or any(gap < 0 for gap in gaps):
            raise SettingError(f"gaps {list(gaps)} must be {self.frames - 1} numbers >= 0, one between each two of {self.frames} frames")
        if self.gap_max is not None:
            raise SettingError(f"give gaps {list(gaps)} or gap_max {self.gap_max}, not both")

    @classmethod
    def from_skips(cls, skips: Sequence[int], *, start: Literal["random", "back-to-back"] = "back-to-back") -> Self:
        """The pattern that leaves out so many frames before each kept one, the first frame included.

        Args:
            skips: one number a frame; the TensorFlow colorization tracker has ``[0, 4, 4, 4]``, wbaek's version ``[0, 4, 4, 8]``. The first
                is what is left out between two clips.
            start: as :attr:`start`.

        Raises:
            SettingError: there is no number, or one is below 0.

        >>> ClipPattern.from_skips([0, 4, 4, 8]).indices(40, fps=30, rng=np.random.default_rng(0), window=1)
        (20, 25, 30, 39)
        """
        if not skips or min(skips) < 0:
            raise SettingError(f"skips {list(skips)} must be one number >= 0 for each frame, such as 0 4 4 4")
        return cls(frames=len(skips), gaps=tuple(skip + 1 for skip in skips[1:]), between=skips[0] + 1, start=start, short_video="drop")

    def choices(self, frames: int, *, fps: float) -> int:
        """How many clips an epoch takes from a video; 0 where it is too short and ``short_video`` is ``drop``.

        Args:
            frames: of the video, >= 1.
            fps: of the video.

        >>> ClipPattern(frames=4, gap=5, start="back-to-back").choices(48, fps=30)
        3
        """
        length, _ = self._resampled(frames, fps)
        span = sum(self._gaps(self.gap))
        spare = length - (span + 1 - self._overhang(span))
        if spare < 0:
            return 0 if self.short_video == "drop" else 1
        return 1 if self.start == "random" else spare // (span + self.between) + 1

    def indices(self, frames: int, *, fps: float, rng: np.random.Generator, window: int = 0) -> tuple[int, ...]:
        """Draw the frames of one clip.

        Args:
            frames: of the video, >= 1.
            fps: of the video, per second.
            rng: what is random comes from it.
            window: ``back-to-back``: which of the :meth:`choices` clips.

        Returns:
            T positions in ``0..frames - 1``; falling where the clip runs backwards.

        Raises:
            SettingError: the video is shorter than the clip and ``short_video`` is ``drop``, or it has no frame.
        """
        _at_least("frames of the video", frames, 1)
        length, ratio = self._resampled(frames, fps)
        positions = np.array(self._positions(length, rng=rng, window=window))
        kept = np.minimum(np.floor(np.minimum(positions, length - 1) * ratio + 0.5).astype(int), frames - 1)
        reverse = rng.random() < self.reverse_probability
        return tuple(int(index) for index in (kept[::-1] if reverse else kept))

    def _positions(self, length: int, *, rng: np.random.Generator, window: int) -> list[int]:
        """Positions in a video of ``length`` frames, not yet clamped to it."""
        steps = self._gaps(self._draw_gap(length, rng))
        offsets, span = list(accumulate(steps, initial=0)), sum(steps)
        need = span + 1 - self._overhang(span)
        if length >= need:
            start = window * (span + self.between) if self.start == "back-to-back" else int(rng.integers(length - need + 1))
            return [start + offset for offset in offsets]
        if self.short_video == "clamp":
            return offsets
        if self.short_video == "shrink":
            covered = SHRINK_SHARE * length
            start = int(rng.integers(int(length - covered) + 1))
            return [start + int(offset * covered / need) for offset in offsets]
        raise SettingError(f"a video of {length} frames is shorter than the clip's {need}; choices() says 0 for it, leave it out")

    def _draw_gap(self, length: int, rng: np.random.Generator) -> int:
        """One gap of those that the video is long enough for, the smallest if none."""
        if self.gap_max is None or self.frames == 1:
            return self.gap
        fits = (length - 1 + self.overhang) // (self.frames - 1)
        return int(rng.integers(self.gap, max(self.gap, min(self.gap_max, fits)) + 1))

    def _gaps(self, gap: int) -> tuple[int, ...]:
        return self.gaps if self.gaps is not None else (gap,) * (self.frames - 1)

    def _overhang(self, span: int) -> int:
        return min(self.overhang, span)

    def _resampled(self, frames: int, fps: float) -> tuple[int, float]:
        """Frames of the video at ``per_second``, and how many stored frames one of them is."""
        ratio = 1.0 if self.per_second is None else max(1.0, fps / self.per_second)
        return int((frames - 1) / ratio + 1e-9) + 1, ratio


def _at_least(name: str, value: int, lowest: int) -> None:
    if value < lowest:
        raise SettingError(f"{name} {value} must be {lowest} or more")


PUBLISHED_PATTERNS: Mapping[str, ClipPattern] = {
    "colorization": ClipPattern.from_skips((0, 4, 4, 4)),
    "colorization-wbaek": ClipPattern.from_skips((0, 4, 4, 8)),
    "correspondence_flow": ClipPattern(frames=3, gap=4, start="back-to-back", between=4, short_video="drop"),
    "cycle_time": ClipPattern(frames=6, gaps=(2, 2, 2, 9, 2), overhang=2, short_video="shrink"),
    "dense_contrast": ClipPattern(frames=5, gap=2),
}
"""The patterns of the released code by method: the TensorFlow colorization tracker and wbaek's version of it, CorrFlow, TimeCycle (4 past
frames, the target 9 later, and one gap after it), and the two-frame gap of Dense Unsupervised Learning on YouTube-VOS."""
