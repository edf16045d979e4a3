"""From tensors under other people's names to a network of ours, with an account of every name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from followspot.errors import EncoderError
from followspot.models.foreign.checkpoint import Checkpoint
from followspot.models.weights import load_into


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """A published network as one of ours."""

    network: nn.Module
    """Filled, in eval mode."""
    used: tuple[str, ...]
    """The checkpoint's names that are in the network, sorted."""
    unused: tuple[str, ...]
    """Its other names, sorted: training-only parts."""
    card: dict[str, Any]
    """What to save beside the weights; ``encoder`` and ``stride`` are what :func:`followspot.models.encoder.load_encoder` reads,
    ``network`` what :func:`followspot.models.online_networks.load_online_network` does."""
    stock: nn.Module | None = None
    """The part of the network whose names are torchvision's, where there is a part besides it."""

    @property
    def name(self) -> str:
        """What the network is called."""
        return str(self.card.get("encoder", self.card.get("network")))


def convert_into(
    network: nn.Module,
    checkpoint: Checkpoint,
    *,
    layout: str,
    rename: Callable[[str], str],
    owned: tuple[str, ...],
) -> Conversion:
    """Fill a network and account for every tensor of a checkpoint.

    Args:
        network: one of ours; has ``name`` and ``stride``.
        checkpoint: what was read. A tensor may have a third axis of length 1 (a time kernel of one frame) that ours lacks.
        layout: name of the published layout, for the card and messages.
        rename: our name of a tensor to the checkpoint's.
        owned: beginnings of names all of which must be used: one left over there means that the file's network is another one.

    Raises:
        EncoderError: a tensor is missing, left over in an owned part, or of another shape; the message has the checkpoint's names.
    """
    own = network.state_dict()
    names = {ours: rename(ours) for ours in own}
    # Counters of batch norms came with PyTorch 0.4.1 and mean nothing at inference.
    missing = [theirs for ours, theirs in names.items() if theirs not in checkpoint.state and not ours.endswith(".num_batches_tracked")]
    if missing:
        raise EncoderError(f"{checkpoint.name} lacks {_listed(missing)}; it is no {layout} checkpoint, or is incomplete: check --from")
    used = {theirs for theirs in names.values() if theirs in checkpoint.state}
    unused = tuple(sorted(set(checkpoint.state) - used))
    surplus = [name for name in unused if name.startswith(owned)]
    if surplus:
        raise EncoderError(
            f"{checkpoint.name} also holds {_listed(surplus)}: a larger network than {layout} published; it cannot be converted"
        )
    state = {ours: _flat(checkpoint.state[theirs], like=own[ours]) for ours, theirs in names.items() if theirs in used}
    load_into(network, state, source=checkpoint.name)
    card = {
        "encoder": network.name,
        "stride": network.stride,
        "converted": {
            "from": layout,
            "file": checkpoint.name,
            "sha256": checkpoint.sha256,
            "epoch": checkpoint.epoch,
            "unused": list(unused),
        },
    }
    return Conversion(network=network.eval(), used=tuple(sorted(used)), unused=unused, card=card)


def _flat(value: Tensor, *, like: Tensor) -> Tensor:
    return value.squeeze(2) if value.ndim == 5 and like.ndim == 4 and value.shape[2] == 1 else value


def _listed(names: list[str]) -> str:
    shown = ", ".join(sorted(names)[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
