"""Time of a whole video, from file to files: followed, masks and tables written, overlay drawn and encoded.

    python speed/track.py                                        made-up video of 480 x 854 pixels
    python speed/track.py --video FILE --mask FIRST.png          a real one, and the objects on its first frame
    python speed/track.py --json FILE                            keeps all figures
    python speed/track.py --quick                                small and short, for continuous integration

``followspot track`` overlaps its steps: while one frame is followed, the next ones are decoded and encoded, and the last ones are written.
It is compared with the same steps one after the other, in one process and in turn (A B A B ...), on the clock and by the time of all cores:
what overlapping costs shows in the latter, what it gains in the former, but only where cores are free. Then one more run, one after the
other, is taken apart. Exit status 1 where both do not leave the same bytes, whatever the time.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import torch
from rich.console import Console
from rich.table import Table

from followspot.cli.allocator import keep_freed_memory
from followspot.datasets.davis import read_ids
from followspot.datasets.synthetic import SyntheticVideo
from followspot.io.export import write_tracks_csv
from followspot.io.masks import read_mask, write_mask
from followspot.io.video import VideoWriter, open_video
from followspot.jobs.track import track_video
from followspot.tracking import answers as answers_module
from followspot.tracking import propagation as propagation_module
from followspot.tracking.both_ways import follow
from followspot.tracking.memory import Memory
from followspot.tracking.presets import PRESETS, Resolution
from followspot.tracking.propagation import PropagationTracker
from followspot.types import Masks
from followspot.viz.overlay import draw


class Scene:
    """A video and what is followed in it.

    Args:
        path: of the video.
        mask: its objects on the first frame.
        pixels: short side at which frames are encoded.
    """

    def __init__(self, path: Path, mask: Masks, *, pixels: int) -> None:
        self.path, self.mask = path, mask
        self.preset = replace(PRESETS["default"], resolution=Resolution(pixels=pixels))

    def tracker(self) -> PropagationTracker:
        """A new one: the default encoder, with confidence."""
        return PropagationTracker(None, self.preset, device="cpu")


def made_up(folder: Path, *, frames: int, height: int, width: int) -> tuple[Path, Masks]:
    """A video with two textured objects, and their masks on its first frame."""
    video = SyntheticVideo(num_frames=frames, height=height, width=width)
    path = folder / "made-up.mp4"
    with VideoWriter(path, height=height, width=width, fps=25) as writer:
        for frame in video:
            writer.write(frame.image)
    return path, Masks(ids=video.masks(0))


def shortened(path: Path, folder: Path, *, frames: int) -> Path:
    """The first frames of a video or a folder of images as an mp4."""
    short = folder / "video.mp4"
    with open_video(path) as video, VideoWriter(short, height=video.height, width=video.width, fps=video.fps) as writer:
        for frame in video.frames(0, frames):
            writer.write(frame.image)
    return short


def overlapping(scene: Scene, out: Path) -> None:
    """What `followspot track` does."""
    with open_video(scene.path) as video:
        track_video(video, {0: [scene.mask]}, scene.tracker(), out)


class Parts:
    """Seconds of all cores by the part of the work that took them; parts may lie in each other, and then only the inner one counts."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._inner = 0.0

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What passes in the block belongs to a part."""
        outer, self._inner, began = self._inner, 0.0, time.process_time()
        yield
        passed = time.process_time() - began
        self.seconds[name] += passed - self._inner
        self._inner = outer + passed

    def wrapped(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """A function whose calls belong to a part."""

        @wraps(work)
        def timed(*arguments: Any, **settings: Any) -> Any:
            with self.part(name):
                return work(*arguments, **settings)

        return timed

    def items(self, name: str, items: Iterator[Any]) -> Iterator[Any]:
        """The same items; making them belongs to a part."""
        while True:
            with self.part(name):
                item = next(items, None)
            if item is None:
                return
            yield item


def one_after_the_other(scene: Scene, out: Path, parts: Parts) -> None:
    """The same files but ``tracks.json``, each step when the one before it is done."""
    tracker, told = scene.tracker(), []
    with open_video(scene.path) as video:
        with parts.part("read out"):
            for _, answer in follow(tracker, video, {0: [scene.mask]}, look=lambda frames, *, first: parts.items("decode", frames)):
                with parts.part("write masks"):
                    assert answer.masks is not None
                    write_mask(out / f"masks/{answer.name}.png", answer.masks)
                told.append(replace(answer, masks=None))
        with VideoWriter(out / "overlay.mp4", height=video.height, width=video.width, fps=video.fps) as writer:
            for frame, answer in zip(parts.items("decode again", video.frames()), told, strict=True):
                with parts.part("read masks"):
                    shown = replace(answer, masks=read_ids(out / f"masks/{answer.name}.png"))
                with parts.part("draw"):
                    picture = draw(frame.image, shown)
                with parts.part("encode overlay"):
                    writer.write(picture, time_seconds=frame.time_seconds)
            with parts.part("encode overlay"):
                writer.close()
    with parts.part("write tables"):
        write_tracks_csv(out / "tracks.csv", told)


def taken_apart(scene: Scene, out: Path) -> dict[str, float]:
    """Seconds of each part."""
    parts = Parts()
    places: tuple[tuple[object, str, str], ...] = (
        (PropagationTracker, "encode", "encode"),
        (propagation_module, "propagate", "propagate"),
        (Memory, "push", "remember"),
        (answers_module, "_confidences", "confidence"),
    )
    patches = [mock.patch.object(where, name, parts.wrapped(part, getattr(where, name))) for where, name, part in places]
    for patch in patches:
        patch.start()
    try:
        one_after_the_other(scene, out, parts)
    finally:
        mock.patch.stopall()
    return dict(parts.seconds)


def measured(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the clock and of all cores."""
    clock, cores = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - cores


