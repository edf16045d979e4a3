"""A picture of the object, looked for near where it was: the oldest baseline for boxes."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from followspot.errors import AnnotationError
from followspot.ops.flow import gray
from followspot.tracking.baseline import BaselineTracker
from followspot.tracking.carried import Carried
from followspot.types import Annotation, Boxes, Frame

Gray = NDArray[np.uint8]
Floats = NDArray[np.float64]

_WINDOW = 2.0
"""Side of the searched square over the longer side of the box: as the example tracker "NCC" of the VOT challenge has it."""
_FLAT = 1.0
"""Grey levels: a template whose spread is less holds nothing to look for."""


class TemplateTracker(BaselineTracker):
    """Moves each box to where the grey values around it correlate best with those in the annotated box; its size stays.

    Normalised cross-correlation, mean removed (Briechle and Hanebeck, "Template matching using fast normalized cross correlation", 2001),
    in a square twice as large as the box around its last place, to whole pixels. The template is never updated.
    """

    def reset(self) -> None:
        """Forgets everything."""
        super().reset()
        self._templates: dict[str, _Template] = {}

    def remove(self, name: str) -> None:
        """Stops following a box; without the last one the tracker is as new.

        Args:
            name: of the box.

        Raises:
            AnnotationError: nothing of that name is followed.
        """
        super().remove(name)
        self._templates.pop(name, None)

    def _notice(self, frame: Frame, annotations: Sequence[Annotation]) -> None:
        wrong = next((a for a in annotations if not isinstance(a, Boxes)), None)
        if wrong is not None:
            kind = type(wrong).__name__.lower()
            raise AnnotationError(f"the template tracker follows boxes only, got {kind}; use identity, flow:dis or a propagation tracker")
        picture = gray(frame.image)
        for boxes in annotations:
            if isinstance(boxes, Boxes):
                self._templates |= {name: _Template.cut(picture, box) for name, box in zip(boxes.names, boxes.xyxy, strict=True)}

    def _move(self, carried: Carried, before: Frame, *, now: Frame) -> None:
        picture = gray(now.image)
        carried.boxes = {name: box + np.tile(self._templates[name].shift(picture, box), 2) for name, box in carried.boxes.items()}


@dataclass(frozen=True)
class _Template:
    """The part of a box that lay in the picture, and where in the box it is."""

    gray: Gray
    offset: Floats

    @classmethod
    def cut(cls, picture: Gray, box: Floats) -> "_Template":
        height, width = picture.shape
        left, top, right, bottom = np.clip(np.round(box), 0, (width, height, width, height)).astype(int)
        return cls(picture[top:bottom, left:right].copy(), np.array([left, top]) - box[:2])

    def shift(self, picture: Gray, box: Floats) -> NDArray[np.int_]:
        """By how many pixels in x and y the box moves; by none where there is nothing to look for."""
        nowhere = np.zeros(2, int)
        if not self.gray.size or self.gray.std() < _FLAT:
            return nowhere
        height, width = self.gray.shape
        last = np.round(box[:2] + self.offset).astype(int)
        middle, reach = last + np.array([width, height]) / 2, _WINDOW * max(height, width) / 2
        first, end = (np.clip(middle + side * reach, 0, picture.shape[::-1]).astype(int) for side in (-1, 1))
        fit = cv2.matchTemplate(picture[first[1] : end[1], first[0] : end[0]], self.gray, cv2.TM_CCOEFF_NORMED)
        row, column = np.unravel_index(int(fit.argmax()), fit.shape)
        return first + np.array([column, row]) - last if fit[row, column] > 0 else nowhere
