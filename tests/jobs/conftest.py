"""A short synthetic video on disk, and a tracker that is quick on it."""

from dataclasses import replace

import pytest
from PIL import Image

from followspot.benchmarks.davis import DavisBenchmark
from followspot.datasets.synthetic import SyntheticVideo
from followspot.io.masks import write_mask
from followspot.io.video import VideoWriter
from followspot.jobs.evaluate import evaluate
from followspot.jobs.trackers import TrackerSpec
from followspot.tracking.presets import PRESETS, Resolution
from followspot.tracking.propagation import PropagationTracker
from followspot.training.table import StepTable


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


@pytest.fixture(scope="session")
def two_videos(tmp_path_factory):
    """A DAVIS 2017 val of two drawn videos, one of them with a name that is markup."""
    root = tmp_path_factory.mktemp("davis")
    names = ("plain", 'b<i>&"q"')
    for seed, name in enumerate(names):
        video = SyntheticVideo(seed + 5, num_frames=9 + 3 * seed, height=64, width=96)
        for index in range(len(video)):
            write_mask(root / "Annotations/480p" / name / f"{index:05d}.png", video.masks(index))
            image = root / "JPEGImages/480p" / name / f"{index:05d}.jpg"
            image.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(video.frame(index)).save(image, quality=95)
    path = root / "ImageSets/2017/val.txt"
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(names) + "\n")
    return root


@pytest.fixture(scope="session")
def compared(two_videos, tmp_path_factory):
    """Results of identity and of the descriptor on the two videos, as `followspot compare` leaves them."""
    out = tmp_path_factory.mktemp("compared")
    preset = replace(PRESETS["default"], resolution=Resolution(pixels=64))
    benchmark = DavisBenchmark(two_videos)
    for spec in (TrackerSpec(name="identity", method="identity"), TrackerSpec(name="<u>ours</u>", encoder="descriptor", preset=preset)):
        evaluate(benchmark, spec, out / spec.slug, data=two_videos, workers=1)
    return out


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """The log of a training run."""
    folder = tmp_path_factory.mktemp("trained") / "my run"
    log = StepTable(folder / "metrics.csv", ("seconds", "loss", "lr"))
    log.resume(0)
    for step in range(10, 60, 10):
        log.append(step, {"seconds": step / 2, "loss": 10 / step, "lr": 1e-3, "accuracy": step / 100})
    return folder
