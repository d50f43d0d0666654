"""What this machine is: cores, memory, GPU, installed packages."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from clsgen.artifacts import package_versions

_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def environment() -> dict[str, Any]:
    """Facts for a bug report, JSON values: no path, host or user name.

    Returns:
        python, platform, cores, memory_gib (None where unknown), device, and packages (name -> version).
    """
    memory = memory_bytes()
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cores": num_cores(),
        "memory_gib": None if memory is None else round(memory / 2**30, 1),
        "device": device_name(),
        "packages": package_versions(),
    }


def num_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_bytes() -> int | None:
    """Memory of the machine, or the container's limit where it is lower; None where the system doesn't say."""
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
    try:
        limit = _CGROUP_LIMIT.read_text().strip()
    except OSError:
        return total
    return min(total, int(limit)) if limit.isdigit() else total


def device_name() -> str:
    """The device that torch computes on: a GPU's name, "mps" or "cpu"; "torch missing" without torch."""
    try:
        import torch  # noqa: PLC0415  (seconds, and doctor must run without it)
    except ImportError:
        return "torch missing"
    if torch.cuda.is_available():
        return torch.cuda.get_device_name(0)
    return "mps" if torch.backends.mps.is_available() else "cpu"


def has_gpu() -> bool:
    """Whether an NVIDIA GPU is there, whatever torch can do with it."""
    return Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi") is not None


def installed_versions() -> dict[str, str]:
    """Canonical name -> version of every installed distribution."""
    return {canonicalize_name(found.name): found.version for found in importlib.metadata.distributions() if found.name}
