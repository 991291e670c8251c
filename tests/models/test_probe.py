"""Heads that are fitted to convergence: against scikit-learn, and the choice of the penalty."""

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from support import K, clouds

from smallset.models.probe import HEAD_PENALTIES, fit_head, fold_of, held_out


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
