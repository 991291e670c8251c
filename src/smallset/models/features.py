"""Frozen parts run once: features of fixed images, kept on disk under everything they depend on."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from smallset.data.batches import in_order
from smallset.data.feed import PixelSource
from smallset.files import build_folder, cache_dir
from smallset.models.parts import Classifier


def weights_hash(part: nn.Module) -> str:
    """Return the sha256 of a module's parameters and buffers.

    Args:
        part: The module.
    """
    digest = hashlib.sha256()
    for name, value in part.state_dict().items():
        digest.update(f"{name}{tuple(value.shape)}".encode())
        digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def compute_features(
    model: Classifier,
    source: PixelSource,
    *,
    ids: Sequence[str],
    spec: str,
    bfloat16: bool,
    folder: Path | None = None,
    progress: Callable[[int, int], None],
) -> np.ndarray:
    """Return the output of the feature part for every image, from disk or computed now.

    Args:
        model: The network, in eval mode.
        source: The images.
        ids: Content hash of each image.
        spec: How images became inputs (size, resize policy, normalisation).
        bfloat16: Compute in bfloat16; the result is float32 all the same.
        folder: Keep the file here rather than in the cache, where features of weights that only
            this run has would stay for ever.
        progress: Told the number of images done and of all.

    Returns:
        float32, memory-mapped, one feature map or vector per image.
    """
    parts = (weights_hash(model.features), spec, bfloat16, source.device, torch.__version__, *ids)
    key = hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()[:24]

    def fill(aside: Path) -> None:
        _write(model, source, aside / "features.npy", bfloat16, progress)

    made = build_folder((folder or cache_dir() / "features") / key, fill)
    return np.load(made / "features.npy", mmap_mode="r")


@torch.inference_mode()
def _write(
    model: Classifier,
    source: PixelSource,
    path: Path,
    bfloat16: bool,
    progress: Callable[[int, int], None],
) -> None:
    array = None
    done = 0
    for images, _ in source.load(in_order(len(source), 64), None):
        with torch.autocast(source.device, dtype=torch.bfloat16, enabled=bfloat16):
            maps = model.features(images)
        block = maps.float().cpu().numpy()
        if array is None:
            shape = (len(source), *block.shape[1:])
            array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
        array[done : done + len(block)] = block
        done += len(block)
        progress(done, len(source))
    assert array is not None
    array.flush()
