"""What probabilities are worth, from images not learnt from: a temperature, and sets of classes."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from smallset.errors import ConfigError
from smallset.files import write_json
from smallset.record.measures import temperature, tempered
from smallset.record.predictions import Predictions, write_predictions
from smallset.record.record import HELD_OUT, Record, write_result
from smallset.stats import share_interval
from smallset.words import Text, catalogue, text


class HeldOut(NamedTuple):
    """What was said of images, other than test, before they were learnt."""

    rows: Int[ndarray, " n"]
    """Of predictions.csv."""
    source: str
    """"val" or "folds"; "" where there are none."""
    probs: Float[ndarray, "n classes"]
    labels: Int[ndarray, " n"]
    """Those that were given."""

    @property
    def said(self) -> Text:
        """Return how many they are, and which."""
        if not self.source:
            return text("no val images")
        if self.source == "val":
            return text("{count:,} val images", count=len(self.rows))
        return text("{count:,} out-of-fold images", count=len(self.rows))


def held_out(predictions: Predictions, earlier: Predictions | None = None) -> HeldOut:
    """Return the val images; of a cross-validated run, all images, each judged out of its fold.

    Val stays val where it chose the epoch whose weights were kept: what comes of it is then a
    little too sure, as one of some epochs was the best on just these images.

    Args:
        earlier: `Record.held_out`, of a record that has it.
    """
    if earlier is not None:
        at = {path: row for row, path in enumerate(predictions.paths)}
        rows = np.array([at[path] for path in earlier.paths])
        source = "val" if (earlier.splits == "val").all() else "folds"
        return HeldOut(rows, source, earlier.probs, earlier.given_labels)
    rows, source = np.flatnonzero(predictions.splits == "val"), "val"
    if not len(rows):
        of_folds = predictions.of_folds
        rows, source = (predictions.learnt, "folds") if of_folds else (rows, "")
    return HeldOut(rows, source, predictions.probs[rows], predictions.given_labels[rows])


def keep_held_out(
    record: Record, paths: Sequence[str], probs: Float[ndarray, "n classes"], split: str
) -> Record:
    """Put into a finished record what was said of its images before it learnt them.

    Its temperature is fitted to that, unless it joins networks that have their own.

    Args:
        paths: Of the images, as in predictions.csv.
        split: "train" where each was judged out of fold, "val" where a training had them apart.

    Returns:
        The record, read anew.
    """
    if record.held_out is None:
        own = record.predictions
        at = {path: row for row, path in enumerate(own.paths)}
        rows = np.array([at[path] for path in paths])
        said = Predictions(
            tuple(own.ids[row] for row in rows), tuple(paths), np.full(len(rows), split),
            own.classes, own.labels[rows], own.given_labels[rows], probs.astype(np.float32),
        )  # fmt: skip
        write_predictions(record.folder, said, HELD_OUT)
        if "members" not in record.model:
            fitted = fit_temperature(held_out(own, said))
            write_json(record.folder / "model.json", {**record.model, **fitted.to_json()})
        write_result(record.folder, record.result)
    return Record(record.folder)


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
    def said(self) -> Text:
        """Return a sentence for whoever reads probabilities."""
        if self.why_not:
            # A record keeps the reason in English; one that nobody knows stays as it is.
            known = self.why_not in catalogue()
            return text(
                "temperature: none ({why}); probabilities are as the network gives them",
                why=Text(self.why_not, {}) if known else self.why_not,
            )
        said = {"value": self.value, "count": self.images}
        if self.source == "val":
            return text(
                "temperature: the logits are divided by {value:.3g}, fitted on {count:,} val "
                "images",
                **said,
            )
        return text(
            "temperature: the logits are divided by {value:.3g}, fitted on {count:,} out-of-fold "
            "images",
            **said,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the entries of model.json."""
        fitted = {"images": self.images, "source": self.source, "why_not": self.why_not}
        return {"temperature": self.value, "temperature_from": fitted}


def fit_temperature(held: HeldOut) -> Temperature:
    """Fit a temperature to the images that the network did not learn from, by their given labels.

    It is 1, with the reason, where there are none.
    """
    if not len(held.rows):
        return Temperature(1.0, 0, held.source, held.said.say("en"))
    return Temperature(temperature(held.probs, held.labels), len(held.rows), held.source)


