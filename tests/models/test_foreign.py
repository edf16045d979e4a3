"""Published checkpoints: every name used or reported, features as an independent evaluation of the same tensors gives them, nothing run."""

import importlib.util
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from followspot.errors import EncoderError, SettingError
from followspot.models.encoder import load_encoder
from followspot.models.foreign.registry import LAYOUTS, convert_checkpoint
from followspot.models.weights import load_weights, save_weights

_spec = importlib.util.spec_from_file_location("make_foreign", Path(__file__).with_name("make_foreign.py"))
make_foreign = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make_foreign)

# The layouts whose networks are encoders; SiamMask's has a file of its own, test_foreign_siammask.py.
ENCODERS = ("corrflow", "timecycle", "videowalk")
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("foreign")
    return {layout: make_foreign.write(folder, layout) for layout in ENCODERS}


@pytest.fixture(scope="module")
def conversions(files):
    return {layout: convert_checkpoint(path, layout) for layout, path in files.items()}


@pytest.fixture(scope="module")
def made():
    """What the script puts into each file; the tests change copies."""
    return {layout: make_foreign.FILES[layout][1]() for layout in ENCODERS}


def copy_of(content):
    return {key: dict(value) if isinstance(value, dict) else value for key, value in content.items()}


def published(path, wrapper):
    """The tensors of a file that this test itself wrote."""
    return torch.load(path, weights_only=False)[wrapper]


def frames(height=48, width=64):
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(5))


def normed(x, state, name):
    shape = (1, -1) + (1,) * (x.ndim - 2)
    mean, var, weight, bias = (state[f"{name}.{leaf}"].view(shape) for leaf in ("running_mean", "running_var", "weight", "bias"))
    return (x - mean) / torch.sqrt(var + 1e-5) * weight + bias


def corrflow_features(state, x):
    root = "module.feature_extraction"
    x = functional.relu(normed(functional.conv2d(x, state[f"{root}.conv1.0.weight"], stride=2, padding=3), state, f"{root}.conv1.1"))
    for stage in range(1, 5):
        for block in range(2):
            name, stride = f"{root}.layer{stage}.{block}", 2 if (stage, block) == (2, 0) else 1
            y = functional.relu(
                normed(functional.conv2d(x, state[f"{name}.left.0.weight"], stride=stride, padding=1), state, f"{name}.left.1")
            )
            y = normed(functional.conv2d(y, state[f"{name}.left.3.weight"], padding=1), state, f"{name}.left.4")
            if f"{name}.shortcut.0.weight" in state:
                x = normed(functional.conv2d(x, state[f"{name}.shortcut.0.weight"], stride=stride), state, f"{name}.shortcut.1")
            x = functional.relu(x + y)
    return functional.conv2d(x, state["module.post_convolution.weight"], state["module.post_convolution.bias"], padding=1)


def timecycle_features(state, x):
    """In three dimensions, as published: the batch is the time axis."""
    root = "module.encoderVideo"
    x = ((x - MEAN) / STD).transpose(0, 1)[None]  # (1, 3, T, H, W)
    x = functional.relu(
        normed(functional.conv3d(x, state[f"{root}.conv1.weight"], stride=(1, 2, 2), padding=(0, 3, 3)), state, f"{root}.bn1")
    )
    x = functional.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1))
    for stage, count in ((1, 3), (2, 4), (3, 6)):
        for block in range(count):
            name, stride = f"{root}.layer{stage}.{block}", (1, 2, 2) if (stage, block) == (2, 0) else 1
            y = functional.relu(normed(functional.conv3d(x, state[f"{name}.conv1.weight"]), state, f"{name}.bn1"))
            y = functional.conv3d(y, state[f"{name}.conv2.weight"], stride=stride, padding=(0, 1, 1))
            y = functional.relu(normed(y, state, f"{name}.bn2"))
            y = normed(functional.conv3d(y, state[f"{name}.conv3.weight"]), state, f"{name}.bn3")
            if block == 0:
                x = normed(functional.conv3d(x, state[f"{name}.downsample.0.weight"], stride=stride), state, f"{name}.downsample.1")
            x = functional.relu(x + y)
    return functional.relu(functional.conv3d(x, state["module.afterconv1.weight"]))[0].transpose(0, 1)


