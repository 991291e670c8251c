"""How sure is an accuracy, over images and over trainings? Arrays in, numbers out; no torch.

`correct[s, i]` says whether the run with seed s was right about test image i; arms of a study have
the same seeds (shared weights, batch order, noise draws) and the same images, so everything is
paired. The image is the unit: repeated seeds are not extra images. Differences are in [-1, 1].

Images and trainings are both samples. With S seeds and N images the variance of a mean is::

    between images / N + luck / S        luck = independent errors / N + luck of whole trainings

The first part is known with N - 1 degrees of freedom; the second, from few seeds, with few, so it
is pooled over the arms of a study (`luck_of_arms`). Interval, p value and verdict are those of one
t distribution with Satterthwaite's degrees of freedom for the sum.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.special import digamma, polygamma, stdtrit

LEVEL = 0.05  # of a report's comparisons together
POWER = 0.8
LENT = 2.0  # degrees of freedom at most that an arm's luck takes from the other arms


class Interval(NamedTuple):
    """An estimate and its 95 % interval."""

    value: float
    low: float
    high: float


class Luck(NamedTuple):
    """How far the accuracy of an arm moves from training to training, on the same test images."""

    variance: float
    """Of the accuracy of one training; never below `churn`."""
    churn: float
    """What it would be if the trainings only erred independently of each other, image by image."""
    own: float
    """Degrees of freedom of the arm's own seeds: one fewer than seeds."""
    lent: float
    """Degrees of freedom that it takes from the other arms, in [0, 2]."""
    most: float
    """Degrees of freedom of the seeds of all arms together."""

    @property
    def sd(self) -> float:
        """Return the standard deviation of the accuracy of one training, in [0, 1]."""
        return math.sqrt(self.variance)


def share_interval(
    count: float, total: float, *, level: float = 0.95, freedom: float = math.inf
) -> Interval:
    """Return a share with Wilson's interval, which holds for few images and near 0 and 1.

    Args:
        total: How many there are, at least 1; fewer where they are no independent draws.
        level: Coverage of the interval, in (0, 1).
        freedom: Degrees of freedom that `total` is known with, then t takes the place of z.

    Example:
        >>> [round(x, 3) for x in share_interval(10, 40)]
        [0.25, 0.142, 0.402]

    Source:
        Wilson 1927; recommended by Brown, Cai & DasGupta 2001. With an effective number of images
        and t: Korn & Graubard 1998, "Confidence intervals for proportions with small expected
        number of positive counts estimated from survey data".
    """
    z = critical(1 - level, freedom)
    share = count / total
    middle = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z * math.sqrt(share * (1 - share) / total + (z / (2 * total)) ** 2) / (1 + z**2 / total)
    return Interval(share, max(middle - half, 0.0), min(middle + half, 1.0))


def accuracy_interval(
    correct: Float[ndarray, "seeds images"], luck: Luck | None = None
) -> Interval:
    """Return the mean accuracy with Wilson's interval for as many images as its variance is worth.

    Args:
        correct: 1 where a run was right about an image, else 0.
        luck: Of the arm; None for one seed, which shows nothing of it: then the interval is that
            of one network, over images alone.

    Example:
        >>> [round(x, 2) for x in accuracy_interval(np.array([[1.0, 1.0, 0.0, 1.0]]))]
        [0.75, 0.3, 0.95]
    """
    value, total, freedom = float(correct.mean()), float(correct.shape[1]), math.inf
    if luck is not None:
        error, freedom = variance_of(correct.mean(axis=0), [(luck, 1.0, len(correct))]).error()
        total = value * (1 - value) / error**2 if error else total
    return share_interval(value * total, total, freedom=freedom)


