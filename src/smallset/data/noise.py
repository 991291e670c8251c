"""Label noise injected on purpose, with the truth kept."""

import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int
from numpy import ndarray


def flip_labels(
    ids: Sequence[str],
    labels: Int[ndarray, " n"],
    rate: float,
    *,
    num_classes: int,
    seed: int,
) -> Int[ndarray, " n"]:
    """Give a fraction of the images a wrong label drawn uniformly from the other classes.

    Exactly ``round(rate * n)`` labels change. Which ones and into what follows from each image's
    id and the seed alone: not from the order of the images, the model or the run's seed. The wrong
    labels of a lower rate are among those of a higher one, the same ones.

    Args:
        ids: One name per image, of its content.
        labels: True class of each image, in [0, num_classes).
        rate: Fraction of labels to change, in [0, 1].
        num_classes: Number of classes; at least 2 where a label is to change.

    Returns:
        The given labels, a new array; ``given != labels`` is the mask of the changes.

    Raises:
        ValueError: If `rate` is outside [0, 1], or there are too few classes, or a label is out of
            range, or there is not one id per label.
    """
    truth = labels
    if not 0 <= rate <= 1:
        raise ValueError(f"rate must be a fraction in [0, 1], got {rate}")
    if len(ids) != len(truth):
        raise ValueError(f"each label needs an id, got {len(ids)} ids for {len(truth)} labels")
    if truth.size and not 0 <= truth.min() <= truth.max() < num_classes:
        raise ValueError(
            f"labels must be in [0, {num_classes}), got {truth.min()} to {truth.max()}"
        )
    count = round(rate * len(truth))
    if count and num_classes < 2:
        raise ValueError(f"num_classes must be at least 2 to flip a label, got {num_classes}")
    given = truth.copy()
    if not count:
        return given
    draws = [hashlib.sha256(f"{seed}/{name}".encode()).digest() for name in ids]
    order = sorted(range(len(truth)), key=lambda row: draws[row])
    flipped = order[:count]
    # Adding 1..K-1 modulo K reaches every other class once: uniform, and never the true one. The
    # last bytes choose it, for the first ones, which chose the image, are small here.
    shift = np.array([1 + int.from_bytes(draws[i][16:]) % (num_classes - 1) for i in flipped])
    given[flipped] = (truth[flipped] + shift) % num_classes
    return given
