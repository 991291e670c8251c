"""Cross-validation: every image is scored by a network that learnt without it and its like."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import compress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from smallset.data.feed import FeatureFeed
from smallset.data.prepare import Prepared
from smallset.errors import DataError, RunError
from smallset.files import make_folder, write_arrays
from smallset.learn.plan import Plan
from smallset.learn.score import predict
from smallset.learn.stages import Run, train_together
from smallset.models.probe import fold_of
from smallset.progress import Reporter
from smallset.reading import read_arrays
from smallset.record.measures import cross_validated
from smallset.record.predictions import Predictions
from smallset.seeds import stream
from smallset.stats import Interval

FOLDS = ".folds"  # in the record, while it trains
Build = Callable[[Plan, Path, Reporter], Run]
"""Builds a run that has not begun, in a folder."""


class Answer(NamedTuple):
    """What a run said of images that it was not trained on."""

    probs: Float[ndarray, "n classes"]
    seconds: float
    """What its training took."""


def answer_val(run: Run) -> Answer | None:
    """Train a run and let it answer for its val images alone. None where its loss grew without end.

    A finished answer stays beside the folder of the run; one that was stopped goes on.
    """
    folder = run.state.folder
    file = folder.with_name(f"{folder.name}.npz")
    if file.exists():
        known = read_arrays(file, "probs", "seconds", fix="delete it, and it is made again")
        return Answer(known["probs"], float(known["seconds"]))
    make_folder(folder)
    for _ in train_together([run], resume=True):
        pass
    if run.state.error is not None:
        return None
    run.state.kept.finish()
    predictions, _ = predict(run.inputs, cached=run.is_cached(-1), splits=("val",))
    seconds = sum(line["seconds"] for line in run.state.history)
    write_arrays(file, probs=predictions.probs, seconds=seconds)
    return Answer(predictions.probs, seconds)


class OutOfFold(NamedTuple):
    """What the runs of a cross-validation said, each of the images that it did not learn from."""

    data: Prepared
    folds: Int[ndarray, "repeats n"]
    """Fold of each training image."""
    probs: Float[ndarray, "repeats n classes"]

    @property
    def right(self) -> Bool[ndarray, "repeats n"]:
        """Whether an image was predicted as the data says."""
        return self.probs.argmax(axis=2) == self.data.images.labels

    @property
    def accuracy(self) -> Interval:
        """Return the accuracy that is to be expected of a run that learns from all images."""
        return cross_validated(self.right, folds=int(self.folds.max()) + 1)

    def described(self) -> dict[str, Any]:
        """Return what result.json says of it."""
        accuracy = self.accuracy
        return {
            "folds": {
                "folds": int(self.folds.max()) + 1, "accuracy": accuracy.value,
                "low": accuracy.low, "high": accuracy.high,
                "repeats": self.right.mean(axis=1).tolist(),
            }
        }  # fmt: skip

    def predictions(self) -> Predictions:
        """Return what was said when the images were dealt for the first time, as of test images."""
        data, images = self.data, self.data.images
        return Predictions(
            ids=tuple(data.ids("train")), paths=images.paths, splits=np.full(len(images), "test"),
            classes=images.classes, labels=images.labels, given_labels=data.given_labels,
            probs=self.probs[0],
        )  # fmt: skip


def deal(plan: Plan) -> Int[ndarray, "repeats n"]:
    """Deal the training images into folds: by class, those that belong together into one.

    Raises:
        DataError: If there are fewer families of images than folds.
    """
    config, names = plan.config.data, plan.families
    assert config.folds
    assert names is not None
    if len(set(names)) < config.folds:
        raise DataError(
            f"{config.folds} folds need as many images that are not of one group, burst or copy, "
            f"and there are {len(set(names))}; give fewer --folds"
        )
    alone, labels = len(set(names)) == len(names), plan.data.images.labels
    deals = [
        fold_of(
            labels, stream(plan.config.seed, "folds", repeat), config.folds,
            groups=None if alone else names,
        )
        for repeat in range(config.repeats)
    ]  # fmt: skip
    return np.stack(deals)


def score_folds(
    run: Run, folds: Int[ndarray, "repeats n"], build: Build, reporter: Reporter
) -> OutOfFold:
    """Score every training image of a run by runs that learn without its fold.

    Finished folds stay in the folder of the run until it is finished.

    Args:
        run: It learns from all images; what its frozen part gives is shared with the folds.
        folds: As `deal` gives them.
        build: Builds a run that has not begun.

    Raises:
        RunError: If the loss of a fold grew without end.
    """
    plan, folder = run.plan, make_folder(run.state.folder / FOLDS)
    probs = np.zeros((*folds.shape, len(plan.data.images.classes)), dtype=np.float32)
    frozen = run.state.stages[0].objective is None or run.is_cached(0)
    features = run.inputs.feed("train", cached=True) if frozen else None
    # Of a dozen images, a fold may have none.
    todo = [(repeat, fold) for repeat, own in enumerate(folds) for fold in np.unique(own).tolist()]
    for number, (repeat, fold) in enumerate(todo, start=1):
        held = folds[repeat] == fold
        images = replace(plan.data.images, splits=np.where(held, "val", "train"))
        others = None if plan.families is None else [*compress(plan.families, ~held)]
        part = replace(plan, data=replace(plan.data, images=images), families=others)
        said = replace(
            reporter, begin_stage=partial(_begin, reporter, f"fold {number}/{len(todo)}")
        )
        inner = build(part, folder / f"{repeat}-{fold}", said)
        if isinstance(features, FeatureFeed):
            for split in ("train", "val"):
                inner.inputs.features[split] = features.only(part.data.of(split))
        answer = answer_val(inner)
        if answer is None:
            raise RunError(f"fold {number}: {inner.state.error}")
        shutil.rmtree(inner.state.folder, ignore_errors=True)
        probs[repeat, held] = answer.probs
        right = answer.probs.argmax(axis=1) == plan.data.images.labels[held]
        reporter.line(
            f"fold {number} of {len(todo)}: {right.mean():.1%} of {len(right)} images right "
            f"({answer.seconds:.0f} s)"
        )
    return OutOfFold(plan.data, folds, probs)


def _begin(reporter: Reporter, fold: str, name: str, first: int, epochs: int) -> None:
    reporter.begin_stage(f"{fold}, {name}", first, epochs)
