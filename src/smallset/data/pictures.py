"""From the bytes of a file to a small RGB picture: the one way pixels come in, at every stage."""

import contextlib
import hashlib
import io
import stat
import struct
import zlib
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image, ImageOps, UnidentifiedImageError

from smallset.data.signatures import AVIF, HEIC, KINDS, kind_of
from smallset.groups import Resize

BROKEN = (
    OSError, ValueError, SyntaxError, TypeError, LookupError, EOFError, struct.error, zlib.error,
    RuntimeError, ArithmeticError, AttributeError, AssertionError, MemoryError,
)  # fmt: skip
"""What Pillow's decoders raise on broken files; that of AVIF raises RuntimeError."""
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF")
"""The decoders that a file may reach, whatever its name. Pillow has more, and one of them starts
Ghostscript. JPEG is also MPO, which some cameras write as .jpg; PPM is also PGM and PBM."""

MAX_BYTES = 512_000_000
"""Larger files are not opened as pictures."""


REASONS = (
    "no file has a zero byte in its name",
    "a folder",
    "not a regular file",
    "{bytes} bytes; the limit is {most}",
    "cannot be opened: {why}",
    "the file is empty",
    "more than 178 megapixels; the limit is {most}",
    "{width} x {height} is {megapixels} megapixels; the limit is {most} (data.max_megapixels)",
    "its header cannot be read ({why})",
    "damaged or cut short ({why})",
    "floating-point pixels have no agreed white; save it as 8 or 16 bit",
    "not an image, whatever its name says",
    "{kind} whose header is damaged",
    '{kind}; the extra heif reads it: pip install "smallset[heif]"',
    "{kind}, which smallset does not read; save it as PNG or JPEG",
)
"""What the messages of `Unreadable` look like: tables hold them in English, and pages find the
Chinese of them by these."""


class Unreadable(ValueError):
    """The bytes are no picture that smallset takes; the message says why, as in `REASONS`."""


def reasons() -> list[str]:
    """Return the templates of what may be said of a file, and of what stands inside them."""
    return [*REASONS, *KINDS]


def read_file(path: Path) -> bytes:
    """Return the content of a picture file, which may have any name.

    Raises:
        Unreadable: If there is no such file, or it is a folder, a pipe or a device, or too large.
    """
    if "\0" in str(path):
        raise Unreadable("no file has a zero byte in its name")
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # to open a pipe is to wait for ever
            raise Unreadable("a folder" if path.is_dir() else "not a regular file")
        if found.st_size > MAX_BYTES:
            raise Unreadable(f"{found.st_size:,} bytes; the limit is {MAX_BYTES:,}")
        return path.read_bytes()
    except OSError as error:
        raise Unreadable(f"cannot be opened: {error.strerror}") from None


@cache
def formats() -> tuple[str, ...]:
    """Return `FORMATS` as far as Pillow can read them here, and HEIF with the extra ``heif``."""
    Image.preinit()  # Image.init would load all 40 decoders, in a tenth of a second
    for plugin in ("WebP", "Tiff", "Avif"):
        with contextlib.suppress(ImportError):  # Pillow reads AVIF since 11.3
            import_module(f"PIL.{plugin}ImagePlugin")
    found = tuple(name for name in FORMATS if name in Image.OPEN)
    if find_spec("pillow_heif") is None:
        return found
    import_module("pillow_heif").register_heif_opener()
    return (*found, "HEIF")


def open_image(file: Path | io.BytesIO) -> Image.Image:
    """Read the header of a picture in one of `formats`; nothing is decoded.

    Raises:
        UnidentifiedImageError: If it is none of them; others of `BROKEN` if it is damaged.
    """
    return Image.open(file, formats=formats())


class Picture(NamedTuple):
    """One decoded picture."""

    image: Image.Image
    """RGB, upright, full size."""
    id: str
    """sha256 of its decoded pixels and shape; two files with the same pixels have the same id."""


def decode(content: bytes, *, max_megapixels: float) -> Picture:
    """Decode a file into an upright RGB picture.

    EXIF orientation is applied. Transparent parts are shown on white, as a viewer would. 16-bit
    grey keeps its upper eight bits. Of an animation, the first frame is taken.

    Args:
        max_megapixels: A picture that claims more is refused before it is decoded, in millions.

    Raises:
        Unreadable: If it is no picture, is cut short, is too large, or has floating-point pixels.
    """
    if not content:
        raise Unreadable("the file is empty")
    try:
        image = open_image(io.BytesIO(content))
    except UnidentifiedImageError:
        raise Unreadable(_not_read(content)) from None
    except Image.DecompressionBombError:
        raise Unreadable(f"more than 178 megapixels; the limit is {max_megapixels:g}") from None
    except BROKEN as error:
        raise Unreadable(f"its header cannot be read ({_said(error)})") from None
    megapixels = image.width * image.height / 1e6
    if megapixels > max_megapixels:
        raise Unreadable(
            f"{image.width} x {image.height} is {megapixels:.0f} megapixels; the limit is "
            f"{max_megapixels:g} (data.max_megapixels)"
        )
    try:
        image.load()
        rgb = _to_rgb(ImageOps.exif_transpose(image))
    except Unreadable:
        raise
    except BROKEN as error:
        raise Unreadable(f"damaged or cut short ({_said(error)})") from None
    digest = hashlib.sha256(f"{rgb.width}x{rgb.height}:".encode())
    digest.update(np.asarray(rgb).data)
    return Picture(rgb, digest.hexdigest())


def _said(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _not_read(content: bytes) -> str:
    kind = kind_of(content)
    if kind is None:
        return "not an image, whatever its name says"
    if (kind == HEIC and "HEIF" in formats()) or (kind == AVIF and "AVIF" in formats()):
        return f"{kind} whose header is damaged"
    if kind == HEIC:
        return f'{kind}; the extra heif reads it: pip install "smallset[heif]"'
    return f"{kind}, which smallset does not read; save it as PNG or JPEG"


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):  # 16-bit grey; Pillow's own conversion clips it to white
        values = np.asarray(image).astype(np.int64)
        return Image.fromarray((values >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise Unreadable("floating-point pixels have no agreed white; save it as 8 or 16 bit")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


ToShape = Callable[[Image.Image, tuple[int, int]], Image.Image]
BILINEAR = Image.Resampling.BILINEAR
RESIZES: dict[Resize, ToShape] = {
    "squash": lambda image, shape: image.resize(shape, BILINEAR),
    "crop": lambda image, shape: ImageOps.fit(image, shape, BILINEAR),
    "zoom": lambda image, shape: ImageOps.fit(image, shape, BILINEAR, bleed=1 / 16),
    "pad": lambda image, shape: ImageOps.pad(image, shape, BILINEAR, color="black"),
}
"""How a picture becomes square: squash both sides; crop the centre of the longer one; zoom, 7/8 of
what crop shows (a short side of 256, then 224 of it, is how ImageNet networks are tested); or pad
the shorter one with black."""


def resize(image: Image.Image, size: int, policy: Resize) -> UInt8[ndarray, "size size 3"]:
    """Make an RGB picture square, by area-weighted bilinear interpolation.

    Args:
        size: Side of the result, px.
        policy: A key of `RESIZES`.
    """
    return np.asarray(RESIZES[policy](image, (size, size)))
