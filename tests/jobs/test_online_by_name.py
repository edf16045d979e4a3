"""Online trackers by name, weights file, training run and preset, as every command takes them."""

import pickle
from dataclasses import replace

import pytest
import torch

from followspot.errors import EncoderError, SettingError
from followspot.jobs.confidences import RecordingTracker
from followspot.jobs.siamese import SiameseSpec, find_siamese, is_online, usual_preset
from followspot.jobs.trackers import find_tracker, is_weights
from followspot.models import online_networks
from followspot.models.networks import build_network
from followspot.models.online_networks import ONLINE_NETWORKS, build_online_network, save_online_network, shipped_weights
from followspot.models.weights import read_card, save_weights
from followspot.tracking.base import Tracker
from followspot.tracking.presets import PRESETS
from followspot.tracking.siamese import SiameseTracker
from followspot.tracking.siamese_settings import SIAMESE_PRESETS


def save(path, name="siammask-lite-base"):
    torch.manual_seed(0)
    save_online_network(path, build_online_network(name), {"trained": "no"})
    return path


@pytest.fixture
def run(tmp_path):
    """A training run of an online tracker."""
    save(tmp_path / "runs/sharp/network.safetensors")
    return tmp_path / "runs/sharp"


def test_weights_files_and_runs(run, tmp_path):
    for text, name in (
        (run, "sharp"),
        (run / "network.safetensors", "sharp"),
        (save(tmp_path / "mine.safetensors"), "mine"),
    ):
        spec = find_tracker(str(text), device="cpu")
        assert isinstance(spec, SiameseSpec)
        assert (spec.name, spec.slug, spec.preset) == (name, name, SIAMESE_PRESETS["lite"])
        assert is_weights(text)
        assert isinstance(spec.build(), SiameseTracker)
    assert find_tracker(str(run), preset=SIAMESE_PRESETS["davis"]).name == "sharp@davis"
    assert find_tracker(str(run), preset=SIAMESE_PRESETS["davis"], name="ours").name == "ours"


def test_weights_of_encoders_are_no_online_trackers(tmp_path):
    torch.manual_seed(0)
    save_weights(tmp_path / "encoder.safetensors", build_network("resnet18"), {"encoder": "resnet18"})
    torch.save(build_network("resnet18").state_dict(), tmp_path / "bare.pth")
    for text in (tmp_path, tmp_path / "encoder.safetensors", tmp_path / "bare.pth", "descriptor", "nowhere.safetensors", "timm:resnet50"):
        assert not is_online(str(text))
    assert not isinstance(find_tracker(str(tmp_path)), SiameseSpec)
    (tmp_path / "broken.safetensors").write_bytes(b"no")
    with pytest.raises(EncoderError, match=r"broken\.safetensors is damaged"):
        is_online(str(tmp_path / "broken.safetensors"))


@pytest.mark.parametrize("name", ONLINE_NETWORKS)
def test_names_whose_weights_are_not_there_say_what_to_do(name, tmp_path, monkeypatch):
    monkeypatch.setattr(online_networks, "__file__", str(tmp_path / "online_networks.py"))
    assert is_online(name)
    with pytest.raises(EncoderError, match=rf"no weights come with {name}; .*followspot train {name} .*--from siammask"):
        find_tracker(name)
    save(tmp_path / f"{name}.safetensors", "siammask-lite-box")
    assert shipped_weights(name) == tmp_path / f"{name}.safetensors"
    assert find_tracker(name).name == name


def test_a_card_is_read_without_the_tensors(tmp_path):
    assert read_card(save(tmp_path / "a.safetensors")) == {"network": "siammask-lite-base", "trained": "no"}
    assert read_card(tmp_path / "a.pth") == {}


def test_presets_are_those_of_the_kind_of_tracker(run):
    with pytest.raises(SettingError, match="is an online tracker and takes no preset of propagation; choose from: vot, vot18, davis"):
        find_tracker(str(run), preset=PRESETS["crw"])
    with pytest.raises(SettingError, match="descriptor is no online tracker"):
        find_tracker("descriptor", preset=SIAMESE_PRESETS["davis"])
    with pytest.raises(SettingError, match='did you mean "siammask-lite"'):
        find_tracker("siamask-lite")


def test_f123_a_network_without_masks_is_asked_for_upright_boxes(tmp_path):
    spec = find_siamese(str(save(tmp_path / "box.safetensors", "siammask-lite-box")), preset=SIAMESE_PRESETS["davis"])
    assert (spec.name, spec.preset) == ("box@davis", replace(SIAMESE_PRESETS["davis"], output="axis-aligned"))
    assert spec.settings()["preset"]["output"] == "axis-aligned"
    assert isinstance(spec.build(), Tracker)


def test_it_can_be_sent_to_other_processes_and_remember_its_scores(run):
    spec = find_tracker(str(run), device="cpu").with_confidence()
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert isinstance(spec.build(), RecordingTracker)
    assert spec.settings() == find_tracker(str(run)).settings()
    assert spec.build().confidence


def test_the_usual_preset_is_ours_for_our_networks_and_the_published_one_for_others(tmp_path):
    names = ("davis", "davis-2016", "davis-2017", "youtube-vos", "vot2018", "otb", "synthetic")
    large, small = save(tmp_path / "large.safetensors", "siammask-box"), save(tmp_path / "small.safetensors", "siammask-lite-box")
    assert [usual_preset(str(large), benchmark=name) for name in names] == ["davis"] * 4 + ["vot"] * 3
    assert {usual_preset(str(small), benchmark=name) for name in names} == {"lite"}
    assert find_tracker(str(large)).name == "large"
    assert find_tracker(str(large), preset=SIAMESE_PRESETS["lite"]).name == "large@lite"
