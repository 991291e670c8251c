"""Probes: multinomial logistic regressions on features, fitted to convergence by L-BFGS.

Letters in shapes: n images, d features, K classes, B models trained side by side.
"""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from sklearn.utils.extmath import randomized_svd
from torch import Tensor

from smallset.data.balance import class_weights, log_prior
from smallset.groups import Balance

FOLDS = 5
ITERATIONS = 30
HEAD_PENALTIES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
"""On the squared weights of standardised features, against the mean loss of an image."""
HEAD_ITERATIONS = 200
NUM_AXES = 256  # principal components that penalties are compared on
MOST_COMPARED = 4000  # images that penalties are compared on


class Head(NamedTuple):
    """A linear layer on features as they come, and how it was chosen."""

    weight: Float[Tensor, "K d"]
    bias: Float[Tensor, " K"]
    penalty: float


def fit_head(
    features: Float[ndarray, "n d"],
    labels: Int[ndarray, " n"],
    *,
    num_classes: int,
    seed: int,
    groups: Sequence[str] | None = None,
    penalties: Sequence[float] = HEAD_PENALTIES,
    balance: Balance = "none",
) -> Head:
    """Fit a probe to standardised features, and fold the standardising into its weights.

    The penalty is the one with the least cross-entropy over five folds, on the principal
    components of the features; the fit itself sees all of them.

    Args:
        seed: Deals the images into folds.
        groups: Images of one group are in one fold; None where every image stands alone.
        balance: As in `probe`; where classes count the same in the fit, they do in the choice of
            the penalty.
    """
    mean, scale = _standard(features)
    scaled = (features - mean) * scale
    penalty = penalties[0]
    if len(penalties) > 1:
        penalty = _best_penalty(
            scaled, labels, groups, num_classes=num_classes, seed=seed, penalties=penalties,
            balance=balance,
        )  # fmt: skip
    everything = np.ones((1, len(labels)), dtype=bool)
    fitted = probe(
        scaled, labels, everything, num_classes=num_classes, penalty=penalty,
        iterations=HEAD_ITERATIONS, balance=balance,
    )[:, 0].T  # fmt: skip
    weight = fitted[:, :-1] * torch.from_numpy(scale)
    bias = fitted[:, -1] - weight @ torch.from_numpy(mean)
    return Head(weight.contiguous(), bias, penalty)


def _standard(features: ndarray) -> tuple[ndarray, ndarray]:
    """Return mean and 1 / spread of each feature; 0 where it does not vary."""
    spread = features.std(axis=0, dtype=np.float64)
    used = spread > 1e-6 * max(float(spread.max()), 1e-12)
    scale = np.divide(1.0, spread, out=np.zeros_like(spread), where=used)
    return features.mean(axis=0, dtype=np.float64).astype(np.float32), scale.astype(np.float32)


def _best_penalty(
    scaled: ndarray,
    labels: ndarray,
    groups: Sequence[str] | None,
    *,
    num_classes: int,
    seed: int,
    penalties: Sequence[float],
    balance: Balance,
) -> float:
    rng = np.random.default_rng(seed)
    if len(labels) > MOST_COMPARED:
        some = rng.choice(len(labels), MOST_COMPARED, replace=False)
        scaled, labels = scaled[some], labels[some]
        groups = None if groups is None else [groups[int(row)] for row in some]
    probs = out_of_fold(
        principal(scaled), labels, num_classes=num_classes, penalties=penalties, repeats=1,
        seed=seed, groups=groups, balance=balance,
    )  # fmt: skip
    return penalties[_likeliest(probs, labels, balance)]


def _likeliest(probs: Float[ndarray, "P n K"], labels: Int[ndarray, " n"], balance: Balance) -> int:
    own = np.log(np.maximum(probs[:, np.arange(len(labels)), labels], 1e-12))
    if balance != "none":
        own = own * class_weights(np.bincount(labels))[labels]
    return int(own.mean(axis=1).argmax())


