"""Any network of timm as an encoder. Needs the extra ``followspot[backbones]``.

Vision transformers run at any frame size with interpolated position embeddings and give their last, normalised tokens; their stride is
the patch size. Convolutional networks give the deepest stage near stride 8, the very last one left out where there is a choice, as
trackers do (Jabri et al. 2020).
"""

import difflib
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import torch
from torch import Tensor, nn

from followspot.errors import EncoderError, SettingError
from followspot.models.encoder import check_frames
from followspot.models.weights import load_weights

if TYPE_CHECKING:
    from types import ModuleType

# The stride at which propagation is published; other nets' stages are compared with it.
_WANTED_STRIDE: Final = 8
# A hub that has not answered by then is not there; the hub client itself retries for 46 s.
_HUB_SECONDS: Final = 4.0
_HUB_FILES: Final = ("model.safetensors", "pytorch_model.bin")


class TimmEncoder(nn.Module):
    """A timm network as an encoder; get one with :func:`load_timm`.

    Args:
        network: a timm model with ``forward_intermediates``.
        name: the encoder's name.
        index: which intermediate to return.
        dim: its channels.
        stride: its stride in pixels.
        normalise: whether the network's final normalisation is applied, as for transformers.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, *, name: str, index: int, dim: int, stride: int, normalise: bool) -> None:
        super().__init__()
        card: dict[str, Any] = network.pretrained_cfg  # type: ignore[assignment]  # a dict that timm hangs on every model
        self.network = network
        self.name = name
        self.dim = dim
        self.stride = stride
        self.receives: Literal["rgb", "lab", "L"] = "rgb"
        self.license: str | None = card.get("license") or None
        """The licence of the published weights, where timm knows it."""
        self.index = index
        self.normalise = normalise
        self.register_buffer("mean", torch.tensor(card["mean"]).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(card["std"]).view(-1, 1, 1), persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """Encode ``(B, 3, H, W)`` RGB in 0..1 to ``(B, dim, H/stride, W/stride)``.

        Raises:
            SettingError: see :func:`followspot.models.encoder.check_frames`.
        """
        check_frames(frames, stride=self.stride, name=self.name)
        x = (frames - self.mean) / self.std
        maps: list[Tensor] = self.network.forward_intermediates(  # type: ignore[operator]  # checked by load_timm
            x, indices=[self.index], norm=self.normalise, intermediates_only=True, output_fmt="NCHW"
        )
        return maps[0]


def load_timm(model: str, *, stride: int | None = None, weights: Path | None = None, pretrained: bool = True) -> TimmEncoder:
    """Build a timm network as an encoder, in eval mode.

    Args:
        model: a name timm knows, such as ``vit_small_patch8_224.dino``.
        stride: the wanted stride; None takes a transformer's patch size, or the nearest to 8 that a convolutional network has.
        weights: a file of the whole network's weights; None fetches the published ones into the hub's cache.
        pretrained: False leaves the network untrained and fetches nothing.

    Raises:
        EncoderError: timm is not installed, the name is unknown, the network is unfit, or its weights cannot be had.
        SettingError: the network has no such stride.
    """
    library = _import_timm()
    if not library.is_model(model):
        near = library.list_models(f"*{model.split('.')[0].split('_')[0]}*")
        raise EncoderError(f"timm has no network {model!r}; did you mean {_nearest(model, near or library.list_models())!r}?")
    state: dict[str, Tensor] | None = None
    source = "its untrained weights"
    if pretrained:
        path = weights if weights is not None else _published_file(library, model)
        state, _ = load_weights(path)
        source = path.name
    network, dense = _create(library, model, stride=stride, state=state, source=source)
    index, dim, actual = _choose(network, model, stride=stride, dense=dense)
    encoder = TimmEncoder(network, name=f"timm:{model}", index=index, dim=dim, stride=actual, normalise=dense).eval()
    _try_out(encoder, model)
    return encoder


def _import_timm() -> "ModuleType":
    try:
        import timm
    except ImportError as error:
        raise EncoderError(
            f"timm networks need an extra that is not installed ({error}); run: pip install 'followspot[backbones]'"
        ) from error
    module: ModuleType = timm
    return module


def _create(
    library: "ModuleType", model: str, *, stride: int | None, state: dict[str, Tensor] | None, source: str
) -> tuple[nn.Module, bool]:
    """Build a network; the flag says whether it is a transformer whose last tokens are the dense map."""
    if stride is None or stride < 8 or stride > 32:
        stride = _WANTED_STRIDE
    # Which of these a network's constructor takes is not recorded anywhere in timm: a refusal is a TypeError or an assertion.
    attempts: list[dict[str, Any]] = [{"dynamic_img_size": True}, {"output_stride": stride}, {}]
    # Handed over as tensors, so that timm neither unpickles the file nor goes to the network; it still adapts names and position grids.
    overlay = None if state is None else {"state_dict": state}
    refusal: Exception | None = None
    for extra in attempts:
        try:
            network: nn.Module = library.create_model(model, pretrained=state is not None, pretrained_cfg_overlay=overlay, **extra)
        except (TypeError, NotImplementedError, AssertionError) as error:
            refusal = error
            continue
        except (RuntimeError, KeyError, ValueError) as error:
            reason = " ".join(str(error).split())[:160]
            raise EncoderError(f"{source} does not fit timm network {model!r} ({reason}); pass weights of that very network") from error
        return network, "dynamic_img_size" in extra
    raise EncoderError(f"timm cannot build {model!r} ({refusal}); choose another network")


def _choose(network: nn.Module, model: str, *, stride: int | None, dense: bool) -> tuple[int, int, int]:
    """Index, channels and stride of the intermediate to use."""
    info = network.feature_info if hasattr(network, "feature_info") else None
    if not info or not hasattr(network, "forward_intermediates"):
        raise EncoderError(f"timm network {model!r} has no dense features to give; choose a ViT, ResNet or ConvNeXt")
    stages = [(int(stage["reduction"]), int(stage["num_chs"])) for stage in info]  # type: ignore[union-attr]
    if dense:
        index = len(stages) - 1
    else:
        target = _WANTED_STRIDE if stride is None else stride
        nearest = min((reduction for reduction, _ in stages), key=lambda reduction: abs(reduction - target))
        same = [i for i, (reduction, _) in enumerate(stages) if reduction == nearest]
        if len(same) > 1 and same[-1] == len(stages) - 1:
            same.pop()
        index = same[-1]
    actual, dim = stages[index]
    if stride is not None and stride != actual:
        raise SettingError(f"timm network {model!r} has stride {actual}, not {stride}; leave the stride out")
    return index, dim, actual


def _try_out(encoder: TimmEncoder, model: str) -> None:
    """Find out before tracking whether the network takes frames that are not square."""
    height, width = (-(-pixels // encoder.stride) * encoder.stride for pixels in (96, 160))
    expected = (1, encoder.dim, height // encoder.stride, width // encoder.stride)
    try:
        with torch.inference_mode():
            shape = tuple(encoder(torch.zeros(1, 3, height, width)).shape)
    except (RuntimeError, AssertionError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise EncoderError(f"timm network {model!r} cannot take frames of any size ({reason}); choose a ViT, ResNet or ConvNeXt") from error
    if shape != expected:
        raise EncoderError(f"timm network {model!r} gives maps of shape {shape}, expected {expected}; choose a ViT, ResNet or ConvNeXt")


def _published_file(library: "ModuleType", model: str) -> Path:
    """The published weights as a local file: from the hub's cache, or fetched into it."""
    import huggingface_hub
    from huggingface_hub import errors

    card = library.get_pretrained_cfg(model)
    if card is None or not card.hf_hub_id:
        raise EncoderError(f"timm publishes no weights for {model!r}; pass --weights FILE, or use 'random:timm:{model}' untrained")
    names = (card.hf_hub_filename,) if card.hf_hub_filename else _HUB_FILES
    for name in names:
        cached = huggingface_hub.try_to_load_from_cache(card.hf_hub_id, name)
        if isinstance(cached, str):
            return Path(cached)
    _require_hub(model, card.hf_hub_id)
    try:
        for name in names:
            if huggingface_hub.file_exists(card.hf_hub_id, name):
                return Path(huggingface_hub.hf_hub_download(card.hf_hub_id, name, etag_timeout=_HUB_SECONDS))
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, OSError) as error:
        reason = " ".join(str(error).split())[:120]
        raise EncoderError(f"cannot fetch the weights of {model!r} ({reason}); fetch them elsewhere and pass --weights FILE") from error
    raise EncoderError(f"the hub has no weight file for {card.hf_hub_id}; fetch one elsewhere and pass --weights FILE")


def _require_hub(model: str, repository: str) -> None:
    """One short question to the hub (through any proxy that is set) instead of the hub client's long retries."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise EncoderError(f"the weights of {model!r} are not in the cache and HF_HUB_OFFLINE is set; unset it or pass --weights FILE")
    request = urllib.request.Request(f"{constants.ENDPOINT}/api/models/{repository}", method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=_HUB_SECONDS).close()
    except urllib.error.HTTPError:
        return  # It answered: what is wrong with the answer, the hub client says better.
    except OSError as error:
        reason = getattr(error, "reason", error)
        message = (
            f"the weights of {model!r} are not in the cache and {constants.ENDPOINT} cannot be reached ({reason}); pass --weights FILE"
        )
        raise EncoderError(message) from error


def _nearest(name: str, names: list[str]) -> str:
    return difflib.get_close_matches(name, names, n=1, cutoff=0.0)[0]
