"""Answers on disk in parts, each whole or not there: what a stopped prediction goes on with."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from smallset.errors import DataError, RunError
from smallset.files import LOCK, clear_unfinished, write_arrays, write_json
from smallset.reading import read_arrays, read_json
from smallset.record.new_pictures import Block
from smallset.settings import differences

DELETE = "delete it, and the same command makes it again"
PLAN = "plan.json"
SIZE = 256
"""Pictures in a part: what a kill can cost."""


class Shards:
    """The parts of one prediction, in a folder of their own.

    A part is named by its number and says nothing of the others, so whoever has the list of
    pictures and the record can make any of them, anywhere.

    Args:
        plan: Everything that decides the answers; parts of another plan are not mixed in.
        num_rows: Pictures in all.
        force: Throw parts of another plan away.

    Raises:
        RunError: If the folder holds parts of another plan, or cannot be read or written.
    """

    def __init__(
        self, folder: Path, plan: Mapping[str, Any], num_rows: int, *, force: bool
    ) -> None:
        self.folder = folder
        self.ranges = [
            range(start, min(start + SIZE, num_rows)) for start in range(0, num_rows, SIZE)
        ]
        clear_unfinished(folder)
        if (folder / PLAN).exists():
            try:
                changed = differences(read_json(folder / PLAN), plan)
            except DataError as error:
                changed = [str(error)]
            if not changed:
                return
            if not force:
                raise RunError(
                    f"{folder} holds the beginning of another prediction, with other pictures, "
                    "settings or versions:\n  " + "\n  ".join(changed) + "\nthe command that began "
                    "it goes on with it; --force throws it away"
                )
        self.clear()
        write_json(folder / PLAN, plan)

    @property
    def todo(self) -> list[int]:
        """Return the numbers of the parts that are not there yet."""
        return [number for number in range(len(self.ranges)) if not self._path(number).exists()]

    def write(self, number: int, block: Block) -> None:
        """Write a part.

        Raises:
            RunError: If it cannot be written; the parts that are there stay.
        """
        arrays: dict[str, Any] = {"ids": block.ids, "errors": block.errors, "probs": block.probs}
        if block.embeddings is not None:
            arrays["embeddings"] = block.embeddings
        if block.distances is not None:
            arrays["distances"] = block.distances
        write_arrays(self._path(number), **arrays)

    def blocks(self) -> Iterator[Block]:
        """Yield all parts, in order.

        Raises:
            DataError: If one is missing or damaged.
        """
        for number, rows in enumerate(self.ranges):
            path = self._path(number)
            arrays = read_arrays(path, "ids", "errors", "probs", fix=DELETE)
            if any(len(array) != len(rows) for array in arrays.values()):
                raise DataError(f"{path} is damaged (not {len(rows)} pictures); {DELETE}")
            yield Block(
                tuple(arrays["ids"].tolist()),
                tuple(arrays["errors"].tolist()),
                arrays["probs"],
                arrays.get("embeddings"),
                arrays.get("distances"),
            )

    def clear(self) -> None:
        """Delete the parts. The plan goes first: without it, what is left is nobody's."""
        for path in (self.folder / PLAN, *self.folder.glob("shard-*.npz")):
            path.unlink(missing_ok=True)

    def _path(self, number: int) -> Path:
        return self.folder / f"shard-{number:06}.npz"


def remove(folder: Path) -> None:
    """Remove a folder of parts without a plan, unless somebody put something into it."""
    with suppress(OSError):
        for path in (folder / LOCK, *folder.glob("shard-*.npz")):
            path.unlink(missing_ok=True)
        folder.rmdir()
