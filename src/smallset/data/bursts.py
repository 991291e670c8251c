"""Photographs taken in one go: the same camera, seconds apart, as the files themselves say."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from PIL import ExifTags

from smallset.data.listing import ImageSet
from smallset.data.pictures import BROKEN, open_image

SECONDS = 10.0  # between two photographs of a burst, at most


def burst_of(images: ImageSet, *, seconds: float = SECONDS) -> list[str]:
    """Return a name per image that those of one burst share; "" where the file does not say.

    Photographs of one class by one camera are a burst while each follows the one before it within
    some seconds.

    Args:
        seconds: Between two photographs of a burst, at most.
    """
    taken: dict[tuple[int, str], list[tuple[float, int]]] = {}
    for row, path in enumerate(images.paths):
        told = _told(images.root / path)
        if told is not None:
            camera, moment = told
            taken.setdefault((int(images.labels[row]), camera), []).append((moment, row))
    names = [""] * len(images)
    for shots in taken.values():
        for run in _runs(sorted(shots), seconds):
            for row in run:
                names[row] = f"burst {run[0]}"
    return names


def _runs(shots: Sequence[tuple[float, int]], seconds: float) -> list[list[int]]:
    runs: list[list[int]] = []
    before = float("-inf")
    for moment, row in shots:
        if moment - before > seconds:
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
