"""Dense contrast: cells of a clip are told apart by anchors of all clips, and agree over time and over views.

Araslanov, Schaub-Meyer, Roth, "Dense Unsupervised Learning for Video Segmentation", NeurIPS 2021, here "DUL". Three terms:

    contrast       anchors: a grid of cells of the first frame of every clip, view 1 (a random affine view of the clip).
                   A cell of a later frame of view 1 is classified among the anchors of all clips. Its label is the anchor of its own clip
                   that the same place of view 2 (the clip itself, without gradients) is most similar to.
    cross view     a coarse grid of cells of the first frame of view 1 finds the same places of view 2 among those of all clips.
    equivariance   cells of the first frame of view 1 and the same places in a second, stronger view of it find each other among those of
                   all clips; gradients flow into both. Not in the paper; carries most of the learning where video is scarce.

Similarities are cosines of a training-only head; tracking uses the encoder's own map.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from followspot.errors import SettingError
from followspot.objectives.base import ClipBatch, Objective, ObjectiveOutput, encode_clips, gather_rows, uniform_rows
from followspot.ops import views
from followspot.ops.contrast import evenness, match, unit


@dataclass(frozen=True, kw_only=True)
class DenseContrastSettings:
    """The published settings, and those of the equivariance term.

    Raises:
        SettingError: a value is outside its range.
    """

    frames: int = 5
    """Frames a clip, at least 2 (1 without `contrast_weight`). DUL: 5."""
    head_dim: int | None = 128
    """Channels of the training-only 1x1 head; None compares the encoder's own map. DUL: 128."""
    temperature: float = 0.05
    """Above 0, of contrast and cross view. DUL: 0.05."""
    contrast_weight: float = 1.0
    """At least 0; 0 leaves the term and its encoder passes out."""
    anchors: int = 8
    """Anchors of a clip a row and a column, at least 2. DUL: 8."""
    cross_view_weight: float = 0.1
    """At least 0. DUL: 0.1."""
    cross_view_cells: int = 4
    """Cells of a clip a row and a column that the cross view compares, at least 1. DUL: 4."""
    view_extent: tuple[float, float] = (0.5, 1.0)
    """Side of view 1 as a share of the clip's. DUL: 0.5-1."""
    view_aspect: tuple[float, float] = (1.0, 1.0)
    """Relative aspect of view 1. DUL: none."""
    view_rotation: float = 0.0
    """Most rotation of view 1, radians. DUL: none."""
    view_flip: float = 0.5
    """Probability that view 1 is mirrored. DUL: half."""
    jittered: bool = False
    """Whether view 1 shows the clip's colour jitter; view 2 always does. DUL: view 1 is clean."""
    equivariance_weight: float = 0.0
    """At least 0. DUL has no such term; from 0.5 on it carries training on a few hundred clips."""
    equivariance_temperature: float = 0.07
    """Above 0. As in MoCo (He et al. 2020)."""
    equivariance_anchors: int = 100
    """Cells a clip that are compared, at least 1; all of them where there are fewer. About 1000 a batch is enough negatives."""
    equivariance_extent: tuple[float, float] = (0.6, 1.3)
    """Side of the second view as a share of view 1's."""
    equivariance_aspect: tuple[float, float] = (0.8, 1.25)
    """Its relative aspect."""
    equivariance_rotation: float = 0.5
    """Its most rotation, radians."""
    equivariance_flip: float = 0.5
    """Probability that it is mirrored."""

    def __post_init__(self) -> None:
        for name in ("contrast_weight", "cross_view_weight", "equivariance_weight"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise SettingError(f"{name} = {getattr(self, name)}: expected 0 or more; 0 switches the term off")
        if not self.contrast_weight + self.cross_view_weight + self.equivariance_weight:
            raise SettingError("contrast_weight, cross_view_weight and equivariance_weight are all 0; give one of them a weight")
        for name in ("temperature", "equivariance_temperature"):
            if not 0 < getattr(self, name) < float("inf"):
                raise SettingError(f"{name} = {getattr(self, name)}: expected a finite number above 0; 0.05 is usual")
        lowest = {"frames": 2 if self.contrast_weight else 1, "anchors": 2, "cross_view_cells": 1, "equivariance_anchors": 1, "head_dim": 1}
        for name, least in lowest.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise SettingError(f"{name} = {value}: expected {least} or more")
        self.view(), self.equivariance_view()

    def view(self) -> views.ViewRange:
        """What view 1 may do."""
        return views.ViewRange(extent=self.view_extent, aspect=self.view_aspect, rotation=self.view_rotation, flip=self.view_flip)

    def equivariance_view(self) -> views.ViewRange:
        """What the second view of the equivariance term may do, relative to view 1."""
        return views.ViewRange(
            extent=self.equivariance_extent,
            aspect=self.equivariance_aspect,
            rotation=self.equivariance_rotation,
            flip=self.equivariance_flip,
        )


@dataclass(frozen=True, kw_only=True)
class _Views:
    """Encoded views of a batch, as unit vectors."""

    grid: tuple[int, int]
    """Cells of a map, ``(h, w)``."""
    view: Tensor
    """``(B, 2, 3)`` from view 1 to the clip."""
    first: Tensor
    """``(B, T', hw, d)`` of view 1; the first frame only where no other is needed."""
    second: Tensor | None
    """``(B, T', hw, d)`` of view 2, without gradients; None where it is not needed."""
    turned: Tensor | None
    """``(B, hw, d)``: what the equivariance view shows at each cell of view 1's first frame; None without that term."""
    turned_inside: Tensor | None
    """``(B, hw)`` whether it shows that place at all."""


class DenseContrast(Objective):
    """The objective of this module.

    Args:
        settings: see there.
        dim: channels of the encoder's map.
    """

    def __init__(self, settings: DenseContrastSettings, *, dim: int) -> None:
        super().__init__(num_frames=settings.frames)
        self.settings = settings
        self.head: nn.Module = nn.Identity() if settings.head_dim is None else nn.Conv2d(dim, settings.head_dim, 1)

    def forward(self, clips: ClipBatch, encoder: nn.Module) -> ObjectiveOutput:
        """The weighted sum of the terms; see the module's text."""
        settings = self.settings
        encoded = self._encode(clips, encoder)
        terms: dict[str, tuple[float, Tensor]] = {}
        logs: dict[str, Tensor] = {}
        with torch.autocast(clips.frames.device.type, enabled=False):
            if settings.contrast_weight:
                loss, health = self._contrast(clips, encoded)
                terms["contrast"], logs = (settings.contrast_weight, loss), dict(health)
            if settings.cross_view_weight:
                terms["cross_view"] = settings.cross_view_weight, self._cross_view(clips, encoded)
            if settings.equivariance_weight:
                loss, peak = self._equivariance(clips, encoded)
                terms["equivariance"], logs["equivariance_max_probability"] = (settings.equivariance_weight, loss), peak
            per_sample = torch.stack([weight * term for weight, term in terms.values()]).sum(0)
            logs |= {name: term.detach().mean() for name, (_, term) in terms.items()}
        return ObjectiveOutput(loss=per_sample.mean(), per_sample=per_sample.detach(), logs=logs)

    @torch.no_grad()
    def pictures(self, clips: ClipBatch, encoder: nn.Module) -> Mapping[str, Tensor]:
        """Which anchor of the first frame each cell of each frame is most similar to; an anchor's colour tells its place."""
        side = self.settings.anchors
        cells, (height, width) = self._cells(encode_clips(clips.frames[:1, : self.num_frames], encoder))
        places = views.offset_grid(torch.full((1, 2), 0.5, device=cells.device, dtype=cells.dtype), side)
        anchors = cells[0, 0, views.nearest_cells(places, height, width)[0]]
        x, y = (places[0].T + 1) / 2
        colors = torch.stack([x, y, 1 - (x + y) / 2]).to(cells)
        chosen = colors[:, (cells[0] @ anchors.T).argmax(-1)].reshape(3, -1, height, width)
        strip = torch.cat(chosen.unbind(1), -1)
        scale = clips.frames.shape[-1] // width
        return {"anchors": strip.repeat_interleave(scale, 1).repeat_interleave(scale, 2)}

    def _encode(self, clips: ClipBatch, encoder: nn.Module) -> _Views:
        """Encode every view that a term needs: one pass with gradients, one without."""
        settings, frames = self.settings, clips.frames[:, : self.num_frames if self.settings.contrast_weight else 1]
        shown = frames if settings.jittered else clips.clean[:, : frames.shape[1]]
        ratio = frames.shape[-1] / frames.shape[-2]
        view = self._draw(clips, settings.view(), ratio=ratio)
        seen = shown if settings.view().still else views.warp(shown, view)
        turn = self._draw(clips, settings.equivariance_view(), ratio=ratio) if settings.equivariance_weight else None
        if turn is not None:
            seen = torch.cat([seen, views.warp(frames[:, :1], views.compose(view, turn))], 1)
        maps = self._project(encode_clips(seen, encoder))
        first, grid = _as_cells(maps[:, : frames.shape[1]])
        second = None
        if settings.contrast_weight or settings.cross_view_weight:
            with torch.no_grad():
                second, _ = self._cells(encode_clips(frames, encoder))
        turned, turned_inside = None, None
        if turn is not None:
            back = views.invert(turn)
            places = views.move(views.cell_centers(*grid, like=back).expand(len(frames), -1, -1), back)
            turned, turned_inside = unit(views.sample(_full(maps[:, -1]), places.to(first))), views.inside(places)
        return _Views(grid=grid, view=view, first=first, second=second, turned=turned, turned_inside=turned_inside)

    def _contrast(self, clips: ClipBatch, encoded: _Views) -> tuple[Tensor, Mapping[str, Tensor]]:
        """``(B,)`` losses of the later frames against the anchors of all clips, and what tells whether training is healthy."""
        assert encoded.second is not None
        first, second = encoded.first, encoded.second
        count, later = self.settings.anchors**2, first.shape[1] - 1
        places = views.offset_grid(uniform_rows(clips, 2), self.settings.anchors)
        anchors = _take(first[:, 0], views.nearest_cells(places, *encoded.grid))
        source = views.move(views.cell_centers(*encoded.grid, like=encoded.view).expand(len(first), -1, -1), encoded.view)
        aligned = views.nearest_cells(source, *encoded.grid)
        with torch.no_grad():
            labels = torch.einsum("btnd,bkd->btnk", second[:, 1:], anchors).argmax(-1)
            labels = labels.gather(2, aligned[:, None].expand(-1, later, -1))
        keys = gather_rows(anchors)
        own = _own_rows(clips, keys)
        queries = first[:, 1:].flatten(0, 2)
        targets = (labels + (own * count)[:, None, None]).flatten()
        losses, peaks = match(queries, keys.flatten(0, 1), targets, temperature=self.settings.temperature)
        weight = views.inside(source)[:, None].expand(-1, later, -1).flatten(1)
        usage = losses.new_zeros(len(first), count).scatter_add_(1, labels.flatten(1), weight.to(losses))
        health = {"max_probability": _mean_where(peaks.view_as(weight), weight).mean(), "anchor_usage": evenness(usage).mean()}
        return _mean_where(losses.view_as(weight), weight), health

    def _cross_view(self, clips: ClipBatch, encoded: _Views) -> Tensor:
        """``(B,)`` losses of a coarse grid of cells of view 1 that look for their places in view 2."""
        assert encoded.second is not None
        places = views.offset_grid(uniform_rows(clips, 2), self.settings.cross_view_cells).to(encoded.view)
        source = views.move(places, encoded.view)
        queries = _take(encoded.first[:, 0], views.nearest_cells(places, *encoded.grid))
        keys = _take(encoded.second[:, 0], views.nearest_cells(source, *encoded.grid))
        losses, _ = _match_pairs(clips, queries, keys, valid=views.inside(source), temperature=self.settings.temperature)
        return losses

    def _equivariance(self, clips: ClipBatch, encoded: _Views) -> tuple[Tensor, Tensor]:
        """``(B,)`` losses of cells of view 1 and of the turned view that look for each other, both ways, and the mean peak."""
        assert encoded.turned is not None
        assert encoded.turned_inside is not None
        cells = encoded.first.shape[2]
        # Cells that the turned view shows come first, each kind in random order.
        order = (uniform_rows(clips, cells) + ~encoded.turned_inside).argsort(1)[:, : self.settings.equivariance_anchors]
        here, there = _take(encoded.first[:, 0], order), _take(encoded.turned, order)
        valid = encoded.turned_inside.gather(1, order)
        temperature = self.settings.equivariance_temperature
        onward, peak = _match_pairs(clips, here, there, valid=valid, temperature=temperature)
        back, _ = _match_pairs(clips, there, here, valid=valid, temperature=temperature)
        return (onward + back) / 2, peak

    def _draw(self, clips: ClipBatch, ranges: views.ViewRange, *, ratio: float) -> Tensor:
        return views.random_views(uniform_rows(clips, views.DRAWS).to(clips.frames), ranges, ratio=ratio)

    def _project(self, maps: Tensor) -> Tensor:
        projected: Tensor = self.head(maps.flatten(0, 1))
        return projected.view(*maps.shape[:2], *projected.shape[1:])

    def _cells(self, maps: Tensor) -> tuple[Tensor, tuple[int, int]]:
        return _as_cells(self._project(maps))


def _as_cells(maps: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """``(B, T, d, h, w)`` as unit vectors ``(B, T, hw, d)``, and ``(h, w)``."""
    return unit(maps.flatten(3).transpose(2, 3)), (maps.shape[3], maps.shape[4])


def _full(maps: Tensor) -> Tensor:
    return maps if maps.dtype == torch.float64 else maps.float()


def _take(cells: Tensor, index: Tensor) -> Tensor:
    """``(B, n, d)`` at ``(B, K)``: ``(B, K, d)``."""
    return cells.gather(1, index[:, :, None].expand(-1, -1, cells.shape[2]))


def _own_rows(clips: ClipBatch, whole: Tensor) -> Tensor:
    """``(B,)`` rows of what was gathered that this process's clips are."""
    count = len(clips.frames)
    start = clips.first if len(whole) > count else 0
    return torch.arange(start, start + count, device=whole.device)


def _match_pairs(clips: ClipBatch, queries: Tensor, keys: Tensor, *, valid: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Each of ``(B, K, d)`` queries looks for the key of its own row and number among the valid ones of all clips: ``(B,)``, mean peak."""
    count = queries.shape[1]
    everywhere = gather_rows(keys)
    targets = (_own_rows(clips, everywhere) * count)[:, None] + torch.arange(count, device=keys.device)
    shown = gather_rows(valid.to(keys)).flatten() > 0.5
    losses, peaks = match(queries.flatten(0, 1), everywhere.flatten(0, 1), targets.flatten(), temperature=temperature, valid=shown)
    return _mean_where(losses.view_as(valid), valid), _mean_where(peaks.view_as(valid), valid).mean()


def _mean_where(values: Tensor, valid: Tensor) -> Tensor:
    """The mean of each row over what is valid, 0 where nothing is."""
    return torch.where(valid, values, 0).sum(1) / valid.sum(1).clamp(min=1)
