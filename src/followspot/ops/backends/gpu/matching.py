"""Propagation on GPUs by Triton kernels: the answers of plain torch, with a proof for every query.

Features are packed in half precision once a frame. Scores of those choose candidates, which are scored again in float32. Rounding to half
precision moves the score of two unit vectors by at most `margin`; where a key that was passed over could therefore be better than one that
was kept, the query is searched again in float32. How the kernels use memory is said in `kernels`.
"""

import math
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from followspot.ops.bank import Entry

if TYPE_CHECKING:
    from followspot.ops.propagate import Affinity

MOST = 29
"""Longest top-k: lists of 64 then leave room for keys that rounding moved; tiles of plain torch take over beyond."""
SPARE = 6
"""Lists hold at least ``2 * top_k + SPARE`` keys, 16 for the best 5. The share of queries without a proof then was, computed on CPUs for 8
frames of DAVIS at 240 pixels: in float16 0.5 and 3.3 % (bear, rollerblade; descriptor) and 0.1 % (dog-agility; shipped encoder), in
bfloat16 51, 60 and 21 %. So float16 is the default, and bfloat16 is for features of which one knows that it suffices."""
PAD = 64
"""Packed vectors are filled up with zeros to a multiple of this, the longest CHUNK of `_tuned`: no masks in the inner loop."""
BITS = {torch.float16: 11, torch.bfloat16: 8}
"""Significant bits of the half precisions; rounding is off by at most 2**-bits of the value."""
BUSY = 4
"""Programs a multiprocessor that are wanted at least; frames are split into groups until there are as many. By reasoning, not measured."""


def refusal(query: Tensor, entries: Sequence[Entry], affinity: "Affinity") -> str | None:
    """Why the kernels cannot do it; None where they can.

    Args:
        query: ``(h, w, C)``.
        entries: the remembered frames.
        affinity: how to match.
    """
    if query.device.type != "cuda" and not interpreted():
        return f"it runs on GPUs, the features are on {query.device} (TRITON_INTERPRET=1 interprets the kernels on CPUs, slowly)"
    if affinity.top_k is None or affinity.top_k > MOST:
        return f"top_k = {affinity.top_k}, it keeps 1 to {MOST} keys"
    if not affinity.renormalize:
        return "renormalize = False needs all keys of the window"
    if len(entries) * query.shape[0] * query.shape[1] >= 2**31:
        return "too many cells"
    return None if find_spec("triton") else "triton is not installed; builds of torch for GPUs on Linux bring it"


def interpreted() -> bool:
    """Whether Triton was asked to run kernels in its interpreter, on CPUs; it reads ``TRITON_INTERPRET`` when it is imported."""
    return os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "yes", "on")


def match(
    query: Tensor, entries: Sequence[Entry], affinity: "Affinity", *, dtype: torch.dtype = torch.float16, each: int | None = None
) -> tuple[Tensor, Tensor]:
    """Match every cell of a frame with its keys and carry their labels over; `refusal` must have nothing against it.

    Args:
        query: ``(h, w, C)`` float32, contiguous; unit vectors where ``affinity.normalize``.
        entries: at least one remembered frame of the same size.
        affinity: how to match.
        dtype: what candidates are chosen in, float16 or bfloat16; changes time, not the result.
        each: frames a program goes through; changes time, not the result. None fills the GPU.

    Returns:
        Labels ``(L, h, w)`` and entropy ``(h, w)``.
    """
    labels, entropy, _ = proven_match(query, entries, affinity, dtype=dtype, each=each)
    return labels, entropy


