"""A short synthetic video on disk, and a tracker that is quick on it."""

from dataclasses import replace

import pytest

from followspot.datasets.synthetic import SyntheticVideo
from followspot.io.video import VideoWriter
from followspot.tracking.presets import PRESETS, Resolution
from followspot.tracking.propagation import PropagationTracker


@pytest.fixture(scope="session")
def truth():
    return SyntheticVideo(1, num_frames=20, height=96, width=128)


@pytest.fixture(scope="session")
def clip(truth, tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with VideoWriter(path, height=truth.height, width=truth.width, fps=20) as writer:
        for index in range(len(truth)):
            writer.write(truth.frame(index))
    return path


@pytest.fixture(scope="session")
def make_tracker():
    """A tracker that sees frames at 64 pixels; settings of the preset as keywords."""

    def make(*, confidence=True, **changes):
        preset = replace(PRESETS["default"], resolution=Resolution(pixels=64), **changes)
        return PropagationTracker("descriptor", preset, confidence=confidence, device="cpu")

    return make


@pytest.fixture(scope="session")
def contents():
    """Every file below a folder, hidden ones too, with its bytes."""

    def read(folder):
        return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}

    return read
