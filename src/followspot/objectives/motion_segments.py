"""Motion segments: regions of a frame are found again in an earlier frame, by comparing cells, as tracking does it.

Ours. Nobody labels anything: optical flow, chained over the clip and believed where its round trip closes, says where each cell of the last
frame was in the first. With positions ``u(i)`` of the believed cells i of the last frame, in cells of the first, and similarities as in
tracking,

    p(j | i)  =  softmax over cells j of the first frame within a radius of i, of cosine(i, j) / temperature
    segments  =  k-means of the cells of the last frame on colour, place and motion, all three weighted at random
    L(j, s)   =  share of segment s at cell j of the first frame: every cell of s leaves a Gaussian at u(i); shares sum to at most 1
    loss      =  - mean log sum_j p(j | i) L(j, s(i))  -  weight * mean sum_j g(j | i) log p(j | i)  + entropy of g

The first term is label propagation itself, with segments for labels: what stays within a segment costs nothing, what is taken from
another does. Segments of many sizes, drawn anew at every step, stand for the objects that somebody might point at. The second asks for the
very place, with a Gaussian g around u(i).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from followspot.errors import SettingError
from followspot.objectives.base import ClipBatch, Objective, ObjectiveOutput, encode_clips, uniform_rows
from followspot.ops.color import rgb_to_lab
from followspot.ops.contrast import unit
from followspot.ops.flow import dis
from followspot.ops.flow_chain import chained_flow

# A cell takes part if more than half of its pixels have a flow to believe.
_BELIEVED = 0.5
# Of a segment's Gaussians: cells that hardly any believed cell leads to are mostly "not known", which counts as wrong.
_LEAST_COVERAGE = 0.3
_LEAST_PROBABILITY = 1e-3
_ITERATIONS = 6
"""Of k-means; segments need not be the best ones."""
_OUTSIDE = -1e4
# L runs to 100, a and b to about 100: brings Lab to the order of 1.
_LAB_SCALE = 30.0
# Cells: brings places and flow to the order of colours.
_PLACE_SCALE = 8.0
_STILL = 0.3
"""Cells: motion below is noise of the flow, and is not blown up to the spread of 1 that motions are given."""


@dataclass(frozen=True, kw_only=True)
class MotionSegmentsSettings:
    """The settings. Chosen on clips held out from training and on the DAVIS development clips (results/default.md).

    Raises:
        SettingError: a value is outside its range.
    """

    frames: int = 5
    """Frames a clip, at least 2; the first and the last are compared, those between carry the flow."""
    temperature: float = 0.05
    """Above 0."""
    radius: int = 12
    """Cells that a cell may have moved, at least 1; as the default preset of tracking."""
    queries: int = 600
    """Cells of the last frame that are followed, at most; drawn anew at every step."""
    segments: tuple[int, ...] = (10, 24, 48, 80)
    """How many segments a frame is cut into, at least 2 each: one of these numbers is drawn for each clip and step."""
    segment_weight: float = 1.0
    """At least 0."""
    point_weight: float = 0.2
    """At least 0."""
    sigma: float = 1.0
    """Cells; width of the Gaussians, above 0."""

    def __post_init__(self) -> None:
        for name, least in (("frames", 2), ("radius", 1), ("queries", 1)):
            if getattr(self, name) < least:
                raise SettingError(f"{name} = {getattr(self, name)}: expected {least} or more")
        for name in ("temperature", "sigma"):
            if not 0 < getattr(self, name) < float("inf"):
                raise SettingError(f"{name} = {getattr(self, name)}: expected a finite number above 0")
        for name in ("segment_weight", "point_weight"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise SettingError(f"{name} = {getattr(self, name)}: expected 0 or more")
        if not self.segments or min(self.segments) < 2:
            raise SettingError(f"segments = {list(self.segments)}: expected one or more numbers, each 2 or more")


@dataclass(frozen=True, kw_only=True)
class Motion:
    """Where the cells of the last frame were in the first one."""

    place: Tensor
    """``(B, n, 2)`` row and column in the first frame, in cells."""
    share: Tensor
    """``(B, n)`` share of a cell's pixels whose flow is to be believed; 0 where too few are, or the place is beyond the radius."""


