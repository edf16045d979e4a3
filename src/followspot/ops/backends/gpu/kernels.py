# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201, ANN202, SIM108
"""Label propagation as three Triton kernels; imported only where triton is there, launched by `matching`.

    score     fp16 or bf16 products, summed in float32: the best KEPT keys of each query in each group of frames
    decide    groups merged, the kept scored again in float32; top-k, softmax, labels. Marks queries whose choice is not proven
    search    float32 over the whole window, for marked queries only; the others leave at once

Memory traffic at 60 x 107 cells, C = 256, 8 frames, radius 12 (arithmetic, **never measured: no GPU was at hand**):

- `score` reads each packed frame once from memory (8 x 3.3 MB) and about (TY + 2r)(TX + 2r) keys a tile and frame from the L2 cache: tiles
  of 8 x 8 queries ask for 1024 keys where 625 are needed, 460 MB in all for 112 tiles. Nothing of the size (h·w)² or h·w x window is
  written; what is written are the lists, h·w x KEPT x 8 bytes a group of frames (6.6 MB for 8 groups and 16 kept).
- 22.7 GFLOP are issued for 13.9 that count. On an H200 (4.8 TB/s, some 790 TFLOP/s in half precision) the floor is 6 µs for memory and
  18 µs for products; most of the time is expected in `_insert`. It runs as many rounds as the query with most new keys needs, none for
  most blocks once lists are full.
- Frames are split into groups only until the GPU is full: each group starts with empty lists, which costs insertions.
- `decide` reads KEPT float32 rows a query, 105 MB from L2 for 16.

Compiled for sm_90 (Triton 3.9; that needs no GPU) `score` has wgmma for tiles of 64 queries and more, cp.async, 128 to 242 registers and no
spills.

A key is one int64: the score's bits, made to sort as integers, above 32 bits that say which cell it is. So lists have no ties, and one
array makes a list. NONE stands for "no key"; empty places of a list hold NONE + place, so that each can be told from the others.
"""

import triton
import triton.language as tl

NONE = tl.constexpr(-(2**63))
PLACES = tl.constexpr(256)
"""More than a list has places; the lowest score there is makes a key far above NONE + PLACES."""


@triton.jit
def _keyed(scores, cells):
    """Scores and cells as int64 that sort like the scores."""
    bits = scores.to(tl.int32, bitcast=True)
    bits = tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    return (bits.to(tl.int64) << 32) | cells.to(tl.int64)


@triton.jit
def _scores(keys):
    bits = (keys >> 32).to(tl.int32)
    return tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits).to(tl.float32, bitcast=True)


@triton.jit
def _empty(ROWS: tl.constexpr, KEPT: tl.constexpr):
    places = tl.arange(0, KEPT)[None, :].to(tl.int64) + NONE
    return tl.zeros((ROWS, KEPT), tl.int64) + places


@triton.jit
def _held(keys):
    return keys >= NONE + PLACES


@triton.jit
def _insert(best, keys):
    """The best of both, row by row, in lists as long as before; rows are done when their best new key is no better than the worst old."""
    worst = tl.min(best, 1)
    top = tl.max(keys, 1)
    while tl.max((top > worst).to(tl.int32), 0) > 0:
        better = (top > worst)[:, None] & (best == worst[:, None])
        best = tl.where(better, top[:, None], best)
        keys = tl.where(keys == top[:, None], NONE, keys)
        worst = tl.min(best, 1)
        top = tl.max(keys, 1)
    return best


@triton.jit
def _near(dy, dx, reach, CIRCLE: tl.constexpr):
    if CIRCLE:
        near = dy * dy + dx * dx <= reach * reach
    else:
        near = (tl.abs(dy) <= reach) & (tl.abs(dx) <= reach)
    return near | (reach < 0)


