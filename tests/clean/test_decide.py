"""Decisions from posteriors, and the gate that asks held-out labels whether they help."""

from dataclasses import replace

import numpy as np
from support import K, clouds, flip, posterior

from smallset.clean import decide
from smallset.clean.decide import (
    Candidate,
    Cleaning,
    Judged,
    by_contradiction,
    by_posterior,
    by_pruning,
    choose,
    judge,
)
from smallset.clean.find import _blind, find_wrong_labels
from smallset.clean.outoffold import reduce_features
from smallset.models.probe import fold_of
from smallset.stats import Interval


def test_suspects_are_relabelled_where_another_class_is_clear_and_dropped_elsewhere(monkeypatch):
    monkeypatch.setattr(decide, "MIN_IMAGES_PER_CLASS", 0)
    labels = np.zeros(4, dtype=int)
    probs = [[0.9, 0.1, 0.0], [0.05, 0.9, 0.05], [0.4, 0.5, 0.1], [0.1, 0.1, 0.8001]]
    cleaning = by_posterior(posterior(probs), labels)
    assert cleaning.decisions.tolist() == ["keep", "relabel", "drop", "relabel"]
    assert cleaning.labels.tolist() == [0, 1, 0, 2]
    assert cleaning.kept.tolist() == [True, True, False, True]


def test_a_class_keeps_ten_images_the_most_probable_ones():
    labels = np.array([0] * 12 + [1] * 30)
    probs = np.tile([0.5, 0.5], (42, 1))
    probs[:12] = [[0.01 * n, 1 - 0.01 * n] for n in range(12)]
    cleaning = by_posterior(posterior(probs), labels)
    stays = np.flatnonzero((cleaning.labels == 0) & cleaning.kept)
    assert stays.tolist() == list(range(2, 12))


def test_no_class_falls_short_where_images_are_taken_back_from_it_for_another():
    labels = np.array([0] * 12 + [1] * 12)
    probs = np.tile([0.99, 0.01], (24, 1))
    probs[:5] = [[0.3 - 0.01 * n, 0.7 + 0.01 * n] for n in range(5)]  # dropped: seven are left
    probs[12:] = [[0.9 + 0.005 * n, 0.1 - 0.005 * n] for n in range(12)]
    cleaning = by_posterior(posterior(probs), labels)
    for k in (0, 1):
        assert ((cleaning.labels == k) & cleaning.kept).sum() >= 10
    stays = cleaning.decisions == "keep"
    assert (cleaning.labels[stays] == labels[stays]).all()


def test_every_class_keeps_ten_whatever_is_decided():
    for seed in range(40):
        rng = np.random.default_rng(seed)
        labels = rng.integers(3, size=50)
        probs = rng.dirichlet([0.3] * 4, size=50)  # one class that no label names
        for decide_by in (by_posterior, by_pruning, by_contradiction):
            cleaning = decide_by(posterior(probs), labels)
            left = np.bincount(cleaning.labels[cleaning.kept], minlength=4)
            assert (left >= np.minimum(10, np.bincount(labels, minlength=4))).all()


def test_a_class_of_fewer_than_ten_images_is_left_alone():
    labels = np.array([0] * 4 + [1] * 30)
    probs = np.tile([0.1, 0.9], (34, 1))
    assert (by_posterior(posterior(probs), labels).labels[:4] == 0).all()


def test_held_out_labels_like_the_truth_better_than_noise():
    features, labels = clouds(apart=3.5)
    given = flip(labels, 0.4)
    keep = np.full(len(labels), "keep", dtype=object)
    oracle = Cleaning("oracle", keep, labels)
    rng = np.random.default_rng(9)
    worse = Cleaning("worse", keep, flip(given, 0.6, seed=5))
    half = Cleaning("half", np.where(rng.random(len(labels)) < 0.85, "drop", "keep"), given)
    reduced = reduce_features([features])
    fold = fold_of(given, rng)

    def without_fold(cleaning):
        rows = [np.flatnonzero(fold != number) for number in range(5)]
        parts = [Cleaning("", cleaning.decisions[r], cleaning.labels[r]) for r in rows]
        return Candidate(cleaning, parts)

    candidates = [without_fold(each) for each in (oracle, worse, half)]
    judged = judge(reduced, given, fold, candidates, num_classes=K, penalty=1e-3)
    assert judged[0].over_first == Interval(0, 0, 0)
    assert judged[1].over_first.high < 0
    assert judged[0].gain.low > 0
    assert judged[1].gain.high < 0
    assert judged[2].gain.value < judged[0].gain.value


