"""What contrastive objectives share: unit vectors, and cross-entropy against many keys in bounded memory."""

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

# A black clip can give zero vectors. Inside the root this bounds the gradient of the norm by 1000 and shortens a vector of length 1 by
# 5e-7 only.
_EPSILON = 1e-6
# Logits held at a time: 128 MiB of float32, small beside the activations of any encoder that needs more than one chunk.
_CHUNK = 2**25


def unit(vectors: Tensor, *, dim: int = -1) -> Tensor:
    """Vectors scaled to length 1 along `dim`, in at least single precision; zero stays zero, with finite gradients.

    >>> unit(torch.tensor([3.0, 4.0]))
    tensor([0.6000, 0.8000])
    """
    full = vectors if vectors.dtype == torch.float64 else vectors.float()
    return full * (full.square().sum(dim, keepdim=True) + _EPSILON).rsqrt()


def match(
    queries: Tensor, keys: Tensor, targets: Tensor, *, temperature: float, valid: Tensor | None = None, chunk: int = _CHUNK
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of each query's softmax over all keys.

    Args:
        queries: ``(Q, C)``; logits are ``query . key / temperature``.
        keys: ``(K, C)``.
        targets: ``(Q,)`` index of each query's right key.
        temperature: above 0.
        valid: ``(K,)`` booleans; keys that are not valid are left out of the softmax. None: all are.
        chunk: logits held at a time; more are computed in parts, and once more on the way back.

    Returns:
        ``(Q,)`` losses, and ``(Q,)`` detached: the largest probability of each query, 1/K when it cannot decide.
    """
    rows = max(1, chunk // max(1, len(keys)))
    if len(queries) <= rows:
        return _match(queries, keys, targets, valid, temperature)
    parts = [
        checkpoint(_match, part, keys, target, valid, temperature, use_reentrant=False, preserve_rng_state=False)
        for part, target in zip(torch.split(queries, rows), torch.split(targets, rows), strict=True)
    ]
    losses, peaks = zip(*parts, strict=True)
    return torch.cat(losses), torch.cat(peaks)


def evenness(counts: Tensor) -> Tensor:
    """Entropy of how often each of K things was chosen, over its most: 1 when all alike, 0 when it is always the same one.

    Args:
        counts: ``(..., K)`` at least 0, any scale, K at least 2.

    Returns:
        ``(...)`` in [0, 1].

    >>> evenness(torch.tensor([[2.0, 2.0], [0.0, 5.0]]))
    tensor([1., 0.])
    """
    share = counts / counts.sum(-1, keepdim=True).clamp(min=torch.finfo(counts.dtype).tiny)
    most = torch.tensor(float(counts.shape[-1]), device=counts.device).log()
    entropy: Tensor = torch.special.entr(share).sum(-1)
    return entropy / most


def _match(queries: Tensor, keys: Tensor, targets: Tensor, valid: Tensor | None, temperature: float) -> tuple[Tensor, Tensor]:
    logits = queries @ keys.T / temperature
    if valid is not None:
        # Not infinity: a query whose own key is left out still gets a finite loss, which its caller can weigh with 0.
        logits = logits.masked_fill(~valid, -1e9)
    total = logits.logsumexp(1)
    chosen = logits.gather(1, targets[:, None])[:, 0]
    peak = (logits.detach().amax(1) - total.detach()).exp()
    return total - chosen, peak
