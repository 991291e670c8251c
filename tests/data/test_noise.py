import numpy as np
import pytest

from smallset.data.noise import flip_labels
from smallset.data.split import choose_fraction


def flip(labels, rate, seed=0, num_classes=10):
    ids = [f"image {n}" for n in range(len(labels))]
    return flip_labels(ids, labels, rate, num_classes=num_classes, seed=seed)


@pytest.mark.parametrize(
    ("num_classes", "per_class", "rate"),
    [(10, 50, 0.1), (3, 20, 0.3), (10, 10, 0.29), (7, 3, 0.5), (2, 4, 1.0), (5, 5, 0.0)],
)
def test_flips_exactly_the_requested_number(num_classes, per_class, rate):
    labels = np.repeat(np.arange(num_classes), per_class)
    given = flip(labels, rate, num_classes=num_classes)
    assert (given != labels).sum() == round(rate * len(labels))


def test_wrong_labels_are_uniform_over_the_other_classes():
    labels = np.zeros(30_000, dtype=np.int64)
    counts = np.bincount(flip(labels, 0.5, num_classes=4), minlength=4)
    assert counts[0] == 15_000
    # 5,000 expected per class; 5 standard deviations of a binomial is 289.
    np.testing.assert_allclose(counts[1:], 5_000, atol=289)


def test_the_order_of_the_images_does_not_matter():
    labels = np.arange(100) % 10
    ids = [f"image {n}" for n in range(100)]
    order = np.random.default_rng(0).permutation(100)
    given = flip_labels(ids, labels, 0.3, num_classes=10, seed=0)
    mixed = flip_labels([ids[i] for i in order], labels[order], 0.3, num_classes=10, seed=0)
    np.testing.assert_array_equal(mixed, given[order])


def test_a_higher_rate_keeps_the_wrong_labels_of_a_lower_one():
    labels = np.arange(200) % 10
    low, high = flip(labels, 0.1), flip(labels, 0.5)
    wrong = low != labels
    np.testing.assert_array_equal(high[wrong], low[wrong])


def test_another_seed_draws_others():
    labels = np.arange(200) % 10
    assert (flip(labels, 0.3, seed=0) != flip(labels, 0.3, seed=1)).any()


@pytest.mark.parametrize(
    ("labels", "rate", "num_classes", "message"),
    [
        ([0, 1], 20, 2, r"fraction in \[0, 1\], got 20"),
        ([0, 5], 0.5, 2, "labels must be in"),
        ([0, 0], 0.5, 1, "at least 2"),
    ],
)
def test_what_cannot_be_flipped_is_refused(labels, rate, num_classes, message):
    with pytest.raises(ValueError, match=message):
        flip(np.array(labels), rate, num_classes=num_classes)


def test_a_fraction_keeps_the_same_share_of_every_class_and_smaller_ones_nest():
    labels = np.repeat([0, 1, 2], [60, 30, 3])
    ids = [f"image{n}" for n in range(93)]
    chosen = {f: choose_fraction(ids, labels, f, seed=0) for f in (0.125, 0.25, 0.5, 1.0)}
    assert [np.bincount(labels[c]).tolist() for c in chosen.values()] == [
        [8, 4, 1], [15, 8, 1], [30, 15, 2], [60, 30, 3],
    ]  # fmt: skip
    for small, large in ((0.125, 0.25), (0.25, 0.5)):
        assert not (chosen[small] & ~chosen[large]).any()
    order = np.random.default_rng(0).permutation(93)
    again = choose_fraction([ids[i] for i in order], labels[order], 0.25, seed=0)
    np.testing.assert_array_equal(again, chosen[0.25][order])
    assert (choose_fraction(ids, labels, 0.25, seed=1) != chosen[0.25]).any()
