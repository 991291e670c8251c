"""What a confusion matrix and probabilities say: per class, and whether they can be believed."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy.optimize import minimize_scalar

from smallset.record.predictions import Predictions
from smallset.stats import Interval, share_interval


class ClassScore(NamedTuple):
    """One class in one split."""

    precision: float | None
    """Share of the images predicted as the class that belong to it; None where there are none."""
    recall: float | None
    """Share of the images of the class predicted as it; None where there are none."""
    images: int
    """Images of the class."""


BINS = 10  # of equal width over [0, 1], in which probabilities are compared with shares
FLOOR_DRAWS = 100


class Calibration(NamedTuple):
    """Whether probabilities are true: of what is said with 0.8, 80 % should be right."""

    confidence: Float[ndarray, " bins"]
    """Mean probability of the predicted class, per bin; NaN where a bin is empty."""
    accuracy: Float[ndarray, " bins"]
    """Share of them that is right; NaN where a bin is empty."""
    counts: Int[ndarray, " bins"]
    error: float
    """Expected calibration error, in [0, 1]: mean of |confidence - accuracy| over the images."""
    gap: float
    """Mean confidence minus accuracy, in [-1, 1]; above 0 is overconfident."""
    floor: float
    """What `error` would be, on average, if every probability were true: it is never 0 on a few
    images, for the shares in the bins scatter."""


def class_scores(confusion: Int[ndarray, "classes classes"]) -> list[ClassScore]:
    """Return precision and recall of each class.

    Args:
        confusion: confusion[i, j]: images of class i predicted as j.

    Example:
        >>> class_scores(np.array([[3, 1], [0, 4]]))[0]
        ClassScore(precision=1.0, recall=0.75, images=4)
    """
    scores = []
    for k in range(len(confusion)):
        right, said, there = confusion[k, k], confusion[:, k].sum(), confusion[k].sum()
        precision = float(right / said) if said else None
        scores.append(ClassScore(precision, float(right / there) if there else None, int(there)))
    return scores


UNEVEN = 3.0  # so many times the images of the smallest class, in the largest


class Balanced(NamedTuple):
    """Accuracy where every class counts the same."""

    accuracy: float
    """Mean of the recalls on test, in [0, 1]."""
    smallest: int
    """Training images of the smallest class."""
    largest: int


def balanced(predictions: Predictions) -> Balanced | None:
    """Return the accuracy where every class counts the same; None where classes are about even."""
    train = predictions.given_labels[predictions.learnt]
    counts = np.bincount(train, minlength=len(predictions.classes))
    if not counts.size or counts.max() <= UNEVEN * counts.min():
        return None
    return Balanced(balanced_accuracy(predictions), int(counts.min()), int(counts.max()))


def balanced_accuracy(predictions: Predictions) -> float:
    """Return the mean of the recalls on test, in [0, 1], of the classes that have images there."""
    recalls = [value for value in predictions.recall("test").values() if value is not None]
    return float(np.mean(recalls))


def calibration(confidence: Float[ndarray, " n"], right: Bool[ndarray, " n"]) -> Calibration:
    """Compare the probability of the predicted class with how often it is right.

    Args:
        confidence: Probability of the predicted class, in [0, 1].

    Source:
        Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2.
    """
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    counts = np.bincount(place, minlength=BINS)
    with np.errstate(invalid="ignore"):
        said = np.bincount(place, confidence, BINS) / counts
        true = np.bincount(place, right, BINS) / counts
    error = float(np.nansum(np.abs(said - true) * counts) / max(len(confidence), 1))
    drawn = np.random.default_rng(0).random((FLOOR_DRAWS, len(confidence))) < confidence
    kept = np.stack([np.bincount(place, row, BINS) for row in drawn])
    off = np.abs(np.bincount(place, confidence, BINS) - kept).sum(axis=1)
    floor = float(off.mean() / max(len(confidence), 1))
    gap = float(confidence.mean() - right.mean()) if len(confidence) else 0.0
    return Calibration(said, true, counts, error, gap, floor)


PRIOR_SPREAD = 0.3
"""Of log T around 0: what is known of a temperature before an image is seen. Chosen on parts of val
of four networks, whose T are .52 to .87, each part against the rest (docs/log.md)."""


def temperature(probs: Float[ndarray, "n classes"], labels: Int[ndarray, " n"]) -> float:
    """Return the temperature T that makes ``probs^(1/T)`` most likely; above 1 is overconfident.

    It is the most probable one where log T is normal with the deviation `PRIOR_SPREAD`: few images
    move it little, and images that are all predicted right do not move it without end.

    Source:
        Guo et al. 2017, section 4.2, but for the prior.
    """
    logs = np.log(np.maximum(probs, 1e-12))

    def loss(log_t: float) -> float:
        prior = 0.5 * (log_t / PRIOR_SPREAD) ** 2
        return len(labels) * float(log_losses(logs / np.exp(log_t), labels).mean()) + prior

    best: Any = minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded")
    return float(np.exp(best.x))


def tempered(probs: Float[ndarray, "n classes"], value: float) -> Float[ndarray, "n classes"]:
    """Return the logarithms of probabilities whose logits are divided by a temperature."""
    return _normalised(np.log(np.maximum(probs, 1e-12)) / value)


def log_losses(
    logs: Float[ndarray, "n classes"], labels: Int[ndarray, " n"]
) -> Float[ndarray, " n"]:
    """Return -log p of the true class of each image, in nats.

    Args:
        logs: Log probabilities, or logits.
    """
    return -_normalised(logs)[np.arange(len(labels)), labels]


def _normalised(logs: Float[ndarray, "n classes"]) -> Float[ndarray, "n classes"]:
    """Return logarithms of probabilities, from logits."""
    logs = logs - logs.max(axis=1, keepdims=True)
    return logs - np.log(np.exp(logs).sum(axis=1, keepdims=True))


def cross_validated(right: Bool[ndarray, "repeats n"], *, folds: int) -> Interval:
    """Return the accuracy to be expected of a model that learns from all images, from folds.

    The runs of the folds learnt from other images, and from fewer, than that model: the variance
    over images alone is too small, and is multiplied by `fold_variance`.

    Args:
        right: Whether an image was predicted right, each time that the images were dealt.

    Example:
        >>> right = np.array([[True, True, False, True] * 10])
        >>> [round(x, 2) for x in cross_validated(right, folds=5)]
        [0.75, 0.52, 0.89]
    """
    images = right.shape[1]
    return held_out_share(float(right.mean()) * images, images, folds=folds)


def difference(one: Float[ndarray, " n"], other: Float[ndarray, " n"]) -> tuple[float, float]:
    """Return by how much the mean of some losses is larger than that of others, and its error."""
    more = one - other
    return float(more.mean()), float(more.std() / len(more) ** 0.5)


def held_out_share(count: float, total: int, *, folds: int) -> Interval:
    """Return a share of images that a network had not learnt from, with its interval.

    Args:
        total: How many there are, at least 1.
        folds: That judged each other (see `cross_validated`), so the interval is wider; 0 where one
            network judged them all.
    """
    wider = fold_variance(folds) if folds else 1.0
    return share_interval(count / wider, total / wider)


def fold_variance(folds: int) -> float:
    """Return by what the variance of a cross-validation over images alone is multiplied.

    Source:
        Nadeau & Bengio 2003, "Inference for the generalization error", section 3.
    """
    return 1 + folds / (folds - 1)


def worst_mistakes(predictions: Predictions, count: int) -> list[int]:
    """Return wrong test images, those it was most sure about first."""
    wrong = (predictions.splits == "test") & (predictions.predicted != predictions.labels)
    rows = np.flatnonzero(wrong)
    return rows[np.argsort(-predictions.probs[rows].max(axis=1), kind="stable")][:count].tolist()


def least_sure(predictions: Predictions, count: int) -> list[int]:
    """Return test images, those with the smallest gap between the two best classes first."""
    rows = np.flatnonzero(predictions.splits == "test")
    best = np.sort(predictions.probs[rows], axis=1)
    return rows[np.argsort(best[:, -1] - best[:, -2], kind="stable")][:count].tolist()
