"""All checkpoints of a run: one row each, the best kept, nothing done twice."""

import csv

import pytest
import torch

from followspot.benchmarks.selection import only
from followspot.benchmarks.synthetic import SyntheticBenchmark
from followspot.datasets.synthetic import SyntheticVideo
from followspot.errors import DatasetError, EncoderError, SettingError
from followspot.io.writer import VideoWriter
from followspot.jobs.prepare import PrepareSettings, prepare
from followspot.jobs.sweep import checkpoints_of, export_weights, parse_steps, sweep
from followspot.jobs.trackers import TrackerSpec
from followspot.jobs.train import train
from followspot.jobs.train_online import read_online_recipe
from followspot.models.encoder import load_encoder
from followspot.models.online_networks import build_online_network, load_online_network
from followspot.tracking.preset_file import change_preset
from followspot.tracking.presets import PRESETS
from followspot.training.recipe import read_recipe

PRESET = change_preset(PRESETS["default"], {"resolution": 32})
CHANGES = [
    "steps=6",
    "batch_size=2",
    "precision=float32",
    "data.where=memory",
    "data.crop.size=32",
    "log.checkpoint_every=2",
    "log.keep=9",
    "average=0.5",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Six steps of colorization with three checkpoints."""
    root = tmp_path_factory.mktemp("swept")
    with VideoWriter(root / "videos" / "0.mp4", height=48, width=64, fps=24) as writer:
        for frame in SyntheticVideo(0, num_frames=12, height=48, width=64):
            writer.write(frame.image)
    prepare([root / "videos"], root / "store", settings=PrepareSettings(), workers=1)
    train(read_recipe("colorization-small", changes=CHANGES), root / "store", root / "run", progress=False, device="cpu")
    return root / "run"


def tracker(weights, name):
    return TrackerSpec(name=name, weights=weights, preset=PRESET)


def benchmark():
    return only(SyntheticBenchmark(".", split="easy"), ["clip-2000"])


def test_f172_every_checkpoint_has_a_row_and_the_best_is_kept(run, tmp_path):
    report = sweep(run, benchmark(), tmp_path, data=None, tracker=tracker, workers=1)
    rows = list(csv.DictReader((tmp_path / "sweep.csv").open()))
    assert sorted(int(row["step"]) for row in rows) == [2, 4, 6]
    scores = [float(row["J&F-Mean"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert report.best_step == int(rows[0]["step"])
    own = tmp_path / f"step-{report.best_step:08d}" / "encoder.safetensors"
    assert report.best.read_bytes() == own.read_bytes()
    assert load_encoder(weights=report.best).name == "gray:resnet18"


def test_f172_a_sweep_goes_on_with_what_is_missing(run, tmp_path):
    computed = []

    def show_for(name):
        return lambda stage, done, total: computed.append(name) if stage == "tracking" else None

    sweep(run, benchmark(), tmp_path, data=None, steps=(3, 9), tracker=tracker, workers=1, show_for=show_for)
    assert set(computed) == {"step 4", "step 6"}
    computed.clear()
    report = sweep(run, benchmark(), tmp_path, data=None, tracker=tracker, workers=1, show_for=show_for)
    assert set(computed) == {"step 2"}
    assert len(report.table.rows) == 3


def test_the_averaged_encoder_is_what_is_exported(run, tmp_path):
    step, checkpoint = checkpoints_of(run)[-1]
    assert step == 6
    exported = export_weights(checkpoint, tmp_path)
    mine, theirs = (load_encoder(weights=path).state_dict() for path in (exported, run / "encoder.safetensors"))
    assert all(torch.equal(value, theirs[name]) for name, value in mine.items())


def test_f172_a_checkpoint_of_an_online_tracker_becomes_its_weights(tmp_path):
    network = build_online_network("siammask-lite-box")
    recipe = read_online_recipe("siammask-lite-box")
    state = {f"encoder.{name}": value for name, value in network.state_dict().items()} | {"objective.unused": torch.zeros(1)}
    torch.save({"followspot": {"recipe": recipe.to_yaml(), "steps_done": 7}, "state_dict": state}, tmp_path / "step-7.ckpt")
    weights = export_weights(tmp_path / "step-7.ckpt", tmp_path)
    loaded, card = load_online_network(weights)
    assert (weights.name, card["network"], card["steps"]) == ("network.safetensors", "siammask-lite-box", 7)
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in loaded.state_dict().items())


def test_damaged_and_missing_checkpoints_are_named(run, tmp_path):
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "step-00000001.ckpt").write_bytes(b"nothing")
    (folder / "best.ckpt").write_bytes(b"nothing")
    assert [step for step, _ in checkpoints_of(tmp_path / "run")] == [1]
    with pytest.raises(EncoderError, match=r"step-00000001\.ckpt is no checkpoint"):
        export_weights(folder / "step-00000001.ckpt", tmp_path)
    with pytest.raises(DatasetError, match="steps 2, 4, 6, none of them"):
        checkpoints_of(run, steps=(7, 9))
    with pytest.raises(DatasetError, match="folder of a training run"):
        checkpoints_of(tmp_path)


@pytest.mark.parametrize(("text", "steps"), [("100-2000", (100, 2000)), ("5", (5, 5)), ("7-7", (7, 7))])
def test_steps(text, steps):
    assert parse_steps(text) == steps


@pytest.mark.parametrize("text", ["", "-5", "9-1", "1-", "a-b", "1-2-3", "1.5"])
def test_what_are_no_steps(text):
    with pytest.raises(SettingError, match="100-2000"):
        parse_steps(text)
