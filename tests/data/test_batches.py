import numpy as np
import pytest

from smallset.data.batches import pk_batches, random_batches, share_without_positive


@pytest.mark.parametrize(
    ("count", "size", "sizes"),
    [(10, 4, [4, 4, 2]), (9, 4, [4, 3, 2]), (3, 4, [3]), (8, 4, [4, 4]), (66, 32, [32, 17, 17]),
     (80, 32, [32, 32, 16]), (5, 2, [2, 3]), (4, 3, [2, 2])],
)  # fmt: skip
def test_random_batches_hold_each_image_once_and_are_at_least_half_full(count, size, sizes):
    batches = random_batches(count, size, np.random.default_rng(0))
    assert [len(rows) for rows in batches] == sizes
    assert sorted(np.concatenate(batches)) == list(range(count))


def test_pk_batches_hold_p_classes_of_k_images():
    labels = np.repeat(np.arange(10), 12)
    batches = pk_batches(labels, classes=4, per_class=3, rng=np.random.default_rng(0))
    assert len(batches) == 10
    for rows in batches:
        _, counts = np.unique(labels[rows], return_counts=True)
        assert counts.tolist() == [3] * 4
        assert len(set(rows)) == 12
    drawn = np.bincount(labels[np.concatenate(batches)], minlength=10)
    assert drawn.tolist() == [12] * 10  # classes take turns


def test_pk_batches_repeat_the_images_of_a_small_class_and_refuse_too_few_classes():
    labels = np.array([0, 1, 1, 1, 1])
    rows = pk_batches(labels, classes=2, per_class=4, rng=np.random.default_rng(0))[0]
    assert sorted(labels[rows]) == [0] * 4 + [1] * 4
    with pytest.raises(ValueError, match=r"lower batches\.classes_per_batch to at most 2"):
        pk_batches(labels, classes=3, per_class=2, rng=np.random.default_rng(0))


def test_the_share_of_lonely_anchors_agrees_with_counting():
    labels = np.repeat(np.arange(35), 60)
    rng = np.random.default_rng(0)
    lonely = []
    for _ in range(60):
        for rows in random_batches(len(labels), 32, rng)[:-1]:
            counts = np.bincount(labels[rows], minlength=35)
            lonely.append((counts == 1).sum() / 32)
    # EVIDENCE: about four in ten; the mean of 3,900 batches is known to 0.003.
    assert share_without_positive(labels, 32) == pytest.approx(np.mean(lonely), abs=0.01)
    assert share_without_positive(labels, 32) == pytest.approx(0.4, abs=0.02)
    assert share_without_positive(np.array([0, 0, 1]), 3) == pytest.approx(1 / 3)
