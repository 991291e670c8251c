"""Split a set that has no splits of its own: stratified, by group where groups are given."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from smallset.data.listing import ImageSet
from smallset.groups import DataConfig
from smallset.seeds import stream

USUAL_FOLDS = 5
FEW_IN_VAL = 10
"""With fewer val images of a class, val says little: then folds are the better half."""


def split_images(images: ImageSet, config: DataConfig) -> ImageSet:
    """Give every image a split, train, val or test, fixed by the split seed.

    Each class is shared out by the same fractions, with at least one image in train and, from three
    images on, one in each split whose fraction is not 0. With groups, whole groups are dealt out,
    largest first, each to the split that is furthest below its share of the group's classes.

    Args:
        config: `val_fraction`, `test_fraction` and `split_seed`.
    """
    rng = stream(config.split_seed, "split")
    shares = {"val": config.val_fraction, "test": config.test_fraction}
    if images.groups is None:
        splits = _by_class(images, shares, rng)
    else:
        splits = _by_group(images, shares, rng)
    note = (
        f"split by smallset into train, val and test (seed {config.split_seed}); "
        "`smallset check DATA --write-split FILE.csv` writes it down"
    )
    return replace(images, splits=splits, notes=(*images.notes, note))


def one_pool(images: ImageSet) -> ImageSet:
    """Give every image the split train, for folds to be dealt from."""
    return replace(images, splits=np.full(len(images), "train"))


def usual_folds(images: ImageSet, config: DataConfig) -> int:
    """Return into how many folds data is dealt where nothing is said; 0 for none.

    Args:
        images: As they come, with `splits` that are "" where the data has none of its own.
        config: `val_fraction` says how many images of a class val would have.
    """
    if (images.splits != "").any():
        return 0
    sizes = np.bincount(images.labels)
    return USUAL_FOLDS if config.val_fraction * np.median(sizes[sizes > 0]) < FEW_IN_VAL else 0


def choose_fraction(
    ids: Sequence[str],
    labels: Int[ndarray, " n"],
    fraction: float | Float[ndarray, " classes"],
    *,
    seed: int,
) -> Bool[ndarray, " n"]:
    """Choose a share of every class, from each image's id and the seed alone.

    Of c images of a class ``max(1, round(fraction * c))`` are chosen; what a smaller fraction
    chooses is among what a larger one does.

    Args:
        ids: One name per image, of its content.
        fraction: In (0, 1], of all classes or of each.

    Returns:
        True for the chosen images.
    """
    draws = [hashlib.sha256(f"subset/{seed}/{name}".encode()).digest() for name in ids]
    chosen = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = sorted(np.flatnonzero(labels == label).tolist(), key=lambda row: draws[row])
        share = float(fraction if np.ndim(fraction) == 0 else np.asarray(fraction)[label])
        chosen[rows[: max(1, round(share * len(rows)))]] = True
    return chosen


def _by_class(images: ImageSet, shares: dict[str, float], rng: np.random.Generator) -> np.ndarray:
    splits = np.full(len(images), "train")
    # Files are dealt in the order of their names, whatever order the disk listed them in.
    by_name = np.argsort(np.array(images.paths))
    for label in range(len(images.classes)):
        rows = rng.permutation(by_name[images.labels[by_name] == label])
        start = 0
        for split, share in shares.items():
            least = 1 if share and len(rows) >= 3 else 0
            count = min(max(round(share * len(rows)), least), max(len(rows) - 1 - start, 0))
            splits[rows[start : start + count]] = split
            start += count
    return splits


def _by_group(images: ImageSet, shares: dict[str, float], rng: np.random.Generator) -> np.ndarray:
    assert images.groups is not None
    names, group_of = np.unique(np.array(images.groups), return_inverse=True)
    members = np.zeros((len(names), len(images.classes)))  # images by group and class
    np.add.at(members, (group_of, images.labels), 1)
    order = rng.permutation(len(names))
    order = order[np.argsort(-members[order].sum(axis=1), kind="stable")]

    targets = {"train": 1 - sum(shares.values()), **shares}
    missing = np.stack([share * members.sum(axis=0) for share in targets.values()])
    home = np.empty(len(names), dtype=int)
    for group in order:
        home[group] = np.argmax(missing @ members[group])
        missing[home[group]] -= members[group]
    return np.array(list(targets))[home][group_of]
