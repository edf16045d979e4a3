"""Propagation as a whole: what stands still stays (F100), which frames are looked at (F103), any size in, the same size out (F107)."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from followspot.models.descriptor import Descriptor
from followspot.tracking.presets import PRESETS, Preset, Resolution
from followspot.tracking.propagation import PropagationTracker
from followspot.types import Boxes, Frame, Masks, Points


class Brightness(torch.nn.Module):
    """One cell of four pixels is described by its brightness alone, so the length of a feature says which frame it is from."""

    name, dim, stride, receives = "brightness", 1, 4, "rgb"

    def forward(self, frames):
        return torch.nn.functional.avg_pool2d(frames.mean(1, keepdim=True), 4)


def textured(height, width, seed=0):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((4, 4, 1), np.uint8))[:height, :width]


def still(image, count):
    return [Frame(image=image, index=t, time_seconds=t / 10, name=f"{t:05d}") for t in range(count)]


def iou(one, other):
    return (one & other).sum() / (one | other).sum()


@pytest.mark.parametrize("preset", ["default", "crw"])
def test_f100_what_stands_still_keeps_its_mask(preset):
    image = textured(96, 128)
    ids = np.zeros((96, 128), np.uint8)
    rows, columns = np.mgrid[:96, :128]
    ids[(rows - 40) ** 2 + (columns - 50) ** 2 < 20**2] = 1
    ids[30:71, 85:117] = 2
    tracker = PropagationTracker(Descriptor(stride=4), replace(PRESETS[preset], resolution=Resolution(mode="native")), confidence=False)
    *_, last = tracker.stream(still(image, 6), {0: [Masks(ids=ids)]})
    for value in (1, 2):
        assert iou(last.masks == value, ids == value) >= 0.95


# What each published method looks at for frame 25 of a video that is annotated on frame 0.
CONTEXTS = {
    "colorization": [22, 23, 24],
    "corrflow": [24],
    "timecycle": [0, *range(18, 25)],
    "uvc": [0, *range(18, 25)],
    "crw": [0, *range(5, 25)],
}


@pytest.mark.parametrize("name", CONTEXTS)
def test_f103_presets_look_at_the_published_frames(name):
    tracker = PropagationTracker(Brightness(), replace(PRESETS[name], resolution=Resolution(mode="native")), confidence=False)
    frames = [replace(frame, image=np.full((16, 16, 3), frame.index + 1, np.uint8)) for frame in still(textured(16, 16), 25)]
    ids = np.ones((16, 16), np.uint8)
    for _ in tracker.stream(frames, {0: [Masks(ids=ids)]}):
        pass
    seen = sorted(round(entry.norms.mean().item() * 255) - 1 for entry in tracker.memory.bank.entries)
    assert seen == CONTEXTS[name]


@pytest.mark.parametrize("name", ["timecycle", "corrflow", "default"])
def test_f105_a_class_that_disappears_leaves_numbers(name):
    """What one of two objects was is nowhere in the later frames."""
    image = textured(48, 80)
    ids = np.zeros((48, 80), np.uint8)
    ids[8:24, 8:24], ids[24:40, 40:64] = 1, 2
    gone = image.copy()
    gone[8:24, 8:24] = 0
    frames = [replace(frame, image=gone if frame.index else image) for frame in still(image, 5)]
    tracker = PropagationTracker("descriptor", replace(PRESETS[name], resolution=Resolution(mode="native")), confidence=False)
    for answer in tracker.stream(frames, {0: [Masks(ids=ids)]}):
        assert torch.isfinite(tracker.labels).all()
        assert set(np.unique(answer.masks)) <= {0, 1, 2}


@pytest.mark.parametrize("text", ["short", "square", "native"])
@pytest.mark.parametrize("size", [(61, 83), (96, 64)])
def test_f107_answers_have_the_size_of_the_frames_and_keep_their_places(text, size):
    preset = Preset(
        name="test",
        source="test",
        affinity=replace(PRESETS["default"].affinity, top_k=1),
        context_frames=2,
        resolution=Resolution(mode=text, pixels=128),
    )
    height, width = size
    ids = np.zeros(size, np.uint8)
    ids[20:41, 20:45] = 1
    spots = np.array([[30.0, 25.0], [41.0, 50.0], [22.0, 37.0]])
    box = np.array([[20.0, 20.0, 45.0, 41.0]])
    given = [Masks(ids=ids), Points(xy=spots, names=("a", "b", "c")), Boxes(xyxy=box, names=("box",))]
    tracker = PropagationTracker("descriptor", preset, confidence=False)
    *_, last = tracker.stream(still(textured(height, width), 4), {0: given})
    assert last.masks.shape == size
    assert iou(last.masks == 1, ids == 1) > 0.8  # of cells of 8 pixels
    found = {thing.name: thing for thing in last.objects}
    for name, spot in zip("abc", spots, strict=True):
        (point,) = found[name].points
        assert np.hypot(point.x - spot[0], point.y - spot[1]) < 1, name
    assert np.abs(np.array(found["box"].box) - box[0]).max() < 1
