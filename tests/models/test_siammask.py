"""SiamMask's network: sizes, where cells lie, what runs when, refinement at any place."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from followspot.errors import SettingError
from followspot.models.siammask import SiamMask
from followspot.models.siammask_backbone import FIRST_CELL, STRIDE
from followspot.models.siammask_refine import side_windows


def crops(*, batch=1, side=255, seed=1):
    return torch.rand(batch, 3, side, side, generator=torch.Generator().manual_seed(seed))


def small(masks="refined"):
    torch.manual_seed(0)
    return SiamMask(18, masks=masks).eval()


@pytest.fixture(scope="module")
def lite():
    return small()


@pytest.fixture(scope="module")
def found(lite):
    with torch.inference_mode():
        return lite.search(lite.template(crops(batch=2, side=127)), crops(batch=2))


def calls(network, name, act):
    """How often a module runs while something is done."""
    count = []
    hook = network.get_submodule(name).register_forward_hook(lambda *_: count.append(1))
    with torch.inference_mode():
        act()
    hook.remove()
    return len(count)


@pytest.mark.parametrize(("depth", "width", "sides"), [(50, 256, (64, 256, 512)), (18, 128, (64, 64, 128))])
def test_f050_sizes(depth, width, sides):
    network = SiamMask(depth).eval()
    with torch.inference_mode():
        small, large = network.backbone(crops(side=127)), network.backbone(crops())
        template = network.template(crops(side=127))
    assert small.map.shape == (1, width, 15, 15)
    assert large.map.shape == (1, width, 31, 31)
    assert [tuple(side.shape[1:]) for side in large.sides] == list(zip(sides, (125, 63, 31), (125, 63, 31), strict=True))
    assert {name: tuple(kernel.shape) for name, kernel in template.kernels.items()} == {
        name: (1, width, 5, 5) for name in ("score", "box", "mask")
    }


def test_f050_the_template_is_the_central_7x7(lite):
    with torch.inference_mode():
        centre = lite.backbone(crops(side=127)).map[..., 4:11, 4:11]
        assert centre.shape[-2:] == (7, 7)
        assert torch.equal(lite.template(crops(side=127)).kernels["box"], lite.heads["box"].of_template(centre))


def test_f050_cell_k_lies_at_pixel_8k_plus_7(lite):
    """What a cell sees is centred there, as long as the crop's border does not cut it."""
    pixels = crops(side=639).requires_grad_()  # 79 cells, so that the middle one sees no border
    middle = lite.backbone(pixels).map[..., 39, 37].sum()
    seen = torch.autograd.grad(middle, pixels)[0].abs().sum((0, 1))
    rows, columns = (seen.sum(axis).nonzero().flatten() for axis in (1, 0))
    assert (int(rows[0]) + int(rows[-1])) / 2 == 8 * 39 + 7 == FIRST_CELL - 0.5 + STRIDE * 39
    assert (int(columns[0]) + int(columns[-1])) / 2 == 8 * 37 + 7


def test_f051_heads_give_10_20_and_3969_numbers_a_place(lite, found):
    assert (found.scores.shape, found.deltas.shape) == ((2, 2, 5, 25, 25), (2, 4, 5, 25, 25))
    with torch.inference_mode():
        masks = lite.heads["mask"](found.template.kernels["mask"], found.features.map)
    assert masks.shape == (2, 3969, 25, 25)
    torch.testing.assert_close(found.probabilities, found.scores.exp()[:, 1] / found.scores.exp().sum(1))
    assert found.probabilities.shape == (2, 5, 25, 25)


@pytest.mark.parametrize(("level", "size", "window", "pad", "step"), [(0, 125, 61, 16, 4), (1, 63, 31, 8, 2), (2, 31, 15, 4, 1)])
def test_f052_windows_of_all_places_equal_an_unfold(level, size, window, pad, step):
    side = torch.randn(2, 2, size, size, generator=torch.Generator().manual_seed(2))
    unfolded = functional.unfold(side, window, padding=pad, stride=step)
    assert unfolded.shape == (2, 2 * window**2, 625)
    places = torch.ones(2, 25, 25).nonzero()
    expected = unfolded.transpose(1, 2).reshape(1250, 2, window, window)
    assert torch.equal(side_windows(side, places, level=level), expected)


