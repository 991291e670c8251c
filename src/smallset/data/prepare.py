"""From a data set's name to images that passed the checks, with splits and labels to train on."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Bool, Int
from numpy import ndarray

from smallset.config import RunConfig
from smallset.data.balance import long_tail
from smallset.data.cache import Pixels, load_pixels
from smallset.data.check import SKIP_EMPTY, SKIP_UNREADABLE, Problem, find_problems, to_add
from smallset.data.listing import ImageSet, parse_classes
from smallset.data.noise import flip_labels
from smallset.data.preprocessing import LOOKED_AT, THUMBNAIL, Square, square_of
from smallset.data.read import MANY, Data, read_data
from smallset.data.split import choose_fraction
from smallset.errors import DataError
from smallset.groups import DataConfig, Split
from smallset.progress import Reporter

T = TypeVar("T")
CLEAN_VAL = (
    "noise is in the training labels alone: val keeps its true ones, so choosing on it goes better "
    "than where labels are really wrong (data.noise_in_val=true)"
)


@dataclass(frozen=True)
class Opened:
    """A data set, decoded and looked through."""

    images: ImageSet
    pixels: Pixels
    problems: Sequence[Problem]
    notes: tuple[str, ...]
    """What a user should know of it, as sentences."""
    name: str
    """The folder, the manifest or the words that it was named by."""


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
    notes: tuple[str, ...]
    """As of `Opened`."""

    def of(self, split: str) -> Int[ndarray, " m"]:
        """Return the positions of the images of a split."""
        return np.flatnonzero(self.images.splits == split)

    def ids(self, split: str) -> list[str]:
        """Return the content hashes of the images of a split."""
        return [self.pixels.ids[row] for row in self.rows[self.of(split)]]

    def fingerprint(self) -> str:
        """Return a hash of everything about the data that decides the numbers."""
        labels = zip(self.images.splits.tolist(), self.given_labels.tolist(), strict=True)
        names = [self.pixels.ids[row] for row in self.rows]
        text = json.dumps([self.images.classes, names, list(labels)])
        return hashlib.sha256(text.encode()).hexdigest()


class DataSource:
    """One data set for many runs: what they share is opened once.

    Args:
        data: As `smallset.data.read.read_data` takes it.
        reporter: Told of everything a user should know.
        judged_splits: Where labels are judged and nothing is scored: the splits whose images all
            count as training images, and no others as anything. Empty for the splits as they are.
        also: What pictures become when they are decoded, beside what runs ask for first.
    """

    def __init__(
        self,
        data: Data,
        reporter: Reporter | None = None,
        *,
        judged_splits: Sequence[Split] = (),
        also: Sequence[Square] = (),
    ) -> None:
        self.data, self.also = data, also
        self.reporter = reporter or Reporter()
        self.judged_splits = judged_splits
        self._known: dict[str, Any] = {}

    def prepared(self, config: RunConfig) -> Prepared:
        """Return the images of a run, with its label noise.

        Args:
            config: Settings of the run, its image size resolved.

        Raises:
            DataError: If a file is unreadable (unless such files are to be skipped), or a split or
                class needed has no image.
        """
        needs_test = not (self.judged_splits or config.data.folds)
        return prepare(self._opened(config), config, needs_test=needs_test)

    def once(self, what: str, key: Sequence[Any], make: Callable[[], T]) -> T:
        """Return what `make` gives, made once for each key."""
        name = f"{what} {json.dumps(key)}"
        if name not in self._known:
            self._known[name] = make()
        return self._known[name]

    def _opened(self, config: RunConfig) -> Opened:
        shape = config.data.model_dump(
            include={"resize", "skip_unreadable", "skip_empty", "max_megapixels"}
        )
        split = config.data.model_dump(include={"val_fraction", "test_fraction", "split_seed"})
        split["folds"] = bool(config.data.folds)
        return self.once("images", [config.image_size, shape, split], lambda: self._open(config))

    def _open(self, config: RunConfig) -> Opened:
        copies = bool(self.judged_splits) or _asks_for_copies(config)
        opened = open_images(self.data, config, self.reporter, also=self.also, copies=copies)
        if not self.judged_splits:
            return opened
        splits = np.where(np.isin(opened.images.splits, self.judged_splits), "train", "not judged")
        return replace(opened, images=replace(opened.images, splits=splits))


def open_images(
    data: Data,
    config: RunConfig,
    reporter: Reporter,
    *,
    also: Sequence[Square] = (),
    copies: bool = False,
) -> Opened:
    """Read, decode and check a data set.

    Args:
        data: As `smallset.data.read.read_data` takes it.
        config: Settings of the run, its image size resolved.
        reporter: Told of progress, and of everything a user should know.
        also: As of `DataSource`.
        copies: Whether `families_of` is asked for later.

    Raises:
        DataError: If a file is unreadable (unless such files are to be skipped).
    """
    square = square_of(config)
    also = [*squares_of(config), *also]
    images = read_data(data, config.data, reporter, also=also)
    if config.data.folds or (copies and len(images) <= MANY):
        also.append(replace(square, size=LOOKED_AT, resize="squash"))
    decoding = partial(reporter.counted, "decoding")
    pixels = load_pixels(images, square, also=also, progress=decoding, note=reporter.note)
    problems = find_problems(images, pixels.ids, pixels.errors, config.data)
    _refuse_unreadable(problems)
    notes = (*images.notes, *_summed_up(problems))
    for note in notes:
        reporter.note(note)
    name = str(images.root if isinstance(data, ImageSet) else data)
    return Opened(images, pixels, problems, notes, name)


def squares_of(config: RunConfig) -> list[Square]:
    """Return what the pictures of a run become: what the network sees, and thumbnails.

    Args:
        config: Settings of the run, its image size resolved.
    """
    square = square_of(config)
    if config.figures.report and square.size < THUMBNAIL:
        return [square, replace(square, size=THUMBNAIL)]
    return [square]


def _asks_for_copies(config: RunConfig) -> bool:
    """Return whether a run without folds asks what is predicted out of fold."""
    chooses_penalty = config.head == "probe" and not config.penalty
    return chooses_penalty or config.data.clean not in ("", "oracle")


def families_of(
    data: Prepared,
    config: DataConfig,
    reporter: Reporter,
    *,
    said: str = "kept in one fold, or the estimate would be too hopeful",
    most: int | None = None,
) -> list[str]:
    """Return a name per training image that those which belong together share, and say so.

    Args:
        said: What is done with them.
        most: Images among which bursts and copies are looked for; of more, those of one group
            belong together. None for any number.
    """
    # Inside: it loads torch, which many who list data need not.
    from smallset.data.families import families, grouped

    images = data.images.where(data.images.splits == "train")
    if most is not None and len(images) > most:
        reporter.note(f"copies were not looked for among {len(images):,} images: too many pairs")
        return grouped(images)
    known = families(images, config, reporter)
    if known.said:
        reporter.note(f"{known.said} {said}")
    for sentence in known.apart:
        reporter.note(sentence)
    return known.names


def prepare(opened: Opened, config: RunConfig, *, needs_test: bool = True) -> Prepared:
    """Choose the images of a run, and add its label noise.

    Args:
        needs_test: Whether to refuse data without a test image.

    Raises:
        DataError: If a split or class needed has no image.
    """
    images, pixels = opened.images, opened.pixels
    classes = sorted(parse_classes(config.data.classes, images.classes))
    if config.data.skip_empty:
        taught = images.where(pixels.readable).counts("train") > 0
        classes = [label for label in classes if taught[label]]
    chosen = pixels.readable & np.isin(images.labels, classes)
    train_on = config.data.train_on.split("+")
    if config.data.folds and "val" not in train_on and (images.splits[chosen] == "val").any():
        train_on.append("val")  # the folds do what it was there for
    for split in (*train_on, "test") if needs_test else train_on:
        if not (images.splits[chosen] == split).any():
            raise DataError(
                f"{opened.name} has no {split} images"
                + (f" of {config.data.classes!r}" if config.data.classes else "")
                + f"; {to_add(split)}"
            )
    splits = np.where(np.isin(images.splits, train_on), "train", images.splits)
    chosen &= np.isin(splits, ["train"] if config.data.folds else ["train", "val", "test"])
    train = np.flatnonzero(chosen & (splits == "train"))
    chosen[train] = _kept([pixels.ids[row] for row in train], images, train, classes, config.data)
    rows = np.flatnonzero(chosen)
    kept = replace(images, splits=splits).where(chosen).with_classes(classes)
    _require_trainable(kept, opened.name)

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
    notes = opened.notes
    if config.data.noise_rate and not config.data.noise_in_val and (kept.splits == "val").any():
        notes = (*notes, CLEAN_VAL)
    return Prepared(kept, rows, given, pixels, opened.problems, notes)


def _kept(
    ids: Sequence[str],
    images: ImageSet,
    train: Int[ndarray, " m"],
    classes: Sequence[int],
    config: DataConfig,
) -> Bool[ndarray, " m"]:
    """Return which training images stay where a fraction of them, or uneven classes, are asked for.

    Args:
        ids: Content hashes of the training images.
        train: Their rows in `images`.
        classes: Positions of the classes of the run.
    """
    labels = images.labels[train]
    if config.train_fraction == config.imbalance == 1:
        return np.ones(len(train), dtype=bool)
    shares = np.full(len(images.classes), config.train_fraction)
    if config.imbalance > 1:
        names = [images.classes[k] for k in classes]
        shares[classes] *= long_tail(names, config.imbalance, seed=config.subset_seed)
        counts = np.bincount(labels, minlength=len(shares))
        for k in classes:
            if counts[k] and shares[k] * counts[k] < 0.5:
                raise DataError(
                    f"data.imbalance={config.imbalance:g} leaves none of the {counts[k]} training "
                    f"images of {images.classes[k]}; lower it"
                )
    return choose_fraction(ids, labels, shares, seed=config.subset_seed)


def _refuse_unreadable(problems: Sequence[Problem]) -> None:
    unreadable = [each for each in problems if each.kind == "unreadable" and each.remedy]
    if unreadable:
        shown = "\n  ".join(problem.message for problem in unreadable[:20])
        more = f"\n  and {len(unreadable) - 20} more" if len(unreadable) > 20 else ""
        raise DataError(
            f"{len(unreadable)} unreadable file(s):\n  {shown}{more}\n{SKIP_UNREADABLE}"
        )


def _summed_up(problems: Sequence[Problem]) -> list[str]:
    notes: list[str] = []
    for kind, count in Counter(problem.kind for problem in problems).items():
        first = next(problem.message for problem in problems if problem.kind == kind)
        others = f" (and {count - 1} more; see smallset check)" if count > 1 else ""
        notes.append(f"{kind}: {first}{others}")
    return notes


def _require_trainable(images: ImageSet, name: str) -> None:
    if len(images.classes) < 2:
        names = ", ".join(images.classes) or "none"
        raise DataError(
            f"training needs two classes or more, and {name} has {names}; add the images of another"
        )
    counts = images.counts("train")
    empty = [name for name, count in zip(images.classes, counts, strict=True) if not count]
    if empty:
        raise DataError(
            f"{name} has no training image of {', '.join(empty[:5])}"
            + (f" and {len(empty) - 5} more" if len(empty) > 5 else "")
            + f"; {SKIP_EMPTY}"
        )
