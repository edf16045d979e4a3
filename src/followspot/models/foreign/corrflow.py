"""CorrFlow's ``checkpoint.tar``: ``{"epoch", "state_dict", "optimizer"}`` of a data-parallel network.

Names: ``module.feature_extraction.conv1.{0,1}`` (convolution, batch norm); ``module.feature_extraction.layer{1..4}.{0,1}.left.{0,1,3,4}``
and ``.shortcut.{0,1}``, where ``layer2.0`` and ``layer3.0`` have one; ``module.post_convolution``. Frames are RGB in 0..1.
Source: the public repository of the paper's authors (zlai0/CorrFlow).
"""

from pathlib import Path
from typing import Final

from followspot.models.corrflow_net import CorrFlowNet
from followspot.models.foreign.checkpoint import read_checkpoint
from followspot.models.foreign.conversion import Conversion, convert_into

_OWNED: Final = ("feature_extraction.", "post_convolution.")
# A block of ours, and where its parts stand in the sequences of theirs; a ReLU without weights stands at left.2.
_PARTS: Final = {
    "conv1": "left.0",
    "bn1": "left.1",
    "conv2": "left.3",
    "bn2": "left.4",
    "downsample.0": "shortcut.0",
    "downsample.1": "shortcut.1",
}
_STEM: Final = {"conv1": "conv1.0", "bn1": "conv1.1"}


def convert(path: Path) -> Conversion:
    """Read CorrFlow's checkpoint into a :class:`followspot.models.corrflow_net.CorrFlowNet`.

    Raises:
        EncoderError: the file is unusable or of another network.
    """
    checkpoint = read_checkpoint(path, wrapper="state_dict")
    return convert_into(CorrFlowNet(), checkpoint, layout="corrflow", rename=_rename, owned=_OWNED)


def _rename(ours: str) -> str:
    owner, _, leaf = ours.rpartition(".")
    if owner == "head":
        return f"post_convolution.{leaf}"
    if owner in _STEM:
        return f"feature_extraction.{_STEM[owner]}.{leaf}"
    stage, index, part = owner.split(".", 2)
    return f"feature_extraction.{stage}.{index}.{_PARTS[part]}.{leaf}"
