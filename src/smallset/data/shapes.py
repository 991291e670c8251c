"""Draw one picture of ``sample:shapes``: a textured shape somewhere in a cluttered scene.

The class is the shape and its texture. Colours, place, size, angle, background, clutter, light and
blur are random and say nothing about the class.
"""

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray
from PIL import Image, ImageDraw, ImageFilter

Points = list[tuple[float, float]]


def _polygon(corners: int) -> Points:
    turns = [2 * math.pi * k / corners - math.pi / 2 for k in range(corners)]
    return [(math.cos(t), math.sin(t)) for t in turns]


def _star() -> Points:
    turns = [math.pi * k / 5 - math.pi / 2 for k in range(10)]
    return [(r * math.cos(t), r * math.sin(t)) for t, r in zip(turns, [1.0, 0.45] * 5, strict=True)]


def _heart() -> Points:
    ts = np.linspace(0, 2 * math.pi, 40, endpoint=False)
    x = np.sin(ts) ** 3
    y = -(13 * np.cos(ts) - 5 * np.cos(2 * ts) - 2 * np.cos(3 * ts) - np.cos(4 * ts)) / 17
    return list(zip(x.tolist(), y.tolist(), strict=True))


SHAPES: dict[str, Points] = {
    "circle": _polygon(40),
    "cross": [
        (-0.35, -1), (0.35, -1), (0.35, -0.35), (1, -0.35), (1, 0.35), (0.35, 0.35),
        (0.35, 1), (-0.35, 1), (-0.35, 0.35), (-1, 0.35), (-1, -0.35), (-0.35, -0.35),
    ],
    "heart": _heart(),
    "hexagon": _polygon(6),
    "square": _polygon(4),
    "star": _star(),
    "triangle": _polygon(3),
}  # fmt: skip

# Each texture says, from coordinates in stripe widths, where the second colour goes.
TEXTURES: dict[str, Callable[[ndarray, ndarray], Bool[ndarray, "size size"]]] = {
    "checks": lambda u, v: (np.floor(u) + np.floor(v)) % 2 == 0,
    "dots": lambda u, v: (u % 2 - 1) ** 2 + (v % 2 - 1) ** 2 < 0.45,
    "grid": lambda u, v: (u % 2 < 0.6) | (v % 2 < 0.6),
    "stripes": lambda u, v: np.floor(u + 0 * v) % 2 == 0,
    "waves": lambda u, v: np.floor(u + 0.8 * np.sin(1.6 * v)) % 2 == 0,
}


def draw_shape(
    shape: str, texture: str, *, size: int, rng: np.random.Generator
) -> UInt8[ndarray, "size size 3"]:
    """Draw one picture.

    Args:
        shape: A key of `SHAPES`.
        texture: A key of `TEXTURES`.
        size: Side of the picture, px.
    """
    picture = _background(size, rng)
    for _ in range(rng.integers(1, 4)):
        other = str(rng.choice(list(SHAPES)))
        mask = _mask(
            SHAPES[other], size, radius=rng.uniform(0.05, 0.12), turn=math.pi, spread=1, rng=rng
        )
        picture = _paint(picture, mask, rng.uniform(0, 255, 3))

    # As far from the centre, as much turned and on as busy a ground as `plain` can still learn from
    # 60 pictures of each class (docs/log.md, "how hard").
    mask = _mask(
        SHAPES[shape], size, radius=rng.uniform(0.30, 0.42), turn=0.35, spread=0.4, rng=rng
    )
    first, second = _contrasting_colours(rng)
    pattern = _pattern(texture, size, rng)
    picture = _paint(picture, mask, np.where(pattern[..., None], first, second))
    if rng.random() < 0.3:  # something in front of it
        stick = _mask(
            [(-1, -0.06), (1, -0.06), (1, 0.06), (-1, 0.06)],
            size,
            radius=0.6,
            turn=math.pi,
            spread=1,
            rng=rng,
        )
        picture = _paint(picture, stick, rng.uniform(0, 255, 3))
    return _light_and_lens(picture, rng)


def _background(size: int, rng: np.random.Generator) -> Float[ndarray, "size size 3"]:
    cells = int(rng.integers(2, 6))
    coarse = rng.uniform(50, 205, (cells, cells, 3)).astype(np.uint8)
    image = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
    ground = np.asarray(image, dtype=np.float64)
    return 0.4 * ground.mean(axis=(0, 1)) + 0.6 * ground


def _contrasting_colours(rng: np.random.Generator) -> tuple[ndarray, ndarray]:
    while True:
        first, second = rng.uniform(0, 255, (2, 3))
        if abs(first - second).sum() > 220:
            return first, second


def _mask(
    points: Points,
    size: int,
    *,
    radius: float,
    turn: float,
    spread: float,
    rng: np.random.Generator,
) -> Float[ndarray, "size size 1"]:
    """Draw a polygon; 1 inside, soft at the edge.

    It is turned by up to `turn` radians, and placed in that share of the room it has, the centre.
    """
    angle, stretch = rng.uniform(-turn, turn), rng.uniform(0.8, 1.0)
    margin = min(radius, 0.38)
    cx, cy = 0.5 + spread * (0.5 - margin) * rng.uniform(-1, 1, 2)
    cos, sin = math.cos(angle), math.sin(angle)
    scale = 3 * size  # drawn three times too large, then averaged
    corners = [
        (
            (cx + radius * (cos * x - sin * stretch * y)) * scale,
            (cy + radius * (sin * x + cos * stretch * y)) * scale,
        )
        for x, y in points
    ]
    large = Image.new("L", (scale, scale))
    ImageDraw.Draw(large).polygon(corners, fill=255)
    return np.asarray(large.reduce(3), dtype=np.float64)[..., None] / 255


def _pattern(texture: str, size: int, rng: np.random.Generator) -> Bool[ndarray, "size size"]:
    angle, width = rng.uniform(-0.5, 0.5), size * rng.uniform(0.06, 0.09)
    y, x = np.mgrid[:size, :size] / width
    u = math.cos(angle) * x - math.sin(angle) * y + rng.uniform(0, 2)
    v = math.sin(angle) * x + math.cos(angle) * y + rng.uniform(0, 2)
    return TEXTURES[texture](u, v)


def _paint(picture: ndarray, mask: ndarray, colour: ndarray) -> ndarray:
    return picture * (1 - mask) + colour * mask


def _light_and_lens(
    picture: Float[ndarray, "size size 3"], rng: np.random.Generator
) -> UInt8[ndarray, "size size 3"]:
    size = len(picture)
    y, x = np.mgrid[:size, :size] / size - 0.5
    angle = rng.uniform(0, 2 * math.pi)
    light = 1 + rng.uniform(0, 0.5) * (math.cos(angle) * x + math.sin(angle) * y)
    lit = picture * (rng.uniform(0.7, 1.1) * light)[..., None]
    lit += rng.normal(0, rng.uniform(2, 6), picture.shape)
    image = Image.fromarray(np.clip(lit, 0, 255).astype(np.uint8))
    blurred = image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.006) * size))
    return np.asarray(blurred)
