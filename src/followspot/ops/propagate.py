"""Label propagation: every cell of a new frame takes its labels from the cells of remembered frames that look like it.

    similarity                s = <query, key>, of unit vectors or raw
    candidates                the keys within a radius of the query's own place, in every remembered frame
    weights                   softmax(s / temperature) over the best k of them
    labels                    the weighted mean of the keys' labels

`Affinity` names the choices that published methods make differently.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from followspot.errors import SettingError
from followspot.ops.backends import tiled
from followspot.ops.backends.gpu import matching as gpu
from followspot.ops.backends.gpu import proof
from followspot.ops.backends.native import matching as native
from followspot.ops.bank import Entry, FeatureBank, pack

Backend = Literal["auto", "tiled", "native", "triton"]


@dataclass(frozen=True, kw_only=True)
class Affinity:
    """How query cells and remembered cells are matched. The defaults are those of space-time random walks (Jabri et al., 2020).

    Raises:
        SettingError: a value is outside its range.

    >>> Affinity(top_k=5, temperature=0.1).radius
    12
    """

    top_k: int | None = 10
    """Keys kept for each query, at least 1; None keeps all keys of the window."""
    temperature: float = 0.07
    """Above 0: weights are ``softmax(score / temperature)``."""
    radius: int | None = 12
    """Reach in cells around the query's place, at least 0; None searches the whole image."""
    radius_first: int | None = 12
    """The same for permanent references."""
    window: Literal["square", "circle"] = "square"
    """Square: ``max(|dx|, |dy|) <= radius``. Circle: ``dx² + dy² <= radius²``."""
    normalize: bool = True
    """True: cosine similarity. False: raw dot products."""
    joint: bool = True
    """True: one softmax (and one top-k) over all remembered frames. False: one a frame, and the results are averaged over frames."""
    renormalize: bool = True
    """True: top-k first, softmax over the kept, so weights sum to 1. False: softmax over all keys of the window, then the top-k of
    it as they are, so weights sum to less than 1."""

    def __post_init__(self) -> None:
        if self.top_k is not None and self.top_k < 1:
            raise SettingError(f"top_k = {self.top_k}: expected 1 or more, or None to keep every key of the window")
        if not 0 < self.temperature < float("inf"):
            raise SettingError(f"temperature = {self.temperature}: expected a finite number above 0; published values lie in 0.04..1")
        for name, radius in (("radius", self.radius), ("radius_first", self.radius_first)):
            if radius is not None and radius < 0:
                raise SettingError(f"{name} = {radius}: expected 0 or more cells, or None for the whole image")
        if self.window not in ("square", "circle"):
            raise SettingError(f"window = {self.window!r}: expected 'square' or 'circle'")


@dataclass(frozen=True, kw_only=True, eq=False)
class Propagation:
    """What propagation says about one frame."""

    labels: Tensor
    """``(L, h, w)`` float32, weighted means of the remembered labels."""
    entropy: Tensor
    """``(h, w)`` float32 in [0, 1]: entropy of the kept weights (made to sum to 1) over the logarithm of their number; 0 where one
    key is kept. The mean over frames where `Affinity.joint` is False."""


def propagate(query: Tensor, bank: FeatureBank, affinity: Affinity, *, backend: Backend = "auto") -> Propagation:
    """Carry the bank's labels over to a new frame; no gradient flows.

    Agrees with a float64 brute force to 1e-5 (raw dot products: while ``score / temperature`` stays below about 300), except where
    candidates k and k + 1 tie within 1e-6; there either may be kept. That holds for the full float32 matrix products which torch
    uses unless told otherwise (``torch.set_float32_matmul_precision``). Memory beyond the bank does not grow with the length of the
    video and stays linear in ``h * w`` where the radius is bounded.

    Args:
        query: features ``(C, h, w)`` of the new frame, floating, on the bank's device.
        bank: the remembered frames; not changed.
        affinity: how to match.
        backend: "tiled" is pure torch and runs anywhere; "native" is compiled for CPUs; "triton" is compiled for GPUs
            and not yet proved on one; "auto" takes the fastest that is exact here, and "triton" only as `ops.backends.gpu.proof` says.

    Returns:
        Soft labels and the entropy of the weights, on the query's device.

    Raises:
        SettingError: the bank is empty, the query does not fit it, or the backend is unknown or cannot do this here.

    >>> import torch
    >>> bank = FeatureBank(capacity=1)
    >>> features = torch.eye(4).view(4, 2, 2)
    >>> bank.push(features, torch.tensor([[[1.0, 0.0], [0.0, 0.0]]]))
    >>> propagate(features, bank, Affinity(top_k=1)).labels
    tensor([[[1., 0.],
             [0., 0.]]])
    """
    if backend not in ("auto", "tiled", "native", "triton"):
        raise SettingError(f"backend = {backend!r}: expected 'auto', 'tiled', 'native' or 'triton'")
    if bank.shape is None:
        raise SettingError("the bank is empty; add_reference or push a frame before propagating")
    if (tuple(query.shape), query.device) != (bank.shape, bank.device):
        got = f"{tuple(query.shape)} on {query.device}"
        raise SettingError(f"the query is {got}, the bank holds {bank.shape} on {bank.device}; encode both alike")
    unit, norms = pack(query)
    cells = unit if affinity.normalize else unit * norms[:, :, None]
    labels, entropy = _match(cells, bank.entries, affinity, backend=backend)
    return Propagation(labels=labels, entropy=entropy)


def _match(cells: Tensor, entries: Sequence[Entry], affinity: Affinity, *, backend: Backend) -> tuple[Tensor, Tensor]:
    """By the backend that is named, or by the fastest that may be taken here."""
    named = {"native": (native.refusal, native.match), "triton": (gpu.refusal, proof.match)}
    if backend in named:
        refuse, match = named[backend]
        refusal = refuse(cells, entries, affinity)
        if refusal:
            raise SettingError(f"backend = {backend!r} cannot do this: {refusal}; use 'auto' or 'tiled'")
        return match(cells, entries, affinity)
    if backend == "auto" and native.refusal(cells, entries, affinity) is None:
        return native.match(cells, entries, affinity)
    if backend == "auto" and proof.refusal(cells, entries, affinity) is None:
        return proof.match(cells, entries, affinity)
    return tiled.match(cells, entries, affinity)