@triton.jit
def score(
    query, table, reaches, lists, height, width, padded, frame_count, each,
    TY: tl.constexpr, TX: tl.constexpr, BLOCK: tl.constexpr, CHUNK: tl.constexpr,
    KEPT: tl.constexpr, CIRCLE: tl.constexpr, RAW: tl.constexpr, WIDEN: tl.constexpr,
):  # fmt: skip
    """Lists ``(groups, h * w, KEPT)`` of rounded scores; one program a tile of TY x TX queries and group of ``each`` frames.

    ``query`` (h * w, padded) in half precision; ``table`` (4, frames) int64, addresses of keys (as the query), norms, features and labels;
    ``reaches`` (frames) int32, -1 for the whole image; ``padded`` is a multiple of CHUNK.
    """
    ROWS: tl.constexpr = TY * TX
    across = tl.cdiv(width, TX)
    top = (tl.program_id(0) // across) * TY
    left = (tl.program_id(0) % across) * TX
    group = tl.program_id(1)
    rows = tl.arange(0, ROWS)
    y = top + rows // TX
    x = left + rows % TX
    inside = (y < height) & (x < width)
    # Places beyond the image ask for what the last cell asks: no mask in the inner loop.
    place = tl.minimum(y, height - 1) * width + tl.minimum(x, width - 1)
    chunk = tl.arange(0, CHUNK)
    column = tl.arange(0, BLOCK)
    best = _empty(ROWS, KEPT)
    for frame in range(group * each, tl.minimum((group + 1) * each, frame_count)):
        reach = tl.load(reaches + frame)
        keys_of = tl.multiple_of(tl.load(table + frame).to(tl.pointer_type(query.dtype.element_ty)), 16)
        norms_of = tl.load(table + frame_count + frame).to(tl.pointer_type(tl.float32))
        far = tl.where(reach < 0, height + width, reach)
        y0 = tl.maximum(top - far, 0)
        x0 = tl.maximum(left - far, 0)
        breadth = tl.minimum(left + TX + far, width) - x0
        count = (tl.minimum(top + TY + far, height) - y0) * breadth
        for start in range(0, count, BLOCK):
            ordinal = start + column
            key = tl.minimum(ordinal, count - 1)
            ky = y0 + key // breadth
            kx = x0 + key % breadth
            cell = ky * width + kx
            total = tl.zeros((ROWS, BLOCK), tl.float32)
            for c in range(0, padded, CHUNK):
                a = tl.load(query + place.to(tl.int64)[:, None] * padded + (c + chunk)[None, :])
                b = tl.load(keys_of + cell.to(tl.int64)[:, None] * padded + (c + chunk)[None, :])
                if WIDEN:  # the interpreter cannot multiply bfloat16; float32 holds it exactly
                    a = a.to(tl.float32)
                    b = b.to(tl.float32)
                total = tl.dot(a, tl.trans(b), total)
            if RAW:
                total = total * tl.load(norms_of + cell)[None, :]
            near = _near(ky[None, :] - y[:, None], kx[None, :] - x[:, None], reach, CIRCLE)
            near = near & (ordinal < count)[None, :] & inside[:, None]
            keys = _keyed(total, (frame * height * width + cell)[None, :])
            best = _insert(best, tl.where(near, keys, NONE))
    places = lists + (group * height * width + place).to(tl.int64)[:, None] * KEPT + tl.arange(0, KEPT)[None, :]
    tl.store(places, best, mask=inside[:, None])


@triton.jit
def _carry(
    keys, cell, wanted, pool, table, labels, entropy, cells, frame_count, label_count, temperature, top_k,
    KEPT: tl.constexpr, LABELS: tl.constexpr,
):  # fmt: skip
    """Keeps the best ``top_k`` of exact keys ``(ROWS, KEPT)``, writes their mean labels and entropy; returns the worst score kept."""
    left = keys
    kept = keys < keys
    peak = _scores(tl.max(keys, 1))
    worst = peak
    for _ in range(top_k):
        first = tl.max(left, 1)
        worst = tl.where(_held(first), _scores(first), worst)
        kept = kept | ((left == first[:, None]) & _held(left))
        left = tl.where(left == first[:, None], NONE, left)
    exponents = tl.where(kept, (_scores(keys) - peak[:, None]) / temperature, 0.0)
    exponents = tl.maximum(exponents, -200.0)  # exp is 0 there, and 0 x -200 is 0 (as FLOOR of the tiles)
    weights = tl.where(kept, tl.exp(exponents), 0.0)
    mass = tl.maximum(tl.sum(weights, 1), 1.0)  # the best key weighs 1; rows beyond the image have none
    count = tl.sum(kept.to(tl.float32), 1)
    doubt = tl.log(mass) - tl.sum(weights * exponents, 1) / mass
    doubt = tl.where(count > 1, doubt / tl.log(tl.maximum(count, 2.0)), 0.0)
    tl.store(entropy + pool * cells + cell, tl.minimum(tl.maximum(doubt, 0.0), 1.0), mask=wanted)
    weights = weights / mass[:, None]
    numbers = (keys & 0xFFFFFFFF).to(tl.int32)
    place = tl.arange(0, KEPT)[None, :]
    channel = tl.arange(0, LABELS)
    for first_label in range(0, label_count, LABELS):
        there = (first_label + channel) < label_count
        found = tl.zeros((keys.shape[0], LABELS), tl.float32)
        for slot in range(KEPT):
            weight = tl.sum(tl.where(place == slot, weights, 0.0), 1)
            number = tl.sum(tl.where((place == slot) & kept, numbers, 0), 1)
            used = wanted & (weight > 0)
            labels_of = tl.load(table + 3 * frame_count + number // cells, mask=used, other=0).to(tl.pointer_type(tl.float32))
            source = labels_of[:, None] + (number % cells).to(tl.int64)[:, None] * label_count + (first_label + channel)[None, :]
            found += weight[:, None] * tl.load(source, mask=used[:, None] & there[None, :], other=0.0)
        target = labels + (pool * cells + cell).to(tl.int64)[:, None] * label_count + (first_label + channel)[None, :]
        tl.store(target, found, mask=wanted[:, None] & there[None, :])
    return worst


@triton.jit
def decide(
    query, lengths, table, peak_norm, lists, labels, entropy, unproven, cells, channels, frame_count, groups, label_count,
    temperature, margin, top_k, ROWS: tl.constexpr, CHUNK: tl.constexpr, KEPT: tl.constexpr, LABELS: tl.constexpr, RAW: tl.constexpr,
):  # fmt: skip
    """Exact scores of the kept keys, labels ``(pools, h * w, L)``, and which queries have no proof; one program ROWS queries of a pool.

    ``query`` (h * w, channels) float32, ``lengths`` (h * w) what it is longer than unit vectors; ``margin`` bounds how far rounding moves
    the score of unit vectors; ``groups`` lists make a pool.
    """
    pool = tl.program_id(1)
    cell = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    wanted = cell < cells
    place = tl.arange(0, KEPT)[None, :]
    best = _empty(ROWS, KEPT)
    for group in range(pool * groups, (pool + 1) * groups):
        keys = tl.load(lists + (group * cells + cell).to(tl.int64)[:, None] * KEPT + place, mask=wanted[:, None], other=NONE)
        best = _insert(best, tl.where(_held(keys), keys, NONE))
    last = tl.min(best, 1)
    chunk = tl.arange(0, CHUNK)
    exact = best
    for slot in range(KEPT):
        key = tl.max(tl.where(place == slot, best, NONE), 1)
        used = wanted & _held(key)
        number = tl.where(used, (key & 0xFFFFFFFF).to(tl.int32), 0)
        features_of = tl.load(table + 2 * frame_count + number // cells, mask=used, other=0).to(tl.pointer_type(tl.float32))
        total = tl.zeros((ROWS, CHUNK), tl.float32)
        for c in range(0, channels, CHUNK):
            there = used[:, None] & (c + chunk < channels)[None, :]
            a = tl.load(query + cell.to(tl.int64)[:, None] * channels + (c + chunk)[None, :], mask=there, other=0.0)
            offset = (number % cells).to(tl.int64)[:, None] * channels + (c + chunk)[None, :]
            total += a * tl.load(features_of[:, None] + offset, mask=there, other=0.0)
        similarity = tl.sum(total, 1)
        if RAW:
            norms_of = tl.load(table + frame_count + number // cells, mask=used, other=0).to(tl.pointer_type(tl.float32))
            similarity *= tl.load(norms_of + number % cells, mask=used, other=0.0)
        exact = tl.where((place == slot) & used[:, None], _keyed(similarity, number)[:, None], exact)
    worst = _carry(
        exact, cell, wanted, pool, table, labels, entropy, cells, frame_count, label_count, temperature, top_k, KEPT=KEPT, LABELS=LABELS
    )  # fmt: skip
    bound = _scores(last) + margin
    if RAW:
        bound = (_scores(last) + margin * tl.load(peak_norm)) * tl.load(lengths + cell, mask=wanted, other=0.0)
    # A key that was passed over has a rounded score of at most the last kept one's.
    tl.store(unproven + pool * cells + cell, (_held(last) & (bound > worst)).to(tl.int32), mask=wanted)


@triton.jit
def search(
    query, table, reaches, unproven, labels, entropy, height, width, channels, frame_count, each, label_count, temperature, top_k,
    BLOCK: tl.constexpr, CHUNK: tl.constexpr, KEPT: tl.constexpr, LABELS: tl.constexpr, CIRCLE: tl.constexpr, RAW: tl.constexpr,
):  # fmt: skip
    """Float32 over the whole window for what `decide` marked; one program a query and pool of ``each`` frames."""
    cells = height * width
    here = tl.program_id(0)
    pool = tl.program_id(1)
    if tl.load(unproven + pool * cells + here) != 0:
        cell = here + tl.arange(0, 1)
        y = here // width
        x = here % width
        chunk = tl.arange(0, CHUNK)
        column = tl.arange(0, BLOCK)
        best = _empty(1, KEPT)
        for frame in range(pool * each, (pool + 1) * each):
            reach = tl.load(reaches + frame)
            features_of = tl.load(table + 2 * frame_count + frame).to(tl.pointer_type(tl.float32))
            far = tl.where(reach < 0, height + width, reach)
            y0 = tl.maximum(y - far, 0)
            x0 = tl.maximum(x - far, 0)
            breadth = tl.minimum(x + 1 + far, width) - x0
            count = (tl.minimum(y + 1 + far, height) - y0) * breadth
            for start in range(0, count, BLOCK):
                ordinal = start + column
                key = tl.minimum(ordinal, count - 1)
                ky = y0 + key // breadth
                kx = x0 + key % breadth
                number = ky * width + kx
                total = tl.zeros((BLOCK, CHUNK), tl.float32)
                for c in range(0, channels, CHUNK):
                    there = (c + chunk < channels)[None, :]
                    a = tl.load(query + here.to(tl.int64) * channels + (c + chunk)[None, :], mask=there, other=0.0)
                    b = features_of + number.to(tl.int64)[:, None] * channels + (c + chunk)[None, :]
                    total += a * tl.load(b, mask=there, other=0.0)
                similarity = tl.sum(total, 1)
                if RAW:
                    norms_of = tl.load(table + frame_count + frame).to(tl.pointer_type(tl.float32))
                    similarity *= tl.load(norms_of + number)
                near = _near(ky - y, kx - x, reach, CIRCLE) & (ordinal < count)
                keys = tl.where(near, _keyed(similarity, frame * cells + number), NONE)
                best = _insert(best, keys[None, :])
        _carry(
            best, cell, cell < cells, pool, table, labels, entropy, cells, frame_count, label_count, temperature, top_k,
            KEPT=KEPT, LABELS=LABELS,
        )  # fmt: skip
