"""Find wrong labels from features: rounds of posteriors, then decisions and the gate."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from smallset.clean.contradicted import (
    belong_nowhere,
    contradicted,
    expected_precision,
    highest_precision,
    most_wrong,
)
from smallset.clean.decide import (
    Candidate,
    Judged,
    by_contradiction,
    by_posterior,
    by_pruning,
    choose,
    judge,
)
from smallset.clean.outoffold import (
    PENALTIES,
    neighbour_probs,
    out_of_two_folds,
    reduce_features,
)
from smallset.clean.posterior import (
    MAX_IMAGES_FITTED,
    MAX_RATE_WITHOUT_PROOF,
    Posterior,
    fit_even,
    fit_posterior,
    joint_rate,
)
from smallset.models.probe import FOLDS, fold_of, out_of_fold

REPEATS = 3
ROUNDS = 2
MIN_SKILL = 0.4  # of what a perfect judge would have: below it, nothing is decided


@dataclass(frozen=True)
class Found:
    """What is known of the labels."""

    features: Float[ndarray, "n d"]
    """What judged: the principal components of all blocks."""
    posterior: Posterior
    accuracy: float
    """Share of the given labels that the features alone predict, before any refit, in [0, 1]."""
    is_weak: bool
    """The features say too little of the classes: images are ranked, and nothing is decided."""
    penalty: float
    """Strength of the probes' penalty, the one whose likelihood was highest."""
    rounds: int
    """Refits on the images that the one before kept; 0 where none raised the likelihood."""
    joint_rate: float
    """Share of wrong labels by the confident joint, which allows any pairs of classes."""
    most_wrong: float
    """Share of wrong labels if those sit where looks contradict them, in [0, 1]."""
    expected_precision: float
    """Estimated share of the suspects whose label is wrong, in [0, 1]."""
    highest_precision: float
    """The same, if as many labels are wrong as there are at most."""
    contradicted: Bool[ndarray, " n"]
    """Where an image looks more like another class; nowhere by a weak judge."""
    nowhere: Bool[ndarray, " n"]
    """Which of these lie far from every class, as pictures of something else do."""
    judged: tuple[Judged, ...]
    """The cleanings that were considered; none by a weak judge."""
    chosen: Judged | None
    """The one to take; None where held-out labels say that nothing is better."""


