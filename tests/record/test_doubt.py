"""What is said of probabilities, against slow recounts and against pictures never seen."""

import numpy as np
import pytest

from smallset.record.doubt import fit_temperature, held_out, read_temperature, tempered
from smallset.record.measures import calibration
from smallset.record.predictions import Predictions

K = 5


def softmax(logits):
    values = np.exp(logits - logits.max(axis=1, keepdims=True))
    return values / values.sum(axis=1, keepdims=True)


def answers(counts, seed=0, sharpened=1.0, spread=2.0):
    """Answers whose labels are drawn from the true probabilities; said are sharper ones."""
    rng = np.random.default_rng(seed)
    splits = np.repeat(list(counts), list(counts.values()))
    logits = rng.normal(0, spread, (len(splits), K))
    labels = np.array([rng.choice(K, p=p) for p in softmax(logits)])
    names = tuple(map(str, range(len(splits))))
    probs = softmax(sharpened * logits)
    return Predictions(names, names, splits, tuple("abcde"), labels, labels.copy(), probs)


def test_the_temperature_comes_from_val_and_mends_test():
    said = answers({"train": 500, "val": 2000, "test": 2000}, sharpened=2.5)
    fitted = fit_temperature(said)
    assert fitted[1:] == (2000, "val", "")
    assert fitted.value == pytest.approx(2.5, rel=0.1)
    test = said.splits == "test"
    right = (said.predicted == said.labels)[test]
    before, after = (
        calibration(probs[test].max(axis=1), right).error
        for probs in (said.probs, tempered(said.probs, fitted.value))
    )
    assert (before > 0.15, after < 0.04) == (True, True)
    said.probs[test] = 1 / K  # what test holds changes nothing
    assert fit_temperature(said) == fitted
    assert read_temperature(fitted.to_json()) == fitted


def test_out_of_fold_answers_are_as_good_as_val_and_training_answers_are_not():
    folds = fit_temperature(answers({"test": 2000}, sharpened=2.5))
    assert folds[1:] == (2000, "folds", "")
    assert folds.value == pytest.approx(2.5, rel=0.1)
    assert held_out(answers({"train": 9, "test": 9})).said == "no val images"


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        ({"train": 99, "val": 99}, "99 val images; 100 are needed"),
        ({"train": 99, "test": 99}, "no val images; 100 are needed"),
        ({"test": 99}, "99 out-of-fold images; 100 are needed"),
        ({"train": 9, "val": 100}, "all 100 val images are predicted right"),
    ],
)
def test_where_a_temperature_would_be_a_guess_it_is_one_and_why(counts, reason):
    said = answers(counts)
    if reason.startswith("all"):
        said.given_labels[:] = said.predicted
    fitted = fit_temperature(said)
    assert (fitted.value, fitted.why_not) == (1.0, reason)
    assert reason in fitted.said
    assert read_temperature(fitted.to_json()) == fitted
    assert read_temperature({}).value == 1.0
    assert "older" in read_temperature({}).said
