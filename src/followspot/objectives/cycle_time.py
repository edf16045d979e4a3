"""Cycle-consistency in time: a patch followed back and forth must come home (TimeCycle, Wang et al., CVPR 2019, and its released code).

A patch is cut from the last frame where something moves. A localiser, shown how its features match those of a frame, says where in the
frame it is; the features cut out there are what is looked for in the next. The patch is followed back through the last c frames and forth
again, for c = 1..T; where it ends must be where it was cut. No frame is labelled: the cut is known because we made it.

    loss = 0.02 mean_c |end of cycle c - cut|^2 + 0.1 mean_t |patch -> frame t -> end - cut|^2 - 1.0 mean_t inliers(patch -> frame t)
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from followspot.errors import SettingError
from followspot.objectives.base import ClipBatch, Objective, ObjectiveOutput, encode_clips, uniform_rows
from followspot.ops.geometry import lattice, lattice_distance, on_cells, outline, similarity_theta, transform_points, warp
from followspot.ops.motion_patches import DRAWS, MAX_ANGLE, PATCH_SHARE, draw_patches

_PATCHES_A_SIDE: Final = 3
# Widths and slope of the published localiser, and the deviation of its initial weights (model_simple.py).
_WIDTHS: Final = (128, 64)
_SLOPE: Final = 0.1
_INITIAL_STD: Final = 0.01
_KERNEL: Final = 4
_TRUE_COLOR: Final = (0.0, 1.0, 0.0)
_PREDICTED_COLOR: Final = (1.0, 0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class CycleTimeSettings:
    """What may be changed about :class:`CycleTime`; the defaults are the values of the released code."""

    image_size: int = 240
    """Side of the square frames in pixels, a multiple of three strides; the patch is a third of it."""
    stride: int = 8
    """Pixels a feature cell of the encoder."""
    base_frames: int = 4
    """T: frames that the patch is followed through; a clip has two more (the one it is cut from, and one to see motion)."""
    temperature: float | None = None
    """What cosines are divided by before the softmax; None: dim ** -0.5, as published."""
    long_weight: float = 0.02
    """Weight of the cycles, frame by frame: the published 0.1 times 0.2 "for stable training"."""
    skip_weight: float = 0.1
    """Weight of the cycles that jump to one frame and back."""
    inlier_weight: float = 1.0
    """Weight of the share of matches that agree with the localiser."""
    history: int = 1
    """Cut-outs that are averaged to what is looked for next (--hist); 1 is the last one alone."""
    max_angle: float = MAX_ANGLE
    """Degrees that the patch is turned at most, 0..180."""

    def __post_init__(self) -> None:
        for name, lowest in (("stride", 1), ("base_frames", 1), ("history", 1)):
            if getattr(self, name) < lowest:
                raise SettingError(f"{name} {getattr(self, name)} must be at least {lowest}")
        unit = _PATCHES_A_SIDE * self.stride
        if self.image_size < 2 * unit or self.image_size % unit:
            near = max(2, round(self.image_size / unit)) * unit
            raise SettingError(f"image_size {self.image_size} must be a multiple of 3 x stride = {unit} from {2 * unit} on; use {near}")
        if self.temperature is not None and not (math.isfinite(self.temperature) and self.temperature > 0):
            raise SettingError(f"temperature {self.temperature:g} must be above 0; None takes dim ** -0.5")
        for name in ("long_weight", "skip_weight", "inlier_weight"):
            weight = getattr(self, name)
            if not (math.isfinite(weight) and weight >= 0):
                raise SettingError(f"{name} {weight:g} must be 0 or more; 0 leaves that part out")
        if not 0 <= self.max_angle <= 180:
            raise SettingError(f"max_angle {self.max_angle:g} must be in 0..180 degrees; the source uses {MAX_ANGLE:g}")

    @property
    def patch_size(self) -> int:
        """Side of the patch in pixels."""
        return self.image_size // _PATCHES_A_SIDE


class Localizer(nn.Module):
    """Says from matches where a patch is: two convolutions and a linear layer (model_simple.py of the released code).

    Args:
        frame_cells: cells a side of the frame's feature grid.
        patch_cells: cells a side of the patch's. The published 4 x 4 kernels need 7; below that they shrink to half the patch.
    """

    def __init__(self, *, frame_cells: int, patch_cells: int) -> None:
        super().__init__()
        kernel = _KERNEL if patch_cells >= 2 * _KERNEL - 1 else (patch_cells + 1) // 2
        left = patch_cells - 2 * (kernel - 1)
        self.conv1 = nn.Conv2d(frame_cells**2, _WIDTHS[0], kernel)
        self.conv2 = nn.Conv2d(_WIDTHS[0], _WIDTHS[1], kernel)
        self.linear = nn.Linear(_WIDTHS[1] * left**2, 3)
        for name, parameter in self.named_parameters():
            nn.init.normal_(parameter, std=_INITIAL_STD if name.endswith("weight") else 0.0)

    def forward(self, matches: Tensor) -> Tensor:
        """``(B, frame cells, p, p)`` matches to ``(B, 3)``: shift x, shift y (-1..1), angle (radians)."""
        x = functional.leaky_relu(self.conv1(matches), _SLOPE)
        x = functional.leaky_relu(self.conv2(x), _SLOPE)
        pose: Tensor = self.linear(x.flatten(1))
        return pose


@dataclass(frozen=True, kw_only=True)
class _Scene:
    """Unit features of a batch, and where the patch was cut."""

    base: Tensor
    """``(B, T, dim, n, n)``"""
    end: Tensor
    """``(B, dim, n, n)``: the frame that the patch was cut from."""
    patch: Tensor
    """``(B, dim, p, p)``"""
    cut: Tensor
    """``(B, 2, 3)``"""


class CycleTime(Objective):
    """The objective; its localiser is trained with the encoder and left behind with it.

    A clip is T frames, then the frame that the patch is cut from, then one a little later, which only shows what moves.

    Args:
        settings: see there.
        dim: channels of the encoder's map.
    """

    def __init__(self, settings: CycleTimeSettings, *, dim: int) -> None:
        super().__init__(num_frames=settings.base_frames + 2)
        self.settings = settings
        self.temperature = dim**-0.5 if settings.temperature is None else settings.temperature
        cells = settings.image_size // settings.stride
        self.localizer = Localizer(frame_cells=cells, patch_cells=cells // _PATCHES_A_SIDE)

    def forward(self, clips: ClipBatch, encoder: nn.Module) -> ObjectiveOutput:
        """The loss of a batch.

        Args:
            clips: ``(B, T + 2, 3, S, S)`` with S = ``image_size``.
            encoder: of stride ``stride``.

        Raises:
            SettingError: frames or features have another size than the settings say.
        """
        scene = self._look(clips, encoder)
        weights = self.settings
        with torch.autocast(clips.frames.device.type, enabled=False):
            zero = scene.cut.new_zeros(len(scene.cut))
            long = self._cycles(scene) if weights.long_weight else zero
            skip, inliers = self._skips(scene) if weights.skip_weight or weights.inlier_weight else (zero, zero)
            rows = weights.long_weight * long + weights.skip_weight * skip - weights.inlier_weight * inliers
        parts = {"cycle": long, "skip": skip, "inliers": inliers}
        # Priorities must not be negative, and inliers is at most 1.
        priority = (rows + weights.inlier_weight).detach()
        logs = {name: part.detach().mean() for name, part in parts.items()}
        return ObjectiveOutput(loss=rows.mean(), per_sample=priority, logs=logs)

    def pictures(self, clips: ClipBatch, encoder: nn.Module) -> Mapping[str, Tensor]:
        """Where the first clip's patch was cut (green) and found (red).

        Returns:
            ``target``: the frame it was cut from, ``(3, S, S)``; ``way``: the T frames that the longest cycle goes back through, side by
            side, the last one first.
        """
        scene = self._look(clips, encoder)
        back = list(scene.base.unbind(1))[::-1]
        thetas = self._follow(scene.patch, [*back, *back[-2::-1], scene.end])
        frames, last = clips.frames[0], self.settings.base_frames
        target = _draw(_draw(frames[last], scene.cut, _TRUE_COLOR), thetas[-1], _PREDICTED_COLOR)
        way = [_draw(frames[last - 1 - hop], thetas[hop], _PREDICTED_COLOR) for hop in range(last)]
        return {"target": target, "way": torch.cat(way, -1)}

    def _look(self, clips: ClipBatch, encoder: nn.Module) -> _Scene:
        """Cut the patches and encode everything."""
        settings, frames = self.settings, clips.frames
        side, last = settings.image_size, settings.base_frames
        if frames.ndim != 5 or frames.shape[1:] != (last + 2, 3, side, side):
            raise SettingError(
                f"cycle_time takes clips (B, {last + 2}, 3, {side}, {side}), got {tuple(frames.shape)}; fit image_size and base_frames"
            )
        draws = uniform_rows(clips, DRAWS).to(_precision(frames))
        pose = draw_patches(clips.clean[:, last], clips.clean[:, last + 1], draws, max_angle=settings.max_angle)
        cut = similarity_theta(pose, scale=PATCH_SHARE)
        patches = warp(frames[:, last], cut, (settings.patch_size, settings.patch_size))
        features = _unit(encode_clips(frames[:, : last + 1], encoder), dim=2)
        patch = _unit(encoder(patches), dim=1)
        cells = (side // settings.stride, settings.patch_size // settings.stride)
        if (features.shape[-1], patch.shape[-1]) != cells:
            raise SettingError(
                f"stride {settings.stride} does not fit the encoder, whose maps have {features.shape[-1]} cells a side, not {cells[0]}"
            )
        return _Scene(base=features[:, :last], end=features[:, last], patch=patch, cut=cut)

    def _cycles(self, scene: _Scene) -> Tensor:
        """``(B,)``: how far cycles 1..T end from the cut, on average."""
        back = list(scene.base.unbind(1))[::-1]
        apart = []
        for length in range(1, len(back) + 1):
            forth = back[: length - 1][::-1]
            thetas = self._follow(scene.patch, [*back[:length], *forth, scene.end])
            apart.append(lattice_distance(thetas[-1], scene.cut))
        return torch.stack(apart).mean(0)

    def _skips(self, scene: _Scene) -> tuple[Tensor, Tensor]:
        """``(B,)`` each: how far patch -> frame t -> end is from the cut, and the share of matches in frame t that agree; means over t."""
        rows, frames = scene.base.shape[:2]
        base = scene.base.flatten(0, 1)
        theta, matches = self._locate(scene.patch.repeat_interleave(frames, 0), base)
        inliers = inlier_share(matches, self._on_cells(theta))
        home, _ = self._locate(self._cut_out(base, theta), scene.end.repeat_interleave(frames, 0))
        apart = lattice_distance(home, scene.cut.repeat_interleave(frames, 0))
        return apart.view(rows, frames).mean(1), inliers.view(rows, frames).mean(1)

    def _follow(self, patch: Tensor, path: Sequence[Tensor]) -> list[Tensor]:
        """Find the patch in each frame of a path, each time from where it was found before."""
        seen = [patch]
        thetas: list[Tensor] = []
        for features in path:
            recent = seen[-self.settings.history :]
            query = recent[0] if len(recent) == 1 else _unit(torch.stack(recent).mean(0), dim=1)
            theta, _ = self._locate(query, features)
            thetas.append(theta)
            seen.append(self._cut_out(features, theta))
        return thetas

    def _locate(self, query: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Where the query is, ``(B, 2, 3)``, and the matches that say so.

        They are ``(B, n * n, p, p)``: for each cell of the query, shares of the frame that sum to 1.
        """
        similar = torch.einsum("bci,bcj->bij", features.flatten(2), query.flatten(2))
        matches = (similar / self.temperature).softmax(1).reshape(len(query), -1, *query.shape[2:])
        return similarity_theta(self.localizer(matches), scale=PATCH_SHARE), matches

    def _cut_out(self, features: Tensor, theta: Tensor) -> Tensor:
        """Unit features ``(B, dim, p, p)`` of the place that a map says."""
        cells = self.settings.patch_size // self.settings.stride
        return _unit(warp(features, self._on_cells(theta), (cells, cells)), dim=1)

    def _on_cells(self, theta: Tensor) -> Tensor:
        settings = self.settings
        return on_cells(theta, source=settings.image_size, crop=settings.patch_size, stride=settings.stride)


