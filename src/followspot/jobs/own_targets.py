"""Targets from unlabelled video: what moves is found, carried by our own propagation, and kept where that is sure.

So a siamese tracker is trained with no human label anywhere: the things come from motion, the masks from matching hand-made descriptors,
and the choice from the tracker's own confidence.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from followspot.datasets.sources.base import LabelledFrame, LabelledObject, LabelledSource, LabelledVideo, LeftOut, mask_box, one_folder
from followspot.datasets.store import ClipEntry, ClipStore
from followspot.datasets.target_index import TargetCard
from followspot.errors import DatasetError, SettingError
from followspot.jobs.own_tracks import TrackSettings, carry, find_things, make_tracker
from followspot.jobs.targets import TargetReport, make_targets

Progress = Callable[[str, int, int | None], None]

_STREAM = 23
"""Keeps these random numbers apart from others of the same seed."""
_GAPS = (1 / 15, 1 / 5)
"""Seconds before and after a frame that motion is looked for in. On the development sequences of DAVIS the thing with most motion is the
labelled object in 40 of 72 frames with pictures 2 frames apart, in 31 with 4 (docs/targets.md). The second is for what crawls."""


@dataclass(frozen=True, kw_only=True)
class OwnTargetSettings:
    """How much is taken of each clip.

    Raises:
        SettingError: a value is outside its range.
    """

    tracks: TrackSettings = field(default_factory=TrackSettings)
    """What is followed and what is kept."""
    windows: int = 3
    """Places of a clip, at least 1; fewer in clips that have no room for them."""
    reach: int = 3
    """Steps carried each way from the middle of a window, at least 1: targets have up to 7 frames."""
    step_seconds: float = 0.25
    """From one to the next, above 0: four frames of 15 a second. The ends of a window are 1.5 seconds apart: time to turn and to bend."""

    def __post_init__(self) -> None:
        for name in ("windows", "reach"):
            if getattr(self, name) < 1:
                raise SettingError(f"{name} = {getattr(self, name)} is too small; use 1 or more")
        if not self.step_seconds > 0:
            raise SettingError(f"step_seconds = {self.step_seconds:g} is no time; give seconds above 0, such as 0.25")


def own_targets(
    store: ClipStore,
    out: Path,
    *,
    settings: OwnTargetSettings | None = None,
    seed: int = 0,
    workers: int = 1,
    show: Progress | None = None,
) -> TargetReport:
    """Make targets of the clips of a store, as the dataset ``video``; goes on where it was killed.

    Args:
        store: prepared clips.
        out: store of targets; made if missing, other datasets in it stay.
        settings: how much, and what is kept; None: the defaults.
        seed: what is random comes from it and a clip's pictures, so the same clip gives the same targets in any store.
        workers: threads, each with a clip of its own.
        show: told ``("cutting", clips done, clips)``.

    Raises:
        DatasetError: nothing was found that could be followed, or no clip could be read.
        OutputError: the targets cannot be written. What was finished stays; the same call goes on from there.
    """
    return make_targets(own_source(store, settings or OwnTargetSettings(), seed=seed), out, workers=workers, progress=show)


def read_clips(given: Sequence[Path]) -> LabelledSource:
    """A store of clips as a dataset whose labels are made on the way.

    Args:
        given: the store's folder.

    Raises:
        DatasetError: it is none.
    """
    return own_source(ClipStore(one_folder(given, expected="a store of clips (made by followspot prepare)")), OwnTargetSettings(), seed=0)


def own_source(store: ClipStore, settings: OwnTargetSettings, *, seed: int) -> LabelledSource:
    """The clips of a store, labelled by propagation when they are read; videos are called after their pictures, as the clips' files are.

    A clip that cannot be read counts as left out: one damaged file of thousands should not end the work.

    Args:
        store: prepared clips.
        settings: how much, and what is kept.
        seed: what is random comes from it and a clip's pictures.
    """
    clips = {Path(entry.path).stem: clip for clip, entry in enumerate(store.entries)}
    videos = [
        LabelledVideo(name=name, read=partial(_labelled, store, clip, settings=settings, seed=seed)) for name, clip in sorted(clips.items())
    ]
    # No two windows share a track, and a window is no longer than this.
    longest = 2 * settings.reach * max(_step(entry, settings) for entry in store.entries)
    card = TargetCard(
        dataset="video",
        labelled_by="propagation",
        still=False,
        frame_range=longest,
        licence="; ".join(sorted({entry.licence for entry in store.entries if entry.licence})),
        source=f"{len(store)} unlabelled clips; things found by motion, carried by propagation",
    )
    return LabelledSource(card=card, videos=videos)


def _labelled(store: ClipStore, clip: int, *, settings: OwnTargetSettings, seed: int) -> Iterator[LabelledFrame | LeftOut]:
    """Frames with things in them, window by window; a frame may come twice, with other tracks."""
    entry = store.entries[clip]
    rng = np.random.default_rng((seed, _STREAM, int(entry.sha256[:12], 16)))
    tracker = make_tracker(settings.tracks, device="cpu")
    known = 0
    try:
        for numbers, start in _windows(entry, settings):
            pictures = _read(store, clip, numbers, start=start)
            around = [(pictures[early], pictures[late]) for early, late in _sides(entry, numbers[start])]
            things = find_things(pictures[numbers[start]], around, settings=settings.tracks, rng=rng)
            tracks = carry(tracker, [pictures[number] for number in numbers], start, things=things, settings=settings.tracks)
            for position, number in enumerate(numbers):
                found = [(known + track, one.masks[position]) for track, one in enumerate(tracks) if position in one.masks]
                objects = [LabelledObject(track=track, box=mask_box(mask), mask=mask) for track, mask in found]
                if objects:
                    yield LabelledFrame(number=number, image=pictures[number], objects=objects)
            known += len(tracks)
    except DatasetError:
        yield LeftOut("clips that cannot be read to the end")


def _windows(entry: ClipEntry, settings: OwnTargetSettings) -> list[tuple[list[int], int]]:
    """Frames of each window, and which of them is its middle.

    >>> entry = ClipEntry(path="", frames=20, fps=10, height=2, width=2, sha256="", source="", licence="", motion=1)
    >>> _windows(entry, OwnTargetSettings(reach=1, windows=2))
    [([3, 5, 7], 1), ([13, 15, 17], 1)]
    """
    step = _step(entry, settings)
    # A window of half the length is still worth its while; a clip too short for that has one.
    count = max(1, min(settings.windows, entry.frames // (settings.reach * step + 1)))
    found = []
    for number in range(count):
        middle = int((number + 0.5) / count * entry.frames)
        numbers = [frame for frame in range(middle - settings.reach * step, middle + settings.reach * step + 1, step)]
        inside = [frame for frame in numbers if 0 <= frame < entry.frames]
        found.append((inside, inside.index(middle)))
    return found


def _sides(entry: ClipEntry, middle: int) -> list[tuple[int, int]]:
    """Frames before and after the middle of a window that show what moves."""
    gaps = dict.fromkeys(max(1, round(seconds * entry.fps)) for seconds in _GAPS)
    return [(middle - gap, middle + gap) for gap in gaps if gap <= middle < entry.frames - gap]


def _read(store: ClipStore, clip: int, numbers: list[int], *, start: int) -> dict[int, NDArray[np.uint8]]:
    """The pictures of a window and those that show motion."""
    wanted = sorted({*numbers, *(frame for pair in _sides(store.entries[clip], numbers[start]) for frame in pair)})
    return dict(zip(wanted, store.read(clip, wanted), strict=True))


def _step(entry: ClipEntry, settings: OwnTargetSettings) -> int:
    """Frames from one step to the next."""
    return max(1, round(settings.step_seconds * entry.fps))
