import math

import pytest
import torch

from followspot.ops.contrast import evenness, match, unit


def example(*, dtype=torch.float64):
    torch.manual_seed(0)
    queries = unit(torch.randn(9, 4, dtype=dtype)).requires_grad_()
    keys = unit(torch.randn(5, 4, dtype=dtype)).requires_grad_()
    return queries, keys, torch.tensor([0, 1, 2, 3, 4, 0, 1, 2, 3])


def test_match_is_the_formula():
    queries, keys, targets = example()
    losses, peaks = match(queries, keys, targets, temperature=0.1)
    for query, target, loss, peak in zip(queries, targets, losses, peaks, strict=True):
        weights = [math.exp((query @ key).item() / 0.1) for key in keys]
        assert loss.item() == pytest.approx(-math.log(weights[target] / sum(weights)))
        assert peak.item() == pytest.approx(max(weights) / sum(weights))
    assert not peaks.requires_grad


@pytest.mark.parametrize("valid", [None, torch.tensor([True, True, True, True, False])])
def test_chunks_change_neither_losses_nor_gradients(valid):
    answers = []
    for chunk in (2**25, 12, 1):
        queries, keys, targets = example()
        losses, peaks = match(queries, keys, targets % 4, temperature=0.1, valid=valid, chunk=chunk)
        losses.square().sum().backward()
        answers.append((losses, peaks, queries.grad, keys.grad))
    for answer in answers[1:]:
        assert all(torch.allclose(a, b) for a, b in zip(answers[0], answer, strict=True))


def test_keys_that_are_left_out_neither_help_nor_hurt():
    queries, keys, _ = example()
    valid = torch.tensor([True, False, True, True, False])
    targets = torch.tensor([0, 1, 2] * 3)
    kept, _ = match(queries, keys[valid], targets, temperature=0.1)
    losses, _ = match(queries, keys, torch.tensor([0, 2, 3] * 3), temperature=0.1, valid=valid)
    assert torch.allclose(losses, kept)
    nothing, _ = match(queries, keys, targets, temperature=0.1, valid=torch.zeros(5, dtype=torch.bool))
    nothing.sum().backward()
    assert torch.isfinite(nothing).all()
    assert torch.isfinite(queries.grad).all()


def test_unit_vectors_of_nothing_are_finite():
    vectors = torch.zeros(2, 3, requires_grad=True)
    unit(vectors).sum().backward()
    assert torch.isfinite(vectors.grad).all()
    assert vectors.grad.abs().max() <= 1000
    assert unit(torch.randn(4, 3, dtype=torch.bfloat16)).dtype == torch.float32
    assert torch.allclose(unit(torch.randn(4, 3, 2), dim=1).norm(dim=1), torch.ones(4, 2), atol=1e-4)


def test_evenness_of_nothing_chosen_is_zero():
    assert evenness(torch.zeros(1, 3)).tolist() == [0.0]
    assert evenness(torch.tensor([1.0, 1.0, 0.0])).item() == pytest.approx(math.log(2) / math.log(3))
