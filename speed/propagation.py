"""Time and memory of label propagation, against the dense affinity that published evaluation scripts build.

    python speed/propagation.py            both resolutions
    python speed/propagation.py --quick    240p only, for continuous integration

The dense baseline follows the description of the DINO evaluation (Caron et al., 2021): for each context frame all (h·w)² similarities,
exponentiated before masking, concatenated over frames, thresholded at the k-th value of each query, normalised, multiplied with the
labels. Its neighbourhood mask is built once and not counted; multiplying by it happens in place, which favours the baseline. Ours pays for
packing the new frame into the bank. Both run in one process, in turn (A B A B), on the same smooth random features; medians are compared.

On a machine that others use, run it with OMP_WAIT_POLICY=passive: threads that spin while they wait for a core make many short kernels
several times slower, and the dense baseline has few kernels.
"""

import argparse
import ctypes
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from followspot.ops.bank import FeatureBank
from followspot.ops.propagate import Affinity, propagate

RESOLUTIONS = {"240p": (30, 54), "480p": (60, 107)}
"""Feature grids at stride 8 of 240 × 428 and 480 × 856 frames."""
CHANNELS, FRAMES, RADIUS, TOP_K, LABELS, TEMPERATURE = 256, 8, 12, 5, 4, 0.1
"""ResNet-18 features at stride 8; the rest are the DINO script's defaults with the first and seven previous frames."""


class Row(NamedTuple):
    """What one resolution measured; seconds are medians, memory is in MB above the loaded features."""

    name: str
    dense_seconds: float
    ours_seconds: float
    dense_memory: float
    ours_memory: float
    difference: float


def neighbourhood(height: int, width: int, radius: int) -> Tensor:
    """The dense baseline's mask, (h·w, h·w): 1 where two cells lie within a square of the radius."""
    y, x = torch.arange(height), torch.arange(width)
    rows = (y[:, None] - y).abs() <= radius
    columns = (x[:, None] - x).abs() <= radius
    return (rows[:, None, :, None] & columns[None, :, None, :]).view(height * width, -1).float()


def dense(query: Tensor, context: list[Tensor], labels: list[Tensor], mask: Tensor) -> Tensor:
    """The affinity written out, for (C, h, w) features and (L, h, w) labels. Returns (L, h, w)."""
    keys = normalize(torch.stack(context).flatten(2), dim=1)
    queries = normalize(query.flatten(1).t(), dim=1).expand(len(keys), -1, -1)
    affinity = torch.exp(torch.bmm(queries, keys) / TEMPERATURE)
    affinity *= mask
    affinity = affinity.transpose(2, 1).reshape(-1, len(mask))
    threshold = affinity.topk(TOP_K, dim=0).values[-1:]
    affinity = torch.where(affinity < threshold, 0.0, affinity)
    affinity = affinity / affinity.sum(0, keepdim=True)
    sources = torch.cat([label.flatten(1) for label in labels], dim=1)
    return (sources @ affinity).view(-1, *query.shape[1:])


def footage(height: int, width: int) -> tuple[list[Tensor], list[Tensor]]:
    """Features that drift and change a little from frame to frame, context first and the query last, and blocky labels."""
    torch.manual_seed(0)
    scene = interpolate(torch.randn(1, CHANNELS, height // 2, width // 2), (height + FRAMES, width + FRAMES), mode="bilinear")[0]
    features = [scene[:, t : t + height, t : t + width] + 0.3 * torch.randn(CHANNELS, height, width) for t in range(FRAMES + 1)]
    ids = interpolate(torch.randint(LABELS, (1, 1, 5, 8)).float(), (height, width))[0, 0].long()
    return features, [torch.nn.functional.one_hot(ids, LABELS).permute(2, 0, 1).float()] * FRAMES


def filled_bank(features: list[Tensor], labels: list[Tensor]) -> FeatureBank:
    """The first frame as reference, the others in the ring."""
    bank = FeatureBank(capacity=len(features) - 1)
    bank.add_reference(features[0], labels[0], key=0)
    for frame, label in zip(features[1:], labels[1:], strict=True):
        bank.push(frame, label)
    return bank


def resident(field: str) -> float:
    """A memory field of this process in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith(field))


def extra_memory(work: Callable[[], object]) -> float:
    """Peak resident memory of one call above what was resident before, in MB; NaN where the system does not tell."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return float("nan")
    before = resident("VmRSS")
    work()
    return resident("VmHWM") - before


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(name: str, *, repeats: int) -> Row:
    """Compare both on one resolution."""
    height, width = RESOLUTIONS[name]
    features, labels = footage(height, width)
    query, context = features[-1], features[:-1]
    affinity = Affinity(top_k=TOP_K, temperature=TEMPERATURE, radius=RADIUS, radius_first=RADIUS)
    ours_memory = extra_memory(lambda: propagate(query, filled_bank(context, labels), affinity))
    mask = neighbourhood(height, width, RADIUS)
    dense_memory = extra_memory(lambda: dense(query, context, labels, mask))
    bank = filled_bank(context, labels)
    difference = float((propagate(query, bank, affinity).labels - dense(query, context, labels, mask)).abs().max())
    spare = filled_bank(context, labels)

    def step() -> None:
        spare.push(query, propagate(query, bank, affinity).labels)

    pairs = [(seconds(lambda: dense(query, context, labels, mask)), seconds(step)) for _ in range(repeats)]
    dense_seconds, ours_seconds = (statistics.median(column) for column in zip(*pairs, strict=True))
    return Row(name, dense_seconds, ours_seconds, dense_memory, ours_memory, difference)


def processor() -> str:
    """The CPU's name."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def main() -> int:
    """Print the table; exit status 1 where both disagree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="240p only")
    parser.add_argument("--repeats", type=int, default=5, help="interleaved repeats (default 5)")
    parser.add_argument("--threads", type=int, default=2, help="torch threads (default 2)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    console = Console(width=140)
    waiting = os.environ.get("OMP_WAIT_POLICY", "default")
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    threads = f"{arguments.threads} threads (wait policy {waiting}), load {load}"
    console.print(f"{processor()}, {os.cpu_count()} cores, {threads}, torch {torch.__version__}, {platform.system()}")
    console.print(
        f"C = {CHANNELS}, {FRAMES} frames, radius {RADIUS}, top-{TOP_K}, {LABELS} labels, {arguments.repeats} interleaved repeats"
    )
    table = Table("grid", "dense s", "ours s", "faster", "dense extra MB", "ours extra MB", "smaller", "max difference")
    with torch.inference_mode():
        rows = [measure(name, repeats=arguments.repeats) for name in (["240p"] if arguments.quick else RESOLUTIONS)]
    for row in rows:
        faster, smaller = row.dense_seconds / row.ours_seconds, row.dense_memory / row.ours_memory
        times = f"{row.dense_seconds:.3f}", f"{row.ours_seconds:.3f}", f"{faster:.1f}x"
        table.add_row(row.name, *times, f"{row.dense_memory:.0f}", f"{row.ours_memory:.0f}", f"{smaller:.1f}x", f"{row.difference:.1e}")
    console.print(table)
    return 0 if all(row.difference <= 1e-4 for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
