"""Trackers by name."""

import numpy as np
import pytest
import torch

from followspot.errors import EncoderError, SettingError
from followspot.jobs.trackers import BASELINES, TrackerSpec, find_tracker, is_weights, read_name
from followspot.models.networks import build_network
from followspot.models.weights import save_weights
from followspot.tracking.base import Tracker
from followspot.tracking.flow import FlowTracker
from followspot.tracking.presets import PRESETS
from followspot.tracking.propagation import PropagationTracker


def save(path, *, seed=0, card=None):
    torch.manual_seed(seed)
    save_weights(path, build_network("resnet18"), {"encoder": "resnet18"} if card is None else card)
    return path


@pytest.mark.parametrize("name", BASELINES)
def test_f112_every_baseline_is_a_tracker_that_can_be_built(name):
    spec = find_tracker(name, preset=PRESETS["crw"])
    assert isinstance(spec.build(), Tracker)
    assert (spec.name, spec.settings()["method"]) == (name, name)
    assert "preset" not in spec.settings()


def flow_of_ones_own(first, second):
    return np.zeros((2, *first.shape[:2]))


def test_f112_a_flow_of_ones_own_is_a_tracker_under_its_own_name():
    spec = find_tracker(f"flow:{__name__}:flow_of_ones_own", preset=PRESETS["crw"])
    assert spec.name == spec.settings()["method"] == f"flow:{__name__}:flow_of_ones_own"
    assert isinstance(spec.build(), FlowTracker)
    assert spec.build().method == f"{__name__}:flow_of_ones_own"
    assert ":" not in spec.slug
    with pytest.raises(SettingError, match="cannot be imported"):
        find_tracker("flow:no.such.module:flow")


def test_encoders_by_name():
    tracker = find_tracker("default", device="cpu").build()
    assert isinstance(tracker, PropagationTracker)
    assert (tracker.encoder.name, tracker.preset, tracker.confidence) == ("descriptor", PRESETS["default"], False)
    spec = find_tracker("random:resnet18", preset=PRESETS["crw"], stride=4, device="cpu")
    tracker = spec.build()
    assert (tracker.encoder.name, tracker.encoder.stride, tracker.preset.name) == ("random:resnet18", 4, "crw")
    assert spec.name == "random:resnet18@crw"
    assert spec.slug == "random-resnet18-crw"


def test_weights_and_runs_are_named_by_what_tells_them_apart(tmp_path):
    run = save(tmp_path / "runs/walk/encoder.safetensors").parent
    assert find_tracker(str(run)).name == "walk"
    assert find_tracker(str(run / "encoder.safetensors")).name == "walk"
    assert find_tracker(str(save(tmp_path / "moco.safetensors"))).name == "moco"
    assert find_tracker(str(run)).build().encoder.name == "resnet18"
    assert is_weights(run)
    assert is_weights(run / "encoder.safetensors")
    assert not is_weights(tmp_path)


def test_settings_know_weights_by_their_content(tmp_path):
    first = find_tracker(str(save(tmp_path / "a.safetensors", seed=1))).settings()
    moved = find_tracker(str(save(tmp_path / "b.safetensors", seed=1))).settings()
    assert first | {"name": ""} == moved | {"name": ""}
    assert first["name"] != moved["name"]
    save(tmp_path / "a.safetensors", seed=2)
    assert find_tracker(str(tmp_path / "a.safetensors")).settings()["weights"] != first["weights"]
    assert first["preset"] | {"name": ""} == find_tracker("descriptor").settings()["preset"] | {"name": ""}
    assert first["preset"] != find_tracker("descriptor", preset=PRESETS["crw"]).settings()["preset"]


def test_weights_without_a_card_need_the_name_of_their_network(tmp_path):
    torch.manual_seed(0)
    torch.save(build_network("resnet18").state_dict(), tmp_path / "bare.pth")
    spec = find_tracker(f"resnet18:{tmp_path / 'bare.pth'}", device="cpu")
    assert (spec.name, spec.encoder, spec.build().encoder.name) == ("bare", "resnet18", "resnet18")
    with pytest.raises(EncoderError, match=r"bare\.pth does not say which network it is for"):
        find_tracker(str(tmp_path / "bare.pth")).build()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("descriptor", (None, "descriptor", None)),
        ("descriptor@crw", (None, "descriptor", "crw")),
        ("ours=runs/1/encoder.safetensors@out/best.yaml", ("ours", "runs/1/encoder.safetensors", "out/best.yaml")),
        ("my own=flow:dis", ("my own", "flow:dis", None)),
        ("timm:resnet50.a1=b", ("timm:resnet50.a1", "b", None)),
        ("runs/lr=1/encoder.safetensors", (None, "runs/lr=1/encoder.safetensors", None)),
        ("@crw", (None, "@crw", None)),
    ],
)
def test_names_are_taken_apart(text, expected):
    assert read_name(text) == expected


def test_paths_that_exist_are_left_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in ("a=b", "a@b"):
        (tmp_path / path).mkdir()
        assert read_name(path) == (None, path, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("identiy", 'no tracker is called "identiy"; did you mean "identity"'),
        ("flow:diss", 'did you mean "flow:dis"'),
        ("descripter", 'did you mean "descriptor"'),
        ("qqqq", "choose from: default, identity, template, flow:dis"),
        ("nowhere/encoder.safetensors", "there are no weights: nowhere/encoder.safetensors does not exist"),
        ("resnet18:nowhere.pth", "there are no weights: nowhere.pth does not exist"),
    ],
)
def test_unknown_names_tell_the_nearest(text, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingError, match=message):
        find_tracker(text)


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(SettingError, match=r"holds no encoder\.safetensors, so it is no finished training run"):
        find_tracker(str(tmp_path))


def test_slugs_are_folders_whatever_the_name():
    assert [TrackerSpec(name=name).slug for name in ("a b/c:d", "../..", "descriptor (changed)", "größe")] == [
        "a-b-c-d",
        "tracker",
        "descriptor-changed",
        "größe",
    ]
