"""Which pictures belong together: of one group, of one burst, or nearly the same.

A model that learnt from one of them knows the others, so all are learnt from or none.
"""

import hashlib
from collections import defaultdict
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Int
from numpy import ndarray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from smallset.clean.duplicates import COARSE, SIZE, details, near_duplicates
from smallset.data.bursts import burst_of
from smallset.data.cache import load_pixels
from smallset.data.prepare import Prepared
from smallset.data.preprocessing import Square
from smallset.files import cache_dir
from smallset.groups import DataConfig
from smallset.progress import Reporter
from smallset.reading import read_array
from smallset.store import build_folder

RULES = 1  # of who is nearly the same; raise it where they change, so that no old file is used


def families(data: Prepared, config: DataConfig, reporter: Reporter) -> list[str]:
    """Return a name per training image that those which belong together share.

    Args:
        reporter: Told of progress, and how many belong to others.
    """
    rows = data.of("train")
    images = data.images.where(data.images.splits == "train")
    ids = data.ids("train")
    links: list[tuple[int, int]] = []
    for names in (ids, images.groups or (), burst_of(images)):
        members: dict[str, list[int]] = defaultdict(list)
        for row, name in enumerate(names):
            if name:
                members[name].append(row)
        links += [(first, other) for first, *others in members.values() for other in others]
    key = hashlib.sha256(f"{RULES}/{SIZE}/{'/'.join(ids)}".encode()).hexdigest()[:24]

    def fill(aside: Path) -> None:
        square = Square(size=SIZE, max_megapixels=config.max_megapixels)
        small = load_pixels(
            images,
            square,
            progress=partial(reporter.counted, "decoding"),
            note=reporter.note,
        )
        np.save(aside / "pairs.npy", _near(np.asarray(small.array), reporter))

    made = build_folder(cache_dir() / "near" / key, fill, note=reporter.note)
    pairs = read_array(made / "pairs.npy")
    both = np.array([*links, *map(tuple, pairs.tolist())], dtype=np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(both)), both.T), shape=(len(rows), len(rows)))
    count, names = connected_components(graph, directed=False)
    if others := len(names) - count:
        reporter.note(
            f"{others} images belong to others (a group, a burst, or nearly the same picture): "
            "they are in one fold with them, or the estimate would be too hopeful"
        )
    return [str(name) for name in names.tolist()]


def _near(pixels: ndarray, reporter: Reporter) -> Int[ndarray, "pairs 2"]:
    """Return the rows of pictures that are nearly the same, looked for among alike thumbnails."""
    if len(pixels) < 2:
        return np.zeros((0, 2), dtype=np.int64)
    pixels = pixels.copy()  # torch wants to be allowed to write
    grey = torch.from_numpy(pixels).float().mean(dim=3)[:, None]
    thumbs = details(F.interpolate(grey, size=(COARSE, COARSE), mode="area")).flatten(1).numpy()
    found = near_duplicates(thumbs, pixels, on_progress=partial(reporter.counted, "near copies"))
    return np.array([[pair.first, pair.second] for pair in found], dtype=np.int64).reshape(-1, 2)
