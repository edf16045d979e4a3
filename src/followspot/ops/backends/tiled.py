"""Propagation in plain torch: exact, on any device, without ever building the (h·w)² affinity.

The query grid is cut into small tiles. The keys that a tile can reach form one window a frame, a slice of the packed frame that
a batched product reads in place, one batch item a key row:

    query tile  ty × tx              scores (M, kh, kw, ty·tx), queries innermost so that masks and maxima vectorise
    key window  (ty + 2r) × (tx + 2r), clamped into the image; keys beyond a query's own reach get -inf

Top-k is found without sorting the scores: the k best keys of a query lie in the k columns whose maxima are best, so take the
maximum over the key rows, then the k best columns, then the k best of those columns' keys.
"""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from followspot.ops.bank import Entry

if TYPE_CHECKING:
    from followspot.ops.propagate import Affinity

CPU_TILE = (10, 12)
"""Tile on CPUs, in cells, the least CPU time of twelve sizes at 60 × 107, C = 256, radius 12 (all within 15 %): smaller tiles waste
less of the window, larger ones start fewer kernels."""
DEVICE_TILE = (16, 16)
"""Tile on other devices, where kernel launches dominate; chosen by reasoning, not measured."""
SCRATCH = 16 * 2**20
"""Scores in memory at a time (64 MB); the tile shrinks where many frames are searched far and wide."""
MASKS = 8 * 2**20
"""Mask values kept for reuse (32 MB)."""
FLOOR = -200.0
"""Exponents are cut here: exp(-200) is 0 in float32, and unlike -inf it can be multiplied by that 0."""


class _Kept(NamedTuple):
    """The best keys of each pool: a pool is all frames (joint) or one frame."""

    scores: Tensor
    """``(G, Q, k)``, -inf where a query has fewer keys."""
    cells: Tensor
    """``(G, Q, k)``: rows of the stacked labels."""
    total: Tensor | None
    """``(G, Q)``: log of the softmax's sum over all keys of the pool; None unless asked for."""


class _Partial(NamedTuple):
    """A softmax over one window of each frame, not yet divided by its sum ``z``; ``e = exp(score / T - peak)``."""

    peak: Tensor
    """``(M, Q)``."""
    z: Tensor
    """``(M, Q)``: sum of e."""
    spread: Tensor
    """``(M, Q)``: sum of e · log e."""
    labels: Tensor
    """``(M, L, Q)``: sum of e · label."""
    reached: Tensor
    """``(M, Q)``: keys within reach."""


