"""What a trained network says of new pictures: rows, and their text as CSV or JSON lines."""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from smallset.files import csv_text
from smallset.record.predictions import Predictions


class Block(NamedTuple):
    """Some pictures, one after the other; of an unreadable one, every number is NaN."""

    ids: tuple[str, ...]
    """sha256 of the decoded pixels, as in predictions.csv; "" where unreadable."""
    errors: tuple[str, ...]
    """Why a picture is unreadable; "" where it is not."""
    probs: Float[ndarray, "n classes"]
    embeddings: Float[ndarray, "n dim"] | None = None
    """What the last layer saw; None where nobody asked for it."""
    distances: Float[ndarray, " n"] | None = None
    """To the nearest training pictures; None where nobody asked for it."""


class Row(NamedTuple):
    """One picture."""

    path: str
    id: str
    seen_in: str
    """The split of the run that holds the same pixels; "" where none does."""
    error: str
    probs: Float[ndarray, " classes"]
    distance: float | None = None
    """To the nearest training pictures; None where nobody asked."""
    set: tuple[int, ...] = ()
    """The classes it may well belong to, the most probable first; () where nobody asked."""
    unknown: tuple[str, ...] = ()
    """Why it is refused: "probability", "distance" or both; () where it is not."""

    @property
    def predicted(self) -> int | None:
        """The most probable class; None of an unreadable picture."""
        return None if self.error else int(self.probs.argmax())


def rows_of(paths: Sequence[str], blocks: Iterable[Block], seen: dict[str, str]) -> Iterator[Row]:
    """Yield the pictures of some blocks.

    Args:
        paths: Of all pictures, in the order of the blocks.
        seen: As `seen_in` returns it.
    """
    place = iter(paths)
    for block in blocks:
        apart = [None] * len(block.ids) if block.distances is None else block.distances.tolist()
        for name, error, probs, distance in zip(
            block.ids, block.errors, block.probs, apart, strict=True
        ):
            yield Row(next(place), name, seen.get(name, ""), error, probs, distance)


def seen_in(predictions: Predictions) -> dict[str, str]:
    """Return the split of every picture of a run by its id; "train" where it was learnt from."""
    splits = predictions.splits.astype(object)
    splits[predictions.learnt] = "train"
    pairs = zip(predictions.ids, splits.tolist(), strict=True)
    return dict(sorted(pairs, key=lambda pair: pair[1] == "train"))


def ranked(probs: Float[ndarray, " classes"], top: int | None = None) -> Int[ndarray, " top"]:
    """Return the classes, the most probable first; of equal ones, the first in the class list."""
    return np.argsort(-probs, kind="stable")[:top]


Lines = Callable[[Iterable[Row], Sequence[str], int | None, Collection[str]], Iterator[str]]
"""Of rows, names of classes, how many classes to show (None: all), and columns of `MORE`."""
MORE: dict[str, Callable[[Row, Sequence[str]], Any]] = {
    "set": lambda row, classes: [classes[k] for k in row.set],
    "unknown": lambda row, _: list(row.unknown),
}
"""What a row says if it is asked to, as JSON has it; a list is joined by `BETWEEN` in a CSV."""
BETWEEN = "|"
COLUMNS = ("path", "id", "predicted", "probability", "seen_in", "error")


def more_columns(sets: float | None, reject: float | None) -> tuple[str, ...]:
    """Return the columns of `MORE` that are asked for."""
    asked = {"set": sets, "unknown": reject}
    return tuple(name for name, value in asked.items() if value is not None)


def _number(probability: float) -> str:
    return f"{probability:.9g}"  # nine digits bring a float32 back exactly


def _cell(value: Any) -> str:
    return BETWEEN.join(value) if isinstance(value, list) else value or ""


def csv_lines(
    rows: Iterable[Row], classes: Sequence[str], top: int | None, more: Collection[str] = ()
) -> Iterator[str]:
    """Yield a table with one column per class, or two for each of the `top` most probable."""

    def line(cells: Iterable[str]) -> str:
        return csv_text([list(cells)])

    if top is None:
        columns = [f"p_{name}" for name in classes]
    else:
        columns = [f"{what}_{k}" for k in range(1, top + 1) for what in ("class", "probability")]
    yield line((*COLUMNS, *more, *columns))
    for row in rows:
        if row.predicted is None:
            cells = ["", "", row.seen_in, row.error, *("" for _ in (*more, *columns))]
        else:
            probs = [_number(p) for p in row.probs.tolist()]
            shown = probs if top is None else []
            if top is not None:
                shown = [cell for k in ranked(row.probs, top) for cell in (classes[k], probs[k])]
            asked = [_cell(MORE[name](row, classes)) for name in more]
            cells = [classes[row.predicted], probs[row.predicted], row.seen_in, "", *asked, *shown]
        yield line((row.path, row.id, *cells))


def json_lines(
    rows: Iterable[Row], classes: Sequence[str], top: int | None, more: Collection[str] = ()
) -> Iterator[str]:
    """Yield one object per picture; with `top`, its classes are sorted by probability."""
    for row in rows:
        yield json.dumps(json_object(row, classes, top, more)) + "\n"


def json_object(
    row: Row, classes: Sequence[str], top: int | None, more: Collection[str] = ()
) -> dict[str, Any]:
    """Return what JSON says of a picture; every entry is there, and null where it has no value."""
    said: dict[str, Any] = {"path": row.path, "id": row.id or None}
    said |= {"predicted": None, "probability": None, "seen_in": row.seen_in or None}
    said |= {"error": row.error or None, **dict.fromkeys(more)}
    said["probabilities"] = None
    if row.predicted is not None:
        order = range(len(classes)) if top is None else ranked(row.probs, top).tolist()
        probs = [float(_number(p)) for p in row.probs.tolist()]
        said |= {"predicted": classes[row.predicted], "probability": probs[row.predicted]}
        said |= {name: MORE[name](row, classes) for name in more}
        said["probabilities"] = {classes[k]: probs[k] for k in order}
    return said


FORMATS: dict[str, Lines] = {"csv": csv_lines, "jsonl": json_lines}