def test_f052_windows_show_the_127_pixels_around_the_place():
    """Pixel 2c + 3 is the centre of cell c at stride 2; the window of a place is centred where the place is, at 8p + 31."""
    cells = torch.arange(125.0) * 2 + 3
    side = cells.expand(1, 1, 125, 125)
    for column in (4, 12, 20):
        window = side_windows(side, torch.tensor([[0, 7, column]]), level=0)[0, 0, 0]
        assert (window[0] + window[-1]).item() / 2 == 8 * column + 31


def test_f052_a_place_alone_equals_the_place_among_others_in_training(lite, found):
    places = torch.tensor([[0, 0, 0], [1, 24, 24], [1, 12, 7], [0, 3, 21]])
    with torch.inference_mode():
        together = lite.masks(found, places)
        assert together.shape == (4, 127, 127)
        for place, expected in zip(places, together, strict=True):
            torch.testing.assert_close(lite.masks(found, place[None])[0], expected, atol=1e-5, rtol=1e-5)
        assert torch.equal(lite.masks(found, (3, 21)), lite.masks(found, [(3, 21)]))
        torch.testing.assert_close(lite.masks(found, (3, 21))[0], together[3], atol=1e-5, rtol=1e-5)
        lite.refinement.train()
        torch.testing.assert_close(lite.masks(found, places), together)
        lite.eval()


def test_base_masks_of_chosen_places_equal_those_of_the_whole_grid():
    network = small("base")
    assert network.mask_side == 63
    with torch.inference_mode():
        found = network.search(network.template(crops(batch=2, side=127)), crops(batch=2))
        grid = network.heads["mask"](found.template.kernels["mask"], found.features.map)
        masks = network.masks(found, torch.tensor([[1, 4, 20], [0, 0, 24]]))
    assert masks.shape == (2, 63, 63)
    torch.testing.assert_close(masks[0], grid[1, :, 4, 20].view(63, 63))
    torch.testing.assert_close(masks[1], grid[0, :, 0, 24].view(63, 63))


def test_base_masks_in_training_normalise_over_the_whole_grid():
    network = small("base").train()
    found = network.search(network.template(crops(batch=2, side=127)), crops(batch=2))
    correlation = network.heads["mask"].correlate(found.template.kernels["mask"], found.features.map)
    one = network.masks(found, torch.tensor([[1, 4, 20]]))  # batch norm could not take a single place
    torch.testing.assert_close(one[0].flatten(), network.heads["mask"].readout(correlation)[1, :, 4, 20])
    assert network.masks(found, torch.zeros(0, 3, dtype=torch.int64)).shape == (0, 63, 63)


def test_f128_boxes_only():
    network = small("none")
    assert not any("mask" in name or "refine" in name for name, _ in network.named_parameters())
    with torch.inference_mode():
        found = network.search(network.template(crops(side=127)), crops())
    with pytest.raises(SettingError, match="siammask-lite-box has boxes only"):
        network.masks(found, (0, 0))


def test_nothing_runs_that_is_not_asked_for(lite):
    with torch.inference_mode():
        template = lite.template(crops(side=127))
        found = lite.search(template, crops())
    search = lambda: lite.search(template, crops())  # noqa: E731
    assert calls(lite, "backbone", search) == 1
    assert calls(lite, "heads.box.of_template", search) == 0
    assert calls(lite, "heads.mask.of_search", search) == 0
    assert calls(lite, "heads.mask.of_search", lambda: lite.masks(found, (1, 1))) == 1
    assert calls(lite, "heads.mask.readout", lambda: lite.masks(found, (1, 1))) == 0