def judged(name, value, over, wide=0.01, changes=0):
    decisions = np.array(["drop"] * changes + ["keep"] * (10 - changes), dtype=object)
    gain = Interval(value, value - wide, value + wide)
    compared = Interval(over, over - wide / 2, over + wide / 2)
    return Judged(Cleaning(name, decisions, np.zeros(10, dtype=int)), gain, compared, 0.02)


def test_what_looks_contradict_is_dropped_only_where_that_gains():
    nothing, much = judged("posterior", 0, 0), judged("posterior", 0.01, 0, changes=4)
    gains, loses = (judged("contradicted", v, v, changes=6) for v in (0.003, -0.003))
    assert choose([nothing, gains]) is gains
    assert choose([nothing, loses]) is nothing
    # Where the posterior explains most of it, it must be beaten beyond chance.
    assert choose([much, judged("contradicted", 0.012, 0.002, changes=6)]) is much
    assert choose([much, best := judged("contradicted", 0.02, 0.01, changes=6)]) is best


def test_the_loss_that_does_no_harm_shrinks_with_the_number_of_images():
    harmless = []
    for per_class in (30, 120):
        features, labels = clouds(per_class=per_class, apart=3.5)
        fold = fold_of(labels, np.random.default_rng(0))
        keep = Cleaning("posterior", np.full(len(labels), "keep", dtype=object), labels)
        blind = [Cleaning("", keep.decisions[fold != n], labels[fold != n]) for n in range(5)]
        [one] = judge(
            reduce_features([features]), labels, fold, [Candidate(keep, blind)], num_classes=K,
            penalty=1e-3,
        )  # fmt: skip
        harmless.append(one.harmless)
    assert harmless[0] <= 0.02
    assert harmless[1] < 0.7 * harmless[0]
    lost = judged("posterior", -0.004, 0, wide=0.008)
    assert choose([lost]) is lost
    assert choose([replace(lost, harmless=0.005)]) is None


def test_what_looks_contradict_is_dropped_and_not_relabelled():
    labels = np.array([0] * 15 + [1] * 15)
    looks = np.tile([0.9, 0.1], (30, 1))
    looks[15:] = [0.2, 0.8]
    looks[:3] = [0.05, 0.95]
    cleaning = by_contradiction(posterior(looks), labels)
    assert cleaning.decisions.tolist() == ["drop"] * 3 + ["keep"] * 27
    assert (cleaning.labels == labels).all()


def test_the_gate_takes_what_is_proven_and_else_what_does_no_harm():
    first, better = judged("posterior", 0.001, 0), judged("pruning", 0.02, 0.01)
    assert choose([first, better]) is better
    assert choose([first, judged("pruning", 0.02, -0.01)]) is first
    assert choose([judged("posterior", -0.001, 0, wide=0.05)]) is None
    assert choose([harmless := judged("posterior", -0.004, 0, wide=0.015)]) is harmless
    assert choose([judged("posterior", -0.004, 0, wide=0.017)]) is None
    assert choose([]) is None
    assert choose([judged("posterior", -0.02, 0), judged("pruning", -0.01, 0.01)]) is None


def test_the_gate_is_blind_to_the_labels_it_scores():
    # What a held-out label says must not be known to the images that are trained on: here the
    # labels of a fold are all changed, and what the models of that fold are taught stays the same.
    features, labels = clouds()
    given, fold = flip(labels, 0.3), fold_of(labels, np.random.default_rng(0))
    other = np.where(fold == 2, (given + 1) % K, given)
    reduced = reduce_features([features])
    best = find_wrong_labels([features], given, num_classes=K).posterior
    before, after = (_blind(reduced, known, fold, best, penalty=1e-3) for known in (given, other))
    np.testing.assert_allclose(before[2].probs, after[2].probs, atol=0.03)  # as far as L-BFGS goes
    assert np.abs(before[1].looks - after[1].looks).max() > 0.1
    assert before[2].probs.shape == ((fold != 2).sum(), K)
