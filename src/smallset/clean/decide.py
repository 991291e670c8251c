"""From posteriors to decisions, keep, relabel or drop, and the gate that asks whether they help."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from smallset.clean.contradicted import contradicted
from smallset.clean.posterior import Posterior, confident_joint
from smallset.models.probe import FOLDS, probe, probe_probs
from smallset.stats import Interval

RELABEL = 0.8  # probability of another class from which a label is changed rather than dropped
MIN_IMAGES_PER_CLASS = 10  # that stay
MAX_HARM = 0.02  # accuracy lost, however few images there are
CONTRADICTED = "contradicted"


@dataclass(frozen=True)
class Cleaning:
    """What is to become of each image."""

    name: str
    """Of the rule: "posterior", "pruning" or "contradicted"."""
    decisions: ndarray
    """A `smallset.data.cleaned.Decision` per image."""
    labels: Int[ndarray, " n"]
    """The label each image has afterwards; that of a dropped one is its given label."""

    @property
    def changes(self) -> int:
        """Return how many images are relabelled or dropped."""
        return int((self.decisions != "keep").sum())

    @property
    def kept(self) -> Bool[ndarray, " n"]:
        """True where an image stays, relabelled or not."""
        return self.decisions != "drop"


@dataclass(frozen=True)
class Candidate:
    """A cleaning, and what it would have been without the labels that score it."""

    cleaning: Cleaning
    """Of all images."""
    blind: Sequence[Cleaning]
    """Per fold, of the images outside it, decided without the labels in it: else relabelled images
    carry the labels of the fold into what is trained, and any cleaning seems to help."""


@dataclass(frozen=True)
class Judged:
    """What held-out given labels say of a cleaning."""

    cleaning: Cleaning
    gain: Interval
    """Accuracy on held-out given labels after it, minus that without it, in [-1, 1]."""
    over_first: Interval
    """The same, minus that after the first cleaning that was considered."""
    harmless: float
    """Accuracy that may be lost: one standard error of it, as these images measure it."""


def by_posterior(posterior: Posterior, labels: Int[ndarray, " n"]) -> Cleaning:
    """Relabel or drop images whose label is more probably wrong than right."""
    suspect = posterior.of_given(labels) < 0.5
    return _act("posterior", posterior, labels, suspect)


def by_pruning(posterior: Posterior, labels: Int[ndarray, " n"]) -> Cleaning:
    """Drop, per class, as many images as the confident joint counts in it; least probable first.

    It asks of each class how many of its labels belong elsewhere, and nothing of how noise is.

    Args:
        posterior: Of the images; only what they look like is used.

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


def by_contradiction(posterior: Posterior, labels: Int[ndarray, " n"]) -> Cleaning:
    """Drop the images that look more like another class than like that of their label.

    None is relabelled: at the border of a class, a look is too often wrong for that.
    """
    suspect = contradicted(posterior, labels)
    decisions = np.where(suspect, "drop", "keep").astype(object)
    own = posterior.looks[np.arange(len(labels)), labels]
    _keep_classes(decisions, labels.copy(), labels, own)
    return Cleaning(CONTRADICTED, decisions, labels)


def _act(
    name: str, posterior: Posterior, labels: Int[ndarray, " n"], suspect: Bool[ndarray, " n"]
) -> Cleaning:
    best, probability = posterior.best_other(labels)
    change = suspect & (probability > RELABEL)
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
    count = int(max(labels.max(), cleaned.max())) + 1
    least = np.minimum(MIN_IMAGES_PER_CLASS, np.bincount(labels, minlength=count))
    # What is taken back for one class may have been relabelled to another that is short then.
    while (short := _sizes(decisions, cleaned, count) < least).any():
        taken = np.flatnonzero((labels == short.argmax()) & (decisions != "keep"))
        back = taken[right[taken].argmax()]
        decisions[back], cleaned[back] = "keep", labels[back]


def _sizes(decisions: ndarray, cleaned: Int[ndarray, " n"], count: int) -> Int[ndarray, " classes"]:
    return np.bincount(cleaned[decisions != "drop"], minlength=count)


def judge(
    features: Float[ndarray, "n d"],
    labels: Int[ndarray, " n"],
    fold: Int[ndarray, " n"],
    candidates: Sequence[Candidate],
    *,
    num_classes: int,
    penalty: float,
) -> list[Judged]:
    """Ask held-out given labels what cleanings are worth.

    Probes are trained on four fifths of the images, as given and cleaned in each way, and scored on
    the given labels of the rest. Wrong labels there make every score lower, and none of them more
    than another (Chen et al. 2021, "Robustness of Accuracy Metric", AAAI).

    Args:
        features: As `reduce_features` gives them.
        fold: Of each image, as `fold_of` gives it.
    """
    outside = fold[None] != np.arange(FOLDS)[:, None]
    right_after = partial(
        _held_out_right, features, labels, fold, classes=num_classes, penalty=penalty
    )
    without = right_after(labels, outside)
    harmless = min(MAX_HARM, float(without.std()) / len(labels) ** 0.5)
    judged: list[Judged] = []
    first: ndarray | None = None
    for candidate in candidates:
        taught, used = np.tile(labels, (FOLDS, 1)), outside.copy()
        for number, cleaning in enumerate(candidate.blind):
            taught[number, outside[number]] = cleaning.labels
            used[number, outside[number]] = cleaning.kept
        right = right_after(taught, used)
        first = right if first is None else first
        gains = _gain(right - without), _gain(right - first)
        judged.append(Judged(candidate.cleaning, *gains, harmless))
    return judged


def _gain(difference: ndarray) -> Interval:
    mean, spread = float(difference.mean()), 1.96 * float(difference.std()) / len(difference) ** 0.5
    return Interval(mean, mean - spread, mean + spread)


def _held_out_right(
    features: ndarray,
    given: ndarray,
    fold: ndarray,
    taught: ndarray,
    used: ndarray,
    *,
    classes: int,
    penalty: float,
) -> ndarray:
    weights = probe(features, taught, used, num_classes=classes, penalty=penalty)
    own = probe_probs(features, weights).argmax(axis=2)[fold, np.arange(len(given))]
    return (own == given).astype(np.int64)


def choose(judged: Sequence[Judged]) -> Judged | None:
    """Return the cleaning to take; None where there is none or held-out labels say that it hurts.

    The first one, the posterior, unless another is better than it beyond chance. Held-out labels
    say less for a cleaning than there is to say: without them it is decided on three fifths of the
    labels and not refitted. So it is rejected if it loses accuracy, unless the loss is below one
    standard error of that accuracy with 95 % confidence: 0.5 points of 94 % on 2,100 images.

    Dropping what looks contradict is taken only where it gains. Where the posterior changes less
    than half as many images, it has explained the others away; then it has no precedence.
    """
    if not judged:
        return None
    better = [each for each in judged if _is_better(each, judged[0])]
    best = max(better, key=lambda each: each.gain.value, default=judged[0])
    return best if best.gain.value >= 0 or best.gain.low > -best.harmless else None


def _is_better(each: Judged, first: Judged) -> bool:
    if each.cleaning.name != CONTRADICTED:
        return each.over_first.low > 0
    explained = 2 * first.cleaning.changes >= each.cleaning.changes
    return each.gain.value > 0 and (
        each.over_first.low > 0 if explained else each.over_first.value > 0
    )