def videowalk_features(state, x, *, border="reflect"):
    def conv(x, name, stride=1):
        weight = state.get(f"{name}.1.weight", state.get(f"{name}.weight"))
        pad = weight.shape[-1] // 2
        if border == "zeros":
            return functional.conv2d(x, weight, stride=stride, padding=pad)
        return functional.conv2d(functional.pad(x, (pad,) * 4, mode="reflect"), weight, stride=stride)

    root = "encoder.model"
    x = functional.relu(normed(conv((x - MEAN) / STD, f"{root}.conv1", 2), state, f"{root}.bn1"))
    x = functional.max_pool2d(x, 3, 2, 1)
    for stage in (1, 2, 3):
        for block in range(2):
            name, stride = f"{root}.layer{stage}.{block}", 2 if (stage, block) == (2, 0) else 1
            y = functional.relu(normed(conv(x, f"{name}.conv1", stride), state, f"{name}.bn1"))
            y = normed(conv(y, f"{name}.conv2"), state, f"{name}.bn2")
            if f"{name}.downsample.0.weight" in state:
                x = functional.conv2d(x, state[f"{name}.downsample.0.weight"], stride=stride)
                x = normed(x, state, f"{name}.downsample.1")
            x = functional.relu(x + y)
    return x


REFERENCES = {"corrflow": corrflow_features, "timecycle": timecycle_features, "videowalk": videowalk_features}
WRAPPERS = {"corrflow": "state_dict", "timecycle": "state_dict", "videowalk": "model"}
PARTS_NOT_USED = {
    "corrflow": (),
    "timecycle": ("encoderVideo.layer4.", "afterconv3_trans", "afterconv4_trans", "linear2"),
    "videowalk": ("encoder.model.layer4.", "selfsim_fc"),
}
SHAPES = {"corrflow": (64, 4), "timecycle": (512, 8), "videowalk": (256, 8)}


