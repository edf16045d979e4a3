"""SiamMask and S2iamMask as trackers run them: the same numbers in less time.

A prepared copy has its batch norms folded into the convolutions before them, keeps channels last, as images lie in memory and as CPUs
convolve fastest, computes in bfloat16 where the processor multiplies it at twice the speed of single precision, and on CPUs its wide 3x3
convolutions need fewer multiplications (`followspot.models.winograd`). What else is saved needs no copy: the template is computed once, and
the mask branch looks only at the places that are asked for.
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
from followspot.models.winograd import WinogradConv2d

Precision = Literal["auto", "float32", "bfloat16"]
"""``"auto"`` takes bfloat16 on processors that multiply it natively, else single precision."""
Network = TypeVar("Network", SiamMask, S2iamMask)

_NATIVE: Final = ("avx512_bf16", "amx_bf16")
"""Instructions of x86 processors; without them bfloat16 is imitated, slower than single precision."""
# bfloat16 has 8 bits, of which larger tiles would cost 3. How wide a convolution must be to gain, inputs times outputs, was measured on
# maps of 31x31 with the processor of docs/siammask.md.
_TILE: Final = {torch.float32: 4, torch.bfloat16: 2}
_WIDE: Final = {torch.float32: 128 * 128, torch.bfloat16: 128 * 256}
_SELDOM: Final = (".of_template", "mask.of_search")
"""Convolutions of a few cells."""


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
    dtype = choose_dtype(precision, device=device)
    prepared = copy.deepcopy(network).eval().requires_grad_(False)
    for name, module in list(prepared.named_modules()):
        _fold(module)
        if device.type == "cpu" and not name.endswith(_SELDOM):
            _shorten(module, dtype=dtype)
    prepared.to(dtype=dtype)
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


def _shorten(module: nn.Module, *, dtype: torch.dtype) -> None:
    """Replaces wide 3x3 convolutions by such with fewer multiplications."""
    for name, conv in list(module.named_children()):
        if (
            isinstance(conv, nn.Conv2d)
            and (conv.kernel_size, conv.stride, conv.groups, conv.padding_mode) == ((3, 3), (1, 1), 1, "zeros")
            and conv.in_channels * conv.out_channels >= _WIDE[dtype]
        ):
            setattr(module, name, WinogradConv2d(conv, tile=_TILE[dtype]))