def read_temperature(described: Mapping[str, Any]) -> Temperature:
    """Return the temperature that model.json holds.

    Args:
        described: Content of model.json; one of an earlier version has none, and that of joined
            networks has one for each, inside.
    """
    if "temperature" not in described and "members" in described:
        why = text("each of the joined networks has its own")
        return Temperature(1.0, 0, "", why.say("en"))
    if "temperature" not in described:
        return Temperature(1.0, 0, "", text("the record is older than temperatures").say("en"))
    fitted = described["temperature_from"]
    return Temperature(
        described["temperature"], fitted["images"], fitted["source"], fitted["why_not"]
    )


class Sets(NamedTuple):
    """Which classes a picture may well belong to, so that its own is among them at a chosen rate.

    A class is in the set where its probability is at least the limit of the class; the most
    probable class always is. The rate holds for pictures like those that the limits come from.

    Source:
        Split conformal prediction with the score 1 - p, per class where it has the images for it:
        Sadinle, Lei & Wasserman 2019, "Least ambiguous set-valued classifiers with bounded error
        levels". With the answers of folds it is cross-conformal (Vovk 2015), here with the network
        that learnt from all images.
    """

    level: float
    """The rate, in (0, 1)."""
    limits: Float[ndarray, " classes"]
    own: int
    """Classes with a limit of their own."""
    held: HeldOut

    def of(self, probs: Float[ndarray, "n classes"]) -> Bool[ndarray, "n classes"]:
        """Return which classes are in the set of each picture; NaN is in none."""
        inside = probs >= self.limits
        return inside | (probs == probs.max(axis=1, keepdims=True))

    def said(self, predictions: Predictions, t: float) -> Text:
        """Return what the sets did on the test images of the run.

        Args:
            t: The temperature of the probabilities.
        """
        asked = {"level": self.level, "held": self.held.said}
        rule = text("sets: {level:.3g} asked for; limits from {held}, over all", **asked)
        if self.own:
            rule = text("sets: {level:.3g} asked for; limits from {held}, per class for {own} of "
                        "{classes} classes",
                        **asked, own=self.own, classes=len(self.limits))  # fmt: skip
        test = np.flatnonzero(predictions.splits == "test")
        if predictions.of_folds or not len(test):
            return text("{rule}; there are no other images to measure them on", rule=rule)
        inside = self.of(np.exp(tempered(predictions.probs[test], t)))
        hits = int(inside[np.arange(len(test)), predictions.labels[test]].sum())
        share = share_interval(hits, len(test))
        return text(
            "{rule}; of {images:,} test images {share:.1%} ({low:.1%} to {high:.1%}) have their "
            "class in the set, of {size:.2f} classes on average",
            rule=rule, images=len(test), share=share.value, low=share.low, high=share.high,
            size=inside.sum(axis=1).mean(),
        )  # fmt: skip


def fit_sets(held: HeldOut, t: float, level: float) -> Sets:
    """Choose the limits of prediction sets on the images that the network did not learn from.

    Of n images, the limit is the ceil(level * (n + 1))-th highest probability of the own class. A
    class with too few images for that takes the limit of all images together.

    Args:
        t: The temperature of the probabilities.
        level: Share of pictures whose class is to be in their set, in (0, 1).

    Raises:
        ConfigError: If the level is out of range, or there are too few images for it.
    """
    if not 0 < level < 1:
        raise ConfigError(f"--sets goes from 0 to 1, such as 0.9, got {level:g}")
    labels = held.labels
    probs = np.exp(tempered(held.probs, t)[np.arange(len(labels)), labels])
    together = _limit(probs, level)
    if together is None:
        need = math.ceil(level / (1 - level) - 1e-9)
        raise ConfigError(
            f"--sets {level:g} needs {need} images that the network did not learn from, and the "
            f"run has {held.said.say('en')}; ask for less, or train with more val images or --folds"
        )
    own = [_limit(probs[labels == k], level) for k in range(held.probs.shape[1])]
    limits = np.array([together if each is None else each for each in own])
    return Sets(level, limits, sum(each is not None for each in own), held)


def _limit(probs: Float[ndarray, " n"], level: float) -> float | None:
    """Return the limit that the share `level` of probabilities reaches; None if n is too small."""
    rank = math.ceil((len(probs) + 1) * level - 1e-9)
    return None if rank > len(probs) else float(np.sort(probs)[len(probs) - rank])
