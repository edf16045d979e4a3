"""Time of the online tracker, against a plain evaluation of the same weights in single precision that computes the template on every frame.

    python speed/siammask.py                                            both networks, made-up video
    python speed/siammask.py --video FILE --box 40 30 90 80             a real one, and where the object is on its first frame
    python speed/siammask.py --quick                                    siammask-lite, few repeats, for continuous integration

The plain version is the network as it was trained: batch norms of their own, channels first, the mask branch over the whole grid, side
features padded whole. Ours is what the tracker runs (`followspot.models.siammask_inference`), in both precisions. First the network alone,
one search crop and one mask; then the whole tracker with decoding, crops, masks put back and outlines. All run in one process, in turn
(A A B B C C A A ..., the second of each counts: it finds its weights in the cache as it does on the next frame). With one thread CPU time
is compared, which other programs change little; with more, the time on the clock.

Without --weights the network is untrained: its batch norms have seen crops of the video, and its blocks add little to what they pass on, as
those of trained ones do. Exit status 1 where the versions disagree, whatever the time.
"""

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

from followspot.datasets.synthetic import SyntheticVideo
from followspot.io.video import VideoWriter, open_video
from followspot.models.online_networks import build_online_network, load_online_network
from followspot.models.resnet import BasicBlock, Bottleneck
from followspot.models.s2iammask import S2iamMask
from followspot.models.siammask import Proposals, SiamMask
from followspot.models.siammask_inference import Precision, has_bfloat16, prepare
from followspot.ops.anchors import decode_boxes
from followspot.ops.siamese_crops import Window, context_side, cut
from followspot.tracking.siamese import SiameseTracker
from followspot.tracking.siamese_settings import SIAMESE_PRESETS
from followspot.types import Boxes, Frame

NETWORKS = ("siammask-lite", "siammask")
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
WRONG = {"float32": 1e-4, "bfloat16": 0.2}
"""Root of the mean squared difference, as a share of what varies, above which something is wrong and not rounded."""
_LEVELS = ((2, 31, 15, 1, 4), (1, 61, 31, 2, 8), (0, 127, 61, 4, 16))
"""Refinement: which side feature, size afterwards, window, cells between places, padding."""

Answer = tuple[Tensor, Tensor, Tensor]
"""Probabilities of all proposals; at one place ``(4, K)`` boxes in pixels of the crop, and probabilities of the pixels of the mask."""


class Plain:
    """The network as it is, and the template anew with every search."""

    def __init__(self, network: SiamMask) -> None:
        self.network = network
        self.exemplar_size, self.instance_size, self.stride = network.exemplar_size, network.instance_size, network.stride
        self.anchors, self.mask_side = network.anchors, network.mask_side

    def template(self, crop: Tensor) -> Tensor:
        """Nothing is computed ahead."""
        return crop

    def search(self, template: Tensor, crop: Tensor) -> Proposals:
        """Both crops go through the network."""
        return self.network.search(self.network.template(template), crop)

    def masks(self, found: Proposals, places: Sequence[tuple[int, int]]) -> Tensor:
        """``(N, side, side)``, written out."""
        refinement, head = self.network.refinement, self.network.head("mask")
        correlation = head.correlate(found.template.kernels["mask"], found.features.map)
        if refinement is None:
            whole = head.readout(correlation)
            return torch.stack([whole[0, :, row, column].view(self.mask_side, self.mask_side) for row, column in places])
        drawn = []
        for row, column in places:
            x = refinement.start(correlation[:, :, row : row + 1, column : column + 1])
            for level, size, window, step, padding in _LEVELS:
                top, left = step * row, step * column
                side = functional.pad(found.features.sides[level], (padding,) * 4)[:, :, top : top + window, left : left + window]
                x = refinement.deep[level](x) + refinement.side[level](side)
                x = refinement.after[level](functional.interpolate(x, size=(size, size), mode="nearest"))
            drawn.append(x[0, 0])
        return torch.stack(drawn)


class Scene(NamedTuple):
    """A video and what is looked for."""

    video: Path
    box: NDArray[np.float64]
    """``(4,)`` xyxy on its first frame."""
    frames: list[Frame]
    exemplar: Tensor
    searches: list[Tensor]


def made_up(folder: Path, *, frames: int) -> tuple[Path, NDArray[np.float64]]:
    """A video of 480 x 854 pixels with two textured objects, and the box of the first."""
    video = SyntheticVideo(num_frames=frames, height=480, width=854)
    path = folder / "made-up.mp4"
    with VideoWriter(path, height=480, width=854, fps=25) as writer:
        for frame in video:
            writer.write(frame.image)
    return path, video.boxes(0)[0]


