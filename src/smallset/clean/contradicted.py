"""What one rate of wrong labels explains away: labels that the look of their image contradicts.

A clean set of classes that are hard to tell apart, and an easy one whose mistakes sit between
look-alikes, give the same labels. So both are said: a rate, and what it is at most.
"""

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from smallset.clean.posterior import Posterior
from smallset.stats import directions, share_interval

# A held-out look contradicts 47 to 75 % of mistakes at the border of a class: it has learnt from
# the others. So as many again may be wrong as it contradicts.
HIDDEN = 2.0
FAR = 2.0  # spreads above the median distance


def contradicted(posterior: Posterior, labels: Int[ndarray, " n"]) -> Bool[ndarray, " n"]:
    """Return where an image looks more like another class than like that of its label."""
    return posterior.looks.argmax(axis=1) != labels


def most_wrong(posterior: Posterior, labels: Int[ndarray, " n"]) -> float:
    """Return the share of wrong labels if those sit where looks contradict them, in [0, 1].

    What is contradicted beyond the suspects counts twice, at the upper end of its 95 % interval.
    """
    beyond = contradicted(posterior, labels) & (posterior.of_given(labels) >= 0.5)
    unexplained = share_interval(int(beyond.sum()), len(labels)).high
    return min(posterior.rate.high + HIDDEN * unexplained, 1.0)


def belong_nowhere(
    features: Float[ndarray, "n d"],
    labels: Int[ndarray, " n"],
    among: Bool[ndarray, " n"],
    *,
    num_classes: int,
) -> Bool[ndarray, " n"]:
    """Return which images lie far from every class, as pictures of something else do.

    The distance is 1 - cosine with the mean of a class: foreign pictures are often like each other,
    so that each has near images in many classes. Far is two spreads above the median.

    Args:
        features: As `reduce_features` gives them.
        among: Images that may be named, such as those that looks contradict.
    """
    unit = directions(features)
    sums = np.zeros((num_classes, features.shape[1]), dtype=unit.dtype)
    np.add.at(sums, labels, unit)
    distance = 1 - (unit @ directions(sums).T).max(axis=1)
    middle = np.median(distance)
    spread = 1.4826 * np.median(np.abs(distance - middle))  # the standard deviation, if normal
    return among & (distance > middle + FAR * spread)


def expected_precision(first: Posterior, last: Posterior, labels: Int[ndarray, " n"]) -> float:
    """Return the estimated share of the suspects whose label is wrong, in [0, 1].

    The first fit has learnt from the suspects, and doubts them too little. The last has not, and
    is too sure of them: under noise by class it says 96 % where 89 % are wrong. Their mean is right
    to 5 points on 20 % injected noise, even and between pairs; `highest_precision` is where
    mistakes sit at borders or pictures show something else (docs/results.md).

    Args:
        first: Fitted with all images.
        last: Whose suspects are meant.

    Returns:
        0 where there are no suspects.
    """
    suspects = last.of_given(labels) < 0.5
    if not suspects.any():
        return 0.0
    both = [fit.of_given(labels)[suspects] for fit in (first, last)]
    return 1 - float(np.mean(both))


def highest_precision(last: Posterior, labels: Int[ndarray, " n"], most: float) -> float:
    """Return what the last fit says of its suspects where as many labels are wrong as at most.

    Args:
        most: As `most_wrong` gives it.

    Returns:
        0 where there are no suspects.
    """
    right = last.of_given(labels)
    right = right[right < 0.5]
    if not right.size:
        return 0.0
    one = 1 / len(labels)  # a rate below one image says nothing of the odds
    rate, most = np.clip([last.rate.value, most], one, 1 - one)
    odds = (1 - right) * (most / (1 - most)) * ((1 - rate) / rate)
    return float((odds / (odds + right)).mean())
