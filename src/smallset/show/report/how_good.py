"""The first answer of a page: how good a run is, and beside what."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from smallset.record.looks import best_on_val, study_of
from smallset.record.measures import held_out_share
from smallset.record.record import Record
from smallset.show.report.search_section import plain_choice, search_section
from smallset.stats import Interval, accuracy_interval
from smallset.words import Text, text


class Headline(NamedTuple):
    """How good a run is on images that it did not learn from."""

    accuracy: Interval
    images: int
    source: Literal["test", "folds", "val"]
    """Val where there is no other; settings may have been chosen on it."""
    folds: int = 0
    """That judged each other."""


def headline(record: Record) -> Headline | None:
    """Return the accuracy to be expected of a run; None where it learnt from all its images.

    With folds, it is that of the search where there was one, the price of choosing taken off.
    """
    found, folds = record.predictions, record.result.get("folds")
    split = "val" if not (found.splits == "test").any() else "test"
    right = (found.predicted == found.labels)[found.splits == split]
    if not len(right):
        return None
    if not folds:
        return Headline(accuracy_interval(right[None].astype(np.float64)), len(right), split)
    search = search_section(record)
    expected: Interval | None = search["estimate"] if search else None
    if expected is None:
        expected = Interval(*(folds[key] for key in ("accuracy", "low", "high")))
    return Headline(expected, len(right), "folds", folds["folds"])


def time_taken(record: Record, search: dict[str, Any] | None) -> tuple[Text, Text]:
    """Return what the time of a page is the time of, and the time."""
    what, seconds = text("training took"), record.result["seconds"]
    if search:
        what, seconds = text("the search took"), search["story"]["seconds"]
    elif record.joined is not None:
        what = text("joining took")
    if seconds < 60:
        return what, text("{seconds:.0f} s", seconds=seconds)
    return what, text("{minutes:.1f} min", minutes=seconds / 60)


def accuracies_beside(
    record: Record, beside: Sequence[Record], *, images: int, chance: float
) -> list[dict[str, Any]]:
    """Return the accuracy of a run beside guessing, what no search gave, and the best run there is.

    Args:
        beside: Other runs with the same test images; val says which is best.
        images: That the accuracy is of.
    """
    seen = headline(record)
    assert seen
    lines = [
        {"name": text("guessing"), "at": chance, "low": None, "own": False},
        {"name": text("this run"), "at": seen.accuracy.value, "low": seen.accuracy.low,
         "high": seen.accuracy.high, "own": True},
    ]  # fmt: skip
    search = search_section(record)
    if search and (plain := search["story"]["plain"]) and not plain.get("is_chosen"):
        bounds = held_out_share(plain["test"] * images, images, folds=0)
        lines.append({
            "name": text("without the search: {alone}", alone=plain_choice(search["story"])),
            "at": plain["test"], "low": bounds.low, "high": bounds.high, "own": False,
        })  # fmt: skip
    if best := best_on_val(beside):
        share = best.result["test_accuracy"]
        bounds = held_out_share(share * images, images, folds=seen.folds)
        model = best.config["config"]["model"]
        lines.append({
            "name": text("beside it, the run that val calls best: {model} ({folder})", model=model,
                         folder=_place(best)),
            "at": share, "low": bounds.low, "high": bounds.high, "own": False,
        })  # fmt: skip
    return lines


def _place(record: Record) -> str:
    """Return the name of a run; one of a study is named with its arm."""
    folder = record.folder
    return f"{folder.parent.name}/{folder.name}" if study_of(record) else folder.name
