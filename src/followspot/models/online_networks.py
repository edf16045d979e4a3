"""The networks of online trackers by name, and out of weight files.

They are no encoders: they are asked about crops around an object, not about frames. The card of their weights names them under ``network``.
"""

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from followspot.errors import EncoderError
from followspot.models.s2iammask import S2iamMask
from followspot.models.siammask import SiamMask
from followspot.models.weights import load_into, load_weights, save_weights

_MAKERS: Final[Mapping[str, Callable[[], SiamMask | S2iamMask]]] = {
    "siammask": SiamMask,
    "siammask-base": lambda: SiamMask(masks="base"),
    "siammask-box": lambda: SiamMask(masks="none"),
    "s2iammask": S2iamMask,
    "siammask-lite": lambda: SiamMask(18),
    "siammask-lite-base": lambda: SiamMask(18, masks="base"),
    "siammask-lite-box": lambda: SiamMask(18, masks="none"),
    "s2iammask-lite": lambda: S2iamMask(18),
}
ONLINE_NETWORKS: Final = tuple(_MAKERS)


def build_online_network(name: str) -> SiamMask | S2iamMask:
    """Make an untrained network; its weights come from torch's random state.

    Args:
        name: one of :data:`ONLINE_NETWORKS`: refined masks, ``-base`` masks, ``-box`` only, or the second stage of ``s2iammask``;
            ``-lite`` is on a ResNet-18.

    Returns:
        A module in training mode.

    Raises:
        EncoderError: there is no such network.

    >>> build_online_network("siammask-lite").mask_side
    127
    """
    if name not in _MAKERS:
        near = difflib.get_close_matches(name, ONLINE_NETWORKS, n=1, cutoff=0.0)[0]
        raise EncoderError(f"no online network is called {name!r}; did you mean {near!r}? There are {', '.join(ONLINE_NETWORKS)}")
    return _MAKERS[name]()


def load_online_network(weights: Path) -> tuple[SiamMask | S2iamMask, dict[str, Any]]:
    """Read a network that :func:`save_online_network` or ``followspot convert --from siammask`` wrote.

    Returns:
        The network in eval mode on the CPU, and its card.

    Raises:
        EncoderError: the file is missing, damaged, or of another kind.
    """
    state, card = load_weights(weights)
    name = card.get("network")
    if not isinstance(name, str):
        raise EncoderError(
            f"{weights.name} is not of an online tracker; train one, or followspot convert SiamMask_DAVIS.pth --from siammask"
        )
    network = build_online_network(name)
    # Weights may be kept in half precision; load_state_dict makes them what the network has.
    load_into(network, state, source=weights.name)
    return network.eval(), card


def shipped_weights(name: str) -> Path:
    """The weights that come with the package.

    Args:
        name: one of :data:`ONLINE_NETWORKS`.

    Raises:
        EncoderError: none come with it; says where to get some.
    """
    path = Path(__file__).with_name(f"{name}.safetensors")
    if not path.is_file():
        raise EncoderError(
            f"no weights come with {name}; train them (followspot train {name} --data STORE --out RUN) or convert published ones "
            "(followspot convert SiamMask_DAVIS.pth --from siammask --out FILE.safetensors), and name RUN or that file as the tracker"
        )
    return path


def save_online_network(path: Path, network: SiamMask | S2iamMask, card: Mapping[str, Any]) -> None:
    """Write a network with its name in the card; the file appears whole or not at all.

    Args:
        path: a file that ends in ``.safetensors``.
        network: what to write.
        card: what else to say: data, licence, scores.

    Raises:
        OutputError: see :func:`followspot.models.weights.save_weights`.
    """
    save_weights(path, network, {**card, "network": network.name})
