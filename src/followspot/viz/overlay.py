"""Tracks drawn over pictures: masks, boxes, points, skeletons, names and how sure the tracker is."""

import colorsys
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from followspot.errors import AnnotationError, SettingError
from followspot.types import TrackedFrame, TrackedObject
from followspot.viz.skeleton import Colour, Limbs, draw_dot, draw_skeleton, to_fixed

Picture = NDArray[np.uint8]
Rectangle = tuple[int, int, int, int]

PALETTE: tuple[Colour, ...] = (
    (255, 64, 80),
    (0, 180, 255),
    (255, 205, 0),
    (190, 90, 255),
    (110, 220, 60),
    (255, 130, 30),
    (0, 215, 185),
    (255, 110, 200),
    (95, 120, 255),
    (190, 150, 95),
)
"""The first colours, chosen to stay apart on photographs; the order of hues is that of the DAVIS palette, brighter."""
_LOST: Colour = (150, 150, 150)
_TINT = 0.42
_WIDE_FONTS = ("NotoSansCJK-Regular.ttc", "Arial Unicode.ttf", "msyh.ttc", "DejaVuSans.ttf", "Arial.ttf")
_SHIFT = 4


def colour_of(index: int) -> Colour:
    """The colour of the n-th object, the same in every frame and every run.

    Args:
        index: position of the object, from 0; for masks the id minus 1.

    Returns:
        RGB in 0..255.

    >>> colour_of(0), colour_of(200)
    ((255, 64, 80), (37, 114, 250))
    """
    if index < len(PALETTE):
        return PALETTE[index]
    # Steps of the golden ratio never come close to an earlier hue for long.
    red, green, blue = colorsys.hsv_to_rgb(0.618034 * index % 1, 0.55 + 0.15 * (index % 3), 0.98 - 0.12 * (index // 3 % 3))
    return round(255 * red), round(255 * green), round(255 * blue)


_ID_COLOURS = np.array([(0, 0, 0), *(colour_of(k) for k in range(255))], np.uint8)


def draw(image: Picture, tracked: TrackedFrame, *, skeletons: Mapping[str, Limbs] | None = None) -> Picture:
    """Draw what a tracker says about a frame over its picture.

    Masks are tinted with a crisp contour, boxes outlined, points dotted, keypoints joined by limbs; each object is labelled with its name
    and confidence. Lost objects are grey and dashed and say so; lost joints are left out. Line widths and letters follow the size.

    Args:
        image: ``(H, W, 3)`` RGB uint8; left as it is.
        tracked: the tracker's answer for this frame.
        skeletons: limbs by the name of the object, for keypoints.

    Returns:
        A new ``(H, W, 3)`` RGB uint8 picture.

    Raises:
        AnnotationError: if the image is not RGB uint8, its size is not that of the masks, or a skeleton does not fit its keypoints.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise AnnotationError(f"a picture must be (H, W, 3) RGB uint8, got {image.shape} {image.dtype}; convert it first")
    for what, size in (("masks", tracked.masks), ("maps", tracked.maps)):
        if size is not None and size.shape[-2:] != image.shape[:2]:
            got, expected = size.shape[-2:], image.shape[:2]
            raise AnnotationError(
                f"frame {tracked.name!r}: {what} are {got}, the picture is {expected}; draw over the frame that was tracked"
            )
    line = max(1, round(min(image.shape[:2]) / 300))
    colours = [_LOST if thing.lost else _own_colour(thing, order) for order, thing in enumerate(tracked.objects)]
    canvas = _tint_masks(image, tracked, colours)
    _tint_maps(canvas, tracked, colours)
    for thing, colour in zip(tracked.objects, colours, strict=True):
        _draw_shape(canvas, thing, tracked, colour=colour, line=line, limbs=(skeletons or {}).get(thing.name, ()))
    _draw_labels(canvas, tracked.objects, colours)
    return canvas


def contact_sheet(images: Sequence[Picture], *, columns: int) -> Picture:
    """Lay pictures out in rows, left to right, with thin gaps; smaller ones are centred in their cell.

    Args:
        images: RGB uint8 pictures ``(H, W, 3)``, at least one.
        columns: pictures a row, at least 1.

    Returns:
        One RGB uint8 picture.

    Raises:
        SettingError: if there is no picture, or ``columns`` is below 1.
    """
    if not images or columns < 1:
        raise SettingError(f"a contact sheet needs at least 1 picture and 1 column, got {len(images)} and {columns}; pass both")
    height, width = max(image.shape[0] for image in images), max(image.shape[1] for image in images)
    gap = max(2, round(min(height, width) / 120))
    across = min(columns, len(images))
    down = -(-len(images) // across)
    sheet = np.full((down * (height + gap) + gap, across * (width + gap) + gap, 3), 24, np.uint8)
    for place, image in enumerate(images):
        row, column = divmod(place, across)
        top = gap + row * (height + gap) + (height - image.shape[0]) // 2
        left = gap + column * (width + gap) + (width - image.shape[1]) // 2
        sheet[top : top + image.shape[0], left : left + image.shape[1]] = image
    return sheet


def _own_colour(thing: TrackedObject, order: int) -> Colour:
    return colour_of(order if thing.mask_id is None else thing.mask_id - 1)


def _tint_masks(image: Picture, tracked: TrackedFrame, colours: Sequence[Colour]) -> Picture:
    if tracked.masks is None:
        return image.copy()
    # Ids that no object claims are tinted too: a mask that is there must be seen.
    table = _ID_COLOURS.copy()
    for thing, colour in zip(tracked.objects, colours, strict=True):
        if thing.mask_id is not None:
            table[thing.mask_id] = colour
    flat = cv2.LUT(cv2.merge([tracked.masks] * 3), table[None])
    tinted = cv2.addWeighted(image, 1 - _TINT, flat, _TINT, 0)
    return np.asarray(cv2.copyTo(tinted, tracked.masks, image.copy()), np.uint8)


def _tint_maps(canvas: Picture, tracked: TrackedFrame, colours: Sequence[Colour]) -> None:
    if tracked.maps is None:
        return
    painted = [colour for thing, colour in zip(tracked.objects, colours, strict=True) if thing.kind == "map"]
    for weights, colour in zip(tracked.maps, painted, strict=False):
        share = (1.5 * _TINT * np.clip(weights, 0, 1))[:, :, None]
        canvas[:] = np.round(canvas + (np.array(colour, np.float32) - canvas) * share)


def _draw_shape(canvas: Picture, thing: TrackedObject, tracked: TrackedFrame, *, colour: Colour, line: int, limbs: Limbs) -> None:
    if thing.kind == "mask" and thing.mask_id is not None and tracked.masks is not None:
        _draw_contour(canvas, tracked.masks, thing, colour=colour, line=line)
    elif thing.kind == "box" and thing.box is not None:
        x1, y1, x2, y2 = thing.box
        corners = np.array(((x1, y1), (x2, y1), (x2, y2), (x1, y2)) if thing.polygon is None else thing.polygon)
        _draw_outline(canvas, corners - 0.5, colour=colour, line=line + 1, dashed=thing.lost)
    elif thing.kind == "keypoints":
        draw_skeleton(canvas, thing.points, limbs, colour=colour, thickness=line + 1)
    elif thing.kind == "point":
        for point in thing.points:
            if not np.isfinite((point.x, point.y)).all():
                continue
            if point.lost or thing.lost:
                centre = round(point.x), round(point.y)
                cv2.drawMarker(canvas, centre, _LOST, cv2.MARKER_TILTED_CROSS, 6 * line, line, cv2.LINE_AA)
            else:
                draw_dot(canvas, point.x, point.y, colour=colour, radius=2.2 * line)


def _draw_contour(canvas: Picture, ids: Picture, thing: TrackedObject, *, colour: Colour, line: int) -> None:
    left, top, right, bottom = 0, 0, ids.shape[1], ids.shape[0]
    if thing.box is not None:
        # The extent of the mask is known, so only that part is searched.
        left, top = max(int(thing.box[0]) - 1, 0), max(int(thing.box[1]) - 1, 0)
        right, bottom = int(np.ceil(thing.box[2])) + 1, int(np.ceil(thing.box[3])) + 1
    part = (ids[top:bottom, left:right] == thing.mask_id).astype(np.uint8)
    contours, _ = cv2.findContours(
        part, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE if thing.lost else cv2.CHAIN_APPROX_SIMPLE, offset=(left, top)
    )
    bright: Colour = tuple(min(255, round(1.1 * channel + 20)) for channel in colour)  # type: ignore[assignment]
    if not thing.lost:
        cv2.drawContours(canvas, contours, -1, bright, line, cv2.LINE_AA)
        return
    for contour in contours:
        _draw_outline(canvas, contour[:, 0, :].astype(np.float64), colour=_LOST, line=line, dashed=True)


def _draw_outline(canvas: Picture, corners: NDArray[np.float64], *, colour: Colour, line: int, dashed: bool) -> None:
    """Draw a closed polygon (V, 2)."""
    fixed = [to_fixed(x, y) for x, y in corners]
    if not dashed:
        cv2.polylines(canvas, [np.array(fixed, np.int32)], True, colour, line, cv2.LINE_AA, _SHIFT)
        return
    closed = np.concatenate([corners, corners[:1]])
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))])
    dash = 5.0 * line
    for start in np.arange(0, along[-1], 2 * dash):
        at = np.linspace(start, min(start + dash, along[-1]), 5)
        bits = zip(np.interp(at, along, closed[:, 0]), np.interp(at, along, closed[:, 1]), strict=True)
        for first, last in pairwise(to_fixed(x, y) for x, y in bits):
            cv2.line(canvas, first, last, colour, line, cv2.LINE_AA, _SHIFT)


def _draw_labels(canvas: Picture, objects: Sequence[TrackedObject], colours: Sequence[Colour]) -> None:
    height, width = canvas.shape[:2]
    size = max(9, round(min(height, width) / 34))
    taken: list[Rectangle] = []
    for thing, colour in zip(objects, colours, strict=True):
        letters = _letters(_label(thing), size)
        tall, wide = letters.shape
        place = _free_place(_extent(thing), (tall, wide), (height, width), taken)
        taken.append(place)
        left, top, right, bottom = place
        area = canvas[top:bottom, left:right]
        dark_text = colour[0] * 0.299 + colour[1] * 0.587 + colour[2] * 0.114 > 140
        ink = np.array((15, 15, 15) if dark_text else (255, 255, 255), np.float32)
        tag = area * 0.15 + np.array(colour, np.float32) * 0.85
        share = letters[: area.shape[0], : area.shape[1], None]
        area[:] = np.round(tag + (ink - tag) * share)


def _label(thing: TrackedObject) -> str:
    if thing.lost:
        return f"{thing.name}  lost"
    return thing.name if thing.confidence is None else f"{thing.name}  {100 * thing.confidence:.0f}%"


def _extent(thing: TrackedObject) -> tuple[float, float, float, float] | None:
    if thing.box is not None:
        return thing.box
    found = np.array(
        [(point.x, point.y) for point in thing.points if np.isfinite((point.x, point.y)).all() and (thing.lost or not point.lost)]
    )
    if not len(found):
        return None
    return float(found[:, 0].min()), float(found[:, 1].min()) - 4, float(found[:, 0].max()), float(found[:, 1].max()) + 4


def _free_place(
    extent: tuple[float, float, float, float] | None, label: tuple[int, int], frame: tuple[int, int], taken: Sequence[Rectangle]
) -> Rectangle:
    """Above, below or inside the object, wherever no other label is; a column at the left edge for objects without a place."""
    tall, wide = label
    if extent is None:
        wanted = [(2, 2 + row * (tall + 2)) for row in range(max(1, frame[0] // (tall + 2)))]
    else:
        x1, y1, _, y2 = (round(edge) for edge in extent)
        wanted = [(x1, y1 - tall - 2), (x1, y2 + 2), (x1, y1 + 2), *((x1, y1 + row * (tall + 2)) for row in range(-4, 8))]
    places = []
    for x, y in wanted:
        left, top = int(np.clip(x, 0, max(frame[1] - wide, 0))), int(np.clip(y, 0, max(frame[0] - tall, 0)))
        places.append((left, top, left + wide, top + tall))
    return next((place for place in places if not any(_touch(place, other) for other in taken)), places[0])


def _touch(a: Rectangle, b: Rectangle) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


@lru_cache(maxsize=512)
def _letters(text: str, size: int) -> NDArray[np.float32]:
    """Coverage (rows, columns) of a line of text with its margin."""
    font, text = _font_for(text, size)
    left, _, right, _ = font.getbbox(text)
    pad = max(2, size // 4)
    picture = PillowImage.new("L", (max(1, round(right - left)) + 2 * pad, round(1.25 * size) + pad))
    ImageDraw.Draw(picture).text((pad - left, pad / 2), text, fill=255, font=font)
    coverage: NDArray[np.float32] = np.asarray(picture, np.float32) / np.float32(255)
    coverage.setflags(write=False)
    return coverage


def _font_for(text: str, size: int) -> tuple[ImageFont.FreeTypeFont | ImageFont.ImageFont, str]:
    """A font that can write the text, and the text as that font can write it.

    Pillow's own font knows ASCII only. Other names need a font of the system; where there is none, accents are dropped and signs without
    a Latin form become question marks, because an unreadable box would say less.
    """
    if not text.isascii():
        for name in _WIDE_FONTS:
            try:
                return ImageFont.truetype(name, size), text
            except OSError:
                continue
        text = "".join(sign for sign in unicodedata.normalize("NFKD", text) if not unicodedata.combining(sign))
        text = text.encode("ascii", "replace").decode()
    return ImageFont.load_default(size), text
