"""A run that is killed goes on with the numbers that it would have had (B3, F085, F092, F097)."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from followspot.errors import OutputError, SettingError
from followspot.jobs.train import train
from followspot.training.module import TrainingModule
from followspot.training.recipe import parse_recipe, read_recipe

STEPS = 32
EVERY = 6
COMMON = {
    "name": "tiny",
    "steps": STEPS,
    "batch_size": 2,
    "log": {"every": 1, "checkpoint_every": EVERY, "keep": 2, "pictures_every": 1000},
    "optimizer": {"lr": "cosine 1e-3 0 warmup 5", "clip": 1.0},
}
# Everything that has a memory: replay, colour centres, running statistics, an average of weights, Adam, the place in the store.
COLORS = COMMON | {
    "encoder": {"name": "gray:resnet18"},
    "objectives": {
        "colorization": {
            **{"num_ref": 2, "clusters": 4, "kmeans_interval": 3, "kmeans_steps": 2, "kmeans_points": 32},
            **{"temperature": 0.5, "normalize": True},
        }
    },
    "data": {
        "pattern": {"frames": 3, "gap": 1, "gap_max": 2},
        "crop": {"size": 24, "zoom": [0.5, 1.0], "flip_probability": 0.5},
        "jitter": {"brightness": 0.2, "hue": 0.1, "probability": 0.5},
        "still_share": 0.25,
        "workers": 0,
    },
    "replay": {"capacity": 8, "min_size": 4, "train_interval": 1},
    "average": 0.9,
}
OTHERS = {
    "replay-on-disk-and-batch-renormalisation": COLORS
    | {
        "encoder": {"name": "colorizer-resnet-v2", "dim": 8, "renorm": {"rmax": 3, "dmax": 2}},
        "replay": {"capacity": 6, "min_size": 3, "storage": "disk", "encoding": "jpeg"},
    },
    "two-objectives-and-workers": COMMON
    | {
        "objectives": {
            "dense_contrast": {"frames": 2, "anchors": 2, "cross_view_cells": 2, "equivariance_weight": 0.5},
            "random_walk": {"frames": 3, "head_dim": 8, "weight": 0.3},
        },
        "data": {"pattern": {"frames": 3}, "crop": {"size": 32}, "still_share": 0.5, "workers": 1},
    },
    "cycles-held-in-memory": COMMON
    | {
        "objectives": {"cycle_time": {"image_size": 48, "base_frames": 1}},
        "data": {"pattern": {"frames": 3}, "crop": {"size": 48}, "where": "memory", "workers": 0},
        "optimizer": {"name": "sgd", "lr": 0.01, "freeze": {"encoder.layer1": 0.4}, "multipliers": {"encoder": 0.5}},
    },
    "flow-with-a-teacher": COMMON
    | {
        "encoder": {"name": "resnet18", "stride": 4},
        "objectives": {"correspondence_flow": {"radius": 2, "clusters": 4, "kmeans_points": 32, "teacher": "linear 0.0:0.9 1.0:0.1"}},
        "data": {"pattern": {"frames": 3}, "crop": {"size": 32}, "where": "device", "workers": 0},
    },
}


def same_weights(one, other):
    first, second = (load_file(run / "encoder.safetensors") for run in (one, other))
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def kill_when(process, rows, metrics):
    """Kill -9 as soon as the run has written so many steps."""
    while process.poll() is None:
        if metrics.is_file() and len(metrics.read_text(encoding="utf-8").splitlines()) > rows:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return
        time.sleep(0.01)
    raise AssertionError(process.stderr.read())


@pytest.mark.usefixtures("one_thread")
def test_f085_f092_f097_kill_and_resume_gives_the_losses_of_an_uninterrupted_run(store, tmp_path, read_losses):
    recipe = parse_recipe(COLORS)
    (tmp_path / "tiny.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    command = [sys.executable, "-m", "followspot", "train", str(tmp_path / "tiny.yaml"), "--device", "cpu"]
    command += ["--data", str(store), "--out", str(killed)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    # Any step after a checkpoint will do; the row of a step is there just before its checkpoint. The message of a failure names the step.
    at = random.Random().randrange(EVERY + 1, 2 * EVERY + 1)
    train(recipe, store, whole, device="cpu", progress=False)
    kill_when(process, at, killed / "metrics.csv")
    assert process.returncode == -signal.SIGKILL
    assert not (killed / "encoder.safetensors").exists()
    assert at <= len(read_losses(killed)) < STEPS - 4, "killed too late to tell anything"
    assert list((killed / "checkpoints").glob("step-*.ckpt"))
    result = train(recipe, store, killed, resume=True, device="cpu", progress=False)
    assert result.steps == STEPS
    assert read_losses(killed) == read_losses(whole), f"killed at step {at}"
    assert len(read_losses(whole)) == STEPS
    assert same_weights(whole, killed)


class Crash(Exception):
    """What happens to a run."""


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", list(OTHERS))
def test_f092_every_objective_resumes_exactly(name, store, tmp_path, read_losses, monkeypatch):
    recipe = parse_recipe(OTHERS[name] | {"steps": 6, "log": {"every": 1, "checkpoint_every": 3, "pictures_every": 1000}})
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(recipe, store, whole, device="cpu", progress=False)
    step = TrainingModule.training_step

    def crashing(self, batch, index):
        if self.steps_done == 5:
            raise Crash
        return step(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingModule, "training_step", crashing)
        with pytest.raises(Crash):
            train(recipe, store, broken, device="cpu", progress=False)
    assert sorted(read_losses(broken)) == [1, 2, 3, 4, 5]
    train(recipe, store, broken, resume=True, device="cpu", progress=False)
    assert read_losses(broken) == read_losses(whole)
    assert same_weights(whole, broken)


@pytest.mark.usefixtures("one_thread")
def test_f097_seeds_decide(store, tmp_path, read_losses):
    losses = []
    for number, seed in enumerate((0, 0, 1)):
        recipe = parse_recipe(COLORS | {"steps": 2, "seed": seed})
        train(recipe, store, tmp_path / str(number), device="cpu", progress=False)
        losses.append(read_losses(tmp_path / str(number)))
    assert losses[0] == losses[1]
    assert losses[0][1] != losses[2][1]


@pytest.mark.usefixtures("one_thread")
def test_a_finished_run_resumes_to_the_same_result_and_others_are_refused(store, tmp_path, read_losses):
    recipe = parse_recipe(COLORS | {"steps": 3})
    run = tmp_path / "run"
    train(recipe, store, run, device="cpu", progress=False)
    before = read_losses(run)
    assert train(recipe, store, run, resume=True, device="cpu", progress=False).steps == 3
    assert read_losses(run) == before
    assert read_recipe(str(run / "recipe.yaml")) == recipe
    with pytest.raises(OutputError, match="is not empty; add --resume"):
        train(recipe, store, run, device="cpu", progress=False)
    with pytest.raises(SettingError, match=r"has another recipe \(different: seed\)"):
        train(parse_recipe(COLORS | {"steps": 3, "seed": 5}), store, run, resume=True, device="cpu", progress=False)
    with pytest.raises(OutputError, match=r"no run in .* to resume"):
        train(recipe, store, tmp_path / "absent", resume=True, device="cpu", progress=False)
