"""Make the encoder that followspot ships from a finished run: ``python results/ship_default.py RUN/encoder.safetensors``.

Puts the trained network beside the descriptor, weights the two as results/default.md found best, and writes half-precision weights with
their card to ``src/followspot/models/followspot.safetensors``.
"""

import argparse
from pathlib import Path
from typing import Any, cast

from torch import nn

from followspot.models.descriptor import Descriptor
from followspot.models.encoder import SHIPPED_WEIGHTS, load_encoder
from followspot.models.fused import Fused
from followspot.models.weights import save_weights

# results/default.md: shares between 0.70 and 0.95 were compared.
DESCRIPTOR_SHARE = 0.92


def main() -> None:
    """Read the run's encoder, write ours."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path, help="encoder.safetensors of the run")
    parser.add_argument("--share", type=float, default=DESCRIPTOR_SHARE, help="weight of the descriptor's cosine, 0..1")
    parser.add_argument("--out", type=Path, default=SHIPPED_WEIGHTS)
    given = parser.parse_args()
    network = load_encoder(weights=given.weights)
    trained: dict[str, Any] = cast(Any, network).card
    fused = Fused([Descriptor(stride=network.stride), network], weights=[given.share, 1 - given.share]).half()
    card = {**trained, "encoder": f"descriptor+{network.name}", "stride": network.stride, "descriptor_share": given.share}
    save_weights(given.out, cast(nn.Module, fused), card)
    print(f"{given.out}: {given.out.stat().st_size / 2**20:.1f} MB")


if __name__ == "__main__":
    main()
