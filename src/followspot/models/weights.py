"""Weight files: safetensors with a JSON card, and PyTorch checkpoints that hold tensors only."""

import hashlib
import json
import os
import pickle
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from followspot.errors import EncoderError, OutputError

# safetensors metadata maps strings to strings: the whole card is one JSON text under this key.
_CARD = "followspot_card"
# How public checkpoints wrap their tensors: trainers save {"state_dict": ...} or {"model": ...} next to optimiser state.
_WRAPPERS = ("state_dict", "model", "model_state_dict")


def save_weights(path: Path, module: nn.Module, card: Mapping[str, Any]) -> None:
    """Write a module's weights and a card about them; the file appears whole or not at all.

    Args:
        path: a file that ends in ``.safetensors``; its folder is made.
        module: whose ``state_dict`` is written, from whatever device, on which it stays.
        card: anything JSON can hold: architecture, data, licence, scores.

    Raises:
        OutputError: another suffix, a card JSON cannot hold, or a file that cannot be written.
    """
    if path.suffix != ".safetensors":
        raise OutputError(f"weights are saved as .safetensors, got {path}; change the file's ending")
    try:
        text = json.dumps(dict(card), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise OutputError(f"the card of {path.name} is not JSON ({error}); keep to text, numbers, lists and mappings") from error
    state = {key: value.detach().cpu().clone().contiguous() for key, value in module.state_dict().items()}
    part: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Same folder, so that the last step is a rename within one disk.
        handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        os.close(handle)
        save_file(state, part, metadata={_CARD: text, "format": "pt"})
        Path(part).chmod(0o644)
        os.replace(part, path)
    except (OSError, SafetensorError) as error:
        if part is not None:
            Path(part).unlink(missing_ok=True)
        raise OutputError(f"cannot write weights to {path} ({_first_line(error)}); choose another place or free some space") from error


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a weight file to the CPU. Nothing in the file is ever executed.

    Args:
        path: ``.safetensors`` (with or without a card), ``.pt`` or ``.pth``. For the latter two, a ``state_dict`` or ``model`` wrapper and
            the ``module.`` prefix of data-parallel training are taken off.

    Returns:
        The tensors by name, and the card (empty where the file has none).

    Raises:
        EncoderError: the file is missing, truncated, of another kind, or holds more than tensors.
    """
    if not path.is_file():
        raise EncoderError(f"there is no weight file {path}; check --weights")
    if path.suffix == ".safetensors":
        return _load_safetensors(path)
    if path.suffix in (".pt", ".pth"):
        return _load_checkpoint(path), {}
    raise EncoderError(f"weights must be .safetensors, .pt or .pth, got {path.name}; convert the file or correct its ending")


def read_card(path: Path) -> dict[str, Any]:
    """The card of a weight file, without its tensors; empty where it has none.

    Args:
        path: ``.safetensors``; other files have no card.

    Raises:
        EncoderError: the file is damaged or not safetensors.
    """
    if path.suffix != ".safetensors":
        return {}
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            card = json.loads((file.metadata() or {}).get(_CARD, "{}"))
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise EncoderError(f"{path} is damaged or not safetensors ({_first_line(error)}); fetch it again") from error
    return dict(card)


def load_into(module: nn.Module, state: Mapping[str, Tensor], *, source: str, unused: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Put tensors into a module, all of them or an error.

    Args:
        module: what to fill.
        state: tensors by name.
        source: the file's name, for messages.
        unused: prefixes of names that may be there although the module has no place for them, such as ``"fc."``.

    Returns:
        The names that were allowed and not used, sorted.

    Raises:
        EncoderError: a name is missing, is unexpected and not under ``unused``, or has another shape; the module is then unchanged.
    """
    own = module.state_dict()
    # Counters are absent from files older than PyTorch 0.4.1 and mean nothing at inference.
    missing = [key for key in own if key not in state and not key.endswith(".num_batches_tracked")]
    extra = sorted(key for key in state if key not in own)
    foreign = [key for key in extra if not key.startswith(unused)] if unused else extra
    if missing:
        raise EncoderError(f"{source} lacks {_listed(missing)}; it belongs to another network, name that one")
    if foreign:
        raise EncoderError(f"{source} also holds {_listed(foreign)}, which this network does not have; name the network it was trained for")
    for key, value in own.items():
        if key in state and state[key].shape != value.shape:
            got, expected = tuple(state[key].shape), tuple(value.shape)
            raise EncoderError(f"{source} has {key} of shape {got}, expected {expected}; name the network it was trained for")
    module.load_state_dict({key: state.get(key, value) for key, value in own.items()})
    return tuple(extra)


def weights_id(module: object) -> str:
    """One id for the values of an encoder's weights; equal for encoders without any.

    Args:
        module: an encoder, whether a module or not.

    >>> weights_id(nn.Linear(1, 1)) == weights_id(nn.Linear(1, 1))
    False
    """
    digest = hashlib.sha256()
    if isinstance(module, nn.Module):
        for name, values in module.state_dict().items():
            digest.update(name.encode())
            digest.update(values.cpu().contiguous().view(torch.uint8).numpy().tobytes() if values.ndim else repr(values.item()).encode())
    return digest.hexdigest()


def _load_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 -- not a mapping, it has keys() only
            text = (file.metadata() or {}).get(_CARD, "{}")
        card = json.loads(text)
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise EncoderError(f"{path} is damaged or not safetensors ({_first_line(error)}); fetch it again") from error
    return state, card


def _load_checkpoint(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        message = (
            f"{path} is damaged or holds Python objects besides tensors, which are never run; fetch it again or convert it to safetensors"
        )
        raise EncoderError(message) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise EncoderError(f"{path} is damaged or not a PyTorch checkpoint ({_first_line(error)}); fetch it again") from error
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not content or not all(isinstance(value, Tensor) for value in content.values()):
        raise EncoderError(f"{path} holds no tensors by name; save model.state_dict() to it, or convert it to safetensors")
    return {str(key).removeprefix("module."): value for key, value in content.items()}


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
