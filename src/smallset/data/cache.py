"""Decode once: all images of a set as one uint8 array on disk, memory-mapped, never stale.

The key is the content of every file (its sha256, read again at each start), the size, the resize
policy and the pixel limit. A changed, added or removed file makes another key. An array is
written aside and renamed, so any number of processes may ask for it at a time.
"""

import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from numpy import ndarray

from smallset.config import Resize
from smallset.data.listing import ImageSet
from smallset.data.pictures import Unreadable, decode, resize
from smallset.errors import DataError
from smallset.files import build_folder, cache_dir

FORMAT = "1"  # part of every key: a change in how pixels are made must change it


@dataclass(frozen=True)
class Pixels:
    """The decoded images of a set, row for row."""

    array: UInt8[ndarray, "n size size 3"]
    """Memory-mapped, read-only; rows of unreadable files are black."""
    ids: tuple[str, ...]
    """sha256 of each image's decoded full-size pixels; "" where unreadable."""
    errors: dict[int, str]
    """Row and reason of each unreadable file."""
    key: str
    """Names content, size and policy."""

    @property
    def readable(self) -> Bool[ndarray, " n"]:
        """True where the file could be decoded."""
        return np.array([row not in self.errors for row in range(len(self.ids))])


def load_pixels(
    images: ImageSet,
    *,
    size: int,
    policy: Resize,
    max_megapixels: float = 80.0,
    progress: Callable[[int, int], None] | None = None,
) -> Pixels:
    """Return the decoded images of a set, from the cache or decoded now.

    Args:
        images: The listing.
        size: Side of the square images, px.
        policy: How a picture becomes square.
        max_megapixels: Larger pictures count as unreadable.
        progress: Told the number of images done and of all, while decoding.

    Raises:
        DataError: If a file of the listing cannot be opened at all.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        contents = list(pool.map(lambda path: _file_hash(images.root / path), images.paths))
    spec = f"{FORMAT}/{size}/{policy}/{max_megapixels}/" + "/".join(contents)
    key = hashlib.sha256(spec.encode()).hexdigest()[:24]

    def fill(folder: Path) -> None:
        _decode_all(images, contents, folder, size, policy, max_megapixels, progress)

    folder = build_folder(cache_dir() / "decoded" / key, fill)
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    return Pixels(
        array=np.load(folder / "pixels.npy", mmap_mode="r"),
        ids=tuple(index["ids"]),
        errors={int(row): why for row, why in index["errors"].items()},
        key=key,
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot open {path}: {error.strerror}") from None


def _file_hash(path: Path) -> str:
    return hashlib.sha256(_read(path)).hexdigest()


def _decode_all(
    images: ImageSet,
    contents: list[str],
    folder: Path,
    size: int,
    policy: Resize,
    max_megapixels: float,
    progress: Callable[[int, int], None] | None,
) -> None:
    array = np.lib.format.open_memmap(
        folder / "pixels.npy", mode="w+", dtype=np.uint8, shape=(len(images), size, size, 3)
    )

    def one(row: int) -> tuple[str, str | None]:
        content = _read(images.root / images.paths[row])
        if hashlib.sha256(content).hexdigest() != contents[row]:
            raise DataError(f"{images.root / images.paths[row]} changed while it was read")
        try:
            picture = decode(content, max_megapixels=max_megapixels)
        except Unreadable as error:
            return "", str(error)
        array[row] = resize(picture.image, size, policy)
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
    array.flush()
    (folder / "index.json").write_text(json.dumps({"ids": ids, "errors": errors}), encoding="utf-8")
