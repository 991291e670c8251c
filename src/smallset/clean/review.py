"""Decisions by hand on the labels of a cleaned set: on disk at once, and undone one by one.

labels.csv always holds what is decided. history.jsonl beside it holds every step, one JSON object
per line, written before labels.csv is: a step that is in the history alone never happened.
"""

import json
import operator
import os
import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from smallset import contents
from smallset.data.cleaned import WRITTEN, Decision, Why, is_cleaned, origin, read_labels
from smallset.data.listing import ImageSet
from smallset.data.read import list_data
from smallset.errors import DataError, RunError
from smallset.files import clear_unfinished, csv_text, did_you_mean, locked, why, write_atomic
from smallset.reading import check_shape

TOOL = "smallset"  # in the column `by`, where nobody has looked yet
HISTORY = "history.jsonl"


@dataclass(frozen=True)
class Row:
    """One image of labels.csv."""

    path: str
    id: str
    given: str
    suggested: str
    probability: float
    """That the given label is right."""
    decision: Decision
    by: str
    why: Why = ""
    suggested_probability: float | None = None
    """That it is of the suggested class; None where a person chose that class."""

    @property
    def label(self) -> str:
        """Return the class that the image has by the decision."""
        return self.suggested if self.decision == "relabel" else self.given

    @property
    def state(self) -> dict[str, str]:
        """Return what a decision changes."""
        return {"decision": self.decision, "suggested": self.suggested, "by": self.by}

    @property
    def is_suspect(self) -> bool:
        """Whether the label is doubted, or something was decided."""
        return self.probability < 0.5 or self.why != "" or self.decision != "keep"


def read_rows(folder: Path) -> list[Row]:
    """Return all images of labels.csv, in the order of the file.

    Args:
        folder: What `smallset clean` left.

    Raises:
        DataError: If labels.csv is damaged.
    """
    found: list[Row] = []
    for number, row in enumerate(read_labels(folder), start=1):
        where = f"{folder / 'labels.csv'}, image {number}"
        numbers = {
            "probability": _number(row, "probability", where),
            "suggested_probability": (
                row["suggested_probability"] and _number(row, "suggested_probability", where)
            )
            or None,
        }
        # `read_labels` let nothing but known decisions and reasons through.
        fields: Any = {name: row[name] for name in WRITTEN}
        found.append(Row(**{**fields, **numbers}))
    return found


def _number(row: Mapping[str, str], name: str, where: str) -> float:
    try:
        return float(row[name])
    except ValueError:
        raise DataError(f"{where}: {name} is a number, got {row[name]!r}") from None


def find_images(folder: Path, rows: Sequence[Row], data: str | None) -> ImageSet:
    """List the data that a cleaned set was made from, and see that all its images are there.

    Args:
        data: Where the data is now; None takes the place where it was.

    Raises:
        DataError: If the data or an image is gone.
    """
    source = data or origin(folder)
    hint = "--data PLACE says where the images are now"
    try:
        images = list_data(source)
    except DataError as error:
        raise DataError(f"the images of {folder} cannot be shown: {error}; {hint}") from None
    there = frozenset(images.paths)
    gone = [row.path for row in rows if row.path not in there]
    if gone:
        raise DataError(
            f"{len(gone)} images of {folder / 'labels.csv'} are not in {source}, such as "
            f"{gone[0]}; {hint}"
        )
    return images


class Conflict(Exception):
    """The image was decided on elsewhere since it was shown; `row` is how it stands now."""

    def __init__(self, row: Row) -> None:
        super().__init__(f"{row.path} was decided on elsewhere: {row.decision} by {row.by}")
        self.row = row


