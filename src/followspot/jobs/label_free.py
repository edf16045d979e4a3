"""Which of two encoders follows things better in some videos, without a single label.

Things to follow are drawn from the videos themselves: regions between edges, of several sizes, where there is texture and motion.

    moved      a frame becomes a short scene: every region is cut out and moves on a path of its own, over a background on another,
               and the colours of every frame change. Where the regions are is known exactly; the score is the overlap with that.
    returned   the regions are followed through real neighbouring frames, and what has become of them back to where they were
               given; the score is the overlap with what was given.

Neither is enough alone. Features that say where a cell is, not what is in it, never let go of a place: they return perfectly, and fail
as soon as something moves by a known amount. Features that only know cut-outs may fail on light, blur and bending, which real frames have.
So one encoder is called better only if both together rise by more than chance, and neither falls by more than chance.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from followspot.datasets.store import ClipStore
from followspot.errors import DatasetError, SettingError
from followspot.jobs.pseudo_objects import draw_objects
from followspot.jobs.pseudo_scenes import SceneSettings, moving_scene
from followspot.metrics.region import region_similarity
from followspot.models.encoder import Encoder
from followspot.tracking.presets import PRESETS, Preset, Resolution
from followspot.tracking.propagation import PropagationTracker
from followspot.types import Frame, Masks

Image = NDArray[np.uint8]
Ids = NDArray[np.uint8]
Progress = Callable[[str, int, int | None], None]

_SCENES, _STREAM = 5, 17
"""At most so many times the scenes that were asked for, if there are more clips; and what keeps these random numbers apart from others."""
_STILLS = 2
"""Moved scenes for each run of real frames, which takes more than twice as long."""
_CONTEXT = 3
"""Frames remembered besides the first: enough for scenes this short, and half the work of the 8 of the default preset."""
_FEWEST = 12
"""Pixels: a region of which less is in view says nothing about a tracker."""


@dataclass(frozen=True, kw_only=True)
class CheckSettings:
    """How much is looked at. The defaults follow about 60 regions through 12 moved scenes, and 50 there and back in 6 places.

    Raises:
        SettingError: a value is outside its range.
    """

    scenes: int = 6
    """Places, at least 2, spread over the clips; each gives real frames and two moved scenes."""
    scene: SceneSettings = field(default_factory=SceneSettings)
    """What they are like: how many regions, frames and pixels."""
    reach: int = 6
    """Frames that regions are followed forward through before they return, at least 1; fewer in shorter clips."""
    per_second: float = 12.0
    """Those frames are so far apart in time, or as the clip has them where it has fewer."""
    seed: int = 71
    """Another than that of training, so that nothing that is checked was drawn there."""

    def __post_init__(self) -> None:
        for name, least in (("scenes", 2), ("reach", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise SettingError(f"{name} = {getattr(self, name)} is too small for a check; use {least} or more")
        if not self.per_second > 0:
            raise SettingError(f"per_second = {self.per_second:g} is no rate; give a number above 0, such as 12")


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """How well one region was followed."""

    scene: int
    region: int
    value: float
    """Intersection over union, 0..1; of `moved` the mean over frames."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """What one encoder scored; the same regions for every encoder."""

    moved: tuple[Overlap, ...]
    returned: tuple[Overlap, ...]


@dataclass(frozen=True, kw_only=True)
class Paired:
    """The same regions, followed with two encoders."""

    before: float
    after: float
    difference: float
    """Mean over regions of after less before."""
    error: float
    """Standard error of that. Regions of a scene succeed and fail together, so scenes count as what was drawn."""
    count: int
    """Regions."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether the second encoder is better."""

    moved: Paired
    returned: Paired
    gain: float
    """Mean of the two differences: both are overlaps, and neither is known to tell more."""
    error: float
    """Standard error of that."""
    better: bool
    reason: str
    """One sentence for people."""


