"""Fits the weights of `followspot.tracking.confidence` on footage with known truth, and says how good the result is.

python speed/calibrate_confidence.py --data DATA [--cache figures.npz]

DATA holds davis/ (a DAVIS-2016 split "dev") and keypoints/ (joints of some of its sequences). The default tracker follows, in one
pass a sequence, the mask, the mask's box and, where there are any, the joints of the first annotated frame. For every later frame
the raw figures of the journey back are kept with what was true: overlap of the mask and of the box, and whether a joint lies
within 5 % of the short side of where it should be. A logistic model is fitted to each of the two kinds (regions, points), all
sequences weighing the same. The printed figures are from models that have not seen the sequence they are judged on.
"""

import argparse
import itertools
import json
from pathlib import Path

import numpy as np

import followspot as fs
from followspot.datasets.davis import DavisDataset, DavisSequence
from followspot.metrics.region import region_similarity
from followspot.ops.masks import mask_box
from followspot.tracking.confidence import LOST_BELOW, agreement

NEAR = 0.05
"""A point is on the spot within this share of the short side."""
COLUMNS = ("recall", "precision", "entropy", "growth")


def joints_of(path: Path) -> dict[int, tuple[fs.Keypoints, ...]]:
    """Annotated joints by frame; none where the file does not exist."""
    return {int(k): v for k, v in fs.read_keypoints(path).items() if k is not None} if path.exists() else {}


def box_iou(a: tuple[float, ...] | None, b: tuple[float, ...] | None) -> float:
    """Overlap of two boxes; 0 if either is missing."""
    if a is None or b is None:
        return float(a is b)
    shared = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def follow_sequence(
    tracker: fs.PropagationTracker, sequence: DavisSequence, joints: dict[int, tuple[fs.Keypoints, ...]]
) -> list[list[float]]:
    """Rows of (kind: 0 region, 1 point; recall, precision, entropy, growth; truth) for one sequence."""
    rows: list[list[float]] = []
    first = min(joints, default=0)
    ids = sequence.read_mask(first)
    box = mask_box(ids > 0)
    given: list[object] = [fs.Masks(ids=ids), fs.Boxes(xyxy=np.array([box]), names=("box",)), *joints.get(first, ())]
    with fs.open_video(sequence.image_folder) as video:
        near = NEAR * min(video.height, video.width)
        for frame in video.frames(first):
            if frame.index == first:
                tracker.start(frame, given)
                anchor = tracker._anchors[first]
                continue
            answer = tracker.step(frame)
            books = tracker.channels
            rated = [i for i, c in enumerate(books.items) if c.name]
            raw = agreement(tracker.features, tracker.labels, anchor, rated)
            figures = np.stack([getattr(raw, c).numpy() for c in COLUMNS], 1)
            truth = sequence.read_mask(frame.index) > 0
            marked = {k.name: k for k in joints.get(frame.index, ())}
            for row, i in zip(figures, rated, strict=True):
                channel = books.items[i]
                item = next(o for o in answer.objects if (o.kind, o.name) == (channel.role, channel.name))
                if channel.role == "mask":
                    rows.append([0, *row, float(region_similarity(answer.masks == channel.mask_id, truth))])
                elif channel.role == "box":
                    rows.append([0, *row, box_iou(item.box, mask_box(truth))])
                elif channel.name in marked:
                    spot = next(p for p in item.points if p.name == channel.joint)
                    wanted = marked[channel.name].xy[marked[channel.name].joints.index(channel.joint)]
                    if np.isfinite(wanted).all() and np.isfinite(anchor.labels[i].max()) and anchor.labels[i].max() > 0:
                        rows.append([1, *row, float(np.hypot(spot.x - wanted[0], spot.y - wanted[1]) <= near)])
    return rows


def design(rows: np.ndarray, *, with_growth: bool) -> np.ndarray:
    """Bias, recall, precision, entropy and the size of growth (zero if it is not used)."""
    growth = np.abs(rows[:, 4]) if with_growth else np.zeros(len(rows))
    return np.column_stack([np.ones(len(rows)), rows[:, 1:4], growth])


def fit(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Logistic regression with soft targets by Newton's method, a little ridge against collinear columns."""
    beta = np.zeros(x.shape[1])
    ridge = 1e-3 * np.eye(x.shape[1]) * weight.sum()
    for _ in range(50):
        p = 1 / (1 + np.exp(-x @ beta))
        gradient = x.T @ (weight * (y - p)) - ridge @ beta
        curvature = (x * (weight * p * (1 - p))[:, None]).T @ x + ridge
        step = np.linalg.solve(curvature, gradient)
        beta += step
        if np.abs(step).max() < 1e-8:
            break
    return beta


def judge(name: str, rows: np.ndarray, owner: np.ndarray, *, with_growth: bool) -> None:
    """Prints the weights fitted on everything, and how models that left one sequence out do on that one."""
    x, y = design(rows, with_growth=with_growth), rows[:, 5]
    counts = np.bincount(owner)
    weight = 1 / counts[owner]
    held_out = np.zeros(len(y))
    for sequence in np.unique(owner):
        rest = owner != sequence
        beta = fit(x[rest], y[rest], weight[rest])
        held_out[~rest] = 1 / (1 + np.exp(-x[~rest] @ beta))
    alarm, bad = held_out < LOST_BELOW, y < LOST_BELOW
    names = ("bias", *COLUMNS)
    values = ", ".join(f"{n}={v:.2f}" for n, v in zip(names, fit(x, y, weight), strict=True))
    print(f"{name} = Calibration({values})")
    print(
        f"  {len(y)} answers, {len(np.unique(owner))} sequences, truth {np.average(y, weights=weight):.3f}; left-one-out: "
        f"mean |expected - true| {np.average(np.abs(held_out - y), weights=weight):.3f}, correlation {np.corrcoef(held_out, y)[0, 1]:.2f}, "
        f"bad answers flagged {alarm[bad].mean():.2f} ({bad.sum()}), false alarms {alarm[~bad].mean():.2f} ({(~bad).sum()})"
    )
    edges = np.linspace(0, 1, 6)
    for low, high in itertools.pairwise(edges):
        inside = (held_out >= low) & (held_out < high + (high == 1))
        if inside.any():
            means = f"expected {held_out[inside].mean():.2f}, true {y[inside].mean():.2f}"
            print(f"  expected {low:.1f}-{high:.1f}: {inside.sum():5d} answers, {means}")


def main() -> None:
    """Follows, fits, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, help="keep the raw figures here, and use them if they are there")
    options = parser.parse_args()
    if options.cache is not None and options.cache.exists():
        with np.load(options.cache) as kept:
            rows, owner = kept["rows"], kept["owner"]
    else:
        tracker = fs.PropagationTracker(confidence=False)
        all_rows, owners = [], []
        for number, sequence in enumerate(DavisDataset(options.data / "davis", split="dev").sequences):
            found = follow_sequence(tracker, sequence, joints_of(options.data / "keypoints" / f"{sequence.name}.json"))
            all_rows += found
            owners += [number] * len(found)
            print(json.dumps({"sequence": sequence.name, "answers": len(found)}), flush=True)
        rows, owner = np.array(all_rows), np.array(owners)
        if options.cache is not None:
            np.savez(options.cache, rows=rows, owner=owner)
    regions = rows[:, 0] == 0
    judge("REGIONS", rows[regions], owner[regions], with_growth=True)
    judge("POINTS", rows[~regions], owner[~regions], with_growth=False)


if __name__ == "__main__":
    main()
