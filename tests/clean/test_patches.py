"""Features that pictures give of themselves."""

import numpy as np
import pytest
from support import f1

from smallset.clean import find, patches


@pytest.fixture
def textures():
    """Stripes in four directions on random colours: nothing but patches tells them apart."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 40)
    y, x = np.mgrid[:48, :48]
    images = np.empty((len(labels), 48, 48, 3), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        wave = np.sin(0.9 * [x, y, x + y, x - y][label] + rng.uniform(0, 6.3))
        colour = rng.uniform(40, 215, 3)
        noise = rng.normal(0, 10, (48, 48, 3))
        image[:] = (colour + 30 * wave[..., None] + noise).clip(0, 255)
    return images, labels


def test_patches_find_wrong_labels_without_any_network(textures):
    images, labels = textures
    rng = np.random.default_rng(1)
    given = labels.copy()
    rows = rng.choice(len(labels), 32, replace=False)
    given[rows] = (given[rows] + rng.integers(1, 4, 32)) % 4
    features = patches.patch_features(images, patches.learn_filters(images, filters=64))
    assert features.shape == (160, 9 * 64)
    found = find.find_wrong_labels([features], given, num_classes=4)
    assert f1(found.posterior.of_given(given) < 0.5, given != labels) > 0.9


def test_a_filter_answers_as_the_paper_says(textures):
    """The convolution is normalise, whiten, project, threshold, patch by patch."""
    images, _ = textures
    learnt = patches.learn_filters(images[:8], filters=5)
    seen = patches.patch_features(images[:2], learnt).reshape(2, 5, 3, 3)
    side = 48 - patches.SIDE + 1
    answers = np.zeros((5, side, side))
    for row in range(side):
        for column in range(side):
            cut = images[1, row : row + 6, column : column + 6].astype(np.float64) / 255
            patch = cut.transpose(2, 0, 1).reshape(-1)
            patch = (patch - patch.mean()) / np.sqrt(patch.var(ddof=1) + patches.FLAT)
            cosines = (patch - learnt.mean.numpy()) @ learnt.kernels.numpy()
            answers[:, row, column] = np.maximum(cosines - patches.THRESHOLD, 0)
    # 43 positions in three cells: PyTorch's adaptive pooling lets cells overlap by a row.
    edges = [(int(np.floor(n * side / 3)), int(np.ceil((n + 1) * side / 3))) for n in range(3)]
    for i, (top, bottom) in enumerate(edges):
        for j, (left, right) in enumerate(edges):
            mean = answers[:, top:bottom, left:right].mean(axis=(1, 2))
            np.testing.assert_allclose(seen[1, :, i, j], np.sqrt(mean), atol=2e-3)