def same_files(ours: Path, plain: Path) -> bool:
    """Whether the files of one folder are in the other, byte for byte."""
    names = [path.relative_to(plain) for path in plain.rglob("*") if path.is_file()]
    return bool(names) and all((ours / name).read_bytes() == (plain / name).read_bytes() for name in names)


def environment(threads: int) -> dict[str, object]:
    """Where this was measured."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    return {
        "processor": next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "threads": threads,
        "wait policy": os.environ.get("OMP_WAIT_POLICY", "default"),
        "native": os.environ.get("FOLLOWSPOT_NATIVE", "auto"),
        "versions": {name: version(name) for name in ("followspot", "torch", "opencv-python-headless", "av", "numpy")},
    }


def spread(values: list[float]) -> list[float]:
    """Lower quartile, median, upper quartile."""
    return statistics.quantiles(values, n=4) if len(values) > 1 else values * 3


def measure(scene: Scene, folder: Path, *, frames: int, repeats: int) -> dict[str, Any]:
    """All figures of one video."""
    passes: list[dict[str, tuple[float, float]]] = []
    same = True
    for turn in range(repeats):
        ours, plain = folder / f"ours-{turn}", folder / f"plain-{turn}"
        passes.append(
            {
                "ours": measured(lambda: overlapping(scene, ours)),  # noqa: B023 called at once
                "plain": measured(lambda: one_after_the_other(scene, plain, Parts())),  # noqa: B023
            }
        )
        same &= same_files(ours, plain)
    parts = taken_apart(scene, folder / "parts")
    same &= same_files(folder / "ours-0", folder / "parts")
    return {
        "frames": frames,
        "same": same,
        "clock_seconds": {name: [one[name][0] for one in passes] for name in ("ours", "plain")},
        "core_seconds": {name: [one[name][1] for one in passes] for name in ("ours", "plain")},
        "clock_ratio": spread([one["plain"][0] / one["ours"][0] for one in passes]),
        "core_ratio": spread([one["plain"][1] / one["ours"][1] for one in passes]),
        "parts_core_ms_a_frame": {name: 1000 * seconds / frames for name, seconds in sorted(parts.items(), key=lambda item: -item[1])},
    }


def tables(found: dict[str, Any]) -> Iterator[Table]:
    """For people."""
    frames = found["frames"]
    whole = Table("", "clock ms a frame", "frames/s", "core ms a frame", title="whole run, medians")
    for name, told in (("ours", "overlapping"), ("plain", "one after the other")):
        clock, cores = (1000 * statistics.median(found[kind][name]) / frames for kind in ("clock_seconds", "core_seconds"))
        whole.add_row(told, f"{clock:.1f}", f"{1000 / clock:.1f}", f"{cores:.1f}")
    low, middle, high = found["clock_ratio"]
    cores = found["core_ratio"][1]
    whole.caption = f"on the clock {middle:.2f}x as fast ({low:.2f}-{high:.2f}), with {1 / cores:.2f}x the work"
    yield whole
    parts = found["parts_core_ms_a_frame"]
    split = Table("part", "core ms a frame", "share", title="one after the other, taken apart")
    for name, milliseconds in parts.items():
        split.add_row(name, f"{milliseconds:.2f}", f"{milliseconds / sum(parts.values()):.0%}")
    yield split


def main() -> int:
    """Prints the tables; exit status 1 where results differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path, help="file or folder of images; default: made up")
    parser.add_argument("--mask", type=Path, help="of the objects on its first frame")
    parser.add_argument("--frames", type=int, default=60, help="of the video (default 60)")
    parser.add_argument("--pixels", type=int, default=480, help="short side at which frames are encoded (default 480)")
    parser.add_argument("--repeats", type=int, default=5, help="interleaved (default 5)")
    parser.add_argument("--threads", type=int, default=2, help="torch threads (default 2)")
    parser.add_argument("--json", type=Path, help="file for all figures")
    parser.add_argument("--quick", action="store_true", help="24 frames of 120 x 212 pixels, 1 repeat")
    given = parser.parse_args()
    if (given.video is None) != (given.mask is None):
        parser.error("--video and --mask go together")
    if given.quick:
        given.frames, given.pixels, given.repeats = 24, 120, 1
    keep_freed_memory()  # as the command line does
    torch.set_num_threads(given.threads)
    cv2.setNumThreads(given.threads)
    console = Console(width=140)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if given.video is None:
            path, mask = made_up(folder, frames=given.frames, height=given.pixels, width=round(given.pixels * 16 / 9 / 2) * 2)
        else:
            path, mask = shortened(given.video, folder, frames=given.frames), read_mask(given.mask)
        found = measure(Scene(path, mask, pixels=given.pixels), folder, frames=given.frames, repeats=given.repeats)
    told = {"video": "made up" if given.video is None else given.video.name, "pixels": given.pixels, **environment(given.threads)}
    console.print(", ".join(f"{name} {value}" for name, value in told.items()))
    for table in tables(found):
        console.print(table)
    if given.json is not None:
        given.json.write_text(json.dumps({**told, **found}, indent=2) + "\n")
    console.print("same files" if found["same"] else "THE FILES DIFFER")
    return 0 if found["same"] else 1


if __name__ == "__main__":
    sys.exit(main())