def find_wrong_labels(
    blocks: Sequence[Float[ndarray, "n _"]],
    labels: Int[ndarray, " n"],
    *,
    num_classes: int,
    groups: Sequence[str] | None = None,
    seed: int = 0,
    on_progress: Callable[[int, int], object] = lambda done, total: None,  # noqa: ARG005
) -> Found:
    """Say which given labels are probably wrong, and what to do about them.

    Args:
        blocks: Features of the images, one array per frozen network.
        groups: Images of one group, such as copies, have no part in the judgement of each other:
            they may share one wrong label. None where every image stands alone.
        on_progress: Told of the steps done and of all.

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
    on_progress(1, steps)
    penalty = _choose_penalty(features, labels, num_classes, groups, seed)
    on_progress(2, steps)
    first: Posterior | None = None
    best: Posterior | None = None
    accuracy, is_weak = 0.0, False
    rounds, keep = 0, None
    for number in range(ROUNDS + 1):
        [probe] = out_of_fold(
            features, labels, num_classes=num_classes, penalties=[penalty], repeats=REPEATS,
            seed=seed, keep=keep, groups=groups,
        )  # fmt: skip
        near = neighbour_probs(features, labels, num_classes=num_classes, keep=keep, groups=groups)
        fitted = fit_posterior(probe, near, labels, groups)
        on_progress(3 + number, steps)
        # All given labels are held out here, so the likelihoods can be compared.
        if best is not None and fitted.likelihood <= best.likelihood:
            break
        best, rounds, first = fitted, number, first or fitted
        if number == 0:
            # A refit on images whose labels agree with the first fit would agree with it too.
            accuracy = float((fitted.looks.argmax(axis=1) == labels).mean())
            is_weak = _skill(accuracy, fitted.rate.value, labels) < MIN_SKILL
        if is_weak:
            break
        keep = fitted.of_given(labels) >= 0.5
        if np.bincount(labels[keep], minlength=num_classes).min() < 2:
            break
    assert first is not None
    assert best is not None
    judged: list[Judged] = []
    doubted = np.zeros(len(labels), dtype=bool)
    if not is_weak:
        judged = _judge_cleanings(features, labels, best, groups, penalty=penalty, seed=seed)
        doubted = contradicted(best, labels)
    on_progress(steps, steps)
    most = best.rate.high if is_weak else most_wrong(best, labels)
    return Found(
        features,
        best,
        accuracy,
        is_weak,
        penalty,
        rounds,
        joint_rate(best.looks, labels),
        most,
        expected_precision(first, best, labels),
        highest_precision(best, labels, most),
        doubted,
        belong_nowhere(features, labels, doubted, num_classes=num_classes),
        tuple(judged),
        choose(judged),
    )


def _judge_cleanings(
    features: ndarray,
    labels: ndarray,
    best: Posterior,
    groups: Sequence[str] | None,
    *,
    penalty: float,
    seed: int,
) -> list[Judged]:
    fold = fold_of(labels, np.random.default_rng(seed + 1), groups=groups)
    blind = _blind(features, labels, fold, best, penalty=penalty, groups=groups)
    rules = [by_posterior, by_contradiction]
    if best.noise == "by class":
        rules.insert(1, by_pruning)
    candidates = [
        Candidate(
            rule(best, labels),
            [rule(part, labels[fold != number]) for number, part in enumerate(blind)],
        )
        for rule in rules
    ]
    num_classes = best.looks.shape[1]
    return judge(features, labels, fold, candidates, num_classes=num_classes, penalty=penalty)


def _skill(accuracy: float, rate: float, labels: ndarray) -> float:
    """Return the share of a perfect judge's lead over chance that a judge has for certain (95 %).

    A judge that knows nothing may say that nearly all labels are wrong; then it would lead nobody.
    """
    chance = float(np.bincount(labels).max()) / len(labels)
    sure = accuracy - 1.96 * (accuracy * (1 - accuracy) / len(labels)) ** 0.5
    return (sure - chance) / max(1 - min(rate, MAX_RATE_WITHOUT_PROOF) - chance, 1e-6)


def _blind(
    features: ndarray,
    labels: ndarray,
    fold: ndarray,
    best: Posterior,
    *,
    penalty: float,
    groups: Sequence[str] | None = None,
) -> list[Posterior]:
    """Return, per fold, the posterior of the images outside it, made without the labels in it."""
    num_classes = best.looks.shape[1]
    probes = out_of_two_folds(features, labels, fold, num_classes=num_classes, penalty=penalty)
    parts: list[Posterior] = []
    for number in range(FOLDS):
        outside = fold != number
        near = neighbour_probs(
            features, labels, num_classes=num_classes, keep=outside, groups=groups
        )
        parts.append(best.of_others(probes[number, outside], near[outside], labels[outside]))
    return parts


def _choose_penalty(
    features: ndarray,
    labels: ndarray,
    num_classes: int,
    groups: Sequence[str] | None,
    seed: int,
) -> float:
    if len(labels) > MAX_IMAGES_FITTED:
        some = np.random.default_rng(seed).choice(len(labels), MAX_IMAGES_FITTED, replace=False)
        features, labels = features[some], labels[some]
        groups = None if groups is None else [groups[int(row)] for row in some]
    tried = out_of_fold(
        features, labels, num_classes=num_classes, penalties=PENALTIES, repeats=1, seed=seed,
        groups=groups,
    )  # fmt: skip
    near = neighbour_probs(features, labels, num_classes=num_classes, groups=groups)
    fits = [fit_even(probe, near, labels).likelihood for probe in tried]
    return PENALTIES[int(np.argmax(fits))]
