"""Masks as image files: indexed PNGs in and out, grey and coloured pictures in; soft label maps from ``.npy``."""

import io
import tokenize
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from followspot.errors import AnnotationError
from followspot.io.fields import check_size
from followspot.io.files import missing_file, write_atomic
from followspot.types import LabelMaps, Masks

Colour = tuple[int, int, int]

# The PASCAL VOC colour map gives index 255 this cream colour, and VOC-like annotations mean "void, do not score" by it.
_VOID: Colour = (224, 224, 192)
# More grey levels than this are no longer believed to be object ids: 17 levels come from a smoothed outline, not from a person.
_MOST_SPARSE_LEVELS = 16
# Ids that run 1, 2, 3 ... without a gap are believed further: smoothed outlines leave gaps or reach far higher.
_MOST_DENSE_LEVELS = 64
# Soft maps saved as 0..255 peak near 255; a peak below this is an id map that was saved by mistake.
_LEAST_PEAK = 64


def davis_palette() -> list[int]:
    """The 256 colours of the PASCAL VOC colour map, which DAVIS masks use: red, green, blue of index 0, then of index 1, ...

    Bit ``b`` of each channel, from the highest down, is the next bit of the index, taken in turn by red, green and blue
    (VOC development kit, ``VOCcolormap``).

    Returns:
        768 integers, 0..255.

    >>> davis_palette()[:12]
    [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]
    """
    index = np.arange(256)
    channels = [sum(((index >> (3 * turn + channel)) & 1) << (7 - turn) for turn in range(8)) for channel in range(3)]
    palette: list[int] = np.stack(channels, axis=1).ravel().tolist()
    return palette


def write_mask(path: Path | str, ids: NDArray[np.uint8]) -> None:
    """Write an id map as an indexed PNG, as DAVIS has them; the same ids give the same bytes.

    Entry 255 of the palette is white as in the DAVIS files, not the void colour, so that a 255th object reads back as one.

    Args:
        path: ends in ``.png``; appears only when complete.
        ids: ``(H, W)`` uint8, 0 = background.

    Raises:
        OutputError: the file cannot be written.
    """
    write_atomic(Path(path), encode_mask(ids))


def encode_mask(ids: NDArray[np.uint8]) -> bytes:
    """What :func:`write_mask` writes.

    Args:
        ids: ``(H, W)`` uint8, 0 = background.

    Returns:
        The bytes of an indexed PNG.
    """
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(ids))
    picture.putpalette([*davis_palette()[:-3], 255, 255, 255])
    content = io.BytesIO()
    picture.save(content, format="PNG")
    return content.getvalue()


def read_mask(path: Path | str, *, colours: Mapping[str, Colour] | None = None, size: tuple[int, int] | None = None) -> Masks:
    """Read a mask from a picture.

    * indexed (PNG, GIF): the index is the id, whatever the palette; 255 is background if the palette has the void colour there;
    * 8-bit grey: two levels 0 and 255 (or 0 and 1) are one object; a few other levels are ids; 16-bit grey up to 255: ids;
    * colour: black and white is one object; colours of the DAVIS palette are ids; transparent is background;
    * with ``colours`` given, colours alone decide, also in an indexed picture: the first name is id 1, and so on.

    Args:
        path: the picture.
        colours: name -> red, green, blue (0..255 each) of each object.
        size: ``(H, W)`` of the video's frames, if known.

    Returns:
        At least one object.

    Raises:
        AnnotationError: no such picture, another size, no object in it, or grey levels or colours that cannot be ids.
    """
    path = Path(path)
    problem = missing_file(path)
    if problem:
        raise AnnotationError(problem)
    names: Mapping[int, str] = {}
    pixels, palette, mode = _load(path, as_colours=bool(colours))
    check_size((pixels.shape[0], pixels.shape[1]), size, f"mask {path}")
    if colours:
        if len(set(colours.values())) != len(colours) or len(colours) > 255:
            raise AnnotationError(f"{len(colours)} colours are named, some twice or more than 255 of them; name each colour once")
        ids = _ids_of_colours(pixels, {colour: place for place, colour in enumerate(colours.values(), 1)}, path)
        names = {place: name for place, name in enumerate(colours, 1) if (ids == place).any()}
    elif mode == "P":
        ids = np.where(pixels == 255, 0, pixels) if palette[765:768] == list(_VOID) else pixels
    elif pixels.ndim == 2:
        ids = _ids_of_levels(pixels, path, smoothable=not mode.startswith("I"))
    else:
        ids = _ids_of_picture(pixels, path)
    if not ids.any():
        raise AnnotationError(f"mask {path} is empty; draw at least one object, or choose a frame where one is in sight")
    return Masks(ids=ids.astype(np.uint8), names=names)


def read_label_maps(path: Path | str) -> LabelMaps:
    """Read soft label maps from a ``.npy`` array.

    Args:
        path: ``(L, H, W)`` or ``(H, W)``; bool, float in [0, 1], or uint8 (0..255 is scaled to 0..1; 0 and 1 alone stay).

    Returns:
        Channels called ``"map 1"``, ``"map 2"``, ...

    Raises:
        AnnotationError: no such array, another shape or type, values outside the range, or a channel that is 0 everywhere.
    """
    path = Path(path)
    problem = missing_file(path)
    if problem:
        raise AnnotationError(problem)
    try:
        array = np.load(path, allow_pickle=False)
    # The header is parsed as a Python literal, so damage can raise whatever a tokenizer, parser or allocator does.
    except (OSError, ValueError, TypeError, EOFError, MemoryError, RecursionError, SyntaxError, tokenize.TokenError) as error:
        raise AnnotationError(f"{path} is no readable .npy array; save it with numpy.save(path, weights)") from error
    if not isinstance(array, np.ndarray):
        raise AnnotationError(f"{path} is an archive of arrays; save the one array with numpy.save(path, weights)")
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise AnnotationError(f"{path} has the shape {array.shape}; label maps are (L, H, W), or (H, W) for one")
    weights = _as_weights(array if array.ndim == 3 else array[None], path)
    for place, channel in enumerate(weights, 1):
        if not channel.any():
            raise AnnotationError(f"{path}: map {place} is 0 everywhere; leave it out, or give it weights")
    return LabelMaps(weights=weights, names=tuple(f"map {place}" for place in range(1, len(weights) + 1)))


