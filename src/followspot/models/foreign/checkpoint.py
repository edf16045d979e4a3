"""Reading checkpoints of others without running anything that is in them."""

import argparse
import hashlib
import pickle
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from followspot.errors import EncoderError
from followspot.io.files import missing_file

_CHUNK: Final = 1 << 20
# What torch raises, besides UnpicklingError, for files that are cut short or hold other bytes than a pickle should.
_DAMAGE: Final = (
    *(RuntimeError, EOFError, OSError, ValueError, TypeError, LookupError, AttributeError, AssertionError),
    *(OverflowError, MemoryError, struct.error),
)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a checkpoint holds, as data."""

    name: str
    """The file's name, for messages."""
    sha256: str
    """Of the whole file."""
    state: Mapping[str, Tensor]
    """Tensors by name, without the ``module.`` of data-parallel training."""
    entries: Mapping[str, Any] = field(default_factory=dict)
    """What else is in the file, such as ``epoch``."""

    @property
    def epoch(self) -> int | None:
        """The epoch the file says it was saved after; None where it does not."""
        epoch = self.entries.get("epoch")
        return epoch if isinstance(epoch, int) else None

    def option(self, name: str) -> object:
        """An option of the training's command line, where the file keeps it; None otherwise."""
        options = self.entries.get("args")
        return vars(options).get(name) if isinstance(options, _Options) else None


class _Options:
    """Stands in for ``argparse.Namespace``, as which trainers save their command line: it keeps the values and can do nothing."""


class _Ignored:
    """Stands in for NumPy's scalars and types, which trainers leave among their counters and nothing here needs."""

    def __init__(self, *parts: object) -> None:
        del parts

    def __setstate__(self, state: object) -> None:
        del state


# Names in pickles and what takes their place. The real things are never looked up, let alone called.
_STAND_INS: Final[list[Any]] = [
    (_Options, f"{argparse.Namespace.__module__}.{argparse.Namespace.__qualname__}"),
    (_Ignored, "numpy.core.multiarray.scalar"),
    (_Ignored, "numpy._core.multiarray.scalar"),
    (_Ignored, "numpy.dtype"),
]


def read_checkpoint(path: Path, *, wrapper: str) -> Checkpoint:
    """Read a PyTorch checkpoint to the CPU, whatever its file is called.

    Args:
        path: the file, such as ``checkpoint.tar``.
        wrapper: the entry that holds the tensors, ``"state_dict"`` or ``"model"``; a file of nothing but tensors by name is also taken.

    Raises:
        EncoderError: the file is missing, damaged, of another kind, or holds objects that would have to be run.
    """
    trouble = missing_file(path)
    if trouble is not None:
        raise EncoderError(trouble)
    content = _load(path)
    entries = {str(key): value for key, value in content.items()} if isinstance(content, Mapping) else {}
    state = entries.pop(wrapper, None)
    if state is None:
        state, entries = entries, {}
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise EncoderError(f"{path.name} holds no tensors by name under {wrapper!r}; check the file, and that --from names its trainer")
    tensors = {str(key).removeprefix("module."): value.detach() for key, value in state.items()}
    return Checkpoint(name=path.name, sha256=_sha256(path), state=tensors, entries=entries)


def _load(path: Path) -> object:
    try:
        with torch.serialization.safe_globals(_STAND_INS):
            content: object = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        what = f"{named[1]}, which is no tensor and is never run" if named else "what is no tensor, or is damaged"
        raise EncoderError(f"{path.name} holds {what}; fetch the file from its authors again, or take it from another source") from error
    except _DAMAGE as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise EncoderError(f"{path.name} is damaged or not a PyTorch checkpoint ({reason}); fetch it again") from error
    return content


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
