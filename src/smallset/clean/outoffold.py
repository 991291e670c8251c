"""What is looked at to judge labels: features together, blind probes, and neighbours.

Letters in shapes: n images, d features, K classes, F folds.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from smallset.models.probe import FOLDS, principal, probe, probe_probs
from smallset.stats import directions

PENALTIES = (1e-4, 3e-4, 1e-3)  # on the squared weights, against the mean loss of an image


def reduce_features(
    blocks: Sequence[Float[ndarray, "n _"]],
) -> Float[ndarray, "n d"]:
    """Standardise the features of one or several networks, and keep their principal components.

    Each network weighs the same, however many features it has.

    Args:
        blocks: One array per network, rows in the same order.
    """
    scaled = []
    for block in blocks:
        values = block.astype(np.float32)
        spread = values.std(axis=0)
        used = spread > 1e-6 * max(float(spread.max()), 1e-12)
        values = (values[:, used] - values[:, used].mean(axis=0)) / spread[used]
        scaled.append(values / np.sqrt(max(values.shape[1], 1)))
    together = np.concatenate(scaled, axis=1)
    return principal(together)


def out_of_two_folds(
    features: Float[ndarray, "n d"],
    labels: Int[ndarray, " n"],
    fold: Int[ndarray, " n"],
    *,
    num_classes: int,
    penalty: float,
) -> Float[ndarray, "F n K"]:
    """Return what probes that saw neither fold f nor the image's own fold say of each image.

    Args:
        features: As `reduce_features` gives them.
        fold: Of each image, as `fold_of` gives it.
        penalty: As in `probe`.

    Returns:
        Probabilities; zeros for the images of fold f itself.
    """
    pairs = list(combinations(range(FOLDS), 2))
    used = np.stack([~np.isin(fold, pair) for pair in pairs])
    weights = probe(features, labels, used, num_classes=num_classes, penalty=penalty)
    blind = np.zeros((FOLDS, len(labels), num_classes), dtype=np.float32)
    for (f, g), probs in zip(pairs, probe_probs(features, weights), strict=True):
        blind[f, fold == g], blind[g, fold == f] = probs[fold == g], probs[fold == f]
    return blind


def neighbour_probs(
    features: Float[ndarray, "n d"],
    labels: Int[ndarray, " n"],
    *,
    num_classes: int,
    neighbours: int = 10,
    keep: Bool[ndarray, " n"] | None = None,
    groups: Sequence[str] | None = None,
) -> Float[ndarray, "n K"]:
    """Return the vote of the nearest other images by cosine, smoothed by one vote over all classes.

    Args:
        features: As `reduce_features` gives them.
        keep: Images that may vote; all get votes.
        groups: Images of one group do not vote for each other, so that an image may have fewer
            neighbours; None where every image stands alone.
    """
    unit = directions(features)
    alone = np.arange(len(labels))
    group = alone if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    voters = alone if keep is None else np.flatnonzero(keep)
    count = min(neighbours, len(voters) - 1)
    votes = np.full((len(labels), num_classes), 1 / num_classes)
    for start in range(0, len(labels), 1000):  # so that the similarities fit into memory
        rows = np.arange(start, min(start + 1000, len(labels)))
        near = unit[rows] @ unit[voters].T
        near[group[rows][:, None] == group[voters]] = -np.inf
        # Ten times as quick as numpy's argpartition, which orders much more than is asked for.
        best = torch.from_numpy(near).topk(count, dim=1, sorted=False).indices.numpy()
        may = np.isfinite(np.take_along_axis(near, best, axis=1))
        np.add.at(votes, (rows[may.nonzero()[0]], labels[voters[best]][may]), 1)
    return votes / votes.sum(axis=1, keepdims=True)
