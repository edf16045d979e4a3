"""What an encoder is, and how to get one by name.

An encoder turns frames into a grid of feature vectors. To the trackers a hand-made descriptor and a trained network are the
same thing: something with ``name``, ``dim``, ``stride`` and ``receives`` that is called with RGB frames.
"""

from itertools import chain
from pathlib import Path
from typing import Literal, Protocol, cast, runtime_checkable

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from followspot.errors import EncoderError, SettingError
from followspot.models.weights import load_into, load_weights

Receives = Literal["rgb", "lab", "L"]

DEFAULT_ENCODER = "descriptor"
"""What is used when no encoder is named: the shipped network does not beat it yet (results/default.md)."""
SHIPPED_ENCODER = "followspot"
"""The encoder that learnt from video: its weights lie beside this file, with their card (docs/model-card.md)."""
SHIPPED_WEIGHTS = Path(__file__).with_name("followspot.safetensors")
# Untrained encoders are baselines, so their weights are drawn from this fixed seed and results repeat.
_RANDOM_SEED = 0


@runtime_checkable
class Encoder(Protocol):
    """Frames in, feature map out."""

    name: str
    """The name :func:`load_encoder` knows it by."""
    dim: int
    """Channels of the feature map."""
    stride: int
    """Pixels a feature cell, both ways."""
    receives: Receives
    """What the frames are turned into before anything else; the caller always passes RGB."""

    def __call__(self, frames: Tensor, /) -> Tensor:
        """Encode ``(B, 3, H, W)`` RGB floats in [0, 1], H and W multiples of ``stride``, to ``(B, dim, H/stride, W/stride)``."""
        ...


def load_encoder(name: str | None = None, *, stride: int | None = None, weights: Path | None = None) -> Encoder:
    """Get an encoder by name, in eval mode.

    Args:
        name: ``"descriptor"``, the default (no learning); ``"followspot"``, with the learnt weights that are shipped; a network of
            :mod:`followspot.models.networks` with ``weights``; ``"timm:<model>"`` for any network of timm, with its published weights or
            those of ``weights``; ``"random:<any of the networks>"`` for an untrained baseline. None takes what the card of ``weights``
            names, and without weights the default.
        stride: pixels a feature cell; None takes what the card says, or the encoder's default (8, or a vision transformer's patch size).
        weights: a ``.safetensors``, ``.pt`` or ``.pth`` file.

    Returns:
        An encoder that is a :class:`torch.nn.Module` on the CPU.

    Raises:
        EncoderError: unknown name, missing weights or extra, unusable weights.
        SettingError: the encoder has no such stride.

    >>> encoder = load_encoder("descriptor")
    >>> encoder.name, encoder.stride, encoder.receives
    ('descriptor', 8, 'lab')
    """
    from followspot.models.networks import build_network

    if weights is None and name is None:
        name = DEFAULT_ENCODER
    if weights is None and name == SHIPPED_ENCODER:
        encoder = _trained(None, stride=stride, weights=SHIPPED_WEIGHTS)
        encoder.name = SHIPPED_ENCODER
        return encoder
    if name == SHIPPED_ENCODER:
        raise EncoderError(
            f"encoder {name!r} has its own weights but --weights {weights} is given; drop --encoder to use what that file names"
        )
    if name is not None and name.startswith("random:"):
        return _untrained(name, stride=stride, weights=weights)
    if name is not None and name.startswith("timm:") and len(name) > len("timm:"):
        from followspot.models.timm import load_timm

        return load_timm(name.removeprefix("timm:"), stride=stride, weights=weights)
    if name == "descriptor":
        if weights is not None:
            raise EncoderError(f"encoder 'descriptor' learns nothing and takes no weights, got {weights}; drop --weights or name a network")
        return _evaluated(build_network(name, stride=stride))
    if weights is None:
        build_network(str(name), stride=stride)
        raise EncoderError(f"encoder {name!r} needs trained weights; pass --weights FILE, or use 'random:{name}' for an untrained baseline")
    return _trained(name, stride=stride, weights=weights)


