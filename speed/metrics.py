"""Time of J and F, against the same formulas written out as the official evaluator does it, and against vos-benchmark where it is there.

    python speed/metrics.py --data DAVIS --split val     real masks, each against those of two frames before, moved by a few pixels
    python speed/metrics.py                              made-up objects at 480p
    python speed/metrics.py --quick                      fewer of them, for continuous integration

The plain version follows the description of davis2017-evaluation: J and F of every object and frame, on whole pictures, with pixels that
are not to be scored (none here) multiplied away, outlines by the three neighbours, `cv2.dilate` with a disk, and sums. Its disk is made
once and not counted, which favours it. Reading files is not counted on any side, and finding which ids there are only in vos-benchmark,
which does it itself. All run in one process and one thread, in turn (A B C A B C); medians of the CPU time over the repeats are compared,
since other programs that want the cores do not change it much. Exit status 1 where values differ by more than 1e-6.
"""

import argparse
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from followspot.datasets.davis import DavisDataset
from followspot.metrics.summary import score_frame

Ids = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Pair = tuple[Ids, Ids, list[int]]
"""Predicted and true id map, and the ids to score."""
Scorer = Callable[[Pair], list[tuple[float, float]]]

AGREES = 1e-6
"""How far two versions may differ: the bar of the project."""


def real_masks(root: Path, *, split: str, every: int) -> list[Pair]:
    """Predictions that are nearly right: the truth of two frames before, moved by (2, 3) pixels."""
    pairs = []
    for sequence in DavisDataset(root, split=split).sequences:
        for index in range(2, len(sequence), every):
            truth = sequence.read_mask(index)
            pairs.append((np.roll(sequence.read_mask(index - 2), (2, 3), axis=(0, 1)), truth, objects(truth)))
    return pairs