def principal(features: Float[ndarray, "n d"]) -> Float[ndarray, "n axes"]:
    """Return the features along their principal components, those with the most spread first."""
    _, _, axes = randomized_svd(features, min(NUM_AXES, *features.shape), random_state=0)
    return features @ axes.T


class HeldOut(NamedTuple):
    """What probes say of images that they were not trained on."""

    probs: Float[ndarray, "n K"]
    penalty: float


def held_out(
    blocks: Sequence[Float[ndarray, "n _"]],
    labels: Int[ndarray, " n"],
    *,
    num_classes: int,
    seed: int,
    groups: Sequence[str] | None = None,
    penalties: Sequence[float] = HEAD_PENALTIES,
    folds: int = FOLDS,
    balance: Balance = "none",
) -> HeldOut:
    """Return out-of-fold probabilities of heads like the one that `fit_head` fits.

    They are those that it chooses its penalty by: on `NUM_AXES` principal components and fitted in
    `ITERATIONS` steps, where its own sees all features and has `HEAD_ITERATIONS`. So what they say
    is close to what that head would, and not the same.

    Args:
        blocks: Features of one network or of several, one after the other.
        groups: Images of one group are in one fold; None where every image stands alone.
    """
    scaled = []
    for block in blocks:
        mean, scale = _standard(block)
        scaled.append((block - mean) * scale)
    probs = out_of_fold(
        principal(np.concatenate(scaled, axis=1)), labels, num_classes=num_classes,
        penalties=penalties, repeats=1, seed=seed, groups=groups, folds=folds,
        balance=balance,
    )  # fmt: skip
    best = _likeliest(probs, labels, balance)
    return HeldOut(probs[best], penalties[best])


def fold_of(
    labels: Int[ndarray, " n"],
    rng: np.random.Generator,
    folds: int = FOLDS,
    groups: Sequence[str] | None = None,
) -> Int[ndarray, " n"]:
    """Return a fold for each image, the images of every class spread over all folds.

    Args:
        groups: Images of one group go into one fold; None where every image stands alone.
    """
    if groups is not None and len(set(groups)) < len(labels):
        return _grouped_folds(labels, rng, folds, groups)
    fold = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        fold[rows] = (np.arange(len(rows)) + rng.integers(folds)) % folds
    return fold