def stage(path: Path, box: NDArray[np.float64], *, frames: int) -> Scene:
    """Reads a video and cuts crops around the box, of its first frame and every tenth."""
    with open_video(path) as video:
        read = [video.frame(index) for index in range(min(frames, len(video)))]
    side = context_side(box[2] - box[0], box[3] - box[1])
    middle = (box[:2] + box[2:]) / 2

    def crop(frame: Frame, pixels: int) -> Tensor:
        window = Window.around(middle[0], middle[1], side * pixels / 127)
        shown = cut(frame.image, window, pixels=pixels, fill=frame.image.mean((0, 1)))
        return torch.from_numpy(shown).permute(2, 0, 1)[None].float() / 255

    return Scene(path, box, read, crop(read[0], 127), [crop(frame, 255) for frame in read[::10]])


def network_for(name: str, scene: Scene, *, weights: Path | None) -> SiamMask:
    """Trained, or untrained as the module says."""
    if weights is not None:
        loaded, _ = load_online_network(weights)
        if isinstance(loaded, S2iamMask) or not loaded.mask_side:
            raise SystemExit(f"{weights} is of {loaded.name}; give weights of a SiamMask with masks")
        return loaded
    torch.manual_seed(0)
    network = build_online_network(name)
    assert not isinstance(network, S2iamMask)
    for module in network.modules():
        if isinstance(module, BasicBlock | Bottleneck):
            nn.init.constant_((module.bn2 if isinstance(module, BasicBlock) else module.bn3).weight, 0.2)
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the plain mean of all that was seen
    exemplars, searches = (torch.cat([part, part.flip(3), part.flip(2), 0.7 * part]) for part in (scene.exemplar, scene.searches[-1]))
    with torch.no_grad():
        for _ in range(2):
            network.masks(network.search(network.template(exemplars), searches), (12, 12))
    return network.eval()


def one_frame(network: Plain | SiamMask, template: Any, crop: Tensor, *, place: tuple[int, int]) -> Answer:
    """What a tracker asks of the network in one frame."""
    found = network.search(template, crop)
    boxes = decode_boxes(found.deltas[0].float(), network.anchors.boxes())
    return found.probabilities, boxes[:, :, place[0], place[1]], network.masks(found, [place]).float().sigmoid()


def clock(threads: int) -> float:
    """Seconds: of the CPU for one thread."""
    return time.process_time() if threads == 1 else time.perf_counter()


def timed(work: Callable[[], object], *, threads: int) -> float:
    """Seconds of one call."""
    start = clock(threads)
    work()
    return clock(threads) - start


def spread(ratios: Sequence[float]) -> str:
    """Median, and the middle half."""
    low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else [ratios[0]] * 3
    return f"{middle:.2f}x ({low:.2f}-{high:.2f})"


def compare(ours: list[Answer], plain: list[Answer]) -> tuple[list[float], float]:
    """The largest difference of each part, of boxes as a share of their longer side; and root of mean square as a share of what varies."""
    largest, share = [0.0] * 3, 0.0
    for answers in zip(ours, plain, strict=True):
        sides = (answers[1][1][2:] - answers[1][1][:2]).amax(0)
        for part, (one, other) in enumerate(zip(*answers, strict=True)):
            off = (one - other).abs() / (sides if part == 1 else 1)
            largest[part] = max(largest[part], float(off.max()))
            share = max(share, float((one - other).square().mean().sqrt() / other.std(correction=0)))
    return largest, share


