"""Fits the weights of `followspot.tracking.confidence` on footage with known truth, and says how good the result is.

python speed/calibrate_confidence.py --data DATA --cache FOLDER

DATA holds davis/ (a DAVIS-2016 split "dev") and keypoints/ (joints of some of its sequences). The tracker follows, in one pass a
sequence, the mask, the mask's box and, where there are any, the joints of the first annotated frame, with three settings:

    default      the default preset, on the sequences with joints
    half         half the resolution (240 pixels), on all sequences
    forgetful    the same, and only the last two frames are remembered, not the annotated one: it drifts and loses objects (not
                 used for points, which fail often enough)

Good trackers fail too rarely to learn from, hence the last two, and hence answers that were spoilt on purpose: in every other
frame of "half", the mask's answer of 3 to 24 frames ago, or shifted by up to the object's size; and after its end, six frames of the
next sequence, in which there is nothing to find. These weigh 0.3. Points of three synthetic videos ("half") are followed too.

For every later frame the raw figures of the journey back are kept with what was true: the overlap of the mask and of the box, and whether
a point lies within 5 % of the short side of where it should be. A logistic model is fitted to each kind, all sequences weighing the
same. The printed figures are from models that have not seen the sequence that they are judged on. FOLDER keeps the raw figures of each
run; what is there is not run again.
"""

import argparse
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

import followspot as fs
from followspot.datasets.davis import DavisDataset, DavisSequence
from followspot.datasets.synthetic import SyntheticVideo
from followspot.metrics.region import region_similarity
from followspot.ops.masks import mask_box
from followspot.tracking.answers import journeys
from followspot.tracking.confidence import LOST_BELOW, Anchor
from followspot.tracking.presets import PRESETS, Resolution

NEAR = 0.05
"""A point is on the spot within this share of the short side."""
SPOILT_WEIGHT = 0.3
COLUMNS = ("recall", "precision", "entropy", "growth", "blur", "strange")
MASK, BOX, POINT = range(3)
SPOILT, CUT = 10, 20
"""Added to the kind."""
CUT_FRAMES = 6

_DEFAULT = PRESETS["default"]
_HALF = replace(_DEFAULT, resolution=Resolution(pixels=240))
SETTINGS = {"default": _DEFAULT, "half": _HALF, "forgetful": replace(_HALF, context_frames=2, keep_references=False)}


@dataclass
class Clip:
    """A video and its truth by frame; None and empty where nothing is known."""

    name: str
    frames: list[fs.Frame]
    masks: dict[int, np.ndarray]
    points: dict[int, fs.Keypoints]


def real_clip(sequence: DavisSequence, joints: Path) -> Clip:
    """A DAVIS sequence, from its first annotated frame on."""
    known = {int(k): v[0] for k, v in fs.read_keypoints(joints).items()} if joints.exists() else {}
    with fs.open_video(sequence.image_folder) as video:
        frames = list(video.frames(min(known, default=0)))
    masks = {f.index: (sequence.read_mask(f.index) > 0).astype(np.uint8) for f in frames}
    return Clip(sequence.name, frames, masks, known)


def synthetic_clip(seed: int) -> Clip:
    """Thirty frames with points only; hidden points are NaN."""
    video = SyntheticVideo(seed, num_frames=30)
    points = {}
    for index in range(30):
        xy, visible = video.points(index)
        xy = np.where(visible[:, None] | (index == 0), xy, np.nan)
        points[index] = fs.Keypoints(xy=xy, joints=tuple(str(k) for k in range(len(xy))))
    return Clip(f"synthetic {seed}", list(video), {}, points)


def joints_file(data: Path, sequence: DavisSequence) -> Path:
    """Where its joints are, if it has any."""
    return data / "keypoints" / f"{sequence.name}.json"


def images(owner: int, sequences: Sequence[DavisSequence]) -> list[np.ndarray]:
    """A few images of the next video."""
    if owner >= 100:
        return [SyntheticVideo(owner - 99, num_frames=30).frame(k) for k in range(CUT_FRAMES)]
    with fs.open_video(sequences[(owner + 1) % len(sequences)].image_folder) as video:
        return [frame.image for frame in itertools.islice(video.frames(), CUT_FRAMES)]


def box_iou(a: tuple[float, ...] | None, b: tuple[float, ...] | None) -> float:
    """Overlap of two boxes; 0 if one is missing, 1 if both are."""
    if a is None or b is None:
        return float(a is b)
    shared = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def spoil(history: list[torch.Tensor], rng: np.random.Generator) -> torch.Tensor:
    """A mask's map of some frames ago, or shifted by up to the object's size."""
    if rng.random() < 0.5:
        return history[max(0, len(history) - 1 - int(rng.integers(3, 25)))]
    size = max(4, int(history[-1].sum().sqrt()))
    down, right = (int(s) for s in rng.integers(-size, size + 1, 2))
    return torch.roll(history[-1], (down, right), dims=(0, 1))


