"""Distillation: a run learns, beside the labels, what its teacher said of images it did not know.

A teacher has learnt its own training images by heart and says the label of each; what it says out
of fold tells how alike the classes are. So only such answers teach.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from smallset.config import RunConfig
from smallset.data.feed import Batch
from smallset.data.prepare import Prepared
from smallset.errors import ConfigError, DataError
from smallset.files import given_path
from smallset.learn.objectives import Forward, Objective, Outcome, Stage
from smallset.record.doubt import held_out, read_temperature
from smallset.record.measures import tempered
from smallset.record.record import Record

SHARE = 0.5  # of the loss, that the teacher's answers have


class Teacher(NamedTuple):
    """What another run said of images before it learnt them."""

    record: Record
    probs: dict[str, Float[ndarray, " classes"]]
    """By the id of the image, at the temperature of the record."""

    def of(self, data: Prepared) -> Float[ndarray, "n classes"]:
        """Return its answers about the training images of a run.

        Raises:
            ConfigError: If it has none of some, or has learnt from images that are to be judged.
        """
        place, ids = self.record.folder, data.ids("train")
        lacking = [name for name in ids if name not in self.probs]
        if lacking:
            raise ConfigError(
                f"teacher: {place} said nothing out of fold of {len(lacking):,} of the "
                f"{len(ids):,} training images ({lacking[0]}); train it with --folds 5, or take "
                "the record of a search (smallset best) that ended with a head"
            )
        for split in ("test", "val"):
            known = sum(name in self.probs for name in data.ids(split))
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

    def digest(self, data: Prepared) -> str:
        """Return a hash of its answers about the training images of a run."""
        return sha256(np.ascontiguousarray(self.of(data)).tobytes()).hexdigest()


def read_teacher(config: RunConfig, classes: Sequence[str]) -> Teacher:
    """Read the answers of the run that `config.teacher` names.

    Raises:
        ConfigError: If it has other classes, or no answers of networks that did not know the image.
        DataError: If it is no finished record, or damaged.
    """
    folder = given_path(config.teacher)
    record = Record(folder)
    if not record.is_complete:
        raise DataError(f"teacher: {folder} is not the record of a finished run")
    said = record.predictions
    if said.classes != tuple(classes):
        raise ConfigError(
            f"teacher: the classes of {folder} are {', '.join(said.classes)}, this run's are "
            f"{', '.join(classes)}"
        )
    held = held_out(said, record.held_out)
    # A plain record has answers about val alone, which are no training images.
    probs = np.exp(tempered(held.probs, read_temperature(record.model).value)).astype(np.float32)
    return Teacher(record, {said.ids[row]: own for row, own in zip(held.rows, probs, strict=True)})


@dataclass(frozen=True)
class Distilled:
    """An objective whose other half is the cross-entropy with a teacher's probabilities.

    Source:
        Hinton, Vinyals & Dean 2015, "Distilling the Knowledge in a Neural Network", section 2, at
        temperature 1.
    """

    objective: Objective
    targets: Float[Tensor, "n classes"]
    """Of the training images, in the order of their feed."""

    def __call__(self, forward: Forward, batch: Batch) -> Outcome:
        """Pass the batch as the inner objective does; images that are only scored have no teacher.

        So the loss on val can be compared with that of a run without one.
        """
        loss, output = self.objective(forward, batch)
        if not torch.is_grad_enabled():
            return Outcome(loss, output)
        wanted = self.targets[torch.from_numpy(batch.rows).to(self.targets.device)]
        soft = -(wanted * output.logits.log_softmax(dim=1)).sum(dim=1).mean()
        return Outcome((1 - SHARE) * loss + SHARE * soft, output)


def taught(stages: Sequence[Stage], config: RunConfig, data: Prepared) -> list[Stage]:
    """Return the stages of a run, the last one with its teacher, where it has one."""
    if not config.teacher:
        return list(stages)
    *others, last = stages
    assert last.objective is not None
    targets = torch.from_numpy(read_teacher(config, data.images.classes).of(data))
    own = Distilled(last.objective, targets.to(config.compute.device))
    return [*others, last._replace(objective=own)]
