"""Pictures to refuse: too improbable in every class, or too far from all training pictures."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from smallset.errors import ConfigError
from smallset.record.doubt import HeldOut, held_out
from smallset.record.measures import tempered
from smallset.record.record import Record
from smallset.stats import directions, share_interval
from smallset.words import Text, text

NEAREST = 5
"""Training pictures that a distance is the mean of. Of 1, 3, 5 and 10 and of raw, centred and
standardised embeddings, chosen on val pictures of unknown classes (docs/log.md)."""
CHUNK = 256


class Space:
    """Embeddings to compare others with.

    The distance of a picture is the mean cosine distance, in [0, 2], to the nearest of them, after
    each dimension is standardised by their mean and deviation.

    Args:
        vectors: One per training picture; two at least.
    """

    def __init__(self, vectors: Float[ndarray, "n dim"]) -> None:
        vectors = vectors.astype(np.float32)
        self.mean, self.std = vectors.mean(axis=0), vectors.std(axis=0) + 1e-6
        self.unit = self._unit(vectors)

    def distances(
        self, vectors: Float[ndarray, "m dim"], *, own: bool = False
    ) -> Float[ndarray, " m"]:
        """Return the distance of each picture; NaN stays NaN.

        Args:
            own: They are the pictures of this space: none is its own neighbour.
        """
        count = min(NEAREST + own, len(self.unit))
        found = np.empty(len(vectors), dtype=np.float32)
        for start in range(0, len(vectors), CHUNK):
            unit = self._unit(vectors[start : start + CHUNK].astype(np.float32))
            apart = np.sort(1 - unit @ self.unit.T, axis=1)[:, int(own) : count]
            found[start : start + CHUNK] = apart.mean(axis=1)
        return found

    def _unit(self, vectors: Float[ndarray, "m dim"]) -> Float[ndarray, "m dim"]:
        return directions((vectors - self.mean) / self.std)


class Refusal(NamedTuple):
    """When a picture is called unknown.

    Source:
        Distance: Sun et al. 2022, "Out-of-distribution detection with deep nearest neighbors".
        Probability of the predicted class: Hendrycks & Gimpel 2017.
    """

    share: float
    """Of known pictures, that it is meant to refuse."""
    least: float
    """Probability of the predicted class under which a picture is refused."""
    farthest: float
    """Distance above which a picture is refused."""
    held: HeldOut
    refused: int
    """Of them."""

    def reasons(self, probability: float, distance: float) -> tuple[str, ...]:
        """Return why a picture is refused; () where it is not."""
        low = ("probability",) if probability < self.least else ()
        return (*low, "distance") if distance > self.farthest else low

    def refuses(
        self, probability: Float[ndarray, " n"], distance: Float[ndarray, " n"]
    ) -> Bool[ndarray, " n"]:
        """Return whether each picture is refused."""
        return (probability < self.least) | (distance > self.farthest)


def choose_limits(
    probability: Float[ndarray, " n"], distance: Float[ndarray, " n"], share: float
) -> tuple[float, float]:
    """Return the least probability and the farthest distance that refuse a share together.

    Each refuses the same number of the given pictures, as many as can be for both to refuse no
    more than the share.

    Args:
        share: In (0, 1), and at least one picture.
    """
    n = len(probability)
    low = np.searchsorted(np.sort(probability), probability, side="right")
    high = n - np.searchsorted(np.sort(distance), distance, side="left")
    # How many are at least as strange as this one, by the measure in which it is strangest.
    rank = np.minimum(low, high)
    first = np.sort(rank)[int(share * n + 1e-9)]  # the least strange that is still kept
    return float(probability[low >= first].min()), float(distance[high >= first].max())


def fit_refusal(
    record: Record,
    t: float,
    share: float,
    *,
    space_of: Callable[[Float[ndarray, "n dim"]], Space] = Space,
) -> tuple[Refusal, Space, Text]:
    """Choose when to refuse a picture, on those that the network did not learn from.

    Pictures that were learnt later, as those of folds, are each compared with all others, as the
    final network sees them: one that was fine-tuned on them sees them nearer to each other than it
    sees new ones.

    Args:
        t: The temperature of the probabilities.
        share: Of these pictures, to be refused, in (0, 1).
        space_of: Makes a space of the embeddings of the training pictures.

    Returns:
        The rule, what distances are to, and what it did on the test images as a sentence.

    Raises:
        ConfigError: If the share is out of range, or there are too few pictures for it.
        DataError: If the record has no embeddings of val, as those of an earlier version.
    """
    if not 0 < share < 1:
        raise ConfigError(f"--reject goes from 0 to 1, such as 0.05, got {share:g}")
    predictions = record.predictions
    held = held_out(predictions, record.held_out)
    if share * len(held.rows) < 1:
        raise ConfigError(
            f"--reject {share:g} needs {int(np.ceil(1 / share - 1e-9))} images that the network "
            f"did not learn from, and the run has {held.said.say('en')}; give a larger share, or "
            "train with more val images or --folds"
        )
    vectors = record.embeddings("train")
    space, learnt = space_of(vectors), predictions.learnt
    if learnt_later := bool(np.isin(held.rows, learnt).all()):
        vectors = vectors[np.searchsorted(learnt, held.rows)]
    else:
        vectors = record.embeddings("val")
    apart = space.distances(vectors, own=learnt_later)
    sure = np.exp(tempered(held.probs, t).max(axis=1))
    limits = choose_limits(sure, apart, share)
    rule = Refusal(share, *limits, held, 0)
    rule = rule._replace(refused=int(rule.refuses(sure, apart).sum()))
    said = text("reject: {count:,} of {held} would be refused", count=rule.refused, held=held.said)
    test = np.flatnonzero(predictions.splits == "test")
    if predictions.of_folds or not len(test):
        return rule, space, said
    sure = np.exp(tempered(predictions.probs[test], t).max(axis=1))
    refused = rule.refuses(sure, space.distances(record.embeddings("test")))
    right = (predictions.predicted == predictions.labels)[test]
    gone = share_interval(int(refused.sum()), len(test))
    said = text(
        "{rule}; of {images:,} test images {share:.1%} ({low:.1%} to {high:.1%}), and {right:.1%} "
        "of all are right",
        rule=said, images=len(test), share=gone.value, low=gone.low, high=gone.high,
        right=right.mean(),
    )  # fmt: skip
    if not refused.all():
        said = text("{measured}, {right:.1%} of the rest",
                    measured=said, right=right[~refused].mean())  # fmt: skip
    return rule, space, said
