"""Propagation in C++: the same answers as plain torch, exact, on CPUs.

Every remembered frame is packed once, into a copy of its features that the kernel can stream; the copy stays with the frame. With bfloat16
(`library.PATHS`) that copy is half as large and twice as fast, and only chooses candidates: their scores are computed again in float32, and
a query whose choice cannot be proven (some key that was passed over might be better, given how far rounding can have moved its score) is
searched again in float32.
"""

import ctypes
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from followspot.ops.backends.native import library
from followspot.ops.bank import Entry

if TYPE_CHECKING:
    from followspot.ops.propagate import Affinity

MOST = 64
"""Longest top-k, as in job.h; tiles of plain torch take over beyond."""
GROUP = 16
"""Candidates come in groups of so many, as in job.h."""
NARROWEST = 32
"""Least columns of a packed row: the kernel reads so many at once."""


def refusal(query: Tensor, entries: Sequence[Entry], affinity: "Affinity") -> str | None:
    """Why this backend cannot do it; None where it can.

    Args:
        query: ``(h, w, C)``.
        entries: the remembered frames.
        affinity: how to match.

    Raises:
        SettingError: ``FOLLOWSPOT_NATIVE`` has no meaning here (`library.chosen`).
    """
    if query.device.type != "cpu":
        return f"it runs on CPUs, the features are on {query.device}"
    if affinity.top_k is None or affinity.top_k > MOST:
        return f"top_k = {affinity.top_k}, it keeps 1 to {MOST} keys"
    if not affinity.renormalize:
        return "renormalize = False needs all keys of the window"
    if len(entries) * query.shape[0] * query.shape[1] >= 2**31:
        return "too many cells"
    return None if library.chosen() else library.state()


def match(query: Tensor, entries: Sequence[Entry], affinity: "Affinity") -> tuple[Tensor, Tensor]:
    """Match every cell of a frame with its keys and carry their labels over; `refusal` must have nothing against it.

    Args:
        query: ``(h, w, C)`` float32, contiguous; unit vectors where ``affinity.normalize``.
        entries: at least one remembered frame of the same size.
        affinity: how to match.

    Returns:
        Labels ``(L, h, w)`` and entropy ``(h, w)``.
    """
    pools = [entries] if affinity.joint else [[entry] for entry in entries]
    parts = [_match(query, pool, affinity)[:2] for pool in pools]
    labels, entropy = (torch.stack(part).mean(0) if len(part) > 1 else part[0] for part in zip(*parts, strict=True))
    return labels.t().contiguous().view(-1, *query.shape[:2]), entropy


def _match(query: Tensor, entries: Sequence[Entry], affinity: "Affinity") -> tuple[Tensor, Tensor, int]:
    """Labels ``(h * w, L)``, entropy ``(h, w)``, and how many queries were searched again, for one pool of frames."""
    height, width, channels = query.shape
    path = library.chosen() or ""
    if not affinity.normalize and path == "avx512vnni":
        # The proof is about unit vectors.
        path = "avx512"
    # Newest first and references last: the best keys come early, and later ones are passed over faster.
    ordered = sorted(entries, key=lambda entry: entry.permanent)
    kept = [_packed(entry, path, raw=not affinity.normalize) for entry in ordered]
    reaches = {key: _reach(key, height, width, circle=affinity.window == "circle") for key in {affinity.radius, affinity.radius_first}}
    frames = (library.Frame * len(ordered))()
    for frame, entry, (keys, error) in zip(frames, ordered, kept, strict=True):
        frame.keys, frame.cells, frame.labels = keys.data_ptr(), entry.features.data_ptr(), entry.labels.data_ptr()
        frame.scale = None if affinity.normalize else entry.norms.data_ptr()
        frame.reach = ctypes.addressof(reaches[affinity.radius_first if entry.permanent else affinity.radius])
        frame.error = error
    labels = query.new_empty((height * width, entries[0].labels.shape[1]))
    entropy = query.new_empty((height, width))
    top_k = affinity.top_k or 0
    job = library.Job(
        query=query.data_ptr(),
        frames=frames,
        labels=labels.data_ptr(),
        entropy=entropy.data_ptr(),
        frame_count=len(ordered),
        height=height,
        width=width,
        channels=channels,
        stride=_stride(width),
        label_count=labels.shape[1],
        top_k=top_k,
        candidates=_candidates(top_k, rounded=path == "avx512vnni"),
        threads=torch.get_num_threads(),
        temperature=affinity.temperature,
    )
    again = _loaded().followspot_match(library.PATHS.index(path), ctypes.byref(job))
    if again < 0:
        raise MemoryError("no memory for label propagation")
    return labels, entropy, again


def _loaded() -> ctypes.CDLL:
    loaded = library.load()
    assert not isinstance(loaded, str), loaded
    return loaded


def _packed(entry: Entry, path: str, *, raw: bool) -> tuple[Tensor, float]:
    """Keys of a frame as the kernel wants them, and how far rounding moved any of them; made once."""
    kept = entry.packed.get((path, raw))
    if kept is None:
        height, width, channels = entry.features.shape
        stride = _stride(width)
        steps = -(-channels // 2) if path == "avx512vnni" else channels
        keys = torch.empty((height, steps, stride), dtype=torch.int32)
        scale = entry.norms.data_ptr() if raw else None
        places = entry.features.data_ptr(), scale, height, width, channels, stride, keys.data_ptr(), 4 * steps * stride
        error = _loaded().followspot_pack(library.PATHS.index(path), *places, torch.get_num_threads())
        kept = entry.packed[path, raw] = keys, error
    return kept


def _stride(width: int) -> int:
    return max(NARROWEST, -(-width // GROUP) * GROUP)


def _candidates(top_k: int, *, rounded: bool) -> int:
    """Length of the lists: room for keys whose rounded scores are too low, or whose sums were added in another order."""
    return -(-(2 * top_k + 6 if rounded else top_k + 2) // GROUP) * GROUP


def _reach(radius: int | None, height: int, width: int, *, circle: bool) -> ctypes.Array[ctypes.c_int32]:
    """Columns to either side that lie within the radius, so many rows away; -1 where none does."""
    far = max(height, width)
    if radius is None:
        columns = [far] * height
    elif circle:
        columns = [min(math.isqrt(radius**2 - away**2), far) if away <= radius else -1 for away in range(height)]
    else:
        columns = [min(radius, far) if away <= radius else -1 for away in range(height)]
    return (ctypes.c_int32 * height)(*columns)
