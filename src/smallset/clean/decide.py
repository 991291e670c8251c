"""From posteriors to decisions, keep, relabel or drop, and the gate that asks whether they help."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from smallset.clean.outoffold import FOLDS, fold_of, probe, probe_probs
from smallset.clean.posterior import Posterior
from smallset.compare.stats import Interval

Decision = Literal["keep", "relabel", "drop"]
RELABEL = 0.8  # probability of another class from which a label is changed rather than dropped
LEAST = 10  # images that a class keeps


@dataclass(frozen=True)
class Cleaning:
    """What is to become of each image."""

    name: str
    """Of the rule: "posterior" or "pruning"."""
    decisions: ndarray
    """A `Decision` per image."""
    labels: Int[ndarray, " n"]
    """The label each image has afterwards; that of a dropped one is its given label."""

    @property
    def kept(self) -> Bool[ndarray, " n"]:
        """True where an image stays, relabelled or not."""
        return self.decisions != "drop"


@dataclass(frozen=True)
class Judged:
    """What held-out given labels say of a cleaning."""

    cleaning: Cleaning
    gain: Interval
    """Accuracy on held-out given labels after it, minus that without it, in [-1, 1]."""


def by_posterior(posterior: Posterior, labels: Int[ndarray, " n"]) -> Cleaning:
    """Relabel or drop images whose label is more probably wrong than right.

    Args:
        posterior: Of the images.
        labels: As given.
    """
    suspect = posterior.of_given(labels) < 0.5
    return _act("posterior", posterior, labels, suspect)


def by_pruning(posterior: Posterior, labels: Int[ndarray, " n"]) -> Cleaning:
    """Drop, per class, as many images as the confident joint counts in it; least probable first.

    It asks of each class how many of its labels belong elsewhere, so it also sees noise that
    mixes two look-alike classes, which one rate for all pairs does not.

    Args:
        posterior: Of the images; only what they look like is used.
        labels: As given.

    Source:
        Northcutt et al. 2021, "Confident Learning", sections 3.1 and 3.2 (prune by class).
    """
    looks, num_classes = posterior.looks, posterior.looks.shape[1]
    joint = confident_joint(looks, labels)
    own = looks[np.arange(len(labels)), labels]
    suspect = np.zeros(len(labels), dtype=bool)
    for k in range(num_classes):
        rows = np.flatnonzero(labels == k)
        count = int(np.round(joint[k].sum() - joint[k, k]))
        suspect[rows[np.argsort(own[rows], kind="stable")][:count]] = True
    return _act("pruning", posterior, labels, suspect)


def confident_joint(
    looks: Float[ndarray, "n K"], labels: Int[ndarray, " n"]
) -> Float[ndarray, "K K"]:
    """Return joint[i, j]: images given as i that look like j, scaled to the images of each class.

    An image looks like the most probable class among those it reaches the mean probability of.

    Args:
        looks: Probability of each class by the image alone.
        labels: As given.

    Source:
        Northcutt et al. 2021, equations 1 and 2.
    """
    num_classes = looks.shape[1]
    totals = np.bincount(labels, minlength=num_classes)
    means = np.array([
        looks[labels == k, k].mean() if totals[k] else 2.0 for k in range(num_classes)
    ])  # fmt: skip
    reached = np.where(looks >= means - 1e-9, looks, -1.0)
    counted = reached.max(axis=1) >= 0
    joint = np.zeros((num_classes, num_classes))
    np.add.at(joint, (labels[counted], reached.argmax(axis=1)[counted]), 1)
    empty = joint.sum(axis=1) == 0
    joint[empty, empty] += 1e-12
    np.fill_diagonal(joint, np.where(empty, 1.0, joint.diagonal()))
    return joint * (totals / joint.sum(axis=1))[:, None]


def _act(
    name: str, posterior: Posterior, labels: Int[ndarray, " n"], suspect: Bool[ndarray, " n"]
) -> Cleaning:
    others = posterior.probs.copy()
    others[np.arange(len(labels)), labels] = -1
    best = others.argmax(axis=1)
    change = suspect & (others.max(axis=1) > RELABEL)
    decisions = np.where(change, "relabel", np.where(suspect, "drop", "keep")).astype(object)
    cleaned = np.where(change, best, labels)
    _keep_classes(decisions, cleaned, labels, posterior.of_given(labels))
    return Cleaning(name, decisions, cleaned)


def _keep_classes(
    decisions: ndarray,
    cleaned: Int[ndarray, " n"],
    labels: Int[ndarray, " n"],
    right: Float[ndarray, " n"],
) -> None:
    """Take decisions back where a class would be left with fewer than ten images, or none."""
    for k in range(int(labels.max()) + 1):
        given = np.flatnonzero(labels == k)
        while (decisions[cleaned == k] != "drop").sum() < min(LEAST, len(given)):
            taken = given[decisions[given] != "keep"]
            back = taken[right[taken].argmax()]
            decisions[back], cleaned[back] = "keep", k


def judge(
    features: Float[ndarray, "n d"],
    labels: Int[ndarray, " n"],
    cleanings: list[Cleaning],
    *,
    num_classes: int,
    seed: int,
) -> list[Judged]:
    """Ask held-out given labels what cleanings are worth.

    Probes are trained on four fifths of the images, as given and cleaned in each way, and scored on
    the given labels of the rest. Wrong labels there make every score lower, and none of them more
    than another (Chen et al. 2021, "Robustness of Accuracy Metric", AAAI).

    Args:
        features: As `reduce_features` gives them.
        labels: As given.
        cleanings: What might be done.
        num_classes: Number of classes.
        seed: Of the folds.
    """
    held = fold_of(labels, np.random.default_rng(seed))[None] == np.arange(FOLDS)[:, None]
    every = np.ones(len(labels), dtype=bool)
    without = _held_out_right(features, labels, labels, held, every, num_classes)
    judged = []
    for cleaning in cleanings:
        right = _held_out_right(features, labels, cleaning.labels, held, cleaning.kept, num_classes)
        gain = (right - without).astype(np.float64)
        spread = 1.96 * float(gain.std()) / len(gain) ** 0.5
        mean = float(gain.mean())
        judged.append(Judged(cleaning, Interval(mean, mean - spread, mean + spread)))
    return judged


def _held_out_right(
    features: ndarray, given: ndarray, taught: ndarray, held: ndarray, kept: ndarray, classes: int
) -> ndarray:
    weights = probe(features, taught, ~held & kept, num_classes=classes)
    said = probe_probs(features, weights).argmax(axis=2)
    own = said[held.argmax(axis=0), np.arange(len(given))]
    return (own == given).astype(np.int64)


def choose(judged: list[Judged]) -> Judged | None:
    """Return the cleaning to take; None where held-out labels say that it hurts.

    What is better than nothing beyond chance goes first, the best of it. Otherwise the first one
    is taken, the posterior, unless it is worse in the mean: it touches few images then.

    Args:
        judged: The posterior's first, then others.
    """
    proven = [each for each in judged if each.gain.low > 0]
    if proven:
        return max(proven, key=lambda each: each.gain.value)
    return judged[0] if judged[0].gain.value >= 0 else None
