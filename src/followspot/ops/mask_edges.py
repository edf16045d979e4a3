"""The outline of a rough mask: moved to where the colours change, and whether they do."""

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from followspot.errors import AnnotationError

OUTWARD, INWARD = 12.0, 4.0
"""Pixels that an outline may move, of pictures of 240 pixels short side. Masks that are carried on a grid of stride 8 are rather too
small: on the development sequences of DAVIS, 12 out and 4 in bring two steps' overlap from 0.72 to 0.77, 8 and 8 to 0.73."""
_SHORT_SIDE = 240
_ROUNDS = 1
"""Of cutting and learning the colours anew; a second changes the overlap by less than 0.002, and takes half as long again."""
_NO_BOX = (0, 0, 0, 0)  # what is given is a mask
_SURE = 0.7
"""Of the depth of a mask: what lies deeper is inside, however thin the whole is."""
_FEWEST = 16
"""Pixels of each side that colours can be learnt from: three for each of GrabCut's five Gaussians."""
_RING, _NARROW = 0.25, 5
"""Width of the ring in square roots of the area, and in pixels at least."""
_BINS, _BLUR = 16, 0.7
"""Bins along each axis of Lab (16 of 256 values each), and standard deviation of their blur in bins."""


def snap_mask(image: NDArray[np.uint8], mask: NDArray[np.bool_], *, outward: float = OUTWARD, inward: float = INWARD) -> NDArray[np.bool_]:
    """Moves the outline of a mask to edges near it.

    Inside and outside get colour models each, and the cut between them in a band along the outline is found (Rother et al., "GrabCut",
    SIGGRAPH 2004; OpenCV's). Farther in or out nothing changes. The same input gives the same mask.

    Args:
        image: RGB ``(H, W, 3)`` uint8.
        mask: ``(H, W)`` bool.
        outward: pixels of a picture of 240 pixels short side that the outline may move out.
        inward: likewise in; never so far that nothing of the mask is sure.

    Returns:
        ``(H, W)`` bool; the mask itself where it is too small or too large to learn colours from.

    Raises:
        AnnotationError: the mask does not fit the image.
    """
    if mask.shape != image.shape[:2] or mask.dtype != np.bool_:
        raise AnnotationError(f"a mask must be bool of {image.shape[:2]}, got {mask.shape} {mask.dtype}; resize or compare with 0 first")
    if not mask.any():
        return mask
    out, into = (max(1, round(pixels * min(mask.shape) / _SHORT_SIDE)) for pixels in (outward, inward))
    rows, columns = _around(mask, 2 * out)
    found = mask.copy()
    found[rows, columns] = _cut(image[rows, columns], mask[rows, columns].astype(np.uint8), out, into=into)
    return found


def color_contrast(image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> float:
    """How much the colours of a mask differ from those around it.

    The cue "colour contrast" of Alexe et al., "Measuring the Objectness of Image Windows" (TPAMI 2012), with a ring around the mask in
    place of one around a box, and histograms compared by their intersection (Swain and Ballard, "Color Indexing", IJCV 1991).

    Args:
        image: RGB ``(H, W, 3)`` uint8.
        mask: ``(H, W)`` bool.

    Returns:
        Share of the colours that the other has not, 0..1; 0 where there is no inside or no ring.
    """
    area = np.count_nonzero(mask)
    ring = (cv2.dilate(mask.astype(np.uint8), _disc(max(_NARROW, round(_RING * area**0.5)))) > 0) & ~mask
    if not area or not ring.any():
        return 0.0
    colors = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.int64) * _BINS // 256
    inside, outside = (_histogram(colors[part]) for part in (mask, ring))
    return float(1 - np.minimum(inside, outside).sum())


def _histogram(colors: NDArray[np.int64]) -> NDArray[np.float64]:
    """Of rows of three bins each; blurred a little, as a bin more or less is one of light."""
    counts = np.bincount(np.ravel_multi_index(tuple(colors.T), (_BINS,) * 3), minlength=_BINS**3)
    smooth = ndimage.gaussian_filter(counts.reshape((_BINS,) * 3).astype(np.float64), _BLUR, mode="nearest")
    return np.asarray(smooth / smooth.sum())


def _around(mask: NDArray[np.bool_], margin: int) -> tuple[slice, slice]:
    """The part that the cut can change, and enough of the surroundings to learn their colours."""
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return slice(max(0, top - margin), top + height + margin), slice(max(0, left - margin), left + width + margin)


def _cut(image: NDArray[np.uint8], mask: NDArray[np.uint8], out: int, *, into: int) -> NDArray[np.bool_]:
    guess: NDArray[np.uint8] = np.full(mask.shape, cv2.GC_BGD, np.uint8)
    guess[cv2.dilate(mask, _disc(out)) > 0] = cv2.GC_PR_BGD
    guess[mask > 0] = cv2.GC_PR_FGD
    # The picture goes on beyond its border, and what is cut off there has no outline there.
    depth = cv2.distanceTransform(cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_REPLICATE), cv2.DIST_L2, 5)[1:-1, 1:-1]
    guess[depth > min(into, _SURE * float(depth.max()))] = cv2.GC_FGD
    if min(np.count_nonzero(mask), np.count_nonzero(mask == 0)) < _FEWEST:
        return mask > 0
    cv2.setRNGSeed(0)  # the colours are clustered from random starts
    cv2.grabCut(np.ascontiguousarray(image), guess, _NO_BOX, np.zeros((1, 65)), np.zeros((1, 65)), _ROUNDS, cv2.GC_INIT_WITH_MASK)
    return np.asarray((guess == cv2.GC_FGD) | (guess == cv2.GC_PR_FGD))


def _disc(radius: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)), np.uint8)
