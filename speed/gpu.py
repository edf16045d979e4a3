"""Label propagation on a GPU: the Triton kernels and plain torch against the dense affinity of published scripts, on the same GPU.

    python speed/gpu.py                    needs a GPU that torch sees and triton; says so and ends with status 1 where there is none
    python speed/gpu.py --out gpu.json     keeps the figures
    python speed/gpu.py --interpret        no GPU: do all agree on tiny grids, with the kernels interpreted on the CPU? Measures nothing.

The dense baseline is that of `propagation.py`, on the GPU. All run in turn (A B C A B C) in one process on the same features; times are
medians from the GPU's own clock, after a warm-up in which Triton compiles and tries its tiles. Ours pay for packing the new frame.

The floor of a case is the longer of two times on this GPU: reading all packed frames once, at the rate of a large copy, and multiplying
every query with the keys of its window, at the rate of a large product in half precision. Both rates are measured here. "share" is the
floor over the time: 100 % cannot be passed.
"""

import argparse
import json
import os
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from propagation import dense, filled_bank, neighbourhood

TOP_K, RADIUS, LABELS, TEMPERATURE = 5, 12, 4, 0.1
"""As in `propagation.py`, whose dense baseline has them built in."""
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
CLOSE, TIES = 1e-4, 0.002
"""Labels may differ by so much, and more in so many cells: where candidates k and k + 1 tie, either may be kept."""


@dataclass(frozen=True)
class Case:
    """One size of problem."""

    name: str
    height: int
    width: int
    channels: int
    frames: int


CASES = (
    Case("ResNet-18, 480p", 60, 107, 256, 8),
    Case("ViT-S/8, 480p", 60, 107, 384, 8),
    Case("ResNet-18, 720p", 90, 160, 256, 8),
)
"""Grids at stride 8 with the first and seven previous frames."""
TINY = (Case("tiny", 5, 6, 16, 2), Case("tiny, more channels", 4, 5, 70, 3))


@dataclass(frozen=True)
class Row:
    """One way on one case."""

    case: str
    way: str
    seconds: float
    extra_megabytes: float
    floor_seconds: float
    different: float
    """Share of cells whose labels are not those of plain torch."""
    searched_again: float
    """Share of queries without a proof in half precision; NaN where there is none to give."""