def measure_network(network: SiamMask, scene: Scene, *, threads: int, repeats: int, table: Table) -> bool:
    """Fills rows; whether all agree."""
    versions: dict[str, Plain | SiamMask] = {"plain": Plain(network)} | {one: prepare(network, precision=one) for one in PRECISIONS}
    dtypes = {name: torch.bfloat16 if name == "bfloat16" else torch.float32 for name in versions}
    layouts = {name: torch.contiguous_format if name == "plain" else torch.channels_last for name in versions}
    crops = {name: [crop.to(dtypes[name], memory_format=layouts[name]) for crop in scene.searches] for name in versions}
    templates = {name: version.template(scene.exemplar.to(dtypes[name])) for name, version in versions.items()}
    best = int(network.search(network.template(scene.exemplar), scene.searches[0]).probabilities.argmax())
    place = (best // 25 % 25, best % 25)
    answers = {name: [one_frame(versions[name], templates[name], crop, place=place) for crop in crops[name]] for name in versions}

    def seconds(name: str, at: int) -> float:
        work = partial(one_frame, versions[name], templates[name], crops[name][at], place=place)
        work()
        return timed(work, threads=threads)

    passes = [{name: seconds(name, turn % len(scene.searches)) for name in versions} for turn in range(repeats)]
    right = True
    for name in versions:
        largest, share = compare(answers[name], answers["plain"])
        right &= share <= WRONG.get(name, 0.0)
        milliseconds = 1000 * statistics.median(one[name] for one in passes)
        faster = spread([one["plain"] / one[name] for one in passes])
        figures = [f"{value:.1e}" for value in (*largest, share)]
        table.add_row(network.name, str(threads), name, f"{milliseconds:.1f}", f"{1000 / milliseconds:.1f}", faster, *figures)
    return right


def follow(tracker: SiameseTracker, scene: Scene) -> int:
    """A whole video from its file; how many frames were answered."""
    done = 0
    with open_video(scene.video) as video:
        for frame in video:
            if done == 0:
                tracker.start(frame, [Boxes(xyxy=scene.box[None], names=("it",))])
            else:
                tracker.step(frame)
            done += 1
            if done == len(scene.frames):
                break
    return done - 1


def decode(scene: Scene) -> None:
    """The same without a tracker."""
    with open_video(scene.video) as video:
        for index, _ in enumerate(video, 1):
            if index == len(scene.frames):
                break


def measure_tracker(network: SiamMask, scene: Scene, *, threads: int, repeats: int, table: Table) -> None:
    """Fills a row."""
    settings = SIAMESE_PRESETS["vot"]
    trackers = {"plain": SiameseTracker(Plain(network), settings), "ours": SiameseTracker(network, settings)}
    follow(trackers["ours"], scene)
    steps = len(scene.frames) - 1
    works = {name: partial(follow, tracker, scene) for name, tracker in trackers.items()} | {"decode": partial(decode, scene)}
    passes = [{name: timed(work, threads=threads) / steps for name, work in works.items()} for _ in range(repeats)]
    medians = {name: statistics.median(one[name] for one in passes) for name in passes[0]}
    table.add_row(
        network.name,
        str(threads),
        *(f"{1 / medians[name]:.1f}" for name in ("plain", "ours")),
        spread([one["plain"] / one["ours"] for one in passes]),
        *(f"{1000 * medians[name]:.1f}" for name in ("ours", "decode")),
    )


def heading(scene: Scene, weights: Path | None) -> str:
    """Where this was measured."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    processor = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    native = "native" if has_bfloat16() else "imitated"
    height, width = scene.frames[0].image.shape[:2]
    return (
        f"{processor}, {os.cpu_count()} cores, load {load}, bfloat16 {native}, torch {torch.__version__}, OpenCV {cv2.__version__}, "
        f"wait policy {os.environ.get('OMP_WAIT_POLICY', 'default')}\n"
        f"{len(scene.frames)} frames of {width} x {height}, weights {'untrained' if weights is None else weights.name}"
    )


def main() -> int:
    """Print both tables; exit status 1 where the versions disagree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path, help="file or folder of images; default: made up")
    parser.add_argument("--box", type=float, nargs=4, metavar=("X1", "Y1", "X2", "Y2"), help="of the object on the first frame")
    parser.add_argument("--network", choices=NETWORKS, nargs="+", default=NETWORKS, help="default: both")
    parser.add_argument("--weights", type=Path, help="of a SiamMask with masks, and then of it alone; default: untrained")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="torch threads (default 1 2)")
    parser.add_argument("--frames", type=int, default=40, help="of the video (default 40)")
    parser.add_argument("--repeats", type=int, default=15, help="of the network; of the tracker a fifth of it (default 15)")
    parser.add_argument("--quick", action="store_true", help="siammask-lite in one thread, 3 repeats, 6 frames")
    given = parser.parse_args()
    if (given.video is None) != (given.box is None):
        parser.error("--video and --box go together")
    if given.quick:
        given.threads, given.frames, given.repeats = [1], 6, 3
    names = NETWORKS[:1] if given.quick or given.weights else given.network
    console = Console(width=160)
    columns = ("network", "threads")
    alone = Table(
        *columns, "version", "ms a frame", "frames/s", "faster", "probabilities", "boxes / side", "masks", "rms / spread", title="network"
    )
    whole = Table(*columns, "plain frames/s", "ours frames/s", "faster", "ours ms", "of it decoding ms", title="tracker, from the file")
    right = True
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        path, box = made_up(Path(folder), frames=given.frames) if given.video is None else (given.video, np.array(given.box))
        scene = stage(path, box, frames=given.frames)
        console.print(heading(scene, given.weights))
        for name in names:
            with torch.inference_mode(mode=False):
                network = network_for(name, scene, weights=given.weights)
            for threads in given.threads:
                torch.set_num_threads(threads)
                cv2.setNumThreads(threads)
                right &= measure_network(network, scene, threads=threads, repeats=given.repeats, table=alone)
                measure_tracker(network, scene, threads=threads, repeats=max(1, given.repeats // 5), table=whole)
    console.print(alone)
    console.print(whole)
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
