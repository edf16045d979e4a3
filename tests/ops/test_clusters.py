"""K-means against scikit-learn, a stream with known colours, labels against a loop, and the picture of the plane."""

import numpy as np
import pytest
import torch

from followspot.errors import SettingError
from followspot.ops import clusters
from followspot.ops.clusters import (
    dequantise,
    draw_clusters,
    inertia,
    kmeans,
    mini_batch_step,
    one_hot,
    quantise,
    quantise_points,
    seed_centres,
)

FOUR = torch.tensor([[-60.0, -40.0], [-10.0, 70.0], [30.0, -80.0], [80.0, 60.0]])


def blobs(*, count=600, spread=4.0, seed=0, centres=FOUR):
    generator = torch.Generator().manual_seed(seed)
    which = torch.randint(len(centres), (count,), generator=generator)
    return centres[which] + spread * torch.randn(count, centres.shape[1], generator=generator)


def test_f031_offline_inertia_is_within_a_percent_of_scikit_learn():
    sklearn = pytest.importorskip("sklearn.cluster", reason="scikit-learn is the judge here")
    points = torch.randn(3000, 2, generator=torch.Generator().manual_seed(1)) * torch.tensor([20.0, 40.0])
    theirs = sklearn.KMeans(16, n_init=4, random_state=0).fit(points.numpy()).inertia_
    assert inertia(points, kmeans(points, 16)) <= theirs * 1.01


def test_f031_the_same_seed_gives_the_same_centres():
    points = blobs(spread=20)
    assert torch.equal(kmeans(points, 7, seed=3), kmeans(points, 7, seed=3))


def test_offline_finds_four_colours_in_order():
    torch.testing.assert_close(kmeans(blobs(), 4), FOUR, atol=1.5, rtol=0)


def test_offline_bears_fewer_colours_than_clusters():
    centres = kmeans(torch.tensor([[1.0, 2.0]]).repeat(9, 1), 3)
    torch.testing.assert_close(centres, torch.tensor([[1.0, 2.0]] * 3))


@pytest.mark.parametrize("points", [torch.zeros(3), torch.zeros(3, 2, dtype=torch.long), torch.tensor([[float("nan"), 0.0]])])
def test_points_must_be_finite_floats(points):
    with pytest.raises(SettingError, match="finite floats"):
        kmeans(points, 1)


@pytest.mark.parametrize("count", [0, 4])
def test_clusters_must_fit_the_points(count):
    with pytest.raises(SettingError, match=f"{count} clusters need 1..3"):
        kmeans(torch.randn(3, 2), count)


def follow(stream, centres, *, memory=0.99, empty_share=1e-4):
    counts = torch.zeros(len(centres))
    for points in stream:
        centres, counts = mini_batch_step(centres, counts, points, memory=memory, empty_share=empty_share)
    return centres, counts


def test_f032_a_stream_of_four_colours_is_found_from_bad_centres():
    # All centres start in one place, so three of them are empty and must be re-seeded.
    centres, _ = follow((blobs(seed=seed, count=200) for seed in range(120)), torch.zeros(4, 2))
    distances = torch.cdist(FOUR, centres)
    assert distances.amin(1).max() < 1.5
    assert sorted(distances.argmin(1).tolist()) == [0, 1, 2, 3]


def test_f032_centres_follow_a_stream_that_changes():
    moved = FOUR + torch.tensor([15.0, -10.0])
    stream = [*(blobs(seed=seed) for seed in range(50)), *(blobs(seed=seed, centres=moved) for seed in range(60))]
    centres, _ = follow(stream, FOUR.clone(), memory=0.9)
    torch.testing.assert_close(centres, moved, atol=1.5, rtol=0)


