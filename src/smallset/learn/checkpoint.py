"""Save and restore a half-done training, as plain tensors and JSON: nothing is pickled."""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from smallset import contents
from smallset.errors import DataError, RunError
from smallset.files import write_atomic
from smallset.reading import check_shape, reading

FIX = "delete it, and --resume trains the run again from its beginning"


def save_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None,
    progress: dict[str, Any],
    *,
    kept: Mapping[str, Tensor],
) -> None:
    """Write weights, optimizer state and progress as one file, whole or not at all.

    Args:
        optimizer: Its state is saved; None between two stages.
        kept: Weights that may be the ones to keep, where they are not the last ones; may be empty.

    Raises:
        RunError: If it cannot be written; the checkpoint that was there stays.
    """
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"kept.{name}": value for name, value in kept.items()}
    if optimizer is not None:
        for index, state in optimizer.state_dict()["state"].items():
            for name, value in state.items():
                if value is not None:  # SGD without momentum keeps an empty buffer
                    tensors[f"optimizer.{index}.{name}"] = torch.as_tensor(value)
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    text = json.dumps(progress)
    write_atomic(path, save(plain, metadata={"progress": text, "crc32": _sum(plain, text)}))


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_checkpoint` wrote.

    Returns:
        Tensors by their saved names, and the progress.

    Raises:
        RunError: If the file is damaged, or was changed.
    """
    try:
        with reading(path, FIX), safe_open(path, framework="pt") as file:
            said = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if said["crc32"] != _sum(tensors, said["progress"]):
                raise ValueError("its checksum does not fit")
            progress = json.loads(said["progress"])
            check_shape(progress, contents.Progress)
            return tensors, progress
    except DataError as error:
        raise RunError(f"the checkpoint {error}") from None


def _sum(tensors: Mapping[str, Tensor], progress: str) -> str:
    """Return the CRC-32 of everything a checkpoint holds."""
    found = zlib.crc32(progress.encode())
    for name, value in sorted(tensors.items()):
        found = zlib.crc32(f"{name} {value.dtype} {tuple(value.shape)}".encode(), found)
        found = zlib.crc32(value.reshape(-1).view(torch.uint8).numpy().data, found)
    return f"{found:08x}"


def kept_weights(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights that are to stay, where they are not the last ones; else empty.

    Args:
        tensors: As `load_checkpoint` returns them.
    """
    return _below(tensors, "kept.")


def restore_model(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Put saved weights into a model of the same architecture.

    Args:
        tensors: As `load_checkpoint` returns them.
    """
    model.load_state_dict(_below(tensors, "model."), strict=True)


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put saved state into an optimizer over the same parameters.

    Args:
        tensors: As `load_checkpoint` returns them.
    """
    state: dict[int, dict[str, Tensor]] = {}
    for path, value in _below(tensors, "optimizer.").items():
        index, name = path.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
