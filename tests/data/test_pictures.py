import ast
import contextlib
import inspect
import io
import re
import struct
import subprocess
import warnings
import zlib

import numpy as np
import pytest
from PIL import BmpImagePlugin, Image

from smallset.data import pictures
from smallset.data.pictures import FORMATS, REASONS, Unreadable, decode, formats, resize


def encoded(image, kind="PNG", **options):
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def decoded(content):
    return np.asarray(decode(content, max_megapixels=80).image)


@pytest.fixture
def photo():
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_rgb_pixels_come_through_unchanged(photo):
    np.testing.assert_array_equal(decoded(encoded(photo)), np.asarray(photo))


def test_the_id_names_pixels_not_bytes(photo):
    ids = [
        decode(encoded(image, kind), max_megapixels=80).id
        for image, kind in [(photo, "PNG"), (photo, "BMP"), (photo.rotate(180), "PNG")]
    ]
    assert ids[0] == ids[1] != ids[2]


def test_the_id_tells_two_shapes_with_the_same_bytes_apart():
    wide, tall = Image.new("RGB", (4, 2)), Image.new("RGB", (2, 4))
    assert len({decode(encoded(i), max_megapixels=80).id for i in (wide, tall)}) == 2


def test_transparent_parts_are_white():
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert (decoded(encoded(clear)) == 255).all()
    half = decoded(encoded(Image.new("RGBA", (4, 4), (255, 0, 0, 128))))
    np.testing.assert_array_equal(half[0, 0], [255, 127, 127])


def test_a_palette_with_a_transparent_colour_shows_it_white():
    image = Image.new("P", (4, 4), 0)
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((0, 0), 1)
    pixels = decoded(encoded(image, transparency=0))
    np.testing.assert_array_equal(pixels[0, 0], [0, 255, 0])
    np.testing.assert_array_equal(pixels[1, 1], [255, 255, 255])


def test_sixteen_bit_grey_keeps_its_upper_byte():
    values = np.array([[0, 256, 32768, 65535]], dtype=np.uint16)
    pixels = decoded(encoded(Image.fromarray(values)))
    np.testing.assert_array_equal(pixels[0, :, 0], [0, 1, 128, 255])


def test_cmyk_becomes_rgb():
    pixels = decoded(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=95))
    np.testing.assert_allclose(pixels[0, 0], [255, 0, 0], atol=6)  # JPEG loses a few levels


@pytest.mark.parametrize("mode", ["L", "LA", "1"])
def test_grey_modes_become_three_channels(mode):
    assert decoded(encoded(Image.new(mode, (4, 4)))).shape == (4, 4, 3)


def test_of_an_animation_the_first_frame_is_taken():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(decoded(content)[0, 0], [255, 0, 0])


