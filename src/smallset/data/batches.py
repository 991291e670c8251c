"""Which images form a batch: rows of one epoch, drawn from a random stream."""

import itertools
from collections.abc import Iterator

import numpy as np
from jaxtyping import Int
from numpy import ndarray

Rows = Int[ndarray, "... _"]
"""Positions of the images of a batch; batches differ in length, so the axis has no name. Where runs
train side by side, an axis of lanes stands before it."""


def random_batches(num_images: int, size: int, rng: np.random.Generator) -> list[Rows]:
    """Shuffle all images into batches; each image comes once.

    Where less than half a batch would be left over, the last two batches share their images evenly,
    for BatchNorm takes little but noise from a few images, and cannot train on one.
    """
    order = rng.permutation(num_images)
    starts = list(range(0, num_images, size))
    left = num_images % size
    if len(starts) > 1 and 0 < left < max(size / 2, 2):
        del starts[-1]
        if size + left > 3:
            starts.append(num_images - (size + left) // 2)
    return np.split(order, starts[1:])


def balanced_batches(labels: Int[ndarray, " n"], size: int, rng: np.random.Generator) -> list[Rows]:
    """Draw batches of an epoch in which every class comes equally often, to one image.

    The epoch has as many images as there are. The images of a class take turns in a random order,
    so those of a small class come several times, and not all of a large one. Where the batch is cut
    follows `random_batches`.

    Args:
        labels: Class of each training image.
    """
    present = np.unique(labels)
    share, more = divmod(len(labels), len(present))
    once_more = rng.permutation(present)[:more]
    drawn: list[int] = []
    for label in present:
        images = _endless(np.flatnonzero(labels == label), rng)
        drawn += itertools.islice(images, share + int(label in once_more))
    rows = np.array(drawn)
    return [rows[batch] for batch in random_batches(len(rows), size, rng)]


def pk_batches(
    labels: Int[ndarray, " n"], *, classes: int, per_class: int, rng: np.random.Generator
) -> list[Rows]:
    """Draw batches of P classes x K images (Hermans et al. 2017, section 2).

    Classes take turns in a random order, and so do the images of a class; an epoch draws at least
    as many images as there are, though not each exactly once. A class with fewer than K images
    gives some of them twice in a batch.

    Args:
        labels: Class of each training image.

    Raises:
        ValueError: If fewer than P classes have images.
    """
    present = np.unique(labels)
    if len(present) < classes:
        raise ValueError(
            f"pk batches want {classes} classes each, the data has {len(present)}; "
            f"lower batches.classes_per_batch to at most {len(present)}"
        )
    images = {int(label): _endless(np.flatnonzero(labels == label), rng) for label in present}
    batches: list[Rows] = []
    turn: list[int] = []
    for _ in range(-(-len(labels) // (classes * per_class))):
        if len(turn) < classes:
            # Those still waiting go first, and last in the new round: never twice in one batch.
            fresh = [int(label) for label in rng.permutation(present)]
            turn = turn + sorted(fresh, key=turn.__contains__)
        chosen, turn = turn[:classes], turn[classes:]
        rows = [next(images[label]) for label in chosen for _ in range(per_class)]
        batches.append(np.array(rows))
    return batches


def share_without_positive(labels: Int[ndarray, " n"], size: int) -> float:
    """Return the expected share of anchors that meet no image of their class in a random batch.

    For a class of c among n images, an anchor's other size - 1 places hold none of its c - 1
    fellows with probability C(n - c, size - 1) / C(n - 1, size - 1).

    Args:
        labels: Class of each training image.
    """
    num_images = len(labels)
    counts = np.bincount(labels)
    alone = np.zeros(len(counts))
    for label, count in enumerate(counts):
        places = np.arange(size - 1)
        chances = (num_images - count - places) / np.maximum(num_images - 1 - places, 1)
        alone[label] = np.prod(chances.clip(0, 1))
    return float((alone * counts).sum() / num_images)


def _endless(rows: Rows, rng: np.random.Generator) -> Iterator[int]:
    while True:
        yield from rng.permutation(rows).tolist()


def in_order(num_images: int, batch_size: int) -> list[Rows]:
    """Return all rows in batches, in order."""
    return np.split(np.arange(num_images), range(batch_size, num_images, batch_size))
