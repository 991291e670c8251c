"""The race of candidates, and the price of choosing, on simulated right and wrong answers."""

import numpy as np
import pytest

from smallset.choose.race import corrected_accuracy, race


def simulate(rng, skills, images=350, shared=0.7):
    """Candidates that are right by skill; `shared` says how far they find the same images hard."""
    hard = rng.normal(size=images)
    from scipy.stats import norm

    own = rng.normal(size=(len(skills), images))
    latent = np.sqrt(shared) * hard + np.sqrt(1 - shared) * own
    return latent < norm.ppf(np.array(skills))[:, None]


def test_the_best_leads_and_the_hopeless_are_dropped():
    rng = np.random.default_rng(0)
    standing = race(simulate(rng, [0.9, 0.95, 0.6]), np.ones(3))
    assert standing.best == 1
    assert standing.alive.tolist() == [bool(standing.chance[0] >= 0.01), True, False]
    assert standing.chance.sum() == pytest.approx(1)
    assert standing.chance[2] == 0


def test_of_equals_the_cheaper_one_is_taken():
    right = np.tile(np.arange(100) % 10 > 0, (3, 1))
    standing = race(right, np.array([3.0, 1.0, 2.0]))
    assert standing.best == 1
    np.testing.assert_allclose(standing.chance, 1 / 3)


def test_of_equal_candidates_the_corrected_estimate_is_not_too_hopeful():
    """Of ten equal candidates the best looks better than it is, the corrected one does not."""
    rng = np.random.default_rng(1)
    naive, corrected, covered = [], [], 0
    for number in range(180):
        right = simulate(rng, [0.9] * 10, images=200, shared=0.5)
        estimate = corrected_accuracy(right, np.ones(10), folds=5, seed=number)
        naive.append(right.mean(axis=1).max() - 0.9)
        # The mean of all is right on average, and shares most of the luck of these images.
        corrected.append(estimate.value - right.mean())
        covered += estimate.low <= 0.9 <= estimate.high
    assert np.mean(naive) > 0.01
    assert np.std(corrected) / 180**0.5 < 0.001
    assert abs(np.mean(corrected)) < 0.003
    assert covered / 180 >= 0.92


def test_one_candidate_is_not_corrected():
    right = np.arange(400)[None] % 5 > 0
    estimate = corrected_accuracy(right, np.ones(1), folds=5)
    assert estimate.value == 0.8
    assert 0.73 < estimate.low < 0.75  # 1.5 times as far as images alone would say
    assert 0.85 < estimate.high < 0.87


def test_nothing_is_gained_by_choosing():
    """One that is always chosen, and one that hardly differs: draws alone would say more."""
    right = np.arange(100) % 5 > 0
    worse = right & (np.arange(100) > 50)
    assert corrected_accuracy(np.stack([right, worse]), np.ones(2), folds=5).value == 0.8
    for seed in range(30):  # one that leads in all draws but a few
        rng, both = np.random.default_rng(seed), np.zeros((2, 100), dtype=bool)
        both[0, rng.permutation(100)[:90]] = both[1, rng.permutation(100)[:76]] = True
        assert corrected_accuracy(both, np.ones(2), folds=5, seed=seed).value <= 0.9


def test_a_few_images_that_are_all_right_do_not_prove_100_percent():
    estimate = corrected_accuracy(np.ones((3, 36), dtype=bool), np.ones(3), folds=5)
    assert estimate.value == 1
    assert estimate.low == pytest.approx(0.806, abs=0.001)  # Wilson's for 36 / 2.25 images, by hand
    assert estimate.high == 1
