"""Which device and which arithmetic."""

import contextlib
import platform
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import torch

from smallset.errors import ConfigError
from smallset.groups import ComputeConfig

Device = Literal["auto", "cpu", "cuda", "mps"]


def resolve(config: ComputeConfig) -> ComputeConfig:
    """Replace "auto" by what this machine has.

    Args:
        config: As the user gave it.

    Raises:
        ConfigError: If a device was asked for that is not here.
    """
    there: dict[Device, bool] = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.mps.is_available(),
    }
    device: Device = config.device
    if device == "auto":
        device = "cuda" if there["cuda"] else "mps" if there["mps"] else "cpu"
    elif not there[device]:
        raise ConfigError(f"device {device!r} is not on this machine; use --device auto")
    precision = config.precision
    if precision == "auto":
        precision = "bfloat16" if has_bfloat16(device) else "float32"
    return config.model_copy(update={"device": device, "precision": precision})


def num_gpus(config: ComputeConfig) -> int:
    """Return how many GPUs of this machine a run with these settings can choose from.

    Args:
        config: As the user gave it.
    """
    on_cuda = config.device in ("auto", "cuda") and torch.cuda.is_available()
    return torch.cuda.device_count() if on_cuda else 0


def versions() -> dict[str, str]:
    """Return the versions that decide numbers, by package."""
    names = ("smallset", "torch", "torchvision", "numpy", "pillow")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


@cache
def commit() -> str | None:
    """Return the git commit of the source this runs from, or None where it is no checkout."""
    git = shutil.which("git")
    if git is None:
        return None
    command = [git, "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def device_name(config: ComputeConfig) -> str:
    """Return what a run computes on, as people call it.

    Args:
        config: As `resolve` returns it.
    """
    if config.device == "cuda":
        return f"cuda: {torch.cuda.get_device_name()}"
    if config.device == "mps":
        return "mps"
    capability = torch.backends.cpu.get_cpu_capability()
    return f"cpu: {capability}, {config.threads or torch.get_num_threads()} threads"


def has_bfloat16(device: str) -> bool:
    """Whether a device computes in bfloat16 itself, not by emulation."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device == "cpu":
        # Without these instructions bfloat16 is emulated and slower than float32.
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return False


@contextlib.contextmanager
def torch_as_it_was(threads: int | None) -> Iterator[None]:
    """Leave torch's random state and number of threads as they were.

    Args:
        threads: To use in between; None changes nothing.
    """
    before = torch.get_num_threads()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        if threads is not None:
            torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)
