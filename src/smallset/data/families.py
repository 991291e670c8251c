"""Which pictures belong together: of one group, of one burst, equal or nearly the same.

A model that learnt from one of them knows the others, so all are on one side of a split.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from numpy import ndarray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from smallset.data.bursts import burst_of, numbered_bursts
from smallset.data.cache import Pixels, load_pixels
from smallset.data.duplicates import find_nearly_same
from smallset.data.listing import ImageSet
from smallset.data.lookalikes import SIZE, describe_wholes
from smallset.data.preprocessing import Square
from smallset.groups import DataConfig
from smallset.progress import Reporter

MOST_OF_CLASS, FEW = 1 / 3, 10
"""Share of a class of more than a few images that near copies of each other may be, at most."""
Links = list[tuple[int, int]]


class Families(NamedTuple):
    """Which images belong together."""

    names: list[str]
    """One per image, which those that belong together share."""
    said: str
    """Such as "12 near copies and 3 of a burst in 5 groups"; empty where all stand alone."""


def families(images: ImageSet, config: DataConfig, reporter: Reporter) -> Families:
    """Return which images belong together, by their pixels, times, names and groups.

    Args:
        config: Its limit of pixels counts; what is larger or unreadable stands alone.
        reporter: Told of progress, and of near copies that are not taken for such.
    """
    square = Square(size=SIZE, max_megapixels=config.max_megapixels)
    decoding = partial(reporter.counted, "decoding")
    small = load_pixels(images, square, progress=decoding, note=reporter.note)
    pairs = find_nearly_same(images, config, reporter)
    kinds = {
        "of a group": _links(images.groups or ()),
        "with equal pixels": _links(small.ids),
        "near copies": _sound([pair[:2] for pair in pairs], images, reporter),
        "of a burst": _links(burst_of(images)) + _links(_by_number(images, small)),
    }
    counts: dict[str, int] = {}
    known: Links = []
    alone = len(images)
    for kind, links in kinds.items():
        known += links
        left = len(set(_joined(known, len(images)).tolist()))
        counts[kind], alone = alone - left, left
    names = _joined(known, len(images))
    groups = int((np.bincount(names) > 1).sum())
    listed = " and ".join(f"{count} {kind}" for kind, count in counts.items() if count)
    said = f"{listed} in {groups} group{'s' * (groups != 1)}" if listed else ""
    return Families([str(name) for name in names.tolist()], said)


def _links(names: Iterable[str]) -> Links:
    """Return the rows of each name, but "", with the first of them."""
    members: dict[str, list[int]] = defaultdict(list)
    for row, name in enumerate(names):
        if name:
            members[name].append(row)
    return [(first, other) for first, *others in members.values() for other in others]


def _joined(links: Sequence[tuple[int, int]], count: int) -> Int[ndarray, " n"]:
    both = np.array(links, dtype=np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(both)), both.T), shape=(count, count))
    return connected_components(graph, directed=False)[1]


def _sound(links: Links, images: ImageSet, reporter: Reporter) -> Links:
    """Return the near copies, or none where whole classes would be: digits, icons, one film."""
    sizes = np.bincount(images.labels, minlength=len(images.classes))
    joined = _joined(links, len(images))
    for label in np.flatnonzero(sizes > FEW):
        largest = np.bincount(joined[images.labels == label]).max()
        if largest > MOST_OF_CLASS * sizes[label]:
            reporter.note(
                f"{largest} of the {sizes[label]} images of {images.classes[label]} are nearly the "
                "same, so near copies are not kept together; give the images that belong "
                "together a group in a manifest"
            )
            return []
    return links


def _by_number(images: ImageSet, small: Pixels) -> list[str]:
    """Return bursts by the numbers in names, where pictures with neighbouring ones look alike."""
    if not small.readable.any():
        return []
    wholes = describe_wholes(small.array)

    def likeness(pairs: Int[ndarray, "pairs 2"]) -> ndarray:
        seen = small.readable[pairs].all(axis=1)
        return (wholes[pairs[:, 0]] * wholes[pairs[:, 1]]).sum(dim=1).numpy() * seen

    return numbered_bursts(images, likeness)
