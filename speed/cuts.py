"""How well cuts are found: real clips joined end to end (every join is a cut), and the same clips alone (where hardly any is).

python speed/cuts.py STORE [--clips 100]
"""

import argparse
import random
from pathlib import Path

import cv2
import numpy as np

from followspot.datasets.store import ClipStore
from followspot.io.change import ChangeMeter

FRAMES = 60
"""Looked at from each clip."""


def main() -> None:
    """Prints the share of joins that is found, and the alarms inside clips for a person to look at."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("--clips", type=int, default=100)
    arguments = parser.parse_args()
    store = ClipStore(arguments.store)
    order = random.Random(0).sample(range(len(store)), min(arguments.clips, len(store)))
    meter, found, frames, alarms = ChangeMeter(), 0, 0, []
    for number, index in enumerate(order):
        pictures = store.read(index, range(min(FRAMES, store.entries[index].frames)))
        for place, picture in enumerate(pictures):
            change = meter.add(np.asarray(cv2.resize(picture, (256, 256), interpolation=cv2.INTER_AREA), np.uint8))
            if place == 0:
                found += number > 0 and change.is_cut
            elif change.is_cut:
                alarms.append(f"{store.entries[index].origin} at frame {place}")
            frames += 1
    print(f"{found} of {len(order) - 1} joins found; {len(alarms)} alarms inside clips, in {frames} frames")
    print("\n".join(alarms))


if __name__ == "__main__":
    main()
