"""What an online network begins with: the backbone of an encoder, or the weights of an earlier stage."""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from torch import Tensor, nn
from torch.nn import functional

from followspot.errors import EncoderError
from followspot.models.encoder import Encoder, load_encoder
from followspot.models.resnet import ResNet
from followspot.models.s2iammask import S2iamMask
from followspot.models.siammask import SiamMask
from followspot.models.weights import load_weights, read_card

_ENDINGS = (".safetensors", ".pt", ".pth")


def fill_backbone(network: SiamMask | S2iamMask, source: str) -> None:
    """Begin with what an encoder has learnt.

    The encoder normalises frames and pads with zeros or mirrors; the backbone takes frames as they are and pads nothing where that would
    move its grid. So the normalisation becomes part of the first convolution and its norm, and shortcuts of one pixel the middle of those
    of three. The projection after the backbone stays random.

    Args:
        network: its backbone is filled.
        source: an encoder by name (``"followspot"``, the shipped one), or a weight file. A ResNet of the same depth must be in it; a file
            that names no encoder, such as torchvision's, is taken for one.

    Raises:
        EncoderError: there is none.
    """
    backbone = (network.stage1 if isinstance(network, S2iamMask) else network).backbone
    own = backbone.state_dict()
    encoder = _encoder(source, depth=_depth(own))
    found = [part for part in cast(nn.Module, encoder).modules() if isinstance(part, ResNet)]
    if not found or set(own) - {name for name in own if name.startswith("adjust.")} != set(found[0].state_dict()):
        raise EncoderError(f"{source} holds no ResNet of the depth of {network.name}; name an encoder with ResNet-{_depth(own)}")
    state = _as_it_is_shown(found[0])
    for name, values in state.items():
        own[name].copy_(_widened(values, like=own[name]))


def fill_from_stage(network: SiamMask | S2iamMask, weights: Path) -> tuple[str, ...]:
    """Begin with an earlier stage: all that both have; the rest stays random.

    Args:
        network: what to fill; the base of an S2iamMask is its first stage.
        weights: of a network of the same backbone; a run's folder stands for its ``network.safetensors``.

    Returns:
        The names that the file did not have.

    Raises:
        EncoderError: the file is unusable, or has nothing of this network, or has it in another shape.
    """
    path = stage_weights(weights)
    if not path.is_file():
        raise EncoderError(f"there is no weight file {path} to begin {network.name} with; check network.init")
    state, _ = load_weights(path)
    own = network.state_dict()
    if isinstance(network, S2iamMask) and not any(name.startswith("stage1.") for name in state):
        state = {f"stage1.{name}": values for name, values in state.items()}
    shared = [name for name in own if name in state]
    wrong = [name for name in shared if own[name].shape != state[name].shape]
    if not any("backbone" in name for name in shared) or wrong:
        which = f"has {wrong[0]} of shape {tuple(state[wrong[0]].shape)}" if wrong else "has no backbone of an online tracker"
        remedy = "give weights of an online tracker of the same depth, or those of an encoder as network.backbone"
        raise EncoderError(f"{path} {which}, so {network.name} cannot begin with it; {remedy}")
    for name in shared:
        own[name].copy_(state[name])
    return tuple(name for name in own if name not in state)


def stage_weights(given: Path) -> Path:
    """The weight file that was given, or that of the run that was given."""
    return given / "network.safetensors" if given.is_dir() else given


def _encoder(source: str, *, depth: int) -> Encoder:
    path = Path(source)
    if path.suffix not in _ENDINGS:
        return load_encoder(source)
    if not path.is_file():
        raise EncoderError(f"there is no weight file {path} to begin with; check network.backbone")
    return load_encoder(None if read_card(path) else f"resnet{depth}", weights=path)


def _as_it_is_shown(encoder: ResNet) -> Mapping[str, Tensor]:
    """The weights of an encoder that takes frames which are not normalised."""
    state = dict(encoder.state_dict())
    weight = state["conv1.weight"] / encoder.std.view(1, 3, 1, 1)
    state["conv1.weight"] = weight
    # conv((x - mean) / std) lies this much below conv'(x) everywhere, since nothing is padded.
    state["bn1.running_mean"] = state["bn1.running_mean"] + (weight * encoder.mean.view(1, 3, 1, 1)).sum((1, 2, 3))
    return state


def _widened(values: Tensor, *, like: Tensor) -> Tensor:
    """A kernel of one pixel as the middle of one of three."""
    if values.shape == like.shape:
        return values
    edge = (like.shape[-1] - values.shape[-1]) // 2
    return functional.pad(values, (edge, edge, edge, edge))


def _depth(state: Mapping[str, Tensor]) -> int:
    return 50 if "layer1.0.conv3.weight" in state else 18
