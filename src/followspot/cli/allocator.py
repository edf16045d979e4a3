"""How the C library gives memory back to the system: not with every frame."""

import ctypes
import sys
from typing import Final

# Numbers of parameters in glibc's malloc.h.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_MAPPED_FROM: Final = 32 * 2**20
"""Bytes of a block that is mapped by itself: the most to which glibc raises that limit of its own accord (64-bit)."""
_KEPT: Final = 2 * _MAPPED_FROM
"""Bytes of free memory that are kept: what glibc sets with the former, see mallopt(3)."""


def keep_freed_memory() -> bool:
    """Has the C library keep up to 64 MB of freed memory.

    Pictures and feature maps of some megabytes come and go with every frame. Left alone, glibc gives their pages back and fetches them
    again, which took a quarter of the encoder's time at 480p. The numbers are those to which it adapts once a block of 32 MB was freed.

    Returns:
        Whether this C library can be told so; others (macOS, Windows, musl) are left as they are.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_M_MMAP_THRESHOLD, _MAPPED_FROM)) and bool(mallopt(_M_TRIM_THRESHOLD, _KEPT))
