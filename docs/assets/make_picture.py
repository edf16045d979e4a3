"""Makes the picture of the README: two synthetic videos, followed from what is given in their first frame.

    python docs/assets/make_picture.py [--out docs/assets/overview.png]

Nothing is touched up: the rows show what the tracker answers with its default settings. The videos have no sensor noise and gentle light,
which keeps the PNG small. Takes about a minute on one core.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

import followspot as fs
from followspot.datasets.motion import Difficulty

SHOWN = (0, 7, 14, 21)
"""Frames that are shown; the first one is what was given."""
HEIGHT, WIDTH = 216, 288
COLOURS = 256
"""Of the saved PNG: keeps it small enough for the first screen of a repository page."""
DIFFICULTY = Difficulty(noise=0, lighting=0.3)


def masks(video: fs.SyntheticVideo) -> list[fs.Masks]:
    """All objects as one id map."""
    return [fs.Masks(ids=video.masks(0), names={1: "stone", 2: "cloud"})]


def box_and_joints(video: fs.SyntheticVideo) -> list[fs.Boxes | fs.Keypoints]:
    """A box around the object in front, and what is visible of the points on the other one as joints."""
    xy, visible = video.points(0)
    behind = (video.owners == 1) & visible
    order = np.flatnonzero(behind)[np.argsort(xy[behind, 1])]
    joints = tuple(f"joint {i}" for i in range(len(order)))
    limbs = tuple((i, i + 1) for i in range(len(order) - 1))
    return [
        fs.Boxes(xyxy=video.boxes(0)[-1:], names=("cup",)),
        fs.Keypoints(xy=xy[order], joints=joints, skeleton=limbs, name="puppet"),
    ]


def row(video: fs.SyntheticVideo, given: list[fs.Masks] | list[fs.Boxes | fs.Keypoints]) -> list[np.ndarray]:
    """Follows what is given and draws the shown frames."""
    skeletons = {a.name: a.skeleton for a in given if isinstance(a, fs.Keypoints)}
    pictures = []
    for answer in fs.PropagationTracker("descriptor").stream(video, {0: given}):
        if answer.index in SHOWN:
            pictures.append(fs.draw(video.frame(answer.index), answer, skeletons=skeletons))
    return pictures


def main() -> None:
    """Writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("overview.png"))
    out = parser.parse_args().out
    frames = max(SHOWN) + 1
    first, second = (fs.SyntheticVideo(seed, num_frames=frames, height=HEIGHT, width=WIDTH, difficulty=DIFFICULTY) for seed in (1, 0))
    sheet = fs.contact_sheet(row(first, masks(first)) + row(second, box_and_joints(second)), columns=len(SHOWN))
    Image.fromarray(sheet).quantize(COLOURS, dither=Image.Dither.NONE).save(out, optimize=True)
    print(f"{out}: {sheet.shape[1]}x{sheet.shape[0]}, {out.stat().st_size // 1024} KB")


if __name__ == "__main__":
    main()
