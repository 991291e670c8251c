"""Two-dimensional pictures of embeddings, PCA and t-SNE, and how far they can be trusted."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

NUM_AXES = 50  # kept for t-SNE, as in van der Maaten & Hinton 2008, section 4
NEIGHBOURS = 10
PERPLEXITY = 30.0  # effective number of neighbours in t-SNE; lowered where there are few points
HUGE = 1e15  # float32 cannot hold its square, of some images
MOST_SCORED = 2_000  # neighbours are looked for among so many; more would not move the share


class Plane(NamedTuple):
    """Points in the plane, train and test."""

    train: Float[ndarray, "n 2"]
    test: Float[ndarray, "m 2"]
    explained: float | None
    """Share of the variance of train that the two axes hold, in [0, 1]; None for t-SNE."""


@dataclass(frozen=True)
class Axes:
    """The first principal components of train, and where train and test lie on them."""

    train: Float[ndarray, "n axes"]
    test: Float[ndarray, "m axes"]
    explained: Float[ndarray, " axes"] | None
    """Share of the variance of train on each axis; None where all embeddings are equal."""

    @property
    def plane(self) -> Plane:
        """The first two axes: the PCA picture."""
        train, test = (np.pad(each, ((0, 0), (0, 2)))[:, :2] for each in (self.train, self.test))
        shares = None if self.explained is None else float(self.explained[:2].sum())
        return Plane(train, test, shares)


def principal_axes(train: Float[ndarray, "n dim"], test: Float[ndarray, "m dim"]) -> Axes:
    """Project train and test on the first 50 principal components of train."""
    from sklearn.decomposition import PCA

    train, test = train.astype(np.float32), test.astype(np.float32)
    if (most := np.abs(train).max(initial=0)) > HUGE:  # of a network that diverged
        train, test = train / most, test / most
    num_axes = min(NUM_AXES, *train.shape)
    axes = PCA(num_axes, svd_solver="randomized", random_state=0)
    with np.errstate(invalid="ignore"):  # 0 / 0 where all embeddings are equal
        points = axes.fit_transform(train)
    shares = axes.explained_variance_ratio_
    # All embeddings equal (a collapsed net): no variance, so no share of it.
    known = shares if np.isfinite(shares).all() else None
    new = axes.transform(test) if len(test) else points[:0]
    return Axes(points, new, known)


def tsne(axes: Axes) -> Plane:
    """Lay train and test out together by t-SNE, from their principal components.

    t-SNE has no rule for new points, so both are laid out at once. The seed is fixed.

    Source:
        van der Maaten & Hinton 2008; Barnes-Hut: van der Maaten 2014.
    """
    from sklearn.manifold import TSNE

    both = np.concatenate([axes.train, axes.test])
    perplexity = min(PERPLEXITY, (len(both) - 1) / 3)
    # Half of sklearn's iterations and a wider angle: less than half the time on 3,500 points,
    # trustworthiness and neighbours as before within 0.01 (docs/log.md).
    layout = TSNE(perplexity=perplexity, init="pca", random_state=0, max_iter=500, angle=0.8)
    plane = layout.fit_transform(both)
    return Plane(plane[: len(axes.train)], plane[len(axes.train) :], None)


def neighbour_accuracy(
    train: Float[ndarray, "n dim"],
    train_labels: Int[ndarray, " n"],
    test: Float[ndarray, "m dim"],
    test_labels: Int[ndarray, " m"],
) -> float:
    """Return the share of test points whose 10 nearest training points vote for their class.

    The same before and after a projection says how much of the classes the picture keeps. Of more
    than 2,000 points, as many are drawn, always the same.
    """
    from sklearn.neighbors import KNeighborsClassifier

    rng = np.random.default_rng(0)
    a, b = (np.sort(rng.permutation(len(each))[:MOST_SCORED]) for each in (train, test))
    votes = KNeighborsClassifier(min(NEIGHBOURS, len(a)), algorithm="brute")
    votes.fit(train[a].astype(np.float32), train_labels[a])
    return float(votes.score(test[b].astype(np.float32), test_labels[b]))
