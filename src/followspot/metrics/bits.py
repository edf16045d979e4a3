"""Two masks of one picture as bits, 64 pixels a word: counts and disks at a fraction of the cost of bytes."""

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
"""``(2, rows, words)``: bit c of word k of a row is the pixel in column 64 k + c."""

_BITS = 64
# Rows are joined before they are reduced: 16 rows at a time cost a fourth of one at a time, more gain nothing (480 x 854, one core).
_JOINED = 16


class PackedPair:
    """Two masks, cropped to what both cover and one pixel more, where the picture goes on.

    Nothing that is measured between two masks of one picture lies outside.

    Args:
        first: boolean ``(H, W)``.
        second: boolean of the same shape.
        margin: empty columns that are kept free beyond the right border, so that what is shifted does not run into the next row.
    """

    def __init__(self, first: NDArray[np.bool_], second: NDArray[np.bool_], *, margin: int) -> None:
        window = covered(first, second)
        height, self.width = (part.stop - part.start for part in window)
        pixels = np.zeros((2, height, _BITS * math.ceil((self.width + margin) / _BITS)), np.bool_)
        pixels[0, :, : self.width] = first[window]
        pixels[1, :, : self.width] = second[window]
        self.words: Words = _packed(pixels.reshape(-1)).reshape(2, height, -1)

    def outlines(self) -> Words:
        """Where a pixel differs from its right, lower or lower right neighbour; the picture's border repeats beyond it."""
        words = self.words
        columns = np.arange(_BITS * words.shape[-1])
        inside, last = _packed(columns < self.width - 1), _packed(columns == self.width - 1)
        # The first pixel of a row moves to the end of the row above, and is taken away there.
        right = (shifted(words, -1) & inside) | (words & last)
        outline = words ^ right
        outline[:, :-1] |= words[:, :-1] ^ words[:, 1:]
        outline[:, :-1] |= words[:, :-1] ^ right[:, 1:]
        return outline


def _packed(pixels: NDArray[np.bool_]) -> NDArray[np.uint64]:
    return np.packbits(pixels, bitorder="little").view("<u8").astype(np.uint64, copy=False)


def covered(*masks: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Rows and columns of the box around all masks, one pixel larger where the picture goes on; one pixel if there is nothing."""
    height, width = masks[0].shape
    found = [extent for mask in masks if (extent := _extent(mask)) is not None]
    if not found:
        return slice(0, 1), slice(0, 1)
    tops, bottoms, lefts, rights = zip(*found, strict=True)
    rows = slice(max(min(tops) - 1, 0), min(max(bottoms) + 1, height))
    return rows, slice(max(min(lefts) - 1, 0), min(max(rights) + 1, width))


def _extent(mask: NDArray[np.bool_]) -> tuple[int, int, int, int] | None:
    """Top, bottom, left, right of what a mask covers, the second of each pair excluded; None if it is empty.

    Nothing of the size of the picture is allocated: fresh memory costs more than all of the search.
    """
    width = mask.shape[1]
    flat = np.ascontiguousarray(mask).reshape(-1)
    begin = int(flat.argmax()) // width
    if not flat[begin * width :].any():
        return None
    joined = _JOINED * width
    blocks = np.flatnonzero(np.logical_or.reduceat(flat, np.arange(begin * width, flat.size, joined)))
    last = flat[begin * width + int(blocks[-1]) * joined :][:joined].reshape(-1, width)
    end = begin + int(blocks[-1]) * _JOINED + int(np.flatnonzero(last.any(axis=1))[-1]) + 1
    columns = np.flatnonzero(_any_row(flat[begin * width : end * width], width))
    return begin, end, int(columns[0]), int(columns[-1]) + 1


def _any_row(flat: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """Which columns hold anything, of the rows that lie one after the other."""
    joined = _JOINED * width
    whole = len(flat) // joined * joined
    rest, rows = flat[whole:].reshape(-1, width), flat[:whole].reshape(-1, joined).any(axis=0).reshape(_JOINED, width)
    found: NDArray[np.bool_] = np.asarray(np.concatenate([rest, rows]).any(axis=0))
    return found


def shifted(words: Words, columns: int) -> Words:
    """Every pixel moved to the right, or to the left by a negative number.

    Args:
        words: rows with as many empty columns at their end as the move is far.
        columns: -63 to 63, not 0.
    """
    flat = words.reshape(-1)
    near, far = np.uint64(abs(columns)), np.uint64(_BITS - abs(columns))
    if columns > 0:
        moved = flat << near
        moved[1:] |= flat[:-1] >> far
    else:
        moved = flat >> near
        moved[:-1] |= flat[1:] << far
    return moved.reshape(words.shape)


def spread(words: Words, radius: int) -> Words:
    """Every pixel made a disk: all pixels at most ``radius`` from its centre.

    A disk is a stack of rows. The rows are grown to the left and right, from the narrowest to the widest, and laid above and below.

    Args:
        words: rows with at least ``radius`` empty columns at their end. What comes to lie there is without meaning.
        radius: pixels.
    """
    rows = words.shape[1]
    by_width: dict[int, list[int]] = {}
    for away in range(min(radius, rows - 1), -1, -1):
        by_width.setdefault(math.isqrt(radius * radius - away * away), []).append(away)
    result, left, right, reach = np.zeros_like(words), words, words, 0
    for width, distances in by_width.items():
        while reach < width:
            # A run of pixels may be moved by its own length without leaving a gap.
            step = min(width - reach, reach + 1, _BITS - 1)
            left, right, reach = left | shifted(left, -step), right | shifted(right, step), reach + step
        grown = left | right
        for away in distances:
            result[:, away:] |= grown[:, : rows - away]
            if away:
                result[:, : rows - away] |= grown[:, away:]
    return result


def count(words: NDArray[np.unsignedinteger[Any]]) -> int:
    """How many bits are set."""
    # numpy counts bits from version 2 on only, and takes three times longer than OpenCV.
    return int(cv2.norm(np.ascontiguousarray(words).reshape(-1).view(np.uint8), cv2.NORM_HAMMING)) if words.size else 0
