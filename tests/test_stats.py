import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests

from smallset.stats import (
    DRAWS,
    accuracy_interval,
    compare_all,
    detectable_difference,
    fit_power_law,
    holm,
    mcnemar,
    resampled_means,
    sign_flip_test,
)


def right(counts):
    """Two classifiers by their table: both right, first alone, second alone, both wrong."""
    first = np.repeat([1.0, 1.0, 0.0, 0.0], counts)
    second = np.repeat([1.0, 0.0, 1.0, 0.0], counts)
    return first, second


@pytest.mark.parametrize("counts", [(20, 6, 1, 3), (794, 86, 150, 570), (5, 0, 0, 5), (0, 3, 9, 0)])
def test_mcnemar_is_the_exact_one_of_statsmodels(counts):
    both, first, second, none = counts
    expected: Any = statsmodels_mcnemar([[both, first], [second, none]], exact=True)
    assert mcnemar(*right(counts)) == pytest.approx(min(expected.pvalue, 1))


def test_mcnemar_of_a_textbook_table():
    """Agresti, Categorical Data Analysis, table 10.1: approval twice, 86 and 150 changed."""
    p = mcnemar(*right((794, 86, 150, 570)))
    assert p == pytest.approx(2 * binom.cdf(86, 236, 0.5))
    assert p < 5e-5  # the book's z = 4.17 corresponds to 3e-5


@settings(max_examples=15)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_that_of_statsmodels(p_values):
    expected: Any = multipletests(p_values, method="holm")
    np.testing.assert_allclose(holm(p_values), expected[1])


def test_holm_of_the_textbook_example():
    """Holm 1979 as in Wright 1992: p = .01, .02, .03 become .03, .04, .04."""
    assert holm([0.01, 0.02, 0.03]) == pytest.approx([0.03, 0.04, 0.04])


def test_the_permutation_test_counts_all_sign_patterns():
    """Of 2^8 patterns of eight equal differences, 2 reach the sum seen: p = 1/128."""
    p = sign_flip_test(np.full(8, 1 / 3))
    # 5 standard deviations of a binomial of 10,000 at 1/128 are 0.0044
    assert p == pytest.approx(1 / 128, abs=0.0044)
    assert sign_flip_test(np.zeros(9)) == 1.0
    assert sign_flip_test(np.array([1.0, -1.0] * 9)) == pytest.approx(1)


def test_the_bootstrap_of_one_seed_has_the_width_of_a_binomial():
    correct = np.repeat([1.0, 0.0], [980, 420])[None]
    interval = accuracy_interval(correct)
    half = 1.96 * math.sqrt(0.7 * 0.3 / 1400)
    assert interval.value == 0.7
    assert (interval.high - interval.low) / 2 == pytest.approx(half, rel=0.04)


def test_the_variance_over_seeds_is_unbiased_and_adds_to_that_over_images():
    """All images alike: only seeds vary, and their variance is s^2 / S, not s^2 (S - 1) / S^2."""
    by_seed = np.array([0.70, 0.72, 0.80])
    draws = resampled_means(np.repeat(by_seed[:, None], 50, axis=1))
    assert draws.var() == pytest.approx(by_seed.var(ddof=1) / 3, rel=0.05)
    assert len(draws) == DRAWS
    images = np.random.default_rng(0).random((1, 400))
    both = resampled_means(images + by_seed[:, None])
    assert both.var() == pytest.approx(by_seed.var(ddof=1) / 3 + images.var() / 400, rel=0.05)


def test_two_arms_are_resampled_on_the_same_images_and_seeds():
    rng = np.random.default_rng(0)
    first, second = rng.random((3, 80)), rng.random((3, 80))
    np.testing.assert_allclose(
        resampled_means(first) - resampled_means(second), resampled_means(first - second)
    )


def test_the_detectable_difference_is_that_of_the_evidence():
    for images, discordant, points in ((700, 0.1, 3.3), (2100, 0.1, 1.9), (700, 0.2, 4.7)):
        error = math.sqrt(discordant / images)
        assert 100 * detectable_difference(error) == pytest.approx(points, abs=0.06)
    assert detectable_difference(1.0, comparisons=5) == pytest.approx(
        norm.isf(0.005) + norm.ppf(0.8), rel=1e-9
    )