class MotionSegments(Objective):
    """The objective of this module.

    Args:
        settings: see there.
        dim: channels of the encoder's map; of no interest here, since nothing but the encoder is trained.
    """

    def __init__(self, settings: MotionSegmentsSettings, *, dim: int) -> None:
        super().__init__(num_frames=settings.frames)
        self.settings = settings

    def forward(self, clips: ClipBatch, encoder: nn.Module) -> ObjectiveOutput:
        """The loss of the module's text; clips in which no flow is to be believed cost nothing."""
        ends = clips.frames[:, [0, self.num_frames - 1]]
        maps = encode_clips(ends, encoder)
        with torch.autocast(clips.frames.device.type, enabled=False):
            grid = (maps.shape[3], maps.shape[4])
            motion = cell_motion(clips.clean[:, : self.num_frames], grid=grid, radius=self.settings.radius)
            segment = self._segments(clips, motion, grid=grid)
            chosen, weight = self._chosen(clips, motion)
            cells = unit(maps.flatten(3).transpose(2, 3))
            logits = _take(cells[:, 1], chosen) @ cells[:, 0].transpose(1, 2) / self.settings.temperature
            log_p = logits.masked_fill(~near(grid, radius=self.settings.radius, like=logits)[chosen], _OUTSIDE).log_softmax(2)
            gaussian = _gaussian(motion.place, grid, sigma=self.settings.sigma)
            found = self._found(log_p, gaussian, segment, motion.share, chosen)
            losses = self.settings.segment_weight * -(found + _LEAST_PROBABILITY).log()
            losses = losses + self.settings.point_weight * self._astray(log_p, gaussian, chosen, grid=grid)
            count = weight.sum(1).clamp(min=1e-6)
            per_sample = (losses * weight).sum(1) / count
        logs = {"found": ((found * weight).sum(1) / count).mean().detach(), "believed": motion.share.mean()}
        return ObjectiveOutput(loss=per_sample.mean(), per_sample=per_sample.detach(), logs=logs)

    @torch.no_grad()
    def pictures(self, clips: ClipBatch, encoder: nn.Module) -> Mapping[str, Tensor]:
        """The first clip's ends, with its segments in random colours beside them; black where the flow is not to be believed."""
        frames = clips.clean[:1, : self.num_frames]
        rows, columns = encoder(frames[:, 0]).shape[2:]
        grid, scale = (rows, columns), frames.shape[-1] // columns
        motion = cell_motion(frames, grid=grid, radius=self.settings.radius)
        one = ClipBatch(frames=clips.frames[:1], clean=clips.clean[:1])
        segment = self._segments(one, motion, grid=grid)[0]
        shown = torch.rand(max(self.settings.segments), 3, device=frames.device)[segment] * (motion.share[0] > 0)[:, None]
        picture = shown.T.view(3, *grid).repeat_interleave(scale, 1).repeat_interleave(scale, 2)
        height, width = picture.shape[1:]
        return {"segments": torch.cat([frames[0, 0, :, :height, :width], frames[0, -1, :, :height, :width], picture], 2)}

    def _segments(self, clips: ClipBatch, motion: Motion, *, grid: tuple[int, int]) -> Tensor:
        """``(B, n)`` the segment of each cell of the last frame."""
        lab = functional.adaptive_avg_pool2d(rgb_to_lab(clips.clean[:, self.num_frames - 1]), grid).flatten(2).transpose(1, 2)
        places = _places(grid, like=lab).expand(len(lab), -1, -1)
        moved = motion.place - places
        spread = torch.where(motion.share[..., None] > 0, moved, 0).std(dim=1, keepdim=True)
        draws = uniform_rows(clips, 4)[:, :, None, None]
        colour = (0.5 + draws[:, 0]) * lab / _LAB_SCALE
        place = (0.3 + draws[:, 1]) * places / _PLACE_SCALE
        motions = (0.5 + 1.5 * draws[:, 2]) * moved / (spread + _STILL)
        counts = torch.tensor(self.settings.segments, device=lab.device)
        count = counts[(draws[:, 3].flatten() * len(counts)).long()]
        return _kmeans(torch.cat([colour, place, motions], 2), motion.share > 0, count, uniform_rows(clips, lab.shape[1]))

    def _chosen(self, clips: ClipBatch, motion: Motion) -> tuple[Tensor, Tensor]:
        """``(B, Q)`` cells of the last frame, drawn among those that take part, and their weights, 0 for what is only there to fill."""
        draws = uniform_rows(clips, motion.share.shape[1]) + (motion.share > 0)
        chosen = draws.topk(min(self.settings.queries, draws.shape[1]), dim=1).indices
        return chosen, motion.share.gather(1, chosen)

    def _found(self, log_p: Tensor, gaussian: Tensor, segment: Tensor, share: Tensor, chosen: Tensor) -> Tensor:
        """``(B, Q)`` the weight of its own segment that each chosen cell is given by propagation."""
        member = functional.one_hot(segment, int(segment.max()) + 1).to(log_p) * (share > 0)[..., None]
        labels = gaussian.transpose(1, 2) @ member
        labels = labels / labels.sum(2, keepdim=True).clamp(min=_LEAST_COVERAGE)
        carried = log_p.exp() @ labels
        return carried.gather(2, segment.gather(1, chosen)[..., None])[..., 0]

    def _astray(self, log_p: Tensor, gaussian: Tensor, chosen: Tensor, *, grid: tuple[int, int]) -> Tensor:
        """``(B, Q)`` how far the weights are from a Gaussian at the very place: Kullback-Leibler divergence."""
        goal = _take(gaussian, chosen) * near(grid, radius=self.settings.radius, like=log_p)[chosen]
        goal = goal / goal.sum(2, keepdim=True).clamp(min=1e-9)
        return (goal * ((goal + 1e-9).log() - log_p)).sum(2)


