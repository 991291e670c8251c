"""Is A better than B on these test images, or was it luck? Arrays in, numbers out; no torch.

`correct[s, i]` says whether the run with seed s was right about test image i; arms of a study have
the same seeds (shared weights, batch order, noise draws) and the same images, so everything is
paired. The image is the unit: repeated seeds are not extra images. Differences are in [-1, 1].
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray
from scipy.stats import binomtest, norm

DRAWS = 10_000
LEVEL = 0.05  # of a report's comparisons together
POWER = 0.8

Verdict = Literal["better", "worse", "cannot tell"]


class Interval(NamedTuple):
    """An estimate and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class PairedResult:
    """One arm against another on the same images and seeds."""

    difference: Interval
    """Accuracy of the first minus that of the second, in [-1, 1]."""
    p: float
    """Of the null hypothesis that both are equally good."""
    p_holm: float
    """The same after Holm's correction over the comparisons of the report."""
    test: Literal["mcnemar", "permutation"]
    verdict: Verdict
    detectable: float
    """The smallest true difference that these images and seeds show with 80 % power."""
    discordant: float
    """Share of images (per seed) that exactly one of the two was right about, in [0, 1]."""
    needed_seeds: int | None
    """Seeds that would settle a difference as large as the one seen; None where no number would,
    or nothing is left to settle."""
    needed_images: int | None
    """Test images that would settle it; None as for the seeds."""


def accuracy_interval(correct: Float[ndarray, "seeds images"]) -> Interval:
    """Return the mean accuracy with the interval of a two-way bootstrap over images and seeds.

    Args:
        correct: 1 where a run was right about an image, else 0.

    Example:
        >>> accuracy_interval(np.array([[1.0, 1.0, 0.0, 1.0]] * 2)).value
        0.75
    """
    return interval(float(correct.mean()), resampled_means(correct))


def interval(value: float, draws: Float[ndarray, " draws"]) -> Interval:
    """Return an estimate with the middle 95 % of its bootstrap draws.

    Args:
        draws: What it would have been on resampled data.
    """
    low, high = np.quantile(draws, [0.025, 0.975])
    return Interval(value, float(low), float(high))


def resampled_means(values: Float[ndarray, "seeds images"]) -> Float[ndarray, " draws"]:
    """Return the means of `values` with images and seeds drawn again, independently of each other.

    Each draw moves the mean by what other images and by what other seeds would do. Images are drawn
    with replacement, as many as there are; of S seeds S - 1, which makes the variance over so few
    unbiased (Rao & Wu 1988). What belongs to one image in one training counts on both sides, so the
    draws spread a little too far rather than too little. A single seed stays: then nothing is said
    about training luck. Draw d is the same images and seeds for all arrays of one shape, so the
    draws of two arms may be subtracted.

    Source:
        Owen 2007, "The pigeonhole bootstrap", https://arxiv.org/abs/0712.1111, for rows and columns
        that are both samples; Bouthillier et al. 2021, https://arxiv.org/abs/2103.03098.
    """
    num_seeds, num_images = values.shape
    by_image, by_seed = values.mean(axis=0), values.mean(axis=1)
    images = _counts(num_images, num_images)
    draws = np.empty(DRAWS)
    for start in range(0, DRAWS, 50):  # few enough that their float64 stay in the cache
        draws[start : start + 50] = images[start : start + 50] @ by_image / num_images
    if num_seeds > 1:
        draws += _counts(num_seeds, num_seeds - 1) @ (by_seed - by_seed.mean()) / (num_seeds - 1)
    return draws


@lru_cache(maxsize=4)
def _counts(size: int, drawn: int) -> UInt8[ndarray, "draws size"]:
    """Return how often each of `size` things is drawn, in each draw; always the same draws."""
    rng = np.random.default_rng([size, drawn])
    counts = np.empty((DRAWS, size), dtype=np.uint8)
    for start in range(0, DRAWS, 500):
        picks = rng.integers(size, size=(500, drawn)) + size * np.arange(500)[:, None]
        block = np.bincount(picks.ravel(), minlength=500 * size).reshape(500, size)
        counts[start : start + 500] = block.clip(max=255)
    return counts


def mcnemar(first: Float[ndarray, " images"], second: Float[ndarray, " images"]) -> float:
    """Return the p value of the exact McNemar test of two classifiers on the same images.

    Two-sided; only images that exactly one of the two is right about count.

    Args:
        first: 1 where the first is right, else 0.

    Example:
        >>> first = np.repeat([1.0, 0.0, 1.0], [6, 1, 20])  # 6 images it alone is right about
        >>> second = np.repeat([0.0, 1.0, 1.0], [6, 1, 20])  # 1 the other alone
        >>> mcnemar(first, second)
        0.125

    Source:
        Dietterich 1998, "Approximate statistical tests for comparing supervised classification
        learning algorithms", section 3.1 (there in its chi-squared form).
    """
    only_first = int(((first == 1) & (second == 0)).sum())
    only_second = int(((first == 0) & (second == 1)).sum())
    if not only_first + only_second:
        return 1.0
    return float(binomtest(only_first, only_first + only_second).pvalue)


