"""``followspot convert``: a published file in, weights that load out, every unused name said."""

import importlib.util
import os
from pathlib import Path

import pytest
import torch

from followspot.errors import EncoderError
from followspot.models.encoder import load_encoder
from followspot.models.online_networks import load_online_network
from followspot.models.weights import load_weights

_spec = importlib.util.spec_from_file_location("make_foreign", Path(__file__).parents[1] / "models" / "make_foreign.py")
make_foreign = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make_foreign)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("published")


@pytest.mark.parametrize(
    ("layout", "name", "used", "unused"),
    [("corrflow", "corrflow-resnet18", 116, 0), ("timecycle", "timecycle-resnet50", 259, 64), ("videowalk", "videowalk-resnet18", 90, 32)],
)
def test_b8_convert_says_what_it_did_and_the_result_loads(folder, tmp_path, followspot, layout, name, used, unused):
    out = tmp_path / "weights" / "x.safetensors"
    said = followspot("convert", make_foreign.write(folder, layout), "--from", layout, "--out", out)
    assert said.code == 0, said.err
    assert said.err == ""
    assert f"saved {name} to {out}: {used} tensors used, {unused} not" in said.out
    listed = [line.split(": ")[1] for line in said.out.splitlines() if line.startswith("  not used: ")]
    assert len(listed) == unused
    encoder = load_encoder(weights=out)
    assert encoder.name == name
    assert list(encoder.card["converted"]["unused"]) == listed


def test_f048_the_stock_resnet50_loads_by_its_name(folder, tmp_path, followspot):
    out, stock = tmp_path / "x.safetensors", tmp_path / "y.safetensors"
    said = followspot("convert", make_foreign.write(folder, "timecycle"), "--from", "timecycle", "--out", out, "--torchvision-out", stock)
    assert said.code == 0, said.err
    assert f"saved a ResNet-50 through layer3 to {stock}" in said.out
    state, card = load_weights(stock)
    assert {key.split(".")[0] for key in state} == {"conv1", "bn1", "layer1", "layer2", "layer3"}
    assert (card["encoder"], card["stride"]) == ("resnet50", 8)
    frames = torch.rand(1, 3, 32, 48)
    with torch.inference_mode():
        assert torch.equal(load_encoder(weights=stock)(frames), load_encoder(weights=out).backbone(frames))


def test_f129_siammask_becomes_an_online_network_and_no_encoder(folder, tmp_path, followspot):
    out = tmp_path / "x.safetensors"
    said = followspot("convert", make_foreign.write(folder, "siammask"), "--from", "siammask", "--out", out)
    assert said.code == 0, said.err
    network, card = load_online_network(out)
    assert said.out == f"saved siammask to {out}: {len(network.state_dict())} tensors used, 0 not\n"
    assert card["converted"]["file"] == "SiamMask_DAVIS.pth"
    with pytest.raises(EncoderError, match="of the online tracker siammask, which is no encoder"):
        load_encoder(weights=out)


def test_stock_is_for_timecycle_only(tmp_path, followspot):
    said = followspot(
        "convert", "x.tar", "--from", "corrflow", "--out", tmp_path / "x.safetensors", "--torchvision-out", tmp_path / "y.safetensors"
    )
    assert said.refuses("--torchvision-out is for --from timecycle, not corrflow")
    same = ("--out", tmp_path / "x.safetensors", "--torchvision-out", tmp_path / "x.safetensors")
    assert followspot("convert", "x.tar", "--from", "timecycle", *same).refuses("give each its own file")


def test_bad_input_is_one_line_and_writes_nothing(folder, tmp_path, followspot):
    out = tmp_path / "x.safetensors"
    assert followspot("convert", tmp_path / "none.tar", "--from", "corrflow", "--out", out).refuses("none.tar does not exist")
    path = make_foreign.write(folder, "corrflow")
    assert followspot("convert", path, "--from", "videowalk", "--out", out).refuses("checkpoint.tar", "--from")
    assert followspot("convert", path, "--from", "corrflow", "--out", tmp_path / "x.pth").refuses("saved as .safetensors")
    assert followspot("convert", path, "--from", "uvc", "--out", out).code == 2
    assert not out.exists()


def test_b8_a_hostile_file_is_refused_and_not_run(tmp_path, followspot):
    class Bomb:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'written'}",)

    torch.save({"state_dict": Bomb()}, tmp_path / "checkpoint.tar")
    said = followspot("convert", tmp_path / "checkpoint.tar", "--from", "corrflow", "--out", tmp_path / "x.safetensors")
    assert said.refuses("posix.system", "never run")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.tar"]
