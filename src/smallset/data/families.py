"""Which pictures belong together: of one group, of one burst, equal or nearly the same.

A model that learnt from one of them knows the others, so all are on one side of a split.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int
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
"""Share of a class of more than a few images that one family may hold; of fewer, all but one."""
Links = list[tuple[int, int]]
Lacking = Callable[[Sequence[str]], Bool[ndarray, " classes"]]
"""Says which classes a split has none of where families, by a name per image, stay together."""


class Families(NamedTuple):
    """Which images belong together."""

    names: list[str]
    """One per image, which those that belong together share."""
    said: str
    """Such as "12 images in 5 groups (near copies)"; empty where all stand alone."""
    apart: tuple[str, ...]
    """A sentence for each kind of families that is too much of a class to be kept together."""


def families(
    images: ImageSet,
    config: DataConfig,
    reporter: Reporter,
    lacking: Lacking | None = None,
    *,
    also: Sequence[Square] = (),
) -> Families:
    """Return which images belong together, by their pixels, times, names and groups.

    One family may be a whole class: a film, icons, what was photographed in one go. No side of a
    split could do without it, so of such a class the least sure families are given up.

    Args:
        config: Its limit of pixels counts; what is larger or unreadable stands alone.
        reporter: Told of progress.
        lacking: Families that make a class lack are given up too; None asks for nothing more.
        also: As of `smallset.data.cache.load_pixels`.
    """
    square = Square(size=SIZE, max_megapixels=config.max_megapixels)
    decoding = partial(reporter.counted, "decoding")
    small = load_pixels(images, square, also=also, progress=decoding, note=reporter.note)
    pairs = find_nearly_same(images, config, reporter)
    sure = {"given groups": _links(images.groups or ()), "equal pixels": _links(small.ids)}
    guessed = {  # the surest first
        "near copies": [pair[:2] for pair in pairs],
        "bursts by time": _links(burst_of(images)),
        "bursts by number": _links(_by_number(images, small)),
    }
    known, kinds, apart = list[tuple[int, int]](), list[str](), list[str]()
    alone = len(images)
    for kind, links in {**sure, **guessed}.items():
        if kind in guessed:
            links, odd = _bearable(links, known, images, lacking)
            apart += [_given_up(kind, odd)] if odd else []
        known += links
        left = len(set(_joined(known, len(images)).tolist()))
        kinds += [kind] if left < alone else []
        alone = left
    names = _joined(known, len(images))
    sizes = np.bincount(names)
    groups = int((sizes > 1).sum())
    held = f"{sizes[sizes > 1].sum()} images in {groups} group{'s' * (groups != 1)}"
    said = f"{held} ({', '.join(kinds)})" if kinds else ""
    return Families([str(name) for name in names.tolist()], said, tuple(apart))


def grouped(images: ImageSet) -> list[str]:
    """Return a name per image that those of one given group share; nothing is looked for."""
    return [str(name) for name in _joined(_links(images.groups or ()), len(images)).tolist()]


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


def _bearable(
    links: Links, known: Links, images: ImageSet, lacking: Lacking | None
) -> tuple[Links, list[str]]:
    """Return the links but those of classes that would be too much in one family, and these."""
    sizes = np.bincount(images.labels, minlength=len(images.classes))
    most = np.where(sizes > FEW, MOST_OF_CLASS * sizes, np.maximum(sizes - 1, 1))

    def state(links: Links) -> tuple[ndarray, ndarray]:
        joined = _joined(links, len(images))
        largest = [
            np.bincount(joined[images.labels == label], minlength=1).max()
            for label in range(len(sizes))
        ]
        lacks = np.zeros(len(sizes), dtype=bool)
        if lacking is not None:
            lacks = lacking([str(name) for name in joined.tolist()])
        return np.array(largest), lacks

    odd: set[int] = set()
    before, lacked = state(known) if links else (sizes, sizes > 0)
    while links:
        largest, lacks = state(known + links)
        worse = ((largest > most) & (largest > before)) | (lacks & ~lacked)
        touching = {int(images.labels[row]) for pair in links for row in pair}
        found = touching & set(np.flatnonzero(worse).tolist())
        if not found:
            break
        odd |= found
        links = [pair for pair in links if not found & {*images.labels[list(pair)].tolist()}]
    return links, [images.classes[label] for label in sorted(odd)]


def _given_up(kind: str, classes: Sequence[str]) -> str:
    more = f" and {len(classes) - 5} more classes" if len(classes) > 5 else ""
    return (
        f"{kind} of {', '.join(classes[:5])}{more} are not kept together: one side would hold too "
        "much of the class; give the images that belong together a group in a manifest"
    )


def _by_number(images: ImageSet, small: Pixels) -> list[str]:
    """Return bursts by the numbers in names, where pictures with neighbouring ones look alike."""
    if not small.readable.any():
        return []
    wholes = describe_wholes(small.array)

    def likeness(pairs: Int[ndarray, "pairs 2"]) -> ndarray:
        seen = small.readable[pairs].all(axis=1)
        return (wholes[pairs[:, 0]] * wholes[pairs[:, 1]]).sum(dim=1).numpy() * seen

    return numbered_bursts(images, likeness)