def made_masks(number: int) -> list[Pair]:
    """Two objects with wavy outlines at 480 x 854, as large as those of DAVIS, and the same a little elsewhere."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:480, :854]
    pairs = []
    for _ in range(number):
        truth = np.zeros((480, 854), np.uint8)
        for value in (1, 2):
            dy, dx = y - random.uniform(120, 360), x - random.uniform(150, 700)
            wave = 1 + 0.2 * np.sin(random.integers(3, 9) * np.arctan2(dy, dx) + random.uniform(0, 6))
            truth[np.hypot(dy, dx) < random.uniform(50, 110) * wave] = value
        pairs.append((np.roll(truth, (4, -6), axis=(0, 1)), truth, objects(truth)))
    return pairs


def objects(truth: Ids) -> list[int]:
    """Ids but the background."""
    return [int(value) for value in np.unique(truth) if value]


def ours(pair: Pair) -> list[tuple[float, float]]:
    """J and F of every object."""
    predicted, truth, ids = pair
    return [(float(j), float(f)) for j, f in zip(*score_frame(truth, predicted, ids), strict=True)]


def plain(pair: Pair) -> list[tuple[float, float]]:
    """The same, written out."""
    predicted, truth, ids = pair
    radius = math.ceil(0.008 * math.hypot(*truth.shape))
    return [plain_one(predicted == value, truth == value, disk(radius)) for value in ids]


DISKS: dict[int, Ids] = {}


def disk(radius: int) -> Ids:
    """All pixels at most ``radius`` from the centre."""
    if radius not in DISKS:
        offset = np.arange(-radius, radius + 1)
        DISKS[radius] = (offset[:, None] ** 2 + offset**2 <= radius**2).astype(np.uint8)
    return DISKS[radius]


def plain_one(predicted: Mask, truth: Mask, near: Ids) -> tuple[float, float]:
    """J and F of one object."""
    scored = np.logical_not(np.zeros_like(truth))
    union = np.sum((predicted | truth) & scored)
    j = np.sum(predicted & truth & scored) / union if union else 1.0
    one, other = outline(predicted * scored), outline(truth * scored)
    hits = one * cv2.dilate(other.astype(np.uint8), near), other * cv2.dilate(one.astype(np.uint8), near)
    counts = np.sum(one), np.sum(other)
    if not all(counts):
        return float(j), float(counts[0] == counts[1])
    precision, recall = (np.sum(hit) / total for hit, total in zip(hits, counts, strict=True))
    return float(j), float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def outline(mask: Mask) -> Mask:
    """Where a pixel differs from its right, lower or lower right neighbour; the last row and column have one neighbour."""
    east, south, corner = np.zeros_like(mask), np.zeros_like(mask), np.zeros_like(mask)
    east[:, :-1], south[:-1], corner[:-1, :-1] = mask[:, 1:], mask[1:], mask[1:, 1:]
    result = mask ^ east | mask ^ south | mask ^ corner
    result[-1] = mask[-1] ^ east[-1]
    result[:, -1] = mask[:, -1] ^ south[:, -1]
    result[-1, -1] = False
    return result


def vos_benchmark() -> Scorer | None:
    """The package, frame by frame, where it is installed."""
    try:
        from vos_benchmark.evaluator import Evaluator
    except ImportError:
        return None

    def score(pair: Pair) -> list[tuple[float, float]]:
        evaluator = Evaluator()
        evaluator.feed_frame(*pair[:2])
        regions, contours = evaluator.conclude()
        return [(regions[value] / 100, contours[value] / 100) for value in pair[2]]

    return score


def seconds(score: Scorer, pairs: list[Pair]) -> float:
    """CPU time of one pass over all pairs, for each object."""
    start = time.process_time()
    found = sum(len(score(pair)) for pair in pairs)
    return (time.process_time() - start) / found


def difference(one: Scorer, other: Scorer, pairs: list[Pair]) -> float:
    """The largest between any two values."""
    return max(float(np.abs(np.subtract(one(pair), other(pair))).max(initial=0.0)) for pair in pairs)


def main() -> int:
    """Print the table; exit status 1 where the versions disagree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of DAVIS; default: made-up masks")
    parser.add_argument("--split", default="val")
    parser.add_argument("--every", type=int, default=10, help="every n-th frame of DAVIS (default 10)")
    parser.add_argument("--repeats", type=int, default=7, help="interleaved repeats (default 7)")
    parser.add_argument("--quick", action="store_true", help="4 made-up pictures, 3 repeats")
    given = parser.parse_args()
    cv2.setNumThreads(1)
    real = given.data is not None and not given.quick
    pairs = real_masks(given.data, split=given.split, every=given.every) if real else made_masks(4 if given.quick else 20)
    others = {"plain": plain, "vos-benchmark": vos_benchmark()}
    scorers: dict[str, Scorer] = {"ours": ours} | {name: scorer for name, scorer in others.items() if scorer is not None}
    differences = {name: difference(ours, scorer, pairs) for name, scorer in scorers.items()}
    passes = [{name: seconds(scorer, pairs) for name, scorer in scorers.items()} for _ in range(3 if given.quick else given.repeats)]
    medians = {name: statistics.median(one[name] for one in passes) for name in scorers}
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    console = Console(width=140)
    console.print(f"{platform.processor() or platform.machine()}, numpy {np.__version__}, OpenCV {cv2.__version__}, 1 thread{load}")
    console.print(f"J and F of {sum(len(ids) for _, _, ids in pairs)} objects in {len(pairs)} pictures, {len(passes)} repeats")
    table = Table("", "CPU ms an object and frame", "ours is faster", "largest difference")
    for name, median in medians.items():
        table.add_row(name, f"{1000 * median:.3f}", f"{median / medians['ours']:.1f}x", f"{differences[name]:.1e}")
    console.print(table)
    return 0 if max(differences.values()) <= AGREES else 1


if __name__ == "__main__":
    sys.exit(main())
