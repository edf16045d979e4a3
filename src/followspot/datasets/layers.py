"""What a synthetic video is made of: the scene with its camera and light, and the objects in it."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from followspot.datasets.motion import Difficulty, Wave, affine
from followspot.datasets.textures import coat, dead_leaves, spectral_noise

Floats = NDArray[np.float64]
Picture = NDArray[np.float32]
Image = NDArray[np.uint8]

_CANVAS = 160
"""Half the side, in pixels, of the picture that an object is cut from."""
_REACH = 1.7
"""Radii of the object that half the side stands for."""
_MARGIN = 0.3
"""How far the scene goes on beyond the picture, in shares of its size."""
_WARP = 0.26
"""Strength of the warp in radii at full deformation; its slope stays below 0.84, so that it
never folds and can be inverted by iteration."""
_LOUDEST_NOISE = 10.0
"""Standard deviation of the sensor noise, in grey levels, at full strength."""


class Cover(NamedTuple):
    """Where an object is in one frame."""

    alpha: Picture
    """``(H, W)`` share of each pixel that it covers, were nothing in front."""
    window: tuple[slice, slice]
    """Rows and columns outside of which alpha is 0."""
    source: tuple[Picture, Picture]
    """Which column and row of the object's own picture each pixel of the window shows."""


