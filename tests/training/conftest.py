"""A small store, and recipes that take seconds."""

import csv
from pathlib import Path

import pytest
import torch

from followspot.datasets.synthetic import SyntheticVideo
from followspot.io.writer import VideoWriter
from followspot.jobs.prepare import PrepareSettings, prepare


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """Four clips of twelve frames."""
    root = tmp_path_factory.mktemp("prepared")
    for seed in range(4):
        with VideoWriter(root / "videos" / f"{seed}.mp4", height=48, width=64, fps=24) as writer:
            for frame in SyntheticVideo(seed, num_frames=12, height=48, width=64):
                writer.write(frame.image)
    prepare([root / "videos"], root / "store", settings=PrepareSettings(), workers=1)
    return root / "store"


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Sums of several threads depend on how many there are, and other processes that these tests start have one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def read_losses():
    """What a run wrote down at each step, but for the time it took."""

    def read(run: Path):
        with (run / "metrics.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return {
            int(row.pop("step")): {key: value for key, value in row.items() if "second" not in key and key != "waiting"} for row in rows
        }

    return read
