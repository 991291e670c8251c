"""Probabilities that a label had no part in: against scikit-learn, loops and by hand."""

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from support import K, clouds

from smallset.clean.outoffold import neighbour_probs, out_of_two_folds, reduce_features
from smallset.models.probe import fold_of, out_of_fold, probe, probe_probs


def test_folds_hold_every_class_evenly():
    labels = np.repeat(np.arange(4), [20, 11, 7, 60])
    fold = fold_of(labels, np.random.default_rng(0))
    for k in range(4):
        counts = np.bincount(fold[labels == k], minlength=5)
        assert counts.max() - counts.min() <= 1


def test_probes_side_by_side_are_those_of_sklearn():
    features, labels = clouds(20)
    features = reduce_features([features])
    rng = np.random.default_rng(1)
    used = rng.random((3, len(labels))) < 0.7
    probs = probe_probs(features, probe(features, labels, used, num_classes=K, penalty=0.01))
    for b in range(3):
        # sklearn minimises C * sum of losses + ||W||^2 / 2.
        own = LogisticRegression(C=1 / (0.01 * used[b].sum()), max_iter=2000, tol=1e-8)
        own.fit(features[used[b]], labels[used[b]])
        np.testing.assert_allclose(probs[b], own.predict_proba(features), atol=5e-3)


def test_probes_that_are_left_no_image_say_nothing():
    # Three images of three classes, all in one fold now and then.
    features = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    labels = np.arange(3)
    dealt = [fold_of(labels, np.random.default_rng(seed)) for seed in range(200)]
    seed = next(n for n, fold in enumerate(dealt) if len(set(fold.tolist())) == 1)
    probs = out_of_fold(features, labels, num_classes=3, penalties=[0.01], repeats=1, seed=seed)
    np.testing.assert_allclose(probs, 1 / 3)


def test_a_label_has_no_part_in_its_own_probabilities():
    features, labels = clouds(12)
    features = reduce_features([features])
    changed = labels.copy()
    changed[5] = (changed[5] + 1) % K
    # The folds are dealt by label, so the other label must stand in the same fold: one image alone.
    near = [neighbour_probs(features, each, num_classes=K)[5] for each in (labels, changed)]
    np.testing.assert_array_equal(*near)
    fold = fold_of(labels, np.random.default_rng(0))
    used = (fold != fold[5])[None]
    own = [probe(features, each, used, num_classes=K, penalty=1e-3) for each in (labels, changed)]
    assert torch.equal(*own)


def test_out_of_fold_probabilities_are_means_over_models_that_never_saw_the_image():
    features, labels = clouds(10)
    features = reduce_features([features])
    penalties = [1e-3, 1e-2]
    seen = out_of_fold(features, labels, num_classes=K, penalties=penalties, repeats=2, seed=3)
    rng = np.random.default_rng(3)
    expected = np.zeros_like(seen)
    for _ in range(2):
        fold = fold_of(labels, rng)
        for f in range(5):
            for n, penalty in enumerate(penalties):
                weights = probe(features, labels, (fold != f)[None], num_classes=K, penalty=penalty)
                expected[n, fold == f] += probe_probs(features, weights)[0][fold == f] / 2
    np.testing.assert_allclose(seen, expected, atol=0.02)  # L-BFGS steps are shared


def test_neighbours_vote_as_by_loops():
    features, labels = clouds(10)
    features = reduce_features([features])
    seen = neighbour_probs(features, labels, num_classes=K, neighbours=5)
    for i in range(0, len(labels), 13):
        unit = features / np.linalg.norm(features, axis=1, keepdims=True)
        order = [j for j in np.argsort(-(unit @ unit[i])) if j != i][:5]
        votes = np.bincount(labels[order], minlength=K) + 1 / K
        np.testing.assert_allclose(seen[i], votes / 6)


def test_models_out_of_two_folds_saw_neither():
    features, labels = clouds(per_class=15)
    reduced, fold = reduce_features([features]), fold_of(labels, np.random.default_rng(0))
    blind = out_of_two_folds(reduced, labels, fold, num_classes=K, penalty=1e-2)
    weights = probe(reduced, labels, ((fold != 1) & (fold != 3))[None], num_classes=K, penalty=1e-2)
    [alone] = probe_probs(reduced, weights)
    np.testing.assert_allclose(blind[1, fold == 3], alone[fold == 3], atol=2e-3)
    np.testing.assert_allclose(blind[3, fold == 1], alone[fold == 1], atol=2e-3)
    assert not blind[1, fold == 1].any()


def test_images_of_one_group_do_not_vote_for_each_other():
    features, labels = clouds(10)
    features = reduce_features([features])
    groups = [f"g{n // 7}" for n in range(len(labels))]
    seen = neighbour_probs(features, labels, num_classes=K, neighbours=5, groups=groups)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    for i in range(0, len(labels), 13):
        order = [j for j in np.argsort(-(unit @ unit[i])) if j // 7 != i // 7][:5]
        votes = np.bincount(labels[order], minlength=K) + 1 / K
        np.testing.assert_allclose(seen[i], votes / 6)
    # Two groups of 40: of 60 voters only 20 or 40 may, and those of one's own never do.
    both, keep = [f"g{n // 40}" for n in range(80)], np.arange(80) < 60
    seen = neighbour_probs(
        features, np.arange(80) // 40, num_classes=2, neighbours=50, keep=keep, groups=both
    )
    np.testing.assert_allclose(seen[:40], np.tile([0.5, 20.5], (40, 1)) / 21)
    np.testing.assert_allclose(seen[40:], np.tile([40.5, 0.5], (40, 1)) / 41)
