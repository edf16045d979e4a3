"""Two gloo processes compute the gradients of one with the joined batch, through the real module, loader and strategy (B3, F094)."""

import os
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from torch import distributed
from torch.optim.optimizer import register_optimizer_step_pre_hook

from followspot.errors import SettingError
from followspot.jobs import train as job
from followspot.training.module import TrainingModule
from followspot.training.recipe import parse_recipe

COMMON = {
    "name": "joined",
    "steps": 2,
    "batch_size": 4,
    "optimizer": {"name": "sgd", "lr": 0.01},
}
COLORS = {"num_ref": 2, "clusters": 4, "kmeans_interval": 1, "kmeans_steps": 2, "kmeans_points": 32, "temperature": 0.5, "normalize": True}
RECIPES = {
    "colorization": COMMON
    | {
        "encoder": {"name": "gray:resnet18"},
        "objectives": {"colorization": COLORS},
        "data": {
            "pattern": {"frames": 3},
            "crop": {"size": 24, "flip_probability": 0.5},
            "jitter": {"brightness": 0.2, "per_frame": True},
            "still_share": 0.5,
            "workers": 0,
        },
        "average": 0.9,
    },
    "batch-renormalisation": COMMON
    | {
        "encoder": {"name": "colorizer-resnet-v2", "dim": 8, "renorm": {"rmax": 3, "dmax": 5}},
        "objectives": {"colorization": COLORS | {"head": "linear", "feature_dim": 8}},
        "data": {"pattern": {"frames": 3}, "crop": {"size": 24}, "workers": 0},
    },
    "dense-contrast-and-random-walk": COMMON
    | {
        "objectives": {
            "dense_contrast": {"frames": 2, "anchors": 2, "cross_view_cells": 2, "equivariance_weight": 0.5},
            "random_walk": {"frames": 3, "head_dim": 8, "weight": 0.3},
        },
        "data": {"pattern": {"frames": 3}, "crop": {"size": 32}, "where": "memory", "workers": 0},
    },
    "correspondence-flow": COMMON
    | {
        "steps": 1,
        "encoder": {"name": "resnet18", "stride": 4},
        "objectives": {"correspondence_flow": {"radius": 2, "clusters": 4, "kmeans_points": 32, "teacher": 0.5}},
        "data": {"pattern": {"frames": 3}, "crop": {"size": 32}, "workers": 0},
    },
    "cycle-time": COMMON
    | {
        "steps": 1,
        "objectives": {"cycle_time": {"image_size": 48, "base_frames": 1}},
        "data": {"pattern": {"frames": 3}, "crop": {"size": 48}, "workers": 0},
    },
    "single-image-colorization": COMMON
    | {
        "encoder": {"name": "gray:resnet18"},
        "objectives": {"single_image_colorization": {"frames": 2, "spacing": 25}},
        "data": {"pattern": {"frames": 2}, "crop": {"size": 24}, "workers": 0},
    },
}

# Every process keeps clips of its own.
REPLAY = RECIPES["colorization"] | {
    "steps": 4,
    "log": {"every": 1, "checkpoint_every": 2, "keep": 2, "pictures_every": 100},
    "replay": {"capacity": 5, "min_size": 3, "train_interval": 1},
}


class InDouble(TrainingModule):
    """The module in float64: what then differs is not rounding, which a deep network makes a hundred times larger."""

    def configure_model(self):
        super().configure_model()
        self.double()

    def batch_of(self, raw):
        clips = super().batch_of(raw)
        return replace(clips, frames=clips.frames.double(), clean=clips.clean.double())


class Silent:
    """Writes nothing on the way."""

    seconds = 0.0
    best_score = None

    def __init__(self, *_, **__):
        pass

    def all(self):
        return []


def run_all(store, out):
    """Train every recipe, and keep the gradients of every step."""
    gradients = {}
    for name, content in RECIPES.items():
        kept = gradients[name] = []

        def keep(optimizer, *_, kept=kept):
            kept.append([parameter.grad.clone() for group in optimizer.param_groups for parameter in group["params"]])

        handle = register_optimizer_step_pre_hook(keep)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(job, "TrainingModule", InDouble)
            patch.setattr(job, "RunCallbacks", Silent)
            job.train(parse_recipe(content), store, out / name, device="cpu", progress=False)
        handle.remove()
    return gradients


def run_and_resume(store, out):
    """Train with replay, and again from the middle."""
    whole, again = out / "replay", out / "replay-resumed"
    job.train(parse_recipe(REPLAY), store, whole, device="cpu", progress=False)
    if os.environ["RANK"] == "0":
        shutil.copytree(whole, again, ignore=shutil.ignore_patterns("step-00000004.ckpt", "encoder.safetensors"))
    distributed.barrier()
    job.train(parse_recipe(REPLAY), store, again, resume=True, device="cpu", progress=False)


def be_one_of_two(store, out):
    run_and_resume(store, out)
    return run_all(store, out)


@pytest.fixture(scope="module")
def both(store, tmp_path_factory, in_two_processes):
    """Gradients and run folders of one process, and of two."""
    root = tmp_path_factory.mktemp("processes")
    together = in_two_processes(__file__, "be_one_of_two", store, root / "two")
    return run_all(store, root / "one"), together(), root


def differ(one, other):
    """Largest difference, in units of the largest gradient."""
    largest = max(float(gradient.abs().max()) for gradient in one)
    return max(float((a - b).abs().max()) for a, b in zip(one, other, strict=True)) / largest


@pytest.mark.parametrize("name", list(RECIPES))
def test_f094_two_processes_have_the_gradients_of_one(name, both):
    alone, together, _ = both
    assert len(alone[name]) == RECIPES[name]["steps"]
    for step in range(len(alone[name])):
        assert differ(alone[name][step], together[0][name][step]) <= 1e-6
        assert all(torch.equal(a, b) for a, b in zip(together[0][name][step], together[1][name][step], strict=True))


@pytest.mark.parametrize("name", list(RECIPES))
def test_f094_two_processes_leave_the_encoder_of_one(name, both):
    _, _, root = both
    one, two = (load_file(root / count / name / "encoder.safetensors") for count in ("one", "two"))
    assert one.keys() == two.keys()
    assert all(torch.allclose(one[key].double(), two[key].double(), rtol=1e-5, atol=1e-6) for key in one)


def test_f092_each_process_goes_on_with_the_replay_that_it_had(both, store, tmp_path, read_losses):
    _, _, root = both
    whole, again = root / "two" / "replay", root / "two" / "replay-resumed"
    assert read_losses(again) == read_losses(whole)
    one, other = load_file(whole / "encoder.safetensors"), load_file(again / "encoder.safetensors")
    assert all(torch.equal(one[key], other[key]) for key in one)
    kept = torch.load(whole / "checkpoints" / "step-00000002.ckpt", weights_only=True)["followspot"]["loaders"]
    assert len(kept) == 2
    assert not torch.equal(kept[0]["buffer"]["clips"]["clips"], kept[1]["buffer"]["clips"]["clips"])
    shutil.copytree(whole, tmp_path / "run")
    with pytest.raises(SettingError, match="the run had 2 processes, each with replay of its own, not 1; resume with as many"):
        job.train(parse_recipe(REPLAY), store, tmp_path / "run", resume=True, device="cpu", progress=False)