class Sprite:
    """One object: an outline with lobes, a coat, a path, and a way to bend.

    Args:
        rng: source of randomness.
        size: ``(H, W)`` of the video.
        knobs: how hard it is.
        hue: main colour in [0, 1).
        order: which of the objects it is, from 0.
        count: how many objects there are.
        points: how many points it carries.
    """

    def __init__(
        self, rng: np.random.Generator, size: tuple[int, int], knobs: Difficulty, *, hue: float, order: int, count: int, points: int
    ) -> None:
        height, width = size
        angles = np.linspace(0, 2 * np.pi, 361)
        waves = np.arange(2, 6)
        strength = rng.uniform(0.6, 1.0, 4) * (0.2, 0.2, 0.11, 0.06)
        phase = rng.uniform(0, 2 * np.pi, 4)
        self._radii = 1 + np.cos(angles[:, None] * waves + phase) @ strength
        self.outline: Floats = (np.stack([np.cos(angles), np.sin(angles)], 1) * self._radii[:, None])[:-1]
        """``(V, 2)`` outline in the object's own coordinates, radius about 1."""
        self.marks: Floats = self._scatter(rng, points)
        """``(P, 2)`` points on the object in its own coordinates."""
        self._distance = self._signed_distance(angles)
        self._coat = self._shaded_coat(rng, hue)
        self._knobs = knobs
        self._radius = min(0.21 * min(size) * min(1.0, (2 / count) ** 0.5), height * (0.3 / count + 0.1 * knobs.occlusion))
        lane = (order + 0.5) / count
        self._home = 0.5 * width, height * (lane + 0.7 * knobs.occlusion * (0.5 - lane))
        self._reach = 0.3 * width, height * (0.05 + 0.08 * knobs.occlusion)
        # Neighbours swing in opposite directions, so that they meet half way.
        self._path = Wave(rng, period=(55, 75), phase=rng.uniform(0.5, 1.1) + np.pi * order), Wave(rng, period=(35, 60))
        self._turn, self._scale, self._stretch, self._shear = (Wave(rng, period=(35, 70)) for _ in range(4))
        self._rest = rng.uniform(0, 2 * np.pi)
        self._warp_frequency = rng.uniform(1.0, 1.6, (2, 2, 2)) * rng.choice([-1, 1], (2, 2, 2))
        self._warp_phase = rng.uniform(0, 2 * np.pi, (2, 2))
        self._warp_speed = 2 * np.pi / rng.uniform(18, 32, (2, 2))

    def place(self, own: Floats, camera: Floats, time: float) -> Floats:
        """Where points ``(P, 2)`` in the object's own coordinates are in the picture, ``(P, 2)`` in pixels."""
        before_warp, move = own, np.inf
        while move > 1e-10:
            nearer = own - self._warp(before_warp[:, 0], before_warp[:, 1], time).T
            move, before_warp = float(np.abs(nearer - before_warp).max()), nearer
        matrix = camera @ self._pose(time)
        result: Floats = before_warp @ matrix[:2, :2].T + matrix[:2, 2]
        return result

    def cover(self, size: tuple[int, int], camera: Floats, time: float) -> Cover:
        """Where the object is in a picture of ``(H, W)`` pixels."""
        alpha = np.zeros(size, np.float32)
        outline = self.place(self.outline[::6], camera, time)
        left, top = np.clip(np.floor(outline.min(0)).astype(int) - 2, 0, (size[1], size[0]))
        right, bottom = np.clip(np.ceil(outline.max(0)).astype(int) + 3, 0, (size[1], size[0]))
        window = slice(int(top), int(bottom)), slice(int(left), int(right))
        if right <= left or bottom <= top:
            empty = np.zeros((0, 0), np.float32)
            return Cover(alpha, (slice(0, 0), slice(0, 0)), (empty, empty))
        matrix = camera @ self._pose(time)
        inverse = np.linalg.inv(matrix)
        columns, rows = np.arange(left, right)[None, :], np.arange(top, bottom)[:, None]
        x = inverse[0, 0] * columns + inverse[0, 1] * rows + inverse[0, 2]
        y = inverse[1, 0] * columns + inverse[1, 1] * rows + inverse[1, 2]
        dx, dy = self._warp(x, y, time)
        source = _to_canvas(x + dx), _to_canvas(y + dy)
        distance = cv2.remap(self._distance, *source, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=9.0)
        pixels = float(np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))
        alpha[window] = np.clip(0.5 - distance * pixels, 0, 1)
        return Cover(alpha, window, source)

    def paint(self, picture: Picture, cover: Cover) -> None:
        """Draw the object into a float RGB picture in place."""
        if not cover.source[0].size:
            return
        own = cv2.remap(self._coat, *cover.source, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        area = picture[cover.window]
        area += (own - area) * cover.alpha[cover.window][:, :, None]

    def _pose(self, time: float) -> Floats:
        amount = self._knobs.deformation
        return affine(
            self._rest + 0.7 * amount * self._turn(time),
            self._radius * (1 + 0.18 * amount * self._scale(time)),
            (self._home[0] + self._reach[0] * self._path[0](time), self._home[1] + self._reach[1] * self._path[1](time)),
            stretch=0.15 * amount * self._stretch(time),
            shear=0.15 * amount * self._shear(time),
        )

    def _warp(self, x: Floats, y: Floats, time: float) -> Floats:
        """Displacement (2, ...) that leads from unbent to own coordinates."""
        phase = self._warp_phase + self._warp_speed * time
        frequency = self._warp_frequency
        parts = [[np.sin(frequency[axis, k, 0] * x + (frequency[axis, k, 1] * y + phase[axis, k])) for k in range(2)] for axis in range(2)]
        result: Floats = 0.5 * _WARP * self._knobs.deformation * np.stack([first + second for first, second in parts])
        return result

    def _scatter(self, rng: np.random.Generator, count: int) -> Floats:
        """Points spread over the inner 70 % of the object: of many candidates, each next one is the farthest from those chosen."""
        angle = rng.uniform(0, 2 * np.pi, max(200, 4 * count))
        radius = 0.7 * np.interp(angle, np.linspace(0, 2 * np.pi, 361), self._radii) * np.sqrt(rng.random(len(angle)))
        candidates = np.stack([np.cos(angle), np.sin(angle)], 1) * radius[:, None]
        chosen = [candidates[0]]
        nearest = np.full(len(candidates), np.inf)
        while len(chosen) < count:
            nearest = np.minimum(nearest, np.linalg.norm(candidates - chosen[-1], axis=1))
            chosen.append(candidates[int(nearest.argmax())])
        return np.array(chosen)

    def _signed_distance(self, angles: Floats) -> Picture:
        """Distance to the outline in radii, below 0 inside, over the object's own picture (first order in the distance)."""
        axis = ((np.arange(2 * _CANVAS) + 0.5) / _CANVAS - 1) * _REACH
        x, y = np.meshgrid(axis, axis)
        angle = np.arctan2(y, x) % (2 * np.pi)
        radius = np.interp(angle, angles, self._radii)
        slope = np.interp(angle, angles, np.gradient(self._radii, angles))
        return ((np.hypot(x, y) - radius) / np.sqrt(1 + (slope / radius) ** 2)).astype(np.float32)

    def _shaded_coat(self, rng: np.random.Generator, hue: float) -> Picture:
        """The coat, lit as if the object bulged."""
        picture = coat(rng, (2 * _CANVAS, 2 * _CANVAS), hue=hue)
        bulge = np.sqrt(np.clip(1 - (1 + np.clip(self._distance, -1, 0)) ** 2, 0.02, 1)).astype(np.float32)
        bulge = np.asarray(cv2.GaussianBlur(bulge, (0, 0), 5), np.float32)
        across, down = cv2.Sobel(bulge, cv2.CV_32F, 1, 0), cv2.Sobel(bulge, cv2.CV_32F, 0, 1)
        angle = rng.uniform(0, 2 * np.pi)
        light = 0.62 + 0.46 * bulge + 5 * (np.cos(angle) * across + np.sin(angle) * down)
        shaded: Picture = np.clip(picture * np.clip(light, 0.3, 1.4)[:, :, None], 0, 1).astype(np.float32)
        return shaded


def _to_canvas(own: Floats) -> Picture:
    result: Picture = ((own / _REACH + 1) * _CANVAS - 0.5).astype(np.float32)
    return result


class Scene:
    """The background, the pillar in front, the camera and the light.

    Args:
        rng: source of randomness.
        size: ``(H, W)`` of the video.
        knobs: how hard it is.
    """

    def __init__(self, rng: np.random.Generator, size: tuple[int, int], knobs: Difficulty) -> None:
        height, width = size
        self._size, self._knobs = size, knobs
        self._corner = round(width * _MARGIN), round(height * _MARGIN)
        canvas = height + 2 * self._corner[1], width + 2 * self._corner[0]
        hues = (*(rng.uniform(0, 1) + rng.uniform(-0.08, 0.08, 3)), 0.09, 0.3)
        scale = min(size) / 240
        self._backdrop = np.asarray(cv2.GaussianBlur(dead_leaves(rng, canvas, hues=hues), (0, 0), 0.9 * scale), np.float32)
        self._front, self._front_alpha = self._pillar(rng, canvas)
        self._pan_x, self._pan_y, self._zoom, self._roll = (Wave(rng, period=(45, 90)) for _ in range(4))
        self._shake = [Wave(rng, period=(5, 9)) for _ in range(2)]
        self._lights = [Wave(rng, period=(25, 60)) for _ in range(6)]
        self._shade_angle = rng.uniform(0, 2 * np.pi)
        self._grain = (_LOUDEST_NOISE * knobs.noise * rng.standard_normal((height + 64, width + 64, 3))).astype(np.float32)
        rows, columns = np.mgrid[:height, :width]
        self._vignette = (1.04 - 0.22 * (((rows / height - 0.5) ** 2 + (columns / width - 0.5) ** 2) * 2)).astype(np.float32)[:, :, None]

    def camera(self, time: float, *, parallax: float = 1.0) -> Floats:
        """The ``(3, 3)`` map from where things are to where they appear; near things (parallax above 1) pan faster."""
        height, width = self._size
        amount = self._knobs.camera
        pan = amount * parallax * width * (0.09 * self._pan_x(time) + 0.004 * self._shake[0](time))
        tilt = amount * parallax * height * (0.06 * self._pan_y(time) + 0.004 * self._shake[1](time))
        centre = affine(0, 1, (-width / 2, -height / 2))
        return affine(0.09 * amount * self._roll(time), 1 + 0.12 * amount * self._zoom(time), (width / 2 + pan, height / 2 + tilt)) @ centre

    def background(self, time: float) -> Picture:
        """What lies behind all objects, float RGB ``(H, W, 3)``."""
        return self._seen(self._backdrop, self.camera(time), cv2.BORDER_REFLECT_101)

    def front_cover(self, time: float) -> Picture:
        """The share ``(H, W)`` of each pixel that the pillar covers."""
        if not self._knobs.occlusion:
            return np.zeros(self._size, np.float32)
        return self._seen(self._front_alpha, self.camera(time, parallax=1.6), cv2.BORDER_REPLICATE)

    def paint_front(self, picture: Picture, alpha: Picture, time: float) -> None:
        """Draw the pillar into a float RGB picture in place."""
        columns = np.flatnonzero(alpha.any(0))
        if columns.size:
            own = self._seen(self._front, self.camera(time, parallax=1.6), cv2.BORDER_REPLICATE)
            area = slice(None), slice(int(columns[0]), int(columns[-1]) + 1)
            picture[area] += (own[area] - picture[area]) * alpha[area][:, :, None]

    def expose(self, picture: Picture, time: float, rng: np.random.Generator) -> Image:
        """Light, colour, gamma and sensor noise: float RGB to uint8 RGB."""
        height, width = self._size
        amount = self._knobs.lighting
        gain, gamma, red, blue, place, depth = (light(time) for light in self._lights)
        rows, columns = np.mgrid[0 : 1 : height // 8 * 1j, 0 : 1 : width // 8 * 1j] - 0.5
        along = np.cos(self._shade_angle) * columns + np.sin(self._shade_angle) * rows
        shade = 1 - amount * (0.4 + 0.12 * depth) / (1 + np.exp(17 * (along - 0.55 * place)))
        colour = (1 + 0.28 * amount * gain) * np.array([1 + 0.12 * amount * red, 1, 1 + 0.12 * amount * blue], np.float32)
        lit = picture * ((255 * self._vignette) * cv2.resize(shade.astype(np.float32), (width, height))[:, :, None])
        lit *= colour
        if amount:
            lit = cv2.pow(lit / 255, 2 ** (0.3 * amount * gamma)) * 255
        top, left = rng.integers(0, 64, 2)
        if self._knobs.noise:
            lit += self._grain[top : top + height, left : left + width]
        lit += 0.5
        exposed: Image = np.clip(lit, 0, 255).astype(np.uint8)
        return exposed

    def _seen(self, canvas: Picture, camera: Floats, border: int) -> Picture:
        height, width = self._size
        matrix = (camera @ affine(0, 1, (-self._corner[0], -self._corner[1])))[:2]
        return np.asarray(cv2.warpAffine(canvas, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=border), np.float32)

    def _pillar(self, rng: np.random.Generator, canvas: tuple[int, int]) -> tuple[Picture, Picture]:
        """A trunk from top to bottom, its picture and its coverage."""
        height, width = canvas
        rows = np.arange(height)
        middle = self._corner[0] + self._size[1] * rng.uniform(0.38, 0.62) + 0.02 * width * np.sin(rows / height * 5 + rng.uniform(0, 6))
        half = self._size[1] * 0.075 * self._knobs.occlusion * (1 + 0.12 * np.sin(rows / height * 9 + rng.uniform(0, 6)))
        across = (np.arange(width)[None, :] - middle[:, None]) / np.maximum(half, 1e-3)[:, None]
        alpha = np.clip(0.5 - (np.abs(across) - 1) * half[:, None], 0, 1).astype(np.float32)
        bark = cv2.resize(spectral_noise(rng, (height // 6, width), falloff=0.7), (width, height), interpolation=cv2.INTER_CUBIC)
        light = np.clip((0.5 + 0.13 * bark) * (1 - 0.75 * np.clip(across + 0.3, -1, 1) ** 2), 0.06, 1)
        colour = np.array([0.62, 0.5, 0.38]) * rng.uniform(0.85, 1.15, 3)
        return np.clip(light[:, :, None] * colour, 0, 1).astype(np.float32), alpha