def luck_of_arms(arms: Sequence[Float[ndarray, "_ _"]]) -> list[Luck | None]:
    """Return the luck of the trainings of each arm, each moderated by that of the others.

    Few seeds say little of a variance. Arms with more churn have more luck, too, so what is pooled
    is their ratio r: each arm's is drawn to the mean of all, as if that were `lent` more degrees of
    freedom, and is at least 1, no luck at all::

        r = (lent mean(r) + own r) / (lent + own)        variance = r churn

    `lent` is estimated from how far the r of the arms lie apart (limma's moments of log r), and at
    most 2: that holds the level where arms differ in luck, as benchmarks/claims.py shows. Arms that
    predict the same with every seed have no luck, and lend none.

    Args:
        arms: `correct` of every arm of a study.

    Returns:
        None for arms with one seed.

    Source:
        Smyth 2004, "Linear models and empirical Bayes methods for assessing differential expression
        in microarray experiments", sections 3 and 6.2; the ratio as in Lund et al. 2012,
        "Detecting differential expression in RNA-sequence data using quasi-likelihood".
    """
    several = [arm for arm in arms if len(arm) > 1]
    own = np.array([len(arm) - 1.0 for arm in several])
    variance = np.array([arm.mean(axis=1).var(ddof=1) for arm in several])
    churn = np.array([arm.var(axis=0, ddof=1).mean() / arm.shape[1] for arm in several])
    moves = churn > 0
    ratio = variance[moves] / churn[moves]
    lent, most = _lent(ratio, own[moves]), float(own[moves].sum())
    prior = max(own[moves] @ ratio / most, 1.0) if most else 1.0
    drawn = np.ones_like(churn)
    drawn[moves] = (lent * prior + own[moves] * ratio) / (lent + own[moves])
    variance = np.maximum(drawn, 1.0) * churn
    numbers = zip(variance.tolist(), churn.tolist(), own.tolist(), strict=True)
    return [Luck(*next(numbers), lent, most) if len(arm) > 1 else None for arm in arms]


def _lent(ratio: Float[ndarray, " arms"], own: Float[ndarray, " arms"]) -> float:
    """Return the prior's degrees of freedom by the moments of log ratio, at most `LENT`."""
    if len(ratio) < 2:
        return LENT
    # Equal accuracies of all seeds of an arm have no logarithm; limma's floor.
    logs = np.log(np.maximum(ratio, 1e-5 * (float(np.median(ratio)) or 1.0)))
    logs -= digamma(own / 2) - np.log(own / 2)
    excess = float(logs.var(ddof=1) - polygamma(1, own / 2).mean())
    # trigamma(LENT / 2) is the excess where LENT is reached: below it there is no need to solve.
    if excess <= polygamma(1, LENT / 2):
        return LENT
    half = 0.5 + 1 / excess  # Newton's steps on 1 / trigamma, which is nearly a line
    for _ in range(20):
        trigamma = polygamma(1, half)
        half += trigamma * (1 - trigamma / excess) / polygamma(2, half)
    return float(2 * half)


class Variance(NamedTuple):
    """Of a mean over images and trainings, by where it comes from."""

    between: float
    """Images: some are harder for one arm than for the other."""
    churn: float
    """Errors of the trainings that are independent from image to image."""
    luck: float
    """What whole trainings have in common beyond that."""
    images_freedom: float
    seeds_freedom: float

    def error(self, *, seeds: float = 1.0, images: float = 1.0) -> tuple[float, float]:
        """Return the standard error with Satterthwaite's degrees of freedom.

        Args:
            seeds: For so many times the seeds.
            images: For so many times the images.
        """
        trainings = (self.churn / images + self.luck) / seeds
        return _sum([
            (self.between / images, self.images_freedom * images),
            (trainings, self.seeds_freedom * seeds),
        ])  # fmt: skip

    def detectable(self, level: float, *, seeds: float = 1.0, images: float = 1.0) -> float:
        """Return the smallest true difference that is found with 80 % power.

        What is seen and its standard error both scatter, the latter with its own freedom::

            t error + 0.84 error sqrt(1 + t^2 / (2 freedom))
        """
        error, freedom = self.error(seeds=seeds, images=images)
        t = critical(level, freedom)
        scatter = math.sqrt(1 + t**2 / (2 * freedom))
        return error * (t + critical(2 * (1 - POWER), math.inf) * scatter)


