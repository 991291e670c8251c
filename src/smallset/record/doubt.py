"""What probabilities are worth: a temperature, from images that the network did not learn from."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from smallset.record.measures import normalised, temperature
from smallset.record.predictions import Predictions

ENOUGH = 100
"""Images from which a temperature is fitted. For a network whose probabilities are nearly true, one
fitted on 50 images does harm on average, one fitted on 100 does good (docs/log.md)."""


class HeldOut(NamedTuple):
    """Images that the network did not learn from, other than test."""

    rows: Int[ndarray, " n"]
    """Of predictions.csv."""
    source: str
    """"val" or "folds"; "" where there are none."""

    @property
    def said(self) -> str:
        """Return how many they are, and which."""
        if not self.source:
            return "no val images"
        return f"{len(self.rows)} " + ("val" if self.source == "val" else "out-of-fold") + " images"


def held_out(predictions: Predictions) -> HeldOut:
    """Return the val images; of a cross-validated run, all images, each judged out of its fold.

    Val stays val where it chose the epoch whose weights were kept: what comes of it is then a
    little too sure, as one of some epochs was the best on just these images.
    """
    val = np.flatnonzero(predictions.splits == "val")
    if len(val):
        return HeldOut(val, "val")
    if (predictions.splits == "train").any() or not len(predictions.ids):
        return HeldOut(val, "")
    return HeldOut(np.arange(len(predictions.ids)), "folds")


class Temperature(NamedTuple):
    """What the logits are divided by, so that probabilities come true on average."""

    value: float
    """Above 0; above 1 makes the network less sure. 1 where it was not fitted."""
    images: int
    """That it could be fitted on."""
    source: str
    """As in `HeldOut`."""
    why_not: str = ""
    """Why it was not fitted; "" where it was."""

    @property
    def said(self) -> str:
        """Return a sentence for whoever reads probabilities."""
        if self.why_not:
            return (
                f"temperature: none ({self.why_not}); probabilities are as the network gives them"
            )
        source = "val" if self.source == "val" else "out-of-fold"
        return (
            f"temperature: the logits are divided by {self.value:.3g}, fitted on {self.images:,} "
            f"{source} images"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the entries of model.json."""
        fitted = {"images": self.images, "source": self.source, "why_not": self.why_not}
        return {"temperature": self.value, "temperature_from": fitted}


def fit_temperature(predictions: Predictions) -> Temperature:
    """Fit a temperature to the images that the network did not learn from, by their given labels.

    It is 1, with the reason, where there are fewer than `ENOUGH`, or where all are predicted right:
    then the likelihood grows until every probability is 1.
    """
    rows, source = held = held_out(predictions)
    labels = predictions.given_labels[rows]
    if len(rows) < ENOUGH:
        return Temperature(1.0, len(rows), source, f"{held.said}; {ENOUGH} are needed")
    if (predictions.predicted[rows] == labels).all():
        return Temperature(1.0, len(rows), source, f"all {held.said} are predicted right")
    return Temperature(temperature(predictions.probs[rows], labels), len(rows), source)


def read_temperature(described: Mapping[str, Any]) -> Temperature:
    """Return the temperature that model.json holds.

    Args:
        described: Content of model.json; one of an earlier version has none.
    """
    if "temperature" not in described:
        return Temperature(1.0, 0, "", "the record is older than temperatures")
    fitted = described["temperature_from"]
    return Temperature(
        described["temperature"], fitted["images"], fitted["source"], fitted["why_not"]
    )


def tempered(probs: Float[ndarray, "n classes"], t: float) -> Float[ndarray, "n classes"]:
    """Return the probabilities of logits that are divided by a temperature."""
    return np.exp(normalised(np.log(np.maximum(probs, 1e-12)) / t))
