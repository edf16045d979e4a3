"""Checkpoints as SiamMask published them: every key used, and the same scores, boxes and masks as plain torch on the same tensors."""

import importlib.util
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from followspot.errors import EncoderError
from followspot.models.foreign.registry import convert_checkpoint
from followspot.models.online_networks import load_online_network
from followspot.models.weights import save_weights

_spec = importlib.util.spec_from_file_location("make_foreign", Path(__file__).with_name("make_foreign.py"))
make_foreign = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make_foreign)

PLACES = [(0, 0), (12, 13), (24, 5)]


@pytest.fixture(scope="module")
def content():
    torch.manual_seed(0)
    return make_foreign.siammask()


@pytest.fixture(scope="module")
def state(content):
    return {key.removeprefix("module."): value for key, value in content["state_dict"].items()}


@pytest.fixture(scope="module")
def conversion(tmp_path_factory):
    path = make_foreign.write(tmp_path_factory.mktemp("foreign"), "siammask")
    assert path.name == "SiamMask_DAVIS.pth"
    return convert_checkpoint(path, "siammask")


def conv(x, state, name, **how):
    return functional.conv2d(x, state[f"{name}.weight"], state.get(f"{name}.bias"), **how)


def norm(x, state, name):
    weight, bias, mean, var = (state[f"{name}.{leaf}"].view(1, -1, 1, 1) for leaf in ("weight", "bias", "running_mean", "running_var"))
    return (x - mean) / (var + 1e-5).sqrt() * weight + bias


def block(x, state, name, *, stride, pad, dilation):
    y = norm(conv(x, state, f"{name}.conv1"), state, f"{name}.bn1").relu()
    y = norm(conv(y, state, f"{name}.conv2", stride=stride, padding=pad, dilation=dilation), state, f"{name}.bn2").relu()
    y = norm(conv(y, state, f"{name}.conv3"), state, f"{name}.bn3")
    if f"{name}.downsample.0.weight" in state:
        side = state[f"{name}.downsample.0.weight"].shape[-1]
        x = conv(x, state, f"{name}.downsample.0", stride=stride, padding=1 if side == 3 and stride == 1 else 0)
        x = norm(x, state, f"{name}.downsample.1")
    return (x + y).relu()


def backbone(state, pixels):
    """Three stages at stride 8; the second opens with stride 2 and no padding, the third is dilated by 2 after its first block."""
    root = "features.features"
    fine = norm(conv(pixels, state, f"{root}.conv1", stride=2), state, f"{root}.bn1").relu()
    x = functional.max_pool2d(fine, 3, 2, 1)
    maps = [fine]
    for stage, count in ((1, 3), (2, 4), (3, 6)):
        for index in range(count):
            opening = index == 0
            stride = 2 if stage == 2 and opening else 1
            dilation = 2 if stage == 3 and not opening else 1
            x = block(x, state, f"{root}.layer{stage}.{index}", stride=stride, pad=0 if stride == 2 else dilation, dilation=dilation)
        maps.append(x)
    adjusted = norm(conv(maps.pop(), state, "features.downsample.downsample.0"), state, "features.downsample.downsample.1")
    return adjusted, maps


def correlation(state, name, template, search):
    kernel = norm(conv(template, state, f"{name}.conv_kernel.0"), state, f"{name}.conv_kernel.1").relu()
    where = norm(conv(search, state, f"{name}.conv_search.0"), state, f"{name}.conv_search.1").relu()
    windows = functional.unfold(where, 5).view(len(where), 256, 25, 625)
    return (windows * kernel.flatten(2)[..., None]).sum(2).view(-1, 256, 25, 25)


def readout(state, name, x):
    return conv(norm(conv(x, state, f"{name}.head.0"), state, f"{name}.head.1").relu(), state, f"{name}.head.3")


def two(x, state, name):
    return conv(conv(x, state, f"{name}.0", padding=1).relu(), state, f"{name}.2", padding=1).relu()


def refined(state, vector, maps, row, column):
    x = functional.conv_transpose2d(
        vector.view(1, 256, 1, 1), state["refine_model.deconv.weight"], state["refine_model.deconv.bias"], stride=15
    )
    for level, pad, step, window, out, post in ((2, 4, 1, 15, 31, 0), (1, 8, 2, 31, 61, 1), (0, 16, 4, 61, 127, 2)):
        around = functional.pad(maps[level], (pad,) * 4)[..., step * row : step * row + window, step * column : step * column + window]
        x = two(x, state, f"refine_model.h{level}") + two(around, state, f"refine_model.v{level}")
        x = functional.interpolate(x, size=(out, out))
        x = conv(x, state, f"refine_model.post{post}", padding=1)
    return x[0, 0]