def _as_weights(array: NDArray[np.generic], path: Path) -> NDArray[np.float32]:
    if array.dtype == np.uint8:
        peak = int(array.max().item())
        if 1 < peak < _LEAST_PEAK:
            raise AnnotationError(
                f"{path} has whole numbers up to {peak}: if they are object ids, save an indexed PNG; if weights, scale them to 0..255"
            )
        scaled: NDArray[np.float32] = np.divide(array, 255 if peak > 1 else 1, dtype=np.float32)
        return scaled
    if array.dtype != np.bool_ and not np.issubdtype(array.dtype, np.floating):
        raise AnnotationError(f"{path} holds {array.dtype}; label maps are float in [0, 1], bool, or uint8 from 0 to 255")
    low, high = float(array.min().item()), float(array.max().item())
    # Written so that NaN fails too.
    if not (low >= 0 and high <= 1):
        raise AnnotationError(f"{path} has weights from {low:g} to {high:g}; scale them to [0, 1] and leave out NaN")
    return array.astype(np.float32)


def _load(path: Path, *, as_colours: bool) -> tuple[NDArray[np.integer], list[int], str]:
    """Pixels, palette and mode: (H, W) of indices or levels, or (H, W, 3) of colours with black where transparent."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            picture.load()
            mode, palette = picture.mode, picture.getpalette() or []
            if mode == "P" and not as_colours:
                return np.array(picture), palette, mode
            if mode in ("1", "L") or mode.startswith("I"):
                grey = np.array(picture).astype(np.int64)
                return (np.repeat(grey[..., None], 3, axis=2) if as_colours else grey), palette, mode
            if mode not in ("P", "PA", "LA", "RGB", "RGBA", "RGBX"):
                raise AnnotationError(f"mask {path} is a picture of kind {mode}; save it as an indexed PNG")
            opaque = np.array(picture.convert("RGBA"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        if isinstance(error, AnnotationError):
            raise
        raise AnnotationError(f"{path} is not a picture that can be read; save the mask as an indexed PNG") from error
    seen: NDArray[np.integer] = np.where(opaque[..., 3:] > 0, opaque[..., :3], 0).astype(np.int64)
    return seen, palette, mode


def _ids_of_levels(levels: NDArray[np.integer], path: Path, *, smoothable: bool) -> NDArray[np.integer]:
    """Ids from grey levels; ``smoothable`` pictures (8 bits) may be drawn with smoothed outlines, which must not pass for ids."""
    present = np.unique(levels)
    objects = present[present != 0]
    # One object in white, whatever the depth: 1 (bool), 255 (8 bits), 65535 (16 bits).
    if len(objects) <= 1 and set(objects.tolist()) <= {1, 255, 65535}:
        single: NDArray[np.integer] = np.minimum(levels, 1)
        return single
    if objects.min() < 0 or objects.max() > 255:
        raise AnnotationError(f"mask {path} has ids from {objects.min()} to {objects.max()}; ids are 1 to 255, number the objects anew")
    dense = objects.max() == len(objects)
    if smoothable and (objects.max() == 255 or len(objects) > (_MOST_DENSE_LEVELS if dense else _MOST_SPARSE_LEVELS)):
        raise AnnotationError(
            f"mask {path} has {len(present)} grey levels, which is no set of ids: save it without anti-aliasing, as an indexed PNG, "
            "or as a soft map .npy"
        )
    return levels


def _ids_of_picture(pixels: NDArray[np.integer], path: Path) -> NDArray[np.integer]:
    entries = np.reshape(davis_palette(), (-1, 3)).tolist()
    lookup = {(red, green, blue): index for index, (red, green, blue) in enumerate(entries)}
    lookup[_VOID] = 0
    if (pixels == pixels[..., :1]).all() and not {(level, level, level) for level in np.unique(pixels).tolist()} <= set(lookup):
        return _ids_of_levels(pixels[..., 0], path, smoothable=True)
    # DAVIS files have 191 in some entries where the formula of the palette gives 192.
    return _ids_of_colours(np.where(pixels == 191, 192, pixels), lookup, path)


def _ids_of_colours(pixels: NDArray[np.integer], lookup: Mapping[Colour, int], path: Path) -> NDArray[np.integer]:
    packed = (pixels[..., 0] << 16) | (pixels[..., 1] << 8) | pixels[..., 2]
    present, where = np.unique(packed, return_inverse=True)
    known = {0: 0} | {(red << 16) | (green << 8) | blue: index for (red, green, blue), index in lookup.items()}
    unknown = [code for code in present.tolist() if code not in known]
    if unknown:
        shown = ", ".join(f"#{code:06x}" for code in unknown[:3]) + (f" and {len(unknown) - 3} more" if len(unknown) > 3 else "")
        raise AnnotationError(f"mask {path} has an unknown palette ({shown}): use an indexed PNG, or name them with --colour cat=#ff0000")
    ids: NDArray[np.integer] = np.array([known[code] for code in present.tolist()], np.uint8)[where.reshape(packed.shape)]
    return ids
