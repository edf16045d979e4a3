"""Mean J of an encoder and of its mixtures with the descriptor: what the ablations of results/default.md were read with.

    python results/quick_j.py --davis DAVIS --split dev RUN/encoder.safetensors --share 0 0.85 0.92

The tracker is the default preset's; J is the mean over the frames that DAVIS scores and then over sequences. For the official score
with F run ``followspot evaluate davis``.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from followspot.datasets.davis import DavisDataset, DavisSequence
from followspot.io.video import open_video
from followspot.metrics.region import region_similarity
from followspot.models.descriptor import Descriptor
from followspot.models.encoder import Encoder, load_encoder
from followspot.models.fused import Fused
from followspot.tracking.presets import Resolution, find_preset
from followspot.tracking.propagation import PropagationTracker
from followspot.types import Masks


def mean_j(tracker: PropagationTracker, sequence: DavisSequence) -> float:
    """J of one sequence, first and last frame left out."""
    scores = []
    with open_video(sequence.image_folder) as video:
        for answer in tracker.stream(video, {0: [Masks(ids=sequence.read_mask(0))]}):
            if 0 < answer.index < len(sequence) - 1 and answer.masks is not None:
                scores.append(float(region_similarity(answer.masks > 0, sequence.read_mask(answer.index) > 0)))
    return float(np.mean(scores))


def mixed(network: Encoder, share: float) -> Encoder:
    """The network with so much of the descriptor: 0 alone, 1 the descriptor alone."""
    if share == 0:
        return network
    descriptor = Descriptor(stride=network.stride)
    return descriptor.eval() if share == 1 else Fused([descriptor, network], weights=[share, 1 - share]).eval()


def main() -> None:
    """Print a line a mixture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--davis", type=Path, required=True)
    parser.add_argument("--split", default="dev")
    parser.add_argument("--sequences", nargs="*", help="only these")
    parser.add_argument("--share", type=float, nargs="+", default=[0.0, 0.85, 0.92], help="of the descriptor's cosine")
    parser.add_argument("--top-k", type=int, default=5)
    parser.add_argument("--temperature", type=float, default=0.02)
    parser.add_argument("--resolution", type=int, default=480)
    given = parser.parse_args()
    preset = find_preset("default")
    affinity = replace(preset.affinity, top_k=given.top_k, temperature=given.temperature)
    preset = replace(preset, affinity=affinity, resolution=Resolution(pixels=given.resolution))
    sequences = [s for s in DavisDataset(given.davis, split=given.split).sequences if not given.sequences or s.name in given.sequences]
    for share in given.share:
        tracker = PropagationTracker(mixed(load_encoder(weights=given.weights), share), preset, confidence=False)
        scores = {sequence.name: mean_j(tracker, sequence) for sequence in sequences}
        rest = " ".join(f"{name} {score:.3f}" for name, score in scores.items())
        print(f"share {share:.2f}: J {np.mean(list(scores.values())):.4f}  {rest}", flush=True)


if __name__ == "__main__":
    main()
