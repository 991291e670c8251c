"""Probabilities that an image's own label had no part in: of a probe and of neighbours.

Letters in shapes: n images, d features, K classes, B models trained side by side.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from sklearn.utils.extmath import randomized_svd
from torch import Tensor

FOLDS = 5
NUM_AXES = 256  # principal components that the probe sees
PENALTIES = (1e-4, 3e-4, 1e-3)  # on the squared weights, against the mean loss of an image
ITERATIONS = 30


def reduce_features(
    blocks: Sequence[Float[ndarray, "n _"]], num_axes: int = NUM_AXES
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
    _, _, axes = randomized_svd(together, min(num_axes, *together.shape), random_state=0)
    return together @ axes.T


def fold_of(
    labels: Int[ndarray, " n"], rng: np.random.Generator, folds: int = FOLDS
) -> Int[ndarray, " n"]:
    """Return a fold for each image, the images of every class spread over all folds."""
    fold = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        fold[rows] = (np.arange(len(rows)) + rng.integers(folds)) % folds
    return fold


def probe(
    features: Float[ndarray, "n d"],
    labels: Int[ndarray, "*B n"],
    used: Bool[ndarray, "B n"],
    *,
    num_classes: int,
    penalty: float | Float[ndarray, " B"],
) -> Float[Tensor, "d1 B K"]:
    """Train multinomial logistic regressions side by side, each on its own rows.

    Each minimises the mean cross-entropy of its rows + penalty / 2 * ||W||^2 by L-BFGS; all losses
    are summed, for one product serves all of them.

    Args:
        features: As `reduce_features` gives them.
        labels: Class of each image, for all models or for each.
        used: True where model b is trained on row i.
        penalty: Weight of the squared norm, of all models or of each; the offsets are free.

    Returns:
        Weights and, in the last row, offsets.
    """
    inputs = _with_one(features)
    mask = torch.from_numpy(used.T.astype(np.float32))
    target = torch.from_numpy(labels.astype(np.int64))
    (n, width), models = inputs.shape, used.shape[0]
    weights = torch.zeros(width, models, num_classes, requires_grad=True)
    solver = torch.optim.LBFGS(
        [weights], max_iter=ITERATIONS, history_size=10, line_search_fn="strong_wolfe"
    )
    repeated = target.expand(models, n).T.reshape(-1)
    strength = torch.as_tensor(penalty, dtype=torch.float32).expand(models)[:, None]

    def loss() -> Tensor:
        solver.zero_grad()
        logits = (inputs @ weights.view(width, -1)).view(-1, num_classes)
        each = F.cross_entropy(logits, repeated, reduction="none").view(n, models)
        value = ((each * mask).sum(dim=0) / mask.sum(dim=0)).sum()
        value = value + (strength * weights[:-1].square()).sum() / 2
        value.backward()
        return value

    solver.step(loss)
    return weights.detach()


def probe_probs(
    features: Float[ndarray, "n d"], weights: Float[Tensor, "d1 B K"]
) -> Float[ndarray, "B n K"]:
    """Return the probabilities that trained probes give.

    Args:
        weights: As `probe` returns them.
    """
    width, models, classes = weights.shape
    logits = (_with_one(features) @ weights.view(width, -1)).view(-1, models, classes)
    return logits.softmax(dim=2).permute(1, 0, 2).numpy()


def out_of_fold(
    features: Float[ndarray, "n d"],
    labels: Int[ndarray, " n"],
    *,
    num_classes: int,
    penalties: Sequence[float],
    repeats: int,
    seed: int,
    keep: Bool[ndarray, " n"] | None = None,
) -> Float[ndarray, "P n K"]:
    """Return probabilities of probes that were trained without the image, averaged over repeats.

    Args:
        features: As `reduce_features` gives them.
        penalties: Strengths to try, as in `probe`.
        repeats: How often the images are dealt into five folds.
        keep: Images that may be trained on; all get probabilities.

    Returns:
        One set of probabilities per penalty.
    """
    rng = np.random.default_rng(seed)
    folds = np.stack([fold_of(labels, rng) for _ in range(repeats)])
    held = (folds[:, None] == np.arange(FOLDS)[None, :, None]).reshape(-1, len(labels))
    used = ~held if keep is None else ~held & keep
    strengths = np.repeat(np.array(penalties, dtype=np.float32), len(used))
    every = np.tile(used, (len(penalties), 1))
    weights = probe(features, labels, every, num_classes=num_classes, penalty=strengths)
    probs = probe_probs(features, weights).reshape(len(penalties), *held.shape, num_classes)
    return np.einsum("bn,pbnk->pnk", held, probs) / repeats


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
) -> Float[ndarray, "n K"]:
    """Return the vote of the nearest other images by cosine, smoothed by one vote over all classes.

    Args:
        features: As `reduce_features` gives them.
        keep: Images that may vote; all get votes.
    """
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    voters = np.arange(len(labels)) if keep is None else np.flatnonzero(keep)
    count = min(neighbours, len(voters) - 1)
    votes = np.full((len(labels), num_classes), 1 / num_classes)
    for start in range(0, len(labels), 1000):  # so that the similarities fit into memory
        rows = np.arange(start, min(start + 1000, len(labels)))
        near = unit[rows] @ unit[voters].T
        near[rows[:, None] == voters[None]] = -np.inf
        # Ten times as quick as numpy's argpartition, which orders much more than is asked for.
        best = torch.from_numpy(near).topk(count, dim=1, sorted=False).indices.numpy()
        np.add.at(votes, (np.repeat(rows, count), labels[voters[best]].ravel()), 1)
    return votes / votes.sum(axis=1, keepdims=True)


def _with_one(features: Float[ndarray, "n d"]) -> Float[Tensor, "n d1"]:
    ones = np.ones((len(features), 1), dtype=np.float32)
    return torch.from_numpy(np.concatenate([features.astype(np.float32), ones], axis=1))
