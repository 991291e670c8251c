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
    wanted = _test_images(record)
    ended: list[tuple[float, Path]] = []
    for folder in _beside(record.folder):
        with contextlib.suppress(DataError, OSError, LookupError):  # whoever reads it will say so
            if folder == record.folder or _test_images(Record(folder)) == wanted:
                ended.append(((folder / "result.json").stat().st_mtime, folder))
    order = [folder for _, folder in sorted(ended)]
    return Looks(order.index(record.folder) + 1, len(order)) if wanted else Looks(1, 1)


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
