"""Whether the GPU kernels may be taken without being named: only if asked for, and only where this GPU gave the right answers.

The kernels were written without a GPU at hand: they are proved in Triton's interpreter, not on any device. So ``FOLLOWSPOT_TRITON`` is
``off`` unless a person sets it to ``float16`` (better: `matching.SPARE`) or ``bfloat16``, and even then every size and setting is first
tried on made-up features and compared with plain torch.
"""

import logging
import os
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from followspot.errors import SettingError
from followspot.ops.backends import tiled
from followspot.ops.backends.gpu import matching
from followspot.ops.bank import Entry, FeatureBank, pack

if TYPE_CHECKING:
    from followspot.ops.propagate import Affinity

log = logging.getLogger(__name__)

VARIABLE = "FOLLOWSPOT_TRITON"
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
CLOSE = 1e-4
"""Ten times the agreement promised by `ops.propagate.propagate`: both sides round, and matrix products of GPUs add up in any order."""
TIES = 0.002
"""Cells whose labels may differ since candidates k and k + 1 tie to float32; about 1 in 10 000 for random features, at least one is let
through. Their entropy must agree all the same: it depends on the scores alone."""


def wished() -> torch.dtype | None:
    """What ``FOLLOWSPOT_TRITON`` asks for; None for off.

    Raises:
        SettingError: it has no meaning.
    """
    wish = os.environ.get(VARIABLE) or "off"
    if wish != "off" and wish not in DTYPES:
        raise SettingError(f"{VARIABLE}={wish}: expected off, {', '.join(DTYPES)}")
    return DTYPES.get(wish)


def refusal(query: Tensor, entries: Sequence[Entry], affinity: "Affinity") -> str | None:
    """Why the kernels are not taken unasked; None where they are wished for, can do it, and have been proved on this GPU.

    Args:
        query: ``(h, w, C)``.
        entries: the remembered frames.
        affinity: how to match.

    Raises:
        SettingError: ``FOLLOWSPOT_TRITON`` has no meaning.
    """
    dtype = wished()
    if dtype is None:
        return f"{VARIABLE} is off"
    if query.device.type != "cuda":
        return f"the features are on {query.device}"
    return matching.refusal(query, entries, affinity) or wrong(
        query.device, tuple(query.shape), label_count=entries[0].labels.shape[1], affinity=affinity, dtype=dtype
    )


def match(query: Tensor, entries: Sequence[Entry], affinity: "Affinity") -> tuple[Tensor, Tensor]:
    """`matching.match` with candidates chosen in what ``FOLLOWSPOT_TRITON`` names, float16 where it is off.

    Args:
        query: ``(h, w, C)`` float32.
        entries: the remembered frames.
        affinity: how to match.

    Returns:
        Labels ``(L, h, w)`` and entropy ``(h, w)``.

    Raises:
        SettingError: ``FOLLOWSPOT_TRITON`` has no meaning.
    """
    return matching.match(query, entries, affinity, dtype=wished() or torch.float16)


@cache
def wrong(device: torch.device, shape: tuple[int, int, int], *, label_count: int, affinity: "Affinity", dtype: torch.dtype) -> str | None:
    """What is wrong with the kernels here, logged once; None where they agree with plain torch on made-up features.

    Args:
        device: where to try.
        shape: ``(h, w, C)``.
        label_count: L.
        affinity: how to match.
        dtype: what candidates are chosen in.
    """
    height, width, channels = shape
    generator = torch.Generator().manual_seed(0)

    def frame() -> tuple[Tensor, Tensor]:
        features = torch.randn(channels, height, width, generator=generator)
        return features.to(device), torch.rand(label_count, height, width, generator=generator).to(device)

    bank = FeatureBank(capacity=2)
    bank.add_reference(*frame(), key=0)
    bank.push(*frame())
    bank.push(*frame())
    unit, norms = pack(frame()[0])
    query = unit if affinity.normalize else unit * norms[:, :, None]
    why = _difference(query, bank.entries, affinity, dtype)
    if why:
        log.warning("the GPU kernels are not used for %d x %d cells on %s: %s; plain torch is", height, width, device, why)
    return why


def _difference(query: Tensor, entries: Sequence[Entry], affinity: "Affinity", dtype: torch.dtype) -> str | None:
    try:
        expected, expected_entropy = _exact(query, entries, affinity)
        for doubt in (1.0, float("inf")):
            labels, entropy, _ = matching.proven_match(query, entries, affinity, dtype=dtype, doubt=doubt)
            worst = float((entropy - expected_entropy).abs().max())
            share = float(((labels - expected).abs().amax(0) > CLOSE).float().mean())
            if not worst <= CLOSE or share > max(TIES, 1 / entropy.numel()):
                return f"entropy differs by {worst:.1e}, labels in {share:.1%} of the cells"
    except Exception as error:  # a compiler of kernels fails in many ways, and none of them should end a track
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"
    return None


def _exact(query: Tensor, entries: Sequence[Entry], affinity: "Affinity") -> tuple[Tensor, Tensor]:
    """Plain torch without TensorFloat-32, whatever the process allows elsewhere."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        return tiled.match(query, entries, affinity)
    finally:
        torch.set_float32_matmul_precision(before)
