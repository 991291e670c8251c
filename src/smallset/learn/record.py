"""The folder that a run leaves: what is in it, how it is written and read. No torch here."""

import csv
import io
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from smallset.config import RunConfig, override
from smallset.data.manifest import csv_text
from smallset.errors import DataError
from smallset.paths import write_atomic


@dataclass(frozen=True)
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
    """What the run was told; differs where label noise was added."""
    probs: Float[ndarray, "n classes"]

    @property
    def predicted(self) -> Int[ndarray, " n"]:
        """Return the most probable class of each image."""
        return self.probs.argmax(axis=1)

    def accuracy(self, split: str) -> float | None:
        """Return the share of images of a split predicted as the data says; None if it is empty.

        Args:
            split: Its name.
        """
        rows = self.splits == split
        if not rows.any():
            return None
        return float((self.predicted == self.labels)[rows].mean())

    def confusion(self, split: str) -> Int[ndarray, "classes classes"]:
        """Return counts[i, j]: images of class i (by the data) predicted as j.

        Args:
            split: Its name.
        """
        rows = self.splits == split
        counts = np.zeros((len(self.classes), len(self.classes)), dtype=np.int64)
        np.add.at(counts, (self.labels[rows], self.predicted[rows]), 1)
        return counts

    def recall(self, split: str) -> dict[str, float | None]:
        """Return, per class, the share of its images that were predicted right.

        Args:
            split: Its name.
        """
        counts = self.confusion(split)
        totals = counts.sum(axis=1)
        return {
            name: float(counts[i, i] / totals[i]) if totals[i] else None
            for i, name in enumerate(self.classes)
        }


@dataclass(frozen=True)
class Record:
    """A run on disk, read when asked for."""

    folder: Path

    @cached_property
    def config(self) -> dict[str, Any]:
        """Content of config.json."""
        return self._json("config.json")

    @cached_property
    def result(self) -> dict[str, Any]:
        """Content of result.json."""
        return self._json("result.json")

    @cached_property
    def history(self) -> list[dict[str, Any]]:
        """Lines of epochs.jsonl."""
        return [json.loads(line) for line in self._text("epochs.jsonl").splitlines()]

    @cached_property
    def predictions(self) -> Predictions:
        """Content of predictions.csv."""
        header, *rows = csv.reader(io.StringIO(self._text("predictions.csv"), newline=""))
        first = len(PREDICTION_COLUMNS)
        classes = tuple(name.removeprefix("p_") for name in header[first:])
        index = {name: i for i, name in enumerate(classes)}
        columns = list(zip(*(row[:first] for row in rows), strict=True))
        return Predictions(
            ids=columns[0],
            paths=columns[1],
            splits=np.array(columns[2]),
            classes=classes,
            labels=np.array([index[name] for name in columns[3]]),
            given_labels=np.array([index[name] for name in columns[4]]),
            probs=np.array([row[first:] for row in rows], dtype=np.float64),
        )

    def embeddings(self, split: str) -> Float[ndarray, "n dim"]:
        """Return the embeddings of the images of a split, in the order of predictions.csv.

        Args:
            split: "train" or "test".
        """
        with np.load(self.folder / "embeddings.npz") as arrays:
            return arrays[split]

    def command(
        self, changes: Mapping[str, Any] | None = None, *, out: str = "NEW", exact: bool = False
    ) -> str:
        """Return the command line that trains this run again, with settings changed.

        Args:
            changes: Dotted settings and their new values.
            out: Folder of the new run.
            exact: Name the device, its arithmetic and threads too, which decide the last bits.
        """
        config = override(RunConfig.model_validate(self.config["config"]), changes or {})
        default = flat(RunConfig().model_dump(mode="json"))
        # What "auto" was resolved to need not be said again.
        default["trains"] = "classifier" if self.config["weights"] else "all"
        unused = [] if config.data.noise_rate else ["data.noise_seed"]
        unused += [] if config.data.train_fraction < 1 else ["data.subset_seed"]
        words = ["smallset", "train", self.config["data"]["source"]]
        for name, value in flat(config.model_dump(mode="json")).items():
            of_machine = name.startswith("compute.") and not exact
            if value == default[name] or of_machine or name.startswith("figures."):
                continue
            if name in unused and not exact:
                continue
            flag = FLAGS.get(name)
            words += [flag, setting_text(value)] if flag else set_option(name, value)
        return shlex.join([*words, "--out", out])

    @property
    def has_begun(self) -> bool:
        """Whether there is a run at all; its settings are written first."""
        return (self.folder / "config.json").exists()

    @property
    def is_complete(self) -> bool:
        """Whether the run came to its end; the result is written last."""
        return (self.folder / "result.json").exists()

    def _text(self, name: str) -> str:
        try:
            return (self.folder / name).read_text(encoding="utf-8")
        except OSError:
            raise DataError(f"{self.folder} is no record of a finished run: no {name}") from None

    def _json(self, name: str) -> dict[str, Any]:
        return json.loads(self._text(name))


FLAGS = {  # of `smallset train`
    "model": "--model", "loss": "--loss", "epochs": "--epochs", "lr": "--lr", "seed": "--seed",
    "image_size": "--image-size", "batches.size": "--batch-size", "weights": "--weights",
    "data.classes": "--classes", "data.train_on": "--train-on", "data.noise_rate": "--noise",
    "data.noise_seed": "--noise-seed",
}  # fmt: skip


def setting_text(value: Any) -> str:
    """Return the value of a setting as the command line takes it.

    Args:
        value: As JSON holds it.

    Example:
        >>> setting_text(None), setting_text([10, 15])
        ('none', '[10, 15]')
    """
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value)


def set_option(name: str, value: Any) -> list[str]:
    """Return the words that set one thing on the command line.

    Args:
        name: Dotted name.
        value: As JSON holds it.
    """
    return ["--set", f"{name}={setting_text(value)}"]


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by their dotted names.

    Args:
        settings: Such as config.json holds.
        prefix: Of every name.
    """
    named: dict[str, Any] = {}
    for name, value in settings.items():
        inner = flat(value, f"{prefix}{name}.") if isinstance(value, dict) else None
        named |= {f"{prefix}{name}": value} if inner is None else inner
    return named


PREDICTION_COLUMNS = ("id", "path", "split", "label", "given_label", "predicted")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file.

    Args:
        path: The file.
    """
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all.

    Args:
        path: Where to.
        content: What.
    """
    write_atomic(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def write_history(folder: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Write epochs.jsonl.

    Args:
        folder: The record.
        history: One mapping per epoch.
    """
    write_atomic(folder / "epochs.jsonl", "".join(json.dumps(line) + "\n" for line in history))


def write_predictions(folder: Path, predictions: Predictions) -> None:
    """Write predictions.csv.

    Args:
        folder: The record.
        predictions: One row per scored image.
    """
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
    write_atomic(folder / "predictions.csv", csv_text(rows))


def write_embeddings(folder: Path, embeddings: Mapping[str, Float[ndarray, "n dim"]]) -> None:
    """Write embeddings.npz in float16; in float32 where a value is too large for it (65,504).

    Args:
        folder: The record.
        embeddings: By split.
    """
    arrays = {}
    for split, values in embeddings.items():
        fits = np.abs(values).max(initial=0) <= np.finfo(np.float16).max
        arrays[split] = values.astype(np.float16 if fits else np.float32)
    content = io.BytesIO()
    np.savez(content, **arrays)
    write_atomic(folder / "embeddings.npz", content.getvalue())