def check(encoder: Encoder, store: ClipStore, *, settings: CheckSettings, device: str = "auto", progress: Progress | None = None) -> Check:
    """Follow things drawn from the clips of a store.

    Args:
        encoder: whose turn it is; left in eval mode.
        store: prepared clips.
        settings: how much to look at; the same settings and clips give the same regions.
        device: as for :class:`followspot.tracking.propagation.PropagationTracker`.
        progress: told ``("checking", scenes done, scenes)``.

    Raises:
        DatasetError: there is nothing to follow in the clips.
    """
    if isinstance(encoder, torch.nn.Module):
        encoder.eval()
    places = _places(store, settings)
    tracker = _RememberingTracker(encoder, _preset(settings), confidence=False, device=device)
    moved: list[Overlap] = []
    returned: list[Overlap] = []
    for scene, (clip, share) in enumerate(places):
        rng = np.random.default_rng((settings.seed, _STREAM, scene))
        for number in range(_STILLS):
            still = _still(store, clip, (share + number / _STILLS) % 1)
            moved += _moved(tracker, still, _STILLS * scene + number, settings=settings, rng=rng)
        returned += _returned(tracker, _run(store, clip, share, settings), scene, settings=settings, rng=rng)
        if progress is not None:
            progress("checking", scene + 1, len(places))
    if not moved or not returned:
        raise DatasetError(f"{store.root} shows nothing that could be followed; its clips are too small to check an encoder on")
    return Check(moved=tuple(moved), returned=tuple(returned))


def compare(before: Check, after: Check) -> Verdict:
    """Decide between two encoders that were checked alike.

    Raises:
        SettingError: they were not.

    >>> same = tuple(Overlap(scene=scene, region=1, value=0.5) for scene in range(3))
    >>> compare(Check(moved=same, returned=same), Check(moved=same, returned=same)).better
    False
    """
    moved, returned = paired(before.moved, after.moved), paired(before.returned, after.returned)
    gain, error = (moved.difference + returned.difference) / 2, math.hypot(moved.error, returned.error) / 2
    better = False
    if moved.difference < -moved.error:
        reason = "regions moved by a known amount are followed worse by more than chance"
    elif returned.difference < -returned.error:
        reason = "in the real frames regions return worse by more than chance"
    elif not gain > error:
        reason = "what changed is within chance"
    else:
        better, reason = True, "regions are followed better by more than chance, and neither kind of region worse"
    return Verdict(moved=moved, returned=returned, gain=gain, error=error, better=better, reason=reason)


def paired(before: Sequence[Overlap], after: Sequence[Overlap]) -> Paired:
    """The mean difference of the same regions, and its standard error with scenes as clusters (Liang and Zeger 1986).

    Raises:
        SettingError: the regions are not the same, or there are none.
    """
    if not before or [(one.scene, one.region) for one in before] != [(one.scene, one.region) for one in after]:
        raise SettingError(f"{len(before)} and {len(after)} overlaps are not of the same regions; check both with the same settings")
    first, second = (np.array([one.value for one in some]) for some in (before, after))
    difference = second - first
    mean, scenes = float(difference.mean()), np.array([one.scene for one in before])
    sums = np.array([(difference[scenes == scene] - mean).sum() for scene in np.unique(scenes)])
    # One scene says nothing about others: then nothing is beyond chance.
    error = math.inf if len(sums) < 2 else math.sqrt(float((sums**2).sum()) * len(sums) / (len(sums) - 1)) / len(first)
    return Paired(before=float(first.mean()), after=float(second.mean()), difference=mean, error=error, count=len(first))


class _RememberingTracker(PropagationTracker):
    """Encodes each frame of a scene once, though it is followed there and back."""

    def __init__(self, *given: Any, **settings: Any) -> None:  # noqa: ANN401 -- as the class it extends
        self.seen: dict[int, Tensor] = {}
        super().__init__(*given, **settings)

    def encode(self, frame: Frame) -> Tensor:
        """Features of a frame, from memory where it was seen."""
        if frame.index not in self.seen:
            self.seen[frame.index] = super().encode(frame)
        return self.seen[frame.index]