def simulate(rng, *, shift=0.0, seeds=3, images=700, luck=0.02):
    """Two arms on images of differing difficulty; `luck` is the quality of a whole training.

    Luck of 0.02 moves a training by about 0.4 points, the share of training luck that remains on
    endless test sets (Jordan 2023 finds a quarter of the spread seen on a test set).
    """
    ease = rng.normal(0.6, 1.5, images)

    def arm(extra):
        noise = rng.normal(0, 1, (seeds, images)) + rng.normal(0, luck, (seeds, 1))
        return (ease + noise + extra > 0).astype(float)

    return arm(shift), arm(0.0)


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "luck"), [(1, 0), (3, 0.02)])
def test_identical_arms_are_told_apart_in_at_most_one_of_twenty_studies(seeds, luck):
    """One seed shows no luck, so two trainings are compared there, and not two settings."""
    rng = np.random.default_rng(0)
    studies = [compare_all([simulate(rng, seeds=seeds, luck=luck)])[0] for _ in range(300)]
    assert sum(study.verdict != "cannot tell" for study in studies) <= 15


@pytest.mark.slow
def test_of_many_comparisons_of_identical_arms_few_studies_claim_any():
    rng = np.random.default_rng(1)
    studies = [compare_all([simulate(rng, images=400) for _ in range(5)]) for _ in range(120)]
    wrong = sum(any(c.verdict != "cannot tell" for c in study) for study in studies)
    assert wrong <= 6


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [1, 3])
def test_a_difference_of_the_printed_size_is_found_four_times_of_five(seeds):
    """What a study prints depends a little on the difference it holds, so that is planted first."""
    rng, big = np.random.default_rng(2), np.random.default_rng(3)
    shifts = np.linspace(0, 0.6, 25)
    truth = []
    for shift in shifts:
        first, second = simulate(big, shift=shift, images=100_000, luck=0)
        truth.append((first - second).mean())
    shift = 0.0
    for _ in range(2):
        studies = [compare_all([simulate(rng, shift=shift, seeds=seeds)])[0] for _ in range(60)]
        printed = np.median([study.detectable for study in studies])
        shift = float(np.interp(printed, truth, shifts))
    found = [compare_all([simulate(rng, shift=shift, seeds=seeds)])[0].verdict for _ in range(200)]
    assert "worse" not in found
    assert found.count("better") >= 0.8 * 200


@pytest.mark.slow
def test_the_interval_covers_the_truth():
    """Of the accuracy over new images and new trainings, 95 % of the time or a little more."""
    rng = np.random.default_rng(4)
    truth = simulate(rng, images=400_000, seeds=3, luck=0)[1].mean()
    hits = 0
    for _ in range(300):
        interval = accuracy_interval(simulate(rng, images=400)[1])
        hits += interval.low <= truth <= interval.high
    assert hits >= 0.92 * 300  # 95 % less two standard deviations of a binomial


def test_verdicts_say_what_would_settle_it():
    rng = np.random.default_rng(0)
    close = compare_all([simulate(rng, shift=0.03)])[0]
    assert close.verdict == "cannot tell"
    assert close.needed_images is None or close.needed_images > 700
    assert close.needed_seeds is None or close.needed_seeds > 3
    clear = compare_all([simulate(rng, shift=0.6)])[0]
    assert (clear.verdict, clear.needed_seeds, clear.needed_images) == ("better", None, None)
    assert clear.test == "permutation"
    same = np.ones((2, 10))
    nothing = compare_all([(same, same)])[0]
    assert (nothing.verdict, nothing.p, nothing.needed_images) == ("cannot tell", 1.0, None)


def test_needed_images_settle_a_difference_of_the_size_seen():
    """One seed, 60 against 40 discordant images of 1,000: then the formula of McNemar's power."""
    first, second = right((700, 60, 40, 200))
    c = compare_all([(first[None], second[None])])[0]
    assert c.test == "mcnemar"
    assert c.verdict == "cannot tell"
    variance = 0.1 - 0.02**2
    assert c.needed_images == pytest.approx(2.8016**2 * variance / 0.02**2, rel=0.01)
    assert c.needed_seeds is None


def test_arms_of_different_images_are_refused():
    with pytest.raises(ValueError, match=r"same seeds and images, got \(1, 5\) and \(1, 6\)"):
        compare_all([(np.ones((1, 5)), np.ones((1, 6)))])


def test_a_power_law_is_found_again_with_an_interval_around_it():
    rng = np.random.default_rng(0)
    images = [250, 500, 1000, 2000]
    arms = [(rng.random((3, 4000)) > 3 * n**-0.4).astype(float) for n in images]
    law = fit_power_law(images, arms, at=[4000, 8000])
    assert law.exponent.low < 0.4 < law.exponent.high
    assert law.exponent.value == pytest.approx(0.4, abs=0.05)
    for n in (4000, 8000):
        assert law.expected[n].low < 1 - 3 * n**-0.4 < law.expected[n].high
    with pytest.raises(ValueError, match="two numbers of images"):
        fit_power_law([5, 5], arms[:2], at=[])