@pytest.mark.parametrize("layout", ENCODERS)
def test_b8_features_equal_an_independent_evaluation(files, conversions, layout):
    state, x = published(files[layout], WRAPPERS[layout]), frames()
    with torch.inference_mode():
        expected, got = REFERENCES[layout](state, x), conversions[layout].network(x)
    dim, stride = SHAPES[layout]
    assert got.shape == (2, dim, 48 // stride, 64 // stride)
    scale = expected.abs().max()
    torch.testing.assert_close(got / scale, expected / scale, atol=1e-5, rtol=0)


@pytest.mark.parametrize("layout", ENCODERS)
def test_b8_every_key_is_used_or_reported(files, conversions, layout):
    conversion = conversions[layout]
    keys = {key.removeprefix("module.") for key in published(files[layout], WRAPPERS[layout])}
    assert set(conversion.used) | set(conversion.unused) == keys
    assert not set(conversion.used) & set(conversion.unused)
    assert len(conversion.used) == len(conversion.network.state_dict())
    if not PARTS_NOT_USED[layout]:
        assert conversion.unused == ()
    for key in conversion.unused:
        assert key.startswith(PARTS_NOT_USED[layout]), key
    for part in PARTS_NOT_USED[layout]:
        assert any(key.startswith(part) for key in conversion.unused), part
    assert conversion.card["converted"]["unused"] == list(conversion.unused)


@pytest.mark.parametrize("layout", ENCODERS)
def test_f093_a_converted_file_loads_from_its_card(conversions, layout, tmp_path):
    conversion, path = conversions[layout], tmp_path / "x.safetensors"
    save_weights(path, conversion.network, conversion.card)
    encoder = load_encoder(weights=path)
    assert encoder.name == conversion.card["encoder"]
    assert encoder.card["converted"]["from"] == layout
    assert re.fullmatch(r"[0-9a-f]{64}", encoder.card["converted"]["sha256"])
    assert encoder.card["converted"]["epoch"] == {"corrflow": 9, "timecycle": 14, "videowalk": 24}[layout]
    with torch.inference_mode():
        assert torch.equal(encoder(frames()), conversion.network(frames()))


def save(tmp_path, content, **how):
    path = tmp_path / "file.pth"
    torch.save(content, path, **how)
    return path


def test_f093_data_parallel_prefix_and_zip_format_change_nothing(conversions, tmp_path):
    torch.manual_seed(0)
    content = make_foreign.corrflow()
    content["state_dict"] = {key.removeprefix("module."): value for key, value in content["state_dict"].items()}
    other = convert_checkpoint(save(tmp_path, content), "corrflow").network.state_dict()
    for key, value in conversions["corrflow"].network.state_dict().items():
        assert torch.equal(other[key], value), key


def test_bare_tensors_without_a_wrapper(tmp_path):
    assert convert_checkpoint(save(tmp_path, make_foreign.corrflow_state()), "corrflow").card["converted"]["epoch"] is None


@pytest.mark.parametrize(
    ("kind", "name", "border"),
    [("scratch", "videowalk-resnet18", "reflect"), ("scratch_zeropad", "resnet18", "zeros"), ("imagenet18", "resnet18", "zeros")],
)
def test_videowalk_border_is_that_of_the_training(tmp_path, kind, name, border):
    content = make_foreign.videowalk(model_type=kind, reflecting_names=False)
    conversion = convert_checkpoint(save(tmp_path, content), "videowalk")
    assert conversion.card["encoder"] == name
    with torch.inference_mode():
        expected, got = videowalk_features(content["model"], frames(), border=border), conversion.network(frames())
    torch.testing.assert_close(got / expected.max(), expected / expected.max(), atol=1e-5, rtol=0)


def test_videowalk_without_options_is_as_published(tmp_path):
    content = make_foreign.videowalk()
    del content["args"]
    assert convert_checkpoint(save(tmp_path, content), "videowalk").card["encoder"] == "videowalk-resnet18"


def test_videowalk_of_another_depth_is_refused(tmp_path):
    path = save(tmp_path, make_foreign.videowalk(model_type="imagenet50"))
    with pytest.raises(EncoderError, match="'imagenet50'; only ResNet-18"):
        convert_checkpoint(path, "videowalk")


def test_videowalk_with_a_convolution_twice_is_refused(tmp_path):
    content = make_foreign.videowalk()
    content["model"]["encoder.model.conv1.weight"] = torch.zeros(64, 3, 7, 7)
    with pytest.raises(EncoderError, match="holds a convolution twice"):
        convert_checkpoint(save(tmp_path, content), "videowalk")


def test_videowalk_takes_no_tiny_frames(conversions):
    network = conversions["videowalk"].network
    assert network(torch.rand(1, 3, 16, 16)).shape == (1, 256, 2, 2)
    with pytest.raises(SettingError, match="at least 16x16, got 8x16"):
        network(torch.rand(1, 3, 8, 16))


def without(content, key):
    for part in content.values():
        if isinstance(part, dict) and key in part:
            del part[key]
    return content


@pytest.mark.parametrize(
    ("layout", "key"),
    [
        ("corrflow", "module.feature_extraction.layer3.0.shortcut.0.weight"),
        ("corrflow", "module.post_convolution.bias"),
        ("timecycle", "module.afterconv1.weight"),
        ("timecycle", "module.encoderVideo.layer3.5.bn3.running_var"),
        ("videowalk", "encoder.model.layer2.0.downsample.1.bias"),
    ],
)
def test_a_missing_key_is_an_error_that_names_it(tmp_path, made, layout, key):
    path = save(tmp_path, without(copy_of(made[layout]), key))
    name = key.removeprefix("module.").replace("encoder.model.", "encoder.")
    with pytest.raises(EncoderError, match=f"lacks {re.escape(name)}; it is no {layout} checkpoint"):
        convert_checkpoint(path, layout)


def test_old_files_without_counters_convert(tmp_path, made):
    """PyTorch 0.4.0 counted no batches."""
    content = copy_of(made["timecycle"])
    content["state_dict"] = {key: value for key, value in content["state_dict"].items() if not key.endswith("num_batches_tracked")}
    assert convert_checkpoint(save(tmp_path, content), "timecycle").card["encoder"] == "timecycle-resnet50"


def test_a_larger_network_is_not_cut_down_silently(tmp_path):
    content = make_foreign.corrflow()
    content["state_dict"]["module.feature_extraction.layer1.2.left.0.weight"] = torch.zeros(64, 64, 3, 3)
    with pytest.raises(EncoderError, match=r"also holds feature_extraction.layer1.2.left.0.weight: a larger network than corrflow"):
        convert_checkpoint(save(tmp_path, content), "corrflow")


def test_a_time_kernel_of_more_than_one_frame_is_refused(tmp_path, made):
    content = copy_of(made["timecycle"])
    content["state_dict"]["module.encoderVideo.conv1.weight"] = torch.zeros(64, 3, 3, 7, 7)
    with pytest.raises(EncoderError, match=r"shape \(64, 3, 3, 7, 7\), expected \(64, 3, 7, 7\)"):
        convert_checkpoint(save(tmp_path, content), "timecycle")


@pytest.mark.parametrize(
    ("given", "asked"), [("corrflow", "timecycle"), ("timecycle", "corrflow"), ("timecycle", "videowalk"), ("videowalk", "corrflow")]
)
def test_the_wrong_layout_is_an_error(files, given, asked):
    with pytest.raises(EncoderError, match=r"check .*--from"):
        convert_checkpoint(files[given], asked)


def test_unknown_layout_and_missing_file(tmp_path):
    with pytest.raises(EncoderError, match="did you mean 'timecycle'"):
        convert_checkpoint(tmp_path / "x", "timecyle")
    with pytest.raises(EncoderError, match="does not exist"):
        convert_checkpoint(tmp_path / "x.pth", "corrflow")


class Bomb:
    """A pickle that would make a file when it is loaded the usual way."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("entry", ["state_dict", "optimizer", "args", "model"])
@pytest.mark.parametrize("zipped", [True, False])
def test_b8_a_hostile_pickle_is_refused_and_not_run(tmp_path, entry, zipped):
    target = tmp_path / "written"
    content = make_foreign.corrflow_state() if entry == "model" else {"state_dict": make_foreign.corrflow_state()}
    path = save(tmp_path, {**content, entry: Bomb(target)}, _use_new_zipfile_serialization=zipped)
    for layout in LAYOUTS:
        with pytest.raises(EncoderError, match=r"holds posix.system, which is no tensor and is never run"):
            convert_checkpoint(path, layout)
    assert not target.exists()
    torch.load(path, weights_only=False)
    assert target.exists(), "the bomb of this test is a dud"


def test_numpy_scalars_beside_the_tensors_do_no_harm(tmp_path):
    content = make_foreign.corrflow()
    content |= {"best": np.float64(0.5), "epoch": np.int64(3)}
    conversion = convert_checkpoint(save(tmp_path, content), "corrflow")
    assert conversion.card["converted"]["epoch"] is None


@pytest.mark.parametrize("content", [[1, 2], {"state_dict": {}}, {"state_dict": {"a": 1}}, {"epoch": 1}, torch.zeros(2)])
def test_files_without_named_tensors(tmp_path, content):
    with pytest.raises(EncoderError, match="holds no tensors by name under 'state_dict'"):
        convert_checkpoint(save(tmp_path, content), "corrflow")


def test_damaged_files_are_errors_of_ours(tmp_path):
    """Cut short anywhere, or with a byte changed anywhere."""
    source = save(
        tmp_path,
        {"epoch": 1, "args": make_foreign.videowalk()["args"], "model": {"a": torch.zeros(3)}},
        _use_new_zipfile_serialization=False,
    )
    data = source.read_bytes()
    path = tmp_path / "damaged.pth"
    drawn = np.random.default_rng(0)
    for _ in range(150):
        bad = bytearray(data)
        bad[drawn.integers(len(bad))] = drawn.integers(256)
        path.write_bytes(bytes(bad[: drawn.integers(len(bad))] if drawn.random() < 0.3 else bad))
        with pytest.raises(EncoderError) as caught:
            convert_checkpoint(path, "videowalk")
        assert "\n" not in str(caught.value)


def test_f048_stock_part_equals_torchvision_with_layer3_stride_1(conversions, tmp_path):
    models = pytest.importorskip("torchvision.models")
    conversion = conversions["timecycle"]
    path = tmp_path / "stock.safetensors"
    save_weights(path, conversion.stock, conversion.card)
    state, _ = load_weights(path)
    network = models.resnet50().eval()
    missing, unexpected = network.load_state_dict(state, strict=False)
    assert unexpected == []
    assert {key.split(".")[0] for key in missing} == {"layer4", "fc"}
    for layer in (network.layer3[0].conv2, network.layer3[0].downsample[0]):
        layer.stride = (1, 1)
    x = frames()
    with torch.inference_mode():
        y = network.maxpool(network.relu(network.bn1(network.conv1((x - MEAN) / STD))))
        y = network.layer3(network.layer2(network.layer1(y)))
        y = functional.relu(functional.conv2d(y, conversion.network.head.weight))
        expected = conversion.network(x)
    torch.testing.assert_close(y / expected.max(), expected / expected.max(), atol=1e-5, rtol=0)


def test_f048_stock_part_has_torchvisions_names(conversions):
    """Without torchvision: the names of its resnet50, written out."""
    expected = {key for key in make_foreign.resnet_state(50) if not key.startswith("layer4.")}
    state = conversions["timecycle"].stock.state_dict()
    assert set(state) == expected
    assert {value.ndim for value in state.values()} == {0, 1, 4}


def test_f047_square_of_240_gives_30x30x512(conversions):
    with torch.inference_mode():
        assert conversions["timecycle"].network(torch.rand(1, 3, 240, 240)).shape == (1, 512, 30, 30)


def test_the_script_names_the_files_as_their_authors_did(files):
    assert [files[layout].name for layout in ENCODERS] == ["checkpoint.tar", "checkpoint_14.pth.tar", "pretrained.pth"]
