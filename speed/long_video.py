"""Does memory stay the same however long the video is? Streams a synthetic 240p video and watches the resident memory.

python speed/long_video.py                  10,000 frames (about 20 minutes on two cores)
python speed/long_video.py --frames 500     the small version that CI runs

Exits with 1 if the memory after the last frame is more than 50 MB above that after frame 200.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

import followspot as fs
from followspot.datasets.synthetic import SyntheticVideo

WARM_UP = 200
LIMIT_MB = 50.0


def resident_mb() -> float:
    """Resident memory of this process, MB (Linux)."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


def frames_of(video: SyntheticVideo, count: int) -> Iterator[fs.Frame]:
    """Frames of a short video played forward and backward again and again, so that the objects never leave."""
    period = 2 * len(video) - 2
    for index in range(count):
        at = index % period
        image = video.frame(at if at < len(video) else period - at)
        yield fs.Frame(image=image, index=index, time_seconds=index / 24, name=f"{index:05d}")


def main() -> int:
    """Streams, prints a table, and says whether memory stayed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--no-confidence", action="store_true")
    options = parser.parse_args()
    if options.frames <= WARM_UP:
        parser.error(f"--frames must be above {WARM_UP}")

    video = SyntheticVideo(num_frames=120)
    xy, visible = video.points(0)
    given = [fs.Masks(ids=video.masks(0)), fs.Points(xy=xy[visible], names=tuple(f"point {i}" for i in range(int(visible.sum()))))]
    preset = replace(fs.PRESETS["default"], resolution=fs.Resolution(pixels=240))
    tracker = fs.PropagationTracker("descriptor", preset, confidence=not options.no_confidence)
    began, base = time.perf_counter(), 0.0
    print(f"{'frame':>7} {'resident MB':>12} {'frames/s':>9}")
    for answer in tracker.stream(frames_of(video, options.frames), {0: given}):
        done = answer.index + 1
        if done == WARM_UP:
            base = resident_mb()
        if done == WARM_UP or done == options.frames or (done % 1000 == 0 and done > WARM_UP):
            print(f"{done:>7} {resident_mb():>12.1f} {done / (time.perf_counter() - began):>9.1f}", flush=True)
    growth = resident_mb() - base
    verdict = "constant" if growth <= LIMIT_MB else "GROWING"
    print(f"{growth:+.1f} MB between frame {WARM_UP} and frame {options.frames} (limit {LIMIT_MB:.0f} MB): {verdict}")
    return 0 if growth <= LIMIT_MB else 1


if __name__ == "__main__":
    sys.exit(main())
