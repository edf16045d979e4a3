"""The contract that every encoder keeps, whatever it is made of."""

import cv2
import numpy as np
import pytest
import torch

from followspot.errors import EncoderError, SettingError
from followspot.models.encoder import Encoder, encode_image, load_encoder

FAMILIES = [
    ("descriptor", None, 8),
    ("descriptor", 4, 4),
    ("random:resnet18", None, 8),
    ("random:resnet18", 4, 4),
    ("random:resnet50", 8, 8),
    ("random:timm:vit_tiny_patch16_224", None, 16),
    ("random:timm:resnet18", 8, 8),
]


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda family: f"{family[0]}/{family[2]}")
def family(request):
    name, stride, expected = request.param
    if "timm" in name:
        pytest.importorskip("timm")
    return name, load_encoder(name, stride=stride), expected


def test_contract(family):
    name, encoder, stride = family
    assert isinstance(encoder, Encoder)
    assert not encoder.training
    assert (encoder.name, encoder.stride) == (name, stride)
    assert encoder.receives in ("rgb", "lab", "L")
    torch.manual_seed(0)
    frames = torch.rand(2, 3, 3 * 16, 5 * 16)
    with torch.inference_mode():
        both = encoder(frames)
        assert both.shape == (2, encoder.dim, 48 // stride, 80 // stride)
        assert both.dtype == torch.float32
        assert torch.isfinite(both).all()
        for index in range(2):
            torch.testing.assert_close(encoder(frames[index : index + 1])[0], both[index], atol=1e-5 * float(both.abs().max()), rtol=1e-4)
        assert torch.equal(encoder(frames), both)


@pytest.mark.parametrize("shape", [(1, 3, 48, 81), (1, 3, 50, 80), (1, 3, 0, 80)])
def test_sides_must_be_multiples(family, shape):
    with pytest.raises(SettingError, match=f"multiples of {family[2]}, got {shape[2]}x{shape[3]}"):
        family[1](torch.zeros(shape))


@pytest.mark.parametrize("frames", [torch.zeros(3, 48, 80), torch.zeros(1, 1, 48, 80), torch.zeros(1, 3, 48, 80, dtype=torch.uint8)])
def test_only_float_rgb_batches(family, frames):
    with pytest.raises(SettingError, match="divide uint8 images by 255"):
        family[1](frames)


def test_untrained_weights_repeat_and_leave_the_random_state_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = load_encoder("random:resnet18")
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first.conv1.weight, load_encoder("random:resnet18").conv1.weight)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("descripter", "did you mean 'descriptor'"),
        ("resnet80", "did you mean 'resnet"),
        ("random:descriptor", "no encoder is called 'random:descriptor'"),
        ("timm:", "no encoder is called 'timm:'"),
        ("", "no encoder is called ''"),
        ("resnet18", "'random:resnet18' for an untrained baseline"),
    ],
)
def test_names_that_do_not_work(name, message):
    with pytest.raises(EncoderError, match=message) as caught:
        load_encoder(name)
    assert "\n" not in str(caught.value)


def test_weights_where_there_can_be_none(tmp_path):
    with pytest.raises(EncoderError, match="takes no weights"):
        load_encoder("descriptor", weights=tmp_path / "w.pt")
    with pytest.raises(EncoderError, match="untrained by name"):
        load_encoder("random:resnet18", weights=tmp_path / "w.pt")
    with pytest.raises(EncoderError, match="no weight file"):
        load_encoder("resnet18", weights=tmp_path / "w.pt")


@pytest.mark.parametrize("name", ["descriptor", "random:resnet18"])
@pytest.mark.parametrize("stride", [0, 16])
def test_strides_that_do_not_exist(name, stride):
    with pytest.raises(SettingError, match=f"stride {stride} "):
        load_encoder(name, stride=stride)


def test_trained_weights_by_name(tmp_path):
    source = load_encoder("random:resnet18")
    torch.save(source.state_dict(), tmp_path / "w.pt")
    encoder = load_encoder("resnet18", stride=4, weights=tmp_path / "w.pt")
    assert encoder.name == "resnet18"
    assert encoder.stride == 4
    assert torch.equal(encoder.conv1.weight, source.conv1.weight)


def test_encode_image_is_resize_scale_and_encode():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (50, 90, 3), dtype=np.uint8)
    encoder = load_encoder("descriptor")
    got = encode_image(encoder, image, size=(40, 72))
    small = cv2.resize(image, (72, 40), interpolation=cv2.INTER_AREA)
    expected = encoder(torch.from_numpy(small).permute(2, 0, 1)[None].float() / 255)[0]
    assert torch.equal(got, expected)
    assert torch.equal(got, encode_image(encoder, image, size=(40, 72)))
    large = encode_image(encoder, image, size=(56, 96))
    grown = cv2.resize(image, (96, 56), interpolation=cv2.INTER_LINEAR)
    assert torch.equal(large, encode_image(encoder, grown, size=(56, 96)))
    assert torch.equal(encode_image(encoder, image[:, ::-1], size=(40, 72)), encode_image(encoder, image[:, ::-1].copy(), size=(40, 72)))


def test_encode_image_takes_any_encoder():
    class Mean:
        name, dim, stride, receives = "mean", 3, 8, "rgb"

        def __call__(self, frames):
            return torch.nn.functional.avg_pool2d(frames, 8)

    image = np.full((16, 16, 3), (255, 0, 51), np.uint8)
    torch.testing.assert_close(encode_image(Mean(), image, size=(16, 16))[:, 0, 0], torch.tensor([1.0, 0.0, 0.2]))


@pytest.mark.parametrize("size", [(40, 71), (39, 72), (0, 72), (-8, 72)])
def test_encode_image_sizes(size):
    with pytest.raises(SettingError, match=f"size {size[0]}x{size[1]} must be positive multiples of the stride 8"):
        encode_image(load_encoder("descriptor"), np.zeros((40, 72, 3), np.uint8), size=size)


@pytest.mark.parametrize(
    "image", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3), np.float32), np.zeros((0, 8, 3), np.uint8)]
)
def test_encode_image_images(image):
    with pytest.raises(SettingError, match="RGB uint8"):
        encode_image(load_encoder("descriptor"), image, size=(8, 8))
