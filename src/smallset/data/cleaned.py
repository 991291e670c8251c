"""A cleaned set: the images of another data set, with the labels that were decided on.

The folder holds labels.csv (path, id, given, suggested, probability, decision, by, why,
suggested_probability) and clean.json, which says where the images are. The images themselves stay
where and as they are.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from smallset import contents
from smallset.data.listing import ImageSet
from smallset.errors import DataError
from smallset.reading import read_csv, read_json, reading

FIX = "copy the folder again from where it is whole, or run smallset clean again"
COLUMNS = ("path", "id", "given", "suggested", "probability", "decision", "by")
LATER = ("why", "suggested_probability")  # folders of earlier versions lack them
WRITTEN = (*COLUMNS, *LATER)
Decision = Literal["keep", "relabel", "drop"]
DECISIONS: tuple[Decision, ...] = get_args(Decision)
Why = Literal["", "improbable", "contradicted", "nowhere"]
"""Why a label is doubted: it is more probably wrong than right, or the image looks more like
another class; "nowhere" where it also lies far from every class."""


def is_cleaned(folder: Path) -> bool:
    """Whether a folder is one that `smallset clean` left."""
    return (folder / "clean.json").is_file() and (folder / "labels.csv").is_file()


def read_labels(folder: Path) -> list[dict[str, str]]:
    """Return the rows of labels.csv.

    Args:
        folder: What `smallset clean` left.

    Raises:
        DataError: If it is damaged: a column or a row is missing, a row is there twice, a decision
            or a reason is unknown.
    """
    path = folder / "labels.csv"
    with reading(path, FIX):
        header, cells = read_csv(path, COLUMNS)
    rows = [dict(zip(header, row, strict=True)) for row in cells]
    images = read_about(folder).get("images", len(rows))
    if len(rows) != images:
        raise DataError(
            f"{path} is damaged (it has {len(rows)} images, and {images} were judged); {FIX}"
        )
    seen: set[str] = set()
    for number, row in enumerate(rows, start=1):
        if row["path"] in seen:
            raise DataError(f"{path}, image {number}: {row['path']} is there twice; {FIX}")
        seen.add(row["path"])
        if row["decision"] not in DECISIONS:
            raise DataError(
                f"{path}, image {number}: decision is {', '.join(DECISIONS)}, got "
                f"{row['decision']!r}"
            )
        for name in LATER:
            row.setdefault(name, "")
        if row["why"] not in get_args(Why):
            known = ", ".join(filter(None, get_args(Why)))
            raise DataError(f"{path}, image {number}: why is {known} or empty, got {row['why']!r}")
    return rows


def origin(folder: Path) -> str:
    """Return the data that a cleaned set was made from.

    Raises:
        DataError: If clean.json is damaged.
    """
    return read_about(folder)["data"]


def read_about(folder: Path, shape: Any = contents.Cleaned) -> dict[str, Any]:
    """Return what clean.json says.

    Args:
        shape: What must be in it.

    Raises:
        DataError: If it is damaged.
    """
    return read_json(folder / "clean.json", shape, fix=FIX)


def read_cleaned(folder: Path, read: Callable[[str], ImageSet]) -> ImageSet:
    """List the images of a cleaned set: relabelled ones with their new label, dropped ones not.

    Args:
        folder: What `smallset clean` left.
        read: Lists the images of the data it was made from.

    Raises:
        DataError: If that data is gone, or lists other images or labels than were judged.
    """
    about = read_about(folder)
    images = read(about["data"])
    place = {path: row for row, path in enumerate(images.paths)}
    index = {name: number for number, name in enumerate(images.classes)}
    labels, keep = images.labels.copy(), np.ones(len(images), dtype=bool)
    changed = dropped = 0
    # Where noise was added to try cleaning out, the given labels are not those of the data.
    has_noise = about["noise"]["rate"] > 0
    for row in read_labels(folder):
        at = place.get(row["path"])
        if at is None or (not has_noise and images.classes[labels[at]] != row["given"]):
            raise DataError(
                f"{row['path']} of {folder / 'labels.csv'} is missing in {about['data']}, or is "
                f"not labelled {row['given']!r} there any more; run smallset clean again"
            )
        relabels = row["decision"] == "relabel"
        label = row["suggested"] if relabels else row["given"]
        if label not in index:
            raise DataError(f"{folder / 'labels.csv'}: no class {label!r} in {about['data']}")
        labels[at], changed = index[label], changed + relabels
        if row["decision"] == "drop":
            keep[at], dropped = False, dropped + 1
    note = f"{folder} relabels {changed} images of {about['data']} and leaves {dropped} out"
    if "test" in about.get("splits", ()):
        note += "; TEST labels were judged too, so test accuracy is against labels as cleaned"
    return replace(images, labels=labels, notes=(*images.notes, note)).where(keep)
