"""Pretrained weights: find, check, import. Nothing is unpickled beyond plain tensors."""

import hashlib
import pickle
import re
import shutil
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from smallset import contents
from smallset.errors import DataError
from smallset.files import (
    LOCK,
    cache_dir,
    clear_unfinished,
    locked,
    make_folder,
    write_json,
    written_aside,
)  # fmt: skip
from smallset.reading import COPY_AGAIN, read_json, reading

HOLDS = "smallset takes .safetensors, and .pth files that hold tensors only"
_CODE = re.compile(r"\bGLOBAL (\S+)")
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.[a-z]+$")


@dataclass(frozen=True)
class WeightFile:
    """Tensors by name, and where they came from."""

    path: Path
    sha256: str
    tensors: Mapping[str, Tensor]


def store_dir() -> Path:
    """Return the folder of imported weights."""
    return cache_dir() / "weights"


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes, as 64 hex digits.

    Raises:
        DataError: If it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"cannot read the weight file {path}: {error.strerror}") from None


def read_weights(path: Path) -> WeightFile:
    """Read a weight file: safetensors, or a torch file of plain tensors.

    Args:
        path: If its name ends in "-<8 or more hex digits>.<suffix>", as torchvision names its
            files, the digits must be the start of the file's sha256.

    Raises:
        DataError: If it is missing, its hash is not the one in its name, or it holds anything but
            tensors by name.
    """
    digest = file_sha256(path)
    named = _HASH_IN_NAME.search(path.name)
    if named and not digest.startswith(named[1]):
        raise DataError(
            f"{path} is damaged or renamed: its name promises sha256 {named[1]}..., "
            f"its content has {digest[:16]}...; {COPY_AGAIN}, or import it again "
            "(smallset weights import FILE --model MODEL)"
        )
    with reading(path, HOLDS, what="is not a weight file that can be read safely"):
        tensors = load_file(path) if path.suffix == ".safetensors" else _unpickled(path)
    if not isinstance(tensors, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in tensors.items()
    ):
        around = [f"{name!r}" for name, value in _entries(tensors) if isinstance(value, Mapping)]
        fix = f"; save what is in its entry {around[0]} alone" if around else ""
        raise DataError(
            f"{path} must hold tensors by name (a state_dict), nothing around them{fix}"
        )
    return WeightFile(path, digest, tensors)


def _unpickled(path: Path) -> Any:
    """Return what a torch file holds. torch's own words for one it refuses advise to trust it."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = _CODE.search(str(error))
        if found is None:
            raise ValueError("it is no torch file, or damaged") from None
        raise DataError(
            f"{path} holds objects of Python ({found[1]}), not tensors alone, and reading those "
            "would run code; where it was made, save the weights by themselves: "
            "torch.save(model.state_dict(), FILE)"
        ) from None


def _entries(content: Any) -> Iterable[tuple[Any, Any]]:
    return content.items() if isinstance(content, Mapping) else ()


def check_tensors(
    file: WeightFile,
    expected: Mapping[str, Tensor],
    *,
    replaced: Collection[str] = (),
    ignored: tuple[str, ...] = (),
) -> dict[str, Tensor]:
    """Return the tensors a model takes from a file, after comparing names and shapes.

    Args:
        replaced: Names of the last layer, which the model replaces: absent or of another shape is
            fine.
        ignored: Starts of names the file may have beyond the model's, such as training-only parts.

    Raises:
        DataError: If a name is missing or unknown, or a shape differs.
    """
    wanted = {name: value for name, value in expected.items() if name not in replaced}
    # Files from before torch 0.4.1 lack these counters; nothing in evaluation reads them.
    missing = [n for n in wanted if n not in file.tensors and not n.endswith("num_batches_tracked")]
    unknown = [n for n in file.tensors if n not in expected and not n.startswith(ignored or "\0")]
    shapes = [
        f"{name} is {tuple(file.tensors[name].shape)}, not {tuple(value.shape)}"
        for name, value in wanted.items()
        if name in file.tensors and file.tensors[name].shape != value.shape
    ]
    complaints = [
        f"{what} {', '.join(names[:3])}" + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        for what, names in (("lacks", missing), ("has unknown", unknown), ("shape:", shapes))
        if names
    ]
    if complaints:
        raise DataError(f"{file.path} does not fit this model: it {'; '.join(complaints)}")
    return {name: file.tensors.get(name, value) for name, value in wanted.items()}


def import_weights(path: Path, model: str) -> Path:
    """Copy a weight file into the store, where `model` will find it; returns the copy.

    Args:
        path: The file, already checked against the model.

    Raises:
        DataError: If the file cannot be read.
        RunError: If the store cannot be written.
    """
    digest = file_sha256(path)
    folder = make_folder(store_dir())
    copy = folder / f"{model.replace(':', '_')}-{digest[:8]}{path.suffix}"
    with locked(folder / LOCK, wait=True):
        clear_unfinished(folder)
        with reading(path), path.open("rb") as file, written_aside(copy) as aside:
            shutil.copyfileobj(file, aside)
        entry = {"file": copy.name, "sha256": digest, "from": path.name}
        write_json(folder / f"{model.replace(':', '_')}.json", entry)
    return copy


def imported(model: str) -> Path | None:
    """Return the file that was imported for a model, if one was.

    Raises:
        DataError: If what is known of it is damaged.
    """
    entry = store_dir() / f"{model.replace(':', '_')}.json"
    if not entry.exists():
        return None
    fix = f"import the weights again: smallset weights import FILE --model {model}"
    return store_dir() / read_json(entry, contents.Imported, fix=fix)["file"]