def _grouped_folds(
    labels: ndarray, rng: np.random.Generator, folds: int, groups: Sequence[str]
) -> ndarray:
    from sklearn.model_selection import StratifiedGroupKFold

    _, first, group = np.unique(np.asarray(groups), return_index=True, return_inverse=True)
    count = min(folds, len(first))
    if not 1 < count <= np.bincount(labels).max():  # scikit-learn deals no others
        return fold_of(labels[first], rng, folds)[group]
    deal = StratifiedGroupKFold(count, shuffle=True, random_state=int(rng.integers(2**31)))
    fold = np.empty(len(labels), dtype=np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a class with fewer images than folds is fine here
        for number, (_, held) in enumerate(deal.split(labels, labels, np.asarray(groups))):
            fold[held] = number
    return fold


def probe(
    features: Float[ndarray, "n d"],
    labels: Int[ndarray, "*B n"],
    used: Bool[ndarray, "B n"],
    *,
    num_classes: int,
    penalty: float | Float[ndarray, " B"],
    iterations: int = ITERATIONS,
    balance: Balance = "none",
) -> Float[Tensor, "d1 B K"]:
    """Train multinomial logistic regressions side by side, each on its own rows.

    Each minimises the mean cross-entropy of its rows + penalty / 2 * ||W||^2 by L-BFGS; all losses
    are summed, for one product serves all of them.

    Args:
        features: Standardised, or of one scale at least.
        labels: Class of each image, for all models or for each.
        used: True where model b is trained on row i.
        penalty: Weight of the squared norm, of all models or of each; the offsets are free.
        iterations: Of L-BFGS, at most.
        balance: What makes the classes of a model's rows count the same. weights: the mean of the
            cross-entropy gives each of them the same total. logits: the offsets lose the logarithm
            of the class's share of the rows after the fit, as if its loss had added that to the
            logits, for the offsets are free (Menon et al. 2021, equations 9 and 10).

    Returns:
        Weights and, in the last row, offsets.
    """
    inputs = _with_one(features)
    rows = used.astype(np.float32)
    sizes = _sizes(labels, used, num_classes)
    if balance == "weights":
        rows *= np.take_along_axis(class_weights(sizes), np.broadcast_to(labels, used.shape), 1)
    mask = torch.from_numpy(rows.T)
    target = torch.from_numpy(labels.astype(np.int64))
    (n, width), models = inputs.shape, used.shape[0]
    weights = torch.zeros(width, models, num_classes, requires_grad=True)
    solver = torch.optim.LBFGS(
        [weights], max_iter=iterations, history_size=10, line_search_fn="strong_wolfe"
    )
    repeated = target.expand(models, n).T.reshape(-1)
    total = mask.sum(dim=0).clamp(min=1e-12)  # one without images stays at equal probabilities
    strength = torch.as_tensor(penalty, dtype=torch.float32).expand(models)[:, None]

    def loss() -> Tensor:
        solver.zero_grad()
        logits = (inputs @ weights.view(width, -1)).view(-1, num_classes)
        each = F.cross_entropy(logits, repeated, reduction="none").view(n, models)
        value = ((each * mask).sum(dim=0) / total).sum()
        value = value + (strength * weights[:-1].square()).sum() / 2
        value.backward()
        return value

    solver.step(loss)
    fitted = weights.detach()
    if balance == "logits":
        fitted[-1] -= torch.from_numpy(log_prior(sizes))
    return fitted


def _sizes(
    labels: Int[ndarray, "*B n"], used: Bool[ndarray, "B n"], num_classes: int
) -> Int[ndarray, "B K"]:
    """Return the rows of each class that each model is trained on."""
    every = np.broadcast_to(labels, used.shape)
    counts = [
        np.bincount(own[on], minlength=num_classes) for own, on in zip(every, used, strict=True)
    ]
    return np.stack(counts)


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
    groups: Sequence[str] | None = None,
    folds: int = FOLDS,
    balance: Balance = "none",
) -> Float[ndarray, "P n K"]:
    """Return probabilities of probes that were trained without the image, averaged over repeats.

    Args:
        features: Standardised, or of one scale at least.
        penalties: Strengths to try, as in `probe`.
        repeats: How often the images are dealt into folds.
        keep: Images that may be trained on; all get probabilities.
        groups: As in `fold_of`.
        balance: As in `probe`, of the rows of each fold.

    Returns:
        One set of probabilities per penalty.
    """
    rng = np.random.default_rng(seed)
    dealt = np.stack([fold_of(labels, rng, folds, groups) for _ in range(repeats)])
    held = (dealt[:, None] == np.arange(folds)[None, :, None]).reshape(-1, len(labels))
    used = ~held if keep is None else ~held & keep
    strengths = np.repeat(np.array(penalties, dtype=np.float32), len(used))
    every = np.tile(used, (len(penalties), 1))
    weights = probe(
        features, labels, every, num_classes=num_classes, penalty=strengths, balance=balance
    )
    probs = probe_probs(features, weights).reshape(len(penalties), *held.shape, num_classes)
    return np.einsum("bn,pbnk->pnk", held, probs) / repeats


def _with_one(features: Float[ndarray, "n d"]) -> Float[Tensor, "n d1"]:
    ones = np.ones((len(features), 1), dtype=np.float32)
    return torch.from_numpy(np.concatenate([features.astype(np.float32), ones], axis=1))
