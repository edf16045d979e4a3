"""Boxes and joints followed by an encoder, on the development footage: mean IoU of boxes, and joints that are near the truth.

    python results/boxes_and_keypoints.py --data ../shared/data --encoder descriptor
    python results/boxes_and_keypoints.py --data ../shared/data

Each clip gets its first box, or the joints of its first annotated frame, and nothing else. Frames without a box (NaN) are left out. A joint
counts as found within 24 pixels of the truth (a twentieth of the height).
"""

import argparse
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from followspot.io.video import open_video
from followspot.models.encoder import load_encoder
from followspot.tracking.presets import Resolution, find_preset
from followspot.tracking.propagation import PropagationTracker
from followspot.types import Boxes, Keypoints

# Folder, images, truth, and what to subtract: OTB counts pixels from 1.
BOXES = (
    ("otb_Crossing", "img", "groundtruth_rect.txt", 1.0),
    ("tld_pedestrian1", "img", "groundtruth.txt", 0.0),
    ("vot2015_bag", "color", "groundtruth.txt", 0.0),
)
JOINTS = ("bear", "dog-agility", "horsejump-low")
NEAR = 24.0


def read_boxes(path: Path, *, origin: float) -> NDArray[np.float64]:
    """``(T, 4)`` xyxy; polygons become their upright boxes."""
    rows = [[float(number) for number in re.split(r"[,\s]+", line.strip())] for line in path.read_text().splitlines() if line.strip()]
    table = np.array(rows) - origin * (np.arange(len(rows[0])) < 2)
    if table.shape[1] == 8:
        return np.stack([table[:, ::2].min(1), table[:, 1::2].min(1), table[:, ::2].max(1), table[:, 1::2].max(1)], 1)
    return np.concatenate([table[:, :2], table[:, :2] + table[:, 2:]], 1)


def box_iou(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Intersection over union of two xyxy boxes."""
    inner = np.clip(np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2]), 0, None).prod()
    return float(inner / ((one[2:] - one[:2]).prod() + (other[2:] - other[:2]).prod() - inner))


def follow_box(tracker: PropagationTracker, folder: Path, images: str, truth: NDArray[np.float64]) -> float:
    """Mean IoU over the later frames that have a box; 0 where the tracker has none."""
    overlaps = []
    with open_video(folder / images) as video:
        for answer in tracker.stream(video, {0: [Boxes(xyxy=truth[:1], names=("it",))]}):
            box, real = answer.objects[0].box, truth[answer.index]
            if answer.index and not np.isnan(real).any():
                overlaps.append(0.0 if box is None else box_iou(np.array(box), real))
    return float(np.mean(overlaps))


def follow_joints(tracker: PropagationTracker, images: Path, truth: Path) -> NDArray[np.float64]:
    """Distances in pixels of all later annotated joints that the first annotated frame has too."""
    known = json.loads(truth.read_text())
    names = tuple(known["joint_names"])
    table = {
        frame: np.array([(np.nan, np.nan) if xy is None else xy for xy in joints])
        for frame, joints in zip(known["frames"], known["xy"], strict=True)
    }
    first = min(table)
    distances: list[float] = []
    with open_video(images) as video:
        later = (frame for frame in video if frame.index >= first)
        for count, frame in enumerate(later):
            given = [Keypoints(xy=table[first], joints=names)]
            answer = tracker.start(frame, given) if count == 0 else tracker.step(frame)
            if count and frame.index in table:
                found = {point.name: (point.x, point.y) for point in answer.objects[0].points}
                pairs = [(found[name], xy) for name, xy in zip(names, table[frame.index], strict=True) if name in found]
                distances += [float(np.hypot(*(np.array(where) - xy))) for where, xy in pairs]
    return np.array([distance for distance in distances if not np.isnan(distance)])


def main() -> None:
    """Print a line a clip."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with boxes/, keypoints/ and davis/")
    parser.add_argument("--encoder", help="name; default: what is shipped")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--resolution", type=int, default=480, help="short side at which frames are seen")
    given = parser.parse_args()
    preset = replace(find_preset("default"), resolution=Resolution(pixels=given.resolution))
    tracker = PropagationTracker(load_encoder(given.encoder, weights=given.weights), preset, confidence=False)
    overlaps = []
    for name, images, truth, origin in BOXES:
        folder = given.data / "boxes" / name
        overlaps.append(follow_box(tracker, folder, images, read_boxes(folder / truth, origin=origin)))
        print(f"{name}: mean IoU {overlaps[-1]:.3f}", flush=True)
    every = []
    for name in JOINTS:
        images = given.data / "davis" / "JPEGImages" / "480p" / name
        every.append(follow_joints(tracker, images, given.data / "keypoints" / f"{name}.json"))
        print(f"{name}: {np.mean(every[-1] <= NEAR):.3f} of {len(every[-1])} joints near, median {np.median(every[-1]):.1f} px", flush=True)
    joints = np.concatenate(every)
    found = f"joints near {np.mean(joints <= NEAR):.3f}, median {np.median(joints):.1f} px"
    print(f"{tracker.encoder.name}: boxes {np.mean(overlaps):.3f}; {found}")


if __name__ == "__main__":
    main()