def test_one_template_for_many_crops(lite):
    with torch.inference_mode():
        template = lite.template(crops(side=127))
        many, one = lite.search(template, crops(batch=3)), lite.search(template, crops(batch=3)[2:])
        torch.testing.assert_close(many.scores[2:], one.scores, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(lite.masks(many, torch.tensor([[2, 5, 6]])), lite.masks(one, (5, 6)), atol=1e-4, rtol=1e-4)


def test_gradients_reach_every_parameter():
    network = small().train()
    found = network.search(network.template(crops(batch=2, side=127)), crops(batch=2))
    masks = network.masks(found, torch.tensor([[0, 12, 12], [1, 3, 20]]))
    (found.scores.square().mean() + found.deltas.square().mean() + masks.square().mean()).backward()
    unreached = {name for name, parameter in network.named_parameters() if parameter.grad is None or not parameter.grad.abs().sum() > 0}
    assert unreached == {name for name, _ in network.named_parameters() if name.startswith("heads.mask.readout")}


def test_layers_of_the_third_stage_are_dilated_and_keep_the_size():
    backbone = SiamMask(50).backbone
    kinds = [(block.conv2.stride, block.conv2.padding, block.conv2.dilation) for block in backbone.layer3]
    assert kinds == [((1, 1), (1, 1), (1, 1))] + [((1, 1), (2, 2), (2, 2))] * 5
    shortcuts = [stage[0].downsample[0] for stage in (backbone.layer1, backbone.layer2, backbone.layer3)]
    assert [(c.kernel_size[0], c.stride[0], c.padding[0], c.dilation[0]) for c in shortcuts] == [(1, 1, 0, 1), (3, 2, 0, 1), (3, 1, 1, 1)]
    assert sum(isinstance(module, nn.MaxPool2d) for module in backbone.modules()) == 0


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda n, f: n.template(crops()), r"floats \(B, 3, 127, 127\), got torch.float32 \(1, 3, 255, 255\)"),
        (lambda n, f: n.search(f.template, crops(side=127)), r"floats \(B, 3, 255, 255\)"),
        (lambda n, f: n.masks(f, (25, 0)), "outside 2 grids of 25x25"),
        (lambda n, f: n.masks(f, (-1, 0)), "count from 0"),
        (lambda n, f: n.masks(f, torch.zeros(2, 3)), "pass one of these"),
        (lambda n, f: SiamMask(34), "depth 50 or 18"),
        (lambda n, f: SiamMask(18, masks="soft"), "choose among these"),
    ],
)
def test_what_does_not_fit_is_said(lite, found, act, message):
    with pytest.raises(SettingError, match=message):
        act(lite, found)


@pytest.mark.parametrize("templates", [1, 2])
def test_masks_of_few_places_equal_those_read_from_the_whole_grid(lite, templates):
    places = torch.tensor([[0, 0, 0], [1, 24, 24], [1, 12, 7], [0, 3, 21]])
    with torch.inference_mode():
        found = lite.search(lite.template(crops(batch=templates, side=127)), crops(batch=2))
        whole = lite.heads["mask"].correlate(found.template.kernels["mask"], found.features.map)
        expected = lite.refinement(whole[places[:, 0], :, places[:, 1], places[:, 2]], found.features.sides, places)
        torch.testing.assert_close(lite.masks(found, places), expected, atol=1e-5, rtol=1e-5)
        many = places.repeat(9, 1)
        torch.testing.assert_close(lite.masks(found, many), expected.repeat(9, 1, 1), atol=1e-5, rtol=1e-5)


def test_few_places_do_not_pay_for_the_whole_grid(lite, found):
    sizes = []
    hook = lite.heads["mask"].of_search.register_forward_hook(lambda _, inputs, __: sizes.append(tuple(inputs[0].shape)))
    with torch.inference_mode():
        lite.masks(found, (3, 21))
    hook.remove()
    assert sizes == [(1, 128, 7, 7)]
