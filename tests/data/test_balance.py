"""Classes of uneven sizes: weights, priors, batches in which they come equally often."""

import numpy as np
import pytest

from smallset.config import RunConfig, override
from smallset.data.balance import class_weights, log_prior, long_tail
from smallset.data.batches import balanced_batches
from smallset.data.prepare import DataSource
from smallset.errors import DataError

LABELS = np.repeat([0, 1, 3], [40, 11, 3])  # nobody has class 2
SIZES = np.array([40, 11, 0, 3])


def test_weights_give_classes_the_same_total_and_prior_is_their_share():
    weights = class_weights(SIZES)
    np.testing.assert_allclose(weights * SIZES, [18, 18, 0, 18], rtol=1e-6)
    np.testing.assert_allclose(np.exp(log_prior(SIZES)), np.array([40, 11, 1, 3]) / 54, rtol=1e-6)
    both = np.stack([SIZES, SIZES[::-1]])
    np.testing.assert_array_equal(class_weights(both), [class_weights(each) for each in both])
    np.testing.assert_array_equal(log_prior(both), [log_prior(each) for each in both])


def test_balanced_batches_draw_classes_equally_often_and_images_in_turn():
    batches = balanced_batches(LABELS, 8, np.random.default_rng(0))
    rows = np.concatenate(batches)
    assert [len(batch) for batch in batches] == [8] * 6 + [6]
    assert np.bincount(LABELS[rows]).tolist() == [18, 18, 0, 18]
    times = np.bincount(rows, minlength=len(LABELS))
    assert set(times[:40]) == {0, 1}
    assert set(times[40:51]) == {1, 2}
    assert set(times[51:]) == {6}
    # Not class by class: the first batch has the classes of a shuffled epoch.
    assert len(set(LABELS[batches[0]])) > 1
    again = balanced_batches(LABELS, 8, np.random.default_rng(0))
    np.testing.assert_array_equal(rows, np.concatenate(again))


def test_balanced_batches_of_even_classes_hold_each_image_once():
    labels = np.arange(24) % 4
    rows = np.concatenate(balanced_batches(labels, 5, np.random.default_rng(0)))
    assert sorted(rows) == list(range(24))


def test_what_does_not_divide_goes_to_other_classes_in_other_epochs():
    labels = np.repeat([0, 1, 2], [5, 3, 3])
    rng = np.random.default_rng(0)
    counts = [
        np.bincount(labels[np.concatenate(balanced_batches(labels, 4, rng))]) for _ in range(20)
    ]
    assert {tuple(sorted(each)) for each in counts} == {(3, 4, 4)}
    assert len({tuple(each) for each in counts}) == 3


def test_a_long_tail_is_geometric_and_goes_by_names_and_seed():
    names = [f"class {k}" for k in range(11)]
    shares = long_tail(names, 32, seed=0)
    np.testing.assert_allclose(np.sort(shares)[::-1], 2.0 ** (-np.arange(11) / 2))
    turned = long_tail(names[::-1], 32, seed=0)
    np.testing.assert_array_equal(turned[::-1], shares)
    assert (long_tail(names, 32, seed=1) != shares).any()


def prepared(folder, **settings):
    given = {f"data.{name}": value for name, value in settings.items()}
    config = override(RunConfig(), {"image_size": 32, **given})
    return DataSource(folder).prepared(config)


def test_uneven_data_is_made_of_even_data_for_training_alone(split_folders):
    even = prepared(split_folders)
    data = {ratio: prepared(split_folders, imbalance=ratio) for ratio in (2, 4)}
    assert sorted(data[4].images.counts("train")) == [2, 3, 5, 8]  # 8 / 4^(2/3) = 3.2, and so on
    for split in ("val", "test"):
        assert list(data[4].images.counts(split)) == list(even.images.counts(split))
    assert set(data[4].ids("train")) < set(data[2].ids("train")) < set(even.ids("train"))
    other = prepared(split_folders, imbalance=4, subset_seed=2)
    assert list(other.images.counts("train")) != list(data[4].images.counts("train"))
    half = prepared(split_folders, imbalance=4, train_fraction=0.5)
    assert sorted(half.images.counts("train")) == [1, 2, 3, 4]
    two = prepared(split_folders, imbalance=4, classes="ant,dog")
    assert sorted(two.images.counts("train")) == [2, 8]


def test_a_ratio_that_the_images_do_not_give_is_refused(split_folders):
    with pytest.raises(DataError, match=r"data\.imbalance=20 leaves none of the 8 training images"):
        prepared(split_folders, imbalance=20)
