"""What config.json says of a run: settings, versions, machine, data and weights."""

import hashlib
import platform
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from smallset.config import RunConfig
from smallset.data.prepare import Prepared

TRAINING_RULES = 2
"""Of how runs are trained. What changes the numbers that the same settings and images give must
change it: no study may take a run of before for one of its own. 2: random batches at least half
full."""


def describe(
    data: str | Path,
    config: RunConfig,
    prepared: Prepared,
    *,
    weights: str | None,
    start: str | None,
) -> dict[str, Any]:
    """Return the content of config.json: everything that decides the numbers of a run.

    Args:
        data: What the user called it.
        config: Resolved settings.
        prepared: The images.
        weights: sha256 of the pretrained weights; None where there are none.
        start: sha256 of the weights of another run that this one starts from; None for none.
    """
    images = prepared.images
    fingerprint = prepared.fingerprint()
    skipped = [p.message for p in prepared.problems if p.kind == "unreadable"]
    splits = {split: len(prepared.of(split)) for split in ("train", "val", "test")}
    changed = int((prepared.given_labels != images.labels).sum())
    digest = hashlib.sha256(
        f"{config.digest()}/{fingerprint}/{weights}/{start}/{TRAINING_RULES}".encode()
    ).hexdigest()
    return {
        "config": config.model_dump(mode="json"),
        "versions": {
            "python": platform.python_version(),
            **{
                name: version(name)
                for name in ("smallset", "torch", "torchvision", "numpy", "pillow")
            },
        },
        "commit": _commit(),
        "device": _device_name(config.compute.device, config.compute.threads),
        "data": {
            "source": str(data),
            "fingerprint": fingerprint,
            "classes": list(images.classes),
            "images": splits,
            "skipped": skipped,
            "wrong_labels": changed,
        },
        "weights": weights,
        "start": start,
        "training_rules": TRAINING_RULES,
        "digest": digest[:16],
    }


def _commit() -> str | None:
    """Return the git commit of the source this runs from, or None where it is no checkout."""
    git = shutil.which("git")
    if git is None:
        return None
    command = [git, "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def _device_name(device: str, threads: int | None) -> str:
    if device == "cuda":
        return f"cuda: {torch.cuda.get_device_name()}"
    if device == "mps":
        return "mps"
    capability = torch.backends.cpu.get_cpu_capability()
    return f"cpu: {capability}, {threads or torch.get_num_threads()} threads"
