"""Frozen parts run once: features of fixed images, kept on disk under everything they depend on.

A vector is kept per image and network, so that another split, fraction or network beside it finds
it again: always computed among the same number of images, it has the same bits in any company.
"""

import hashlib
import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smallset.data.batches import in_order
from smallset.data.feed import PixelFeed, Selection
from smallset.data.preprocessing import Preprocessing
from smallset.files import cache_dir
from smallset.models.forward import BATCH_SIZE, forward, passes
from smallset.models.parts import Classifier
from smallset.models.together import SideBySide, View
from smallset.reading import read_array
from smallset.store import build_folder, new_array, sound_folders

TOGETHER = 32
"""Images that go through a network at a time where vectors are kept; the last ones with zeros."""


class Part(NamedTuple):
    """One of the networks that make a vector of an image."""

    network: nn.Module
    preprocessing: Preprocessing
    """Of the pixels, with its own normalisation."""
    sides: tuple[int, ...]
    """To which images are resized, one after the other, px."""
    mirror: bool
    """Whether its vector is the mean of that of the image and of its mirror image."""


class Asked(NamedTuple):
    """Of which images features are wanted, and how; see `compute_features`."""

    feed: PixelFeed
    ids: Sequence[str]
    place: Path
    """The folder of all features that are kept."""
    bfloat16: bool
    progress: Callable[[int, int], object]
    note: Callable[[str], object]


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
        ids: sha256 of each image's decoded pixels.
        bfloat16: Compute in bfloat16; the result is float32 all the same.
        folder: Keep the files here rather than in the cache, where features of weights that only
            this run has would stay for ever.
        progress: Told the number of images done and of all.
        note: Told where what was kept is damaged, and is computed again.

    Returns:
        float32, one feature map (memory-mapped) or vector per image; with `mirror` of both views,
        on axis 1.
    """
    spec = feed.preprocessing
    asked = Asked(feed, ids, folder or cache_dir() / "features", bfloat16, progress, note)
    with torch.inference_mode():
        blank = torch.zeros(1, 3, spec.size, spec.size, device=feed.device)
        is_flat = forward(model.features, blank, bfloat16=bfloat16).ndim == 2
    if not is_flat:
        return _maps(model, asked)

    def seen(is_flipped: bool) -> np.ndarray:
        blocks = []
        for part in _parts(model.features, spec, (spec.size,), mirror=False):
            block = _vectors(part, asked, is_flipped=is_flipped)
            if part.mirror:
                block = (block + _vectors(part, asked, is_flipped=not is_flipped)) / 2
            blocks.append(block)
        return np.concatenate(blocks, axis=1)

    return np.stack([seen(False), seen(True)], axis=1) if model.mirror else seen(False)


def _parts(
    network: nn.Module, preprocessing: Preprocessing, sides: tuple[int, ...], *, mirror: bool
) -> Iterator[Part]:
    """Yield the networks that are side by side in one, each with its own normalisation."""
    if not isinstance(network, SideBySide):
        yield Part(network, preprocessing, sides, mirror)
        return
    for view in network.views:
        assert isinstance(view, View)
        own = replace(preprocessing, mean=view.own_mean, std=view.own_std)
        inner = view.network if view.bare is None else view.bare  # as it is alone
        seen = sides if view.size == sides[-1] else (*sides, view.size)
        yield from _parts(inner, own, seen, mirror=mirror or view.mirror)


def _vectors(part: Part, asked: Asked, *, is_flipped: bool) -> np.ndarray:
    """Return the vector of each image by one network; those that are not kept yet are computed."""
    feed, ids, place, bfloat16, progress, note = asked
    spec = json.dumps(part.preprocessing.to_json())
    decides = (weights_hash(part.network), spec, part.sides, bfloat16, feed.device)
    base = place / _key(*decides, torch.__version__, is_flipped, TOGETHER)
    kept: dict[str, np.ndarray] = {}

    def keep(block: Path) -> None:
        names = read_array(block / "ids.npy").tolist()
        kept.update(zip(names, read_array(block / "features.npy", mapped=True), strict=True))

    for block in sound_folders(base, note=note):
        keep(block)
    rows = {name: row for row, name in enumerate(ids) if name not in kept}
    if rows:
        some = PixelFeed(
            Selection(feed.array, np.array(list(rows.values()))),
            np.zeros(len(rows), dtype=int), part.preprocessing, device=feed.device,
        )  # fmt: skip

        def fill(aside: Path) -> None:
            np.save(aside / "ids.npy", np.array(list(rows)))
            look = _look(part, is_flipped=is_flipped, bfloat16=bfloat16)
            _write(look, some, aside / "features.npy", TOGETHER, progress)

        keep(build_folder(base / _key(*rows), fill, note=note))
    return np.stack([kept[name] for name in ids])


def _key(*parts: Any) -> str:
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()[:24]


def _look(part: Part, *, is_flipped: bool, bfloat16: bool) -> Callable[[Tensor], Tensor]:
    def look(images: Tensor) -> Tensor:
        count = len(images)
        if count < TOGETHER:  # other numbers of images may sum in another order
            zeros = images.new_zeros(TOGETHER - count, *images.shape[1:])
            images = torch.cat([images, zeros])
        images = images.contiguous(memory_format=torch.channels_last)
        for side in part.sides[1:]:
            images = F.interpolate(images, (side, side), mode="bilinear", antialias=True)
        images = images.flip(-1) if is_flipped else images
        return forward(part.network, images, bfloat16=bfloat16).flatten(1)[:count]

    return look


def _maps(model: Classifier, asked: Asked) -> np.ndarray:
    """Return the feature map of each image; too large to be gathered in memory, so kept as one."""
    feed, ids, place, bfloat16, progress, note = asked
    spec = json.dumps(feed.preprocessing.to_json())
    parts = (weights_hash(model.features), spec, bfloat16, feed.device, torch.__version__, *ids)
    key = _key(*parts, *(["mirror"] if model.mirror else []))

    def fill(aside: Path) -> None:
        def look(images: Tensor) -> Tensor:
            return forward(model.look, images, bfloat16=bfloat16)

        _write(look, feed, aside / "features.npy", BATCH_SIZE, progress)

    return read_array(build_folder(place / key, fill, note=note) / "features.npy", mapped=True)


def _write(
    look: Callable[[Tensor], Tensor],
    feed: PixelFeed,
    path: Path,
    at_a_time: int,
    progress: Callable[[int, int], object],
) -> None:
    array, done = None, 0
    batches = in_order(len(feed.labels), at_a_time)
    for maps in passes(lambda batch: look(batch.images), feed, batches, progress=progress):
        block = maps.cpu().numpy()
        if array is None:
            shape = (len(feed.labels), *block.shape[1:])
            array = new_array(path, shape, np.float32)
        array[done : done + len(block)] = block
        done += len(block)
    assert array is not None
    array.flush()