def figures_of(
    tracker: fs.PropagationTracker, labels: torch.Tensor, anchor: Anchor, rows: list[int], objects: Sequence[fs.TrackedObject]
) -> list[list[float]]:
    """Raw figures, one row a channel."""
    found = journeys(tracker.channels, labels, tracker.features, anchor, rows=rows, objects=objects)
    return [[float(getattr(figures, c)[k]) for c in COLUMNS] for _, figures, k in (found[i] for i in rows)]


def truth_of(channel, answer: fs.TrackedFrame, clip: Clip, near: float) -> float | None:
    """What was true of one channel's answer; None if that is not known."""
    item = next((o for o in answer.objects if (o.kind, o.name) == (channel.role, channel.name)), None)
    if channel.role == "mask":
        return float(region_similarity(answer.masks > 0, clip.masks[answer.index] > 0))
    if channel.role == "box":
        return box_iou(item.box, mask_box(clip.masks[answer.index]))
    if channel.role != "keypoints" or answer.index not in clip.points:
        return None
    spot = next(p for p in item.points if p.name == channel.joint)
    marked = clip.points[answer.index]
    wanted = marked.xy[marked.joints.index(channel.joint)]
    return float(np.hypot(spot.x - wanted[0], spot.y - wanted[1]) <= near) if np.isfinite(wanted).all() else None


@torch.inference_mode()
def follow(tracker: fs.PropagationTracker, clip: Clip, *, spoilt: bool, after: Sequence[np.ndarray]) -> Iterator[list[float]]:
    """Rows of (kind, figures, truth) for one video and the images of another one after it."""
    rng = np.random.default_rng(len(clip.frames))
    first = clip.frames[0].index
    given: list[fs.Masks | fs.Boxes | fs.Keypoints] = []
    if clip.masks:
        ids = clip.masks[first]
        given += [fs.Masks(ids=ids), fs.Boxes(xyxy=np.array([mask_box(ids)], float), names=("box",))]
    if first in clip.points:
        given.append(clip.points[first])
    tracker.start(clip.frames[0], given)
    books, labels = tracker.channels, tracker.labels
    anchor = Anchor(index=first, features=tracker.features, labels=labels)
    kinds = {"mask": MASK, "box": BOX, "keypoints": POINT}
    rated = [i for i, c in enumerate(books.items) if c.role in kinds and labels[i].max() > 0]
    history = [labels[1]]
    for frame in clip.frames[1:]:
        answer = tracker.step(frame)
        near = NEAR * min(frame.image.shape[:2])
        for i, row in zip(rated, figures_of(tracker, tracker.labels, anchor, rated, answer.objects), strict=True):
            true = truth_of(books.items[i], answer, clip, near)
            if true is not None:
                yield [kinds[books.items[i].role], *row, true]
        if clip.masks:
            history.append(tracker.labels[1])
        if spoilt and clip.masks and frame.index % 2:
            changed = tracker.labels.clone()
            changed[1] = spoil(history, rng)
            changed[0] = 1 - changed[1]
            wrong = replace(answer, masks=books.decode(changed).masks)
            [row] = figures_of(tracker, changed, anchor, [1], ())
            yield [SPOILT + MASK, *row, truth_of(books.items[1], wrong, clip, near)]
    for image in after:
        index = tracker._frame.index + 1
        answer = tracker.step(fs.Frame(image=image, index=index, time_seconds=index / 25, name=str(index)))
        for i, row in zip(rated, figures_of(tracker, tracker.labels, anchor, rated, answer.objects), strict=True):
            yield [CUT + kinds[books.items[i].role], *row, 0.0]


