"""Two-dimensional pictures of embeddings: PCA and t-SNE."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray


class Plane(NamedTuple):
    """Points in the plane, train and test."""

    train: Float[ndarray, "n 2"]
    test: Float[ndarray, "m 2"]
    explained: float | None
    """Share of the variance of train that the two axes hold, in [0, 1]; None for t-SNE."""


def pca(train: Float[ndarray, "n dim"], test: Float[ndarray, "m dim"]) -> Plane:
    """Project train and test on the first two principal components of train.

    Args:
        train: Embeddings of the training images.
        test: Embeddings of the test images.
    """
    from sklearn.decomposition import PCA

    axes = PCA(n_components=2, svd_solver="randomized", random_state=0)
    plane = axes.fit_transform(train.astype(np.float32))
    shares = axes.explained_variance_ratio_.sum()
    # All embeddings equal (a collapsed net): no variance, so no share of it.
    explained = float(shares) if np.isfinite(shares) else None
    return Plane(plane, axes.transform(test.astype(np.float32)), explained)


def tsne(
    train: Float[ndarray, "n dim"], test: Float[ndarray, "m dim"], *, perplexity: float = 30.0
) -> Plane:
    """Lay train and test out together by t-SNE, from their first 50 principal components.

    t-SNE has no rule for new points, so both are laid out at once. The seed is fixed.

    Args:
        train: Embeddings of the training images.
        test: Embeddings of the test images.
        perplexity: Effective number of neighbours; lowered where there are few points.

    Source:
        van der Maaten & Hinton 2008; PCA to 50 first as in its section 4.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    both = np.concatenate([train, test]).astype(np.float32)
    num_axes = min(50, *both.shape)
    if both.shape[1] > num_axes:
        both = PCA(n_components=num_axes, svd_solver="randomized", random_state=0).fit_transform(
            both
        )
    perplexity = min(perplexity, (len(both) - 1) / 3)
    plane = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(both)
    return Plane(plane[: len(train)], plane[len(train) :], None)
