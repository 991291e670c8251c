"""Distillation: a run learns, beside the labels, what its teacher said of images it did not know.

A teacher has learnt its own training images by heart and says the label of each; what it says out
of fold tells how alike the classes are. So only such answers teach.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray

from smallset.data.feed import Batch
from smallset.data.prepare import Prepared
from smallset.errors import ConfigError, DataError
from smallset.files import given_path
from smallset.learn.objectives import Forward, Objective, Outcome, Stage
from smallset.models.probe import HEAD_PENALTIES
from smallset.models.probe import held_out as probes_held_out
from smallset.record.doubt import held_out, read_temperature
from smallset.record.measures import tempered
from smallset.record.record import HELD_OUT, Record, no_run

SHARE = 0.5  # of the loss, that the teacher's answers have


class Teacher(NamedTuple):
    """What another run said of images before it learnt them."""

    record: Record
    probs: dict[str, Float[ndarray, " classes"]]
    """By the id of the image."""

    @property
    def digest(self) -> str:
        """Return a hash of what decides its answers, wherever the record is."""
        files = self.record.result["files"]
        named = [files.get(name) for name in ("predictions.csv", HELD_OUT, "model.safetensors")]
        return sha256(json.dumps(named).encode()).hexdigest()

    def of(self, data: Prepared) -> Float[ndarray, "n classes"]:
        """Return its answers about the training images of a run.

        Raises:
            ConfigError: If it has none of some, or has learnt from images that are to be judged.
        """
        place, ids = self.record.folder, data.ids("train")
        if not self.probs:
            raise ConfigError(
                f"teacher: {place} has no answers out of fold; heads of frozen networks "
                "(recipe=head) have them, and what is trained with --folds 5"
            )
        lacking = [n for n, name in enumerate(ids) if name not in self.probs]
        if lacking:
            first = data.images.paths[data.of("train")[lacking[0]]]
            raise ConfigError(
                f"teacher: {place} has not learnt from {len(lacking):,} of the {len(ids):,} "
                f"training images, such as {first}; train it on the same data"
            )
        others = self.probs.keys() - set(ids)  # a picture may be there twice, in train and test
        for split in ("test", "val"):
            known = sum(name in others for name in data.ids(split))
            if known:
                fix = (
                    "add --train-on train+val"
                    if split == "val"
                    else "train it on data with a test split of its own, which --folds leaves alone"
                )
                raise ConfigError(
                    f"teacher: {place} has learnt from {known:,} of the {split} images, which are "
                    f"to judge this run; {fix}"
                )
        return np.stack([self.probs[name] for name in ids])


def read_teacher(
    place: str, classes: Sequence[str], families: Callable[[], Mapping[str, str]] = dict
) -> Teacher:
    """Read the answers of a run, or make them, about the images that it learnt from.

    Args:
        place: Folder of its record.
        classes: Of the run that is to learn from it.
        families: Gives a name by the id of an image that those which belong together share, as far
            as they are known; images of other ids stand alone.

    Raises:
        ConfigError: If it has other classes.
        DataError: If it is no finished record, or damaged.
    """
    record = Record(given_path(place))
    if not record.is_complete:
        raise DataError(f"teacher: {no_run(record.folder, 'it has no result.json')}")
    said = record.predictions
    if said.classes != tuple(classes):
        others = sorted(set(said.classes) ^ set(classes))
        raise ConfigError(
            f"teacher: {record.folder} has {len(said.classes)} classes and this run "
            f"{len(classes)}; {others[0] if others else 'the order'} differs"
        )
    rows, probs = _out_of_fold(record, families)
    return Teacher(record, {said.ids[row]: own for row, own in zip(rows, probs, strict=True)})


def _out_of_fold(
    record: Record, families: Callable[[], Mapping[str, str]]
) -> tuple[Int[ndarray, " n"], Float[ndarray, "n classes"]]:
    """Return rows of predictions.csv, and what was said of them before they were learnt."""
    said, settings = record.predictions, record.settings
    held = held_out(said, record.held_out)
    if held.source == "folds":
        t = read_temperature(record.model).value
        return held.rows, np.exp(tempered(held.probs, t)).astype(np.float32)
    if record.joined or settings.trains != "classifier" or settings.head != "probe":
        return held.rows[:0], held.probs[:0]
    known, ids = families(), [said.ids[row] for row in said.learnt]
    found = probes_held_out(
        [record.embeddings("train")],
        said.given_labels[said.learnt],
        num_classes=len(said.classes),
        seed=settings.seed,
        groups=[known.get(each, each) for each in ids],
        penalties=[settings.penalty] if settings.penalty else HEAD_PENALTIES,
        balance=settings.balance,
    )
    return said.learnt, found.probs


@dataclass(frozen=True)
class Distilled:
    """An objective whose other half is the cross-entropy with a teacher's probabilities.

    Source:
        Hinton, Vinyals & Dean 2015, "Distilling the Knowledge in a Neural Network", section 2, at
        temperature 1.
    """

    objective: Objective
    targets: Float[ndarray, "n classes"]
    """Of the training images, in the order of their feed."""

    def __call__(self, forward: Forward, batch: Batch) -> Outcome:
        """Pass the batch as the inner objective does; images that are only scored have no teacher.

        So the loss on val can be compared with that of a run without one.
        """
        loss, output = self.objective(forward, batch)
        if not torch.is_grad_enabled():
            return Outcome(loss, output)
        wanted = torch.from_numpy(self.targets[batch.rows]).to(output.logits.device)
        soft = -(wanted * output.logits.log_softmax(dim=1)).sum(dim=1).mean()
        return Outcome((1 - SHARE) * loss + SHARE * soft, output)


def taught(stages: Sequence[Stage], teacher: Teacher | None, data: Prepared) -> list[Stage]:
    """Return the stages of a run, the last one with its teacher, where it has one."""
    if teacher is None:
        return list(stages)
    *others, last = stages
    assert last.objective is not None
    return [*others, last._replace(objective=Distilled(last.objective, teacher.of(data)))]
