"""Every backend of label propagation on this machine beside two ways of published scripts, in turns in one process.

    python speed/backends.py               480p: 60 × 107 cells, C = 256, 8 frames, radius 12, top-5
    python speed/backends.py --quick       240p

Dense follows the description of the DINO evaluation (`propagation.py`), chunks that of space-time random walks (Jabri et al., 2020):
queries a few hundred at a time against all keys of all frames, a mask of -inf beyond the radius, top-k, softmax. Their masks are built once
and not counted. Ours pay for packing the new frame. Medians are compared; where other programs want the cores, seconds of the processor say
more than those of the clock, so both are told. The exit status is 1 where the answers differ, never because of a time.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn.functional import normalize

from followspot.ops.backends.native import library
from followspot.ops.propagate import Affinity, propagate
from propagation import (
    CHANNELS,
    FRAMES,
    LABELS,
    RADIUS,
    RESOLUTIONS,
    TEMPERATURE,
    TOP_K,
    dense,
    extra_memory,
    filled_bank,
    footage,
    neighbourhood,
    processor,
)

CHUNK = 500
"""Queries at a time in the chunked baseline: 500 × 8 × 6420 scores are 103 MB."""


def chunked(query: Tensor, context: list[Tensor], labels: list[Tensor], mask: Tensor) -> Tensor:
    """All keys for a few queries at a time; ``mask`` (h·w, h·w) is -inf beyond the radius. Returns (L, h, w)."""
    keys = normalize(torch.stack(context).flatten(2), dim=1)
    queries = normalize(query.flatten(1).t(), dim=1)
    sources = torch.cat([label.flatten(1) for label in labels], dim=1).t()
    parts = []
    for start in range(0, len(queries), CHUNK):
        rows = slice(start, start + CHUNK)
        scores = (queries[rows] @ keys + mask[rows]).transpose(0, 1).flatten(1)
        best, places = scores.topk(TOP_K, dim=1)
        parts.append(((best / TEMPERATURE).softmax(1)[:, :, None] * sources[places]).sum(1))
    return torch.cat(parts).t().view(-1, *query.shape[1:])


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of the clock and of the processor that one call takes."""
    wall, processor_time = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - processor_time


def ways(height: int, width: int) -> tuple[dict[str, Callable[[], Tensor]], dict[str, Callable[[], Tensor]]]:
    """The baselines and ours, all on the same features; calling one carries the labels to the last frame."""
    features, labels = footage(height, width)
    query, context = features[-1], features[:-1]
    affinity = Affinity(top_k=TOP_K, temperature=TEMPERATURE, radius=RADIUS, radius_first=RADIUS)
    near = neighbourhood(height, width, RADIUS)
    beyond = torch.zeros_like(near).masked_fill_(near == 0, -torch.inf)
    bank, spare = filled_bank(context, labels), filled_bank(context, labels)

    def ours(path: str) -> Tensor:
        os.environ[library.VARIABLE] = path
        found = propagate(query, bank, affinity).labels
        # What a new frame costs: the last of the ring is packed anew, as if it had just come in.
        bank.entries[1].packed.clear()
        spare.push(query, found)
        return found

    baselines = {"dense": lambda: dense(query, context, labels, near), "chunks": lambda: chunked(query, context, labels, beyond)}
    return baselines, {path: lambda path=path: ours(path) for path in ("off", *library.usable())}


def main() -> int:
    """Print the table; exit status 1 where the answers differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="240p, two repeats")
    parser.add_argument("--repeats", type=int, default=5, help="interleaved repeats (default 5)")
    parser.add_argument("--threads", type=int, default=2, help="torch threads (default 2)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with torch.inference_mode():
        baselines, ours = ways(*RESOLUTIONS["240p" if arguments.quick else "480p"])
        every = baselines | ours
        answers: dict[str, Tensor] = {}
        memory = {name: extra_memory(lambda name=name: answers.update({name: every[name]()})) for name in every}
        different = {name: float((answer - answers["dense"]).abs().max()) for name, answer in answers.items()}
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in every}
        for _ in range(2 if arguments.quick else arguments.repeats):
            for name, work in every.items():
                times[name].append(timed(work))
    console = Console(width=140)
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    console.print(f"{processor()}, {os.cpu_count()} cores, load {load}, {arguments.threads} threads, torch {torch.__version__}")
    console.print(f"C = {CHANNELS}, {FRAMES} frames, radius {RADIUS}, top-{TOP_K}, {LABELS} labels; native: {library.state()}")
    wall, used = ({name: statistics.median(pair[i] for pair in pairs) for name, pairs in times.items()} for i in (0, 1))
    table = Table("way", "clock s", "processor s", "least..most", "vs dense (clock, processor)", "vs chunks", "extra MB", "difference")
    for name in every:
        spread = f"{min(pair[1] for pair in times[name]):.3f}..{max(pair[1] for pair in times[name]):.3f}"
        ratios = [f"{wall[of] / wall[name]:.1f}x {used[of] / used[name]:.1f}x" for of in ("dense", "chunks")]
        title = {"off": "torch tiled"}.get(name, name if name in baselines else f"native {name}")
        table.add_row(title, f"{wall[name]:.3f}", f"{used[name]:.3f}", spread, *ratios, f"{memory[name]:.0f}", f"{different[name]:.1e}")
    console.print(table)
    return 0 if max(different.values()) <= 1e-4 else 1


if __name__ == "__main__":
    sys.exit(main())
