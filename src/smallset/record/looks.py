"""How often test images have been looked at: by the runs that lie beside a run."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from smallset.errors import DataError
from smallset.record.record import Record
from smallset.words import Text, text


class Looks(NamedTuple):
    """Runs that were scored on the same test images."""

    number: int
    """Which of them this one was, by the time it ended, from 1."""
    runs: int

    @property
    def said(self) -> Text | None:
        """Return what a reader should know; None where there was but one look."""
        if self.runs == 1:
            return None
        return text(
            "These test images have been looked at {count} times in this folder, and this run was "
            "look {number}. The best of many looks is too good; choose on val.",
            count=self.runs,
            number=self.number,
        )


def looks_at_test(record: Record) -> Looks:
    """Count the finished runs beside a run, those of studies among them, with its test images.

    Runs with folds are not counted: each of their images is scored by a network that had not seen
    it, and no image is kept back.
    """
    if _test_images(record) is None:
        return Looks(1, 1)
    alike = [record, *runs_beside(record)]
    ended = sorted(((one.folder / "result.json").stat().st_mtime, one.folder) for one in alike)
    return Looks([folder for _, folder in ended].index(record.folder) + 1, len(ended))


def runs_beside(record: Record) -> list[Record]:
    """Return the other finished runs beside a run that have its test images; none with folds."""
    wanted, found = _test_images(record), []
    for folder in _beside(record.folder) if wanted else ():
        with contextlib.suppress(DataError, OSError, LookupError):  # whoever reads it will say so
            other = Record(folder)
            is_other = folder != record.folder and _test_images(other) == wanted
            if is_other and other.result["test_accuracy"] is not None:
                found.append(other)
    return found


def _test_images(record: Record) -> tuple[str, int] | None:
    data = record.config["data"]
    if record.config["config"]["data"].get("folds"):
        return None
    return data["fingerprint"], data["images"]["test"]


def _beside(folder: Path) -> Iterator[Path]:
    """Yield the records beside one; that of a study lies at STUDY/ARM/seed-N."""
    base = folder.parent
    if (base.parent / "study.json").is_file():
        base = base.parent.parent
    yield from (file.parent for file in base.glob("*/result.json"))
    for study in base.glob("*/study.json"):
        yield from (file.parent for file in study.parent.glob("*/*/result.json"))
