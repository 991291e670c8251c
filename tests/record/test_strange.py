"""Pictures that are refused: a recount by hand, and classes that were never learnt."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from smallset.errors import ConfigError
from smallset.record.predictions import Predictions, write_predictions
from smallset.record.record import Record, write_embeddings
from smallset.record.strange import NEAREST, Space, choose_limits, fit_refusal

DIM = 16


def pictures(centres, labels, rng):
    return centres[labels] + rng.normal(size=(len(labels), DIM))


def leave(folder, counts, rng, centres):
    """A record of a perfect softmax on clouds; the last half of the centres was never learnt."""
    k = len(centres) // 2
    splits = np.repeat(list(counts), list(counts.values()))
    labels = np.arange(len(splits)) % k
    vectors = pictures(centres, labels, rng)
    names = tuple(map(str, range(len(splits))))
    made = Predictions(
        names, names, splits, tuple("abc"[:k]), labels, labels.copy(), judge(vectors, centres[:k])
    )
    write_predictions(folder, made)
    places = {s: vectors[splits == s] for s in ("train", "val", "test")}
    if made.of_folds:  # the network of the record learnt from all
        places = {"train": vectors, "test": vectors[:0]}
    write_embeddings(folder, places)
    return Record(folder)


def judge(vectors, centres):
    logits = -0.5 * ((vectors[:, None] - centres) ** 2).sum(axis=2)
    values = np.exp(logits - logits.max(axis=1, keepdims=True))
    return values / values.sum(axis=1, keepdims=True)


def test_a_distance_is_the_mean_cosine_distance_to_the_nearest_by_hand():
    rng = np.random.default_rng(0)
    train, new = rng.normal(2, 3, (300, 4)), rng.normal(0, 3, (5, 4))
    space = Space(train)
    scale = [(v - train.mean(axis=0)) / train.std(axis=0) for v in (train, new)]
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in scale]
    slow = [sorted(1 - v @ w for w in unit[0])[:NEAREST] for v in unit[1]]
    np.testing.assert_allclose(space.distances(new), np.mean(slow, axis=1), atol=1e-5)
    own = [sorted(1 - v @ w for w in unit[0])[1 : NEAREST + 1] for v in unit[0]]
    np.testing.assert_allclose(space.distances(train, own=True), np.mean(own, axis=1), atol=1e-5)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_both_limits_together_refuse_no_more_than_the_share(share):
    rng = np.random.default_rng(1)
    probability, distance = rng.uniform(size=200), rng.uniform(size=200)
    least, farthest = choose_limits(probability, distance, share)
    low, far = probability < least, distance > farthest
    assert low.sum() == far.sum()
    assert share - 0.02 < (low | far).mean() <= share
    same = np.full(20, 0.5)  # nothing tells them apart: none is refused
    assert choose_limits(same, same, share) == (0.5, 0.5)


def test_classes_that_were_never_learnt_are_refused_by_distance(tmp_path):
    rng = np.random.default_rng(2)
    centres = rng.normal(size=(6, DIM)) * 2
    record = leave(tmp_path, {"train": 300, "val": 200, "test": 400}, rng, centres)
    rule, space, said = fit_refusal(record, 1.0, 0.1)
    known = pictures(centres, rng.integers(0, 3, 500), rng)
    unknown = pictures(centres, rng.integers(3, 6, 500), rng)
    sure = [judge(v, centres[:3]).max(axis=1) for v in (known, unknown)]
    apart = [space.distances(v) for v in (known, unknown)]
    assert roc_auc_score(np.repeat([0, 1], 500), np.concatenate(apart)) > 0.95
    refused = [rule.refuses(*each).mean() for each in zip(sure, apart, strict=True)]
    assert refused[0] < 0.2
    assert refused[1] > 0.7
    assert (rule.refused, rule.reasons(0.0, 2.0)) == (20, ("probability", "distance"))
    assert said.say("en").startswith(
        "reject: 20 of 200 val images would be refused; of 400 test images "
    )
    with pytest.raises(ConfigError, match=r"needs 1000 images .* 200 val images"):
        fit_refusal(record, 1.0, 0.001)


def test_out_of_fold_answers_are_compared_with_all_others(tmp_path):
    rng = np.random.default_rng(3)
    record = leave(tmp_path, {"test": 100}, rng, rng.normal(size=(6, DIM)))
    rule, _, said = fit_refusal(record, 1.0, 0.1)
    assert 0 < rule.refused <= 10
    assert said.say("en") == f"reject: {rule.refused} of 100 out-of-fold images would be refused"
