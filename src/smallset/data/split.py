"""Split a set that has no splits of its own: stratified, by group where groups are given."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from smallset.data.listing import ImageSet
from smallset.groups import NOT_WITH_FOLDS, DataConfig
from smallset.seeds import stream

WRITE_DOWN = "`smallset check DATA --write-split FILE.csv` writes it down"
USUAL_FOLDS = 5
FEW_IN_VAL = 10
"""With fewer val images of a class, val says little: then folds are the better half."""


def split_images(
    images: ImageSet, config: DataConfig, families: Sequence[str] | None = None
) -> ImageSet:
    """Give every image a split, train, val or test, fixed by the split seed.

    Each class is shared out by the same fractions, with at least one image in train and, from three
    images on, one in each split whose fraction is not 0. Where images belong together, whole
    families are dealt out, largest first, each to the split that lacks most of its classes.

    Args:
        config: `val_fraction`, `test_fraction` and `split_seed`.
        families: A name per image that those share which belong on one side; None takes the groups.
    """
    splits = _dealt(images, _shares(config), config.split_seed, families)
    note = f"split by smallset into train, val and test (seed {config.split_seed}); {WRITE_DOWN}"
    return replace(images, splits=splits, notes=(*images.notes, note))


def carve_val(
    images: ImageSet, config: DataConfig, families: Sequence[str] | None = None
) -> ImageSet:
    """Give a share of the training images to val, where the data has train and test only.

    Args:
        config: `val_fraction`, of train, and `split_seed`.
        families: Of the training images, as `split_images` takes them.
    """
    train = images.splits == "train"
    splits = images.splits.copy()
    shares = {"val": config.val_fraction}
    splits[train] = _dealt(images.where(train), shares, config.split_seed, families)
    note = (
        f"the data has no val: {(splits == 'val').sum()} of {train.sum()} training images became "
        f"val (seed {config.split_seed}); {WRITE_DOWN}, and data.val_fraction=0 trains on all"
    )
    return replace(images, splits=splits, notes=(*images.notes, note))


def _dealt(
    images: ImageSet, shares: dict[str, float], seed: int, families: Sequence[str] | None
) -> ndarray:
    rng = stream(seed, "split")
    families = images.groups if families is None else families
    if families is None or len(set(families)) == len(images):
        return _by_class(images, shares, rng)
    return _by_family(images, families, shares, rng)


def lacking(
    images: ImageSet, config: DataConfig, families: Sequence[str]
) -> Bool[ndarray, " classes"]:
    """Return which classes a split has none of, although they have an image for each.

    Args:
        families: As `split_images` takes them.
    """
    # Of data that has a test split of its own, train alone is dealt.
    shares = _shares(config) if (images.splits == "").all() else {"val": config.val_fraction}
    splits = _dealt(images, shares, config.split_seed, families)
    dealt = replace(images, splits=splits)
    sizes = np.bincount(images.labels, minlength=len(images.classes))
    lacks = (sizes > 0) & (dealt.counts("train") == 0)
    for split in shares:
        wanted = np.array([_wanted(size, shares)[split] for size in sizes.tolist()])
        lacks |= (wanted > 0) & (dealt.counts(split) == 0)
    return lacks


def one_pool(images: ImageSet) -> ImageSet:
    """Give every image the split train, for folds to be dealt from."""
    return replace(images, splits=np.full(len(images), "train"))


class UsualFolds(NamedTuple):
    """Into how many folds data is dealt where nothing is said."""

    number: int = 0
    """0 for none."""
    why: str = ""
    otherwise: str = ""
    """How to be scored by other images."""


def usual_folds(images: ImageSet, config: DataConfig) -> UsualFolds:
    """Return into how many folds `smallset train` and `best` deal data where nothing is said.

    Args:
        images: As they come, with `splits` that are "" where the data has none of its own.
        config: What it says of splits is not to be undone by folds; `val_fraction` says how many
            images of a class val would have.
    """
    default = DataConfig.model_fields
    if any(getattr(config, name) != default[name].default for name in NOT_WITH_FOLDS):
        return UsualFolds()
    there = set(images.splits.tolist())
    if "" not in there:
        if "train" not in there or "test" in there:
            return UsualFolds()
        otherwise = "a test split is scored instead, where you add one"
        return UsualFolds(USUAL_FOLDS, "the data has no test images", otherwise)
    sizes = np.bincount(images.labels)
    if config.val_fraction * np.median(sizes[sizes > 0]) >= FEW_IN_VAL:
        return UsualFolds()
    why = "the data has no splits of its own and val would be small"
    return UsualFolds(USUAL_FOLDS, why, "--folds 0 holds images back instead")


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


def _shares(config: DataConfig) -> dict[str, float]:
    return {"val": config.val_fraction, "test": config.test_fraction}


def _by_class(images: ImageSet, shares: dict[str, float], rng: np.random.Generator) -> np.ndarray:
    splits = np.full(len(images), "train")
    # Files are dealt in the order of their names, whatever order the disk listed them in.
    by_name = np.argsort(np.array(images.paths))
    for label in range(len(images.classes)):
        rows = rng.permutation(by_name[images.labels[by_name] == label])
        start = 0
        for split, count in _wanted(len(rows), shares).items():
            splits[rows[start : start + count]] = split
            start += count
    return splits


def _wanted(count: int, shares: dict[str, float]) -> dict[str, int]:
    """Return how many of the images of a class each split gets, but train."""
    wanted: dict[str, int] = {}
    for split, share in shares.items():
        least = 1 if share and count >= 3 else 0
        left = max(count - 1 - sum(wanted.values()), 0)
        wanted[split] = min(max(round(share * count), least), left)
    return wanted


def _by_family(
    images: ImageSet,
    families: Sequence[str],
    shares: dict[str, float],
    rng: np.random.Generator,
) -> np.ndarray:
    # Families are numbered by their first file, whatever they are called.
    by_name = np.argsort(np.array(images.paths))
    number = {name: n for n, name in enumerate(dict.fromkeys(families[row] for row in by_name))}
    family = np.array([number[name] for name in families])
    members = np.zeros((len(number), len(images.classes)))  # images by family and class
    np.add.at(members, (family, images.labels), 1)
    order = rng.permutation(len(number))
    order = order[np.argsort(-members[order].sum(axis=1), kind="stable")]

    missing = np.zeros((1 + len(shares), len(images.classes)))
    for label, count in enumerate(members.sum(axis=0).astype(int).tolist()):
        missing[1:, label] = list(_wanted(count, shares).values())
        missing[0, label] = count - missing[1:, label].sum()
    home = np.empty(len(number), dtype=int)
    for each in order:
        home[each] = np.argmax(missing @ members[each])
        missing[home[each]] -= members[each]
    return np.array(["train", *shares])[home][family]
