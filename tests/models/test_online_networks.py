"""Online networks by name and through files."""

from pathlib import Path

import pytest
import torch

from followspot.errors import EncoderError
from followspot.models.online_networks import ONLINE_NETWORKS, build_online_network, load_online_network, save_online_network
from followspot.models.weights import save_weights


@pytest.mark.parametrize("name", ONLINE_NETWORKS)
def test_a_network_is_called_what_it_was_asked_for(name):
    with torch.device("meta"):
        assert build_online_network(name).name == name


@pytest.mark.parametrize("name", ["siammask-lite-box", "s2iammask-lite"])
def test_weights_come_back_with_their_card(tmp_path, name):
    network = build_online_network(name)
    save_online_network(tmp_path / "x.safetensors", network, {"data": "none"})
    back, card = load_online_network(tmp_path / "x.safetensors")
    assert (back.name, back.training, card) == (name, False, {"data": "none", "network": name})
    for key, value in network.state_dict().items():
        assert torch.equal(back.state_dict()[key], value), key


def test_weights_kept_in_half_precision_load(tmp_path):
    network = build_online_network("siammask-lite-box")
    save_online_network(tmp_path / "x.safetensors", build_online_network("siammask-lite-box").half(), {})
    back, _ = load_online_network(tmp_path / "x.safetensors")
    assert {key: value.dtype for key, value in back.state_dict().items()} == {
        key: value.dtype for key, value in network.state_dict().items()
    }


def test_unknown_names_and_other_files(tmp_path):
    with pytest.raises(EncoderError, match="did you mean 'siammask-lite'"):
        build_online_network("siamask-lite")
    save_weights(tmp_path / "x.safetensors", torch.nn.Linear(1, 1), {"encoder": "resnet18"})
    with pytest.raises(EncoderError, match=r"x.safetensors is not of an online tracker"):
        load_online_network(tmp_path / "x.safetensors")


def test_the_snippet_of_the_page_runs(capsys):
    page = (Path(__file__).parents[2] / "docs" / "siammask.md").read_text(encoding="utf-8")
    snippet = page.split("```python\n")[1].split("```")[0]
    exec(compile(snippet, "siammask.md", "exec"), {})
    assert capsys.readouterr().out == "(4,) (1, 127, 127)\n"


def test_the_numbers_of_parameters_on_the_page():
    page = (Path(__file__).parents[2] / "docs" / "siammask.md").read_text(encoding="utf-8")
    for name in ONLINE_NETWORKS:
        with torch.device("meta"):
            millions = sum(parameter.numel() for parameter in build_online_network(name).parameters()) / 1e6
        row = next(line for line in page.splitlines() if line.startswith("|") and f"`{name}`" in line)
        assert f"{millions:.1f} M" in row, name
