"""Find what is wrong with a data set before anything trains on it."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from smallset.data.listing import ImageSet
from smallset.groups import SPLITS

Kind = Literal[
    "unreadable", "empty", "single", "missing", "duplicate", "conflict", "leak",
    "near-duplicate", "near-conflict", "near-leak",
]  # fmt: skip


@dataclass(frozen=True)
class Problem:
    """One thing a user should know before training."""

    kind: Kind
    message: str
    """One sentence."""


def find_problems(images: ImageSet, ids: Sequence[str], errors: dict[int, str]) -> list[Problem]:
    """Return every problem found, worst kinds first.

    Args:
        ids: sha256 of each image's decoded pixels, "" where unreadable.
        errors: Row and reason of each unreadable file.
    """
    problems = [
        Problem("unreadable", f"{images.paths[row]}: {why}") for row, why in sorted(errors.items())
    ]
    problems += _same_pixels(images, ids)
    problems += _thin_classes(images, np.array([row not in errors for row in range(len(images))]))
    return problems


def _same_pixels(images: ImageSet, ids: Sequence[str]) -> list[Problem]:
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row, name in enumerate(ids):
        if name:
            rows_of[name].append(row)
    leaks: list[Problem] = []
    conflicts: list[Problem] = []
    duplicates: list[Problem] = []
    for rows in rows_of.values():
        if len(rows) == 1:
            continue
        splits = _in_order(str(images.splits[row]) for row in rows)
        labels = sorted({images.classes[images.labels[row]] for row in rows})
        same = f"the same picture {len(rows)} times: {', '.join(images.paths[row] for row in rows)}"
        if len(splits) > 1:
            leaks.append(Problem("leak", f"in {' and '.join(splits)}, {same}"))
        if len(labels) > 1:
            conflicts.append(Problem("conflict", f"labelled {' and '.join(labels)}, {same}"))
        elif len(splits) == 1:
            duplicates.append(Problem("duplicate", f"in {splits[0]}, {same}"))
    return leaks + conflicts + duplicates


def nearly_same(
    images: ImageSet, pairs: Iterable[tuple[int, int, float]], ids: Sequence[str]
) -> list[Problem]:
    """Return a problem for each pair of pictures that are nearly the same, worst kinds first.

    Args:
        pairs: Rows of two pictures, and how alike they are in [-1, 1].
        ids: sha256 of each image's decoded pixels; pairs of equal ones were found before.
    """
    found: dict[Kind, list[Problem]] = {"near-leak": [], "near-conflict": [], "near-duplicate": []}
    for first, second, likeness in pairs:
        if ids[first] == ids[second]:
            continue
        splits = _in_order(str(images.splits[row]) for row in (first, second))
        labels = sorted({images.classes[images.labels[row]] for row in (first, second)})
        kind: Kind = "near-conflict" if len(labels) > 1 else "near-duplicate"
        labelled = f", labelled {' and '.join(labels)}" if len(labels) > 1 else ""
        message = (
            f"in {' and '.join(splits)}{labelled}, nearly the same picture ({likeness:.2f}): "
            f"{images.paths[first]}, {images.paths[second]}"
        )
        kind = "near-leak" if len(splits) > 1 else kind
        found[kind].append(Problem(kind, message))
    return [problem for problems in found.values() for problem in problems]


def _thin_classes(images: ImageSet, readable: np.ndarray) -> list[Problem]:
    usable = images.where(readable)
    present = [split for split in SPLITS if (images.splits == split).any()]
    counts = {split: usable.counts(split) for split in present}
    problems: list[Problem] = []
    if len(images.classes) < 2:
        problems.append(Problem("single", "there is one class only: nothing to tell apart"))
    for label, name in enumerate(images.classes):
        missing = [split for split in present if not counts[split][label]]
        if len(missing) == len(present):
            problems.append(Problem("empty", f"class {name!r} has no readable image"))
        elif missing:
            where = " and ".join(missing)
            problems.append(Problem("missing", f"class {name!r} has no image in {where}"))
        if "train" in counts and counts["train"][label] == 1:
            problems.append(Problem("single", f"class {name!r} has one training image only"))
    return problems


def _in_order(splits: Iterable[str]) -> list[str]:
    found = set(splits)
    return [split for split in SPLITS if split in found]