def test_exif_orientation_is_applied(photo):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees clockwise
    turned = decoded(encoded(photo, exif=exif.tobytes()))
    np.testing.assert_array_equal(turned, np.rot90(np.asarray(photo), k=-1))


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "empty"), (b"hello, I am text", "not an image"), (b"\xff\xd8\xff\xe0", "image|header")],
)
def test_what_is_no_picture_is_said(content, reason):
    with pytest.raises(Unreadable, match=reason):
        decode(content, max_megapixels=80)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_picture_cut_short_is_unreadable(photo, kind):
    content = encoded(photo.resize((300, 200)), kind)
    with pytest.raises(Unreadable, match="cut short"):
        decode(content[: len(content) // 2], max_megapixels=80)


def huge_png(side):
    """A PNG header that claims side x side pixels, with hardly any data behind it."""

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [9_300, 30_000])  # above our limit, above Pillow's own
def test_a_picture_above_the_pixel_limit_is_refused_undecoded(side):
    with pytest.raises(Unreadable, match="megapixels; the limit is 80"):
        decode(huge_png(side), max_megapixels=80)


def test_floating_point_pixels_are_refused():
    content = encoded(Image.fromarray(np.zeros((4, 4), dtype=np.float32)), "TIFF")
    with pytest.raises(Unreadable, match="floating-point"):
        decode(content, max_megapixels=80)


def test_each_policy_makes_the_square_it_promises():
    # Left third red, the rest blue, twice as wide as high.
    pixels = np.zeros((30, 60, 3), dtype=np.uint8)
    pixels[:, :20, 0], pixels[:, 20:, 2] = 255, 255
    image = Image.fromarray(pixels)
    squash, crop, pad = (resize(image, 30, policy) for policy in ("squash", "crop", "pad"))
    assert squash.shape == crop.shape == pad.shape == (30, 30, 3)
    assert (squash[15, 5, 0], squash[15, 20, 2]) == (255, 255)
    assert (crop[15, 2, 0], crop[15, 10, 2]) == (255, 255)  # columns 15 to 45 of the picture
    assert not pad[2].any()
    assert pad[15, 5, 0] == 255


def test_zoom_is_the_middle_seven_eighths_of_the_crop():
    pixels = np.random.default_rng(0).integers(0, 256, (80, 120, 3), dtype=np.uint8)
    photo = Image.fromarray(pixels)
    middle = photo.crop((25, 5, 95, 75))  # of the 80 x 80 in the middle, 70 x 70
    np.testing.assert_array_equal(resize(photo, 70, "zoom"), np.asarray(middle))
    assert resize(photo, 35, "zoom").shape == (35, 35, 3)


Image.init()
OTHERS = sorted(set(Image.SAVE) - {*FORMATS, "MPO", "HEIF"})
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
DOS_EPS = struct.pack("<4sIIIIIIH", b"\xc5\xd0\xd3\xc6", 32, len(EPS), 0, 0, 0, 0, 0xFFFF) + b"\0\0"
WMF = struct.pack("<IHhhhhHIH", 0x9AC6CDD7, 0, 0, 0, 99, 99, 96, 0, 0) + b"\1\0\t\0" + bytes(40)
EMF = struct.pack("<II8i4s", 1, 108, 0, 0, 9, 9, 0, 0, 99, 99, b" EMF") + bytes(80)
NAMED = {
    "PostScript": [EPS, DOS_EPS + EPS], "PDF": [b"%PDF-1.7\n"], "Windows metafile": [WMF, EMF],
    "ICO": [b"\0\0\1\0\1\0"], "Photoshop": [b"8BPS\0\1"], "JPEG XL": [b"\xff\x0a\0"],
    "JPEG 2000": [b"\0\0\0\x0cjP  \r\n"], "SVG": [b"<svg/>", b"\n<?xml version='1.0'?><svg/>"],
    "web page": [b"<!DOCTYPE html>", b"\xef\xbb\xbf <HTML>"], "script": [b"#!/bin/sh\n"],
    "git lfs pull": [b"version https://git-lfs.github.com/spec/v1\n"],
    "ZIP": [b"PK\3\4"], "gzip": [b"\x1f\x8b"], "film": [b"\0\0\0 ftypisom", b"\x1aE\xdf\xa3"],
    "AVIF picture": [b"\0\0\0 ftypavif" + bytes(40)],
    r"HEIC picture; the extra heif.*smallset\[heif\]": [b"\0\0\0 ftypheic", b"\0\0\0 ftypmif1"],
}  # fmt: skip


@pytest.fixture
def _no_decoder_of_others(monkeypatch):
    """Whatever decodes a format that is not promised fails the test, as a started program does."""

    def never(*args, **kwargs):
        raise AssertionError("started")

    for name, (factory, accept) in list(Image.OPEN.items()):
        kept = name in FORMATS
        monkeypatch.setitem(
            Image.OPEN, name, (factory, accept) if kept else (never, lambda _: True)
        )
    monkeypatch.setattr(subprocess, "Popen", never)


@pytest.mark.parametrize("kind", ["MPO", *formats()])
def test_promised_formats_are_read(photo, kind):
    assert decoded(encoded(photo, kind)).shape == (20, 30, 3)


@pytest.mark.usefixtures("_no_decoder_of_others")
@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("mode", ["RGB", "L", "1"])
def test_no_other_format_of_pillow_reaches_its_decoder(photo, kind, mode):
    try:
        with warnings.catch_warnings(action="ignore"):  # some formats leave Pillow soon
            content = encoded(photo.convert(mode), kind)
    except (OSError, ValueError, KeyError, AttributeError):
        return  # Pillow cannot write it in this mode
    with pytest.raises(Unreadable, match=r"not an image|does not read"):
        decoded(content)


@pytest.mark.usefixtures("_no_decoder_of_others")
@pytest.mark.parametrize(
    ("said", "content"), [(said, each) for said, many in NAMED.items() for each in many]
)
def test_what_a_file_is_is_said(said, content, monkeypatch):
    here = tuple(name for name in pictures.formats() if name in FORMATS)  # no HEIF
    monkeypatch.setattr(pictures, "formats", lambda: here)
    with pytest.raises(Unreadable, match=said):
        decoded(content)


@pytest.mark.parametrize("kind", ["MPO", *formats()])
def test_a_damaged_picture_is_read_or_unreadable_never_a_crash(photo, kind):
    whole, rng = encoded(photo, kind), np.random.default_rng(0)
    for _ in range(60):
        content = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            content[rng.integers(len(content))] = rng.integers(256)
        with contextlib.suppress(Unreadable), warnings.catch_warnings(action="ignore"):
            decoded(bytes(content[: rng.integers(len(content) // 2, len(content) + 1)]))


def test_a_decoder_that_raises_something_else_makes_the_file_unreadable(photo, monkeypatch):
    def broken(self):
        raise RuntimeError("Failed to decode frame 0: Truncated data")

    content = encoded(photo, "BMP")
    monkeypatch.setattr(BmpImagePlugin.BmpImageFile, "load", broken)
    with pytest.raises(Unreadable, match="Truncated data"):
        decoded(content)


def test_a_heic_picture_is_read_where_the_extra_is():
    pytest.importorskip("pillow_heif")
    pixels = decoded(encoded(Image.new("RGB", (64, 48), (200, 40, 90)), "HEIF"))
    assert pixels.shape == (48, 64, 3)
    np.testing.assert_allclose(pixels[0, 0], [200, 40, 90], atol=6)  # it loses a few levels


def test_pages_know_the_template_of_whatever_is_said_of_a_file():
    """Each message in the source, with a word in every place, is one of `REASONS`."""
    patterns = [re.compile(re.sub(r"\\{\w+\\}", "word", re.escape(each))) for each in REASONS]
    tree = ast.parse(inspect.getsource(pictures))
    messages = [
        node.args[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Unreadable"
    ]
    [not_read] = [node for node in tree.body if getattr(node, "name", "") == "_not_read"]
    messages += [node.value for node in ast.walk(not_read) if isinstance(node, ast.Return)]
    said = []
    for message in messages:
        for part in (message.body, message.orelse) if isinstance(message, ast.IfExp) else [message]:
            match part:
                case ast.Constant(value=str(sentence)):
                    said.append(sentence)
                case ast.JoinedStr():
                    pieces = [getattr(piece, "value", "") for piece in part.values]
                    said.append("".join(p if isinstance(p, str) else "word" for p in pieces))
    assert len(said) >= len(REASONS)
    assert [each for each in said if not any(p.fullmatch(each) for p in patterns)] == []
