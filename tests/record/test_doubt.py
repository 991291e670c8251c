"""What is said of probabilities, against slow recounts and against pictures never seen."""

import numpy as np
import pytest

from smallset.errors import ConfigError
from smallset.record.doubt import fit_sets, fit_temperature, held_out, read_temperature
from smallset.record.measures import calibration, tempered
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
    fitted = fit_temperature(held_out(said))
    assert fitted[1:] == (2000, "val", "")
    assert fitted.value == pytest.approx(2.5, rel=0.1)
    test = said.splits == "test"
    right = (said.predicted == said.labels)[test]
    before, after = (
        calibration(probs[test].max(axis=1), right).error
        for probs in (said.probs, np.exp(tempered(said.probs, fitted.value)))
    )
    assert (before > 0.15, after < 0.04) == (True, True)
    said.probs[test] = 1 / K  # what test holds changes nothing
    assert fit_temperature(held_out(said)) == fitted
    assert read_temperature(fitted.to_json()) == fitted


def test_out_of_fold_answers_are_as_good_as_val_and_training_answers_are_not():
    folds = fit_temperature(held_out(answers({"test": 2000}, sharpened=2.5)))
    assert folds[1:] == (2000, "folds", "")
    assert folds.value == pytest.approx(2.5, rel=0.1)
    assert held_out(answers({"train": 9, "test": 9})).said.say("en") == "no val images"


def test_without_an_image_to_fit_on_the_temperature_is_one_and_why():
    fitted = fit_temperature(held_out(answers({"train": 99, "test": 99})))
    assert (fitted.value, fitted.why_not) == (1.0, "no val images")
    assert "no val images" in fitted.said.say("en")
    assert read_temperature(fitted.to_json()) == fitted
    assert read_temperature({}).value == 1.0
    assert "older" in read_temperature({}).said.say("en")


def test_few_images_move_a_temperature_little_and_never_without_end():
    said = answers({"val": 20}, sharpened=3.0)
    assert 1.0 < fit_temperature(held_out(said)).value < 2.2  # 2,000 of them tell 3
    said.given_labels[:] = said.predicted  # the likelihood alone grows until T is 0
    assert 0.6 < fit_temperature(held_out(said)).value < 1.0


def coverage(sets, said, split, t):
    rows = said.splits == split
    inside = sets.of(np.exp(tempered(said.probs[rows], t)))
    return inside[np.arange(rows.sum()), said.labels[rows]].mean()


@pytest.mark.parametrize("counts", [{"train": 9, "val": 60, "test": 400}, {"test": 60}])
def test_sets_hold_the_class_at_the_rate_on_average_over_draws(counts):
    """The slow way: draw the data again and again; a set may hold more, for it is never empty."""
    held = []
    for seed in range(30):
        sets = fit_sets(held_out(answers(counts, seed, spread=1.0)), 1.0, 0.8)
        assert sets.own >= K - 1  # each class has about 12, and needs 9
        held.append(coverage(sets, answers({"new": 400}, seed + 1000, spread=1.0), "new", 1.0))
    assert 0.79 < np.mean(held) < 0.87


def test_the_limit_is_the_quantile_by_hand_and_rare_classes_take_that_of_all():
    n = 4 + 30
    labels = np.array([0] * 4 + [1] * 30)
    own = np.concatenate([[0.9, 0.8, 0.7, 0.6], np.linspace(0.1, 0.99, 30)])
    probs = np.where(np.arange(2) == labels[:, None], own[:, None], 1 - own[:, None])
    names = tuple(map(str, range(n)))
    said = Predictions(names, names, np.full(n, "val"), ("a", "b"), labels, labels, probs)
    sets = fit_sets(held_out(said), 1.0, 0.9)
    assert sets.own == 1  # 4 images cannot tell 90 %; 9 can
    assert sets.limits[1] == pytest.approx(sorted(own[4:])[30 - 28])  # ceil(31 * 0.9) = 28
    assert sets.limits[0] == pytest.approx(sorted(own)[34 - 32])  # ceil(35 * 0.9) = 32
    inside = sets.of(np.array([[0.9, 0.1], [0.1, 0.9], [0.5, 0.5], [np.nan, np.nan]]))
    assert inside.tolist() == [[True, False], [False, True], [True, True], [False, False]]


@pytest.mark.parametrize(
    ("level", "counts", "reason"),
    [
        (0.0, {"val": 99}, "from 0 to 1"),
        (1.0, {"val": 99}, "from 0 to 1"),
        (0.9, {"train": 9, "val": 8}, "needs 9 images .* 8 val images"),
        (0.9, {"train": 9, "test": 99}, "needs 9 images .* no val images"),
        (0.99, {"test": 98}, "needs 99 images .* 98 out-of-fold images"),
    ],
)
def test_sets_without_images_for_them_are_refused(level, counts, reason):
    with pytest.raises(ConfigError, match=reason):
        fit_sets(held_out(answers(counts)), 1.0, level)
    fit_sets(held_out(answers({"train": 9, "val": 9})), 1.0, 0.9)
