"""How synthetic things move: settings of difficulty, smooth waves, affine maps."""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from followspot.errors import SettingError

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Difficulty:
    """How hard each thing is, each from 0 (absent) to 1 (strong)."""

    deformation: float = 0.5
    """Bending, turning and change of size of the objects."""
    occlusion: float = 0.5
    """Crossing paths and the width of the pillar in front; at 0 objects keep to lanes of their own and nothing stands in front."""
    lighting: float = 0.5
    """Brightness, gamma and colour over time, and a soft shadow that drifts over the scene."""
    camera: float = 0.5
    """Pan, zoom, roll and shake."""
    noise: float = 0.5
    """Sensor noise; 1 is a standard deviation of 10 grey levels."""

    def __post_init__(self) -> None:
        for knob in fields(self):
            value = getattr(self, knob.name)
            if not 0 <= value <= 1:
                raise SettingError(f"{knob.name} {value:g} must be in 0..1 (0 = absent, 1 = strong)")


class Wave:
    """A smooth function of time in [-1, 1]: two sines of random period and phase."""

    def __init__(self, rng: np.random.Generator, *, period: tuple[float, float], phase: float | None = None) -> None:
        self._speed = 2 * np.pi / rng.uniform(*period, 2) * (1, 2.3)
        self._phase = np.array([rng.uniform(0, 2 * np.pi) if phase is None else phase, rng.uniform(0, 2 * np.pi)])

    def __call__(self, time: float) -> float:
        """Value at a time in frames."""
        return float(np.sin(self._speed * time + self._phase) @ (0.85, 0.15))


def affine(turn: float, scale: float, shift: tuple[float, float], *, stretch: float = 0.0, shear: float = 0.0) -> Floats:
    """A ``(3, 3)`` affine map: stretch and shear, then turn (radians) and scale, then shift."""
    cos, sin = np.cos(turn), np.sin(turn)
    linear = scale * np.array([[cos, -sin], [sin, cos]]) @ np.array([[np.exp(stretch), shear], [0, np.exp(-stretch)]])
    matrix = np.eye(3)
    matrix[:2, :2], matrix[:2, 2] = linear, shift
    return matrix
