"""Features that pictures give of themselves: small patches, no labels, no trained network.

Patches of the pictures are whitened and grouped; each group becomes a filter, and a picture is
described by how strongly each filter answers in each part of it (Coates, Ng & Lee 2011, "An
Analysis of Single-Layer Networks in Unsupervised Feature Learning", AISTATS; soft threshold as in
Coates & Ng 2011, "The Importance of Encoding Versus Training", ICML). No label has a part in them,
so that all of them may be used out of fold.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

IMAGE_SIZE = 48  # px
SIDE = 6  # of a patch, px
FILTERS = 800
GRID = 3  # cells per side of a picture
PATCHES = 84_000  # that the filters are learnt from
ROUNDS = 12  # of grouping
FLAT = 10 / 255**2  # variance under which a patch counts as flat, pixels in [0, 1]
WHITEN = 0.1  # added to the variances that whitening divides by
THRESHOLD = 0.25  # cosine from which a filter answers


class Filters(NamedTuple):
    """What was learnt from the patches."""

    mean: Float[Tensor, " d"]
    """Of contrast-normalised patches; d = 3 * SIDE * SIDE."""
    kernels: Float[Tensor, "d filters"]
    """Whitening and filter in one product."""


def learn_filters(images: UInt8[ndarray, "n size size 3"], *, filters: int = FILTERS) -> Filters:
    """Learn filters from patches of images.

    Args:
        images: Square, `SIDE` px or more.
    """
    rng = np.random.default_rng(0)
    corners = rng.integers(images.shape[1] - SIDE + 1, size=(len(images), _per(len(images)), 2))
    cut = [
        image[row : row + SIDE, column : column + SIDE]
        for image, places in zip(images, corners, strict=True)
        for row, column in places
    ]
    # Channels first, as a convolution's weights are.
    patches = torch.from_numpy(np.stack(cut)).permute(0, 3, 1, 2).flatten(1).float() / 255
    patches = (patches - patches.mean(dim=1, keepdim=True)) * torch.rsqrt(
        patches.var(dim=1, keepdim=True) + FLAT
    )
    mean = patches.mean(dim=0)
    values, axes = torch.linalg.eigh(torch.cov(patches.T).double())
    whiten = (axes * (values + WHITEN).rsqrt() @ axes.T).float()
    return Filters(mean, whiten @ _group((patches - mean) @ whiten, filters, rng).T)


def _per(num_images: int) -> int:
    return min(max(PATCHES // max(num_images, 1), 4), 400)


def _group(
    patches: Float[Tensor, "n d"], filters: int, rng: np.random.Generator
) -> Float[Tensor, "filters d"]:
    """Return unit vectors, each the direction of the patches nearest to it (spherical k-means)."""
    first = rng.choice(len(patches), min(filters, len(patches)), replace=False)
    centres = F.normalize(patches[torch.from_numpy(first)], dim=1)
    for _ in range(ROUNDS):
        sums = torch.zeros_like(centres)
        for block in patches.split(10_000):
            strength, nearest = (block @ centres.T).max(dim=1)
            sums.index_add_(0, nearest, block * strength[:, None])
        empty = torch.nonzero(sums.norm(dim=1) < 1e-6)[:, 0]
        sums[empty] = patches[torch.from_numpy(rng.integers(len(patches), size=len(empty)))]
        centres = F.normalize(sums, dim=1)
    return centres


@torch.inference_mode()
def patch_features(
    images: UInt8[ndarray, "n size size 3"],
    learnt: Filters,
    *,
    on_progress: Callable[[int, int], object] = lambda done, total: None,  # noqa: ARG005
) -> Float[ndarray, "n features"]:
    """Return, per image, the root of each filter's mean answer in each cell of a grid.

    Args:
        images: Of the size that the filters were learnt at.
        on_progress: Told of the images done and of all.
    """
    kernels = learnt.kernels - learnt.kernels.mean(dim=0)  # so that a patch's mean drops out
    weight = kernels.T.reshape(-1, 3, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
    offset = (learnt.mean @ learnt.kernels + THRESHOLD)[:, None, None]
    count = 3 * SIDE * SIDE
    box = torch.full((1, 3, SIDE, SIDE), 1 / count)
    blocks: list[ndarray] = []
    for start in range(0, len(images), 50):
        batch = torch.from_numpy(np.asarray(images[start : start + 50]))
        pixels = batch.permute(0, 3, 1, 2).float() / 255
        spread = F.conv2d(pixels.square(), box) - F.conv2d(pixels, box).square()
        contrast = torch.rsqrt(spread.clamp_min(0) * count / (count - 1) + FLAT)
        answers = F.relu(F.conv2d(pixels, weight) * contrast - offset)
        blocks.append(F.adaptive_avg_pool2d(answers, GRID).flatten(1).sqrt().numpy())
        on_progress(min(start + 50, len(images)), len(images))
    return np.concatenate(blocks)
