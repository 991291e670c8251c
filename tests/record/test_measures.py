import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from smallset.record.measures import (
    balanced,
    calibration,
    class_scores,
    temperature,
)
from smallset.record.predictions import Predictions
from smallset.stats import share_interval


def test_precision_and_recall_by_hand():
    counts = np.array([[8, 2, 0], [1, 5, 0], [3, 1, 0]])
    first, second, third = class_scores(counts)
    assert first == (8 / 12, 8 / 10, 10)
    assert second == (5 / 8, 5 / 6, 6)
    assert third == (None, 0.0, 4)  # nothing was called the third class


def test_the_calibration_error_by_loops():
    rng = np.random.default_rng(0)
    confidence, right = rng.uniform(0.2, 1, 500), rng.random(500) < 0.6
    seen = calibration(confidence, right)
    error = 0.0
    for low in np.arange(10) / 10:
        inside = (confidence >= low) & (confidence < low + 0.1)
        if inside.any():
            error += inside.sum() * abs(confidence[inside].mean() - right[inside].mean())
    assert seen.error == pytest.approx(error / 500)
    assert seen.gap == pytest.approx(confidence.mean() - right.mean())
    assert seen.counts.sum() == 500
    assert np.isnan(seen.accuracy[0])


def test_a_probability_of_one_is_in_the_last_bin():
    assert calibration(np.array([1.0]), np.array([True])).counts[-1] == 1


def test_the_floor_is_the_error_of_probabilities_that_are_true():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1.0, 750)
    errors = [calibration(confidence, rng.random(750) < confidence).error for _ in range(300)]
    floor = calibration(confidence, np.ones(750, dtype=bool)).floor
    assert 0.02 < floor < 0.04, "2 to 4 % on 750 images"
    assert floor == pytest.approx(np.mean(errors), rel=0.15)
    assert calibration(np.ones(750), np.ones(750, dtype=bool)).floor == 0


@pytest.mark.parametrize("t", [0.5, 1.0, 2.5])
def test_the_temperature_of_sharpened_probabilities_is_found(t):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (4000, 5))
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.array([rng.choice(5, p=p) for p in probs])
    sharpened = np.exp(t * logits)
    sharpened /= sharpened.sum(axis=1, keepdims=True)
    assert temperature(sharpened, labels) == pytest.approx(t, rel=0.06)


@given(st.integers(1, 200).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_is_wilsons_as_scipy_has_it(counts):
    expected = binomtest(*counts).proportion_ci(method="wilson")
    seen = share_interval(*counts)
    assert (seen.low, seen.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_uneven_classes_have_a_balanced_accuracy_and_even_ones_have_none():
    """By hand: recalls of 9/10 and 1/2 are .7 on average, and 10 of 12 are right."""
    train = [0] * 16 + [1] * 4
    labels = np.array(train + [0] * 10 + [1] * 2)
    predicted = np.array(train + [0] * 9 + [1] + [1, 0])
    splits = np.array(["train"] * 20 + ["test"] * 12)
    names = tuple(map(str, range(len(labels))))
    probs = np.eye(2)[predicted]
    uneven = Predictions(names, names, splits, ("a", "b"), labels, labels, probs)
    found = balanced(uneven)
    assert found is not None
    assert found.accuracy == pytest.approx(0.7)
    assert (found.smallest, found.largest) == (4, 16)
    assert uneven.accuracy("test") == pytest.approx(10 / 12)
    even = np.where(np.arange(len(labels)) < 5, 1, labels)  # 9 and 11 training images
    assert balanced(Predictions(names, names, splits, ("a", "b"), even, even, probs)) is None
