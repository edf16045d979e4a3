"""The descriptor compared in a learnt way: untrained it is the descriptor, and nothing but the comparison learns."""

import pytest
import torch
from torch.nn import functional

from followspot.errors import EncoderError, SettingError
from followspot.models.descriptor import Descriptor
from followspot.models.encoder import Encoder, load_encoder
from followspot.models.networks import build_network
from followspot.models.projected_descriptor import ProjectedDescriptor
from followspot.models.weights import save_weights


@pytest.fixture
def frames():
    return torch.rand(2, 3, 48, 64, generator=torch.Generator().manual_seed(0))


def learnt(seed=0, **kwargs):
    """Somewhere on the way."""
    torch.manual_seed(seed)
    network = ProjectedDescriptor(**kwargs)
    with torch.no_grad():
        network.projection.weight.add_(0.1 * torch.randn_like(network.projection.weight))
    return network.eval()


def cosines(features):
    """Of all cells of all frames."""
    cells = functional.normalize(features.transpose(0, 1).flatten(1).double(), dim=0)
    return cells.T @ cells


@pytest.mark.parametrize("stride", [4, 8])
def test_untrained_it_compares_as_the_descriptor_does(frames, stride):
    network, descriptor = ProjectedDescriptor(stride=stride), Descriptor(stride=stride)
    assert isinstance(network, Encoder)
    assert (network.name, network.stride, network.dim, network.receives) == ("projected-descriptor", stride, descriptor.dim, "lab")
    features = network(frames)
    assert features.shape == (2, descriptor.dim, 48 // stride, 64 // stride)
    torch.testing.assert_close(cosines(features), cosines(descriptor(frames)), atol=1e-6, rtol=0)


@pytest.mark.parametrize("stride", [4, 8])
@pytest.mark.parametrize("dim", [1, 16, 64])
def test_fewer_channels_are_a_part_of_the_descriptors_space(frames, stride, dim):
    torch.manual_seed(0)
    network = ProjectedDescriptor(stride=stride, dim=dim)
    assert network.dim == dim
    features = network(frames)
    assert features.shape == (2, dim, 48 // stride, 64 // stride)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(2, 48 // stride, 64 // stride))
    weight = network.projection.weight[:, :, 0, 0]
    torch.testing.assert_close(weight @ weight.T, torch.eye(dim), atol=1e-5, rtol=0)


def test_cells_are_compared_by_a_learnt_metric(frames):
    """x' W'W y over the roots of x' W'W x and y' W'W y."""
    network = learnt(dim=12)
    weight = network.projection.weight[:, :, 0, 0].double()
    cells = network.descriptor(frames).transpose(0, 1).flatten(1).double()
    products = cells.T @ (weight.T @ weight) @ cells
    lengths = products.diagonal().sqrt()
    torch.testing.assert_close(cosines(network(frames)), products / lengths / lengths[:, None], atol=1e-5, rtol=0)


def test_the_same_frame_gives_the_same_bits_and_a_shift_of_a_cell_shifts_the_map():
    network = learnt()
    large = torch.rand(1, 3, 48, 64, generator=torch.Generator().manual_seed(1))
    large = functional.interpolate(large, size=(336, 448), mode="bicubic").clamp(0, 1)
    assert torch.equal(network(large), network(large))
    one, other = network(large[..., :-8, :-8]), network(large[..., 8:, 8:])
    torch.testing.assert_close(one[..., 18:-16, 18:-16], other[..., 17:-17, 17:-17], atol=1e-5, rtol=0)


def test_only_the_projection_learns(frames):
    network = ProjectedDescriptor(dim=8)
    assert [name for name, _ in network.named_parameters()] == ["projection.weight"]
    assert list(network.state_dict()) == ["projection.weight"]
    frames.requires_grad_()
    network(frames)[:, 0].sum().backward()
    assert network.projection.weight.grad.abs().sum() > 0
    assert frames.grad is None


@pytest.mark.parametrize(("stride", "dim"), [(8, None), (4, None), (8, 24)])
def test_a_weight_file_holds_all_that_was_learnt(frames, tmp_path, stride, dim):
    network, path = learnt(stride=stride, dim=dim), tmp_path / "projected.safetensors"
    card = {"encoder": network.name, "stride": stride} | ({} if dim is None else {"dim": dim})
    save_weights(path, network, card)
    loaded = load_encoder(weights=path)
    assert isinstance(loaded, ProjectedDescriptor)
    assert not loaded.training
    assert (loaded.name, loaded.stride, loaded.dim, loaded.card) == (network.name, stride, network.dim, card)
    assert torch.equal(loaded(frames), network(frames))


def test_a_weight_file_in_half_precision_tells_nearly_the_same(frames, tmp_path):
    network, path = learnt(dim=24), tmp_path / "half.safetensors"
    expected = network(frames)
    save_weights(path, network.half(), {"encoder": network.name, "stride": 8, "dim": 24})
    features = load_encoder(weights=path)(frames)
    assert features.dtype == torch.float32
    assert not torch.equal(features, expected)
    torch.testing.assert_close(features, expected, atol=2e-3, rtol=0)


def test_weights_of_other_channels_are_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    save_weights(path, ProjectedDescriptor(dim=24), {"encoder": "projected-descriptor", "stride": 8})
    with pytest.raises(EncoderError, match=r"other.safetensors has projection.weight of shape \(24, 254, 1, 1\), expected \(254, 254"):
        load_encoder(weights=path)
    with pytest.raises(EncoderError, match="'projected-descriptor' needs trained weights"):
        load_encoder("projected-descriptor")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_it_is_exact_under_autocast_and_works_in_half_precision(frames, dtype):
    network = learnt(dim=24)
    expected = network(frames)
    with torch.autocast("cpu", dtype):
        features = network(frames)
    assert features.dtype == torch.float32
    assert torch.equal(features, expected)
    coarse = network.to(dtype)(frames.to(dtype))
    assert coarse.dtype == dtype
    assert functional.cosine_similarity(coarse.float(), expected).mean() > 0.98


def test_double_precision_is_double_throughout(frames):
    network = learnt(dim=24).double()
    features = network(frames.double())
    assert features.dtype == torch.float64
    nudged = network(frames.double() + 1e-12)
    assert 0 < (nudged - features).abs().max() < 1e-8


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_flat_frames_give_finite_features_and_gradients(level):
    network = learnt(dim=8)
    features = network(torch.full((1, 3, 32, 32), level))
    features[:, 0].sum().backward()
    assert features.isfinite().all()
    assert network.projection.weight.grad.isfinite().all()


@pytest.mark.parametrize("dim", [0, -3, 255])
def test_impossible_channels_are_refused(dim):
    with pytest.raises(SettingError, match=rf"dim = {dim} is not possible for 'projected-descriptor'; use 1 to 254"):
        ProjectedDescriptor(dim=dim)


def test_what_it_cannot_take_is_refused(frames):
    with pytest.raises(SettingError, match="stride 16 is not possible"):
        build_network("projected-descriptor", stride=16)
    with pytest.raises(SettingError, match="'projected-descriptor' takes frames whose sides are multiples of 8, got 44x64"):
        ProjectedDescriptor()(frames[..., :44, :])
    with pytest.raises(SettingError, match="'projected-descriptor' takes float RGB"):
        ProjectedDescriptor()((frames * 255).byte())


def test_networks_know_it_by_name(frames):
    assert build_network("projected-descriptor", stride=4, dim=7).dim == 7
    fused = build_network("projected-descriptor+resnet18").eval()
    assert fused(frames).shape == (2, 254 + 256, 6, 8)
    assert load_encoder("random:projected-descriptor").dim == 254
