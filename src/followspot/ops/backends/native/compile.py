"""Compiles the C++ backend; used at install, and by hand after a change: ``python -m followspot.ops.backends.native.compile``.

Needs nothing but a C++17 compiler for Linux or macOS (``CXX``, or c++, g++, clang++), no headers of Python or torch: the library is plain
C on the outside. Every source is compiled for what all processors of a kind have; the kernel is compiled once more for each extension, and
the library picks at run time. This file imports nothing of followspot, so that the build can run it before anything is installed.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_name("source")
LIBRARY = Path(__file__).with_name("libfollowspot.so")
"""Named alike on Linux and macOS, which do not care."""
FLAGS = ("-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-pthread")
"""Sums keep their order (no -ffast-math): the same numbers come out of every build."""
_AVX512 = ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx2", "-mfma", "-mprefer-vector-width=512")
EXTENSIONS = {"avx2": ("-mavx2", "-mfma"), "avx512": _AVX512, "avx512vnni": (*_AVX512, "-mavx512vnni")}
"""Flags of the paths that only some x86-64 processors have. What a compiler does not know is left out."""


def fingerprint() -> str:
    """Changes whenever a source does; compiled into the library."""
    digest = hashlib.sha256()
    for path in sorted(SOURCE.iterdir()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def compiler() -> str | None:
    """The C++ compiler, or None."""
    named = os.environ.get("CXX")
    return shutil.which(named) if named else next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)


def build() -> str | None:
    """Makes the library beside this file, whole or not at all.

    Returns:
        None where it was made, else one line that says why not.
    """
    LIBRARY.unlink(missing_ok=True)
    if os.environ.get("FOLLOWSPOT_NATIVE") == "off":
        return "FOLLOWSPOT_NATIVE=off"
    if sys.platform not in ("linux", "darwin"):
        return f"not built on {sys.platform} yet"
    command = compiler()
    if command is None:
        return "no C++ compiler (CXX, c++, g++ or clang++)"
    with tempfile.TemporaryDirectory() as folder:
        try:
            made = _compile(command, Path(folder))
            unfinished = LIBRARY.with_suffix(f".{os.getpid()}")
            shutil.copyfile(made, unfinished)
            # A process that has the old file loaded keeps it.
            unfinished.replace(LIBRARY)
        except subprocess.CalledProcessError as error:
            told = error.stderr.strip().splitlines() or ["no message"]
            return f"{Path(command).name} failed: {next((line for line in told if 'error' in line), told[-1])}"
        except OSError as error:
            return str(error)
    return None


def _compile(command: str, folder: Path) -> Path:
    """Objects of all paths, linked.

    Raises:
        subprocess.CalledProcessError: the compiler is not up to it.
    """
    objects = [_object(command, folder, path="portable", flags=())]
    doors: list[str] = []
    for path, flags in EXTENSIONS.items() if platform.machine() in ("x86_64", "AMD64") else ():
        try:
            objects.append(_object(command, folder, path=path, flags=flags))
            doors.append(f"-DFOLLOWSPOT_{path.upper()}")
        except subprocess.CalledProcessError:
            continue
    made = folder / LIBRARY.name
    told = f'-DFOLLOWSPOT_SOURCES="{fingerprint()}"'
    _run(command, *FLAGS, *doors, told, "-shared", "-o", str(made), str(SOURCE / "library.cpp"), *map(str, objects))
    return made


def _object(command: str, folder: Path, *, path: str, flags: tuple[str, ...]) -> Path:
    made = folder / f"{path}.o"
    _run(command, *FLAGS, *flags, f"-DFOLLOWSPOT_PATH=followspot_{path}", "-c", "-o", str(made), str(SOURCE / "kernel.cpp"))
    return made


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, errors="replace")


if __name__ == "__main__":
    reason = build()
    print(f"native backend: {LIBRARY.name} built" if reason is None else f"native backend: not built, {reason}")
    sys.exit(reason is not None)
