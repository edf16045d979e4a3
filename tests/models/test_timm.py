"""timm networks as encoders, without any network access."""

import socket
import sys
import time

import pytest
import torch

from followspot.errors import EncoderError, SettingError
from followspot.models.encoder import Encoder, load_encoder
from followspot.models.timm import load_timm
from followspot.models.weights import save_weights

timm = pytest.importorskip("timm")

VIT = "vit_tiny_patch16_224"


@pytest.fixture(scope="module")
def vit_file(tmp_path_factory):
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("timm") / "vit.safetensors"
    network = timm.create_model(VIT).eval()
    save_weights(path, network, {})
    return path, network


def test_vit_on_frames_that_are_not_square(vit_file):
    path, network = vit_file
    encoder = load_timm(VIT, weights=path)
    assert isinstance(encoder, Encoder)
    assert (encoder.name, encoder.dim, encoder.stride, encoder.receives) == (f"timm:{VIT}", 192, 16, "rgb")
    assert encoder.license == "apache-2.0"
    with torch.inference_mode():
        assert encoder(torch.rand(2, 3, 64, 112)).shape == (2, 192, 4, 7)
        # At the size it was made for, the tokens are timm's own.
        frames = torch.rand(1, 3, 224, 224)
        tokens = network.forward_features((frames - 0.5) / 0.5)[:, 1:]
        torch.testing.assert_close(encoder(frames), tokens.transpose(1, 2).reshape(1, 192, 14, 14), atol=1e-5, rtol=1e-4)


def test_rows_and_columns_are_not_swapped():
    encoder = load_timm(VIT, pretrained=False)
    frames = torch.zeros(1, 3, 64, 160)
    with torch.inference_mode():
        plain = encoder(frames)
        frames[..., 16:32, 128:144] = 1
        change = (encoder(frames) - plain).norm(dim=1)[0]
    assert divmod(int(change.argmax()), 10) == (1, 8)


@pytest.mark.parametrize(
    ("model", "stride", "expected"), [("resnet18", None, (256, 8)), ("resnet18", 16, (256, 16)), ("convnext_atto", None, (160, 8))]
)
def test_convolutional_networks(model, stride, expected):
    encoder = load_timm(model, stride=stride, pretrained=False)
    assert (encoder.dim, encoder.stride) == expected
    with torch.inference_mode():
        assert encoder(torch.rand(1, 3, 64, 96)).shape == (1, expected[0], 64 // expected[1], 96 // expected[1])


def test_weights_reach_a_convolutional_network(tmp_path):
    network = timm.create_model("resnet18")
    save_weights(tmp_path / "w.safetensors", network, {})
    encoder = load_encoder("timm:resnet18", weights=tmp_path / "w.safetensors")
    assert torch.equal(encoder.network.layer3[1].conv2.weight, network.layer3[1].conv2.weight)


def test_wrong_weights_are_refused(vit_file, tmp_path):
    with pytest.raises(EncoderError, match=r"vit\.safetensors does not fit timm network 'resnet18'") as caught:
        load_timm("resnet18", weights=vit_file[0])
    assert "\n" not in str(caught.value)
    with pytest.raises(EncoderError, match="no weight file"):
        load_timm("resnet18", weights=tmp_path / "absent.pt")


def test_unknown_networks_and_strides():
    with pytest.raises(EncoderError, match="did you mean 'resnet18'"):
        load_timm("resnet81", pretrained=False)
    with pytest.raises(EncoderError, match="did you mean"):
        load_timm("qqqq", pretrained=False)
    with pytest.raises(SettingError, match="has stride 16, not 8"):
        load_timm(VIT, stride=8, pretrained=False)


def test_networks_that_cannot_be_dense():
    with pytest.raises(EncoderError, match="choose a ViT"):
        load_timm("mixer_s32_224", pretrained=False)


def test_missing_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(EncoderError, match=r"pip install 'followspot\[backbones\]'"):
        load_timm("resnet18")


@pytest.fixture
def empty_cache(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
    return constants


def test_offline_is_said_at_once(empty_cache, monkeypatch):
    # A port of this machine on which nobody listens: refused like a hub that is gone.
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(empty_cache, "ENDPOINT", f"http://127.0.0.1:{port}")
    start = time.monotonic()
    with pytest.raises(EncoderError, match=r"cannot be reached .*--weights FILE") as caught:
        load_timm("resnet18")
    assert time.monotonic() - start < 5
    assert "\n" not in str(caught.value)


def test_a_silent_hub_is_given_up_on(empty_cache, monkeypatch):
    monkeypatch.setattr("followspot.models.timm._HUB_SECONDS", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setattr(empty_cache, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        start = time.monotonic()
        with pytest.raises(EncoderError, match="cannot be reached"):
            load_timm("resnet18")
    assert time.monotonic() - start < 5


def test_offline_by_choice(empty_cache, monkeypatch):
    monkeypatch.setattr(empty_cache, "HF_HUB_OFFLINE", True)
    with pytest.raises(EncoderError, match="HF_HUB_OFFLINE is set"):
        load_timm("resnet18")


def test_published_weights_come_from_the_cache(vit_file, monkeypatch):
    import huggingface_hub

    def cached(repository, name):
        assert repository.startswith("timm/vit_tiny")
        return str(vit_file[0]) if name == "model.safetensors" else None

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", cached)
    encoder = load_encoder(f"timm:{VIT}")
    assert torch.equal(encoder.network.norm.weight, vit_file[1].norm.weight)


def answering_hub(monkeypatch, fetch, exists=lambda *_: True):
    import huggingface_hub

    monkeypatch.setattr("followspot.models.timm._require_hub", lambda *_: None)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(huggingface_hub, "file_exists", exists)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)


def test_published_weights_are_fetched(vit_file, monkeypatch):
    answering_hub(monkeypatch, lambda *_, etag_timeout: str(vit_file[0]))
    assert load_timm(VIT).stride == 16


def test_a_broken_fetch_is_one_line(monkeypatch):
    def broken(*_, etag_timeout):
        raise OSError("connection\nreset")

    answering_hub(monkeypatch, broken)
    with pytest.raises(EncoderError, match=r"cannot fetch the weights of 'resnet18' \(connection reset\).*--weights FILE"):
        load_timm("resnet18")
    answering_hub(monkeypatch, broken, exists=lambda *_: False)
    with pytest.raises(EncoderError, match="no weight file"):
        load_timm("resnet18")


def test_untrained_is_the_same_every_time():
    first, second = load_encoder("random:timm:resnet18"), load_encoder("random:timm:resnet18")
    assert first.name == "random:timm:resnet18"
    assert torch.equal(first.network.conv1.weight, second.network.conv1.weight)
