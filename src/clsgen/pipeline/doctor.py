"""Checks of the machine and the installation, before a run finds out the hard way. Nothing here calls the network."""

from __future__ import annotations

import importlib.metadata
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from clsgen.config.model import ModelSettings
from clsgen.model.embedded import located
from clsgen.pipeline.machine import device_name, has_gpu, installed_versions, memory_bytes, num_cores
from clsgen.types import EMBEDDED

_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
_WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")
_CACHED_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_DISK_BYTES, _MEMORY_BYTES, _NUM_CORES = 5 * 2**30, 4 * 2**30, 2  # below: a warning; a tenth of the disk: a failure


@dataclass(frozen=True, slots=True)
class Check:
    """What one check found.

    Attributes:
        name: What was looked at, one or two words.
        status: fail: a run can't work; warn: it works worse; ok.
        message: What was found.
        fix: What to do about it; "" where nothing need be done.
    """

    name: str
    status: Literal["ok", "warn", "fail"]
    message: str
    fix: str = ""


def check_machine(folder: Path) -> list[Check]:
    """Every check that needs no configuration.

    Args:
        folder: Where runs will be written; the current directory as a rule.
    """
    installed = installed_versions()
    return [
        check_python(sys.version_info[:3]),
        check_packages(installed, importlib.metadata.requires("clsgen") or []),
        check_cuda_packages(installed, has_gpu=has_gpu()),
        check_torch(),
        check_bfloat16(),
        check_disk(shutil.disk_usage(folder).free),
        check_memory(memory_bytes()),
        check_cores(num_cores()),
        check_writable(folder),
    ]


def check_python(version: tuple[int, int, int]) -> Check:
    """The interpreter against `requires-python`."""
    text = ".".join(map(str, version))
    needed = importlib.metadata.metadata("clsgen")["Requires-Python"]
    if text not in SpecifierSet(needed):
        return Check("python", "fail", f"Python {text}; {needed} is needed", "Make a virtual environment with it.")
    return Check("python", "ok", f"Python {text}")


def check_packages(installed: Mapping[str, str], requirements: list[str]) -> Check:
    """Installed versions against what clsgen requires, extras aside.

    Args:
        installed: Canonical name -> version.
        requirements: As in a package's metadata: `torch>=2.6`, `ruff; extra == "dev"`.
    """
    wrong, num_checked = [], 0
    for requirement in map(Requirement, requirements):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        num_checked += 1
        version = installed.get(canonicalize_name(requirement.name))
        if version is None:
            wrong.append(f"{requirement.name} is missing")
        elif not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version} ({requirement.specifier} is needed)")
    if wrong:
        fix = "Reinstall in a fresh environment: pip install -c constraints.txt -e ."
        return Check("packages", "fail", "; ".join(wrong), fix)
    return Check("packages", "ok", f"{num_checked} required packages in range")


def check_cuda_packages(installed: Mapping[str, str], *, has_gpu: bool) -> Check:
    """CUDA packages on a machine without a GPU: gigabytes that nothing can use.

    Args:
        installed: Canonical name -> version.
        has_gpu: Whether an NVIDIA GPU is there.
    """
    found = sorted(name for name in installed if name.startswith("nvidia-") or name == "triton")
    if not found or has_gpu:
        return Check("CUDA packages", "ok", f"{len(found)} installed, {'a' if has_gpu else 'no'} GPU")
    torch = installed.get("torch", "").partition("+")[0]
    pinned = f"torch=={torch}" if torch else "torch"
    return Check(
        "CUDA packages",
        "warn",
        f"{len(found)} CUDA packages ({found[0]}, ...) on a machine without a GPU take gigabytes",
        f"pip uninstall -y torch {' '.join(found)} && pip install -c constraints.txt --index-url {_CPU_INDEX} {pinned}",
    )


def check_torch() -> Check:
    """Whether torch can be imported, and what it computes on."""
    try:
        import torch  # noqa: PLC0415  (a broken torch must not stop the other checks)
    except (ImportError, OSError) as error:
        return Check(
            "torch", "fail", f"can't be imported: {error}", "pip install -c constraints.txt --force-reinstall torch"
        )
    device = device_name()
    if device == "cpu" and has_gpu():
        fix = "Install a CUDA build of torch, and check the driver with nvidia-smi."
        return Check("torch", "warn", f"torch {torch.__version__} doesn't see the GPU of this machine", fix)
    return Check("torch", "ok", f"torch {torch.__version__} on {device}")