def proven_match(
    query: Tensor,
    entries: Sequence[Entry],
    affinity: "Affinity",
    *,
    dtype: torch.dtype = torch.float16,
    each: int | None = None,
    doubt: float = 1.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """`match`, and where it had to search again.

    Args:
        query: as `match`.
        entries: as `match`.
        affinity: as `match`.
        dtype: as `match`.
        each: as `match`.
        doubt: times the bound on rounding, at least 1; infinity searches all queries again whose lists are full.

    Returns:
        Labels ``(L, h, w)``, entropy ``(h, w)``, and ``(pools, h, w)`` int32, 1 where the query was searched again.
    """
    from followspot.ops.backends.gpu import kernels

    height, width, channels = query.shape
    cells, count, top_k = height * width, len(entries), affinity.top_k or 0
    kept = _power_of_two(2 * top_k + SPARE)
    lengths = query.new_empty(0) if affinity.normalize else torch.linalg.vector_norm(query, dim=2)
    packed = _packed(query if affinity.normalize else torch.nn.functional.normalize(query, dim=2), dtype)
    keys = [_kept(entry, dtype) for entry in entries]
    table = _table(entries, keys)
    reaches = _reaches(entries, affinity, (height, width))
    pool = count if affinity.joint else 1
    each = min(pool, each or _frames_each(query.device, cells, count))
    groups = -(-pool // each)
    peak = query.new_empty(0) if affinity.normalize else torch.stack([entry.norms for entry in entries]).amax()
    lists = torch.empty((count // pool * groups, cells, kept), dtype=torch.int64, device=query.device)
    label_count = entries[0].labels.shape[1]
    labels = query.new_empty((count // pool, cells, label_count))
    entropy = query.new_empty((count // pool, cells))
    unproven = torch.empty((count // pool, cells), dtype=torch.int32, device=query.device)
    shape: dict[str, Any] = {"CIRCLE": affinity.window == "circle", "RAW": not affinity.normalize}
    rows, block = (64, 128) if interpreted() else (16, 32)
    mixing = {"CHUNK": min(PAD, _power_of_two(channels)), "LABELS": min(16, _power_of_two(label_count))}
    with _on(query.device):
        _score(packed, table, reaches, lists, grid=(height, width), each=each, kept=kept, shape=shape)
        kernels.decide[-(-cells // rows), count // pool](
            query, lengths, table, peak, lists, labels, entropy, unproven, cells, channels, count, groups, label_count,
            affinity.temperature, doubt * margin(dtype, channels), top_k, ROWS=rows, KEPT=kept, RAW=shape["RAW"], **mixing,
        )  # fmt: skip
        kernels.search[cells, count // pool](
            query, table, reaches, unproven, labels, entropy, height, width, channels, count, pool, label_count,
            affinity.temperature, top_k, BLOCK=block, KEPT=_power_of_two(top_k), **shape, **mixing,
        )  # fmt: skip
    return labels.mean(0).t().reshape(-1, height, width), entropy.mean(0).view(height, width), unproven.view(-1, height, width)


def margin(dtype: torch.dtype, channels: int) -> float:
    """The most by which rounding moves the score of two unit vectors: their values to half precision, and the sums of their products.

    Each value is off by a part of u = 2**-bits, so the products by at most 2u + u² of ``sum(|q k|) <= 1``; values too small for that
    (float16 below 6e-5) by 2**-25, which is ``sqrt(C) * 2**-24`` for both vectors. Sums in float32, rounded either way or cut off, are off
    by at most ``C * 2**-23``; as much again is for the sums of the second, float32 score.

    >>> margin(torch.float16, 256) < 1.1e-3 < 7.8e-3 < margin(torch.bfloat16, 256)
    True
    """
    unit = 2.0 ** -BITS[dtype]
    return 2 * unit + unit**2 + math.sqrt(channels) * 2.0**-24 + channels * 2.0**-22


def _score(
    packed: Tensor,
    table: Tensor,
    reaches: Tensor,
    lists: Tensor,
    *,
    grid: tuple[int, int],
    each: int,
    kept: int,
    shape: dict[str, Any],
) -> None:
    """Launch `kernels.score` as it is fastest here, or as the interpreter can."""
    height, width = grid
    arguments = packed, table, reaches, lists, height, width, packed.shape[1], len(reaches), each
    if interpreted():
        from followspot.ops.backends.gpu import kernels

        tiles = -(-height // 8) * -(-width // 8)
        widen = packed.dtype == torch.bfloat16
        kernels.score[tiles, lists.shape[0]](*arguments, TY=8, TX=8, BLOCK=128, CHUNK=PAD, KEPT=kept, WIDEN=widen, **shape)
        return

    def grid_of(meta: dict[str, int]) -> tuple[int, int]:
        return -(-height // meta["TY"]) * -(-width // meta["TX"]), lists.shape[0]

    _tuned()[grid_of](*arguments, KEPT=kept, WIDEN=False, **shape)


@cache
def _tuned() -> Any:  # noqa: ANN401
    """`kernels.score` that tries its tiles on the first call of a size, and remembers the fastest on disk."""
    import triton

    from followspot.ops.backends.gpu import kernels

    tiles = [
        (4, 8, 64, 64, 4, 3),
        (4, 8, 128, 64, 4, 3),
        (8, 8, 64, 64, 4, 3),
        (8, 8, 64, 32, 4, 4),
        (8, 8, 128, 64, 8, 3),
        (8, 16, 64, 64, 8, 3),
    ]
    configs = [
        triton.Config({"TY": rows, "TX": columns, "BLOCK": block, "CHUNK": chunk}, num_warps=warps, num_stages=stages)
        for rows, columns, block, chunk, warps, stages in tiles
    ]
    return triton.autotune(configs, key=["height", "width", "padded", "KEPT", "CIRCLE", "RAW"], cache_results=True)(kernels.score)


def _on(device: torch.device) -> AbstractContextManager[object]:
    """Triton launches on torch's current GPU."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _kept(entry: Entry, dtype: torch.dtype) -> Tensor:
    """The frame's features as the kernels want them; made once."""
    name = f"gpu {dtype}", False
    if name not in entry.packed:
        entry.packed[name] = _packed(entry.features, dtype), 0.0
    return entry.packed[name][0]


def _packed(features: Tensor, dtype: torch.dtype) -> Tensor:
    """``(h * w, C')`` in half precision, C' the next multiple of PAD."""
    cells = features.flatten(0, 1).to(dtype)
    return torch.nn.functional.pad(cells, (0, -cells.shape[1] % PAD)).contiguous()


def _table(entries: Sequence[Entry], keys: Sequence[Tensor]) -> Tensor:
    """Addresses, as `kernels.score` says; frames stay where they are, nothing is stacked."""
    fields = (keys, *([getattr(entry, name) for entry in entries] for name in ("norms", "features", "labels")))
    return torch.tensor([[field.data_ptr() for field in frames] for frames in fields], dtype=torch.int64).to(entries[0].features.device)


def _reaches(entries: Sequence[Entry], affinity: "Affinity", grid: tuple[int, int]) -> Tensor:
    """``(frames,)`` int32 radii; -1 for the whole image. Those longer than the image's diagonal would overflow when squared."""
    radii = [affinity.radius_first if entry.permanent else affinity.radius for entry in entries]
    reaches = [-1 if radius is None or radius > math.hypot(*grid) else radius for radius in radii]
    return torch.tensor(reaches, dtype=torch.int32).to(entries[0].features.device)


def _frames_each(device: torch.device, cells: int, count: int) -> int:
    """Frames a program goes through: all, unless the GPU would be idle then. A tile has about 64 queries."""
    if device.type != "cuda":
        return count
    wanted = BUSY * torch.cuda.get_device_properties(device).multi_processor_count
    return max(1, count * -(-cells // 64) // wanted)


def _power_of_two(least: int) -> int:
    return 1 << (least - 1).bit_length()
