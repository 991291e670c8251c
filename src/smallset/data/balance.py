"""Classes of uneven sizes: what makes them count the same, and uneven data on purpose."""

import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray


def class_weights(sizes: Int[ndarray, "*B K"]) -> Float[ndarray, "*B K"]:
    """Return the weight of an image of each class that gives all classes the same total.

    Of n images, n_c of them of class c, and K' classes that have any: n / (K' n_c), which is 1 in
    the mean over the images; 0 for a class without an image.

    Args:
        sizes: Images of each class.

    Example:
        >>> class_weights(np.array([3, 1, 0])).round(3)
        array([0.667, 2.   , 0.   ], dtype=float32)
    """
    totals, there = sizes.sum(axis=-1, keepdims=True), (sizes > 0).sum(axis=-1, keepdims=True)
    weights = np.zeros(sizes.shape, dtype=np.float32)
    return np.divide(totals, there * sizes, out=weights, where=sizes > 0)


def log_prior(sizes: Int[ndarray, "*B K"]) -> Float[ndarray, "*B K"]:
    """Return the logarithm of each class's share of the images.

    A class without an image counts as if it had one: its logarithm must stay finite.

    Args:
        sizes: Images of each class.

    Source:
        Menon et al. 2021, "Long-tail learning via logit adjustment", equations 9 and 10, tau = 1,
        https://arxiv.org/abs/2007.07314.
    """
    totals = np.maximum(sizes.sum(axis=-1, keepdims=True), 1)
    return np.log(np.maximum(sizes, 1) / totals).astype(np.float32)


def long_tail(classes: Sequence[str], ratio: float, *, seed: int) -> Float[ndarray, " K"]:
    """Return the share of its images that each class keeps where classes are made uneven.

    The first class keeps all, the last 1 / ratio, and each of those between the same factor less
    than the one before: ratio^(-i / (K - 1)).

    Args:
        classes: Their names; with the seed alone they decide the order.
        ratio: Of the largest share to the smallest; at least 1.

    Example:
        >>> sorted(long_tail(["ant", "bee", "cat"], 4, seed=0).tolist())
        [0.25, 0.5, 1.0]

    Source:
        Cui et al. 2019, "Class-balanced loss based on effective number of samples", section 5.1,
        https://arxiv.org/abs/1901.05555 (there in the order of the labels).
    """
    draws = [hashlib.sha256(f"imbalance/{seed}/{name}".encode()).digest() for name in classes]
    rank = np.argsort(np.argsort(np.array(draws)))
    return ratio ** (-rank / max(len(classes) - 1, 1))