def cell_motion(clips: Tensor, *, grid: tuple[int, int], radius: int) -> Motion:
    """Where the cells of the last frame were in the first.

    Args:
        clips: ``(B, T, 3, H, W)`` RGB in 0..1.
        grid: rows and columns of cells.
        radius: cells; what moved further, along either axis, takes no part.

    Returns:
        On the device and in the precision of the clips.
    """
    flows, believed = zip(*(_frame_motion(clip) for clip in (clips.clamp(0, 1) * 255).round().byte().cpu().numpy()), strict=True)
    share = functional.adaptive_avg_pool2d(torch.from_numpy(np.stack(believed)).float()[:, None], grid)
    mean = functional.adaptive_avg_pool2d(torch.from_numpy(np.stack(flows) * np.stack(believed)[:, None]), grid) / share.clamp(min=1e-6)
    height, width = clips.shape[-2:]
    per_cell = torch.tensor([width / grid[1], height / grid[0]]).view(1, 2, 1, 1)
    moved = (mean / per_cell).flip(1).flatten(2).transpose(1, 2).to(clips)
    share = share.flatten(1).to(clips)
    usable = (share > _BELIEVED) & (moved.abs().amax(2) <= radius)
    return Motion(place=_places(grid, like=moved) + moved, share=share * usable)


def _frame_motion(clip: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flow from the last to the first frame of ``(T, 3, H, W)`` bytes, and whether to believe it."""
    return chained_flow([np.ascontiguousarray(frame.transpose(1, 2, 0)) for frame in clip], dis)


def near(grid: tuple[int, int], *, radius: int, like: Tensor) -> Tensor:
    """``(n, n)`` whether two cells are within a square window."""
    places = _places(grid, like=like)
    return (places[:, None] - places).abs().amax(2) <= radius


def _places(grid: tuple[int, int], *, like: Tensor) -> Tensor:
    """``(n, 2)`` row and column of each cell."""
    rows, columns = (torch.arange(size, device=like.device, dtype=like.dtype) for size in grid)
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"), 2).flatten(0, 1)


def _gaussian(place: Tensor, grid: tuple[int, int], *, sigma: float) -> Tensor:
    """``(B, n, n)`` 1 where a cell of the last frame was in the first, falling off around."""
    away = (place[:, :, None] - _places(grid, like=place)).square().sum(3)
    return (-away / (2 * sigma**2)).exp()


def _take(rows: Tensor, index: Tensor) -> Tensor:
    """Rows ``(B, n, d)`` at ``(B, Q)``."""
    return rows.gather(1, index[..., None].expand(-1, -1, rows.shape[2]))


def _kmeans(points: Tensor, valid: Tensor, count: Tensor, draws: Tensor) -> Tensor:
    """``(B, n)`` cluster of each of ``(B, n, D)`` points; centres begin at valid points, and only these move them.

    Args:
        points: of each clip.
        valid: ``(B, n)``.
        count: ``(B,)`` how many clusters.
        draws: ``(B, n)`` uniform in [0, 1): which points are centres at first.
    """
    most = min(int(count.max()), points.shape[1])
    first = (draws + valid).topk(most, dim=1).indices
    # A clip with few valid points has half as many clusters, at least one: each then has about two points.
    allowed = torch.minimum(count, (valid.sum(1) // 2).clamp(min=1))
    unused = torch.arange(most, device=points.device) >= allowed[:, None]
    centres = _take(points, first)
    for _ in range(_ITERATIONS):
        nearest = torch.cdist(points, centres).masked_fill(unused[:, None], float("inf")).argmin(2)
        member = functional.one_hot(nearest, most).to(points) * valid[..., None]
        sizes = member.sum(1)[..., None]
        centres = torch.where(sizes > 0, member.transpose(1, 2) @ points / sizes.clamp(min=1), centres)
    return torch.cdist(points, centres).masked_fill(unused[:, None], float("inf")).argmin(2)
