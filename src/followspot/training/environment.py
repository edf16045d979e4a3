"""Where a training ran: versions and machine."""

import os
import platform
from collections.abc import Iterable
from importlib import metadata

import torch

_PACKAGES = ("followspot", "torch", "lightning", "numpy", "av", "opencv-python-headless", "tensorboard")
_CPU_FILE = "/proc/cpuinfo"


def describe_environment(device: torch.device | None = None) -> dict[str, str]:
    """Versions, processor and device, by name.

    Args:
        device: what training runs on; None is the CPU.

    >>> describe_environment()["device"]
    'cpu'
    """
    found = {"python": platform.python_version(), "system": platform.platform()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # run from a source tree
            found[package] = "not installed"
    found["cpu"] = f"{_processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"
    found["device"] = "cpu" if device is None else str(device)
    if device is not None and device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory
        found["device"] += f" ({torch.cuda.get_device_name(device)}, {memory / 2**30:.0f} GiB, CUDA {torch.version.cuda})"
    return found


def _processor() -> str:
    try:
        with open(_CPU_FILE, encoding="utf-8") as lines:
            return processor_name(lines) or platform.machine()
    except OSError:  # no Linux
        return platform.processor() or platform.machine()


def processor_name(lines: Iterable[str]) -> str | None:
    """What ``/proc/cpuinfo`` calls the processor.

    >>> processor_name(["processor : 0", "model name : Fast One"])
    'Fast One'
    """
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return None