class _Group:
    """Frames with one radius, and the scratch memory to score a tile against them."""

    def __init__(
        self, entries: Sequence[Entry], labels: Tensor, *, first: int, radius: int | None, affinity: "Affinity", tile: tuple[int, int]
    ) -> None:
        self.height, self.width, _ = entries[0].features.shape
        self.radius = _bounded(radius, self.height, self.width, circle=affinity.window == "circle")
        self.affinity = affinity
        self.tile = tile
        reach = max(self.height, self.width) if self.radius is None else self.radius
        self.window = min(tile[0] + 2 * reach, self.height), min(tile[1] + 2 * reach, self.width)
        self.features = [entry.features for entry in entries]
        self.norms = None if affinity.normalize else torch.stack([entry.norms for entry in entries])
        self.labels = labels
        self.first = first
        self.scratch = self.features[0].new_empty((len(entries), *self.window, tile[0] * tile[1]))
        self.masks: dict[tuple[int, int], Tensor] = {}

    def origin(self, y: int, x: int) -> tuple[int, int]:
        """Top-left cell of the window for the tile at (y, x), clamped into the image."""
        reach = max(self.height, self.width) if self.radius is None else self.radius
        return min(max(y - reach, 0), self.height - self.window[0]), min(max(x - reach, 0), self.width - self.window[1])

    def mask(self, y: int, x: int) -> Tensor | None:
        """0 within reach and -inf beyond, ``(kh, kw, Q)``; equal for all tiles that lie alike in their windows."""
        if self.radius is None:
            return None
        top, left = self.origin(y, x)
        key = (top - y, left - x)
        if key not in self.masks:
            if (len(self.masks) + 1) * self.scratch[0].numel() > MASKS:
                self.masks.clear()
            rows, columns = (torch.arange(size, device=self.scratch.device) for size in self.window)
            cells = torch.arange(self.tile[0] * self.tile[1], device=self.scratch.device)
            dy = (rows[:, None] + key[0] - cells // self.tile[1])[:, None, :]
            dx = (columns[:, None] + key[1] - cells % self.tile[1])[None, :, :]
            if self.affinity.window == "circle":
                beyond = dy**2 + dx**2 > self.radius**2
            else:
                beyond = torch.maximum(dy.abs(), dx.abs()) > self.radius
            self.masks[key] = torch.zeros_like(beyond, dtype=torch.float32).masked_fill_(beyond, -math.inf)
        return self.masks[key]

    def score(self, queries: Tensor, y: int, x: int) -> Tensor:
        """Scores ``(M, kh, kw, Q)`` of the tile at (y, x), in memory that the next call overwrites."""
        top, left = self.origin(y, x)
        rows, columns = slice(top, top + self.window[0]), slice(left, left + self.window[1])
        spread = queries.expand(self.window[0], *queries.shape)
        for frame, features in enumerate(self.features):
            torch.bmm(features[rows, columns], spread, out=self.scratch[frame])
        if self.norms is not None:
            self.scratch.mul_(self.norms[:, rows, columns, None])
        mask = self.mask(y, x)
        if mask is not None:
            self.scratch.add_(mask)
        return self.scratch

    def best(self, scores: Tensor, y: int, x: int) -> _Kept:
        """The top-k keys of each pool."""
        frames, height, width, count = scores.shape
        pools = 1 if self.affinity.joint else frames
        k = self.affinity.top_k or 0
        shaped = scores.view(pools, frames // pools, height, width, count)
        peaks = shaped.amax(2).permute(0, 3, 1, 2).flatten(2)
        columns = peaks.topk(min(k, peaks.shape[2]), sorted=False).indices
        frame, column = columns // width, columns % width
        pool = torch.arange(pools, device=scores.device)[:, None, None]
        query = torch.arange(count, device=scores.device)[None, :, None]
        candidates = shaped[pool, frame, :, column, query].flatten(2)
        kept, place = candidates.topk(min(k, candidates.shape[2]), sorted=False)
        slot, row = place // height, place % height
        top, left = self.origin(y, x)
        frame = frame.gather(2, slot) + (pool * (frames // pools) + self.first)
        cells = (frame * self.height + row + top) * self.width + column.gather(2, slot) + left
        total = None
        if not self.affinity.renormalize:
            total = (shaped.flatten(1, 3) / self.affinity.temperature).logsumexp(1)
        return _Kept(kept, cells, total)

    def soften(self, scores: Tensor, y: int, x: int) -> _Partial:
        """The softmax over all keys of the window, frame by frame."""
        frames, height, width, count = scores.shape
        top, left = self.origin(y, x)
        logits = scores.view(frames, height * width, count).div_(self.affinity.temperature)
        peak = logits.amax(1)
        logits.sub_(peak[:, None]).clamp_(min=FLOOR)
        weights = logits.exp()
        window = self.labels.view(frames, self.height, self.width, -1)[:, top : top + height, left : left + width]
        labels = window.flatten(1, 2).transpose(1, 2) @ weights
        mask = self.mask(y, x)
        reached = weights.new_full((count,), height * width) if mask is None else (mask == 0).sum((0, 1)).float()
        return _Partial(peak, weights.sum(1), logits.mul_(weights).sum(1), labels, reached.expand(frames, count))


def match(query: Tensor, entries: Sequence[Entry], affinity: "Affinity", *, tile: tuple[int, int] | None = None) -> tuple[Tensor, Tensor]:
    """Match every cell of a frame with its keys and carry their labels over.

    Args:
        query: ``(h, w, C)`` float32; unit vectors where ``affinity.normalize``.
        entries: at least one remembered frame of the same size.
        affinity: how to match.
        tile: cells of a query tile, (rows, columns); changes time and memory, not the result. None takes the measured one.

    Returns:
        Labels ``(L, h, w)`` and entropy ``(h, w)``.
    """
    height, width, channels = query.shape
    ordered = sorted(entries, key=lambda entry: not entry.permanent)
    size = _fitting(tile or (CPU_TILE if query.device.type == "cpu" else DEVICE_TILE), ordered, affinity)
    stacked = torch.stack([entry.labels for entry in ordered])
    groups = _groups(ordered, stacked, affinity, size)
    labels = query.new_empty((entries[0].labels.shape[1], height, width))
    entropy = query.new_empty((height, width))
    # Autocast would compute the scores in half precision, which picks wrong keys.
    with torch.autocast(query.device.type, enabled=False):
        for y, x in _tiles(height, width, size):
            rows, columns = slice(y, y + size[0]), slice(x, x + size[1])
            queries = query[rows, columns].reshape(-1, channels).t()
            if affinity.top_k is None:
                found, doubt = _blend([group.soften(group.score(queries, y, x), y, x) for group in groups], joint=affinity.joint)
            else:
                found, doubt = _mix([group.best(group.score(queries, y, x), y, x) for group in groups], stacked.flatten(0, 1), affinity)
            labels[:, rows, columns] = found.view(-1, *size)
            entropy[rows, columns] = doubt.view(size)
    return labels, entropy


def _groups(entries: Sequence[Entry], labels: Tensor, affinity: "Affinity", tile: tuple[int, int]) -> list[_Group]:
    """Frames of one radius together; their labels are views of ``labels`` (M, h·w, L), in the order of ``entries``."""
    references = sum(entry.permanent for entry in entries)
    if affinity.radius == affinity.radius_first:
        bounds = [(0, len(entries), affinity.radius)]
    else:
        bounds = [(0, references, affinity.radius_first), (references, len(entries), affinity.radius)]
    return [
        _Group(entries[start:stop], labels[start:stop], first=start, radius=radius, affinity=affinity, tile=tile)
        for start, stop, radius in bounds
        if stop > start
    ]


def _bounded(radius: int | None, height: int, width: int, *, circle: bool) -> int | None:
    """None where the radius hides nothing of the image."""
    farthest = math.hypot(height - 1, width - 1) if circle else max(height, width) - 1
    return None if radius is None or radius >= farthest else radius


def _fitting(tile: tuple[int, int], entries: Sequence[Entry], affinity: "Affinity") -> tuple[int, int]:
    """The tile that cuts both axes with least overlap, halved until the scores of all frames fit into the scratch memory."""
    height, width, _ = entries[0].features.shape
    rows, columns = _even(height, tile[0]), _even(width, tile[1])
    radii = [affinity.radius_first if entry.permanent else affinity.radius for entry in entries]
    reaches = [max(height, width) if radius is None else radius for radius in radii]
    while rows * columns > 1:
        keys = sum(min(rows + 2 * reach, height) * min(columns + 2 * reach, width) for reach in reaches)
        if keys * rows * columns <= SCRATCH:
            break
        rows, columns = (-(-rows // 2), columns) if rows >= columns else (rows, -(-columns // 2))
    return rows, columns


def _even(length: int, tile: int) -> int:
    """The tile length that cuts an axis into as many tiles, but with as little overlap as can be."""
    return math.ceil(length / math.ceil(length / tile))


def _tiles(height: int, width: int, size: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Top-left cells; the last tile of an axis moves back into the image and overlaps its neighbour."""
    for y in range(0, height, size[0]):
        for x in range(0, width, size[1]):
            yield min(y, height - size[0]), min(x, width - size[1])


def _mix(parts: list[_Kept], labels: Tensor, affinity: "Affinity") -> tuple[Tensor, Tensor]:
    """Labels ``(L, Q)`` and entropy ``(Q,)`` from the kept keys of all groups."""
    kept = _gathered(parts, affinity)
    logits = kept.scores / affinity.temperature
    weights = logits.softmax(2)
    doubt = _relative(torch.special.entr(weights).sum(2), (logits > -math.inf).sum(2))
    if kept.total is not None:
        weights = weights * (logits.logsumexp(2) - kept.total).exp()[:, :, None]
    found = (labels[kept.cells] * weights[:, :, :, None]).sum(2)
    return found.mean(0).t(), doubt.mean(0)


def _gathered(parts: list[_Kept], affinity: "Affinity") -> _Kept:
    """Groups side by side: one pool if joint (and its best k), else all their pools."""
    if len(parts) == 1:
        return parts[0]
    totals = [part.total for part in parts if part.total is not None]
    if affinity.joint:
        scores, cells = torch.cat([part.scores for part in parts], 2), torch.cat([part.cells for part in parts], 2)
        scores, place = scores.topk(min(affinity.top_k or 0, scores.shape[2]), sorted=False)
        return _Kept(scores, cells.gather(2, place), torch.stack(totals).logsumexp(0) if totals else None)
    most = max(part.scores.shape[2] for part in parts)
    short = [most - part.scores.shape[2] for part in parts]
    scores = torch.cat([pad(part.scores, (0, lack), value=-math.inf) for part, lack in zip(parts, short, strict=True)])
    cells = torch.cat([pad(part.cells, (0, lack)) for part, lack in zip(parts, short, strict=True)])
    return _Kept(scores, cells, torch.cat(totals) if totals else None)


def _blend(parts: list[_Partial], *, joint: bool) -> tuple[Tensor, Tensor]:
    """Labels ``(L, Q)`` and entropy ``(Q,)`` from the softmax parts of all groups."""
    peak, z, spread, labels, reached = (torch.cat(part) for part in zip(*parts, strict=True))
    if joint:
        top = peak.amax(0, keepdim=True)
        scale = (peak - top).exp()
        spread = ((spread + (peak - top).clamp(min=FLOOR) * z) * scale).sum(0, keepdim=True)
        z, reached = (z * scale).sum(0, keepdim=True), reached.sum(0, keepdim=True)
        labels = (labels * scale[:, None]).sum(0, keepdim=True)
    doubt = _relative(z.log() - spread / z, reached)
    return (labels / z[:, None]).mean(0), doubt.mean(0)


def _relative(entropy: Tensor, count: Tensor) -> Tensor:
    """Entropy over the logarithm of the number of keys, in [0, 1]; 0 for a single key."""
    return torch.where(count > 1, entropy / count.clamp(min=2).log(), 0.0).clamp(0, 1)
