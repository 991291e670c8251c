"""What the findings look at, and what a finding is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from smallset.models.by_name import is_own
from smallset.record.doubt import Temperature, held_out, read_temperature
from smallset.record.predictions import Predictions
from smallset.record.record import Record
from smallset.words import Text, text

Level = Literal["problem", "hint"]
SERIOUS = 5.0  # points of accuracy, or images in a hundred, that make a finding a problem


def level_of(size: float) -> Level:
    """Return how much a finding matters by its size: points of accuracy, or images in a hundred."""
    return "problem" if size >= SERIOUS else "hint"


class Seen(NamedTuple):
    """What a finder saw in a run."""

    sentence: Text
    """In plain words."""
    evidence: Text
    """The numbers behind it, and what they mean."""
    command: str | None = None
    """What to try next; None where nothing is to be run."""
    images: tuple[int, ...] = ()
    """Rows of predictions.csv concerned."""
    level: Level | None = None
    """How much it matters; None for what its effect says, or else its kind."""
    effect: float | None = None
    """Points of accuracy that are at stake, at most; None where nobody can say."""
    named: tuple[Text, ...] = ()
    """All that the {names} of the sentence may name, worst first."""


class Judged(NamedTuple):
    """Images that a network had not learnt from."""

    rows: Int[ndarray, " m"]
    """Of val; of test where there is no val, or of all images where folds judged each other."""
    split: Text
    """"val" or "test", as predictions.csv calls them."""


class Finding(NamedTuple):
    """One thing to know about a run."""

    kind: str
    """A key of `smallset.findings.finders.KINDS`."""
    level: Level
    sentence: Text
    evidence: Text
    command: str | None
    images: tuple[int, ...]
    effect: float | None = None
    """Points of accuracy that are at stake, at most; None where nobody can say."""
    named: tuple[Text, ...] = ()
    """All that the {names} of the sentence may name, worst first: a study says what its seeds have
    in common."""


@dataclass(frozen=True)
class Facts:
    """What the findings look at."""

    predictions: Predictions
    history: Sequence[Mapping[str, Any]]
    """Lines of epochs.jsonl."""
    settings: Mapping[str, Any]
    """The nested settings of config.json."""
    embeddings: Mapping[str, Float[ndarray, "n dim"]]
    """By split, train and test; train holds those of all images that were learnt from."""
    command: Any
    """Called with dotted settings, returns the command line of the run with these changed."""
    data: str = "DATA"
    """What the data is called on the command line."""
    temperature: Temperature | None = None
    """That of model.json; None for networks joined in one record, each of which has its own."""

    def try_next(self, changes: Mapping[str, Any]) -> str | None:
        """Return the command line with settings changed; None if the run was trained like that.

        A probe has no steps to change: where it does not read what is to be changed, what comes
        next is to fine-tune, where that can be done.
        """
        is_probe = self.settings.get("head") == "probe" and self.settings["trains"] == "classifier"
        if is_probe and not all(each.startswith("data.") or each == "balance" for each in changes):
            if not self.has_weights or "+" in self.settings["model"]:  # joined ones stay frozen
                return None
            changes = {"recipe": "finetune"}
        command = self.command(changes)
        return None if command == self.command({}) else command

    @property
    def has_weights(self) -> bool:
        """Whether the network began with weights that were trained."""
        of_others = self.settings["weights"] != "none" and not is_own(self.settings["model"])
        return of_others or bool(self.settings["start_from"])

    def rows(self, split: str) -> Int[ndarray, " m"]:
        """Return the rows of a split."""
        return np.flatnonzero(self.predictions.splits == split)

    @property
    def folds(self) -> int:
        """Return how many folds judged each other; 0 where there is a test split."""
        return self.settings["data"].get("folds") or 0

    @cached_property
    def test(self) -> Int[ndarray, " m"]:
        """Rows of the test images."""
        return self.rows("test")

    @cached_property
    def train(self) -> Int[ndarray, " m"]:
        """Rows of the training images."""
        return self.rows("train")

    @cached_property
    def judged(self) -> Judged:
        """What findings that recommend something are read from: test is for the score alone."""
        held = held_out(self.predictions)
        if held.source == "val":
            return Judged(held.rows, text("val"))
        return Judged(self.test, text("test"))

    @cached_property
    def right(self) -> ndarray:
        """Whether each image was predicted as the data says."""
        return self.predictions.predicted == self.predictions.labels

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.predictions.classes)

    def stages(self) -> list[list[Mapping[str, Any]]]:
        """Return the epochs of each stage."""
        numbers = sorted({line["stage"] for line in self.history})
        return [[line for line in self.history if line["stage"] == n] for n in numbers]


def read_facts(record: Record) -> Facts:
    """Read what the findings need from a record.

    Raises:
        DataError: If a file of the record is missing.
    """
    return Facts(
        record.predictions, record.history, record.config["config"],
        {split: record.embeddings(split) for split in ("train", "test")},
        record.command, record.config["data"]["source"],
        None if "members" in record.model else read_temperature(record.model),
    )  # fmt: skip