def sign_flip_test(differences: Float[ndarray, " images"]) -> float:
    """Return the p value of the paired permutation test: signs of the differences are drawn anew.

    Two-sided: how often is a mean of randomly signed differences at least as far from 0 as the one
    seen, itself counted.
    """
    differing = differences[differences != 0]
    if not len(differing):
        return 1.0
    rng = np.random.default_rng(len(differing))
    seen, reached = abs(differing.sum()), 0
    for _ in range(0, DRAWS, 500):
        signs = rng.integers(2, size=(500, len(differing)), dtype=np.int8) * 2.0 - 1
        # Sums of many equal terms differ in their last bits: those count as reached.
        reached += int((np.abs(signs @ differing) >= seen * (1 - 1e-9)).sum())
    return (reached + 1) / (DRAWS + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for their number: step-down Bonferroni.

    Example:
        >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03, 0.005])]
        [0.03, 0.06, 0.06, 0.02]

    Source:
        Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, p_values[i] * (len(p_values) - rank)))
        corrected[i] = largest
    return corrected


def detectable_difference(
    standard_error: float,
    *,
    comparisons: int = 1,
    freedom: float = math.inf,
    half_width: float = 0.0,
) -> float:
    """Return the smallest true difference that is found with 80 % power.

    The difference seen must pass z standard errors and the half-width of the interval; what is seen
    and its error both scatter, the error with its own freedom::

        max(z error, half-width) + 0.84 error sqrt(1 + z^2 / (2 freedom))

    Args:
        comparisons: Number of comparisons that share the level of 5 %.
        freedom: Degrees of freedom of that error; few where it comes from few seeds.
        half_width: Of the interval that must be clear of 0; wider than z errors where few seeds can
            be drawn in few ways only.

    Example:
        >>> images, discordant = 700, 0.1  # 3.3 points
        >>> round(detectable_difference((discordant / images) ** 0.5), 3)
        0.033
    """
    z = float(norm.isf(LEVEL / 2 / comparisons))
    scatter = math.sqrt(1 + z**2 / (2 * freedom))
    needed = max(z * standard_error, half_width)
    return needed + float(norm.ppf(POWER)) * standard_error * scatter


def compare_all(pairs: Sequence[tuple[ndarray, ndarray]]) -> list[PairedResult]:
    """Compare pairs of arms; the level of 5 % is that of all comparisons together.

    With one seed the test is McNemar's, exact. With several, p is the larger of two: the paired
    permutation of the image means, which knows nothing of training luck, and the normal test with
    the standard error over seeds and images, which does. "better" and "worse" need the corrected p
    value under 5 % and an interval clear of 0.

    Args:
        pairs: `correct` (seeds, images) of the first and the second arm of each comparison.

    Raises:
        ValueError: If the two of a pair differ in shape.
    """
    for first, second in pairs:
        if first.shape != second.shape:
            raise ValueError(
                f"arms are compared on the same seeds and images, got {first.shape} "
                f"and {second.shape}"
            )
    p_values = [
        mcnemar(a[0], b[0])
        if len(a) == 1
        else max(sign_flip_test((a - b).mean(axis=0)), _luck_test(a - b))
        for a, b in pairs
    ]
    return [
        _comparison(a - b, p, p_holm, len(pairs))
        for (a, b), p, p_holm in zip(pairs, p_values, holm(p_values), strict=True)
    ]


def _comparison(
    differences: Float[ndarray, "seeds images"], p: float, p_holm: float, comparisons: int
) -> PairedResult:
    num_seeds, num_images = differences.shape
    difference = interval(float(differences.mean()), resampled_means(differences))
    clear = difference.low > 0 or difference.high < 0
    verdict: Verdict = "cannot tell"
    if p_holm < LEVEL and clear:
        verdict = "better" if difference.value > 0 else "worse"
    error, freedom = _standard_error(differences)
    detectable = detectable_difference(
        error, comparisons=comparisons, freedom=freedom,
        half_width=(difference.high - difference.low) / 2,
    )  # fmt: skip
    if num_seeds == 1:
        detectable += 1 / num_images  # the exact test is discrete: one image more
    settled = verdict != "cannot tell" or not difference.value
    wanted = abs(difference.value) / detectable_difference(1.0, comparisons=comparisons)
    return PairedResult(
        difference, p, p_holm,
        test="mcnemar" if num_seeds == 1 else "permutation",
        verdict=verdict, detectable=detectable,
        discordant=float((differences != 0).mean()),
        needed_seeds=None if settled else _needed(differences, wanted, of="seeds"),
        needed_images=None if settled else _needed(differences, wanted, of="images"),
    )  # fmt: skip


