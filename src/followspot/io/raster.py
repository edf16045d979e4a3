"""Shapes to pixels, exactly: a pixel belongs to a shape when its centre lies inside.

Coordinates here count from the top-left corner of the image, so the centre of pixel ``(row 0, column 0)`` is ``(0.5, 0.5)``.
Drawing libraries also paint the pixels that an outline merely touches, which makes every mask a pixel too large.
"""

import numpy as np
from numpy.typing import NDArray

from followspot.errors import AnnotationError


def fill_polygon(corners: NDArray[np.float64], *, height: int, width: int) -> NDArray[np.bool_]:
    """The pixels inside a polygon (even-odd rule where it crosses itself).

    Args:
        corners: ``(K, 2)`` x, y from the image's top-left corner, K >= 3; the last joins the first.
        height: of the image.
        width: of the image.

    Returns:
        ``(H, W)`` bool. Edges are half-open, so polygons that share an edge share no pixel.

    >>> fill_polygon(np.array([[1.0, 0], [3, 0], [3, 2], [1, 2]]), height=2, width=4).astype(int)
    array([[0, 1, 1, 0],
           [0, 1, 1, 0]])
    """
    flips = np.zeros((height, width + 1), np.uint8)
    for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        top, bottom = np.clip(np.ceil(np.sort([y1, y2]) - 0.5), 0, height).astype(int)
        if top == bottom:
            continue
        rows = np.arange(top, bottom)
        crossing = x1 + (rows + 0.5 - y1) * ((x2 - x1) / (y2 - y1))
        # An edge has one crossing a row, so no entry repeats and plain indexing flips each exactly once.
        flips[rows, np.clip(np.ceil(crossing - 0.5), 0, width).astype(int)] ^= 1
    return np.bitwise_xor.accumulate(flips, axis=1)[:, :width].astype(bool)


def fill_circle(centre: tuple[float, float], radius: float, *, height: int, width: int) -> NDArray[np.bool_]:
    """The pixels inside a circle.

    Args:
        centre: x, y from the image's top-left corner.
        radius: in pixels.
        height: of the image.
        width: of the image.

    Returns:
        ``(H, W)`` bool.
    """
    across = np.arange(width) + 0.5 - centre[0]
    down = np.arange(height) + 0.5 - centre[1]
    inside: NDArray[np.bool_] = np.hypot(across[None, :], down[:, None]) <= radius
    return inside


def decode_runs(counts: list[int], *, height: int, width: int, where: str) -> NDArray[np.bool_]:
    """A COCO run-length mask: run lengths down the columns, the first of them background.

    Args:
        counts: run lengths, background and object in turn.
        height: of the image.
        width: of the image.
        where: what errors name.

    Returns:
        ``(H, W)`` bool.

    Raises:
        AnnotationError: the runs do not add up to the image.

    >>> decode_runs([1, 3, 2], height=2, width=3, where="a.json").astype(int)
    array([[0, 1, 0],
           [1, 1, 0]])
    """
    if min(counts, default=0) < 0 or sum(counts) != height * width:
        raise AnnotationError(
            f"{where}: run lengths cover {sum(counts)} pixels of a {width}x{height} image, expected {height * width}; export it again"
        )
    values = np.arange(len(counts)) % 2 == 1
    flat: NDArray[np.bool_] = np.repeat(values, counts)
    return flat.reshape(width, height).T


def unpack_counts(text: str, *, where: str) -> list[int]:
    """The run lengths in a compressed COCO string.

    Each number is cut into groups of 5 bits, lowest first, one character each (48 + group); bit 5 says that more follow, and bit 4
    of the last group is the sign. From the fourth number on, the difference to the number two places before is stored.

    Args:
        text: the ``counts`` field.
        where: what errors name.

    Returns:
        Run lengths.

    Raises:
        AnnotationError: a character outside ``0``..``o``, or a text that ends within a number.

    >>> unpack_counts("132", where="a.json")
    [1, 3, 2]
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        group = ord(character) - 48
        # 13 groups hold 65 bits: no image has runs that long, so a longer number is damage.
        if not 0 <= group < 64 or shift > 60:
            raise AnnotationError(f"{where}: {character!r} cannot stand in a compressed mask; export it again")
        value |= (group & 0x1F) << shift
        shift += 5
        if group & 0x20:
            continue
        if group & 0x10:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    if shift:
        raise AnnotationError(f"{where}: the compressed mask ends within a number; export it again")
    return counts
