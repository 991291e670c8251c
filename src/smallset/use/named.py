"""From what a user names to picture files, in order: files, folders, globs, manifests, a list."""

import glob
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from smallset.data.manifest import SUFFIXES, read_rows
from smallset.data.read import IMAGE_SUFFIXES, image_files
from smallset.errors import DataError
from smallset.files import given_path


class Named(NamedTuple):
    """Picture files in the order in which they were named; a file named twice is there twice."""

    paths: tuple[str, ...]
    """As they can be opened from the current folder; nobody has looked at them yet."""
    manifests: tuple[Path, ...]
    """Lists among what was named."""
    notes: tuple[str, ...]
    """What was left out, as sentences."""


def find_named(names: Sequence[str], *, read_list: Callable[[], bytes]) -> Named:
    """Return the picture files that some names mean.

    Args:
        names: Each a file, a folder (the pictures in and below it, sorted), a pattern such as
            "photos/**/*.jpg", a .csv or .jsonl manifest with a path per row, relative to its own
            folder, or "-" for a list.
        read_list: Gives the list: one path per line, or with zero bytes between them.

    Raises:
        DataError: If a name means nothing, or there is no picture under it.
    """
    paths: list[str] = []
    manifests: list[Path] = []
    others: Counter[str] = Counter()
    for name in names:
        if name == "-":
            paths += _listed(read_list())
            continue
        for found in _matches(name):
            if found.is_dir():
                inside, left = _folder(found)
                paths += inside
                others += left
            elif found.suffix.lower() in SUFFIXES:
                paths += _rows(found)
                manifests.append(found)
            else:
                paths.append(str(found))
    notes: list[str] = []
    if others:
        listed = ", ".join(f"{count} x {suffix}" for suffix, count in sorted(others.items()))
        notes.append(f"files that are not named like pictures were left out: {listed}")
    return Named(tuple(paths), tuple(manifests), tuple(notes))


def _matches(name: str) -> list[Path]:
    if not name:
        raise DataError("a picture's name is empty; '.' is the current folder")
    path = given_path(name)
    if os.path.lexists(path):
        return [path]
    if glob.has_magic(name):
        # That of pathlib does not go through linked folders, and shows hidden files.
        found = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207
        if not found:
            raise DataError(f"no file matches {name}")
        return [Path(each) for each in found]
    raise DataError(f"no file or folder {path}")


def _folder(folder: Path) -> tuple[list[str], Counter[str]]:
    found, others = image_files(folder)
    if not found:
        beside = f" (found: {', '.join(sorted(others))})" if others else ""
        endings = " ".join(sorted(IMAGE_SUFFIXES))
        raise DataError(f"{folder} has no image{beside}; supported: {endings}")
    return [str(path) for path in found], others


def _rows(manifest: Path) -> list[str]:
    paths: list[str] = []
    for number, row in enumerate(read_rows(manifest, ("path",)), start=1):
        if not row.get("path"):
            raise DataError(f"{manifest}, image {number}: 'path' is missing or empty")
        paths.append(str(manifest.parent / row["path"]))
    return paths


def _listed(content: bytes) -> list[str]:
    # `find -print0` is the way for names with line breaks in them.
    lines = content.split(b"\0" if b"\0" in content else b"\n")
    paths = [os.fsdecode(line.removesuffix(b"\r")) for line in lines]
    paths = [path for path in paths if path]
    if not paths:
        raise DataError("the list on standard input names no picture")
    return paths
