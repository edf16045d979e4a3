"""Weight files survive a round trip, and everything that is wrong with one is said in one line."""

import os
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from followspot.errors import EncoderError, OutputError
from followspot.models.weights import load_into, load_weights, save_weights


@pytest.fixture
def module():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def one_line(caught):
    assert "\n" not in str(caught.value)


def test_round_trip_keeps_tensors_and_card(module, tmp_path):
    path = tmp_path / "new" / "w.safetensors"
    card = {"data": "clips", "steps": 12, "scores": {"J": 0.5}, "name": "größe"}
    save_weights(path, module, card)
    state, read = load_weights(path)
    assert read == card
    assert state.keys() == module.state_dict().keys()
    assert all(torch.equal(state[key], value) for key, value in module.state_dict().items())
    assert [p.name for p in path.parent.iterdir()] == ["w.safetensors"]
    assert path.stat().st_mode & 0o044


def test_shared_and_strided_tensors_are_saved(tmp_path):
    module = nn.Linear(4, 4, bias=False)
    module.twin = module.weight
    module.weight.data = module.weight.data.t()
    save_weights(tmp_path / "w.safetensors", module, {})
    assert torch.equal(load_weights(tmp_path / "w.safetensors")[0]["weight"], module.weight)


def test_failed_save_leaves_the_old_file(module, tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    save_weights(path, module, {"version": 1})

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError, match="No space left") as caught:
        save_weights(path, module, {"version": 2})
    one_line(caught)
    assert load_weights(path)[1] == {"version": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_save_refuses_other_endings_folders_and_cards(module, tmp_path):
    with pytest.raises(OutputError, match="safetensors"):
        save_weights(tmp_path / "w.pt", module, {})
    with pytest.raises(OutputError, match="not JSON"):
        save_weights(tmp_path / "w.safetensors", module, {"loss": float("nan")})
    with pytest.raises(OutputError, match="not JSON"):
        save_weights(tmp_path / "w.safetensors", module, {"path": tmp_path})
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="another place"):
        save_weights(tmp_path / "file" / "w.safetensors", module, {})


def test_foreign_safetensors_has_an_empty_card(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "w.safetensors")
    assert load_weights(tmp_path / "w.safetensors")[1] == {}


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s, "epoch": 3}, lambda s: {"model": s}])
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("ending", [".pt", ".pth"])
def test_checkpoints_are_unwrapped(module, tmp_path, wrap, prefix, ending):
    path = tmp_path / f"w{ending}"
    torch.save(wrap({prefix + key: value for key, value in module.state_dict().items()}), path)
    state, card = load_weights(path)
    assert card == {}
    assert state.keys() == module.state_dict().keys()


@pytest.mark.parametrize("ending", [".safetensors", ".pt"])
@pytest.mark.parametrize("keep", [0, 7, 300, -20])
def test_truncated_files(module, tmp_path, ending, keep):
    path = tmp_path / f"w{ending}"
    if ending == ".pt":
        torch.save(module.state_dict(), path)
    else:
        save_weights(path, module, {})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(EncoderError, match="damaged") as caught:
        load_weights(path)
    one_line(caught)


def test_unknown_and_missing_files(tmp_path):
    with pytest.raises(EncoderError, match="no weight file"):
        load_weights(tmp_path / "absent.pt")
    (tmp_path / "w.onnx").write_bytes(b"x")
    with pytest.raises(EncoderError, match=r"\.safetensors, \.pt or \.pth"):
        load_weights(tmp_path / "w.onnx")


class Bomb:
    def __reduce__(self):
        return (os.mkdir, ("exploded",))


def test_pickled_code_is_never_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Bomb()}, "a.pt")
    (tmp_path / "b.pth").write_bytes(pickle.dumps(Bomb(), protocol=2))
    for name in ("a.pt", "b.pth"):
        with pytest.raises(EncoderError, match="never run") as caught:
            load_weights(tmp_path / name)
        one_line(caught)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("content", [{}, [torch.ones(1)], {"epoch": 3}, {"state_dict": {"a": 1}}])
def test_checkpoints_without_tensors(tmp_path, content):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(EncoderError, match="no tensors by name"):
        load_weights(tmp_path / "w.pt")


def test_load_into_fills_everything_and_reports_the_rest(module):
    state = {key: torch.full_like(value, 2) for key, value in module.state_dict().items()}
    state["fc.weight"] = torch.ones(1)
    assert load_into(module, state, source="w.pt", unused=("fc.",)) == ("fc.weight",)
    assert all((value == 2).all() for value in module.state_dict().values())
    del state["fc.weight"], state["1.num_batches_tracked"]
    assert load_into(module, state, source="w.pt") == ()


def test_load_into_says_what_does_not_fit(module):
    before = {key: value.clone() for key, value in module.state_dict().items()}
    state = {key: value + 1 for key, value in before.items()}
    with pytest.raises(EncoderError, match=r"w\.pt lacks 0\.weight; "):
        load_into(module, {key: value for key, value in state.items() if key != "0.weight"}, source="w.pt")
    with pytest.raises(EncoderError, match=r"lacks 0\.weight, 0\.bias, 1\.weight and 3 more"):
        load_into(module, {}, source="w.pt")
    with pytest.raises(EncoderError, match=r"also holds head\.weight,"):
        load_into(module, {**state, "head.weight": torch.ones(1), "fc.a": torch.ones(1)}, source="w.pt", unused=("fc.",))
    with pytest.raises(EncoderError, match=r"0\.bias of shape \(5,\), expected \(4,\)"):
        load_into(module, {**state, "0.bias": torch.ones(5)}, source="w.pt")
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
