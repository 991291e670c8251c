"""Find what is wrong with a data set before anything trains on it."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

import numpy as np

from smallset.data.listing import ImageSet
from smallset.groups import SPLITS, DataConfig
from smallset.words import counted

Kind = Literal[
    "unreadable", "empty", "single", "missing", "duplicate", "conflict", "leak", "leaks",
    "near-duplicate", "near-conflict", "near-leak", "near-leaks",
]  # fmt: skip
LEARNT_FROM: dict[str, tuple[str, ...]] = {
    "test": ("train", "val", "extra"), "val": ("train", "extra")
}  # fmt: skip
"""Where copies of the images of a split make its accuracy another; `best` learns from val too."""
SKIP_UNREADABLE = "repair or remove the files, or leave them out with --skip-unreadable"
SKIP_EMPTY = "add training images, remove the class, or leave it out with --skip-empty"
ADD_TEST = (
    "add a test split, or let folds score every image: --folds 5 of train, best and study "
    "(data.folds=5)"
)
ONE_SPLIT = "delete copies until each picture lies in one split"
ONE_LABEL = "one label at most is right: look, and delete the picture in the wrong class"
ONCE = "delete all but one: a picture that is there twice counts twice"
WAY_OUT: dict[Kind, str] = {
    "single": "add images of the class, or leave it out: name the others with --classes A,B",
    "missing": "its accuracy cannot be known there: add images of it, or name the others with "
    "--classes A,B",
    "duplicate": ONCE, "near-duplicate": ONCE,
    "conflict": ONE_LABEL, "near-conflict": ONE_LABEL,
    "leak": ONE_SPLIT, "near-leak": ONE_SPLIT,
}  # fmt: skip
"""What to do about each kind that does not stop training; leaks are of each "leak" together."""
WORTH = 0.5  # points of accuracy that leaks must be worth to be a problem


@dataclass(frozen=True)
class Problem:
    """One thing a user should know before training."""

    kind: Kind
    message: str
    """One sentence."""
    is_hint: bool = False
    """Too little to matter; nothing needs to be done."""
    remedy: str = ""
    """How to be rid of it, where it stops training."""


def find_problems(
    images: ImageSet, ids: Sequence[str], errors: dict[int, str], config: DataConfig
) -> list[Problem]:
    """Return every problem found, worst kinds first.

    Args:
        ids: sha256 of each image's decoded pixels, "" where unreadable.
        errors: Row and reason of each unreadable file.
        config: What is to be left out is a hint.
    """
    is_hint = config.skip_unreadable
    remedy = "" if is_hint else SKIP_UNREADABLE
    problems = [
        Problem("unreadable", f"{images.paths[row]}: {why}", is_hint, remedy)
        for row, why in sorted(errors.items())
    ]
    problems += _same_pixels(images, ids)
    readable = np.array([row not in errors for row in range(len(images))], dtype=bool)
    problems += _thin_classes(images, readable, are_skipped=config.skip_empty)
    return problems


def missing_splits(images: ImageSet, config: DataConfig, *, folds: int) -> list[Problem]:
    """Return a problem for each split that a run needs and the data has no image of.

    Args:
        config: `train_on` says what it learns from.
        folds: Into how many the images are dealt; 0 for none, then it needs test, too.
    """
    needed = [*config.train_on.split("+"), *([] if folds else ["test"])]
    return [
        Problem("missing", f"there are no {split} images", remedy=to_add(split))
        for split in needed
        if not (images.splits == split).any()
    ]


def to_add(split: str) -> str:
    """Return the way out where a split that a run needs has no image."""
    return ADD_TEST if split == "test" else f"data.train_on names {split}: add such a split"


def left(images: ImageSet, readable: np.ndarray, config: DataConfig) -> ImageSet:
    """Return the images that stay where something is to be left out, and note what goes.

    Args:
        readable: Whether each image is.
        config: What is to be left out.
    """
    taught = images.where(readable).counts("train") > 0
    gone: list[str] = []
    if config.skip_unreadable and not readable.all():
        gone.append(counted(int((~readable).sum()), "unreadable image"))
        images = images.where(readable)
    if config.skip_empty and not taught.all():
        stays = taught[images.labels]
        names = ", ".join(images.classes[label] for label in np.flatnonzero(~taught))
        others = counted(int((~stays).sum()), "other image")
        gone.append(f"{counted(int((~taught).sum()), 'class')} ({names}) with {others}")
        images = images.where(stays).with_classes(np.flatnonzero(taught).tolist())
    if not gone:
        return images
    note = f"left out, as asked: {' and '.join(gone)}; the table shows what is trained on"
    return replace(images, notes=(*images.notes, note))


def ways_out(problems: Sequence[Problem]) -> list[str]:
    """Return a line for each kind of problem with the way to be rid of it; first what stops."""
    stopping = Counter((each.kind, each.remedy) for each in problems if each.remedy)
    lines = [f"stops training: {n} x {kind}; {remedy}" for (kind, remedy), n in stopping.items()]
    others = Counter(each.kind for each in problems if not (each.remedy or each.is_hint))
    return lines + [
        f"does not stop training: {n} x {kind}; {WAY_OUT[kind]}"
        for kind, n in others.items()
        if kind in WAY_OUT
    ]


def _rows_of(ids: Sequence[str]) -> dict[str, list[int]]:
    """Return the rows of each picture; unreadable ones are left out."""
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row, name in enumerate(ids):
        if name:
            rows_of[name].append(row)
    return rows_of


def _are_hints(worth: Sequence[Problem]) -> bool:
    """Return whether leaks are worth little; those that no accuracy is known to change are not."""
    return bool(worth) and all(problem.is_hint for problem in worth)


def _same_pixels(images: ImageSet, ids: Sequence[str]) -> list[Problem]:
    rows_of = _rows_of(ids)
    leaks: list[Problem] = []
    conflicts: list[Problem] = []
    duplicates: list[Problem] = []
    several = [rows for rows in rows_of.values() if len(rows) > 1]
    worth = _worth(images, several, "leaks")
    is_hint = _are_hints(worth)
    for rows in several:
        splits = _in_order(str(images.splits[row]) for row in rows)
        labels = sorted({images.classes[images.labels[row]] for row in rows})
        same = f"the same picture {len(rows)} times: {', '.join(images.paths[row] for row in rows)}"
        if len(splits) > 1:
            leaks.append(Problem("leak", f"in {' and '.join(splits)}, {same}", is_hint))
        if len(labels) > 1:
            conflicts.append(Problem("conflict", f"labelled {' and '.join(labels)}, {same}"))
        elif len(splits) == 1:
            duplicates.append(Problem("duplicate", f"in {splits[0]}, {same}"))
    return leaks + worth + conflicts + duplicates


def _worth(
    images: ImageSet, copies: Iterable[Sequence[int]], kind: Literal["leaks", "near-leaks"]
) -> list[Problem]:
    """Return by how many points copies in what is learnt from can move an accuracy, and which way.

    Args:
        copies: Rows of the images that are copies of each other.
    """
    copies = list(copies)
    problems: list[Problem] = []
    for split, learnt_from in LEARNT_FROM.items():
        total = int((images.splits == split).sum())
        same, other = set[int](), set[int]()
        for rows in copies:
            learnt = {int(images.labels[row]) for row in rows if images.splits[row] in learnt_from}
            for row in rows if learnt else ():
                if images.splits[row] == split:
                    (same if int(images.labels[row]) in learnt else other).add(row)
        where = " or ".join(each for each in learnt_from if (images.splits == each).any())
        for rows, label, way in (
            (same, "the same label", "high"), (other - same, "another label", "low")
        ):  # fmt: skip
            points = 100 * len(rows) / max(total, 1)
            if rows:
                have = "has" if len(rows) == 1 else "have"
                message = (
                    f"{len(rows)} of {total} {split} images {have} a copy in {where} with {label}: "
                    f"{split} accuracy can be too {way} by up to {points:.1f} points"
                )
                problems.append(Problem(kind, message, points < WORTH))
    return problems


def nearly_same(
    images: ImageSet, pairs: Iterable[tuple[int, int, float]], ids: Sequence[str]
) -> list[Problem]:
    """Return a problem for each pair of pictures that are nearly the same, worst kinds first.

    Args:
        pairs: Rows of two pictures, and how alike they are in [-1, 1]; each row stands for all with
            its pixels.
        ids: sha256 of each image's decoded pixels; pairs of equal ones were found before.
    """
    rows_of = _rows_of(ids)
    known = [
        (rows_of[ids[first]], rows_of[ids[second]], likeness)
        for first, second, likeness in pairs
        if ids[first] != ids[second]
    ]
    worth = _worth(images, [both for *sides, _ in known for both in product(*sides)], "near-leaks")
    is_hint = _are_hints(worth)
    found: dict[Kind, list[Problem]] = {
        "near-leak": [], "near-leaks": worth, "near-conflict": [], "near-duplicate": []
    }  # fmt: skip
    for first, second, likeness in known:
        rows = first + second
        splits = _in_order(str(images.splits[row]) for row in rows)
        labels = sorted({images.classes[images.labels[row]] for row in rows})
        kind: Kind = "near-conflict" if len(labels) > 1 else "near-duplicate"
        labelled = f", labelled {' and '.join(labels)}" if len(labels) > 1 else ""
        message = (
            f"in {' and '.join(splits)}{labelled}, nearly the same picture ({likeness:.2f}): "
            f"{', '.join(images.paths[row] for row in rows)}"
        )
        kind = "near-leak" if len(splits) > 1 else kind
        little = is_hint and kind == "near-leak" and not labelled
        found[kind].append(Problem(kind, message, little))
    return [problem for problems in found.values() for problem in problems]


def _thin_classes(images: ImageSet, readable: np.ndarray, *, are_skipped: bool) -> list[Problem]:
    usable = images.where(readable)
    present = [split for split in SPLITS if (images.splits == split).any()]
    counts = {split: usable.counts(split) for split in present}
    problems: list[Problem] = []
    if len(images.classes) < 2:
        one = "there is one class only: nothing to tell apart"
        problems.append(Problem("single", one, remedy="add the images of another class"))
    for label, name in enumerate(images.classes):
        missing = [split for split in present if not counts[split][label]]
        is_untaught = "train" in missing
        skipped = is_untaught and are_skipped
        remedy = SKIP_EMPTY if is_untaught and not skipped else ""
        others = sum(int(count[label]) for count in counts.values())
        left_out = f": left out, with {counted(others, 'other image')}" if skipped else ""
        if len(missing) == len(present):
            message = f"class {name!r} has no readable image{': left out' if skipped else ''}"
            problems.append(Problem("empty", message, skipped, remedy))
        elif missing:
            message = f"class {name!r} has no image in {' and '.join(missing)}{left_out}"
            problems.append(Problem("missing", message, skipped, remedy))
        if "train" in counts and counts["train"][label] == 1:
            problems.append(Problem("single", f"class {name!r} has one training image only"))
    return problems


def _in_order(splits: Iterable[str]) -> list[str]:
    found = set(splits)
    return [split for split in SPLITS if split in found]
