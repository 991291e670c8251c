"""The page of a prediction: new pictures by class and by doubt, and what could not be read."""

from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy import ndarray

from smallset.data.pictures import Unreadable, read_file, reasons
from smallset.data.preprocessing import Square
from smallset.errors import DataError
from smallset.files import write_atomic
from smallset.record.new_pictures import Row, ranked
from smallset.record.record import Record
from smallset.show.report.render import render
from smallset.show.report.thumbnails import SIZES, fit_thumbnails
from smallset.words import Lang, Text, text

MOST_PICTURES = 3000  # at 15 MB, thumbnails of 112 px have room for about 4,000
MOST_UNREADABLE = 200
TOP = 5  # classes said of a picture
BUDGET_MB = 15.0


class Overview(NamedTuple):
    """What a page needs of every picture, a few bytes each."""

    predicted: Int[ndarray, " n"]
    """-1 where unreadable."""
    probability: Float[ndarray, " n"]
    """Of the predicted class."""
    trained_on: int
    unknown: int
    """Pictures that were refused."""
    unreadable: list[dict[str, str]]
    """The first of them."""


def write_predict_page(
    path: Path,
    record: Record,
    rows: Callable[[], Iterator[Row]],
    *,
    doubt: Sequence[Text],
    max_megapixels: float,
    lang: Lang,
) -> None:
    """Write one HTML file with thumbnails, offline like the other pages.

    Args:
        record: Of the network that answered.
        rows: Yields the pictures; they are gone through twice, and never all in memory.
        doubt: What there is to know of the answers, as sentences.
        max_megapixels: Larger pictures were refused.

    Raises:
        DataError: If a picture has changed since it was predicted.
        RunError: If the page cannot be written.
    """
    classes = record.model["classes"]
    seen = _overview(rows())
    chosen = choose(seen.predicted, seen.probability)
    shown = _described(rows(), set(chosen.tolist()))
    paths = [each.pop("file") for each in shown]
    ids = [each.pop("id") for each in shown]
    content: dict[str, Any] = {"classes": classes, "pictures": shown, "thumbs": {}}
    content["reasons"] = reasons()
    context: dict[str, Any] = {
        "name": path.stem,
        "record": record.folder,
        "model": record.model["model"],
        "facts": {
            "pictures": len(seen.predicted),
            "unreadable": int((seen.predicted < 0).sum()),
            "unsure": int((seen.probability[seen.predicted >= 0] < 0.5).sum()),
            "trained on": seen.trained_on,
            "unknown": seen.unknown,
        },
        "classes": _classes(classes, seen),
        "unreadable": seen.unreadable,
        "doubt": doubt,
        "version": version("smallset"),
    }
    notes = []
    readable = int((seen.predicted >= 0).sum())
    if len(chosen) < readable:
        notes.append(
            text("Of {all:,} pictures, this page shows the {count:,} that the network is least "
                 "sure of, as evenly over the classes as they go.",
                 all=readable, count=len(chosen))
        )  # fmt: skip
    empty = render("predict.html", lang=lang, data=content, notes=notes, **context)
    content["thumbs"], left_out = fit_thumbnails(
        Files(paths, ids, Square(size=SIZES[0], resize="pad", max_megapixels=max_megapixels)),
        range(len(shown)),
        page=empty,
        budget_mb=BUDGET_MB,
    )
    notes += left_out
    write_atomic(path, render("predict.html", lang=lang, data=content, notes=notes, **context))


def choose(
    predicted: Int[ndarray, " n"], probability: Float[ndarray, " n"], most: int = MOST_PICTURES
) -> Int[ndarray, " shown"]:
    """Return the pictures to show, in order: of each class those least sure, in turns.

    Args:
        predicted: Class of each picture; -1 where there is none, and these are not shown.
        most: How many there is room for.
    """
    order = np.lexsort((probability, predicted))
    order = order[predicted[order] >= 0]
    groups = predicted[order]
    turn = np.arange(len(order)) - np.searchsorted(groups, groups)
    return np.sort(order[np.argsort(turn, kind="stable")[:most]])


class Files:
    """Pictures that are decoded for their thumbnails when these are made; see `Source`."""

    def __init__(self, paths: list[str], ids: list[str], square: Square) -> None:
        self.paths, self.ids, self.square = paths, ids, square
        self.side = square.size

    def of(self, rows: Sequence[int]) -> UInt8[ndarray, "n size size 3"]:
        """Return some pictures.

        Raises:
            DataError: If one has changed.
        """
        return np.stack([self._read(row) for row in rows])

    def _read(self, row: int) -> UInt8[ndarray, "size size 3"]:
        try:
            pixels, name = self.square.read(read_file(Path(self.paths[row])))
        except Unreadable:
            pixels, name = None, None
        if pixels is None or name != self.ids[row]:
            raise DataError(
                f"{self.paths[row]} has changed since it was predicted a moment ago; --force "
                "predicts it again"
            )
        return pixels


def _overview(rows: Iterator[Row]) -> Overview:
    predicted: list[int] = []
    probability: list[float] = []
    unreadable: list[dict[str, str]] = []
    trained_on = unknown = 0
    for row in rows:
        k = row.predicted
        predicted.append(-1 if k is None else k)
        probability.append(0.0 if k is None else float(row.probs[k]))
        trained_on += row.seen_in == "train"
        unknown += bool(row.unknown)
        if row.error and len(unreadable) < MOST_UNREADABLE:
            unreadable.append({"path": _shown(row.path), "error": row.error})
    numbers = np.array(predicted, dtype=np.int32), np.array(probability, dtype=np.float32)
    return Overview(*numbers, trained_on, unknown, unreadable)


def _described(rows: Iterator[Row], chosen: set[int]) -> list[dict[str, Any]]:
    return [
        {
            "path": _shown(row.path),
            "file": row.path,
            "id": row.id,
            "seen": row.seen_in,
            "unknown": row.unknown,
            "set": row.set,
            "top": [[k, round(float(row.probs[k]), 6)] for k in ranked(row.probs, TOP).tolist()],
        }
        for place, row in enumerate(rows)
        if place in chosen
    ]


def _shown(path: str) -> str:
    return path.encode(errors="backslashreplace").decode()


def _classes(classes: list[str], seen: Overview) -> list[dict[str, Any]]:
    """Return the lines of the table of classes."""
    lines: list[dict[str, Any]] = []
    for k, name in enumerate(classes):
        probs = seen.probability[seen.predicted == k]
        mean = float(probs.mean()) if len(probs) else None
        lines.append(
            {"name": name, "count": len(probs), "mean": mean, "unsure": int((probs < 0.5).sum())}
        )
    return lines
