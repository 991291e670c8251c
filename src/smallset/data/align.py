"""How alike two pictures are once one of them lies on the part of the other that fits it best.

The part is found by Gauss-Newton steps, from light and shade to details, that make the squares of
the differences of normalised pictures small (Lucas & Kanade 1981, "An Iterative Image Registration
Technique", IJCAI; normalised as in Evangelidis & Psarakis 2008, "Parametric Image Alignment Using
Enhanced Correlation Coefficient Maximization", PAMI).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

LEVELS = ((12, False, 0.0), (24, True, 0.5), (48, True, -1.0))
"""Side of a picture, px; whether details alone count; correlation from which the next is tried."""
STEPS = 5  # at each level
DETAIL = 7 / 48  # of the side: what is wider than this is light and shade, not detail
FAINT = 2.0  # levels of grey: a picture with less spread of details counts as one with these
GRID, UNLIKE = 4, 2  # blocks along a side, and how many of them all are not asked
KEPT = 0.5  # share of the spread that the other blocks must have, to correlate as a whole
LEAST, MOST = 0.55, 1.02  # share of a side of the part
LONGER = 1.3  # times as much as of the other side, at most


@torch.inference_mode()
def likeness(
    whole: Float[Tensor, "n size size"],
    other: Float[Tensor, "n size size"],
    places: Float[Tensor, "n 4"],
) -> Float[Tensor, " n"]:
    """Return the correlation of the details of pictures with those of parts of others, in [-1, 1].

    Args:
        whole: In levels, [0, 255]; twice the side of the last of `LEVELS`.
        other: Of that size too.
        places: Centre (x, y) and half sides (x, y) where the search begins; a picture reaches
            from -1 to 1.
    """
    found = torch.full((len(whole),), -1.0)
    left, alike = torch.arange(len(whole)), found
    for side, is_detail, least in LEVELS:
        wanted = _prepared(_shrunk(whole[left], side), is_detail)
        there = _shrunk(other[left], 2 * side)
        for _ in range(STEPS):
            seen = _prepared(_part(there, places, side), is_detail)
            places = _limited(_moved(places, wanted, seen))
        alike = _correlation(wanted, _prepared(_part(there, places, side), is_detail))
        left, places, alike = (each[alike >= least] for each in (left, places, alike))
    found[left] = alike
    return found


def details(images: Float[Tensor, "n side side"]) -> Float[Tensor, "n side side"]:
    """Return images minus their local mean."""
    reach = max(1, round(images.shape[-1] * DETAIL / 2))
    around = F.pad(images[:, None], (reach,) * 4, mode="replicate")
    return images - F.avg_pool2d(around, 2 * reach + 1, stride=1)[:, 0]


def _shrunk(images: Float[Tensor, "n size size"], side: int) -> Float[Tensor, "n side side"]:
    return F.interpolate(images[:, None], size=(side, side), mode="area")[:, 0]


def _prepared(images: Float[Tensor, "n side side"], is_detail: bool) -> Tensor:
    images = details(images) if is_detail else images
    return images - images.mean(dim=(1, 2), keepdim=True)


def _part(
    images: Float[Tensor, "n size size"], places: Float[Tensor, "n 4"], side: int
) -> Float[Tensor, "n side side"]:
    """Return a part of each image, sampled at side x side points."""
    at = _points(side)
    x, y = (places[:, axis, None] + places[:, 2 + axis, None] * at for axis in (0, 1))
    grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), dim=3)
    return F.grid_sample(images[:, None], grid, padding_mode="border", align_corners=False)[:, 0]


def _points(side: int) -> Float[Tensor, " side"]:
    return (2 * torch.arange(side) + 1) / side - 1


def _moved(
    places: Float[Tensor, "n 4"],
    wanted: Float[Tensor, "n side side"],
    seen: Float[Tensor, "n side side"],
) -> Float[Tensor, "n 4"]:
    """Return the places after one step: shifted and stretched along each axis."""
    side = seen.shape[1]
    down, across = torch.gradient(seen, spacing=2 / side, dim=(1, 2))
    at = _points(side)
    slopes = torch.stack([across, down, across * at, down * at[:, None]], dim=1).flatten(2)
    slopes = slopes - slopes.mean(dim=2, keepdim=True)
    norms = [each.flatten(1).norm(dim=1)[:, None] for each in (wanted, seen)]
    missing = wanted.flatten(1) * norms[1] / norms[0].clamp_min(1e-3) - seen.flatten(1)
    square = slopes @ slopes.transpose(1, 2)
    ridge = 1e-3 * square.diagonal(dim1=1, dim2=2).mean(dim=1).clamp_min(1e-3)
    square = square + ridge[:, None, None] * torch.eye(4)
    step = torch.linalg.solve(square, (slopes @ missing[:, :, None]))[:, :, 0]
    step = step.clamp(-0.1, 0.1)
    # The step is in the coordinates of the part.
    return places + step * places[:, [2, 3, 2, 3]]


def _limited(places: Float[Tensor, "n 4"]) -> Float[Tensor, "n 4"]:
    """Return places that lie inside the picture, and are neither too small nor too long."""
    half = places[:, 2:].clamp(LEAST, MOST)
    half = torch.minimum(half, LONGER * half.flip(1))
    room = (MOST - half).clamp_min(0)
    return torch.cat([places[:, :2].clamp(-room, room), half], dim=1)


def _correlation(
    wanted: Float[Tensor, "n side side"], seen: Float[Tensor, "n side side"]
) -> Float[Tensor, " n"]:
    """Return the correlation, but for the blocks that fit worst: a watermark or a caption."""
    parts = [_sums(each) for each in (wanted * seen, wanted.square(), seen.square())]
    floor = (FAINT * wanted.shape[1]) ** 2
    one, other = (part.sum(dim=1, keepdim=True).clamp_min(floor) for part in parts[1:])
    # Where there is next to no detail, noise would correlate.
    product, own, its = parts[0] / (one * other).sqrt(), parts[1] / one, parts[2] / other
    worst = (own + its - 2 * product).argsort(dim=1, descending=True)
    kept = worst[:, UNLIKE:]
    product, own, its = (each.gather(1, kept).sum(dim=1) for each in (product, own, its))
    return product / (own * its).sqrt().clamp_min(KEPT)


def _sums(images: Float[Tensor, "n side side"]) -> Float[Tensor, "n blocks"]:
    """Return the sums of the blocks of a grid."""
    side = images.shape[1] // GRID
    return F.avg_pool2d(images[:, None], side).flatten(1) * side**2
