"""Propagation in float64 by brute force, written from the formula with one Python loop a query; slow and independent."""

import math

import numpy as np


def in_reach(dy, dx, *, radius, window):
    if radius is None:
        return True
    return max(abs(dy), abs(dx)) <= radius if window == "square" else dy * dy + dx * dx <= radius * radius


def unit(features):
    norms = np.sqrt((features**2).sum(0, keepdims=True))
    return features / np.maximum(norms, 1e-12)


def one_softmax(scores, labels, *, top_k, temperature, renormalize):
    """One query, one pool of keys. Returns labels (L,), entropy, and the gap between candidates k and k + 1."""
    exponents = np.exp((scores - scores.max()) / temperature)
    order = np.argsort(-scores, kind="stable")
    kept = order if top_k is None else order[:top_k]
    gap = scores[order[top_k - 1]] - scores[order[top_k]] if len(kept) < len(order) else math.inf
    weights = exponents[kept] / exponents[kept].sum()
    entropy = -(weights * np.log(np.where(weights > 0, weights, 1))).sum() / math.log(len(kept)) if len(kept) > 1 else 0.0
    if not renormalize:
        weights = exponents[kept] / exponents.sum()
    return weights @ labels[kept], entropy, gap


def propagate(query, frames, *, top_k, temperature, radius, radius_first, window, normalize, joint, renormalize):
    """Propagate arrays: query (C, h, w), frames = [(features (C, h, w), labels (L, h, w), permanent)].

    Returns labels (L, h, w), entropy (h, w) and gap (h, w).
    """
    prepare = unit if normalize else (lambda features: features)
    query = prepare(query.astype(np.float64))
    frames = [(prepare(features.astype(np.float64)), labels.astype(np.float64), permanent) for features, labels, permanent in frames]
    _, height, width = query.shape
    out, doubt, gaps = np.zeros((len(frames[0][1]), height, width)), np.zeros((height, width)), np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            pools = []
            for features, labels, permanent in frames:
                reach = radius_first if permanent else radius
                cells = [(v, u) for v in range(height) for u in range(width) if in_reach(v - y, u - x, radius=reach, window=window)]
                rows, columns = np.array(cells).T
                pools.append((query[:, y, x] @ features[:, rows, columns], labels[:, rows, columns].T))
            if joint:
                pools = [(np.concatenate([scores for scores, _ in pools]), np.concatenate([labels for _, labels in pools]))]
            results = [
                one_softmax(scores, labels, top_k=top_k, temperature=temperature, renormalize=renormalize) for scores, labels in pools
            ]
            out[:, y, x] = np.mean([labels for labels, _, _ in results], axis=0)
            doubt[y, x] = np.mean([entropy for _, entropy, _ in results])
            gaps[y, x] = min(gap for _, _, gap in results)
    return out, doubt, gaps
