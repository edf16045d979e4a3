"""Moving photographs with exact labels: textured, deforming objects that cross, hide and change light, from one number.

Everything is a function of the seed and the frame number, so any frame can be asked for in any order. Labels come from the same formulas
as the pixels: an object's place is an affine map after a smooth warp, masks are its outline under that map, points are carried by it.
"""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from followspot.datasets.layers import Cover, Picture, Scene, Sprite
from followspot.datasets.motion import Difficulty
from followspot.errors import SettingError
from followspot.ops.masks import MAX_OBJECTS, mask_box
from followspot.types import Frame

Floats = NDArray[np.float64]
Image = NDArray[np.uint8]

_FPS = 25.0

__all__ = ["Difficulty", "SyntheticVideo"]


class SyntheticVideo:
    """A video of textured objects with exact masks, boxes and points.

    Args:
        seed: everything random follows from it.
        num_frames: length.
        height: rows, at least 32.
        width: columns, at least 32.
        objects: number of objects; their ids are 1..objects, a larger id lies in front.
        points_per_object: how many points each object carries.
        difficulty: how hard it is.

    Raises:
        SettingError: if a number is out of range.

    >>> video = SyntheticVideo(seed=3, num_frames=2, height=48, width=64)
    >>> video.frame(1).shape, sorted(set(video.masks(0).ravel().tolist()))
    ((48, 64, 3), [0, 1, 2])
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        num_frames: int = 40,
        height: int = 240,
        width: int = 320,
        objects: int = 2,
        points_per_object: int = 5,
        difficulty: Difficulty | None = None,
    ) -> None:
        if min(height, width) < 32:
            raise SettingError(f"size {width}x{height} is too small to hold objects; use at least 32x32")
        for name, value, most in (
            ("objects", objects, MAX_OBJECTS),
            ("num_frames", num_frames, 10**6),
            ("points_per_object", points_per_object, 10**4),
        ):
            if not 1 <= value <= most:
                raise SettingError(f"{name} {value} must be in 1..{most}")
        self.num_frames, self.height, self.width = num_frames, height, width
        self.difficulty = difficulty or Difficulty()
        """How hard it is."""
        self.names = tuple(f"object {k + 1}" for k in range(objects))
        """Names of the objects in the order of their ids."""
        self.owners = np.repeat(np.arange(1, objects + 1), points_per_object)
        """``(P,)`` the id of the object that carries each point."""
        rng = np.random.default_rng([seed, 7])
        self._seed = seed
        size = height, width
        self._scene = Scene(rng, size, self.difficulty)
        hue = rng.random()
        self._sprites = tuple(
            # Steps of the golden ratio keep the hues of any number of objects apart.
            Sprite(rng, size, self.difficulty, hue=(hue + 0.618 * k) % 1, order=k, count=objects, points=points_per_object)
            for k in range(objects)
        )
        self._last: tuple[int, tuple[Cover, ...], Picture] | None = None

    def __len__(self) -> int:
        return self.num_frames

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self.num_frames):
            yield Frame(image=self.frame(index), index=index, time_seconds=index / _FPS, name=f"{index:05d}")

    def frame(self, index: int) -> Image:
        """The picture: RGB uint8 ``(H, W, 3)``.

        Raises:
            SettingError: if there is no such frame.
        """
        covers, front = self._covers(index)
        picture = self._scene.background(index)
        picture *= _cast_shadow(covers)
        for sprite, cover in zip(self._sprites, covers, strict=True):
            sprite.paint(picture, cover)
        self._scene.paint_front(picture, front, index)
        return self._scene.expose(picture, index, np.random.default_rng([self._seed, 11, index]))

    def masks(self, index: int) -> Image:
        """What is visible of each object: id map uint8 ``(H, W)``, 0 = background or the pillar in front.

        Raises:
            SettingError: if there is no such frame.
        """
        covers, front = self._covers(index)
        ids = np.zeros((self.height, self.width), np.uint8)
        for object_id, cover in enumerate(covers, start=1):
            ids[cover.window][cover.alpha[cover.window] >= 0.5] = object_id
        ids[front >= 0.5] = 0
        return ids

    def boxes(self, index: int) -> Floats:
        """Outer edges ``(N, 4)`` of what is visible of each object, from the image's top-left corner; NaN where nothing is.

        Raises:
            SettingError: if there is no such frame.
        """
        ids = self.masks(index)
        return np.array([mask_box(ids == k + 1) or (np.nan,) * 4 for k in range(len(self._sprites))])

    def points(self, index: int) -> tuple[Floats, NDArray[np.bool_]]:
        """Where the points are: ``(P, 2)`` in pixels (origin at the centre of the top-left pixel), and ``(P,)`` whether each is visible.

        Hidden points have exact positions too.

        Raises:
            SettingError: if there is no such frame.
        """
        ids = self.masks(index)
        camera = self._scene.camera(index)
        xy = np.concatenate([sprite.place(sprite.marks, camera, index) for sprite in self._sprites])
        column, row = np.round(xy).astype(int).T
        inside = (column >= 0) & (column < self.width) & (row >= 0) & (row < self.height)
        on_top = ids[np.clip(row, 0, self.height - 1), np.clip(column, 0, self.width - 1)] == self.owners
        return xy, inside & on_top

    def visible(self, index: int) -> Floats:
        """The share ``(N,)`` of each object that is visible: 0 hidden or out of the picture, 1 wholly in view.

        Raises:
            SettingError: if there is no such frame.
        """
        seen = np.bincount(self.masks(index).ravel(), minlength=len(self._sprites) + 1)[1:]
        camera = self._scene.camera(index)
        outlines = [sprite.place(sprite.outline, camera, index) for sprite in self._sprites]
        whole = np.array([cv2.contourArea(outline.astype(np.float32)) for outline in outlines])
        share: Floats = np.clip(seen / whole, 0, 1)
        return share

    def _covers(self, index: int) -> tuple[tuple[Cover, ...], Picture]:
        """Where every object is, and the coverage of the pillar; kept for the frame asked for last."""
        if not 0 <= index < self.num_frames:
            raise SettingError(f"frame {index} does not exist; this video has frames 0..{self.num_frames - 1}")
        if self._last is None or self._last[0] != index:
            camera = self._scene.camera(index)
            covers = tuple(sprite.cover((self.height, self.width), camera, index) for sprite in self._sprites)
            self._last = index, covers, self._scene.front_cover(index)
        return self._last[1:]


def _cast_shadow(covers: tuple[Cover, ...]) -> Picture:
    """Light (H, W, 1) that the objects leave on the background: soft, offset, computed at a quarter of the size."""
    height, width = covers[0].alpha.shape
    small = max(width // 4, 1), max(height // 4, 1)
    merged = np.max([cv2.resize(cover.alpha, small, interpolation=cv2.INTER_AREA) for cover in covers], axis=0)
    shift = np.array([[1, 0, 0.02 * small[1]], [0, 1, 0.06 * small[1]]])
    soft = cv2.GaussianBlur(cv2.warpAffine(merged, shift, small), (0, 0), 0.035 * small[1])
    light: Picture = 1 - 0.5 * cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR)[:, :, None]
    return light
