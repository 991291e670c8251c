"""The images of a record, found again in the data, and made small enough for one file."""

import base64
import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int, UInt8
from numpy import ndarray
from PIL import Image

from smallset.data.cache import load_pixels
from smallset.data.preprocessing import THUMBNAIL, Preprocessing, Square
from smallset.data.read import list_data
from smallset.errors import DataError
from smallset.record.record import Record
from smallset.show.report.render import room_for_images
from smallset.words import Text, text

SIZES = (THUMBNAIL, 128, 112, 96, 80, 64, 48, 40, 32)
"""Of thumbnails, px; the largest that fits is taken."""
SMALLEST = SIZES[-1]
QUALITY = 68


@runtime_checkable
class Source(Protocol):
    """Square images by their row."""

    @property
    def side(self) -> int:
        """Return their side, px."""
        ...

    def of(self, rows: Sequence[int]) -> UInt8[ndarray, "n size size 3"]:
        """Return some of them; several threads may ask at a time."""
        ...


@dataclass(frozen=True)
class Pictures:
    """The decoded images of a record, row for row as in predictions.csv."""

    array: UInt8[ndarray, "all size size 3"]
    """Memory-mapped; as the network saw them."""
    at: Int[ndarray, " n"]
    """Where each row of predictions.csv is in it."""
    sharp: "Pictures | None" = None
    """The same at the size of the largest thumbnails, where the network saw less; to be shown."""

    @property
    def side(self) -> int:
        """Return their side, px."""
        return self.array.shape[1]

    def of(self, rows: Sequence[int]) -> UInt8[ndarray, "n size size 3"]:
        """Return the images of some rows of predictions.csv."""
        return self.array[self.at[np.asarray(rows, dtype=np.int64)]]

    @property
    def shown(self) -> "Pictures":
        """Return the pictures to make thumbnails of."""
        return self.sharp or self


def find_pictures(
    record: Record,
    data: str | None = None,
    *,
    progress: Callable[[int, int], object] | None = None,
) -> Pictures:
    """Find the images of a record in its data, and make sure that they are the same.

    Args:
        data: Where the data is now; None takes the place where it was.
        progress: Told how far decoding is, where it must be done again.

    Raises:
        DataError: If the data is not there any more, or images are missing or changed.
    """
    source = data or record.config["data"]["source"]
    hint = "--data PLACE says where it is now, --without-images leaves them out of the page"
    try:
        images = list_data(source)
    except DataError as error:
        raise DataError(f"the images of {record.folder} cannot be shown: {error}; {hint}") from None
    preprocessing = Preprocessing.from_json(record.model["preprocessing"])
    pixels = load_pixels(images, preprocessing, progress=progress)
    place = {path: row for row, path in enumerate(images.paths)}
    wanted = record.predictions
    at = np.array([place.get(path, -1) for path in wanted.paths], dtype=np.int64)
    other = [
        path
        for path, name, row in zip(wanted.paths, wanted.ids, at, strict=True)
        if row < 0 or pixels.ids[row] != name
    ]
    if other:
        raise DataError(
            f"{len(other)} images of {record.folder} are missing in {source} or have changed "
            f"since, such as {other[0]}; {hint}"
        )
    sharp = None
    if preprocessing.size < SIZES[0]:
        larger = Square(
            size=SIZES[0],
            resize=preprocessing.resize,
            max_megapixels=preprocessing.max_megapixels,
        )
        sharp = Pictures(load_pixels(images, larger, progress=progress).array, at)
    return Pictures(pixels.array, at, sharp)


def fit_thumbnails(
    pictures: Source, rows: Sequence[int], *, page: str, budget_mb: float
) -> tuple[dict[int, str], list[Text]]:
    """Make thumbnails that a page has room for, and say what had to be left out.

    Args:
        rows: Whose images, the most important ones first.
        budget_mb: What the page may take in all, in 10^6 bytes.

    Returns:
        As `thumbnails`, and a note where images are left out.

    Raises:
        ConfigError: If the page takes more already.
    """
    made = thumbnails(pictures, rows, most_bytes=room_for_images(page, budget_mb, len(rows)))
    left = len(rows) - len(made)
    note = text("{count} of {all} images are not in this file, to keep it under {mb:g} MB.",
                count=left, all=len(rows), mb=budget_mb)  # fmt: skip
    return made, [note] if left else []


def thumbnails(pictures: Source, rows: Sequence[int], *, most_bytes: float) -> dict[int, str]:
    """Make thumbnails as large as fit; of what does not fit at 32 px, the last rows are left out.

    Args:
        rows: Whose images, the most important ones first.
        most_bytes: What they may take in the page, as base64.

    Returns:
        Base64 of a WebP file, by row of predictions.csv.
    """
    sample = rows[:: max(1, len(rows) // 60)]
    share = most_bytes / max(len(rows), 1)
    size = SMALLEST
    for size in [s for s in SIZES if s <= pictures.side] or [SMALLEST]:
        mean = np.mean([len(each) for each in _encoded(pictures, sample, size)] or [0])
        # A sample of 60 misses the mean by a few percent.
        if 1.06 * mean <= share:
            break
    made: dict[int, str] = {}
    used = 0
    for row, shown in zip(rows, _encoded(pictures, rows, size), strict=True):
        used += len(shown)
        if used > most_bytes:
            break
        made[row] = shown
    return made


def _encoded(pictures: Source, rows: Sequence[int], size: int) -> list[str]:
    def one(row: int) -> str:
        return webp(pictures.of([row])[0], size=size)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(one, rows))


def webp(image: UInt8[ndarray, "height width 3"], *, size: int | None = None) -> str:
    """Return an image as base64 of a WebP file.

    Args:
        size: Side to shrink to, px; None keeps it.
    """
    picture = Image.fromarray(image)
    if size is not None and size < max(picture.size):
        picture = picture.resize((size, size), Image.Resampling.BILINEAR)
    content = io.BytesIO()
    picture.save(content, "WEBP", quality=QUALITY, method=2)
    return base64.b64encode(content.getvalue()).decode()
