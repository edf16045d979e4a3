"""Named propagation settings with their sources (the released code of each system; docs/presets.md prints this table)."""

import difflib
from dataclasses import dataclass
from typing import Literal

from followspot.errors import SettingError
from followspot.ops.propagate import Affinity


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """At what size frames are encoded; results always come back at the source's size.

    Args:
        mode: ``"short"`` scales the short side to `pixels` and keeps the aspect, ``"square"`` squashes to `pixels` x `pixels`
            (as TimeCycle and the colorization tracker do), ``"native"`` keeps the size.
        pixels: side length; ignored for ``"native"``.
    """

    mode: Literal["short", "square", "native"] = "short"
    pixels: int = 480

    def __post_init__(self) -> None:
        if not 16 <= self.pixels <= 8192:
            raise SettingError(f"resolution {self.pixels} is outside 16..8192 pixels; 480 is the field's usual short side")

    def grid(self, height: int, width: int, *, stride: int) -> tuple[int, int]:
        """The feature grid ``(h, w)`` for a frame; the frame is resized to exactly ``(h * stride, w * stride)``.

        Args:
            height: of the source, pixels.
            width: of the source, pixels.
            stride: of the encoder, pixels a cell.
        """
        if self.mode == "square":
            height = width = self.pixels
        elif self.mode == "short":
            scale = self.pixels / min(height, width)
            height, width = round(height * scale), round(width * scale)
        return max(1, -(-height // stride)), max(1, -(-width // stride))


@dataclass(frozen=True, kw_only=True)
class Preset:
    """How labels are carried from frame to frame."""

    name: str
    source: str
    """Where the values come from."""
    affinity: Affinity
    context_frames: int
    """How many of the last frames are remembered besides the annotated ones."""
    keep_references: bool = True
    """False: an annotated frame is forgotten like any other once `context_frames` newer ones are there."""
    recursion: Literal["soft", "hard"] = "soft"
    """What is remembered of a frame: its soft label maps, or the decoded answer encoded again."""
    class_normalize: bool = False
    """Min-max normalise each mask channel over the frame before decoding (TimeCycle; a vanished class stays zero)."""
    resolution: Resolution = Resolution()

    def __post_init__(self) -> None:
        if self.context_frames < 0 or (self.context_frames == 0 and not self.keep_references):
            raise SettingError(f"context_frames = {self.context_frames} leaves nothing to look at; use 1 or more")


PRESETS: dict[str, Preset] = {
    p.name: p
    for p in (
        Preset(
            name="default",
            source="8 frames and 12 cells as DINO's evaluation; top-k and temperature chosen for the descriptor (docs/benchmarks.md)",
            affinity=Affinity(top_k=5, temperature=0.02, radius=12, radius_first=12),
            context_frames=8,
        ),
        Preset(
            name="colorization",
            source="Vondrick et al. 2018, as re-implemented: 3 previous frames, all cells, softmax of raw products / 0.5",
            affinity=Affinity(top_k=None, temperature=0.5, radius=None, radius_first=None, normalize=False),
            context_frames=3,
            keep_references=False,
            resolution=Resolution(mode="square", pixels=256),
        ),
        Preset(
            name="corrflow",
            source="Lai, Xie 2019: the previous frame, 13x13 window, softmax of raw products, hard labels",
            affinity=Affinity(top_k=None, temperature=1.0, radius=6, radius_first=6, normalize=False),
            context_frames=1,
            keep_references=False,
            recursion="hard",
            resolution=Resolution(mode="native"),
        ),
        Preset(
            name="timecycle",
            source="Wang, Jabri, Efros 2019: first + 7 frames, softmax a frame (temperature 512^-0.5), then top-5 as they are, min-max",
            affinity=Affinity(top_k=5, temperature=512**-0.5, radius=None, radius_first=None, joint=False, renormalize=False),
            context_frames=7,
            class_normalize=True,
            resolution=Resolution(mode="square", pixels=480),
        ),
        Preset(
            name="uvc",
            source="Li et al. 2019 (jhmdb branch): TimeCycle's propagation with top-20 at 320x320",
            affinity=Affinity(top_k=20, temperature=512**-0.5, radius=None, radius_first=None, joint=False, renormalize=False),
            context_frames=7,
            class_normalize=True,
            resolution=Resolution(mode="square", pixels=320),
        ),
        Preset(
            name="crw",
            source="Jabri, Owens, Efros 2020: first (free) + 20 frames, circle of 12 cells, top-10, softmax after, temperature 0.05",
            affinity=Affinity(top_k=10, temperature=0.05, radius=12, radius_first=None, window="circle"),
            context_frames=20,
        ),
    )
}


def find_preset(name: str) -> Preset:
    """A preset by name.

    Raises:
        SettingError: there is none; names the nearest one.
    """
    if name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, n=1)
        hint = f'did you mean "{near[0]}"?' if near else "choose from: " + ", ".join(PRESETS)
        raise SettingError(f'unknown preset "{name}"; {hint}')
    return PRESETS[name]
