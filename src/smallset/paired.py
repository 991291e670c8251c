"""Is A better than B on these test images, or was it luck? Arrays in, verdicts out; no torch."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from numpy import ndarray
from scipy.special import stdtr
from scipy.stats import binomtest

from smallset.stats import LEVEL, Interval, Luck, critical, variance_of

PRACTICAL = 0.01  # differences within one point are called practically equal
MOST_SEEDS, MOST_IMAGES = 10_000, 10_000_000  # where looking for what would settle it ends

Verdict = Literal["better", "worse", "these two networks differ", "cannot tell"]
"""With one seed two trained networks are compared, and not two settings: never better or worse."""


@dataclass(frozen=True)
class PairedResult:
    """One arm against another on the same images and seeds."""

    difference: Interval
    """Accuracy of the first minus that of the second, in [-1, 1]; the intervals of all comparisons
    of a report hold together, and one is clear of 0 exactly where the verdict is no "cannot tell".
    """
    p: float
    """Of the null hypothesis that both are equally good."""
    p_corrected: float
    """The same, times the number of comparisons in the report (Bonferroni) and the square of that
    of the looks, at most 1."""
    verdict: Verdict
    luck: float | None
    """Standard deviation of the difference of two single trainings, one of each arm, on the same
    images; None where one seed shows nothing of it."""
    freedom: float
    """Degrees of freedom of the t distribution."""
    looks: int
    """How often the pair has been looked at, each time with more seeds; 1 at the first."""
    detectable: float
    """The smallest true difference that these images and seeds show with 80 % power."""
    discordant: float
    """Share of images (per seed) that exactly one of the two was right about, in [0, 1]."""
    needed_seeds: int | None
    """Seeds that would settle a difference as large as the one seen, at the next look; None where
    no number would, or nothing is left to settle."""
    needed_images: int | None
    """Test images that would settle it; None as for the seeds."""

    @property
    def equal_within(self) -> float | None:
        """Return the bound of the difference where that is at most one point: practically equal."""
        bound = max(-self.difference.low, self.difference.high)
        return bound if self.verdict == "cannot tell" and bound <= PRACTICAL else None


def mcnemar(first: Float[ndarray, " images"], second: Float[ndarray, " images"]) -> float:
    """Return the p value of the exact McNemar test of two classifiers on the same images.

    Two-sided; only images that exactly one of the two is right about count.

    Args:
        first: 1 where the first is right, else 0.

    Example:
        >>> import numpy as np
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


def compare_all(
    pairs: Sequence[tuple[ndarray, ndarray]],
    lucks: Sequence[tuple[Luck | None, Luck | None]],
    *,
    family: int | None = None,
    looks: Sequence[int] | None = None,
) -> list[PairedResult]:
    """Compare pairs of arms; intervals, p values and verdicts hold for all of them together.

    t is the mean difference, brought nearer to 0 by one prediction (it moves in such steps), over
    its standard error; p, interval and verdict are all read from it. Its level is 5 % over the
    number of comparisons (Bonferroni; Holm's steps would find a little more, but no interval says
    the same as they do), and over k^2 at the k-th look: who adds seeds until something shows would
    find it in 12 to 15 % of studies of equal arms, and so in about 5 % (benchmarks/claims.py). The
    luck of two arms counts as independent: where a seed is lucky for both, the interval is too
    wide rather than too narrow.

    With one seed this is a paired t test over the images, corrected for continuity like McNemar's,
    and hardly ever less strict than the exact form of that; it compares two trained networks, and
    the verdict says so.

    Args:
        pairs: `correct` (seeds, images) of the first and the second arm of each comparison.
        lucks: Of the two arms of each pair, pooled over the study they belong to.
        family: Number of comparisons that are to hold together, those that cannot be made yet
            among them; None for these alone.
        looks: How often each pair has been looked at, each time with more seeds, this time
            included; None for once each.

    Raises:
        ValueError: If the two of a pair differ in shape.

    Source:
        Satterthwaite 1946, "An approximate distribution of estimates of variance components";
        Dietterich 1998, "Approximate statistical tests for comparing supervised classification
        learning algorithms", section 3.1; images and trainings as two samples: Bouthillier et al.
        2021, https://arxiv.org/abs/2103.03098.
    """
    for first, second in pairs:
        if first.shape != second.shape:
            raise ValueError(
                f"arms are compared on the same seeds and images, got {first.shape} "
                f"and {second.shape}"
            )
    family = len(pairs) if family is None else family
    return [
        _compare(first - second, luck, family=family, look=look)
        for (first, second), luck, look in zip(pairs, lucks, looks or [1] * len(pairs), strict=True)
    ]


def _compare(
    differences: Float[ndarray, "seeds images"],
    lucks: tuple[Luck | None, Luck | None],
    *,
    family: int,
    look: int,
) -> PairedResult:
    num_seeds, num_images = differences.shape
    level = LEVEL / family / look**2
    value, step = float(differences.mean()), 1 / differences.size
    if num_seeds == 1:
        lucks = None, None  # two networks are compared, whatever is known of their settings
    # Two arms that are right about the same images might differ on the next two.
    variance = variance_of(
        differences.mean(axis=0), [(luck, 1.0, num_seeds) for luck in lucks], least=2 / num_images
    )
    error, freedom = variance.error()
    p = float(2 * stdtr(freedom, -max(abs(value) - step, 0.0) / error))
    half = step + critical(level, freedom) * error
    verdict: Verdict = "cannot tell"
    if abs(value) > half:
        verdict = "better" if value > 0 else "worse"
        verdict = "these two networks differ" if num_seeds == 1 else verdict

    def shows(look: int, seeds: float = 1.0, images: float = 1.0) -> float:
        more = variance.detectable(LEVEL / family / look**2, seeds=seeds, images=images)
        return step / seeds / images + more

    def needed(count: int, most: int, of: Literal["seeds", "images"], look: int) -> int | None:
        if verdict != "cannot tell" or not value:
            return None
        shown = lambda n: shows(look, **{of: n / count}) <= abs(value)  # noqa: E731
        least = bisect_left(range(most), True, lo=count, key=shown)
        return least if least < most else None

    return PairedResult(
        Interval(value, max(value - half, -1.0), min(value + half, 1.0)),
        p,
        min(1.0, p * family * look**2),
        verdict,
        luck=None if None in lucks else math.hypot(*(luck.sd for luck in lucks if luck)),
        freedom=freedom,
        looks=look,
        detectable=shows(look),
        discordant=float((differences != 0).mean()),
        needed_seeds=needed(num_seeds, MOST_SEEDS, "seeds", look + 1) if num_seeds > 1 else None,
        needed_images=needed(num_images, MOST_IMAGES, "images", look),
    )
