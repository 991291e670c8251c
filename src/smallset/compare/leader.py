"""The best arm of a study: how good it is once the price of picking it is taken off."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from smallset.paired import PairedResult, compare_all
from smallset.stats import Interval, Luck, share_interval, variance_of

DRAWS = 4000


class Leader(NamedTuple):
    """The arm with the highest mean test accuracy."""

    arm: int
    expected: Interval
    """Its accuracy without what it owes to being the highest of several."""
    second: int
    """The arm with the next highest."""
    result: PairedResult
    """The first against the second, held against all pairs of the study: any two might have led."""


def find_leader(
    arms: Sequence[Float[ndarray, "_ images"]],
    lucks: Sequence[Luck | None],
    *,
    of: int | None = None,
) -> Leader:
    """Return the best arm.

    The highest of several scores is too high: it was lucky as well as good. The choice is repeated
    on draws of the scores, images and trainings moving as they do; by how much the winner of a draw
    exceeds its own mean there is taken off that mean.

    Args:
        arms: `correct` (seeds, images) of two arms or more, on the same images.
        lucks: Of the arms.
        of: Arms of the study, where others of it have another task; None for these alone.

    Source:
        BBC-CV (Tsamardinos, Greasidou & Borboudakis 2018, algorithm 4) with draws from the normal
        law of the means: a bootstrap cannot draw from two seeds. What lies out of its bag falls,
        on average, by what its bag rises.
    """
    means = np.array([arm.mean() for arm in arms])
    by_image = np.stack([arm.mean(axis=0) for arm in arms])
    covariance = np.atleast_2d(np.cov(by_image)) / by_image.shape[1]
    # What whole trainings have in common is not in the scatter over images.
    beyond = [
        0.0 if luck is None else (luck.variance - luck.churn) / len(arm)
        for arm, luck in zip(arms, lucks, strict=True)
    ]
    moves = np.linalg.cholesky(covariance + np.diag(beyond) + 1e-12 * np.eye(len(arms)))
    half = np.random.default_rng(0).standard_normal((DRAWS // 2, len(arms))) @ moves.T
    off = np.concatenate([half, -half])
    winner = (means + off).argmax(axis=1)
    expected = float((means[winner] - off[np.arange(DRAWS), winner]).mean())
    expected = min(max(expected, float(means.min())), float(means.max()))
    of_choice = float(means[winner].var())
    # Equal scores: the arm that comes first in the study.
    best, second = np.argsort(-means, kind="stable")[:2].tolist()
    own = variance_of(by_image[best], [(lucks[best], 1.0, len(arms[best]))])
    error, freedom = own.error()
    of_one = expected * (1 - expected)
    worth = of_one / (error**2 + of_choice) if of_one and error else float(by_image.shape[1])
    common = min(len(arms[best]), len(arms[second]))
    [result] = compare_all(
        [(arms[best][:common], arms[second][:common])],
        [(lucks[best], lucks[second])],
        family=(of or len(arms)) * ((of or len(arms)) - 1) // 2,
    )
    return Leader(best, share_interval(expected * worth, worth, freedom=freedom), second, result)