def _luck_test(differences: Float[ndarray, "seeds images"]) -> float:
    error, _ = _standard_error(differences)
    return float(2 * norm.sf(abs(differences.mean()) / error)) if error else 1.0


def _standard_error(differences: Float[ndarray, "seeds images"]) -> tuple[float, float]:
    """Return the spread that `resampled_means` draws with, and its degrees of freedom.

    The freedom is Satterthwaite's, of a variance over few seeds plus one over many images.
    """
    num_seeds, num_images = differences.shape
    of_images = differences.mean(axis=0).var(ddof=1) / num_images
    if num_seeds == 1:
        return math.sqrt(of_images), math.inf
    of_seeds = differences.mean(axis=1).var(ddof=1) / num_seeds
    total = of_images + of_seeds
    parts = of_seeds**2 / (num_seeds - 1) + of_images**2 / (num_images - 1)
    return math.sqrt(total), total**2 / parts if parts else math.inf


def _needed(
    differences: Float[ndarray, "seeds images"],
    standard_error: float,
    *,
    of: Literal["seeds", "images"],
) -> int | None:
    """Return how many seeds or images would bring the standard error down to the one wanted.

    With S seeds and N images the squared error of the two-way bootstrap is
    a/S + b/N + 2 c/(S N): a from seeds, b from images, c from both together (the residual).
    """
    num_seeds, num_images = differences.shape
    by_seed, by_image = differences.mean(axis=1), differences.mean(axis=0)
    if num_seeds == 1:
        if of == "seeds":
            return None  # one seed tells nothing about what seeds do
        return math.ceil(by_image.var(ddof=1) / standard_error**2)
    residual = differences - by_seed[:, None] - by_image + differences.mean()
    c = (residual**2).sum() / ((num_seeds - 1) * (num_images - 1))
    a = max(by_seed.var(ddof=1) - c / num_images, 0.0)
    b = max(by_image.var(ddof=1) - c / num_seeds, 0.0)
    if of == "seeds":
        left, other = standard_error**2 - b / num_images, a + 2 * c / num_images
    else:
        left, other = standard_error**2 - a / num_seeds, b + 2 * c / num_seeds
    return math.ceil(other / left) if left > 0 and other / left < 1e7 else None


class PowerLaw(NamedTuple):
    """error = scale * images^-exponent, and what it gives for more images."""

    scale: Interval
    exponent: Interval
    expected: dict[int, Interval]
    """Accuracy by number of training images."""


def fit_power_law(
    images: Sequence[int], arms: Sequence[Float[ndarray, "seeds images"]], *, at: Sequence[int]
) -> PowerLaw:
    """Fit a power law to the test error against the number of training images.

    A straight line through log(error) against log(images) by least squares, on the arms' means and
    on each draw of the two-way bootstrap, which gives the intervals. There is no floor in the
    formula: labels that are wrong or pictures that cannot be told apart bend the true curve up, so
    far extrapolations are too hopeful.

    Args:
        images: Number of training images of each arm; at least two different ones.
        arms: `correct` of each arm.

    Raises:
        ValueError: If there are fewer than two different numbers of images.

    Source:
        Hestness et al. 2017, "Deep learning scaling is predictable, empirically", section 3.
    """
    if len(set(images)) < 2:
        raise ValueError(f"a power law needs two numbers of images or more, got {list(images)}")
    logs = np.log(np.asarray(images, dtype=float))
    centred = logs - logs.mean()
    means = np.array([[arm.mean()] for arm in arms])
    draws = np.stack([resampled_means(arm) for arm in arms])

    def line(accuracies: ndarray) -> tuple[ndarray, ndarray]:
        # Half an image wrong at least: the logarithm of no error at all does not exist.
        errors = np.log(np.maximum(1 - accuracies, 0.5 / arms[0].shape[1]))
        slope = centred @ errors / (centred @ centred)
        return errors.mean(axis=0) - slope * logs.mean(), slope

    (start, slope), (starts, slopes) = line(means), line(draws)
    return PowerLaw(
        scale=interval(float(np.exp(start[0])), np.exp(starts)),
        exponent=interval(float(-slope[0]), -slopes),
        expected={
            n: interval(
                float(1 - np.exp(start[0] + slope[0] * np.log(n))),
                1 - np.exp(starts + slopes * np.log(n)),
            )
            for n in at
        },
    )
