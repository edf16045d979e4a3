"""The compiled library: whether it is there, what this processor can run of it, and how it is called.

``FOLLOWSPOT_NATIVE`` chooses: ``auto`` (the default: the fastest path), ``off`` (plain torch), or a path by name.
"""

import ctypes
import os
from ctypes import POINTER, c_char_p, c_float, c_int32, c_int64, c_void_p
from functools import cache

from followspot.errors import SettingError
from followspot.ops.backends.native import compile as building

VARIABLE = "FOLLOWSPOT_NATIVE"
PATHS = ("portable", "avx2", "avx512", "avx512vnni")
"""Slowest first; numbers as in library.cpp. ``portable`` is SSE2 on x86-64 and NEON on ARM. ``avx512vnni`` chooses candidates with bfloat16
scores and proves the choice in float32; the others compute in float32 throughout."""
REBUILD = "python -m followspot.ops.backends.native.compile"


class Frame(ctypes.Structure):
    """``Frame`` of job.h."""

    _fields_ = (
        *((name, c_void_p) for name in ("keys", "cells", "scale", "labels", "reach")),
        ("error", c_float),
    )


class Job(ctypes.Structure):
    """``Job`` of job.h."""

    _fields_ = (
        ("query", c_void_p),
        ("frames", POINTER(Frame)),
        *((name, c_void_p) for name in ("labels", "entropy")),
        *((name, c_int32) for name in ("frame_count", "height", "width", "channels", "stride", "label_count", "top_k")),
        *((name, c_int32) for name in ("candidates", "threads")),
        ("temperature", c_float),
    )


@cache
def load() -> ctypes.CDLL | str:
    """The library, or one line that says why there is none."""
    if not building.LIBRARY.is_file():
        return f"not compiled; with a C++ compiler run {REBUILD}"
    try:
        library = ctypes.CDLL(str(building.LIBRARY))
        library.followspot_sources.restype = c_char_p
        made_of = library.followspot_sources().decode()
    except (OSError, AttributeError) as error:
        return f"{building.LIBRARY.name} cannot be loaded ({error}); run {REBUILD}"
    if made_of != building.fingerprint():
        return f"compiled from other sources than these; run {REBUILD}"
    library.followspot_usable.argtypes = (c_int32,)
    library.followspot_pack.restype = c_float
    library.followspot_pack.argtypes = (c_int32, *(c_void_p,) * 2, *(c_int32,) * 4, c_void_p, c_int64, c_int32)
    library.followspot_match.argtypes = (c_int32, POINTER(Job))
    return library


def usable() -> tuple[str, ...]:
    """Paths that are compiled and that this processor can run, slowest first; empty where there is no library."""
    library = load()
    return () if isinstance(library, str) else tuple(name for i, name in enumerate(PATHS) if library.followspot_usable(i))


def chosen() -> str | None:
    """The path to take, or None for plain torch.

    Raises:
        SettingError: ``FOLLOWSPOT_NATIVE`` names what does not exist, or what this machine cannot run.
    """
    wish = os.environ.get(VARIABLE) or "auto"
    if wish == "off":
        return None
    if wish != "auto" and wish not in PATHS:
        raise SettingError(f"{VARIABLE}={wish}: expected auto, off, {', '.join(PATHS)}")
    there = usable()
    if wish == "auto":
        return there[-1] if there else None
    if wish not in there:
        library = load()
        why = library if isinstance(library, str) else f"usable here: {', '.join(there)}"
        raise SettingError(f"{VARIABLE}={wish} cannot run ({why}); unset it to take the fastest that can")
    return wish


def state() -> str:
    """One line for people: which path is taken, or why none is."""
    library = load()
    if isinstance(library, str):
        return f"no, {library}"
    if chosen() is None:
        return f"no, {VARIABLE}=off (usable: {', '.join(usable())})"
    return f"yes, {chosen()} (usable: {', '.join(usable())})"
