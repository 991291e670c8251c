"""From a data set's name to images that passed the checks, with splits and labels to train on."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from smallset.config import DataConfig, RunConfig
from smallset.data.cache import Pixels, load_pixels
from smallset.data.check import Problem, find_problems
from smallset.data.listing import ImageSet, select_classes
from smallset.data.noise import flip_labels
from smallset.data.read import read_data
from smallset.data.split import choose_fraction
from smallset.errors import DataError
from smallset.progress import Reporter


@dataclass(frozen=True)
class Prepared:
    """Images that passed the checks, each in the split it is used in, with the labels to learn."""

    images: ImageSet
    """`splits` says "train" for every image that is trained on."""
    rows: Int[ndarray, " n"]
    """Where each image is in `pixels`."""
    given_labels: Int[ndarray, " n"]
    pixels: Pixels
    problems: Sequence[Problem]

    def of(self, split: str) -> Int[ndarray, " m"]:
        """Return the positions of the images of a split.

        Args:
            split: Its name.
        """
        return np.flatnonzero(self.images.splits == split)

    def ids(self, split: str) -> list[str]:
        """Return the content hashes of the images of a split.

        Args:
            split: Its name.
        """
        return [self.pixels.ids[row] for row in self.rows[self.of(split)]]

    def fingerprint(self) -> str:
        """Return a hash of everything about the data that decides the numbers."""
        labels = zip(self.images.splits.tolist(), self.given_labels.tolist(), strict=True)
        names = [self.pixels.ids[row] for row in self.rows]
        text = json.dumps([self.images.classes, names, list(labels)])
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Opened:
    """A data set, decoded and looked through."""

    images: ImageSet
    pixels: Pixels
    problems: Sequence[Problem]


def open_images(data: str | Path, config: RunConfig, reporter: Reporter) -> Opened:
    """Read, decode and check a data set.

    Args:
        data: As `smallset.data.read.read_data` takes it.
        config: Resolved settings.
        reporter: Told of everything a user should know.

    Raises:
        DataError: If a file is unreadable (unless such files are to be skipped).
    """
    assert config.image_size is not None
    images = read_data(data, config.data)
    pixels = load_pixels(
        images,
        size=config.image_size,
        policy=config.data.resize,
        max_megapixels=config.data.max_megapixels,
        progress=partial(reporter.counted, "decoding"),
    )
    for note in images.notes:
        reporter.note(note)
    problems = find_problems(images, pixels.ids, pixels.errors)
    _report_problems(problems, config, reporter)
    return Opened(images, pixels, problems)


def prepare(opened: Opened, config: RunConfig, *, needs_test: bool = True) -> Prepared:
    """Choose the images of a run, and add its label noise.

    Args:
        opened: The whole data set.
        config: Resolved settings.
        needs_test: Whether to refuse data without a test image.

    Raises:
        DataError: If a split or class needed has no image.
    """
    images, pixels = opened.images, opened.pixels
    # Every step below keeps track of where an image is among the decoded ones.
    numbered = replace(images, paths=tuple(map(str, range(len(images)))))
    chosen = select_classes(numbered.where(pixels.readable), config.data.classes)
    train_on = config.data.train_on.split("+")
    for split in (*train_on, "test") if needs_test else train_on:
        if not (chosen.splits == split).any():
            raise DataError(
                f"{images.root} has no {split} images"
                + (f" of {config.data.classes!r}" if config.data.classes else "")
                + "; a run needs train and test, and what data.train_on names"
            )
    splits = np.where(np.isin(chosen.splits, train_on), "train", chosen.splits)
    used = np.isin(splits, ["train", "val", "test"])
    kept = replace(chosen, splits=splits).where(used)
    kept = _keep_fraction(kept, pixels, config.data)
    rows = np.array([int(path) for path in kept.paths])
    kept = replace(kept, paths=tuple(images.paths[row] for row in rows))
    _require_trainable(kept)

    given = kept.labels.copy()
    for split in ("train", "val") if config.data.noise_in_val else ("train",):
        at = np.flatnonzero(kept.splits == split)
        given[at] = flip_labels(
            [pixels.ids[row] for row in rows[at]],
            kept.labels[at],
            config.data.noise_rate,
            num_classes=len(kept.classes),
            seed=config.data.noise_seed,
        )
    return Prepared(kept, rows, given, pixels, opened.problems)


def _keep_fraction(numbered: ImageSet, pixels: Pixels, config: DataConfig) -> ImageSet:
    if config.train_fraction == 1:
        return numbered
    is_train = numbered.splits == "train"
    ids = [pixels.ids[int(numbered.paths[row])] for row in np.flatnonzero(is_train)]
    keep = ~is_train
    keep[is_train] = choose_fraction(
        ids, numbered.labels[is_train], config.train_fraction, seed=config.subset_seed
    )
    return numbered.where(keep)


def _report_problems(problems: Sequence[Problem], config: RunConfig, reporter: Reporter) -> None:
    unreadable = [problem for problem in problems if problem.kind == "unreadable"]
    if unreadable and not config.data.skip_unreadable:
        shown = "\n  ".join(problem.message for problem in unreadable[:20])
        more = f"\n  and {len(unreadable) - 20} more" if len(unreadable) > 20 else ""
        raise DataError(
            f"{len(unreadable)} unreadable file(s):\n  {shown}{more}\n"
            "repair or remove them, or leave them out with --skip-unreadable"
        )
    for kind, count in Counter(problem.kind for problem in problems).items():
        first = next(problem.message for problem in problems if problem.kind == kind)
        others = f" (and {count - 1} more; see smallset check)" if count > 1 else ""
        reporter.note(f"{kind}: {first}{others}")


def _require_trainable(images: ImageSet) -> None:
    if len(images.classes) < 2:
        raise DataError(f"training needs two classes or more, got {', '.join(images.classes)}")
    counts = images.counts("train")
    empty = [name for name, count in zip(images.classes, counts, strict=True) if not count]
    if empty:
        raise DataError(
            f"no training image of {', '.join(empty[:5])}"
            + (f" and {len(empty) - 5} more" if len(empty) > 5 else "")
            + "; add some, remove the class, or choose others with --classes"
        )
