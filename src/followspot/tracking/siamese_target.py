"""One object of a siamese tracker: where it is, how it is looked for, and when it is lost."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from followspot.ops.masks import mask_box
from followspot.ops.siamese_crops import Floats, Image, Patch, Window
from followspot.tracking.siamese_books import Given
from followspot.tracking.siamese_choice import follow_size, keep_inside
from followspot.tracking.siamese_look import Look, Sight
from followspot.tracking.siamese_masks import filled_box
from followspot.tracking.siamese_settings import SiameseSettings
from followspot.types import TrackedObject


class Target:
    """The state of one object.

    Args:
        given: as it was annotated; what is larger than the image is cut to its size.
        image: RGB ``(H, W, 3)``, the annotated frame.
        look: the network, which is shown the object.
    """

    def __init__(self, given: Given, image: Image, *, look: Look) -> None:
        self.given = given
        """As it was annotated, which is what the template shows."""
        self.kind = given.kind
        self.mask_id = given.mask_id
        """Of its pixels in the id map; None if it has none."""
        self.patch: Patch | None = None
        """What its pixels are, before other objects are asked."""
        self._annotated: Floats | None = given.box
        limit = np.array([image.shape[1], image.shape[0]], np.float64)
        self._centre = ((given.box[:2] + given.box[2:]) / 2).clip(0, limit)
        self._size = np.minimum(given.box[2:] - given.box[:2], limit)
        self._template = look.template(image, self._centre, size=self._size)
        self._sure = self._centre, self._size
        self._polygon: Floats | None = None
        self._score = 1.0
        self._doubts = self._growth = 0
        self._lost = False

    def follow(self, image: Image, look: Look) -> None:
        """Finds the object in the next frame.

        Args:
            image: RGB ``(H, W, 3)``.
            look: the network and its settings.
        """
        height, width = image.shape[:2]
        settings = look.settings
        influence = 0.0 if self._lost else settings.window_influence
        sights = (
            look.sight(image, self._template, window, size=self._size, influence=influence)
            for window in self._windows(look, (height, width))
        )
        sight = max(sights, key=lambda seen: float(seen.candidates.ranks.max()))
        voters = look.voters(sight, self._polygon)
        self._annotated, self.patch, polygon = None, None, None
        self._score = float(sight.candidates.scores[voters[0]]) if voters.size else 0.0
        found = voters.size > 0 and not (self._lost and self._score < settings.found_above)
        if found:
            self._lost = False
            self._move(sight, int(voters[0]), settings=settings, size=(height, width))
            if look.draws:
                self.patch, outline = look.draw(sight, voters, size=(height, width))
                polygon = None if outline is None else outline.polygon
                if outline is not None and settings.vote_n > 1:
                    self._place(outline.box, outline.box[2:] - outline.box[:2], size=(height, width))
        self._polygon = polygon
        self._judge(settings)
        if not look.draws and self.kind == "mask" and not self._lost:
            self.patch = filled_box(self._box(), (height, width))

    def answer(self, name: str, ids: NDArray[np.uint8] | None) -> TrackedObject:
        """Where it is.

        Args:
            name: what it is called.
            ids: the id map of all objects.
        """
        x1, y1, x2, y2 = (float(edge) for edge in (self._box() if self._annotated is None else self._annotated))
        box: tuple[float, float, float, float] | None = (x1, y1, x2, y2)
        if self.kind == "mask":
            box = None if ids is None else mask_box(ids == self.mask_id)
        corners = None if self._polygon is None else tuple((float(x), float(y)) for x, y in self._polygon)
        return TrackedObject(
            name=name,
            kind=self.kind,
            mask_id=self.mask_id,
            box=box,
            points=(),
            confidence=self._score,
            lost=self._lost or box is None,
            polygon=corners,
        )

    def state(self) -> dict[str, Any]:
        """Everything that `follow` goes on from but the template: plain numbers."""
        return {
            "centre": self._centre.tolist(),
            "size": self._size.tolist(),
            "sure": [part.tolist() for part in self._sure],
            "polygon": None if self._polygon is None else self._polygon.tolist(),
            "score": self._score,
            "doubts": self._doubts,
            "growth": self._growth,
            "lost": self._lost,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on with `follow` where `state` was taken, of an object that was annotated in the same way."""
        self._centre, self._size, *sure = (np.array(part, np.float64) for part in (state["centre"], state["size"], *state["sure"]))
        self._sure = sure[0], sure[1]
        self._polygon = None if state["polygon"] is None else np.array(state["polygon"], np.float64)
        self._score, self._doubts, self._growth, self._lost = (state[name] for name in ("score", "doubts", "growth", "lost"))
        self._annotated = None

    def _windows(self, look: Look, size: tuple[int, int]) -> Iterator[Window]:
        """One around the last place; more around it, half a window apart, while the object is lost."""
        middle = look.window(self._centre, self._size)
        yield middle
        around = range(-self._growth, self._growth + 1) if self._lost else ()
        for down in around:
            for across in around:
                x, y = self._centre + np.array([across, down]) * middle.side / 2
                if (down or across) and 0 <= x <= size[1] and 0 <= y <= size[0]:
                    yield look.window(np.array([x, y]), self._size)

    def _move(self, sight: Sight, best: int, *, settings: SiameseSettings, size: tuple[int, int]) -> None:
        box = sight.box(best)
        share = float(sight.candidates.penalties[best] * sight.candidates.scores[best]) * settings.lr
        self._place(box, follow_size(self._size, box[2:] - box[:2], rate=share), size=size)

    def _place(self, box: Floats, sides: Floats, *, size: tuple[int, int]) -> None:
        self._centre, self._size = keep_inside((box[:2] + box[2:]) / 2, sides, image=size)

    def _judge(self, settings: SiameseSettings) -> None:
        """Doubts add up; when it is lost, it is where it was last seen for sure, and has no pixels."""
        if self._lost:
            self._growth = min(self._growth + 1, settings.search_growth)
            return
        self._doubts = self._doubts + 1 if self._score < settings.lost_below else 0
        if not self._doubts:
            self._sure = self._centre, self._size
        elif self._doubts >= settings.lost_after:
            self._lost, self._growth = True, min(1, settings.search_growth)
            self._centre, self._size = self._sure
            self.patch = self._polygon = None

    def _box(self) -> Floats:
        return np.concatenate([self._centre - self._size / 2, self._centre + self._size / 2])
