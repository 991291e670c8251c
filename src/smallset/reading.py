"""One reader for each kind of file: what cannot be read is one `DataError` that says what to do."""

import contextlib
import csv
import json
import pickle
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError

from smallset.errors import DataError, SmallsetError
from smallset.files import FORMAT, WRITTEN, content_sum

COPY_AGAIN = "copy it again from where it is whole"
_DAMAGE = (
    ValueError, LookupError, TypeError, AttributeError, ArithmeticError, EOFError, RuntimeError,
    MemoryError, SyntaxError, tokenize.TokenError, csv.Error, struct.error, zlib.error,
    zipfile.BadZipFile, pickle.UnpicklingError, SafetensorError,
)  # fmt: skip
"""What readers of damaged files raise: of JSON, CSV, TOML, zip, npy, safetensors and pickle."""


@contextlib.contextmanager
def reading(path: Path, fix: str = COPY_AGAIN, *, what: str = "is damaged") -> Iterator[None]:
    """Turn whatever goes wrong while a file is read, and what it holds used, into one error.

    Args:
        fix: What a user can do, after a semicolon.
        what: What is wrong with the file, but for its cause.

    Raises:
        DataError: If the file is missing, cannot be read or is damaged; it says which.
    """
    try:
        yield
    except SmallsetError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path} is missing; {fix}") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}; {fix}") from None
    except _DAMAGE as error:
        raise DataError(f"{path} {what} ({_short(error)}); {fix}") from None


def _short(error: BaseException) -> str:
    if isinstance(error, KeyError):
        return f"{error} is missing"
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:197]}..."


def read_json(path: Path, shape: Any = None, *, fix: str = COPY_AGAIN) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Args:
        shape: The `TypedDict` of what must be in it; None takes any object.

    Raises:
        DataError: If it is missing, damaged, changed since it was written, lacks something, or is
            of a later version.
    """
    with reading(path, fix):
        content = json.loads(path.read_bytes().decode(), object_pairs_hook=once_each)
        if not isinstance(content, dict):
            raise TypeError("it holds no object")
        _refuse_later(path, content)
        written = content.pop(WRITTEN, None)
        seals = [each for each in content.values() if isinstance(each, dict)]
        if written is None and any(each.keys() == {"format", "crc32"} for each in seals):
            raise ValueError(f"its entry {WRITTEN!r} has another name")
        if written is not None and written["crc32"] != content_sum(content):
            raise DataError(
                f"{path} is damaged, or was changed (its checksum does not fit); {fix}, or delete "
                f"its entry {WRITTEN!r} where the change is meant"
            )
        if shape is not None:
            check_shape(content, shape)
        return content


def once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object that says nothing twice.

    Raises:
        ValueError: If a name is there twice.
    """
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(n for n in names if names.count(n) > 1)!r} is there twice")
    return content


def check_shape(content: Any, shape: Any) -> None:
    """See that something read has the parts and the types that it must have.

    Raises:
        ValueError: If not; names the first place.
    """
    try:
        _adapter(shape).validate_python(content, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        said = "is missing" if first["type"] == "missing" else first["msg"].lower()
        raise ValueError(f"{place}: {said}") from None


@cache
def _adapter(shape: Any) -> Any:
    return TypeAdapter(shape)


def _refuse_later(path: Path, content: dict[str, Any]) -> None:
    """Refuse what a later version wrote: it may mean something else by the same words."""
    written, versions = content.get(WRITTEN), content.get("versions")
    later = isinstance(written, dict) and written.get("format")
    theirs, ours = isinstance(versions, dict) and versions.get("smallset"), version("smallset")
    is_later = isinstance(theirs, str) and _numbers(theirs) > _numbers(ours)
    if is_later or (isinstance(later, int) and later > FORMAT):
        of = f"smallset {theirs}" if theirs else f"a later smallset (format {later})"
        raise DataError(f"{path} was written by {of}, and this is {ours}: update smallset")


def _numbers(text: str) -> tuple[int, ...]:
    numbers = []
    for part in text.split("."):
        if not (part.isdecimal() and len(part) < 9):
            break
        numbers.append(int(part))
    return tuple(numbers)


def read_json_lines(path: Path, shape: Any, *, fix: str = COPY_AGAIN) -> list[dict[str, Any]]:
    """Read a file with a JSON object on each line.

    Args:
        shape: The `TypedDict` that each must have.

    Raises:
        DataError: If it is missing or damaged; names the line.
    """
    lines: list[dict[str, Any]] = []
    with reading(path, fix):
        # A name may hold what `splitlines` takes for an end of line.
        text = path.read_bytes().decode()
        for number, line in enumerate(text.removesuffix("\n").split("\n") if text else [], start=1):
            try:
                entry = json.loads(line, object_pairs_hook=once_each)
                check_shape(entry, shape)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"line {number}: {error}") from None
            lines.append(entry)
    return lines


def read_csv(path: Path, needed: Sequence[str] = ()) -> tuple[list[str], list[list[str]]]:
    """Read a CSV file with a header; every row has as many cells as that.

    Empty lines are no rows.

    Args:
        needed: Columns that must be there.

    Returns:
        The header, and the rows.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is no UTF-8, a quote is not closed, a column is missing or there twice,
            a row has other cells than the header, or is the header again; names the line.
    """
    rows: list[list[str]] = []
    # The csv module sees the ends of lines itself, or it would change those inside of names.
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            header = next(reader, [])
            _check_header(header, needed)
            start = reader.line_num + 1
            for row in reader:
                if row == header:
                    raise ValueError(f"line {start} is the header again")
                if row and len(row) != len(header):
                    raise ValueError(
                        f"line {start} has {len(row)} cells, and the header {len(header)}"
                    )
                rows += [row] if row else []
                start = reader.line_num + 1
        except csv.Error as error:
            raise ValueError(f"line {reader.line_num}: {error}") from None
    return header, rows


def _check_header(header: Sequence[str], needed: Sequence[str]) -> None:
    for name in header:
        if header.count(name) > 1:
            raise ValueError(f"it has the column {name!r} twice")
    missing = [name for name in needed if name not in header]
    if missing:
        raise ValueError(
            f"it has no column {', '.join(map(repr, missing))}; found: {', '.join(header)}"
        )


def read_arrays(path: Path, *names: str, fix: str = COPY_AGAIN) -> dict[str, ndarray]:
    """Read an .npz file of plain arrays.

    Args:
        names: Of the arrays that must be there.

    Raises:
        DataError: If it is missing or damaged, or lacks one.
    """
    with reading(path, fix), path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        found = {name: arrays[name] for name in arrays.files}
        for name in names:
            found[name]
        return found


def read_array(path: Path, *, mapped: bool = False, fix: str = COPY_AGAIN) -> ndarray:
    """Read an .npy file of a plain array.

    Args:
        mapped: Map it into memory, read-only, in place of reading all of it.

    Raises:
        DataError: If it is missing or damaged.
    """
    with reading(path, fix):
        return np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
