"""Heads that are fitted to convergence: against scikit-learn, and the choice of the penalty."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from support import K, clouds

from smallset.models.probe import (
    HEAD_PENALTIES,
    _likeliest,
    fit_head,
    fold_of,
    held_out,
    out_of_fold,
)


def logits(head, features):
    return (torch.from_numpy(features) @ head.weight.T + head.bias).numpy()


def test_a_head_is_sklearns_on_standardised_features_folded_into_one_layer():
    features, labels = clouds(20)
    features = (features * np.linspace(0.01, 30, features.shape[1]) + 7).astype(np.float32)
    features[:, 3] = 5.0  # never varies
    head = fit_head(features, labels, num_classes=K, seed=0, penalties=[0.03])
    assert head.penalty == 0.03
    spread = features.std(axis=0)
    scaled = (features - features.mean(axis=0)) / np.where(spread > 1e-4, spread, 1)
    own = LogisticRegression(C=1 / (0.03 * len(labels)), max_iter=5000, tol=1e-9)
    own.fit(scaled, labels)
    seen = torch.from_numpy(logits(head, features)).softmax(1).numpy()
    np.testing.assert_allclose(seen, own.predict_proba(scaled), atol=2e-3)
    assert (head.weight[:, 3] == 0).all()


def test_the_penalty_goes_by_how_much_the_features_know():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 20)
    clear = np.eye(4)[labels] * 6 + rng.normal(size=(80, 4))
    vague = rng.normal(size=(80, 200))
    clear, vague = clear.astype(np.float32), vague.astype(np.float32)
    of_clear, of_vague = (
        fit_head(each, labels, num_classes=4, seed=0).penalty for each in (clear, vague)
    )
    assert of_clear < of_vague == max(HEAD_PENALTIES)


def test_more_features_than_images_and_classes_of_one_image_are_fine():
    rng = np.random.default_rng(0)
    labels = np.array([0, 0, 0, 1, 1, 1, 2])
    features = (np.eye(3)[labels] @ rng.normal(size=(3, 500)) * 3).astype(np.float32)
    features += rng.normal(size=features.shape).astype(np.float32) * 0.1
    head = fit_head(features, labels, num_classes=3, seed=1)
    assert (logits(head, features).argmax(axis=1) == labels).all()
    again = fit_head(features, labels, num_classes=3, seed=1)
    assert torch.equal(head.weight, again.weight)


def test_images_of_a_group_are_in_one_fold():
    labels = np.repeat(np.arange(3), 20)
    groups = [f"{label}-{n // 4}" for label in range(3) for n in range(20)]
    fold = fold_of(labels, np.random.default_rng(0), groups=groups)
    for group in set(groups):
        assert len({fold[n] for n in range(60) if groups[n] == group}) == 1
    assert set(fold) == {0, 1, 2, 3, 4}
    # Five copies of each picture, whose features say nothing: apart they would be known by heart.
    rng = np.random.default_rng(1)
    labels = rng.integers(3, size=30)
    features = rng.normal(size=(30, 40)).astype(np.float32)
    copies, names = np.repeat(features, 5, axis=0), [str(n) for n in range(30) for _ in range(5)]
    told = np.repeat(labels, 5)
    apart, together = (
        held_out([copies], told, num_classes=3, seed=0, groups=each).probs.argmax(axis=1) == told
        for each in (None, names)
    )
    assert apart.mean() > 0.9
    assert together.mean() < 0.65
    # So a head that is to know them by heart has the least penalty, and one that cannot the most.
    least, most = (
        fit_head(copies, told, num_classes=3, seed=0, groups=each).penalty for each in (None, names)
    )
    assert (least, most) == (min(HEAD_PENALTIES), max(HEAD_PENALTIES))
    alone = [str(n) for n in range(len(told))]
    heads = [fit_head(copies, told, num_classes=3, seed=0, groups=g) for g in (None, alone)]
    assert torch.equal(heads[0].weight, heads[1].weight)


def test_images_of_a_group_are_in_one_fold_where_some_of_many_are_compared(monkeypatch):
    monkeypatch.setattr("smallset.models.probe.MOST_COMPARED", 100)
    rng = np.random.default_rng(1)
    labels = rng.integers(3, size=30)
    features = np.repeat(rng.normal(size=(30, 40)).astype(np.float32), 5, axis=0)
    told, names = np.repeat(labels, 5), [str(n) for n in range(30) for _ in range(5)]
    head = fit_head(features, told, num_classes=3, seed=0, groups=names)
    assert head.penalty == max(HEAD_PENALTIES)


@pytest.mark.parametrize(
    ("labels", "groups", "most"),
    [
        (np.repeat([0, 1, 2], 4), ["a", "a", *"bcdefghijk"], 5),  # no class has as many as folds
        (np.array([0, 0, 1, 1, 2]), list("aabcd"), 4),
        (np.zeros(3, dtype=np.int64), ["a", "a", "a"], 1),
        (np.array([0, 1, 0, 1]), ["a", "a", "b", "b"], 2),  # a group of two classes
    ],
)
def test_groups_of_classes_smaller_than_the_folds_are_dealt_whole(labels, groups, most):
    for seed in range(20):
        fold = fold_of(labels, np.random.default_rng(seed), groups=groups)
        assert len(set(zip(groups, fold.tolist(), strict=True))) == len(set(groups))
        assert 0 <= fold.min() <= fold.max() < 5
        assert len(set(fold)) <= most
        for label in set(labels):  # its groups are spread as pictures that stand alone are
            firsts = {
                g: fold[n] for n, g in reversed(list(enumerate(groups))) if labels[n] == label
            }
            assert len(set(firsts.values())) == len(firsts)


SIZES = [50, 30, 20, 10, 10, 5, 5, 3]  # of K classes


def uneven():
    features, labels = clouds(60)
    rows = np.concatenate([np.flatnonzero(labels == k)[:n] for k, n in enumerate(SIZES)])
    return features[rows].astype(np.float32), labels[rows]


def test_weights_are_sklearns_balanced_classes():
    features, labels = uneven()
    spread = features.std(axis=0)
    scaled = (features - features.mean(axis=0)) / spread
    head = fit_head(features, labels, num_classes=K, seed=0, penalties=[0.03], balance="weights")
    own = LogisticRegression(
        C=1 / (0.03 * len(labels)), max_iter=5000, tol=1e-9, class_weight="balanced"
    ).fit(scaled, labels)
    seen = torch.from_numpy(logits(head, features)).softmax(1).numpy()
    np.testing.assert_allclose(seen, own.predict_proba(scaled), atol=2e-3)


def test_adjusted_logits_are_those_of_the_plain_head_less_the_logarithm_of_the_shares():
    features, labels = uneven()
    plain, adjusted = (
        fit_head(features, labels, num_classes=K, seed=0, penalties=[0.03], balance=each)
        for each in ("none", "logits")
    )
    assert torch.equal(plain.weight, adjusted.weight)
    shares = np.array(SIZES) / sum(SIZES)
    np.testing.assert_allclose(plain.bias - adjusted.bias, np.log(shares), atol=1e-5)


@pytest.mark.parametrize("balance", ["weights", "logits"])
def test_balance_helps_the_small_classes(balance):
    features, labels = uneven()
    others, truth = clouds(200)
    others = others + np.random.default_rng(5).normal(size=others.shape) * 0.3
    recall = {}
    for each in ("none", balance):
        head = fit_head(features, labels, num_classes=K, seed=0, balance=each)
        right = logits(head, others.astype(np.float32)).argmax(axis=1) == truth
        recall[each] = np.array([right[truth == k].mean() for k in range(K)])
    assert recall[balance][5:].mean() > recall["none"][5:].mean() + 0.05
    assert recall[balance].mean() > recall["none"].mean()


def test_the_penalty_is_chosen_for_what_counts_and_folds_are_balanced_by_their_own_rows():
    """By hand: the log-likelihood of every class counts the same."""
    features, labels = uneven()
    spread = features.std(axis=0)
    scaled = (features - features.mean(axis=0)) / spread
    for balance in ("none", "weights", "logits"):
        probs = out_of_fold(
            scaled, labels, num_classes=K, penalties=HEAD_PENALTIES, repeats=1, seed=3,
            balance=balance,
        )  # fmt: skip
        np.testing.assert_allclose(probs.sum(axis=2), 1, atol=1e-5)
        own = np.log(probs[:, np.arange(len(labels)), labels])
        by_class = [own[:, labels == k].mean(axis=1) for k in range(K)]
        best = np.mean(by_class if balance != "none" else own.T, axis=0).argmax()
        head = fit_head(features, labels, num_classes=K, seed=3, balance=balance)
        assert head.penalty == HEAD_PENALTIES[best]


def test_every_class_counts_the_same_where_the_penalty_is_chosen():
    labels = np.array([0, 0, 0, 0, 1])
    good_at_the_large, at_both = (
        np.where(labels == 0, large, small) for large, small in ((0.95, 0.3), (0.7, 0.6))
    )
    own = np.stack([good_at_the_large, at_both])
    probs = np.where(labels[:, None] == np.arange(2), own[..., None], 1 - own[..., None])
    assert [_likeliest(probs, labels, each) for each in ("none", "weights", "logits")] == [0, 1, 1]


def test_a_class_that_no_label_names_stays_finite():
    features, labels = uneven()
    for balance in ("none", "weights", "logits"):
        head = fit_head(
            features[labels < 7],
            labels[labels < 7],
            num_classes=K,
            seed=0,
            balance=balance,
            penalties=[0.1],
        )
        assert head.bias.isfinite().all()
        assert (logits(head, features).argmax(axis=1) != 7).all()