class Review:
    """The decisions in a folder that `smallset clean` left.

    The file is read again whenever it changed, so that what is edited beside it stays.

    Raises:
        DataError: If it is no such folder, or its labels.csv is damaged.
    """

    def __init__(self, folder: Path, by: str) -> None:
        if not folder.exists():
            raise DataError(f"there is no folder {folder}{did_you_mean(folder)}")
        if not is_cleaned(folder):
            raise DataError(
                f"{folder} is not a cleaned set; make one: smallset clean DATA --out CLEAN"
            )
        if by.strip() in ("", TOOL):
            raise DataError(f"decisions by hand need a name other than {TOOL!r}, got {by!r} (--by)")
        self.folder = folder
        self.by = by.strip()
        self._lock = threading.Lock()  # many pictures are asked for at once: one reads, all wait
        self._version: tuple[int, ...] = ()
        self._rows: list[Row] = []
        self.rows()

    def rows(self) -> list[Row]:
        """Return all images, in the order of the file.

        Raises:
            DataError: If labels.csv is damaged.
        """
        with self._lock:
            version = self._version_there()
            if version != self._version:
                self._rows = read_rows(self.folder)
                self._version = version
            return list(self._rows)

    def _version_there(self) -> tuple[int, ...]:
        there = (self.folder / "labels.csv").stat()
        return there.st_mtime_ns, there.st_size, there.st_ino

    def decide(self, number: int, decision: Decision, label: str, *, seen: dict[str, str]) -> Row:
        """Write a decision down; when this returns, it is on disk.

        Args:
            number: Of the image, from 0.
            label: The new class, for "relabel".
            seen: `Row.state` as the one who decides saw it.

        Raises:
            IndexError: If there is no such image.
            Conflict: If it stands otherwise by now; nothing is written.
            RunError: If the disk is full; nothing is lost.
        """
        rows = self.rows()
        if not 0 <= number < len(rows):
            raise IndexError(f"images go from 0 to {len(rows) - 1}, got {number}")
        row = rows[number]
        if row.state != seen:
            raise Conflict(row)
        suggested = label if decision == "relabel" else row.suggested
        if decision == "relabel" and label == row.given:
            decision, suggested = "keep", row.suggested
        likely = row.suggested_probability if suggested == row.suggested else None
        rows[number] = replace(
            row, decision=decision, suggested=suggested, by=self.by, suggested_probability=likely
        )
        entry = {"path": row.path, "before": row.state, "after": rows[number].state}
        if likely != row.suggested_probability:
            entry["suggested_probability"] = row.suggested_probability
        self._log(entry)
        self._write(rows)
        return rows[number]

    def accept(self, below: float) -> list[int]:
        """Confirm what smallset would do with the surest suspects; one `undo` takes all of it back.

        Args:
            below: Probability of the given label under which a suspect counts as sure.

        Returns:
            The numbers of their images.

        Raises:
            RunError: If the disk is full; nothing is lost.
        """
        rows = self.rows()
        sure = [
            number
            for number, row in enumerate(rows)
            if row.by == TOOL and row.decision != "keep" and row.probability < below
        ]
        together, entries = secrets.token_hex(4), list[dict[str, Any]]()
        for number in sure:
            row = rows[number]
            rows[number] = replace(row, by=self.by)
            entries.append({"path": row.path, "before": row.state, "after": rows[number].state,
                            "together": together})  # fmt: skip
        if sure:
            self._log(*entries)
            self._write(rows)
        return sure

    def undo(self) -> list[int]:
        """Take the last decision back that was not taken back yet, and those that came with it.

        Returns:
            The numbers of its images; none where there is nothing to undo.

        Raises:
            Conflict: If labels.csv says something else of the image by now, such as after an edit.
            RunError: If the disk is full; nothing is lost.
        """
        rows = self.rows()
        place = {row.path: number for number, row in enumerate(rows)}
        steps = self._steps()
        taken_back, entries = list[int](), list[dict[str, Any]]()
        group = ""
        while steps and (not taken_back or (group and steps[-1].get("together") == group)):
            step = steps.pop()
            number = place.get(step["path"])
            if number is None:
                continue
            row = rows[number]
            entries.append({"undo": step["path"]})
            if row.state == step["before"]:  # the history was written, labels.csv was not
                continue
            if row.state != step["after"]:
                raise Conflict(row)
            likely = step.get("suggested_probability", row.suggested_probability)
            rows[number] = replace(row, **step["before"], suggested_probability=likely)
            taken_back.append(number)
            group = step.get("together", "")
        if taken_back:
            self._write(rows)
        if entries:
            self._log(*entries)
        return taken_back

    def _steps(self) -> list[dict[str, Any]]:
        """Return the steps that were not taken back."""
        path, steps = self.folder / HISTORY, list[dict[str, Any]]()
        if not path.exists():
            return steps
        # A name may hold what `splitlines` takes for an end of line.
        for line in path.read_bytes().split(b"\n"):
            try:
                entry = json.loads(line.decode())
                check_shape(entry, contents.Step)
            except (ValueError, RecursionError):  # the end of a line that a crash cut short
                continue
            if "undo" not in entry:
                steps += [entry] if entry.keys() >= {"path", "before", "after"} else []
            elif steps and steps[-1]["path"] == entry["undo"]:
                steps.pop()
        return steps

    def _log(self, *entries: dict[str, Any]) -> None:
        when = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "by": self.by}
        lines = [json.dumps({**when, **entry}, ensure_ascii=False) + "\n" for entry in entries]
        path = self.folder / HISTORY
        try:
            with path.open("a+b") as file:
                if file.tell():
                    file.seek(-1, os.SEEK_END)
                    if file.read(1) != b"\n":
                        file.write(b"\n")
                file.write("".join(lines).encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise RunError(f"cannot write {path}: {why(error)}; nothing was decided") from error

    def _write(self, rows: list[Row]) -> None:
        cells = operator.attrgetter(*WRITTEN)
        table = [
            ["" if cell is None else f"{cell:.6g}" if isinstance(cell, float) else cell
             for cell in cells(row)]
            for row in rows
        ]  # fmt: skip
        with self._lock:
            write_atomic(self.folder / "labels.csv", csv_text([list(WRITTEN), *table]))
            self._rows, self._version = rows, self._version_there()


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep a second review of the same folder out; the lock ends with the process, however it ends.

    What a review that was killed left half-written is removed.

    Raises:
        RunError: If another process reviews it, or it cannot be written.
    """
    taken = f"{folder} is being reviewed already; use the page that is open"
    with locked(folder / ".review", taken):
        clear_unfinished(folder)
        yield
