"""Pictures that are nearly the same: saved again, resized, turned, brightened, cut or framed.

Descriptions find which pictures might be (`lookalikes.py`); their pixels confirm it. Two
photographs of one thing are no duplicates: their details do not lie on each other.
"""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from smallset.data.align import likeness
from smallset.data.cache import load_pixels
from smallset.data.listing import ImageSet
from smallset.data.lookalikes import SIZE, candidates, look, turned
from smallset.data.preprocessing import Square
from smallset.files import cache_dir
from smallset.groups import DataConfig
from smallset.progress import Reporter
from smallset.reading import read_arrays
from smallset.store import build_folder

RULES = 2  # of who is nearly the same; raise it where they change, so that no old file is used
LIKENESS = 0.91  # correlation of details from which two pictures are the same one
BATCH = 64


class Pair(NamedTuple):
    """Two pictures that are nearly the same."""

    first: int
    second: int
    likeness: float
    """Correlation of their details, the best over turned, mirrored and cut ones, in [-1, 1]."""


def find_nearly_same(images: ImageSet, config: DataConfig, reporter: Reporter) -> list[Pair]:
    """Look through a whole data set, once: what is found is kept in the cache.

    Of pictures with the same pixels the first is looked at, for all of them.

    Args:
        config: Its limit of pixels counts; what is larger or unreadable is not looked at.
        reporter: Told of progress.
    """
    square = Square(size=SIZE, max_megapixels=config.max_megapixels)
    decoding = partial(reporter.counted, "decoding")
    small = load_pixels(images, square, progress=decoding, note=reporter.note)
    row_of = {name: row for row, name in reversed([*enumerate(small.ids)]) if name}
    rows = sorted(row_of.values())
    names = "/".join(small.ids[row] for row in rows)
    key = hashlib.sha256(f"{RULES}/{SIZE}/{names}".encode()).hexdigest()[:24]

    def fill(aside: Path) -> None:
        found = near_duplicates(small.array[rows], on_progress=reporter.counted)
        pairs = np.array([pair[:2] for pair in found], dtype=np.int64).reshape(-1, 2)
        np.savez(aside / "pairs.npz", pairs=pairs, likeness=[pair.likeness for pair in found])

    made = build_folder(cache_dir() / "near" / key, fill, note=reporter.note)
    known = read_arrays(made / "pairs.npz", "pairs", "likeness", fix="delete its folder")
    return [
        Pair(rows[a], rows[b], value)
        for (a, b), value in zip(known["pairs"].tolist(), known["likeness"].tolist(), strict=True)
    ]


def near_duplicates(
    images: UInt8[ndarray, "n size size 3"],
    *,
    on_progress: Callable[[str, int, int], object] = lambda what, done, total: None,  # noqa: ARG005
) -> list[Pair]:
    """Return all pairs found, the most alike first.

    Args:
        images: The pictures, squashed to `SIZE`.
        on_progress: Told what is done, how many of it, and of how many.
    """
    if len(images) < 2:
        return []
    looks = look(images)
    might = candidates(looks, on_progress=partial(on_progress, "descriptions"))
    best: dict[tuple[int, int], float] = {}
    done = 0
    for turn in np.unique(might.turn).tolist():
        rows = np.flatnonzero(might.turn == turn)
        for part in np.split(rows, range(BATCH, len(rows), BATCH)):
            first, second = (looks.grey[might.pairs[part, side]].float() for side in (0, 1))
            alike = likeness(turned(first, turn), second, might.place[part])
            for both, value in zip(looks.owner[might.pairs[part]], alike.tolist(), strict=True):
                pair = (int(both.min()), int(both.max()))
                best[pair] = max(best.get(pair, -1.0), value)
            done += len(part)
            on_progress("pairs", done, len(might.pairs))
    found = [Pair(*pair, value) for pair, value in best.items() if value >= LIKENESS]
    return sorted(found, key=lambda pair: (-pair.likeness, pair.first, pair.second))
