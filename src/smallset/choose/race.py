"""Which candidate is best, and how good it is once the price of choosing is taken off.

`right[c, i]` says whether candidate c was right about image i, by models that never saw the image.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from smallset.record.measures import fold_variance
from smallset.stats import Interval, share_interval

DRAWS = 2000
HOPELESS = 0.01  # chance to be the best, under which a candidate is dropped


class Race(NamedTuple):
    """How candidates stand."""

    accuracy: Float[ndarray, " candidates"]
    """Share of the images that each was right about, in [0, 1]."""
    chance: Float[ndarray, " candidates"]
    """How often each was the best of a bootstrap draw of the images; ties are shared."""
    best: int
    """The most accurate; of equals the one with the lowest cost."""

    @property
    def alive(self) -> Bool[ndarray, " candidates"]:
        """Whether a candidate has a chance to be the best that is worth a look."""
        return (self.chance >= HOPELESS) | (np.arange(len(self.chance)) == self.best)


def race(
    right: Bool[ndarray, "candidates images"],
    cost: Float[ndarray, " candidates"],
    *,
    seed: int = 0,
) -> Race:
    """Say how candidates stand.

    Args:
        cost: Of one image at inference, in any unit; decides between equals.
        seed: Of the bootstrap.
    """
    draws = _draws(right.shape[1], seed)
    scores = _sums(right, draws)
    leads = scores == scores.max(axis=0)
    chance = (leads / leads.sum(axis=0)).mean(axis=1)
    return Race(right.mean(axis=1), chance, _best(right.sum(axis=1)[:, None], cost)[0])


def corrected_accuracy(
    right: Bool[ndarray, "candidates images"],
    cost: Float[ndarray, " candidates"],
    *,
    folds: int,
    seed: int = 0,
) -> Interval:
    """Return what the chosen candidate can be expected to reach, the optimism of choosing removed.

    In each bootstrap draw the best candidate of the drawn images is chosen, and scored on those
    that were not drawn; the choice itself is part of what is repeated.

    Args:
        cost: As in `race`.
        folds: Of the cross-validation; the interval allows for what their training sets share.
        seed: Of the bootstrap.

    Source:
        Tsamardinos, Greasidou & Borboudakis 2018, "Bootstrapping the out-of-sample predictions for
        efficient and accurate cross-validation", algorithm 4 (BBC-CV).
    """
    draws = _draws(right.shape[1], seed)
    chosen = _best(_sums(right, draws), cost)
    out = draws == 0
    hits = right.astype(np.float32) @ out.astype(np.float32).T
    counts = np.maximum(out.sum(axis=1), 1)
    scores = hits[chosen, np.arange(len(draws))] / counts
    low, high = np.quantile(scores, [0.025, 0.975]) - scores.mean()
    # The draws are finite: where they all chose the same, there is no price, and never a gain.
    measured = right.mean(axis=1)
    is_sure = (chosen == chosen[0]).all()
    value = float(measured[chosen[0]] if is_sure else min(scores.mean(), measured.max()))
    # Images left out of a draw are about 37 %, so their scores scatter more than all would.
    images = right.shape[1] / fold_variance(folds)
    scale = float(np.sqrt(counts.mean() / images))
    # Where all are right nothing scatters, and yet a few images do not prove 100 %.
    least = share_interval(value * images, images)
    return Interval(
        value,
        max(min(value + float(low) * scale, least.low), 0.0),
        min(max(value + float(high) * scale, least.high), 1.0),
    )


def _draws(images: int, seed: int) -> Int[ndarray, "draws images"]:
    """Return how often each image is in each bootstrap draw."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(images, np.full(images, 1 / images), size=DRAWS)


def _sums(right: ndarray, draws: ndarray) -> Float[ndarray, "candidates draws"]:
    return right.astype(np.float32) @ draws.T.astype(np.float32)


def _best(
    scores: Float[ndarray, "candidates draws"] | Int[ndarray, "candidates draws"],
    cost: Float[ndarray, " candidates"],
) -> Int[ndarray, " draws"]:
    """Return the candidate with the highest score of each draw; of equals the cheapest."""
    order = np.argsort(cost, kind="stable")
    return order[scores[order].argmax(axis=0)]
