"""Wrong labels found from features, in rounds, and refused where features say too little."""

import numpy as np
import pytest
from support import K, clouds, f1, flip

from smallset.clean.find import find_wrong_labels


def test_the_penalty_is_the_one_that_tells_labels_best(monkeypatch):
    rng = np.random.default_rng(0)
    features, labels = clouds(apart=3.5)
    # Large directions that say nothing of the class: only large weights see past them.
    hidden = np.hstack([features, rng.normal(size=(len(labels), 8)) * 30])
    monkeypatch.setattr("smallset.clean.find.PENALTIES", (1e-5, 1e-1))
    assert find_wrong_labels([features], labels, num_classes=K).penalty == 1e-1
    assert find_wrong_labels([hidden], labels, num_classes=K).penalty == 1e-5


@pytest.mark.parametrize("num_classes", [4, 35])
@pytest.mark.parametrize("rate", [0, 0.2])
def test_features_that_say_nothing_of_the_classes_decide_nothing(num_classes, rate):
    rng = np.random.default_rng(1)
    labels = np.arange(60 * num_classes) % num_classes
    given = np.where(
        rng.random(len(labels)) < rate, rng.integers(num_classes, size=len(labels)), labels
    )
    found = find_wrong_labels([rng.normal(size=(len(labels), 64))], given, num_classes=num_classes)
    assert found.is_weak
    assert found.accuracy == pytest.approx(1 / num_classes, abs=0.1)
    assert found.chosen is None
    assert found.judged == ()
    assert found.rounds == 0


def test_the_gate_is_not_fooled_by_images_relabelled_by_their_neighbours(monkeypatch):
    # Features that say nothing, every label "wrong", and every image relabelled: a gate whose
    # cleanings knew the labels that score them takes this for a gain of 20 points.
    monkeypatch.setattr("smallset.clean.find.MIN_SKILL", -np.inf)
    monkeypatch.setattr("smallset.clean.posterior.MAX_RATE_WITHOUT_PROOF", 1.0)
    rng = np.random.default_rng(0)
    given = rng.permutation(np.arange(1050) % 35)
    found = find_wrong_labels([rng.normal(size=(1050, 64))], given, num_classes=35)
    judged = found.judged[0]
    assert (judged.cleaning.decisions != "keep").mean() > 0.5
    assert judged.gain.value < 0.03


def test_a_judge_of_some_use_decides():
    features, labels = clouds()
    found = find_wrong_labels([features], flip(labels, 0.3), num_classes=K)
    assert not found.is_weak
    assert 0.5 < found.accuracy < 0.75


def test_a_clean_set_is_hardly_touched():
    features, labels = clouds(apart=3.5)
    found = find_wrong_labels([features], labels, num_classes=K)
    assert found.posterior.rate.high < 0.03
    changed = 0 if found.chosen is None else (found.chosen.cleaning.decisions != "keep").sum()
    assert changed < 0.02 * len(labels)


def test_copies_with_the_same_wrong_label_do_not_vouch_for_it():
    features, labels = clouds(per_class=30, apart=5)
    given = flip(labels, 0.1)
    wrong = given != labels
    alone = find_wrong_labels([features], given, num_classes=K)
    rng = np.random.default_rng(0)
    near = features[wrong] + 0.01 * rng.normal(size=features[wrong].shape)
    both, told = np.concatenate([features, near]), np.concatenate([given, given[wrong]])
    names = [*map(str, range(len(labels))), *map(str, np.flatnonzero(wrong))]
    found = find_wrong_labels([both], told, num_classes=K, groups=names)
    is_wrong = np.concatenate([wrong, np.ones(len(near), dtype=bool)])

    def share_found(found, given, wrong):
        return (found.posterior.of_given(given) < 0.5)[wrong].mean()

    assert share_found(alone, given, wrong) > 0.85
    assert share_found(found, told, is_wrong) > 0.85
    assert f1(found.posterior.of_given(told) < 0.5, is_wrong) > 0.85
    assert found.posterior.rate.value == pytest.approx(is_wrong.mean(), abs=0.04)
    # Without the groups, each copy says that the label of the other is right.
    blind = find_wrong_labels([both], told, num_classes=K)
    assert share_found(blind, told, is_wrong) < 0.2


def test_groups_of_one_image_change_no_number():
    features, labels = clouds(per_class=20)
    given = flip(labels, 0.2)
    names = [f"n{n}" for n in range(len(labels))]
    plain = find_wrong_labels([features], given, num_classes=K)
    named = find_wrong_labels([features], given, num_classes=K, groups=names)
    np.testing.assert_array_equal(plain.posterior.probs, named.posterior.probs)
    assert [each.gain for each in plain.judged] == [each.gain for each in named.judged]
