"""Make the online tracker that followspot ships from a finished run: ``python results/ship_siammask.py RUN/network.safetensors``.

Writes its weights, kernels in half precision and vectors in single, with their card to ``src/followspot/models/siammask-lite.safetensors``.
"""

import argparse
from pathlib import Path

from followspot.models import online_networks
from followspot.models.online_networks import load_online_network, save_online_network

# A wheel should stay a small download; larger weights are made by a documented command instead.
_LARGEST = 12 * 10**6


def main() -> None:
    """Read the run's network, write ours."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path, help="network.safetensors of the run")
    parser.add_argument("--out", type=Path, help="default: where the package looks for the network's name")
    given = parser.parse_args()
    network, card = load_online_network(given.weights)
    out = given.out or Path(online_networks.__file__).with_name(f"{network.name}.safetensors")
    for parameter in network.parameters():
        if parameter.ndim > 1:
            parameter.data = parameter.data.half()
    save_online_network(out, network, card)
    size = out.stat().st_size
    print(f"{out}: {size / 10**6:.2f} MB")
    if size > _LARGEST:
        out.unlink()
        raise SystemExit(f"{size} bytes are more than {_LARGEST}; not kept")


if __name__ == "__main__":
    main()