def _preset(settings: CheckSettings) -> Preset:
    default = PRESETS["default"]
    return Preset(
        name="label-free check",
        source=default.source,
        affinity=default.affinity,
        context_frames=_CONTEXT,
        resolution=Resolution(pixels=settings.scene.pixels),
    )


def _places(store: ClipStore, settings: CheckSettings) -> list[tuple[int, float]]:
    """A clip and a place in it, as a share of what is free, for each scene: all clips in turn, places spread evenly over each."""
    clips = len(store)
    count = max(settings.scenes, min(clips, _SCENES * settings.scenes))
    order = np.random.default_rng((settings.seed, _STREAM)).permutation(clips)
    rounds = -(-count // clips)
    return [(int(order[scene % clips]), (scene // clips + 0.5) / rounds) for scene in range(count)]


def _still(store: ClipStore, clip: int, share: float) -> Image:
    frame: Image = store.read(clip, [int(share * (store.entries[clip].frames - 1))])[0]
    return frame


def _run(store: ClipStore, clip: int, share: float, settings: CheckSettings) -> NDArray[np.uint8]:
    """``(T, H, W, 3)``: neighbouring frames, a little apart in time."""
    entry = store.entries[clip]
    gap = max(1, min(round(entry.fps / settings.per_second), (entry.frames - 1) // settings.reach))
    count = min(settings.reach + 1, entry.frames)
    start = int(share * (entry.frames - 1 - gap * (count - 1)))
    frames: NDArray[np.uint8] = store.read(clip, [start + gap * number for number in range(count)])
    return frames


def _moved(
    tracker: _RememberingTracker, still: Image, scene: int, *, settings: CheckSettings, rng: np.random.Generator
) -> Iterator[Overlap]:
    frames, truth = moving_scene(still, settings.scene, rng=rng, color_seed=settings.seed + scene)
    values: dict[int, list[float]] = {int(region): [] for region in np.unique(truth[0]) if region}
    if not values:
        return
    for answer, ids in zip(_follow(tracker, _numbered(frames), truth[0]), truth[1:], strict=True):
        for region, overlaps in values.items():
            if np.count_nonzero(ids == region) >= _FEWEST:
                overlaps.append(_overlap(answer, ids, region))
    for region, overlaps in values.items():
        if overlaps:
            yield Overlap(scene=scene, region=region, value=float(np.mean(overlaps)))


def _returned(
    tracker: _RememberingTracker, frames: NDArray[np.uint8], scene: int, *, settings: CheckSettings, rng: np.random.Generator
) -> Iterator[Overlap]:
    given = draw_objects(frames[0], settings.scene.objects, rng=rng, following=frames[min(1, len(frames) - 1)])
    if not given.any():
        return
    there = _numbered(frames)
    end = given
    for answer in _follow(tracker, there, given):
        end = answer
    back = np.zeros_like(given)
    if end.any():
        for answer in _follow(tracker, there[::-1], end, seen=tracker.seen):
            back = answer
    for region in np.unique(given):
        if region:
            yield Overlap(scene=scene, region=int(region), value=_overlap(back, given, int(region)))


def _numbered(frames: NDArray[np.uint8]) -> list[Frame]:
    return [Frame(image=image, index=index, time_seconds=float(index), name=f"{index:05d}") for index, image in enumerate(frames)]


def _follow(tracker: _RememberingTracker, frames: Sequence[Frame], given: Ids, *, seen: dict[int, Tensor] | None = None) -> Iterator[Ids]:
    """Id maps of all frames but the first."""
    tracker.seen = {} if seen is None else seen
    tracker.start(frames[0], [Masks(ids=given)])
    for frame in frames[1:]:
        answer = tracker.step(frame).masks
        yield np.zeros_like(given) if answer is None else answer


def _overlap(answer: Ids, truth: Ids, region: int) -> float:
    return float(region_similarity(answer == region, truth == region))
