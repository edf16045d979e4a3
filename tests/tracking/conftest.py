"""A tiny encoder and a tiny video whose truth is known to the pixel."""

import numpy as np
import pytest
import torch

from followspot.ops.propagate import Affinity
from followspot.tracking.presets import Preset, Resolution
from followspot.tracking.propagation import PropagationTracker
from followspot.types import Frame


class Patches(torch.nn.Module):
    """Each cell is described by its own mean-free pixels: exact for whole-cell shifts, useless otherwise, and fast."""

    name, dim, stride, receives = "patches", 3 * 16, 4, "rgb"

    def forward(self, frames):
        cells = torch.nn.functional.pixel_unshuffle(frames, 4)
        return cells - cells.mean(1, keepdim=True)


class Shift:
    """A textured square of 16 pixels that moves one cell (4 pixels) a frame; the background repeats, but for a still corner."""

    def __init__(self, frames=8, height=48, width=80):
        rng = np.random.default_rng(0)
        self.back = np.tile(rng.integers(0, 255, (4, 4, 3), dtype=np.uint8), (height // 4, width // 4, 1))
        self.back[36:48, 60:80] = rng.integers(0, 255, (12, 20, 3), dtype=np.uint8)
        self.front = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
        self.count, self.size = frames, (height, width)

    def corner(self, t):
        return 8 + 4 * t, 12

    def frame(self, t):
        image = self.back.copy()
        x, y = self.corner(t)
        image[y : y + 16, x : x + 16] = self.front
        return Frame(image=image, index=t, time_seconds=t / 10, name=f"{t:05d}")

    def mask(self, t, value=1):
        ids = np.zeros(self.size, np.uint8)
        x, y = self.corner(t)
        ids[y : y + 16, x : x + 16] = value
        return ids

    def box(self, t):
        x, y = self.corner(t)
        return np.array([[x, y, x + 16, y + 16]], float)

    def point(self, t):
        x, y = self.corner(t)
        return np.array([[x + 7.5, y + 7.5]])

    def frames(self):
        return [self.frame(t) for t in range(self.count)]


@pytest.fixture
def encoder():
    return Patches()


@pytest.fixture
def shift():
    return Shift()


@pytest.fixture
def native():
    return Preset(
        name="test",
        source="test",
        affinity=Affinity(top_k=5, temperature=0.05, radius=3, radius_first=None),
        context_frames=2,
        resolution=Resolution(mode="native"),
    )


@pytest.fixture
def tracker(encoder, native):
    return PropagationTracker(encoder, native)
