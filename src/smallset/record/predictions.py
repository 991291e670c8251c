"""What a run said of every image, and the files that hold it.

predictions.csv is what a record says of its images; held_out.csv, where there is one, what networks
of the same settings said of some of them before they learnt them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from smallset.errors import need_package
from smallset.files import csv_text, html_table, write_atomic
from smallset.groups import SPLITS
from smallset.reading import read_csv
from smallset.words import singular


@dataclass(frozen=True, repr=False)
class Predictions:
    """Every scored image of a run; rows in the order of predictions.csv."""

    ids: tuple[str, ...]
    paths: tuple[str, ...]
    splits: ndarray
    """The split each image was used in: images trained on count as "train"."""
    classes: tuple[str, ...]
    labels: Int[ndarray, " n"]
    """What the data says."""
    given_labels: Int[ndarray, " n"]
    """What the run learnt from; differs where label noise was added."""
    probs: Float[ndarray, "n classes"]

    @property
    def of_folds(self) -> bool:
        """Whether each image was scored by a network that learnt without it.

        Then all count as "test", and the network of the record learnt from all of them.
        """
        return not (self.splits == "train").any()

    @property
    def learnt(self) -> Int[ndarray, " m"]:
        """Return the rows of the images that the network of the record learnt from."""
        return np.flatnonzero((self.splits == "train") | self.of_folds)

    @property
    def predicted(self) -> Int[ndarray, " n"]:
        """Return the most probable class of each image."""
        return self.probs.argmax(axis=1)

    def accuracy(self, split: str) -> float | None:
        """Return the share of images of a split predicted as the data says; None if it is empty."""
        rows = self.splits == split
        if not rows.any():
            return None
        return float((self.predicted == self.labels)[rows].mean())

    @property
    def chance(self) -> float:
        """Return the test accuracy of always guessing the most frequent class."""
        counts = np.bincount(self.labels[self.splits == "test"])
        return float(counts.max() / counts.sum())

    def confusion(self, split: str) -> Int[ndarray, "classes classes"]:
        """Return counts[i, j]: images of class i (by the data) predicted as j."""
        rows = self.splits == split
        counts = np.zeros((len(self.classes), len(self.classes)), dtype=np.int64)
        np.add.at(counts, (self.labels[rows], self.predicted[rows]), 1)
        return counts

    def recall(self, split: str) -> dict[str, float | None]:
        """Return, per class, the share of its images that were predicted right."""
        counts = self.confusion(split)
        totals = counts.sum(axis=1)
        return {
            name: float(counts[i, i] / totals[i]) if totals[i] else None
            for i, name in enumerate(self.classes)
        }

    def to_pandas(self) -> Any:
        """Return a pandas table with the rows and columns of predictions.csv.

        Raises:
            ConfigError: If pandas is not installed.
        """
        need_package("predictions.to_pandas()", "pandas")
        from pandas import DataFrame

        named = [
            [self.classes[k] for k in column]
            for column in (self.labels, self.given_labels, self.predicted)
        ]
        columns = (self.ids, self.paths, self.splits.tolist(), *named)
        shares = {f"p_{name}": self.probs[:, k] for k, name in enumerate(self.classes)}
        return DataFrame(dict(zip(PREDICTION_COLUMNS, columns, strict=True)) | shares)

    def __repr__(self) -> str:
        """Say how many there are, not each of them."""
        counts = ((split, int((self.splits == split).sum())) for split in SPLITS)
        said = ", ".join(f"{count} {split}" for split, count in counts if count)
        count, classes = len(self.ids), len(self.classes)
        return singular(f"<Predictions of {count} images ({said}), {classes} classes>")

    def _repr_html_(self) -> str:
        """Show the first of them in a notebook."""
        names, best = self.classes, self.probs.max(axis=1)
        rows = [
            [
                self.paths[row], self.splits[row], names[self.labels[row]],
                names[self.predicted[row]], f"{best[row]:.1%}",
            ]
            for row in range(min(len(self.ids), SHOWN))
        ]  # fmt: skip
        table = html_table(["picture", "split", "label", "predicted", "probability"], rows)
        return table + shown_of(len(self.ids))


SHOWN = 100
"""Rows of a table in a notebook."""


def shown_of(count: int) -> str:
    """Return what stands below a table in a notebook that shows only some of its rows."""
    return f"<p>the first {SHOWN} of {count:,}</p>" if count > SHOWN else ""


PREDICTION_COLUMNS = ("id", "path", "split", "label", "given_label", "predicted")


def write_predictions(
    folder: Path, predictions: Predictions, file: str = "predictions.csv"
) -> None:
    """Write predictions.csv, or another file of its columns."""
    names = predictions.classes
    labels = (predictions.labels, predictions.given_labels, predictions.predicted)
    rows: list[list[Any]] = [[*PREDICTION_COLUMNS, *(f"p_{name}" for name in names)]]
    for row, name in enumerate(predictions.ids):
        rows.append(
            [
                name,
                predictions.paths[row],
                str(predictions.splits[row]),
                *(names[each[row]] for each in labels),
                # Nine digits bring a float32 back exactly.
                *(f"{p:.9g}" for p in predictions.probs[row].tolist()),
            ]
        )
    write_atomic(folder / file, csv_text(rows))


def read_predictions(path: Path) -> Predictions:
    """Read what `write_predictions` wrote.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is damaged: a cell is missing or is not what it must be.
    """
    header, rows = read_csv(path, PREDICTION_COLUMNS)
    first = len(PREDICTION_COLUMNS)
    if tuple(header[:first]) != PREDICTION_COLUMNS or not rows:
        raise ValueError("it has no images" if rows == [] else f"it begins with {header[:first]}")
    if not all(name.startswith("p_") for name in header[first:]):
        raise ValueError("its last columns are not probabilities")
    classes = tuple(name.removeprefix("p_") for name in header[first:])
    index = {name: i for i, name in enumerate(classes)}
    ids, paths, splits, *named = zip(*(row[:first] for row in rows), strict=True)
    for name in set(splits) - set(SPLITS):
        raise ValueError(f"unknown split {name!r}")
    for name in {name for column in named for name in column} - set(classes):
        raise ValueError(f"unknown class {name!r}")
    labels, given, predicted = (np.array([index[name] for name in column]) for column in named)
    found = Predictions(
        ids, paths, np.array(splits), classes, labels, given,
        probs=np.array([row[first:] for row in rows], dtype=np.float64),
    )  # fmt: skip
    sound = np.isfinite(found.probs) & (found.probs >= 0) & (found.probs <= 1)
    for row in np.flatnonzero(~sound.all(axis=1) | (found.predicted != predicted)):
        raise ValueError(f"image {row + 1}: the probabilities do not fit what is predicted")
    return found
