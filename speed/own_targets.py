"""How good targets without labels are, on footage with known truth: the figures of docs/targets.md.

python speed/own_targets.py --data DAVIS [--split dev] [--sequences 12]

Nothing of DAVIS becomes a target: its frames are shrunk to 256 pixels, as prepared clips have them, and taken at 25 a second.

    found      what `find_moving` sees in six frames of each sequence, beside the labelled object (things without a label count as wrong)
    carried    the true mask of two frames of each sequence, carried as targets are: how much is kept, and how good that is
    both       three windows of each sequence, from nothing: how many targets are the labelled object, and how good these are
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from followspot.datasets.davis import DavisDataset, DavisSequence
from followspot.io.images import read_image
from followspot.jobs.moving_objects import find_moving
from followspot.jobs.own_targets import OwnTargetSettings
from followspot.jobs.own_tracks import TrackSettings, carry, find_things, make_tracker
from followspot.metrics.region import region_similarity

SHORT_SIDE, FPS = 256, 25
GAPS = (2, 5)
HIT = 0.5
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Footage:
    """A sequence as a prepared clip has it."""

    images: list[NDArray[np.uint8]]
    masks: list[Mask]


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of DAVIS")
    parser.add_argument("--split", default="dev")
    parser.add_argument("--sequences", type=int, default=12, help="the first so many of the list")
    given = parser.parse_args()
    cv2.setNumThreads(1)
    clips = [shrunk(sequence) for sequence in DavisDataset(given.data, year="2016", split=given.split).sequences[: given.sequences]]
    for gap in (*GAPS[:1], 2 * GAPS[0]):
        print(f"found, pictures {gap} frames apart:", found(clips, gap))
    for sure in (0.0, 0.6, 0.7, 0.8):
        print(f"carried, sure {sure:g}:", carried(clips, replace(TrackSettings(), sure=sure, fewest=1)))
    print("carried, sure 0.7, memory of the default preset:", carried(clips, TrackSettings(fewest=1, context=8, radius=12)))
    print("both:", both(clips, OwnTargetSettings()))


def shrunk(sequence: DavisSequence) -> Footage:
    """Frames and masks with a short side of 256 pixels."""
    images, masks = [], []
    for index in range(len(sequence.image_files)):
        image, ids = read_image(sequence.image_path(index)), sequence.read_mask(index)
        scale = SHORT_SIDE / min(ids.shape)
        size = round(ids.shape[1] * scale), round(ids.shape[0] * scale)
        images.append(np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8))
        masks.append(cv2.resize(ids, size, interpolation=cv2.INTER_NEAREST) > 0)
    return Footage(images, masks)


def _spread(clip: Footage, count: int, margin: int) -> list[int]:
    return [int(place) for place in np.linspace(margin, len(clip.images) - 1 - margin, count)]


def _overlap(one: Mask, two: Mask) -> float:
    return float(region_similarity(one, two))


def found(clips: Sequence[Footage], gap: int) -> str:
    """Overlap of the first, second and third thing of a frame with the labelled object."""
    ranks: list[list[float]] = [[], [], []]
    frames = 0
    for clip in clips:
        for place in _spread(clip, 6, 4):
            before, image, after = (clip.images[place + step] for step in (-gap, 0, gap))
            things = find_moving(before, image, after, count=3, settings=TrackSettings().moving, rng=np.random.default_rng(0))
            frames += 1
            for rank, thing in zip(ranks, things, strict=False):
                rank.append(_overlap(thing, clip.masks[place]))
    parts = [
        f"{len(rank)} of rank {number}: mean J {np.mean(rank):.3f}, {_hits(rank)} hits" for number, rank in enumerate(ranks, 1) if rank
    ]
    return f"{frames} frames; " + "; ".join(parts)


def _hits(values: Sequence[float]) -> int:
    return sum(value >= HIT for value in values)


def _windows(clip: Footage, count: int, settings: OwnTargetSettings) -> Iterator[tuple[list[int], int]]:
    step = round(settings.step_seconds * FPS)
    for middle in _spread(clip, count, max(GAPS)):
        numbers = [middle + step * k for k in range(-settings.reach, settings.reach + 1)]
        inside = [number for number in numbers if 0 <= number < len(clip.images)]
        yield inside, inside.index(middle)


def carried(clips: Sequence[Footage], settings: TrackSettings) -> str:
    """What is kept of the true object, and its overlap."""
    tracker, values, asked = make_tracker(settings, device="cpu"), [], 0
    for clip in clips:
        for numbers, start in _windows(clip, 2, OwnTargetSettings()):
            truth = clip.masks[numbers[start]]
            if not truth.any():
                continue
            asked += len(numbers) - 1
            for track in carry(tracker, [clip.images[number] for number in numbers], start, things=[truth], settings=settings):
                values += [_overlap(mask, clip.masks[numbers[place]]) for place, mask in track.masks.items() if place != start]
    poor = np.mean(np.array(values) < HIT)
    return f"kept {len(values)} of {asked} ({len(values) / asked:.2f}), mean J {np.mean(values):.3f}, below {HIT:g}: {poor:.3f}"


def both(clips: Sequence[Footage], settings: OwnTargetSettings) -> str:
    """Targets from nothing."""
    tracker, rng = make_tracker(settings.tracks, device="cpu"), np.random.default_rng(0)
    seeds: list[float] = []
    of_object: list[float] = []
    frames = 0
    for clip in clips:
        for numbers, start in _windows(clip, 3, settings):
            middle = numbers[start]
            around = [(clip.images[middle - gap], clip.images[middle + gap]) for gap in GAPS]
            things = find_things(clip.images[middle], around, settings=settings.tracks, rng=rng)
            for track in carry(tracker, [clip.images[number] for number in numbers], start, things=things, settings=settings.tracks):
                frames += len(track.masks)
                seeds.append(_overlap(track.masks[start], clip.masks[middle]))
                if seeds[-1] >= HIT:
                    of_object += [_overlap(mask, clip.masks[numbers[place]]) for place, mask in track.masks.items()]
    return (
        f"{len(seeds)} targets, {frames} frames; {_hits(seeds)} are the labelled object (J of {HIT:g} or more where they were found), "
        f"over all their {len(of_object)} frames mean J {np.mean(of_object):.3f}"
    )


if __name__ == "__main__":
    _main()