def collect(data: Path, cache: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows ``(n, 8)``, the number of the video and of the setting that each is from."""
    cache.mkdir(parents=True, exist_ok=True)
    parts, owners, settings = [], [], []
    for number, (setting, preset) in enumerate(SETTINGS.items()):
        tracker = fs.PropagationTracker(preset=preset, confidence=False)
        sequences = DavisDataset(data / "davis", split="dev").sequences
        jobs = [(k, s.name) for k, s in enumerate(sequences) if setting != "default" or joints_file(data, s).exists()]
        if setting == "half":
            jobs += [(100 + seed, f"synthetic-{seed}") for seed in range(3)]
        for owner, name in jobs:
            path = cache / f"{setting}-{name}.npy"
            if not path.exists():
                clip = synthetic_clip(owner - 100) if owner >= 100 else real_clip(sequences[owner], joints_file(data, sequences[owner]))
                other = [] if setting != "half" else images(owner, sequences)
                np.save(path, np.array(list(follow(tracker, clip, spoilt=setting == "half", after=other))))
                print(f"{setting} {name}: {len(np.load(path))} answers", flush=True)
            rows = np.load(path)
            parts.append(rows)
            owners += [owner] * len(rows)
            settings += [number] * len(rows)
    return np.concatenate(parts), np.array(owners), np.array(settings)


def fit(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Logistic regression with soft targets by Newton's method, a little ridge against collinear columns.

    Columns after the bias have a sign that makes sense (more recall or precision is never bad, more entropy, growth, blur or strangeness
    never good); a column that ends on the wrong side is left out.
    """
    signs = np.array([0, 1, 1, -1, -1, -1, -1])
    used = np.ones(len(signs), bool)
    while True:
        beta = np.zeros(len(signs))
        ridge = 1e-3 * np.eye(used.sum()) * weight.sum()
        for _ in range(50):
            p = 1 / (1 + np.exp(-x @ beta))
            gradient = x[:, used].T @ (weight * (y - p)) - ridge @ beta[used]
            curvature = (x[:, used] * (weight * p * (1 - p))[:, None]).T @ x[:, used] + ridge
            beta[used] += np.linalg.solve(curvature, gradient)
        wrong = used & (signs * beta < 0)
        if not wrong.any():
            return beta
        used[np.argmin(np.where(wrong, signs * beta, 0))] = False


def judge(name: str, rows: np.ndarray, owner: np.ndarray, setting: np.ndarray) -> None:
    """Prints the weights fitted on everything, and how models that left one video out do on that one."""
    figures = rows[:, 1:-1].copy()
    figures[:, 3] = np.abs(figures[:, 3])
    x, y, real = np.column_stack([np.ones(len(rows)), figures]), rows[:, -1], rows[:, 0] < SPOILT
    _, owner = np.unique(owner, return_inverse=True)
    weight = np.where(real, 1, SPOILT_WEIGHT) / np.bincount(owner)[owner]
    held_out = np.zeros(len(y))
    for video in np.unique(owner):
        rest = owner != video
        held_out[~rest] = 1 / (1 + np.exp(-x[~rest] @ fit(x[rest], y[rest], weight[rest])))
    values = ", ".join(f"{n}={v:.2f}" for n, v in zip(("bias", *COLUMNS), fit(x, y, weight), strict=True))
    print(f"{name} = Calibration({values})")
    for number, label in enumerate(SETTINGS):
        report(f"{name} {label}", held_out, y, real & (setting == number))
    report(f"{name} spoilt", held_out, y, rows[:, 0] // 10 == SPOILT // 10)
    report(f"{name} after a cut", held_out, y, rows[:, 0] // 10 == CUT // 10)
    report(f"{name} all but these two", held_out, y, real)
    for low, high in itertools.pairwise(np.linspace(0, 1, 6)):
        inside = real & (held_out >= low) & (held_out < high + (high == 1))
        if inside.any():
            means = f"expected {held_out[inside].mean():.2f}, true {y[inside].mean():.2f}"
            print(f"  expected {low:.1f}-{high:.1f}: {inside.sum():5d} answers, {means}")


def report(name: str, expected: np.ndarray, true: np.ndarray, chosen: np.ndarray) -> None:
    """One row of the table."""
    if not chosen.any():
        return
    expected, true = expected[chosen], true[chosen]
    bad, alarm = true < LOST_BELOW, expected < LOST_BELOW
    at = np.quantile(expected[~bad], 0.2) if (~bad).any() else np.nan
    known = bad.any() and not bad.all()
    figures = (
        true.mean(),
        bad.mean(),
        np.corrcoef(expected, true)[0, 1] if true.std() else None,
        np.abs(expected - true).mean(),
        alarm[bad].mean() if bad.any() else None,
        alarm[~bad].mean() if not bad.all() else None,
        (expected[bad] < at).mean() if known else None,
    )
    print(f"| {name} | {len(true)} | " + " | ".join("-" if f is None else f"{f:.2f}" for f in figures) + " |")


def main() -> None:
    """Follows, fits, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True, help="keep the raw figures here, and use those that are there")
    options = parser.parse_args()
    rows, owner, setting = collect(options.data, options.cache)
    print("| kind, setting | answers | true | bad | correlation | mean error | flagged | false alarms | flagged at 0.2 false alarms |")
    for name, kind in (("MASKS", MASK), ("BOXES", BOX), ("POINTS", POINT)):
        mine = (rows[:, 0] % 10 == kind) & ((kind != POINT) | (setting != list(SETTINGS).index("forgetful")))
        judge(name, rows[mine], owner[mine], setting[mine])


if __name__ == "__main__":
    main()
