"""TimeCycle's ``checkpoint_14.pth.tar``: ``{"epoch", "state_dict"}`` of a data-parallel network.

Names: ``module.encoderVideo`` is a ResNet-50 in torchvision's names whose convolutions have a third, time axis of length 1 (its fourth
stage exists and is never run); ``module.afterconv1`` is a 1x1x1 convolution to 512 channels. ``afterconv3_trans``, ``afterconv4_trans``
and ``linear2`` localise patches in training only. Frames are RGB with ImageNet's statistics; the third stage has stride 1, which no
weight tells. Source: the public repository of the paper's authors (xiaolonw/TimeCycle).
"""

from dataclasses import replace
from pathlib import Path
from typing import Final

from followspot.models.foreign.checkpoint import read_checkpoint
from followspot.models.foreign.conversion import Conversion, convert_into
from followspot.models.timecycle_net import TimeCycleNet

_OWNED: Final = (
    "encoderVideo.conv1.",
    "encoderVideo.bn1.",
    "encoderVideo.layer1.",
    "encoderVideo.layer2.",
    "encoderVideo.layer3.",
    "afterconv1.",
)


def convert(path: Path) -> Conversion:
    """Read TimeCycle's checkpoint into a :class:`followspot.models.timecycle_net.TimeCycleNet`.

    Raises:
        EncoderError: the file is unusable or of another network.
    """
    checkpoint = read_checkpoint(path, wrapper="state_dict")
    network = TimeCycleNet()
    return replace(convert_into(network, checkpoint, layout="timecycle", rename=_rename, owned=_OWNED), stock=network.backbone)


def _rename(ours: str) -> str:
    if ours.startswith("head."):
        return f"afterconv1.{ours.removeprefix('head.')}"
    return f"encoderVideo.{ours.removeprefix('backbone.')}"