def check_bfloat16() -> Check:
    """What `train.precision: auto` will choose."""
    try:
        import torch  # noqa: PLC0415

        from clsgen.model.products import is_fast_bfloat16  # noqa: PLC0415
    except (ImportError, OSError) as error:
        return Check("bfloat16", "fail", f"the model code can't be imported: {error}", "Correct the packages first.")
    is_fast = is_fast_bfloat16(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    return Check(
        "bfloat16",
        "ok",
        f"{'fast' if is_fast else 'slow'} here: precision auto is {'bfloat16' if is_fast else 'float32'}",
    )


def check_disk(free_bytes: int) -> Check:
    """Room for checkpoints."""
    message = f"{free_bytes / 2**30:.1f} GiB free"
    if free_bytes >= _DISK_BYTES:
        return Check("disk", "ok", message)
    status: Literal["warn", "fail"] = "fail" if free_bytes < _DISK_BYTES / 10 else "warn"
    return Check("disk", status, message, "Free some space, or set output to another disk.")


def check_memory(total_bytes: int | None) -> Check:
    """Room for a small model; None where the system doesn't say."""
    if total_bytes is None:
        return Check("memory", "warn", "unknown on this system", "See `clsgen train --dry-run` for what a run needs.")
    message = f"{total_bytes / 2**30:.1f} GiB"
    if total_bytes >= _MEMORY_BYTES:
        return Check("memory", "ok", message)
    return Check("memory", "warn", message, "Choose a small backbone, train.batch_size: 1, gradient checkpointing.")


def check_cores(num_available: int) -> Check:
    """Cores that this process may use."""
    if num_available >= _NUM_CORES:
        return Check("cores", "ok", f"{num_available}")
    return Check("cores", "warn", f"{num_available}", "Give the process more cores, or expect long runs.")


def check_writable(folder: Path) -> Check:
    """Whether a file can be made in `folder`."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Check("write access", "fail", f"this directory can't be written: {error.strerror}", "Change to another.")
    return Check("write access", "ok", "this directory can be written")


def check_backbone(model: ModelSettings) -> Check:
    """Whether the backbone is on this machine: a whole directory, or in the hub cache."""
    if model.backbone is None:
        return Check("backbone", "ok", "built from scratch, nothing to fetch")
    folder = Path(located(model.backbone))
    if model.backbone == EMBEDDED and _check_folder(folder).status == "ok":
        return Check("backbone", "ok", "the embedded base model, nothing to fetch")
    if folder.is_dir():
        return _check_folder(folder)
    if folder.is_absolute() or model.backbone.startswith((".", "~")) or model.backbone.count("/") > 1:
        fix = "Correct model.backbone; relative paths start at the current directory."
        return Check("backbone", "fail", f"no directory {model.backbone}", fix)
    return _check_cache(model.backbone, model.revision)


def _check_folder(folder: Path) -> Check:
    missing = [] if (folder / "config.json").is_file() else ["config.json"]
    if not any(path for pattern in _WEIGHTS for path in folder.glob(pattern)):
        missing.append("weights (model*.safetensors)")
    if missing:
        return Check(
            "backbone", "fail", f"{folder} has no {' and no '.join(missing)}", "Download the whole model again."
        )
    return Check("backbone", "ok", f"{folder} has config.json and weights")


def _check_cache(name: str, revision: str | None) -> Check:
    from huggingface_hub import constants, try_to_load_from_cache  # noqa: PLC0415  (doctor runs without it)
    from huggingface_hub.errors import HFValidationError  # noqa: PLC0415

    try:
        cached = [try_to_load_from_cache(name, file, revision=revision) for file in ("config.json", *_CACHED_WEIGHTS)]
    except HFValidationError:
        return Check("backbone", "fail", f"{name!r} is no directory and no hub id", "Correct model.backbone.")
    if isinstance(cached[0], str) and any(isinstance(path, str) for path in cached[1:]):
        return Check("backbone", "ok", f"{name} is in the hub cache")
    fetch = f"hf download {name} (for a gated model: accept its licence on the hub, then hf auth login)"
    if constants.HF_HUB_OFFLINE:
        return Check(
            "backbone", "fail", f"{name} is not in the hub cache, and HF_HUB_OFFLINE is set", f"Online: {fetch}"
        )
    return Check("backbone", "warn", f"{name} is not in the hub cache; the first run downloads it", f"Now: {fetch}")
