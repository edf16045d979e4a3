"""The prepared copy of SiamMask and S2iamMask gives what the network gives; bfloat16 is taken only where processors have it."""

import pytest
import torch
from torch import nn

from followspot.errors import SettingError
from followspot.models import siammask_inference
from followspot.models.online_networks import build_online_network
from followspot.models.resnet import BasicBlock, Bottleneck
from followspot.models.s2iammask import S2iamMask
from followspot.models.siammask_inference import choose_dtype, prepare
from followspot.models.winograd import WinogradConv2d

CPU = torch.device("cpu")
PLACES = torch.tensor([[0, 12, 12], [0, 0, 24], [0, 3, 21]])
BOXES = torch.tensor([[60.0, 80, 150, 170], [-20, 100, 40, 260]])


def scene():
    """``(1, 3, 255, 255)``: coarse and fine things, as images have."""
    draw = torch.Generator().manual_seed(1)
    parts = [torch.rand(1, 3, cells, cells, generator=draw) for cells in (6, 24, 96)]
    return sum(nn.functional.interpolate(part, (255, 255), mode="bicubic") for part in parts).div(3).clamp(0, 1)


def network_of(name):
    """Untrained, but its batch norms do something and have seen something, and blocks add little to what they pass on, as trained ones do.

    Otherwise every block multiplies what is rounded before it, and two orders of summing differ by more than 1e-5.
    """
    torch.manual_seed(0)
    network = build_online_network(name)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 0.3)
            module.momentum = None  # the plain mean of all that was seen
    for module in network.modules():
        if isinstance(module, BasicBlock):
            module.bn2.weight.data *= 0.2
        if isinstance(module, Bottleneck):
            module.bn3.weight.data *= 0.2
    with torch.no_grad():
        for _ in range(2):
            found = network.search(network.template(scene()[..., 64:191, 64:191]), scene())
            if isinstance(network, S2iamMask):
                network.masks(found, BOXES)
            elif network.mask_side:
                network.masks(found, PLACES)
    return network.eval()


def answers(network):
    """Probabilities, deltas and probabilities of pixels, in single precision."""
    dtype = next(network.parameters()).dtype
    with torch.inference_mode():
        found = network.search(network.template(scene()[..., 64:191, 64:191].to(dtype)), scene().to(dtype))
        pixels = network.masks(found, BOXES if isinstance(network, S2iamMask) else PLACES) if network.mask_side else torch.zeros(1)
    return found.probabilities, found.deltas.float(), pixels.float().sigmoid()


@pytest.fixture(scope="module", params=["siammask-lite", "siammask-lite-base", "siammask-lite-box", "s2iammask-lite"])
def network(request):
    return network_of(request.param)


def test_single_precision_equals_the_network(network):
    prepared = prepare(network, precision="float32")
    assert not [module for module in prepared.modules() if isinstance(module, nn.BatchNorm2d)]
    assert type(prepared) is type(network)
    for ours, plain in zip(answers(prepared), answers(network), strict=True):
        assert (ours - plain).abs().max() <= 1e-5 * plain.abs().max()


def test_bfloat16_is_as_near_as_the_page_says(network):
    """Of docs/siammask.md: what is rounded comes to less than a tenth of what varies."""
    prepared = prepare(network, precision="bfloat16")
    assert {value.dtype for value in prepared.parameters()} == {torch.bfloat16}
    for ours, plain in zip(answers(prepared), answers(network), strict=True):
        assert 0 <= (ours - plain).square().mean().sqrt() <= 0.1 * plain.std(correction=0)


def test_the_network_itself_is_left_alone():
    network = build_online_network("siammask-lite").train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    prepared = prepare(network, precision="bfloat16")
    assert network.training
    assert all(value.requires_grad for value in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not prepared.training
    assert not any(value.requires_grad for value in prepared.parameters())


@pytest.mark.parametrize(("has", "expected"), [({}, torch.float32), ({"avx512_f": True, "avx512_bf16": False}, torch.float32)])
def test_auto_takes_no_bfloat16_that_is_imitated(monkeypatch, has, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    assert choose_dtype("auto", device=CPU) == expected
    assert choose_dtype("bfloat16", device=CPU) == torch.bfloat16


@pytest.mark.parametrize("name", ["avx512_bf16", "amx_bf16"])
def test_auto_takes_bfloat16_that_is_native_on_cpus(monkeypatch, name):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {name: True})
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    assert choose_dtype("auto", device=CPU) == torch.bfloat16
    assert choose_dtype("float32", device=CPU) == torch.float32
    assert choose_dtype("auto", device=torch.device("cuda")) == torch.float32
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not siammask_inference.has_bfloat16()


def test_wide_convolutions_are_shortened_where_they_gain():
    """Of the -lite network: all of the third stage; narrower ones in single precision only, and never those of a few cells."""
    network = build_online_network("siammask-lite")
    short = {}
    for precision, tile in (("float32", 4), ("bfloat16", 2)):  # bfloat16 has no bits for larger tiles
        modules = {name: one for name, one in prepare(network, precision=precision).named_modules() if isinstance(one, WinogradConv2d)}
        assert {one.tile for one in modules.values()} == {tile}
        short[precision] = set(modules)
    third = {f"backbone.layer3.{name}" for name in ("0.conv1", "0.conv2", "0.downsample.0", "1.conv1", "1.conv2")}
    assert short["bfloat16"] == third
    assert third < short["float32"]
    assert "heads.score.of_search.0" in short["float32"]
    assert not [name for name in short["float32"] if "of_template" in name or "mask" in name]


def test_an_unknown_precision_is_named():
    with pytest.raises(SettingError, match='"half" is unknown; choose from: auto, float32, bfloat16'):
        choose_dtype("half", device=CPU)
