import csv
from collections import Counter

import numpy as np

from smallset.data.read import read_data
from smallset.data.shapes import SHAPES, TEXTURES, draw_shape


def test_the_sample_set_has_the_shape_of_the_reports_data():
    images = read_data("sample:shapes,size=32,scale=0.1")
    assert len(images.classes) == 35
    assert [images.counts(s)[0] for s in ("train", "val", "test", "extra")] == [6, 1, 4, 2]


def test_wrong_labels_are_exact_in_number_and_the_truth_is_kept():
    images = read_data("sample:shapes,size=32,scale=0.1,wrong=0.1")
    with (images.root / "truth.csv").open() as file:
        truth = {row["path"]: row["true_label"] for row in csv.DictReader(file)}
    wrong = Counter(
        str(split)
        for path, label, split in zip(images.paths, images.labels, images.splits, strict=True)
        if truth[path] != images.classes[label]
    )
    assert wrong == {"train": 21}  # 10 % of 35 x 6


def test_a_picture_depends_on_its_seed_alone():
    draws = [
        draw_shape("star", "dots", size=48, rng=np.random.default_rng(seed)) for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2]).any()


def test_mean_colour_says_nothing_about_the_class():
    """Leave-one-out nearest neighbour on mean colours is near chance, 1 in 35."""
    names = [(shape, texture) for shape in SHAPES for texture in TEXTURES]
    means = np.array(
        [
            draw_shape(*name, size=32, rng=np.random.default_rng([k, n])).mean(axis=(0, 1))
            for k, name in enumerate(names)
            for n in range(8)
        ]
    )
    labels = np.repeat(np.arange(35), 8)
    distances = np.linalg.norm(means[:, None] - means, axis=2)
    np.fill_diagonal(distances, np.inf)
    accuracy = (labels[distances.argmin(axis=1)] == labels).mean()
    assert accuracy < 0.08  # chance 0.029; five standard deviations of 280 draws reach 0.079