def test_f032_one_step_is_the_weighted_mean_of_memory_and_batch():
    centres, counts = torch.tensor([[0.0], [10.0]]), torch.tensor([4.0, 2.0])
    moved, seen = mini_batch_step(centres, counts, torch.tensor([[1.0], [2.0], [12.0]]), memory=0.5, empty_share=1e-4)
    torch.testing.assert_close(moved, torch.tensor([[(0 * 2 + 3) / 4], [(10 * 1 + 12) / 2]]))
    torch.testing.assert_close(seen, torch.tensor([4.0, 2.0]))


def test_f032_an_empty_centre_moves_to_the_furthest_point():
    points = torch.tensor([[0.0], [1.0], [9.0]])
    moved, counts = mini_batch_step(torch.tensor([[1.0], [99.0]]), torch.zeros(2), points, memory=0.0, empty_share=0.0)
    assert moved[1].item() == 9
    assert counts[1].item() == 1


def test_f032_a_one_coloured_batch_re_seeds_nothing_new():
    points = torch.full((50, 2), 3.0)
    centres, counts = follow([points] * 30, FOUR.clone())
    assert torch.isfinite(centres).all()
    assert torch.isfinite(counts).all()
    assert torch.equal(quantise_points(points, centres), quantise_points(points, centres)[:1].expand(50))
    remembered, _ = follow([points], FOUR.clone(), empty_share=0.0)
    assert (remembered == FOUR).all(1).sum() >= 3 - 1


def test_seeds_are_points_and_prefer_far_ones():
    points = torch.cat([torch.zeros(500, 2), torch.full((1, 2), 100.0)])
    centres = seed_centres(points, torch.rand(2, clusters.CANDIDATES, generator=torch.Generator().manual_seed(0)))
    assert sorted(centres[:, 0].tolist()) == [0.0, 100.0]


def test_f033_labels_equal_a_loop():
    colours = torch.randn(2, 3, 2, 4, 5) * 40
    found = quantise(colours, FOUR)
    for index in np.ndindex(2, 3, 4, 5):
        colour = colours[index[0], index[1], :, index[2], index[3]]
        assert found[index] == min(range(4), key=lambda k: ((colour - FOUR[k]) ** 2).sum().item())


def test_f033_chunks_change_nothing(monkeypatch):
    points = torch.randn(50, 2) * 60
    whole = quantise_points(points, FOUR)
    monkeypatch.setattr(clusters, "_CHUNK", 7)
    assert torch.equal(quantise_points(points, FOUR), whole)


def test_f033_ties_go_to_the_first_centre():
    assert quantise(torch.zeros(1, 1, 1), torch.tensor([[1.0], [-1.0]])).item() == 0


def test_f033_soft_labels_give_the_weighted_centre_and_hard_ones_the_centre():
    labels = torch.tensor([[0, 3], [2, 1]])
    assert torch.equal(dequantise(one_hot(labels, 4), FOUR).permute(1, 2, 0), FOUR[labels])
    weights = torch.rand(4, 2, 3).softmax(0)
    wanted = sum(weights[k] * FOUR[k][:, None, None] for k in range(4))
    torch.testing.assert_close(dequantise(weights, FOUR), wanted)


def test_f034_the_plane_has_a_to_the_right_and_b_up_and_a_dot_a_centre():
    picture = draw_clusters(torch.tensor([[80.0, 60.0], [-500.0, 0.0]]))
    assert picture.shape == (3, 221, 221)
    assert picture.amin() >= 0
    assert picture.amax() <= 1
    dots = (picture.amax(0) == 0).nonzero()
    assert sorted(map(tuple, dots.tolist())) == [
        *((49, x) for x in (189, 190, 191)),
        *((50, x) for x in (189, 190, 191)),
        *((51, x) for x in (189, 190, 191)),
        *((y, x) for y in (109, 110, 111) for x in (0, 1)),
    ]
    red, green = picture[0], picture[1]
    assert red[110, 200] > red[110, 20]
    assert green[110, 20] > green[110, 200]
    assert picture[2, 210, 110] > picture[2, 10, 110], "blue is at the bottom, where b is negative"