def inlier_share(matches: Tensor, theta: Tensor) -> Tensor:
    """Share of the matches that agree with a map (WeakInlierCountPool of the released code, normalised).

    Args:
        matches: ``(B, n * n, p, p)``: for each cell of a patch, shares of an n x n frame that sum to 1.
        theta: ``(B, 2, 3)`` from cells of the patch to cells of the frame.

    Returns:
        ``(B,)`` in 0..1: what lies where the map puts its cell, read bilinearly, meant over the patch; nothing lies outside the frame.

    >>> everywhere = torch.full((1, 25, 2, 2), 1 / 25)
    >>> inlier_share(everywhere, torch.tensor([[[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]]]))
    tensor([0.0400])
    """
    rows, cells, *patch = matches.shape
    side = math.isqrt(cells)
    places = transform_points(theta, lattice((patch[0], patch[1]), theta))
    maps = matches.flatten(2).transpose(1, 2).reshape(-1, 1, side, side)
    agreeing = functional.grid_sample(maps, places.reshape(-1, 1, 1, 2), align_corners=True)
    return agreeing.view(rows, -1).mean(1)


def _precision(values: Tensor) -> torch.dtype:
    """Softmax, sines and places need float32 at least: bfloat16 cannot name a pixel."""
    return torch.promote_types(values.dtype, torch.float32)


def _unit(features: Tensor, *, dim: int) -> Tensor:
    """Unit vectors; a zero vector stays zero."""
    return functional.normalize(features.to(_precision(features)), dim=dim)


def _draw(frame: Tensor, theta: Tensor, color: tuple[float, float, float]) -> Tensor:
    """Paint the border of the first map of a batch on a ``(3, H, W)`` frame."""
    line = outline(theta[:1], (frame.shape[-2], frame.shape[-1]))
    return torch.where(line, frame.new_tensor(color)[:, None, None], frame)
