"""Networks by name, untrained: what training starts from and weight files are loaded into.

A name is one of :data:`NETWORKS`, ``timm:<model>``, ``gray:<name>`` (sees no colour) or several joined by ``+`` (see
:class:`followspot.models.fused.Fused`). Modules are imported only when asked for, as timm takes seconds.
"""

import difflib
from collections.abc import Callable
from importlib import import_module
from typing import cast

from followspot.errors import EncoderError, SettingError
from followspot.models.encoder import Encoder

# name: module under followspot.models, what to call in it, and its arguments before the stride
_HOMES: dict[str, tuple[str, str, tuple[int, ...]]] = {
    "descriptor": ("descriptor", "Descriptor", ()),
    "resnet18": ("resnet", "ResNet", (18,)),
    "resnet50": ("resnet", "ResNet", (50,)),
    "corrflow-resnet18": ("corrflow_net", "CorrFlowNet", ()),
    "timecycle-resnet50": ("timecycle_net", "TimeCycleNet", ()),
    "videowalk-resnet18": ("videowalk_net", "VideowalkNet", ()),
    "colorizer-resnet-v2": ("colorizer_nets", "ColorizerResNetV2", ()),
    "colorizer-paper": ("colorizer_nets", "ColorizerPaperNet", ()),
}
NETWORKS = tuple(_HOMES)
# Networks that end in a projection to as many channels as one likes.
_ANY_DIM = frozenset({"colorizer-resnet-v2", "colorizer-paper"})


def build_network(name: str, *, stride: int | None = None, dim: int | None = None) -> Encoder:
    """Make an untrained network; its weights come from torch's random state.

    Args:
        name: see the module.
        stride: pixels a feature cell; None takes the network's own.
        dim: channels of the features, for ``colorizer-resnet-v2`` and ``colorizer-paper``; None takes the network's own.

    Returns:
        A module in training mode.

    Raises:
        EncoderError: there is no such network.
        SettingError: it has no such stride, or no choice of channels.

    >>> build_network("descriptor+resnet18").dim
    510
    """
    if dim is not None and name not in _ANY_DIM:
        others = " or ".join(sorted(_ANY_DIM))
        raise SettingError(f"{name!r} has its own number of channels, got dim = {dim}; leave it out, or use {others}")
    if "+" in name:
        from followspot.models.fused import Fused

        return Fused([build_network(part, stride=stride) for part in name.split("+")])
    if name.startswith("gray:"):
        from followspot.models.gray import GrayInput

        return GrayInput(build_network(name.removeprefix("gray:"), stride=stride))
    if name.startswith("timm:") and len(name) > len("timm:"):
        from followspot.models.timm import load_timm

        return load_timm(name.removeprefix("timm:"), stride=stride, weights=None, pretrained=False)
    if name not in _HOMES:
        near = difflib.get_close_matches(name, NETWORKS, n=1, cutoff=0.0)[0]
        known = ", ".join(NETWORKS)
        raise EncoderError(
            f"no encoder is called {name!r}; did you mean {near!r}? There are {known}, timm:<model>, gray:<name>, <name>+<name>"
        )
    module, make, arguments = _HOMES[name]
    build = cast(Callable[..., Encoder], getattr(import_module(f"followspot.models.{module}"), make))
    chosen = {key: value for key, value in (("stride", stride), ("dim", dim)) if value is not None}
    return build(*arguments, **chosen)
