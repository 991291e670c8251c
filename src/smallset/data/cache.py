"""Decode once: all images of a set as one uint8 array on disk, memory-mapped, never stale.

The key is the content of every file (its sha256), the size, the resize policy, the pixel limit and
the formats that can be read here. A changed, added or removed file makes another key. An array is
written aside and renamed, so any number of processes may ask for it at a time; its checksum is
verified when it is opened.
"""

import hashlib
import os
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8
from numpy import ndarray

from smallset.data.listing import ImageSet
from smallset.data.pictures import Unreadable, formats, read_file
from smallset.data.preprocessing import Square
from smallset.errors import DataError
from smallset.files import cache_dir, write_json
from smallset.reading import read_array, read_json
from smallset.store import build_folder, new_array

FORMAT = "1"  # part of every key: a change in how pixels are made must change it
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
    progress: Callable[[int, int], object] | None = None,
    note: Callable[[str], object] = warnings.warn,
) -> Pixels:
    """Return the decoded images of a set, from the cache or decoded now.

    Args:
        square: How a picture becomes one; what it refuses counts as unreadable.
        progress: Told the number of images done and of all, while decoding.
        note: Told where what was kept is damaged, and is decoded again.

    Raises:
        DataError: If a file changes while it is read.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        contents = list(pool.map(lambda path: _file_hash(images.root / path), images.paths))
    shape = f"{square.size}/{square.resize}/{square.max_megapixels}"
    spec = f"{FORMAT}/{'+'.join(formats())}/{shape}/" + "/".join(contents)
    key = hashlib.sha256(spec.encode()).hexdigest()[:24]

    def fill(folder: Path) -> None:
        _decode_all(images, contents, folder, square, progress)

    return _open(build_folder(cache_dir() / "decoded" / key, fill, note=note))


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
    folder: Path,
    square: Square,
    progress: Callable[[int, int], object] | None,
) -> None:
    shape = (len(images), square.size, square.size, 3)
    array = new_array(folder / "pixels.npy", shape, np.uint8)

    def one(row: int) -> tuple[str, str | None]:
        if contents[row].startswith(CANNOT):
            return "", contents[row].removeprefix(CANNOT)
        try:
            content = read_file(images.root / images.paths[row])
        except Unreadable:
            content = b""
        if hashlib.sha256(content).hexdigest() != contents[row]:
            raise DataError(f"{images.root / images.paths[row]} changed while it was read")
        try:
            array[row], name = square.read(content)
        except Unreadable as error:
            return "", str(error)
        return name, None

    ids: list[str] = []
    errors: dict[int, str] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for row, (name, why) in enumerate(pool.map(one, range(len(images)))):
            ids.append(name)
            if why is not None:
                errors[row] = why
            if progress is not None:
                progress(row + 1, len(images))
    array.flush()
    write_json(folder / "index.json", {"ids": ids, "errors": errors})
