"""Find wrong labels from features: rounds of posteriors, then decisions and the gate."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from smallset.clean.decide import Judged, by_posterior, by_pruning, choose, judge
from smallset.clean.outoffold import PENALTIES, neighbour_probs, out_of_fold, reduce_features
from smallset.clean.posterior import ENOUGH, Posterior, fit_even, fit_posterior, joint_rate

REPEATS = 3
ROUNDS = 2


@dataclass(frozen=True)
class Found:
    """What is known of the labels."""

    features: Float[ndarray, "n d"]
    """What judged: the principal components of all blocks."""
    posterior: Posterior
    penalty: float
    """Strength of the probes' penalty, the one whose likelihood was highest."""
    rounds: int
    """Refits on the images that the one before kept; 0 where none raised the likelihood."""
    joint_rate: float
    """Share of wrong labels by the confident joint, which allows any pairs of classes."""
    judged: tuple[Judged, ...]
    """The cleanings that were considered."""
    chosen: Judged | None
    """The one to take; None where held-out labels say that nothing is better."""


def find_wrong_labels(
    blocks: Sequence[Float[ndarray, "n _"]],
    labels: Int[ndarray, " n"],
    *,
    num_classes: int,
    seed: int = 0,
    told: Callable[[int, int], object] = lambda done, total: None,  # noqa: ARG005
) -> Found:
    """Say which given labels are probably wrong, and what to do about them.

    Args:
        blocks: Features of the images, one array per frozen network.
        labels: As given.
        num_classes: Number of classes.
        seed: Of the folds.
        told: Told of the steps done and of all.

    Raises:
        ValueError: If there are fewer than two classes or an array has other rows.
    """
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, got {num_classes}")
    for block in blocks:
        if len(block) != len(labels):
            raise ValueError(f"features of {len(labels)} images wanted, got {len(block)}")
    steps = ROUNDS + 4
    features = reduce_features(blocks)
    told(1, steps)
    penalty = _choose_penalty(features, labels, num_classes, seed)
    told(2, steps)
    best: Posterior | None = None
    rounds, keep = 0, None
    for number in range(ROUNDS + 1):
        [probe] = out_of_fold(
            features, labels, num_classes=num_classes, penalties=[penalty], repeats=REPEATS,
            seed=seed, keep=keep,
        )  # fmt: skip
        near = neighbour_probs(features, labels, num_classes=num_classes, keep=keep)
        fitted = fit_posterior(probe, near, labels)
        told(3 + number, steps)
        # All given labels are held out here, so the likelihoods can be compared.
        if best is not None and fitted.likelihood <= best.likelihood:
            break
        best, rounds = fitted, number
        keep = fitted.of_given(labels) >= 0.5
        if np.bincount(labels[keep], minlength=num_classes).min() < 2:
            break
    assert best is not None
    cleanings = [by_posterior(best, labels)]
    if best.noise == "by class":
        cleanings.append(by_pruning(best, labels))
    judged = judge(
        features, labels, cleanings, num_classes=num_classes, penalty=penalty, seed=seed + 1
    )
    told(steps, steps)
    return Found(
        features,
        best,
        penalty,
        rounds,
        joint_rate(best.looks, labels),
        tuple(judged),
        choose(judged),
    )


def _choose_penalty(features: ndarray, labels: ndarray, num_classes: int, seed: int) -> float:
    if len(labels) > ENOUGH:
        some = np.random.default_rng(seed).choice(len(labels), ENOUGH, replace=False)
        features, labels = features[some], labels[some]
    tried = out_of_fold(
        features, labels, num_classes=num_classes, penalties=PENALTIES, repeats=1, seed=seed
    )
    near = neighbour_probs(features, labels, num_classes=num_classes)
    fits = [fit_even(probe, near, labels).likelihood for probe in tried]
    return PENALTIES[int(np.argmax(fits))]
