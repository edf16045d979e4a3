"""K-means on colours: offline, online by mini-batches, and what follows from the centres: labels, colours, a picture.

Colours are points in any space (two numbers for ab of Lab, three for RGB). Offline: k-means++ (Arthur, Vassilvitskii 2007) with several
candidates a step, then Lloyd's iterations. Online: Sculley 2010, each centre moves by one over the number of points it has seen, with
counts that fade, so that centres go on following a stream.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from followspot.errors import SettingError
from followspot.ops.color import lab_to_rgb

CANDIDATES = 4
"""Candidates a step of greedy k-means++: 2 + ln K, the number of Arthur and Vassilvitskii 2007, for the usual 16 clusters."""
# Distances are computed for so many points at a time: 2^18 x 16 clusters x 4 bytes = 16 MiB.
_CHUNK = 1 << 18


def kmeans(points: Tensor, clusters: int, *, seed: int = 0, restarts: int = 4, iterations: int = 300) -> Tensor:
    """Offline k-means: the best of several runs.

    Args:
        points: ``(N, D)`` floats, N at least `clusters`.
        clusters: K, at least 1.
        seed: of the initial centres; the same seed gives the same centres on the same machine.
        restarts: independent runs; the one with the smallest inertia wins.
        iterations: Lloyd iterations a run at most; it stops earlier when no centre moves.

    Returns:
        ``(K, D)`` centres, sorted by their first coordinate, then the second, ...

    Raises:
        SettingError: the points are not finite ``(N, D)`` floats, or fewer than K.

    >>> kmeans(torch.tensor([[0.0], [1.0], [10.0], [11.0]]), 2)
    tensor([[ 0.5000],
            [10.5000]])
    """
    _check_points(points, clusters)
    generator = torch.Generator().manual_seed(seed)
    best, best_inertia = points[:clusters], math.inf
    for _ in range(max(1, restarts)):
        draws = torch.rand(clusters, CANDIDATES, generator=generator, dtype=torch.float64).to(points.device)
        centres = _lloyd(points, seed_centres(points, draws), iterations=iterations)
        total = inertia(points, centres)
        if total < best_inertia:
            best, best_inertia = centres, total
    return best[_lexicographic(best)]


def seed_centres(points: Tensor, draws: Tensor) -> Tensor:
    """Initial centres by greedy k-means++: far points are likelier, the most helpful of a few candidates is taken.

    Args:
        points: ``(N, D)`` floats.
        draws: ``(K, candidates)`` numbers uniform in [0, 1): all the chance there is, so that processes with equal draws agree.

    Returns:
        ``(K, D)`` centres, each one of the points. With fewer than K different points some centres are equal.
    """
    first = (draws[:1, 0] * len(points)).long().clamp_(max=len(points) - 1)
    centres = [points[first[0]]]
    nearest = (points - centres[0]).square().sum(1).double()
    for draw in draws[1:]:
        reach = nearest.cumsum(0)
        found = torch.searchsorted(reach, draw.double() * reach[-1], right=True).clamp_(max=len(points) - 1)
        distances = torch.minimum((points[:, None] - points[found]).square().sum(2).double(), nearest[:, None])
        winner = distances.sum(0).argmin()
        centres.append(points[found[winner]])
        nearest = distances[:, winner]
    return torch.stack(centres)


def mini_batch_step(centres: Tensor, counts: Tensor, points: Tensor, *, memory: float, empty_share: float) -> tuple[Tensor, Tensor]:
    """One step of online k-means.

    Each centre becomes the mean of what it remembers and its share of the batch. A centre that has hardly any points left moves to the
    point of the batch that is furthest from all centres, unless every point is already on a centre (a one-coloured batch re-seeds nothing).

    Args:
        centres: ``(K, D)``.
        counts: ``(K,)`` points that each centre remembers; zeros at first.
        points: ``(N, D)``.
        memory: in [0, 1): how much of the counts the step keeps; 0.99 remembers about 100 steps.
        empty_share: a centre with less than this share of all remembered points is empty.

    Returns:
        New centres and counts.
    """
    # A product in doubles, not index_add_: on a GPU that one adds in any order, and processes would drift apart.
    members = F.one_hot(quantise_points(points, centres), len(centres)).T.double()
    sums, seen = (members @ points.double()).to(centres), members.sum(1).to(counts)
    counts = counts * memory
    total = counts + seen
    moved = torch.where(total[:, None] > 0, (centres * counts[:, None] + sums) / total[:, None].clamp_min(1e-12), centres)
    return _reseed(moved, total, points, empty_share=empty_share)


def quantise_points(points: Tensor, centres: Tensor) -> Tensor:
    """Index of the nearest centre (squared Euclidean distance) of each of ``(N, D)`` points, ``(N,)`` int64; ties go to the first."""
    return torch.cat([_distances(part, centres).argmin(1) for part in torch.split(points, _CHUNK)])


def quantise(colours: Tensor, centres: Tensor) -> Tensor:
    """Hard labels of a map of colours.

    Args:
        colours: ``(..., D, h, w)``.
        centres: ``(K, D)``.

    Returns:
        ``(..., h, w)`` int64 in 0..K-1, the nearest centre; ties go to the first.

    >>> quantise(torch.tensor([0.0, 9.0]).view(1, 1, 2), torch.tensor([[1.0], [8.0]]))
    tensor([[0, 1]])
    """
    maps = colours.movedim(-3, -1)
    return quantise_points(maps.reshape(-1, maps.shape[-1]), centres.to(maps)).view(maps.shape[:-1])


def soft_labels(colours: Tensor, centres: Tensor, *, neighbours: int, sigma: float) -> Tensor:
    """Soft labels: the nearest few centres, weighted by a Gaussian of their distance (Zhang et al. 2016, "Colorful Image Colorization").

    Args:
        colours: ``(..., D, h, w)``.
        centres: ``(K, D)``.
        neighbours: how many centres share a colour, 1..K.
        sigma: of the Gaussian, above 0, in units of the colours.

    Returns:
        ``(..., K, h, w)`` that sum to 1 over K.

    >>> soft_labels(torch.tensor([1.0]).view(1, 1, 1), torch.tensor([[0.0], [2.0], [9.0]]), neighbours=2, sigma=1.0).flatten()
    tensor([0.5000, 0.5000, 0.0000])
    """
    maps = colours.movedim(-3, -1)
    distances = _distances(maps.reshape(-1, maps.shape[-1]), centres.to(maps))
    nearest, places = distances.topk(neighbours, dim=1, largest=False)
    # Of the differences, so that a colour far from all centres has a label too.
    shares = ((nearest[:, :1] - nearest) / (2 * sigma**2)).exp()
    labels = torch.zeros_like(distances).scatter_(1, places, shares / shares.sum(1, keepdim=True))
    return labels.view(*maps.shape[:-1], len(centres)).movedim(-1, -3)


def one_hot(labels: Tensor, clusters: int) -> Tensor:
    """``(..., h, w)`` labels as ``(..., K, h, w)`` float32 maps of zeros and ones."""
    maps = torch.zeros(*labels.shape[:-2], clusters, *labels.shape[-2:], device=labels.device)
    return maps.scatter_(-3, labels.unsqueeze(-3), 1.0)


def dequantise(weights: Tensor, centres: Tensor) -> Tensor:
    """The expected colour of soft labels.

    Args:
        weights: ``(..., K, h, w)``, summing to 1 over K.
        centres: ``(K, D)``.

    Returns:
        ``(..., D, h, w)``: centres averaged with the weights; a one-hot label gives its centre.

    >>> dequantise(torch.tensor([0.25, 0.75]).view(2, 1, 1), torch.tensor([[0.0], [8.0]])).item()
    6.0
    """
    return torch.einsum("...khw,kd->...dhw", weights, centres.to(weights))


def draw_clusters(centres: Tensor, *, side: int = 221, reach: float = 110.0, lightness: float = 50.0) -> Tensor:
    """The ab plane as a picture, with a black dot at each centre.

    Args:
        centres: ``(K, 2)`` ab; what lies outside the plane is drawn at its edge.
        side: of the picture in pixels; 221 is a pixel a unit.
        reach: a and b run from ``-reach`` to ``reach``, which holds the colours of sRGB.
        lightness: L of the plane.

    Returns:
        ``(3, side, side)`` RGB in [0, 1], a to the right, b up.

    >>> picture = draw_clusters(torch.tensor([[0.0, 0.0]]))
    >>> picture[:, 110, 110].tolist(), [round(value, 1) for value in picture[:, 110, 200].tolist()]
    ([0.0, 0.0, 0.0], [1.0, 0.0, 0.5])
    """
    axis = torch.linspace(-reach, reach, side, device=centres.device)
    a, b = axis.expand(side, side), axis.flip(0)[:, None].expand(side, side)
    picture = lab_to_rgb(torch.stack([torch.full_like(a, lightness), a, b])).clamp(0, 1)
    places = ((centres.clamp(-reach, reach) + reach) / (2 * reach) * (side - 1)).round().long().tolist()
    for column, up in places:
        row = side - 1 - up
        picture[:, max(0, row - 1) : row + 2, max(0, column - 1) : column + 2] = 0
    return picture


def inertia(points: Tensor, centres: Tensor) -> float:
    """Sum of squared distances of ``(N, D)`` points to their nearest centre."""
    return math.fsum(_distances(part, centres).amin(1).double().sum().item() for part in torch.split(points, _CHUNK))


def _distances(points: Tensor, centres: Tensor) -> Tensor:
    # Not by the matrix product: its cancellation breaks exact ties and makes small distances negative.
    return torch.stack([(points - centre).square().sum(1) for centre in centres], dim=1)


def _lloyd(points: Tensor, centres: Tensor, *, iterations: int) -> Tensor:
    counts = torch.zeros(len(centres), dtype=points.dtype, device=points.device)
    for _ in range(iterations):
        moved, _seen = mini_batch_step(centres, counts, points, memory=0.0, empty_share=0.0)
        if torch.equal(moved, centres):
            break
        centres = moved
    return centres


def _reseed(centres: Tensor, counts: Tensor, points: Tensor, *, empty_share: float) -> tuple[Tensor, Tensor]:
    empty = counts <= empty_share * counts.sum()
    if not bool(empty.any()) or bool(empty.all()):
        return centres, counts
    centres, counts = centres.clone(), counts.clone()
    nearest = _distances(points, centres[~empty]).amin(1)
    for index in empty.nonzero().flatten().tolist():
        furthest = nearest.argmax()
        if nearest[furthest] <= 0:
            break
        centres[index] = points[furthest]
        counts[index] = 1
        nearest = torch.minimum(nearest, (points - points[furthest]).square().sum(1))
    return centres, counts


def _lexicographic(centres: Tensor) -> Tensor:
    order = torch.arange(len(centres), device=centres.device)
    for column in reversed(range(centres.shape[1])):
        order = order[centres[order, column].argsort(stable=True)]
    return order


def _check_points(points: Tensor, clusters: int) -> None:
    if points.ndim != 2 or not points.is_floating_point() or not bool(points.isfinite().all()):
        raise SettingError(f"points must be finite floats (N, D), got {points.dtype} {tuple(points.shape)}; flatten the maps and drop NaN")
    if not 1 <= clusters <= len(points):
        raise SettingError(f"{clusters} clusters need 1..{len(points)} for {len(points)} points; ask for fewer or give more points")
