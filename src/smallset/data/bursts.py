"""Photographs taken in one go: seconds apart, as files and names say, or neighbours by number."""

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from PIL import ExifTags

from smallset.data.listing import ImageSet
from smallset.data.pictures import BROKEN, open_image

SECONDS = 10.0  # between two photographs of a burst, at most
ALIKE = 0.5  # cosine of what neighbours by number look like, from which they are a burst
STEP = 2  # between the numbers of neighbours, at most: one of three may have been deleted
OFTEN, LEAST = 3.0, 3  # times as often as others of their class, and how often, neighbours are so
_MOMENT = re.compile(r"(?<!\d)((?:19|20)\d\d)\D?(\d\d)\D?(\d\d)\D{0,4}(\d\d)\D?(\d\d)\D?(\d\d)")
_NUMBER = re.compile(r"(\d+)\D*$")


def burst_of(images: ImageSet) -> list[str]:
    """Return a name per image that those of one burst share; "" where the file does not say.

    Photographs of one class by one camera are a burst while each follows the one before it within
    `SECONDS`. Without EXIF, the name may say when (IMG_20260102_101500.jpg); what stands before
    that is the camera.
    """
    taken: dict[tuple[int, str], list[tuple[float, int]]] = {}
    for row, path in enumerate(images.paths):
        told = _told(images.root / path) or _named(path)
        if told is not None:
            camera, moment = told
            taken.setdefault((int(images.labels[row]), camera), []).append((moment, row))
    names = [""] * len(images)
    for shots in taken.values():
        for run in _runs(sorted(shots)):
            for row in run:
                names[row] = f"burst {run[0]}"
    return names


def numbered_bursts(
    images: ImageSet, likeness: Callable[[Int[ndarray, "pairs 2"]], Float[ndarray, " pairs"]]
) -> list[str]:
    """Return a name per image that those of one burst share, by numbers in names and by looks.

    Pictures of one class whose numbers are neighbours are a burst where they look alike. Numbers
    often mean nothing, so none are bursts where neighbours are not alike far more often than
    pictures of the class that are far apart in its numbers.

    Args:
        likeness: Says how alike pairs of rows look, in [-1, 1].
    """
    near: list[tuple[int, int]] = []
    far: list[tuple[int, int]] = []
    for rows, numbers in _series(images):
        half = len(rows) // 2
        far += list(zip(rows, rows[half:], strict=False)) if half > STEP else []
        steps = zip(rows, rows[1:], np.diff(numbers).tolist(), strict=False)
        near += [(a, b) for a, b, step in steps if step <= STEP]
    if not near:
        return [""] * len(images)
    pairs = np.array(near)
    is_alike = likeness(pairs) >= ALIKE
    by_chance = ((likeness(np.array(far)) >= ALIKE).sum() + 1) / len(far) if far else 0.0
    if is_alike.sum() < LEAST or is_alike.mean() < OFTEN * by_chance:
        return [""] * len(images)
    names = [""] * len(images)
    for first, second in pairs[is_alike].tolist():  # in the order of their numbers
        names[second] = names[first] = names[first] or f"series {first}"
    return names


def _series(images: ImageSet) -> list[tuple[list[int], list[int]]]:
    """Return the rows of each class whose names are alike but for a number, by it, and these."""
    found: dict[tuple[int, str], list[tuple[int, int]]] = {}
    for row, path in enumerate(images.paths):
        stem = path.rpartition(".")[0]
        if number := _NUMBER.search(stem):
            name = f"{stem[: number.start()]}#{stem[number.end(1) :]}"
            key = (int(images.labels[row]), name)
            found.setdefault(key, []).append((int(number[1][-15:]), row))
    series = [sorted(each) for each in found.values()]
    return [([row for _, row in each], [number for number, _ in each]) for each in series]


def _runs(shots: Sequence[tuple[float, int]]) -> list[list[int]]:
    runs: list[list[int]] = []
    before = float("-inf")
    for moment, row in shots:
        if moment - before > SECONDS:
            runs.append([])
        runs[-1].append(row)
        before = moment
    return runs


def _told(path: Path) -> tuple[str, float] | None:
    """Return camera and moment of a photograph, in seconds; None where its file has none."""
    if not path.is_file():  # to open a pipe is to wait for ever
        return None
    try:
        with open_image(path) as image:
            exif = image.getexif()
            details = exif.get_ifd(ExifTags.IFD.Exif)
        text = str(details.get(ExifTags.Base.DateTimeOriginal, "")).strip("\0 ")
        moment = datetime.strptime(text, "%Y:%m:%d %H:%M:%S").timestamp()
    except BROKEN:
        return None  # no photograph, or one whose clock was not set; decoding says what is broken
    part = str(details.get(ExifTags.Base.SubsecTimeOriginal, "")).strip("\0 ")
    fraction = float(f"0.{part}") if part.isdecimal() else 0.0
    camera = f"{exif.get(ExifTags.Base.Make, '')} {exif.get(ExifTags.Base.Model, '')}"
    return camera, moment + fraction


def _named(path: str) -> tuple[str, float] | None:
    """Return what stands before the moment that a name says, and it; None where it says none."""
    found = _MOMENT.search(path.rpartition("/")[2])
    if found is None:
        return None
    try:
        moment = datetime(*map(int, found.groups())).timestamp()  # type: ignore[arg-type]
    except (ValueError, OverflowError, OSError):
        return None  # digits that are no time
    return path[: -len(found.string)] + found.string[: found.start()], moment
