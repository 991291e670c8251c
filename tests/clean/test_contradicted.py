"""Labels that the look of their image contradicts, and how many may be wrong at most."""

from functools import cache

import numpy as np
import pytest
from support import K, border, clouds, f1, flip, pairs, posterior

from smallset.clean.contradicted import expected_precision, highest_precision
from smallset.clean.find import find_wrong_labels


@cache
def found_under(noise):
    """What is found, and which labels are wrong."""
    features, labels = clouds(apart=3.5)
    given = {
        "none": lambda: labels,
        "even": lambda: flip(labels, 0.2),
        "pairs": lambda: pairs(labels, 0.3),
        "border": lambda: border(features, labels, 0.2),
    }[noise]()
    found = find_wrong_labels([features], given, num_classes=K)
    return found, found.posterior.of_given(given) < 0.5, given != labels


def test_mistakes_at_the_border_are_contradicted_where_the_rate_explains_them_away():
    found, suspects, wrong = found_under("border")
    assert found.posterior.rate.high < 0.1
    assert f1(suspects, wrong) < 0.6
    assert f1(suspects | found.contradicted, wrong) > 0.9


@pytest.mark.parametrize("noise", ["none", "even", "pairs", "border"])
def test_the_range_holds_the_rate_whatever_the_kind_of_noise(noise):
    found, _, wrong = found_under(noise)
    assert found.posterior.rate.low <= wrong.mean() <= found.most_wrong
    assert found.most_wrong < wrong.mean() + 0.25


def test_the_precision_that_is_said_is_between_that_of_the_first_fit_and_of_the_last():
    labels = np.zeros(4, dtype=int)
    first, last = (
        posterior([[right, 1 - right] for right in rights])
        for rights in ([0.6, 0.4, 0.9, 0.1], [0.2, 0.0, 0.8, 0.9])
    )
    assert expected_precision(first, last, labels) == pytest.approx(1 - (0.5 + 0.1) / 2)
    assert expected_precision(first, posterior([[0.9, 0.1]] * 4), labels) == 0


def test_the_highest_precision_is_what_the_odds_of_the_highest_rate_make_of_it():
    labels, probs = np.zeros(4, dtype=int), [[0.2, 0.8], [0.4, 0.6], [0.9, 0.1], [0.9, 0.1]]
    # From one in four to one in two: the odds of being wrong are three times as high.
    expected = np.mean([12 / 13, 9 / 11])
    fit = posterior(probs, rate=0.25)
    assert highest_precision(fit, labels, 0.5) == pytest.approx(expected)
    assert highest_precision(fit, labels, 0.25) == pytest.approx(0.7)
    # A rate of none counts as one image of the four.
    none = posterior(probs, rate=0.0)
    assert highest_precision(none, labels, 0.5) == pytest.approx(expected)
    assert highest_precision(posterior([[0.9, 0.1]] * 4), labels, 0.5) == 0


@pytest.mark.parametrize("noise", ["even", "pairs", "border"])
def test_the_true_precision_is_in_the_range_that_is_said(noise):
    found, suspects, wrong = found_under(noise)
    true = wrong[suspects].mean()
    # Classes this easy leave less doubt than there is in the fit.
    assert found.expected_precision - 0.06 <= true <= found.highest_precision + 0.06


def test_the_precision_of_even_noise_is_that_of_the_suspects():
    found, suspects, wrong = found_under("even")
    assert found.expected_precision == pytest.approx(wrong[suspects].mean(), abs=0.05)


def test_foreign_pictures_lie_far_from_every_class_though_near_each_other():
    rng = np.random.default_rng(3)
    features, labels = clouds(apart=6)
    # Alike among themselves: each has neighbours in every class.
    foreign = rng.normal(size=(40, 32)) * 0.5 + rng.normal(size=32) * 1.5
    given = np.concatenate([labels, rng.integers(K, size=40)])
    is_foreign = np.arange(len(given)) >= len(labels)
    found = find_wrong_labels([np.concatenate([features, foreign])], given, num_classes=K)
    assert found.nowhere[is_foreign].mean() > 0.6
    assert found.nowhere[~is_foreign].mean() < 0.02
    assert not (found.nowhere & ~found.contradicted).any()


def test_a_judge_of_no_use_contradicts_nothing():
    labels = np.repeat(np.arange(K), 20)
    features = np.random.default_rng(0).normal(size=(len(labels), 8))
    found = find_wrong_labels([features], labels, num_classes=K)
    assert found.is_weak
    assert not found.contradicted.any()
    assert not found.nowhere.any()
