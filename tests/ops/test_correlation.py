"""Local correlation against loops and against dense attention, its border, its gradients, its memory."""

import pytest
import torch

from followspot.errors import SettingError
from followspot.ops.correlation import Window, depthwise_correlation, local_affinity, local_copy, local_correlation

SIZES = [(5, 7, 2), (6, 9, 0), (3, 20, 1), (4, 4, 6), (1, 13, 3), (9, 2, 2)]


def maps(height, width, *, channels=3, batch=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, channels, height, width, generator=generator, dtype=torch.float64)


def slow_copy(query, key, values, *, radius, temperature):
    out = torch.zeros(query.shape[0], values.shape[1], *query.shape[2:], dtype=query.dtype)
    height, width = query.shape[2:]
    for b in range(len(query)):
        for y in range(height):
            for x in range(width):
                near = [(v, u) for v in range(height) for u in range(width) if abs(v - y) <= radius and abs(u - x) <= radius]
                scores = torch.stack([(query[b, :, y, x] * key[b, :, v, u]).sum() / temperature for v, u in near])
                weights = scores.softmax(0)
                out[b, :, y, x] = sum(weight * values[b, :, v, u] for weight, (v, u) in zip(weights, near, strict=True))
    return out


@pytest.mark.parametrize(("height", "width", "radius"), SIZES)
def test_f055_correlation_equals_a_loop_and_masks_only_the_border(height, width, radius):
    query, key = maps(height, width), maps(height, width, seed=1)
    products, valid = local_correlation(query, key, radius=radius)
    side = 2 * radius + 1
    assert products.shape == (2, side**2, height, width)
    assert valid.shape == (side**2, height, width)
    for index in range(side**2):
        dy, dx = index // side - radius, index % side - radius
        for y in range(height):
            for x in range(width):
                inside = 0 <= y + dy < height and 0 <= x + dx < width
                assert valid[index, y, x] == inside
                wanted = (query[:, :, y, x] * key[:, :, y + dy, x + dx]).sum(1) if inside else torch.zeros(2, dtype=torch.float64)
                torch.testing.assert_close(products[:, index, y, x], wanted)


@pytest.mark.parametrize(("height", "width", "radius"), SIZES)
def test_f054_windowed_copy_and_its_gradients_equal_a_loop(height, width, radius):
    inputs = [maps(height, width, seed=seed).requires_grad_() for seed in range(3)]
    fast = local_copy(local_affinity(inputs[0], inputs[1], radius=radius, temperature=0.7), inputs[2], radius=radius)
    slow = slow_copy(*inputs, radius=radius, temperature=0.7)
    torch.testing.assert_close(fast, slow)
    probe = maps(height, width, seed=9)
    for ours, theirs in zip(
        torch.autograd.grad((fast * probe).sum(), inputs), torch.autograd.grad((slow * probe).sum(), inputs), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_f054_a_window_that_covers_all_is_dense_attention():
    query, key, values = (maps(5, 8, seed=seed) for seed in range(3))
    dense = (query.flatten(2).transpose(1, 2) @ key.flatten(2)).softmax(-1) @ values.flatten(2).transpose(1, 2)
    ours = local_copy(local_affinity(query, key, radius=8, temperature=1), values, radius=8)
    torch.testing.assert_close(ours, dense.transpose(1, 2).view_as(ours))


def test_f055_zero_vectors_are_not_masked():
    # A zero correlation among negative ones wins; where it counts as border, the weight goes elsewhere.
    query = torch.ones(1, 1, 1, 3)
    key = torch.tensor([[[[-9.0, 0.0, -9.0]]]])
    copied = local_copy(local_affinity(query, key, radius=1, temperature=1), torch.tensor([[[[0.0, 1.0, 0.0]]]]), radius=1)
    assert copied.min() > 0.99
    _, valid = local_correlation(query, torch.zeros_like(key), radius=1)
    assert valid[4].all()


@pytest.mark.parametrize(("height", "width", "radius"), SIZES)
def test_weights_sum_to_one_and_only_look_inside(height, width, radius):
    # With equal features everywhere a value is the mean over the part of the window inside the map: no zeros leak in.
    flat = torch.zeros(1, 2, height, width)
    copied = local_copy(local_affinity(flat, flat, radius=radius, temperature=1), torch.ones(1, 1, height, width), radius=radius)
    torch.testing.assert_close(copied, torch.ones_like(copied))


def test_f054_memory_does_not_grow_with_the_square_of_the_map():
    for width in (32, 64, 120, 213):
        affinity = local_affinity(torch.zeros(1, 1, 3, width), torch.zeros(1, 1, 3, width), radius=6, temperature=1)
        assert affinity.numel() <= 3 * width * 13 * 13 * 2.5


def test_huge_products_stay_finite_with_finite_gradients():
    query = (1e4 * maps(4, 4)).float().requires_grad_()
    copied = local_copy(local_affinity(query, query, radius=1, temperature=1), torch.rand(2, 5, 4, 4), radius=1)
    copied.sum().backward()
    assert copied.isfinite().all()
    assert query.grad.isfinite().all()


def test_bad_input_says_what_is_wrong():
    one = torch.zeros(1, 2, 3, 4)
    with pytest.raises(SettingError, match="alike"):
        local_affinity(one, one[..., :3], radius=1, temperature=1)
    with pytest.raises(SettingError, match="alike"):
        local_correlation(one[0], one[0], radius=1)
    with pytest.raises(SettingError, match="temperature 0"):
        local_affinity(one, one, radius=1, temperature=0)
    with pytest.raises(SettingError, match="radius -1 on 3x4"):
        Window(height=3, width=4, radius=-1)


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("templates", [1, 2])
def test_f051_depthwise_correlation_equals_a_loop(padding, templates):
    generator = torch.Generator().manual_seed(5)
    search, template = torch.randn(2, 3, 9, 8, generator=generator), torch.randn(templates, 3, 4, 5, generator=generator)
    found = depthwise_correlation(search, template, padding=padding)
    assert found.shape == (2, 3, 9 - 4 + 1 + 2 * padding, 8 - 5 + 1 + 2 * padding)
    padded = torch.zeros(2, 3, 9 + 2 * padding, 8 + 2 * padding)
    padded[..., padding : padding + 9, padding : padding + 8] = search
    for b, c, y, x in torch.ones(found.shape).nonzero().tolist():
        expected = (padded[b, c, y : y + 4, x : x + 5] * template[min(b, templates - 1), c]).sum()
        torch.testing.assert_close(found[b, c, y, x], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", [(3, 3, 4, 4), (2, 4, 4, 4), (2, 3, 10, 4), (3, 4, 4)])
def test_depthwise_correlation_of_what_does_not_fit(shape):
    with pytest.raises(SettingError, match="no larger, got"):
        depthwise_correlation(torch.zeros(2, 3, 9, 8), torch.zeros(shape))
