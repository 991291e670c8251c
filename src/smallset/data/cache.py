"""Decode once: all images of a set as one uint8 array on disk, memory-mapped, never stale.

The key is the content of every file (its sha256), the size, the resize policy, the pixel limit and
the formats that can be read here. A changed, added or removed file makes another key, and files
that an array of that size holds already are copied from there. An array is written aside and
renamed, so any number of processes may ask for it at a time; its checksum is verified when it is
opened.
"""

import hashlib
import os
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8
from numpy import ndarray

from smallset.data.listing import ImageSet
from smallset.data.pictures import Unreadable, decode, formats, read_file
from smallset.data.preprocessing import Square
from smallset.errors import DataError
from smallset.files import cache_dir, write_json
from smallset.reading import read_array, read_json
from smallset.store import build_folders, new_array, sound_folders

FORMAT = "2"  # part of every key: a change in how pixels are made must change it
SETTLED_SECONDS = 2.0
CANNOT = "cannot: "
_hashes: dict[tuple[Any, ...], str] = {}


@dataclass(frozen=True)
class Pixels:
    """The decoded images of a set, row for row; another process gets them by their place."""

    folder: Path
    """In the cache."""
    array: UInt8[ndarray, "n size size 3"]
    """Memory-mapped, read-only; rows of unreadable files are black."""
    ids: tuple[str, ...]
    """sha256 of each image's decoded full-size pixels; "" where unreadable."""
    errors: dict[int, str]
    """Row and reason of each unreadable file."""

    @property
    def readable(self) -> Bool[ndarray, " n"]:
        """True where the file could be decoded."""
        return np.array([row not in self.errors for row in range(len(self.ids))])

    def __reduce__(self) -> tuple[Any, ...]:
        return _open, (self.folder,)


def load_pixels(
    images: ImageSet,
    square: Square,
    *,
    also: Sequence[Square] = (),
    progress: Callable[[int, int], object] | None = None,
    note: Callable[[str], object] = warnings.warn,
) -> Pixels:
    """Return the decoded images of a set, from the cache or decoded now.

    Args:
        square: How a picture becomes one; what it refuses counts as unreadable.
        also: Others that will be asked for, with the same limit of pixels: a photograph of 12
            megapixels takes far longer to decode than to resize, so it is decoded for all at once.
        progress: Told the number of images done and of all, while decoding.
        note: Told where what was kept is damaged, and is decoded again.

    Raises:
        DataError: If a file changes while it is read.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        contents = list(pool.map(lambda path: _file_hash(images.root / path), images.paths))
    squares = {_place(each, contents): each for each in (square, *also)}

    def fill(asides: dict[Path, Path]) -> None:
        known = {folder: _known(folder.parent, set(contents), note) for folder in asides}
        arrays = [_Array(asides[f], squares[f], len(images), known[f]) for f in asides]
        _decode_all(images, contents, arrays, progress)

    build_folders(list(squares), fill, note=note)
    return _open(next(iter(squares)))


class _Known(NamedTuple):
    """The pixels of a file, decoded for another set."""

    pixels: Pixels
    row: int


class _Array:
    """The array of one square while it is made."""

    def __init__(self, folder: Path, square: Square, rows: int, known: dict[str, _Known]) -> None:
        self.folder, self.square, self.known = folder, square, known
        shape = (rows, square.size, square.size, 3)
        self.pixels = new_array(folder / "pixels.npy", shape, np.uint8)


def _place(square: Square, contents: Sequence[str]) -> Path:
    """Return the folder of an array: beside it are those of other sets, made in the same way."""
    shape = f"{square.size}/{square.resize}/{square.max_megapixels}"
    way, files = f"{FORMAT}/{'+'.join(formats())}/{shape}", "/".join(contents)
    names = (hashlib.sha256(text.encode()).hexdigest()[:24] for text in (way, files))
    return cache_dir().joinpath("decoded", *names)


def _known(base: Path, wanted: set[str], note: Callable[[str], object]) -> dict[str, _Known]:
    """Return where the pixels of some files are, by the contents of these."""

    def contents(folder: Path) -> list[str]:
        try:
            return read_json(folder / "index.json").get("contents", [])
        except DataError:
            return []

    found: dict[str, _Known] = {}
    for folder in sound_folders(
        base, wanted=lambda f: not wanted.isdisjoint(contents(f)), note=note
    ):
        pixels = _open(folder)
        found |= {name: _Known(pixels, row) for row, name in enumerate(contents(folder))}
    return found


def _open(folder: Path) -> Pixels:
    index = read_json(folder / "index.json")
    return Pixels(
        folder,
        array=read_array(folder / "pixels.npy", mapped=True),
        ids=tuple(index["ids"]),
        errors={int(row): why for row, why in index["errors"].items()},
    )


def _file_hash(path: Path) -> str:
    """Return the sha256 of a file, which this process reads once as long as it does not change.

    What cannot be read as a picture file (a pipe, a device, 20 GB) has `CANNOT` and why instead.
    """
    try:
        return _hash_of(path)
    except Unreadable as error:
        return f"{CANNOT}{error}"


def _hash_of(path: Path) -> str:
    try:
        seen = path.stat()
    except OSError as error:
        raise Unreadable(f"cannot be opened: {error.strerror}") from None
    key = (seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)
    if key not in _hashes:
        digest = hashlib.sha256(read_file(path)).hexdigest()
        # A file written this very moment may change again within one tick of the clock.
        if time.time() - max(seen.st_mtime, seen.st_ctime) < SETTLED_SECONDS:
            return digest
        _hashes[key] = digest
    return _hashes[key]


def _decode_all(
    images: ImageSet,
    contents: list[str],
    arrays: Sequence[_Array],
    progress: Callable[[int, int], object] | None,
) -> None:
    """Fill arrays of one limit of pixels; a file is decoded once for all that do not know it."""
    [limit] = {array.square.max_megapixels for array in arrays}
    if all(name in array.known for array in arrays for name in contents):
        progress = None  # copies take no time

    def one(row: int) -> tuple[str, str | None]:
        if contents[row].startswith(CANNOT):
            return "", contents[row].removeprefix(CANNOT)
        name, why, missing = "", None, list[_Array]()
        for array in arrays:
            if known := array.known.get(contents[row]):
                array.pixels[row] = known.pixels.array[known.row]
                name, why = known.pixels.ids[known.row], known.pixels.errors.get(known.row)
            else:
                missing.append(array)
        if not missing:
            return name, why
        try:
            content = read_file(images.root / images.paths[row])
        except Unreadable:
            content = b""
        if hashlib.sha256(content).hexdigest() != contents[row]:
            raise DataError(f"{images.root / images.paths[row]} changed while it was read")
        try:
            picture = decode(content, max_megapixels=limit)
        except Unreadable as error:
            return "", str(error)
        for array in missing:
            array.pixels[row] = array.square.of(picture)
        return picture.id, None

    ids: list[str] = []
    errors: dict[int, str] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for row, (name, why) in enumerate(pool.map(one, range(len(images)))):
            ids.append(name)
            if why is not None:
                errors[row] = why
            if progress is not None:
                progress(row + 1, len(images))
    for array in arrays:
        array.pixels.flush()
        index = {"ids": ids, "errors": errors, "contents": contents}
        write_json(array.folder / "index.json", index)
