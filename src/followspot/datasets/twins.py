"""Two discs that meet and part: of one look, so that only their places tell them apart, or of two colours of one lightness.

Everything is a function of the seed and the frame number; masks come from the same formulas as the pixels.
"""

from collections.abc import Iterator
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from followspot.datasets.textures import dead_leaves, spectral_noise
from followspot.errors import SettingError
from followspot.ops.color import lab_to_rgb
from followspot.types import Frame

Look = Literal["same", "hue"]
"""``same``: the discs are copies. ``hue``: they differ in hue alone, neither in lightness nor in pattern."""
Meeting = Literal["cross", "pass"]
"""``cross``: the second disc passes in front of the first. ``pass``: they pass each other with a gap between them."""

Image = NDArray[np.uint8]

_FPS = 25.0
_CHROMA = 30.0
"""Distance from grey in ab: every hue of it exists in sRGB at the lightness of the discs."""
_SINK = 0.3
"""How far the discs sink, in heights of the picture: more than a diameter, and they stay inside."""
_LIGHTNESS, _PATTERN = 58.0, 8.0
"""Mean and standard deviation of L on the discs: visible on the background, and never black or white."""


class TwinVideo:
    """The clip.

    Args:
        seed: background, pattern, hue and small differences of the paths follow from it.
        look: see `Look`.
        meeting: see `Meeting`.
        num_frames: length, at least 4.
        height: rows, at least 64.
        width: columns, at least 64.

    Raises:
        SettingError: a number is out of range.

    >>> video = TwinVideo(0, num_frames=8, height=64, width=96)
    >>> video.frame(3).shape, sorted(set(video.masks(0).ravel().tolist()))
    ((64, 96, 3), [0, 1, 2])
    """

    names = ("object 1", "object 2")

    def __init__(
        self, seed: int = 0, *, look: Look = "same", meeting: Meeting = "cross", num_frames: int = 24, height: int = 192, width: int = 256
    ) -> None:
        if min(height, width) < 64 or num_frames < 4:
            raise SettingError(f"{num_frames} frames of {width}x{height} show no meeting; use at least 4 of 64x64")
        self.num_frames, self.height, self.width = num_frames, height, width
        self.radius = height / 8
        """Of the discs, in pixels: three feature cells of stride 8 at the usual size."""
        rng = np.random.default_rng([seed, 19])
        self._background = dead_leaves(rng, (height, width), hues=tuple(rng.random(3)), leaves=300)
        side = 2 * int(np.ceil(self.radius)) + 3
        pattern = _LIGHTNESS + _PATTERN * np.clip(spectral_noise(rng, (side, side)).astype(np.float64), -2, 2)
        hue = rng.uniform(0, 2 * np.pi)
        self._coats = tuple(_coat(pattern, hue + (np.pi if look == "hue" and order else 0)) for order in range(2))
        gap = 2 * self.radius * (1.3 if meeting == "pass" else 0.0)
        middle = height / 2 + rng.uniform(-0.03, 0.03) * height
        self._rows = middle - gap / 2, middle + gap / 2
        self._bob = 0.02 * height, rng.uniform(0, 2 * np.pi, 2), 2 * np.pi / rng.uniform(18, 30, 2)
        self._ends = 0.2 * width, 0.8 * width
        if not self.is_parted(num_frames - 1):
            raise SettingError(f"{width}x{height} is too narrow for the discs to part; take a width of at least the height")

    def __len__(self) -> int:
        return self.num_frames

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self.num_frames):
            yield Frame(image=self.frame(index), index=index, time_seconds=index / _FPS, name=f"{index:05d}")

    def centres(self, index: int) -> NDArray[np.float64]:
        """``(2, 2)`` where the discs are, in pixels.

        Raises:
            SettingError: there is no such frame.
        """
        if not 0 <= index < self.num_frames:
            raise SettingError(f"frame {index} does not exist; this video has frames 0..{self.num_frames - 1}")
        left, right = self._ends
        x = left + (right - left) * index / (self.num_frames - 1)
        size, phase, speed = self._bob
        # Both sink, so that neither ends where the other one began: matches with the first frame would otherwise favour a switch.
        sunk = _SINK * self.height * (index / (self.num_frames - 1) - 0.5)
        y = np.array(self._rows) + sunk + size * np.sin(phase + speed * index)
        return np.array([[x, y[0]], [left + right - x, y[1]]])

    def frame(self, index: int) -> Image:
        """The picture: RGB uint8 ``(H, W, 3)``."""
        picture = self._background.copy()
        for coat, centre in zip(self._coats, self.centres(index), strict=True):
            half = (coat.shape[0] - 1) / 2
            shift = np.array([[1, 0, centre[0] - half], [0, 1, centre[1] - half]])
            size = (self.width, self.height)
            placed = np.asarray(cv2.warpAffine(coat, shift, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)
            picture += (placed - picture) * self._cover(centre)[:, :, None]
        image: Image = np.clip(picture * 255 + 0.5, 0, 255).astype(np.uint8)
        return image

    def masks(self, index: int) -> Image:
        """Id map uint8 ``(H, W)``; where they overlap, the second disc is in front."""
        ids = np.zeros((self.height, self.width), np.uint8)
        for number, centre in enumerate(self.centres(index), start=1):
            ids[self._cover(centre) >= 0.5] = number
        return ids

    def is_parted(self, index: int) -> bool:
        """Whether the discs have met, and are a diameter apart from each other again."""
        centres = self.centres(index)
        met = centres[0, 0] > centres[1, 0]
        return bool(met and np.linalg.norm(centres[0] - centres[1]) > 4 * self.radius)

    def _cover(self, centre: NDArray[np.float64]) -> NDArray[np.float32]:
        rows, columns = np.ogrid[: self.height, : self.width]
        distance = np.hypot(columns - centre[0], rows - centre[1])
        cover: NDArray[np.float32] = np.clip(self.radius + 0.5 - distance, 0, 1).astype(np.float32)
        return cover


def _coat(lightness: NDArray[np.float64], hue: float) -> NDArray[np.float32]:
    """``(side, side, 3)`` RGB in [0, 1] of a pattern of L in one hue."""
    chroma = np.stack([np.full_like(lightness, _CHROMA * np.cos(hue)), np.full_like(lightness, _CHROMA * np.sin(hue))])
    rgb = lab_to_rgb(torch.from_numpy(np.concatenate([lightness[None], chroma])).float())
    return np.ascontiguousarray(rgb.clamp(0, 1).permute(1, 2, 0).numpy())
