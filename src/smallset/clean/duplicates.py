"""Pictures that are nearly the same: saved again, resized, mirrored, brightened, or cut.

Features and thumbnails find which pictures might be; their pixels confirm it. Two photographs of
one thing are no duplicates: their features are alike, but their details do not lie on each other.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from smallset.clean.outoffold import reduce_features
from smallset.clean.patches import learn_filters, patch_features
from smallset.data.cache import load_pixels
from smallset.data.check import Problem, nearly_same
from smallset.data.listing import ImageSet
from smallset.data.preprocessing import Square
from smallset.groups import DataConfig

SIZE = 48  # px, of the pictures that are compared
LIKENESS = 0.8  # correlation of details from which two pictures are the same one
COARSE, COARSE_LIKENESS = 24, 0.5  # px and correlation of a first look, which is 16 times quicker
SCALES = (1.0, 0.94, 0.88, 0.82, 0.76, 0.7, 0.65)  # of the part that may be cut out of the other
DETAIL = 7 / 48  # of the side: what is wider than this is light and shade, not detail
NEIGHBOURS = 3  # of each picture, by features and by thumbnail, that are compared
BATCH = 64


class Pair(NamedTuple):
    """Two pictures that are nearly the same."""

    first: int
    second: int
    likeness: float
    """Correlation of their details, the best over mirrored and cut ones, in [-1, 1]."""


def find_nearly_same(
    images: ImageSet,
    config: DataConfig,
    ids: Sequence[str],
    *,
    on_progress: Callable[[str, int, int], object],
) -> list[Problem]:
    """Look through a whole data set, by features of its own patches.

    Args:
        ids: sha256 of each image's decoded pixels.
        on_progress: Told what is done, how many of it, and of how many.
    """
    square = Square(size=SIZE, max_megapixels=config.max_megapixels)
    small = load_pixels(images, square, progress=partial(on_progress, "decoding"))
    rows = np.flatnonzero(small.readable)
    if len(rows) < 2:
        return []
    array = np.asarray(small.array[rows])
    features = patch_features(
        array, learn_filters(array), on_progress=partial(on_progress, "patches")
    )
    pairs = near_duplicates(
        reduce_features([features]), array, on_progress=partial(on_progress, "pairs")
    )
    return nearly_same(images, [(int(rows[a]), int(rows[b]), p) for a, b, p in pairs], ids)


def near_duplicates(
    features: Float[ndarray, "n d"],
    images: UInt8[ndarray, "n size size 3"],
    *,
    on_progress: Callable[[int, int], object] = lambda done, total: None,  # noqa: ARG005
) -> list[Pair]:
    """Return all pairs found, the most alike first.

    Args:
        features: Of the pictures, by which candidates are chosen.
        images: The pictures, squashed to `SIZE`.
        on_progress: Told of the candidates compared and of all.
    """
    grey = torch.from_numpy(np.asarray(images)).float().mean(dim=3)[:, None]
    small = F.interpolate(grey, size=(COARSE, COARSE), mode="area")
    candidates = _candidates(features, small)
    found: list[Pair] = []
    for start in range(0, len(candidates), BATCH):
        part = candidates[start : start + BATCH]
        part = part[(_likeness(small, part) >= COARSE_LIKENESS).numpy()]
        if len(part):
            likeness = _likeness(grey, part).tolist()
            pairs = zip(part.tolist(), likeness, strict=True)
            found += [Pair(a, b, value) for (a, b), value in pairs if value >= LIKENESS]
        on_progress(min(start + BATCH, len(candidates)), len(candidates))
    return sorted(found, key=lambda pair: (-pair.likeness, pair.first, pair.second))


def _candidates(features: Float[ndarray, "n d"], small: Float[Tensor, "n 1 side side"]) -> ndarray:
    """Return the rows of pictures and of the others that look most like them, each pair once."""
    vectors = torch.from_numpy(features.astype(np.float32))
    detail, mirrored = details(small), details(small.flip(3))
    unit, thumb, turned = (F.normalize(each.flatten(1)) for each in (vectors, detail, mirrored))
    count = min(NEIGHBOURS, len(unit) - 1)
    pairs: set[tuple[int, int]] = set()
    for start in range(0, len(unit), 1000):  # so that the similarities fit into memory
        rows = torch.arange(start, min(start + 1000, len(unit)))
        by_thumb = torch.maximum(thumb[rows] @ thumb.T, thumb[rows] @ turned.T)
        for near in (unit[rows] @ unit.T, by_thumb):
            near[torch.arange(len(rows)), rows] = -torch.inf
            best = near.topk(count, dim=1).indices
            for a, others in zip(rows.tolist(), best.tolist(), strict=True):
                pairs |= {(min(a, b), max(a, b)) for b in others}
    return np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)


@torch.inference_mode()
def _likeness(grey: Float[Tensor, "n 1 side side"], pairs: ndarray) -> Float[Tensor, " pairs"]:
    """Return the best correlation of one picture of each pair, mirrored or not, in the other."""
    one, other = grey[pairs[:, 0]], grey[pairs[:, 1]]
    ways = [(one, other), (other, one), (one.flip(3), other), (other.flip(3), one)]
    return torch.stack([_inside(a, b) for a, b in ways]).amax(dim=0)


def _inside(
    whole: Float[Tensor, "n 1 side side"], other: Float[Tensor, "n 1 side side"]
) -> Float[Tensor, " n"]:
    """Return the best correlation of shrunk pictures with any part of others of the same size."""
    side = whole.shape[-1]
    there = details(other)
    best = torch.full((len(whole),), -1.0)
    for scale in SCALES:
        part = round(side * scale)
        shrunk = F.interpolate(whole, size=(part, part), mode="bilinear", antialias=True)
        wanted = details(shrunk)
        wanted = wanted - wanted.mean(dim=(2, 3), keepdim=True)
        products = F.conv2d(there.transpose(0, 1), wanted, groups=len(whole))[0]
        box = torch.ones(1, 1, part, part)
        total, squares = F.conv2d(there, box)[:, 0], F.conv2d(there.square(), box)[:, 0]
        spread = (squares - total.square() / part**2).clamp_min(0).sqrt()
        length = wanted.flatten(1).norm(dim=1)[:, None, None] * spread
        # Where there is next to no detail, noise would correlate.
        correlation = products / length.clamp_min(4.0 * part**2)
        best = torch.maximum(best, correlation.flatten(1).amax(dim=1))
    return best


def details(images: Float[Tensor, "n 1 side side"]) -> Float[Tensor, "n 1 side side"]:
    """Return images minus their local mean."""
    reach = max(1, round(images.shape[-1] * DETAIL / 2))
    around = F.pad(images, (reach,) * 4, mode="replicate")
    return images - F.avg_pool2d(around, 2 * reach + 1, stride=1)