@pytest.fixture(scope="module")
def expected(state):
    """Scores, deltas, base masks and refined masks from the published names, on BGR pixels in 0..255."""
    template, search = (crop.flip(1) * 255 for crop in crops())
    with torch.inference_mode():
        z = backbone(state, template)[0][..., 4:11, 4:11]
        x, maps = backbone(state, search)
        found = {name: correlation(state, name, z, x) for name in ("rpn_model.cls", "rpn_model.loc", "mask_model.mask")}
        vectors = found["mask_model.mask"]
        return {
            "scores": readout(state, "rpn_model.cls", found["rpn_model.cls"]).view(1, 2, 5, 25, 25),
            "deltas": readout(state, "rpn_model.loc", found["rpn_model.loc"]).view(1, 4, 5, 25, 25),
            "base": torch.stack([readout(state, "mask_model.mask", vectors)[0, :, r, c].view(63, 63) for r, c in PLACES]),
            "refined": torch.stack([refined(state, vectors[0, :, r, c], maps, r, c) for r, c in PLACES]),
        }


def crops():
    generator = torch.Generator().manual_seed(4)
    return [torch.rand(1, 3, side, side, generator=generator) for side in (127, 255)]


def close(got, wanted):
    scale = wanted.abs().max()
    torch.testing.assert_close(got / scale, wanted / scale, atol=1e-4, rtol=0)


def test_f129_d2_scores_boxes_and_masks_equal_an_independent_evaluation(conversion, expected):
    network = conversion.network
    template, search = crops()
    with torch.inference_mode():
        found = network.search(network.template(template), search)
        close(found.scores, expected["scores"])
        close(found.deltas, expected["deltas"])
        close(network.masks(found, PLACES), expected["refined"])


def test_f129_d2_base_masks_equal_an_independent_evaluation(content, expected, tmp_path):
    """Without the refinement a file is the base network."""
    kept = {key: value for key, value in content["state_dict"].items() if "refine_model" not in key}
    torch.save(kept, tmp_path / "base.pth")
    conversion = convert_checkpoint(tmp_path / "base.pth", "siammask")
    assert conversion.name == "siammask-base"
    template, search = crops()
    with torch.inference_mode():
        network = conversion.network
        close(network.masks(network.search(network.template(template), search), PLACES), expected["base"])


def test_f129_d2_every_key_is_used(conversion, state):
    assert set(conversion.used) == set(state)
    assert conversion.unused == ()
    assert len(conversion.used) == len(conversion.network.state_dict())
    card = conversion.card
    assert (card["network"], card["converted"]["from"], card["converted"]["epoch"]) == ("siammask", "siammask", 20)
    assert "encoder" not in card
    assert set(card["converted"]["changed"]) == {"features.features.conv1.weight"}


def test_f129_a_converted_file_loads_from_its_card(conversion, tmp_path):
    save_weights(tmp_path / "x.safetensors", conversion.network, conversion.card)
    network, card = load_online_network(tmp_path / "x.safetensors")
    assert card == conversion.card
    for key, value in conversion.network.state_dict().items():
        assert torch.equal(network.state_dict()[key], value), key


def test_a_file_of_boxes_only(state, tmp_path):
    kept = {key: value for key, value in state.items() if "refine_model" not in key and "mask_model" not in key}
    torch.save({"state_dict": kept}, tmp_path / "box.pth")
    conversion = convert_checkpoint(tmp_path / "box.pth", "siammask")
    assert (conversion.name, conversion.unused) == ("siammask-box", ())


def test_old_files_without_counters_and_with_a_classifier(state, tmp_path):
    kept = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    torch.save({**kept, "features.features.fc.weight": torch.zeros(2, 2)}, tmp_path / "old.pth")
    conversion = convert_checkpoint(tmp_path / "old.pth", "siammask")
    assert conversion.unused == ("features.features.fc.weight",)
    assert set(conversion.used) == set(kept)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {k: v for k, v in s.items() if k != "rpn_model.cls.head.3.bias"}, r"lacks rpn_model.cls.head.3.bias; it is no siammask"),
        (lambda s: {k: v for k, v in s.items() if k != "features.features.conv1.weight"}, "lacks features.features.conv1.weight"),
        (lambda s: s | {"refine_model.v3.0.weight": torch.zeros(1)}, r"also holds refine_model.v3.0.weight: a larger network"),
        (lambda s: s | {"features.features.layer3.0.downsample.0.weight": torch.zeros(1024, 512, 1, 1)}, "of shape"),
    ],
)
def test_other_networks_are_refused_by_name(state, tmp_path, change, message):
    torch.save({"state_dict": change(state)}, tmp_path / "x.pth")
    with pytest.raises(EncoderError, match=message):
        convert_checkpoint(tmp_path / "x.pth", "siammask")
