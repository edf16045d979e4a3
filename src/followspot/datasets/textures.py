"""Pictures that have the statistics of photographs, made from a seed: for synthetic video.

Photographs have a power spectrum that falls as 1/f^2 (Field 1987) and occlusion edges at all sizes; the dead-leaves model (Lee, Mumford
and Huang 2001) of overlapping shapes with power-law sizes reproduces both.
"""

import colorsys

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def spectral_noise(rng: np.random.Generator, size: tuple[int, int], *, falloff: float = 1.0) -> Floats:
    """Random smooth field with an amplitude spectrum of ``1 / f ** falloff``.

    Args:
        rng: source of randomness.
        size: ``(H, W)``.
        falloff: 1 for photographs, 2 for clouds.

    Returns:
        ``(H, W)`` float32, mean 0, standard deviation 1; it wraps around at the borders.
    """
    height, width = size
    frequency = np.hypot(np.fft.fftfreq(height)[:, None] * height, np.fft.rfftfreq(width)[None] * width)
    frequency[0, 0] = np.inf
    phases = np.exp(2j * np.pi * rng.random(frequency.shape))
    field = np.fft.irfft2(phases / frequency**falloff, s=size)
    field -= field.mean()
    return (field / max(float(field.std()), 1e-12)).astype(np.float32)


def dead_leaves(rng: np.random.Generator, size: tuple[int, int], *, hues: tuple[float, ...], leaves: int = 1300) -> Floats:
    """A scene of overlapping shaded shapes with power-law sizes, grain included.

    Args:
        rng: source of randomness.
        size: ``(H, W)``.
        hues: hues in [0, 1) from which shapes take their colours.
        leaves: number of shapes.

    Returns:
        ``(H, W, 3)`` float32 RGB in [0, 1].
    """
    height, width = size
    picture = np.empty((height, width, 3), np.float32)
    picture[:] = _colour(rng, hues)
    largest, smallest = min(size) * 0.25, min(size) * 0.018
    # Inverse-cube density of radii between the two ends: the scale-invariant one.
    share = rng.random(leaves)
    radii = 1 / np.sqrt(share / smallest**2 + (1 - share) / largest**2)
    # Large shapes tend to lie below, else they hide everything.
    for radius in radii[np.argsort(-radii * np.exp(0.6 * rng.standard_normal(leaves)))]:
        centre = (rng.uniform(0, width), rng.uniform(0, height))
        outline = _leaf_outline(rng, centre, float(radius))
        colour = _colour(rng, hues)
        # A darker copy below and to the right reads as the shadow that shapes in a pile cast on each other.
        for shift, shade in ((0.1 * smallest + 0.07 * radius, 0.45), (0.0, 1.0)):
            corners = np.round((outline + shift) * 16).astype(np.int32)
            cv2.fillPoly(picture, [corners], tuple(shade * channel for channel in colour), cv2.LINE_AA, 4)
    light = 1 + 0.2 * spectral_noise(rng, size, falloff=1.7) + 0.06 * spectral_noise(rng, size, falloff=0.9)
    tint = np.stack([spectral_noise(rng, size, falloff=1.5) for _ in range(3)], 2)
    return np.clip(picture * light[:, :, None] + 0.025 * tint, 0, 1).astype(np.float32)


def coat(rng: np.random.Generator, size: tuple[int, int], *, hue: float) -> Floats:
    """The fur, skin or paint of one object: patches or stripes of two tones, with grain.

    Args:
        rng: source of randomness.
        size: ``(H, W)``.
        hue: main hue in [0, 1).

    Returns:
        ``(H, W, 3)`` float32 RGB in [0, 1].
    """
    base = np.array(colorsys.hsv_to_rgb(hue, rng.uniform(0.45, 0.75), rng.uniform(0.6, 0.85)), np.float32)
    other = np.array(colorsys.hsv_to_rgb((hue + rng.uniform(-0.12, 0.12)) % 1, rng.uniform(0.25, 0.8), rng.uniform(0.2, 0.45)), np.float32)
    pale = np.array(colorsys.hsv_to_rgb((hue + rng.uniform(-0.05, 0.05)) % 1, rng.uniform(0.05, 0.25), rng.uniform(0.85, 0.98)), np.float32)
    # Noise between two blurs has one dominant size, as the patterns of animals do.
    grain = rng.standard_normal(size).astype(np.float32)
    width = size[0] / rng.uniform(28, 48)
    stretch = rng.uniform(1, 2.2)
    pattern = cv2.GaussianBlur(grain, (0, 0), width, sigmaY=width * stretch) - cv2.GaussianBlur(grain, (0, 0), 2 * width)
    patches = _smoothstep(pattern / pattern.std(), 0.35, 0.6)[:, :, None]
    belly = _smoothstep(spectral_noise(rng, size, falloff=2.0), 0.6, 1.0)[:, :, None]
    picture = base * (1 - patches) + other * patches
    picture = picture * (1 - belly) + pale * belly
    light = 1 + 0.14 * spectral_noise(rng, size, falloff=1.3) + 0.03 * spectral_noise(rng, size, falloff=0.7)
    lit: Floats = np.clip(picture * light[:, :, None], 0, 1).astype(np.float32)
    return lit


def _smoothstep(values: Floats, low: float, high: float) -> Floats:
    share = np.clip((values - low) / (high - low), 0, 1)
    result: Floats = share * share * (3 - 2 * share)
    return result


def _colour(rng: np.random.Generator, hues: tuple[float, ...]) -> tuple[float, float, float]:
    hue = (float(rng.choice(hues)) + 0.03 * rng.standard_normal()) % 1
    return colorsys.hsv_to_rgb(hue, float(0.75 * rng.beta(2, 3)), float(0.12 + 0.75 * rng.beta(2, 2.4)))


def _leaf_outline(rng: np.random.Generator, centre: tuple[float, float], radius: float) -> NDArray[np.float64]:
    """(V, 2) corners: ellipses and angular slabs in equal shares."""
    corners = 24 if rng.random() < 0.6 else int(rng.integers(3, 7))
    angle = np.sort(rng.random(corners)) * 2 * np.pi if corners < 24 else np.linspace(0, 2 * np.pi, corners, endpoint=False)
    narrow, turn = rng.uniform(0.3, 1), rng.uniform(0, np.pi)
    x, y = radius * np.cos(angle), radius * narrow * np.sin(angle)
    return np.stack([centre[0] + x * np.cos(turn) - y * np.sin(turn), centre[1] + x * np.sin(turn) + y * np.cos(turn)], 1)
