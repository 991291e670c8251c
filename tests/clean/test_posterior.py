"""The posterior of a label and the rate of wrong ones, on features made for it."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from support import K, clouds, f1, flip, pairs

from smallset.clean.decide import (
    by_pruning,
)
from smallset.clean.find import find_wrong_labels
from smallset.clean.posterior import confident_joint, fit_even, fit_posterior


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5])
def test_the_rate_of_wrong_labels_is_found_without_being_told(rate):
    features, labels = clouds()
    found = find_wrong_labels([features], flip(labels, rate), num_classes=K)
    estimate = found.posterior.rate
    assert estimate.value == pytest.approx(rate, abs=0.05)
    assert estimate.low <= rate + 0.02
    assert estimate.high >= rate - 0.02


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5])
def test_wrong_labels_have_low_posteriors(rate):
    features, labels = clouds()
    given = flip(labels, rate)
    right = find_wrong_labels([features], given, num_classes=K).posterior.of_given(given)
    wrong = given != labels
    assert roc_auc_score(wrong, 1 - right) > 0.97
    flagged = right < 0.5
    assert 2 * (flagged & wrong).sum() / (flagged.sum() + wrong.sum()) > 0.85


def test_much_noise_is_believed_where_none_fits_as_well():
    # Every image is like its class to the same degree: "87 % alike, no noise" and "sure, 13 % are
    # wrong" are equally likely.
    labels = np.repeat(np.arange(4), 50)
    looks = np.full((200, 4), 0.1)
    looks[np.arange(200), labels] = 0.7
    given = labels.copy()
    given[::8] = (given[::8] + 1) % 4
    posterior = fit_even(looks, looks, given)
    assert posterior.rate.value == pytest.approx(0.125, abs=0.01)
    np.testing.assert_array_equal(posterior.of_given(given) < 0.5, given != labels)


def test_the_posterior_is_the_formula_at_its_fit():
    rng = np.random.default_rng(0)
    looks = rng.dirichlet(np.ones(4), 50)
    labels = rng.integers(0, 4, 50)
    fitted = fit_even(looks, looks, labels)
    rho = fitted.rate.value
    for i in range(50):
        joint = fitted.looks[i] * np.where(np.arange(4) == labels[i], 1 - rho, rho / 3)
        np.testing.assert_allclose(fitted.probs[i], joint / joint.sum(), atol=1e-9)


def test_the_confident_joint_by_loops():
    rng = np.random.default_rng(0)
    looks, labels = rng.dirichlet(np.ones(3), 200), rng.integers(0, 3, 200)
    means = [looks[labels == k, k].mean() for k in range(3)]
    counts = np.zeros((3, 3))
    for p, given in zip(looks, labels, strict=True):
        reached = [k for k in range(3) if p[k] >= means[k]]
        if reached:
            counts[given, max(reached, key=lambda k: p[k])] += 1
    expected = counts / counts.sum(axis=1, keepdims=True) * np.bincount(labels)[:, None]
    np.testing.assert_allclose(confident_joint(looks, labels), expected)


@pytest.mark.parametrize(("apart", "least"), [(2.6, 0.9), (3.5, 0.75), (6, 0.75), (12, 0.75)])
def test_noise_of_pairs_is_seen_as_such_and_found(apart, least):
    features, labels = clouds(apart=apart)
    given = pairs(labels, 0.3)
    wrong = given != labels
    found = find_wrong_labels([features], given, num_classes=K)
    assert found.posterior.noise == "by class"
    assert f1(found.posterior.of_given(given) < 0.5, wrong) > least
    assert f1(by_pruning(found.posterior, given).decisions != "keep", wrong) > 0.7
    assert [each.cleaning.name for each in found.judged] == ["posterior", "pruning", "contradicted"]


@pytest.mark.parametrize("rate", [0, 0.1, 0.3])
def test_even_noise_is_not_taken_for_noise_by_class(rate):
    features, labels = clouds(apart=3.5)
    found = find_wrong_labels([features], flip(labels, rate), num_classes=K)
    assert found.posterior.noise == "even"
    assert [each.cleaning.name for each in found.judged] == ["posterior", "contradicted"]


def test_few_numbers_are_fitted_on_some_of_many_images(monkeypatch):
    monkeypatch.setattr("smallset.clean.posterior.MAX_IMAGES_FITTED", 150)
    monkeypatch.setattr("smallset.clean.find.MAX_IMAGES_FITTED", 300)
    for noise, kind in ((flip, "even"), (pairs, "by class")):
        features, labels = clouds(apart=3.5)
        given = noise(labels, 0.2)
        posterior = find_wrong_labels([features], given, num_classes=K).posterior
        assert posterior.noise == kind
        assert posterior.probs.shape == (len(labels), K)
        assert f1(posterior.of_given(given) < 0.5, given != labels) > 0.85


def test_noise_by_class_needs_labels_that_it_was_not_fitted_on_to_say_so():
    # Labels by lot: whatever fits them best on one half says nothing of the other.
    rng = np.random.default_rng(0)
    looks, labels = rng.dirichlet(np.ones(K), 300), rng.integers(0, K, 300)
    assert fit_posterior(looks, looks, labels).noise == "even"


def test_the_posterior_by_class_is_a_distribution_that_the_label_has_a_part_in():
    features, labels = clouds(apart=3.5)
    given = pairs(labels, 0.3)
    posterior = find_wrong_labels([features], given, num_classes=K).posterior
    np.testing.assert_allclose(posterior.probs.sum(axis=1), 1, atol=1e-9)
    assert posterior.rate.low < posterior.rate.value < posterior.rate.high
    assert posterior.rate.value == pytest.approx((given != labels).mean(), abs=0.05)
    # An even class is never given as the odd one before it.
    even = posterior.probs[given % 2 == 1][:, ::2].sum(axis=1)
    odd = posterior.probs[given % 2 == 0][:, 1::2].sum(axis=1)
    assert even.mean() > 3 * odd.mean()
