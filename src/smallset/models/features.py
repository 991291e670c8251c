"""Frozen parts run once: features of fixed images, kept on disk under everything they depend on."""

import hashlib
import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from smallset.data.batches import in_order
from smallset.data.feed import PixelFeed
from smallset.files import cache_dir
from smallset.models.forward import BATCH_SIZE, forward, passes
from smallset.models.parts import Classifier
from smallset.reading import read_array
from smallset.store import build_folder, new_array


def weights_hash(part: nn.Module) -> str:
    """Return the sha256 of a module's parameters and buffers."""
    digest = hashlib.sha256()
    for name, value in part.state_dict().items():
        digest.update(f"{name}{tuple(value.shape)}".encode())
        digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def compute_features(
    model: Classifier,
    feed: PixelFeed,
    *,
    ids: Sequence[str],
    bfloat16: bool,
    folder: Path | None = None,
    progress: Callable[[int, int], object],
    note: Callable[[str], object] = warnings.warn,
) -> np.ndarray:
    """Return the output of the feature part for every image, from disk or computed now.

    Args:
        bfloat16: Compute in bfloat16; the result is float32 all the same.
        folder: Keep the file here rather than in the cache, where features of weights that only
            this run has would stay for ever.
        progress: Told the number of images done and of all.
        note: Told where what was kept is damaged, and is computed again.

    Returns:
        float32, memory-mapped, one feature map or vector per image.
    """
    spec = json.dumps(feed.preprocessing.to_json())
    parts = (weights_hash(model.features), spec, bfloat16, feed.device, torch.__version__, *ids)
    parts = (*parts, "mirror") if model.mirror else parts
    key = hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()[:24]

    def fill(aside: Path) -> None:
        _write(model, feed, aside / "features.npy", bfloat16, progress)

    made = build_folder((folder or cache_dir() / "features") / key, fill, note=note)
    return read_array(made / "features.npy", mapped=True)


def _write(
    model: Classifier,
    feed: PixelFeed,
    path: Path,
    bfloat16: bool,
    progress: Callable[[int, int], object],
) -> None:
    array, done = None, 0
    for maps in passes(
        lambda batch: forward(model.look, batch.images, bfloat16=bfloat16),
        feed,
        in_order(len(feed.labels), BATCH_SIZE),
        progress=progress,
    ):
        block = maps.cpu().numpy()
        if array is None:
            shape = (len(feed.labels), *block.shape[1:])
            array = new_array(path, shape, np.float32)
        array[done : done + len(block)] = block
        done += len(block)
    assert array is not None
    array.flush()
