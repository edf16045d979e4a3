"""Contrastive random walk: whoever walks over similar cells into the next frames and back should come home.

Jabri, Owens, Efros, "Space-Time Correspondence as a Contrastive Random Walk", NeurIPS 2020, here "CRW".

    step        A_t = softmax over the cells of frame t+1 of cosine / temperature, after cutting edges at random; back likewise, from the
                transposed cosines with their own softmax and their own cuts
    palindrome  W_i = A_0 ... A_{i-1} B_{i-1} ... B_0 for every later frame i, where B_t leads from frame t+1 to frame t
    loss        - mean over cells and palindromes of log(W_i[cell, cell])

Nodes are the cells of the encoder's map ("no frame augmentation" in the released code). Similarities are cosines of a training-only head;
tracking uses the encoder's own map.

Walks over cells have an easy way out: padding tells a network where in the frame a cell lies, and places alone lead there and back. With a
view (not in the paper) the last step leads to another view of the first frame, where home lies elsewhere in the frame.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from followspot.errors import SettingError
from followspot.objectives.base import ClipBatch, Objective, ObjectiveOutput, encode_clips, uniform_rows
from followspot.ops import views
from followspot.ops.contrast import evenness, unit

# CRW: keeps the logarithm finite where no path leads home.
_LEAST_PROBABILITY = 1e-20
# Cosines over any sensible temperature stay far above; finite, so that a cell whose edges are all cut walks anywhere and not nowhere.
_CUT = -1e9


@dataclass(frozen=True, kw_only=True)
class RandomWalkSettings:
    """The published settings.

    Raises:
        SettingError: a value is outside its range.
    """

    frames: int = 4
    """Frames a clip, at least 2. CRW: 4."""
    head_dim: int | None = 128
    """Channels of the training-only 1x1 head; None compares the encoder's own map. CRW: 128."""
    temperature: float = 0.05
    """Above 0. CRW: 0.05."""
    edge_dropout: float = 0.1
    """Probability that an edge is cut, from 0 to below 1. CRW: 0.1."""
    cell_stride: int = 1
    """Every how many cells a node, at least 1, from an offset that is drawn for each clip. Cost grows with the fourth power of a frame's
    side over this; about 256 nodes are enough."""
    view_extent: tuple[float, float] = (1.0, 1.0)
    """Walks return not to the first frame but to a random view of it, and home is the same place there: a network cannot win by knowing
    where in the frame a cell lies. This is the side of that view as a share of the frame's. CRW: none."""
    view_aspect: tuple[float, float] = (1.0, 1.0)
    """Relative aspect of that view. CRW: none."""
    view_rotation: float = 0.0
    """Its most rotation, radians. CRW: none."""
    view_flip: float = 0.0
    """Probability that it is mirrored. CRW: none."""

    def __post_init__(self) -> None:
        for name, least in (("frames", 2), ("head_dim", 1), ("cell_stride", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise SettingError(f"{name} = {value}: expected {least} or more")
        if not 0 < self.temperature < float("inf"):
            raise SettingError(f"temperature = {self.temperature}: expected a finite number above 0; 0.05 is usual")
        if not 0 <= self.edge_dropout < 1:
            raise SettingError(f"edge_dropout = {self.edge_dropout}: expected a probability from 0 to below 1; 0 cuts nothing")
        self.view()

    def view(self) -> views.ViewRange:
        """What the view of the first frame, to which walks return, may do."""
        return views.ViewRange(extent=self.view_extent, aspect=self.view_aspect, rotation=self.view_rotation, flip=self.view_flip)


class RandomWalk(Objective):
    """The objective of this module.

    Args:
        settings: see there.
        dim: channels of the encoder's map.
    """

    def __init__(self, settings: RandomWalkSettings, *, dim: int) -> None:
        super().__init__(num_frames=settings.frames)
        self.settings = settings
        self.head: nn.Module = nn.Identity() if settings.head_dim is None else nn.Conv2d(dim, settings.head_dim, 1)

    def forward(self, clips: ClipBatch, encoder: nn.Module) -> ObjectiveOutput:
        """Minus the mean log-probability of coming home; see the module's text."""
        frames, view = clips.frames[:, : self.num_frames], self._view(clips)
        shown = frames if view is None else torch.cat([frames, views.warp(frames[:, :1], view)], 1)
        maps = self._maps(shown, encoder)
        with torch.autocast(clips.frames.device.type, enabled=False):
            cells, index, start = self._nodes(clips, maps)
            nodes = unit(cells)
            earlier, later = nodes[:, : self.num_frames - 1], nodes[:, 1 : self.num_frames]
            onward = self._step(clips, earlier, later)
            back = self._step(clips, later, earlier if view is None else torch.cat([nodes[:, -1:], earlier[:, 1:]], 1))
            if view is None:
                home, counts = home_probabilities(onward, back), torch.ones_like(index, dtype=torch.bool)
            else:
                goal, counts = self._goal(view, index, start, grid=(maps.shape[3], maps.shape[4]))
                home = home_probabilities(onward, back, goal=goal)
            losses = torch.where(counts[:, None], -(home + _LEAST_PROBABILITY).log(), 0).mean(1)
            per_sample = losses.sum(1) / counts.sum(1).clamp(min=1)
        reached = torch.where(counts[:, None], home.detach(), 0).sum((0, 2)) / counts.sum().clamp(min=1)
        logs = {f"home_{i + 1}": value for i, value in enumerate(reached.unbind())}
        logs["max_probability"] = onward.detach().amax(-1).mean()
        logs["node_usage"] = evenness(onward.detach().sum(2)).mean()
        return ObjectiveOutput(loss=per_sample.mean(), per_sample=per_sample.detach(), logs=logs)

    @torch.no_grad()
    def pictures(self, clips: ClipBatch, encoder: nn.Module) -> Mapping[str, Tensor]:
        """For each palindrome, left to right, how probably a walk from each cell of the first clip comes home; no edge is cut."""
        maps = self._maps(clips.frames[:1, : self.num_frames], encoder)
        nodes = unit(maps.flatten(3).transpose(2, 3))
        logits = nodes[:, :-1] @ nodes[:, 1:].transpose(2, 3) / self.settings.temperature
        home = home_probabilities(logits.softmax(-1), logits.transpose(2, 3).softmax(-1))
        strip = torch.cat(home[0].reshape(-1, *maps.shape[3:]).unbind(), 1)
        scale = clips.frames.shape[-1] // maps.shape[-1]
        return {"home": strip.repeat_interleave(scale, 0).repeat_interleave(scale, 1).expand(3, -1, -1)}

    def _view(self, clips: ClipBatch) -> Tensor | None:
        """``(B, 2, 3)`` from the view that walks return to, to the first frame; None: they return to the frame itself."""
        ranges, (height, width) = self.settings.view(), clips.frames.shape[-2:]
        if ranges.still:
            return None
        return views.random_views(uniform_rows(clips, views.DRAWS).to(clips.frames), ranges, ratio=width / height)

    def _maps(self, frames: Tensor, encoder: nn.Module) -> Tensor:
        features = encode_clips(frames, encoder)
        projected: Tensor = self.head(features.flatten(0, 1))
        return projected.view(*features.shape[:2], *projected.shape[1:])

    def _nodes(self, clips: ClipBatch, maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Every `cell_stride`-th cell of ``(B, T, d, h, w)``, from an offset that is the same in all frames of a clip.

        Returns:
            Their features ``(B, T, n, d)``, which cells they are ``(B, n)``, and the offsets ``(B, 2)``, row before column.
        """
        stride, (height, width) = self.settings.cell_stride, maps.shape[3:]
        if min(height, width) < stride:
            raise SettingError(f"cell_stride = {stride} skips a map of {height}x{width} cells; use larger crops or a smaller stride")
        start = torch.zeros(len(maps), 2, dtype=torch.long, device=maps.device)
        if stride > 1:
            start = (uniform_rows(clips, 2) * stride).long()
        rows = start[:, :1] + torch.arange(0, height - stride + 1, stride, device=maps.device)
        columns = start[:, 1:] + torch.arange(0, width - stride + 1, stride, device=maps.device)
        index = (rows[:, :, None] * width + columns[:, None]).flatten(1)
        cells = maps.flatten(3).transpose(2, 3)
        if stride > 1:
            cells = cells.gather(2, index[:, None, :, None].expand(-1, cells.shape[1], -1, cells.shape[3]))
        return cells, index, start

    def _goal(self, view: Tensor, index: Tensor, start: Tensor, *, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Which node of the view is nearest to where each node's place went, and whether the view shows that place: ``(B, n)`` each."""
        stride = self.settings.cell_stride
        places = views.move(views.cell_centers(*grid, like=view)[index], views.invert(view))
        sides = torch.tensor([size // stride for size in grid], device=view.device)
        cells = (places.flip(-1) + 1) * (torch.tensor(grid, device=view.device) / 2) - 0.5
        row, column = ((cells - start[:, None]) / stride).round().long().clamp(min=0).minimum(sides - 1).unbind(-1)
        return row * sides[1] + column, views.inside(places)

    def _step(self, clips: ClipBatch, origin: Tensor, goal: Tensor) -> Tensor:
        """``(B, T-1, n, n)`` probabilities of stepping from each node of a frame to each of another, some edges cut."""
        logits = origin @ goal.transpose(2, 3) / self.settings.temperature
        if self.settings.edge_dropout:
            logits = logits.masked_fill(uniform_rows(clips, *logits.shape[1:]) < self.settings.edge_dropout, _CUT)
        steps: Tensor = logits.softmax(-1)
        return steps


def home_probabilities(onward: Tensor, back: Tensor, *, goal: Tensor | None = None) -> Tensor:
    """How probably walks over palindromes end at home.

    Args:
        onward: ``(B, T-1, n, n)`` from frame t to t+1, rows sum to 1.
        back: ``(B, T-1, n, n)`` from frame t+1 to t, rows sum to 1.
        goal: ``(B, n)`` the node that is home to a walk from each node; None: where it began.

    Returns:
        ``(B, T-1, n)``: for the palindromes that turn at frame 1, 2, ..., T-1.

    >>> half = torch.full((1, 1, 2, 2), 0.5)
    >>> home_probabilities(half, half)
    tensor([[[0.5000, 0.5000]]])
    """
    there, return_, home = onward[:, 0], back[:, 0], []
    if goal is not None:
        # All walks of one kind end with the same step, so its columns can be put in the order of homes once.
        return_ = return_.gather(2, goal[:, None].expand_as(return_))
    for t in range(onward.shape[1]):
        if t:
            there, return_ = there @ onward[:, t], back[:, t] @ return_
        # Only the diagonal of the last product is needed.
        home.append((there * return_.transpose(1, 2)).sum(2))
    return torch.stack(home, 1)
