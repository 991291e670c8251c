"""Which pictures might be copies of each other: turned, mirrored, cut, framed or saved again.

A picture is described by the lowest frequencies of its cosine transform, each divided by what is
usual for it, at length 1. To mirror a picture is to change signs there, to turn it is to swap the
axes too, so all eight ways to look at it cost no pixels. The other picture is described whole and
in parts, so one that was cut out of it is found; what has a frame is looked at without it too.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from numpy import ndarray
from torch import Tensor

from smallset.data.preprocessing import LOOKED_AT

SIZE = LOOKED_AT
WAVES = 8  # half waves along a side, from 0
PARTS = {
    1.0: 1,
    0.92: 2,
    0.84: 3,
    0.74: 3,
}  # share of a side that a part has: places along the side
CLOSE = 0.6  # cosine from which two descriptions are worth a look at the pixels
NEAREST = 3  # of each look, at most, that are worth it
FLAT, SAME = 4.0, 8.0  # levels: spread along a line of a frame, and difference of its lines
WORTH = 0.95  # share of the area, at most, that is left without a frame
LEAST = 20  # px of a side that are left
AMONG = 40  # of each look that are compared in all ways
BLOCK, FEW = 512, 64
LUMA = torch.tensor([0.299, 0.587, 0.114])  # as pictures are made grey (ITU-R BT.601)


class Looks(NamedTuple):
    """Pictures as they are compared: each as it is, then those with a frame without it."""

    grey: UInt8[Tensor, "looks size size"]
    owner: Int[ndarray, " looks"]
    """Row of the picture."""
    in_frame: Bool[ndarray, " looks"]
    """True for a picture with a frame, as it is."""


class Candidates(NamedTuple):
    """Pairs of looks: the first, turned, may be a part of the second or all of it."""

    pairs: Int[ndarray, "pairs 2"]
    """Positions among the looks."""
    turn: Int[ndarray, " pairs"]
    """Position in `TURNS`."""
    place: Float[Tensor, "pairs 4"]
    """Centre (x, y) and half sides (x, y) of the part; a picture reaches from -1 to 1."""


TURNS = tuple((swap, down, across) for swap in (0, 1) for down in (0, 1) for across in (0, 1))
"""The ways to see a square: axes swapped or not, then upside down or not, mirrored or not."""


def turned(images: Float[Tensor, "*n side side"], turn: int) -> Float[Tensor, "*n side side"]:
    """Return images seen in one of the ways of `TURNS`."""
    swap, down, across = TURNS[turn]
    images = images.transpose(-2, -1) if swap else images
    return images.flip([axis for axis, is_on in ((-2, down), (-1, across)) if is_on])


def look(images: UInt8[ndarray, "n size size 3"]) -> Looks:
    """Return the looks at pictures, which were squashed to `SIZE`."""
    whole: list[Tensor] = []
    inner: list[Tensor] = []
    framed: list[int] = []
    for start in range(0, len(images), BLOCK):
        grey = _grey(images[start : start + BLOCK])
        whole.append(grey.round().byte())
        boxes = without_frame(grey)
        for row in torch.nonzero(_is_framed(boxes))[:, 0].tolist():
            top, bottom, left, right = boxes[row].tolist()
            inside = grey[row, top:bottom, left:right][None, None]
            inside = F.interpolate(inside, size=(SIZE, SIZE), mode="bilinear", antialias=True)
            inner.append(inside[0].round().byte())
            framed.append(start + row)
    rows = np.array(framed, dtype=np.int64)
    owner = np.concatenate([np.arange(len(images)), rows])
    in_frame = np.zeros(len(owner), dtype=bool)
    in_frame[rows] = True
    return Looks(torch.cat([*whole, *inner]), owner, in_frame)


def _grey(images: UInt8[ndarray, "n size size 3"]) -> Float[Tensor, "n size size"]:
    return torch.from_numpy(np.array(images)).float() @ LUMA


def without_frame(grey: Float[Tensor, "n size size"]) -> Int[Tensor, "n 4"]:
    """Return top, bottom, left and right of what is inside lines of one colour, end exclusive.

    Args:
        grey: In levels, [0, 255].
    """
    every = torch.ones(grey.shape[:2], dtype=torch.bool)
    top, bottom = _ends(grey, every)
    lines = torch.arange(grey.shape[1])
    inside = (lines >= top[:, None]) & (lines < bottom[:, None])
    left, right = _ends(grey.transpose(1, 2), inside)
    return torch.stack([top, bottom, left, right], dim=1)


def _ends(
    grey: Float[Tensor, "n lines across"], seen: Bool[Tensor, "n across"]
) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
    """Return the first line that is no frame, and the one after the last."""
    weight = (seen / seen.sum(dim=1, keepdim=True).clamp_min(1))[:, :, None]
    mean = (grey @ weight)[:, :, 0]
    spread = ((grey - mean[:, :, None]).square() @ weight)[:, :, 0].sqrt()

    def run(mean: Tensor, spread: Tensor) -> Tensor:
        is_frame = (spread < FLAT) & ((mean - mean[:, :1]).abs() < SAME)
        return is_frame.long().cumprod(dim=1).sum(dim=1)

    return run(mean, spread), mean.shape[1] - run(mean.flip(1), spread.flip(1))


def _is_framed(boxes: Int[Tensor, "n 4"]) -> Bool[Tensor, " n"]:
    height, width = boxes[:, 1] - boxes[:, 0], boxes[:, 3] - boxes[:, 2]
    is_left = (height >= LEAST) & (width >= LEAST)
    return is_left & (height * width <= WORTH * SIZE**2)


def candidates(
    looks: Looks,
    *,
    on_progress: Callable[[int, int], object] = lambda done, total: None,  # noqa: ARG005
) -> Candidates:
    """Return the pairs of looks at two pictures that are worth a look at the pixels.

    What is the same in all eight ways chooses `AMONG` for each; those are compared in all ways.

    Args:
        on_progress: Told of the looks compared and of all.
    """
    waves = describe(looks.grey)
    parts, wholes = waves.flatten(2)[..., 1:], torch.stack(_seen(waves[:, 0]), dim=1)
    fixed = _fixed(waves)
    owner, in_frame = torch.from_numpy(looks.owner), torch.from_numpy(looks.in_frame)
    found: list[Tensor] = []
    for start in range(0, len(owner), BLOCK):
        rows = torch.arange(start, min(start + BLOCK, len(owner)))
        alike = _most_alike(fixed[rows, 0], fixed)
        # Two frames would be alike, whatever is in them.
        never = (owner[rows][:, None] == owner) | (in_frame[rows][:, None] & in_frame)
        alike[never] = -1
        among = alike.topk(min(AMONG, len(owner)), dim=1).indices
        for part in torch.arange(len(rows)).split(FEW):
            near = _closest(wholes[rows[part]], parts, among[part], ~never[part])
            near[:, 0] += rows[part[0]]
            found.append(near)
        on_progress(int(rows[-1]) + 1, len(owner))
    every = torch.cat(found)
    place = torch.tensor(_places())[every[:, 3]]
    return Candidates(every[:, :2].numpy(), every[:, 2].numpy(), place)


def describe(grey: UInt8[Tensor, "n size size"]) -> Float[Tensor, "n parts waves waves"]:
    """Return the description of all parts of pictures, the whole first; the brightness is 0."""
    return _described(grey, _places())


def describe_wholes(images: UInt8[ndarray, "n size size 3"]) -> Float[Tensor, "n d"]:
    """Return the description of whole pictures, of length 1."""
    blocks = [
        _grey(images[start : start + BLOCK]).round().byte()
        for start in range(0, len(images), BLOCK)
    ]
    return _described(torch.cat(blocks), _places()[:1]).flatten(1)


def _described(
    grey: UInt8[Tensor, "n size size"], places: Sequence[tuple[float, ...]]
) -> Float[Tensor, "n parts waves waves"]:
    waves = torch.empty(len(grey), len(places), WAVES, WAVES)
    for start in range(0, len(grey), BLOCK):
        block = grey[start : start + BLOCK].float()
        for number, (x, y, half, _) in enumerate(places):
            waves[start : start + BLOCK, number] = _waves(y, half) @ block @ _waves(x, half).T
    usual = waves[:, 0].square().mean(dim=0).sqrt()
    waves = waves / (usual + usual.T).clamp_min(1e-6)
    waves[..., 0, 0] = 0
    return F.normalize(waves.flatten(2), dim=2).view_as(waves)


def _seen(waves: Float[Tensor, "n waves waves"]) -> list[Float[Tensor, "n d"]]:
    """Return descriptions as they would be of pictures seen in the ways of `TURNS`."""
    odd = torch.tensor([1.0, -1.0]).repeat(WAVES // 2)
    seen: list[Tensor] = []
    for swap, down, across in TURNS:
        each = waves.transpose(1, 2) if swap else waves
        each = each * odd[:, None] if down else each
        seen.append((each * odd if across else each).flatten(1)[:, 1:])
    return seen


def _fixed(waves: Float[Tensor, "n parts waves waves"]) -> Float[Tensor, "n parts d"]:
    """Return what is the same in whichever way a picture is seen; no difference grows by that.

    Mirroring changes signs, but of waves that are even both ways; turning swaps a wave and its
    partner.
    """
    even = torch.arange(WAVES) % 2 == 0
    signed = torch.where(even[:, None] & even, waves, waves.abs())
    upper = torch.ones(WAVES, WAVES, dtype=torch.bool).triu(1)
    one, other = signed[..., upper], signed.transpose(2, 3)[..., upper]
    own = signed.diagonal(dim1=2, dim2=3)
    return torch.cat([(one + other) / 2**0.5, (one - other).abs() / 2**0.5, own], dim=2)


def _most_alike(
    some: Float[Tensor, "b d"], every: Float[Tensor, "n parts d"]
) -> Float[Tensor, "b n"]:
    """Return the best cosine of some pictures with any part of every one."""
    best = torch.full((len(some), len(every)), -1.0)
    for start in range(0, len(every), BLOCK):  # blocks that stay in the cache of a processor
        block = best[:, start : start + BLOCK]
        for part in every[start : start + BLOCK].unbind(dim=1):
            torch.maximum(block, some @ part.T, out=block)
    return best


def _closest(
    wholes: Float[Tensor, "b turns d"],
    parts: Float[Tensor, "n parts d"],
    among: Int[Tensor, "b among"],
    may: Bool[Tensor, "b n"],
) -> Int[Tensor, "pairs 4"]:
    """Return the `NEAREST` of each that are `CLOSE`: its row, that of the other, turn and part.

    Args:
        among: Rows of the others that are compared with each.
        may: Which others it may be compared with at all.
    """
    cosines = wholes @ parts[among].flatten(1, 2).transpose(1, 2)
    cosines = cosines.view(*cosines.shape[:2], among.shape[1], -1).transpose(1, 2).flatten(2)
    best, way = cosines.max(dim=2)
    best[~may.gather(1, among)] = -1
    values, at = best.topk(min(NEAREST, among.shape[1]), dim=1)
    near = values >= CLOSE
    others, way = among.gather(1, at)[near], way.gather(1, at)[near]
    num_parts = parts.shape[1]
    return torch.stack([near.nonzero()[:, 0], others, way // num_parts, way % num_parts], dim=1)


@cache
def _places() -> list[tuple[float, float, float, float]]:
    """Return the parts as `Candidates.place` has them; the whole comes first."""
    spans = [
        [(start, share) for start in np.linspace(share - 1, 1 - share, places).tolist()]
        if places > 1 else [(0.0, share)]
        for share, places in PARTS.items()
    ]  # fmt: skip
    return [(x, y, half, half) for each in spans for y, half in each for x, _ in each]


@cache
def _waves(centre: float, half: float) -> Float[Tensor, "waves size"]:
    """Return the half waves of a cosine transform around a place of a line, 0 elsewhere."""
    at = ((2 * torch.arange(SIZE) + 1) / SIZE - 1 - centre) / (2 * half) + 0.5
    inside = (at > 0) & (at < 1)
    return torch.cos(torch.pi * torch.arange(WAVES)[:, None] * at) * inside / half
