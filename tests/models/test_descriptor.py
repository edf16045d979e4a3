"""What the descriptor must not care about, and what it must."""

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as functional

from followspot.errors import SettingError
from followspot.models.descriptor import Descriptor
from followspot.models.encoder import encode_image


def texture(height, width, *, seed=0, sigma=3.0):
    """Smooth coloured noise: edges at several scales, colours all over."""
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.standard_normal((height, width, 3)), None, sigma)
    return torch.from_numpy((noise / noise.std() * 0.2 + 0.5).clip(0, 1)).float().permute(2, 0, 1)[None]


def cosine(a, b):
    return (functional.normalize(a, dim=1) * functional.normalize(b, dim=1)).sum(1)


@pytest.mark.parametrize("stride", [4, 8])
def test_shift_by_a_cell_shifts_the_map(stride):
    descriptor = Descriptor(stride=stride)
    large = texture(480, 560)
    one, other = descriptor(large[..., :400, :480]), descriptor(large[..., 2 * stride : 400 + 2 * stride, stride : 480 + stride])
    edge = 160 // stride
    a, b = one[..., edge + 2 : -edge, edge + 1 : -edge], other[..., edge : -edge - 2, edge : -edge - 1]
    torch.testing.assert_close(a, b, atol=1e-5, rtol=0)
    assert cosine(one, other).mean() < 0.9


@pytest.mark.parametrize("change", [lambda x: x * 1.04, lambda x: x + 0.02, lambda x: x**1.05])
def test_small_changes_of_light_matter_little(change):
    descriptor = Descriptor()
    frames = texture(160, 160) * 0.8 + 0.05
    features = descriptor(frames)
    loss = 1 - cosine(features, descriptor(change(frames))).mean()
    # Measured against how different two places of one picture look, or a descriptor that ignores everything would pass.
    elsewhere = 1 - cosine(features, features.roll((5, 7), (2, 3))).mean()
    assert loss < 0.03
    assert loss < 0.2 * elsewhere


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_flat_pictures_are_finite_unit_vectors(value):
    features = Descriptor()(torch.full((1, 3, 64, 64), value))
    torch.testing.assert_close(features.norm(dim=1), torch.ones(1, 8, 8))
    torch.testing.assert_close(features, features[..., :1, :1].expand_as(features), atol=1e-6, rtol=0)


def test_flat_areas_resemble_flat_areas_and_not_edges():
    descriptor = Descriptor()
    torch.manual_seed(0)
    flat, noisy = torch.full((1, 3, 64, 64), 0.5), 0.5 + 0.01 * torch.randn(2, 3, 64, 64)
    assert cosine(*descriptor(noisy).split(1)).min() > 0.97
    assert cosine(descriptor(flat), descriptor(noisy[:1])).min() > 0.9
    stripes = (torch.arange(64) // 8 % 2 * 0.1 + 0.45).expand(1, 3, 64, 64)
    assert cosine(descriptor(flat), descriptor(stripes)).max() < 0.9


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_colours_are_told_apart(channel):
    one, other = torch.full((1, 3, 64, 64), 0.4), torch.full((1, 3, 64, 64), 0.4)
    other[:, channel] = 0.6
    assert cosine(Descriptor()(one), Descriptor()(other)).max() < 0.95


def test_the_direction_and_side_of_an_edge_are_told_apart():
    descriptor = Descriptor()
    ramp = torch.linspace(0.2, 0.8, 64)
    views = [ramp.expand(64, 64), ramp.flip(0).expand(64, 64), ramp[:, None].expand(64, 64)]
    features = [descriptor(view.expand(1, 3, 64, 64))[..., 4:5, 4:5] for view in views]
    features_dim = 2 * (8 * 9 + 1)
    edges = [feature[:, :features_dim] for feature in features]
    assert cosine(edges[0], edges[1]).item() < 0.6
    assert cosine(edges[0], edges[2]).item() < 0.85
    bins = edges[0].flatten()[:8]
    assert bins.argmax() == 0, "light grows to the right, which is the first direction"
    assert edges[2].flatten()[:8].argmax() == 2, "a quarter turn on, in image coordinates: downwards"


def test_half_precision_and_gradients():
    frames = texture(64, 64).requires_grad_()
    features = Descriptor()(frames)
    (features * torch.randn_like(features)).sum().backward()
    assert torch.isfinite(frames.grad).all()
    assert frames.grad.abs().sum() > 0


def test_strides_agree_on_what_they_see():
    coarse, fine = Descriptor(stride=8), Descriptor(stride=4)
    assert coarse.dim == fine.dim
    frames = texture(160, 240, sigma=6.0)
    pooled = functional.avg_pool2d(fine(frames), 2)
    assert cosine(coarse(frames), pooled)[..., 4:-4, 4:-4].mean() > 0.9
    with pytest.raises(SettingError, match="stride 16"):
        Descriptor(stride=16)


def test_finds_itself_a_frame_later(shared_data):
    """Nearest neighbours between consecutive frames of real footage are mostly close by."""
    folder = shared_data / "davis" / "JPEGImages" / "480p" / "bear"
    images = [cv2.imread(str(path))[..., ::-1] for path in sorted(folder.glob("*.jpg"))[:2]]
    first, second = (encode_image(Descriptor(), image, size=(240, 424)).flatten(1) for image in images)
    nearest = (first.T @ second).argmax(1)
    cells = torch.arange(len(nearest))
    away = torch.maximum((nearest // 53 - cells // 53).abs(), (nearest % 53 - cells % 53).abs())
    assert (away <= 2).float().mean() > 0.9
