"""S2iamMask: regions from their own images, both maps on one grid, a sum of two drawings."""

import pytest
import torch

from followspot.errors import SettingError
from followspot.models.s2iammask import FusionHead, S2iamMask
from followspot.ops.regions import pool_regions

BOXES = torch.tensor([[95.0, 90.0, 160.0, 150.0], [20.0, 30.0, 200.0, 220.0], [-10.0, 100.0, 90.0, 270.0]])


def crops(*, batch=2, side=255, seed=1):
    return torch.rand(batch, 3, side, side, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return S2iamMask(18).eval()


@pytest.fixture(scope="module")
def found(network):
    with torch.inference_mode():
        return network.search(network.template(crops(side=127)), crops())


def test_masks_are_28x28_of_each_box(network, found):
    with torch.inference_mode():
        masks = network.masks(found, BOXES, torch.tensor([0, 1, 1]))
    assert masks.shape == (3, 28, 28)
    assert masks.isfinite().all()
    assert (network.name, network.mask_side) == ("s2iammask-lite", 28)
    assert (found.scores.shape, found.deltas.shape) == ((2, 2, 5, 25, 25), (2, 4, 5, 25, 25))


def test_each_region_is_pooled_from_its_own_image(network, found):
    """The published code left the image's index at 0, so that all regions came from the first."""
    with torch.inference_mode():
        together = network.masks(found, BOXES[[0, 0]], torch.tensor([0, 1]))
        assert (together[0] - together[1]).abs().max() > 1e-3
        for sample in (0, 1):
            template = network.template(crops(side=127)[sample : sample + 1])
            alone = network.search(template, crops()[sample : sample + 1])
            torch.testing.assert_close(network.masks(alone, BOXES[:1])[0], together[sample], atol=1e-4, rtol=1e-4)


def test_padded_correlation_lies_on_the_grid_of_the_search_features(network, found):
    head, kernel = network.stage1.head("mask"), found.template.kernels["mask"]
    with torch.inference_mode():
        padded = head.correlate(kernel, found.features.map, padding=3)
        plain = head.correlate(kernel, found.features.map)
    assert padded.shape == found.features.map.shape == (2, 128, 31, 31)
    torch.testing.assert_close(padded[..., 3:28, 3:28], plain)


def test_the_mask_is_the_sum_of_both_drawings(network, found):
    samples = torch.tensor([1, 0, 1])
    head = network.stage1.head("mask")
    with torch.inference_mode():
        maps = (head.correlate(found.template.kernels["mask"], found.features.map, padding=3), found.features.map)
        drawings = [network.fusion(pool_regions(m, BOXES, samples, size=28, stride=8, first=7.5)) for m in maps]
        torch.testing.assert_close(network.masks(found, BOXES, samples), drawings[0] + drawings[1], atol=1e-4, rtol=1e-4)


def test_fusion_head_has_the_described_channels():
    head = FusionHead(256)
    shapes = {name: tuple(module.weight.shape[:2]) for name, module in head.named_modules() if hasattr(module, "weight")}
    assert (shapes["lateral1.0"], shapes["lateral1.2"]) == ((64, 256), (16, 64))
    assert (shapes["lateral2.0"], shapes["lateral2.2"]) == ((128, 256), (64, 128))
    assert (shapes["up2"], shapes["up1"], shapes["readout"]) == ((256, 64), (64, 16), (1, 16))
    sizes = []
    for part in (head.down1, head.down2, head.up2, head.up1):
        part.register_forward_hook(lambda _, __, out: sizes.append(out.shape[-1]))
    assert head(torch.zeros(1, 256, 28, 28)).shape == (1, 28, 28)
    assert sizes == [28, 14, 14, 28]


def test_gradients_reach_stage_2_and_the_maps():
    torch.manual_seed(0)
    network = S2iamMask(18)
    network.stage1.requires_grad_(False).eval()
    network.fusion.train()
    found = network.search(network.template(crops(side=127)), crops())
    network.masks(found, BOXES, torch.tensor([0, 1, 1])).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in network.fusion.parameters())
    assert all(parameter.grad is None for parameter in network.stage1.parameters())


def test_no_boxes_and_wrong_samples(network, found):
    with torch.inference_mode():
        assert network.masks(found, BOXES[:0]).shape == (0, 28, 28)
        with pytest.raises(SettingError, match="there are 2 maps"):
            network.masks(found, BOXES, torch.tensor([0, 1, 2]))
