"""Arrays out of pickle files without running anything that is in them.

A pickle is a program: loading one from strangers with `pickle.load` does whatever its author liked. Here the few names that NumPy puts
into pickles of plain arrays stand for inert recorders of our own; every other name is refused before anything is looked up, and arrays
are made afterwards from the recorded type, shape and bytes.
"""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from followspot.errors import DatasetError
from followspot.io.files import missing_file

_PLAIN = (str, bytes, int, float, type(None))
_DEEPEST = 8
"""Published files nest three deep; more is a trap for whoever walks through them."""
_NUMBERS = re.compile(r"[|<>=]?(b1|[iu][1248]|f[248]|S[0-9]{1,9}|O8?)")
# What cut or malicious files make the unpickler raise, besides UnpicklingError.
_DAMAGE = (EOFError, ValueError, TypeError, LookupError, AttributeError, ImportError, OverflowError, MemoryError, RecursionError, OSError)


def read_pickle(path: Path) -> object:
    """What a pickle of arrays holds.

    Args:
        path: the file, of any pickle protocol; Python 2 texts and bytes are read as Latin-1.

    Returns:
        Dicts, lists, tuples, texts, bytes and numbers as they are; arrays of numbers as read-only arrays; arrays of objects as lists.

    Raises:
        DatasetError: the file is missing, damaged, or holds anything else, which is then neither run nor looked up.
    """
    problem = missing_file(path)
    if problem:
        raise DatasetError(problem)
    try:
        with path.open("rb") as file:
            return _plain(_Reader(file, encoding="latin1").load(), {}, depth=0)
    except pickle.UnpicklingError as error:
        raise DatasetError(f"{path}: {error}; fetch the file from its authors again, or save its arrays as .npz") from error
    except _DAMAGE as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DatasetError(f"{path} is damaged or no pickle of arrays ({reason}); fetch it again") from error


class _Recorded:
    """An array or a type of numbers that was described and not made."""

    def __init__(self, *parts: object) -> None:
        self.parts = parts
        self.state: Any = None

    def __setstate__(self, state: object) -> None:
        self.state = state

    def dtype(self) -> np.dtype[Any]:
        """The type of numbers described by ``numpy.dtype(code, ...)`` and its state ``(version, byte order, ...)``."""
        code = self.parts[0]
        if not isinstance(code, str) or not _NUMBERS.fullmatch(code):
            raise pickle.UnpicklingError(f"holds an array of {str(code)[:40]!r}, which is neither numbers nor bytes")
        order = self.state[1] if self.state else "="
        return np.dtype(code).newbyteorder(">" if order == ">" else "<") if order in ("<", ">") else np.dtype(code)


class _Array(_Recorded):
    """``_reconstruct(...)``, its state being (version, shape, type, Fortran order, bytes or list of objects)."""

    def array(self) -> tuple[Any, tuple[int, ...], Any, str]:
        """Type, shape, bytes and order."""
        _, shape, dtype, fortran, data = self.state
        return dtype, shape, data, "F" if fortran else "C"


class _Buffer(_Recorded):
    """``_frombuffer(bytes, type, shape, order)`` of pickle protocol 5."""

    def array(self) -> tuple[Any, tuple[int, ...], Any, str]:
        """Type, shape, bytes and order."""
        data, dtype, shape, order = self.parts
        return dtype, shape, data, str(order)  # type: ignore[return-value]  # checked by NumPy when the array is made


class _Scalar(_Recorded):
    """``scalar(type, bytes)``."""

    def array(self) -> tuple[Any, tuple[int, ...], Any, str]:
        """Type, shape, bytes and order."""
        dtype, data = self.parts
        return dtype, (), data, "C"


class _Maker:
    """What a name in the pickle stands for: it can be called, and nothing else."""

    __slots__ = ("_make",)

    def __init__(self, make: Any) -> None:  # noqa: ANN401  # a class or a function of this module
        self._make = make

    def __call__(self, *parts: object) -> object:
        return self._make(*parts)

    def __setstate__(self, state: object) -> NoReturn:
        raise pickle.UnpicklingError("gives a state to a name, which no pickle of arrays does")


def _no_bytes(*parts: object) -> bytes:
    """How pickle protocols below 3 write empty bytes."""
    if parts:
        raise pickle.UnpicklingError("makes bytes of something, which no pickle of arrays does")
    return b""


def _latin1(text: object, codec: object = "latin1") -> bytes:
    """How pickle protocol 2 writes bytes."""
    if not isinstance(text, str) or codec not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"encodes with {str(codec)[:40]!r}, which no pickle of arrays does")
    return text.encode("latin1")


_KNOWN: Mapping[tuple[str, str], type[_Recorded] | Any] = MappingProxyType(
    {
        ("numpy", "ndarray"): _Recorded,
        ("numpy", "dtype"): _Recorded,
        ("_codecs", "encode"): _latin1,
        ("__builtin__", "bytes"): _no_bytes,
        ("builtins", "bytes"): _no_bytes,
        **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
        **{(f"numpy.{core}.multiarray", "scalar"): _Scalar for core in ("core", "_core")},
        **{(f"numpy.{core}.numeric", "_frombuffer"): _Buffer for core in ("core", "_core")},
    }
)


class _Reader(pickle.Unpickler):
    """Knows the names of plain arrays and no others."""

    def find_class(self, module: str, name: str) -> object:
        make = _KNOWN.get((module, name))
        if make is None:
            raise pickle.UnpicklingError(f"holds {module}.{name}, which is no array and is never run")
        return _Maker(make)


def _plain(value: object, done: dict[int, object], *, depth: int) -> object:
    """The same with arrays made; each shared part once."""
    if depth > _DEEPEST:
        raise pickle.UnpicklingError(f"is nested more than {_DEEPEST} deep, which no pickle of arrays is")
    if isinstance(value, _PLAIN):
        return value
    if id(value) not in done:
        done[id(value)] = _made(value, done, depth=depth + 1)
    return done[id(value)]


def _made(value: object, done: dict[int, object], *, depth: int) -> object:
    match value:
        case dict():
            return {_key(key): _plain(item, done, depth=depth) for key, item in value.items()}
        case list() | tuple():
            items = [_plain(item, done, depth=depth) for item in value]
            return items if isinstance(value, list) else tuple(items)
        case bytearray():
            return bytes(value)
        case _Array() | _Buffer() | _Scalar():
            return _array(*value.array(), done, depth=depth)
        case _:
            raise pickle.UnpicklingError(f"holds a {type(value).__name__}, which is no array")


def _key(key: object) -> object:
    if isinstance(key, _PLAIN):
        return key
    raise pickle.UnpicklingError(f"has a {type(key).__name__} as a key, which no pickle of arrays has")


def _array(
    described: object, shape: tuple[int, ...], data: object, order: str, done: dict[int, object], *, depth: int
) -> list[object] | NDArray[Any]:
    if not isinstance(described, _Recorded) or order not in ("C", "F"):
        raise pickle.UnpicklingError("holds an array without a type")
    dtype = described.dtype()
    if dtype.hasobject:
        if not isinstance(data, list) or len(shape) != 1 or len(data) != shape[0]:
            raise pickle.UnpicklingError("holds an array of objects that is no list")
        return [_plain(item, done, depth=depth) for item in data]
    raw = data.encode("latin1") if isinstance(data, str) else data
    if not isinstance(raw, bytes | bytearray):
        raise pickle.UnpicklingError("holds an array without its bytes")
    return np.frombuffer(bytes(raw), dtype).reshape(shape, order="F" if order == "F" else "C")
