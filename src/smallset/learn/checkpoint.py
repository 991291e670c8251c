"""Save and restore a half-done training, as plain tensors and JSON: nothing is pickled."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from smallset.errors import RunError
from smallset.files import write_atomic


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
    write_atomic(path, save(plain, metadata={"progress": json.dumps(progress)}))


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_checkpoint` wrote.

    Returns:
        Tensors by their saved names, and the progress.

    Raises:
        RunError: If the file is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            progress = json.loads((file.metadata() or {})["progress"])
            return {name: file.get_tensor(name) for name in file.keys()}, progress  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise RunError(
            f"the checkpoint {path} is damaged ({error}); train without --resume"
        ) from None


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