def encode_image(encoder: Encoder, image: NDArray[np.uint8], *, size: tuple[int, int]) -> Tensor:
    """Resize one image and encode it.

    Args:
        encoder: any encoder; the image is moved to the device of its weights.
        image: RGB ``(H, W, 3)`` uint8.
        size: ``(H', W')`` in pixels, multiples of the encoder's stride.

    Returns:
        ``(dim, H'/stride, W'/stride)`` features, made in inference mode. The same image gives the same features.

    Raises:
        SettingError: the image is not RGB uint8, or the size is not a multiple of the stride.

    >>> encode_image(load_encoder("descriptor"), np.zeros((50, 70, 3), np.uint8), size=(48, 72)).shape[1:]
    torch.Size([6, 9])
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise SettingError(f"an image must be RGB uint8 (H, W, 3), got {image.dtype} {image.shape}; convert it when reading")
    height, width = size
    if min(size) < encoder.stride or height % encoder.stride or width % encoder.stride:
        raise SettingError(f"size {height}x{width} must be positive multiples of the stride {encoder.stride} of {encoder.name!r}; round it")
    if (height, width) != image.shape[:2]:
        shrinks = height * width < image.shape[0] * image.shape[1]
        # Area averaging does not alias when shrinking; bilinear never invents colours when growing.
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        image = cast(NDArray[np.uint8], cv2.resize(image, (width, height), interpolation=how))
    with torch.inference_mode():
        frame = torch.from_numpy(np.ascontiguousarray(image)).to(_device_of(encoder)).permute(2, 0, 1)
        return encoder(frame[None].float() / 255)[0]


def check_frames(frames: Tensor, *, stride: int, name: str) -> None:
    """Complain about anything an encoder cannot take.

    Args:
        frames: what the caller passed.
        stride: the encoder's stride in pixels.
        name: the encoder's name, for the message.

    Raises:
        SettingError: not ``(B, 3, H, W)`` floats, or H or W is not a positive multiple of the stride.
    """
    if frames.ndim != 4 or frames.shape[1] != 3 or not frames.is_floating_point():
        got = f"{frames.dtype} {tuple(frames.shape)}"
        raise SettingError(f"{name!r} takes float RGB (B, 3, H, W) in 0..1, got {got}; divide uint8 images by 255 and put channels second")
    height, width = frames.shape[-2:]
    if height % stride or width % stride or not height or not width:
        raise SettingError(f"{name!r} takes frames whose sides are multiples of {stride}, got {height}x{width}; resize them first")


def _untrained(name: str, *, stride: int | None, weights: Path | None) -> Encoder:
    from followspot.models.networks import build_network

    bare = name.removeprefix("random:")
    if weights is not None:
        raise EncoderError(f"encoder {name!r} is untrained by name but --weights {weights} is given; use {bare!r} to load the file")
    if bare == "descriptor":
        raise EncoderError(f"no encoder is called {name!r}: the descriptor has nothing to learn; use 'descriptor'")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_RANDOM_SEED)
        encoder = _evaluated(build_network(bare, stride=stride))
    encoder.name = name
    return encoder


def _trained(name: str | None, *, stride: int | None, weights: Path) -> Encoder:
    from followspot.models.networks import build_network

    if name is not None:
        build_network(name, stride=stride)
    state, card = load_weights(weights)
    named = card.get("encoder")
    if "network" in card:
        raise EncoderError(f"{weights.name} is of the online tracker {card['network']}, which is no encoder; leave out --weights")
    if name is None and not isinstance(named, str):
        raise EncoderError(f"{weights.name} does not say which network it is for; name it with --encoder")
    kept = card.get("stride")
    encoder = build_network(
        name or str(named), stride=stride if stride is not None or not isinstance(kept, int) else kept, dim=card.get("dim")
    )
    module = cast(nn.Module, encoder)
    unused = load_into(module, state, source=weights.name, unused=getattr(encoder, "ignored_weights", ()))
    encoder.unused_weights = unused  # type: ignore[attr-defined]
    encoder.card = card  # type: ignore[attr-defined]
    return _evaluated(encoder)


def _evaluated(encoder: Encoder) -> Encoder:
    cast(nn.Module, encoder).eval()
    return encoder


def _device_of(encoder: Encoder) -> torch.device:
    if not isinstance(encoder, nn.Module):
        return torch.device("cpu")
    tensor = next(chain(encoder.parameters(), encoder.buffers()), None)
    return torch.device("cpu") if tensor is None else tensor.device
