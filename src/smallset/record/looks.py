"""The runs beside a run: how often test images have been looked at, and which run is ahead."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from smallset.errors import DataError
from smallset.record.record import Record
from smallset.words import Text, text


def looks_at_test(beside: Sequence[Record]) -> Text | None:
    """Say how often the test images of a run have been looked at; None where it was but once.

    Args:
        beside: As `runs_beside` has it.
    """
    if not beside:
        return None
    return text(
        "These test images have been looked at by {count} runs in this folder. The best of many "
        "looks is too good; choose on val.",
        count=len(beside) + 1,
    )


def runs_beside(record: Record) -> list[Record]:
    """Return the other finished runs beside a run that have its test images, studies' runs too.

    Runs with folds are not among them: each of their images is scored by a network that had not
    seen it, and no image is kept back.
    """
    wanted, found, own = _test_images(record), [], record.folder.resolve()
    for folder in _beside(own) if wanted else ():
        with contextlib.suppress(DataError, OSError, LookupError):  # whoever reads it will say so
            other = Record(folder)
            is_other = folder != own and _test_images(other) == wanted
            if is_other and other.result["test_accuracy"] is not None:
                found.append(other)
    return found


def best_on_val(records: Sequence[Record]) -> Record | None:
    """Return the run with the highest val accuracy; None where one of them has none.

    Test chooses nothing, not even what is shown: the best of many looks at it is too good.
    """
    if not records or any(record.result["val_accuracy"] is None for record in records):
        return None
    return max(records, key=lambda record: record.result["val_accuracy"])


def study_of(record: Record) -> Path | None:
    """Return the folder of the study that a run belongs to: that of STUDY/ARM/seed-N."""
    study = record.folder.resolve().parent.parent
    return study if (study / "study.json").is_file() else None


def _test_images(record: Record) -> tuple[str, int] | None:
    data = record.config["data"]
    if record.config["config"]["data"].get("folds"):
        return None
    return data["fingerprint"], data["images"]["test"]


def _beside(folder: Path) -> Iterator[Path]:
    """Yield the records beside one; beside that of a study are those beside the study."""
    study = study_of(Record(folder))
    base = study.parent if study else folder.parent
    yield from (file.parent for file in base.glob("*/result.json"))
    for study in base.glob("*/study.json"):
        yield from (file.parent for file in study.parent.glob("*/*/result.json"))
