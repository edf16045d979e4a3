"""The random walk's ``pretrained.pth``: ``{"model", "optimizer", "lr_scheduler", "epoch", "args"}``.

Names: ``encoder.model`` is a ResNet-18 in torchvision's names, fourth stage included, which tracking leaves out; where an old PyTorch
could not reflect in a convolution, padding and convolution are a sequence and ``conv1.weight`` is called ``conv1.1.weight``.
``selfsim_fc`` is the training head. Frames are RGB with ImageNet's statistics; the third stage has stride 1. Which border the network was
trained with stands in ``args.model_type``: "scratch", as published, reflects. Source: the authors' public repository (ajabri/videowalk).
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import Final

from followspot.errors import EncoderError
from followspot.models.foreign.checkpoint import Checkpoint, read_checkpoint
from followspot.models.foreign.conversion import Conversion, convert_into
from followspot.models.resnet import ResNet
from followspot.models.videowalk_net import VideowalkNet

_OWNED: Final = ("encoder.conv1.", "encoder.bn1.", "encoder.layer1.", "encoder.layer2.", "encoder.layer3.")
# The trainer's network types that are a ResNet-18 with a zero border.
_ZERO_BORDER: Final = ("scratch_zeropad", "imagenet18")


def convert(path: Path) -> Conversion:
    """Read a checkpoint of videowalk into a :class:`followspot.models.videowalk_net.VideowalkNet` or a plain ResNet-18.

    Raises:
        EncoderError: the file is unusable or of another network.
    """
    checkpoint = read_checkpoint(path, wrapper="model")
    network = _network(checkpoint)
    aliases = {_plain(name): name for name in checkpoint.state}
    if len(aliases) < len(checkpoint.state):
        raise EncoderError(f"{checkpoint.name} holds a convolution twice, once as .weight and once as .1.weight; fetch the file again")
    plain = replace(checkpoint, state={name: checkpoint.state[theirs] for name, theirs in aliases.items()})
    conversion = convert_into(network, plain, layout="videowalk", rename=lambda ours: f"encoder.{ours}", owned=_OWNED)
    used = tuple(sorted(aliases[name] for name in conversion.used))
    unused = tuple(sorted(aliases[name] for name in conversion.unused))
    conversion.card["converted"]["unused"] = list(unused)
    return replace(conversion, used=used, unused=unused)


def _network(checkpoint: Checkpoint) -> ResNet:
    kind = checkpoint.option("model_type")
    if kind is None or kind == "scratch":
        return VideowalkNet()
    if kind in _ZERO_BORDER:
        return ResNet(18, stride=8)
    raise EncoderError(f"{checkpoint.name} was trained as {kind!r}; only ResNet-18 can be converted: scratch, {', '.join(_ZERO_BORDER)}")


def _plain(name: str) -> str:
    """The name without the wrapper around the network and around reflecting convolutions."""
    name = re.sub(r"^encoder\.model\.", "encoder.", name)
    return re.sub(r"(^encoder\..*conv\d|^encoder\.conv1)\.1\.weight$", r"\1.weight", name)