def footage(case: Case, device: torch.device) -> tuple[list[Tensor], list[Tensor]]:
    """Features that drift and change a little from frame to frame, context first and the query last, and labels of the context."""
    generator = torch.Generator().manual_seed(0)
    scene = torch.randn(1, case.channels, case.height // 2, case.width // 2, generator=generator)
    scene = torch.nn.functional.interpolate(scene, (case.height + case.frames, case.width + case.frames), mode="bilinear")[0]
    shown = [scene[:, t : t + case.height, t : t + case.width] for t in range(case.frames + 1)]
    features = [(frame + 0.3 * torch.randn(frame.shape, generator=generator)).to(device) for frame in shown]
    ids = torch.randint(LABELS, (case.height, case.width), generator=generator)
    labels = torch.nn.functional.one_hot(ids, LABELS).permute(2, 0, 1).float().to(device)
    return features, [labels] * case.frames


def ways(features: list[Tensor], labels: list[Tensor], case: Case) -> dict[str, Callable[[], Tensor]]:
    """Each gives the labels (L, h, w) of the last frame."""
    from followspot.ops.backends import tiled
    from followspot.ops.backends.gpu import matching
    from followspot.ops.bank import FeatureBank, pack
    from followspot.ops.propagate import Affinity

    affinity = Affinity(top_k=TOP_K, temperature=TEMPERATURE, radius=RADIUS, radius_first=RADIUS)
    *context, query = features
    bank, spare = filled_bank(context, labels), FeatureBank(capacity=1)
    mask = neighbourhood(case.height, case.width, RADIUS).to(query.device)

    def plain() -> Tensor:
        found, _ = tiled.match(pack(query)[0], bank.entries, affinity)
        spare.push(query, found)
        return found

    def kernels(dtype: torch.dtype) -> Callable[[], Tensor]:
        def work() -> Tensor:
            found, _ = matching.match(pack(query)[0], bank.entries, affinity, dtype=dtype)
            spare.push(query, found)
            return found

        return work

    return {
        "dense": lambda: dense(query, context, labels, mask),
        "plain torch": plain,
        "triton float16": kernels(torch.float16),
        "triton bfloat16": kernels(torch.bfloat16),
    }


def searched_again(features: list[Tensor], labels: list[Tensor], dtype: torch.dtype) -> float:
    """Share of queries that were not proven."""
    from followspot.ops.backends.gpu import matching
    from followspot.ops.bank import pack
    from followspot.ops.propagate import Affinity

    affinity = Affinity(top_k=TOP_K, temperature=TEMPERATURE, radius=RADIUS, radius_first=RADIUS)
    again = matching.proven_match(pack(features[-1])[0], filled_bank(features[:-1], labels).entries, affinity, dtype=dtype)[2]
    return float(again.float().mean())


def seconds(work: Callable[[], object]) -> float:
    """Time of one call by the GPU's clock."""
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    start.record()
    work()
    end.record()
    torch.cuda.synchronize()
    return float(start.elapsed_time(end)) / 1000


def extra_memory(work: Callable[[], object]) -> float:
    """Peak of torch's allocations during one call above those before, in MB."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    work()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 1e6


def rates(device: torch.device) -> tuple[float, float]:
    """Bytes a second of a large copy (read and written), and operations a second of a large product in half precision."""
    block = torch.empty(2**28, device=device)
    target = torch.empty_like(block)
    square = torch.randn(8192, 8192, device=device, dtype=torch.float16)
    copies = [seconds(lambda: target.copy_(block)) for _ in range(10)]
    products = [seconds(lambda: square @ square) for _ in range(10)]
    return 2 * block.numel() * 4 / statistics.median(copies[2:]), 2 * 8192**3 / statistics.median(products[2:])


def floor_seconds(case: Case, bandwidth: float, operations: float) -> float:
    """What the case takes at least at these rates."""
    rows, columns = (
        sum(min(place + RADIUS, length - 1) - max(place - RADIUS, 0) + 1 for place in range(length)) for length in (case.height, case.width)
    )
    work = 2 * case.channels * case.frames * rows * columns
    traffic = 2 * case.channels * (case.frames + 1) * case.height * case.width
    return max(traffic / bandwidth, work / operations)


def differences(found: dict[str, Tensor]) -> dict[str, float]:
    """Share of cells in which each differs from plain torch."""
    return {way: float(((labels - found["plain torch"]).abs().amax(0) > CLOSE).float().mean()) for way, labels in found.items()}


def again_by_way(features: list[Tensor], labels: list[Tensor]) -> dict[str, float]:
    """For the ways that prove."""
    return {f"triton {name}": searched_again(features, labels, dtype) for name, dtype in DTYPES.items()}


def measure(case: Case, repeats: int, machine: tuple[float, float]) -> list[Row]:
    """All ways on one case."""
    features, labels = footage(case, torch.device("cuda"))
    each = ways(features, labels, case)
    different = differences({way: work() for way, work in each.items()})
    memory = {way: extra_memory(work) for way, work in each.items()}
    rounds = [{way: seconds(work) for way, work in each.items()} for _ in range(repeats)]
    again = again_by_way(features, labels)
    floor = floor_seconds(case, *machine)
    return [
        Row(
            case.name,
            way,
            statistics.median(turn[way] for turn in rounds),
            memory[way],
            floor,
            different[way],
            again.get(way, float("nan")),
        )
        for way in each
    ]


def interpret(console: Console) -> bool:
    """Whether all ways agree on tiny grids on the CPU."""
    good = True
    for case in TINY:
        features, labels = footage(case, torch.device("cpu"))
        different = differences({way: work() for way, work in ways(features, labels, case).items()})
        again = again_by_way(features, labels)
        console.print(f"{case.name}: share of cells that differ {different}, searched again {again}")
        good &= all(share <= TIES for share in different.values())
    return good


def show(console: Console, rows: list[Row]) -> None:
    """The table."""
    table = Table("case", "way", "ms", "times dense", "frames/s", "extra MB", "share of the floor", "cells that differ", "searched again")
    slow = {row.case: row.seconds for row in rows if row.way == "dense"}
    for row in rows:
        times = f"{1000 * row.seconds:.3f}", f"{slow[row.case] / row.seconds:.1f}", f"{1 / row.seconds:.0f}"
        shares = f"{row.floor_seconds / row.seconds:.1%}", f"{row.different:.2%}", f"{row.searched_again:.2%}"
        table.add_row(row.case, row.way, *times, f"{row.extra_megabytes:.0f}", *shares)
    console.print(table)


def main() -> int:
    """Print the table; exit status 1 where ways disagree or nothing could be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--interpret", action="store_true", help="check agreement on the CPU instead; measures nothing")
    parser.add_argument("--repeats", type=int, default=20, help="interleaved repeats (default 20)")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    arguments = parser.parse_args()
    console = Console(width=160)
    if arguments.interpret:
        os.environ["TRITON_INTERPRET"] = "1"
        return 0 if interpret(console) else 1
    if not torch.cuda.is_available():
        console.print(
            f"There is no GPU: torch {torch.__version__} sees none. Nothing was measured. --interpret checks the kernels without one."
        )
        return 1
    import triton

    bandwidth, operations = rates(torch.device("cuda"))
    about = f"{torch.cuda.get_device_name()}, torch {torch.__version__}, triton {triton.__version__}"
    console.print(f"{about}: copies at {bandwidth / 1e9:.0f} GB/s, products at {operations / 1e12:.0f} TFLOP/s in float16")
    with torch.inference_mode():
        rows = [row for case in CASES for row in measure(case, arguments.repeats, (bandwidth, operations))]
    show(console, rows)
    if arguments.out:
        figures = {
            "device": about,
            "bytes_per_second": bandwidth,
            "operations_per_second": operations,
            "rows": [asdict(row) for row in rows],
        }
        arguments.out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0 if all(row.different <= TIES for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
