"""SiamMask and S2iamMask as trackers run them: the same numbers in less time.

A prepared copy has its batch norms folded into the convolutions before them, keeps channels last, as images lie in memory and as CPUs
convolve fastest, and computes in bfloat16 where the processor multiplies it at twice the speed of single precision. What else is saved
needs no copy: the template is computed once, and the mask branch looks only at the places that are asked for.
"""

import copy
from itertools import pairwise
from typing import Final, Literal, TypeVar, get_args

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from followspot.errors import SettingError
from followspot.models.s2iammask import S2iamMask
from followspot.models.siammask import SiamMask

Precision = Literal["auto", "float32", "bfloat16"]
"""``"auto"`` takes bfloat16 on processors that multiply it natively, else single precision."""
Network = TypeVar("Network", SiamMask, S2iamMask)

_NATIVE: Final = ("avx512_bf16", "amx_bf16")
"""Instructions of x86 processors; without them bfloat16 is imitated, slower than single precision."""


def prepare(network: Network, *, precision: Precision = "auto") -> Network:
    """A copy for inference.

    Args:
        network: what to copy, on its device; it is not changed, and later changes of it do not reach the copy.
        precision: of the copy; scores, boxes and masks become floats of single precision where the tracker reads them.

    Returns:
        A network in eval mode without gradients, that takes crops of the dtype of its parameters.

    Raises:
        SettingError: an unknown precision.
    """
    device = next(network.parameters()).device
    prepared = copy.deepcopy(network).eval().requires_grad_(False)
    for module in list(prepared.modules()):
        _fold(module)
    prepared.to(dtype=choose_dtype(precision, device=device))
    for module in prepared.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.contiguous(memory_format=torch.channels_last)
    return prepared


def choose_dtype(precision: Precision, *, device: torch.device) -> torch.dtype:
    """What a network on a device computes in.

    Args:
        precision: as asked for.
        device: where it computes; ``"auto"`` is single precision but on CPUs.

    Raises:
        SettingError: an unknown precision.
    """
    if precision not in get_args(Precision):
        raise SettingError(f'precision "{precision}" is unknown; choose from: {", ".join(get_args(Precision))}')
    if precision == "auto":
        return torch.bfloat16 if device.type == "cpu" and has_bfloat16() else torch.float32
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 natively, and torch has the library that makes use of it."""
    capabilities = torch.cpu.get_capabilities()
    available: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return available and any(capabilities.get(name, False) for name in _NATIVE)


def _fold(module: nn.Module) -> None:
    """Puts each batch norm into the convolution that is registered right before it; there it normalises in all networks here."""
    children = list(module.named_children())
    for (name, conv), (follower, norm) in pairwise(children):
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(module, name, fuse_conv_bn_eval(conv, norm))
            setattr(module, follower, nn.Identity())
