"""F114: a dense flow from affinities."""

import numpy as np
import pytest
import torch

from followspot.ops.propagate import Affinity
from followspot.tracking.matching import match_cells, match_frames


def slow_match(query, key, *, top_k, temperature, radius):
    """The formula, one cell after the other."""
    query, key = (torch.nn.functional.normalize(x.double(), dim=0) for x in (query, key))
    _, h, w = query.shape
    flow = np.zeros((2, h, w))
    for y in range(h):
        for x in range(w):
            near = [(v, u) for v in range(h) for u in range(w) if radius is None or max(abs(v - y), abs(u - x)) <= radius]
            scores = torch.stack([query[:, y, x] @ key[:, v, u] for v, u in near])
            best = scores.argsort(descending=True)[:top_k]
            weights = (scores[best] / temperature).softmax(0)
            flow[:, y, x] = sum(float(a) * np.array([near[i][1] - x, near[i][0] - y]) for a, i in zip(weights, best.tolist(), strict=True))
    return flow


@pytest.mark.parametrize(("top_k", "radius"), [(1, None), (3, None), (5, 2)])
def test_f114_agrees_with_the_formula(top_k, radius):
    query, key = torch.randn(2, 8, 5, 6, generator=torch.Generator().manual_seed(0))
    found = match_cells(query, key, Affinity(top_k=top_k, temperature=0.1, radius_first=radius))
    np.testing.assert_allclose(found, slow_match(query, key, top_k=top_k, temperature=0.1, radius=radius), atol=1e-4)


def test_f114_weights_that_do_not_sum_to_one_are_counted():
    query, key = torch.randn(2, 8, 5, 6, generator=torch.Generator().manual_seed(1))
    affinities = [Affinity(top_k=3, temperature=0.2, radius_first=None, renormalize=flag) for flag in (True, False)]
    torch.testing.assert_close(match_cells(query, key, affinities[0]), match_cells(query, key, affinities[1]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("later", [1, 7])
def test_f114_a_known_motion_is_found_however_far(tracker, shift, later):
    flow = match_frames(tracker, shift.frame(0), shift.frame(later), top_k=1)
    assert flow.shape == (2, *shift.size)
    assert flow.dtype == np.float32
    x, y = shift.corner(0)
    inside = flow[:, y + 4 : y + 12, x + 4 : x + 12]
    np.testing.assert_allclose(inside[0], 4 * later, atol=0.01)
    np.testing.assert_allclose(inside[1], 0, atol=0.01)
    corner = flow[:, 40:46, 64:76]
    np.testing.assert_allclose(corner, 0, atol=0.01)
    back = match_frames(tracker, shift.frame(later), shift.frame(0), top_k=1)
    np.testing.assert_allclose(back[0, y + 4 : y + 12, x + 4 + 4 * later : x + 12 + 4 * later], -4 * later, atol=0.01)
    assert tracker.channels is None, "the tracker's own state is not touched"