def variance_of(
    by_image: Float[ndarray, " images"],
    arms: Sequence[tuple[Luck | None, float, int]],
    *,
    least: float = 0.0,
) -> Variance:
    """Return the variance of the mean of a weighted sum of arms.

    Args:
        by_image: The sum, each arm averaged over its seeds.
        arms: Luck, weight and number of seeds of each; no luck where it is not known.
        least: Variance between images at least.
    """
    num_images = len(by_image)
    known = [(luck, weight**2 / seeds) for luck, weight, seeds in arms if luck is not None]
    churn = sum(share * luck.churn for luck, share in known)
    total = sum(share * luck.variance for luck, share in known)
    freedom = math.inf
    if total:
        _, own = _sum([(share * luck.variance, luck.own) for luck, share in known])
        lucks = [luck for luck, _ in known]
        freedom = min(own + lucks[0].lent, lucks[0].most)  # what is lent is the same for all
    free = max(num_images - 1, 1)
    between = max(float(by_image.var()) * num_images / free, least) / num_images
    # The images' means hold the independent errors, too: those are counted once.
    return Variance(max(between - churn, 0.0), churn, total - churn, free, freedom)


def _sum(parts: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the root of a sum of variances, with Satterthwaite's degrees of freedom."""
    total = sum(variance for variance, _ in parts)
    shares = sum(variance**2 / freedom for variance, freedom in parts)
    return math.sqrt(total), total**2 / shares if shares else math.inf


def critical(level: float, freedom: float) -> float:
    """Return what |t| exceeds with the probability `level`."""
    return -float(stdtrit(freedom, level / 2))


class PowerLaw(NamedTuple):
    """error = scale * images^-exponent, and what it gives for more images."""

    scale: Interval
    exponent: Interval
    expected: dict[int, Interval]
    """Accuracy by number of training images."""


def fit_power_law(
    images: Sequence[int],
    arms: Sequence[Float[ndarray, "_ images"]],
    *,
    at: Sequence[int],
) -> PowerLaw:
    """Fit a power law to the test error against the number of training images.

    A straight line through log(error) against log(images) by least squares, on the arms' means; the
    intervals are those of a t distribution for the logarithms. There is no floor in the formula:
    labels that are wrong or pictures that cannot be told apart bend the true curve up, so far
    extrapolations are too hopeful.

    Args:
        images: Number of training images of each arm; at least two different ones.
        arms: `correct` of each arm, on the same test images.
        at: Numbers of training images to say the accuracy for.

    Raises:
        ValueError: If there are fewer than two different numbers of images.

    Source:
        Hestness et al. 2017, "Deep learning scaling is predictable, empirically", section 3.
    """
    if len(set(images)) < 2:
        raise ValueError(f"a power law needs two numbers of images or more, got {list(images)}")
    lucks = luck_of_arms(arms)
    logs = np.log(np.asarray(images, dtype=float))
    centred = logs - logs.mean()
    by_image = np.stack([arm.mean(axis=0) for arm in arms])
    # Half an image wrong at least: the logarithm of no error at all does not exist.
    errors = np.maximum(1 - by_image.mean(axis=1), 0.5 / by_image.shape[1])

    def of_line(start: float, slope: float) -> tuple[float, float, float]:
        """Return start * height at the middle + slope * slope of the line, with its interval."""
        weights = start / len(arms) + slope * centred / (centred @ centred)
        by_log = -weights / errors  # d log(error) = -d accuracy / error
        seeds = [len(arm) for arm in arms]
        parts = list(zip(lucks, by_log.tolist(), seeds, strict=True))
        error, freedom = variance_of(by_log @ by_image, parts).error()
        value, half = float(weights @ np.log(errors)), critical(LEVEL, freedom) * error
        return value, value - half, value + half

    slope, least, most = of_line(0, 1)
    expected = {n: np.exp(of_line(1, math.log(n) - logs.mean())) for n in at}
    return PowerLaw(
        scale=Interval(*np.exp(of_line(1, -logs.mean())).tolist()),
        exponent=Interval(-slope, -most, -least),
        expected={
            n: Interval(float(1 - value), float(1 - high), float(1 - low))
            for n, (value, low, high) in expected.items()
        },
    )


def directions(rows: Float[ndarray, "n dim"]) -> Float[ndarray, "n dim"]:
    """Return vectors scaled to length 1, so that their products are cosines; zeros stay zeros."""
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
